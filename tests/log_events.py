"""The log of a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def log_events(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log file, each one JSON object."""
    text = log.read_text() if log.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
