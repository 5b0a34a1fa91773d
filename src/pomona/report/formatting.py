"""Formatting: numbers and labels as the report writes them."""

from __future__ import annotations

import re


def percent(share: float, digits: int = 1) -> str:
    """Formats a share as a percentage, with a no-break space: 90.1 %."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def in_bytes(size: int) -> str:
    """Formats a size in bytes in the largest decimal unit that it reaches: 4.9 kB."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f}\N{NO-BREAK SPACE}{unit}"
    return f"{size}\N{NO-BREAK SPACE}bytes"


def natural_key(label: str | None) -> tuple[bool, str, str]:
    """Sort key that puts Apple 2 before Apple 10, and a missing label last."""
    text = label or ""
    return label is None, re.sub(r"\d+", lambda number: number[0].zfill(12), text.casefold()), text
