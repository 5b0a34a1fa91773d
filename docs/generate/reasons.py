"""The reasons of error rows as a Markdown table."""

from __future__ import annotations

from docs.generate.commands import prose
from pomona.store.schemas import REASONS


def table() -> str:
    """Returns one row per reason: its name, whether it is retried, and the remedy."""
    rows = [
        f"| `{name}` | {'yes' if reason.retryable else 'no'} | {prose(reason.advice)} |"
        for name, reason in REASONS.items()
    ]
    return "\n".join(["| Reason | Retryable | What to do |", "|---|---|---|", *rows])
