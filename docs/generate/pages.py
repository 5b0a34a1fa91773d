"""The generated parts of pages: each stands where its page says so in a comment."""

from __future__ import annotations

import re

from docs.generate import commands, reasons

GENERATED = {"commands": commands.page, "reasons": reasons.table}


def fill(markdown: str) -> str:
    """Returns a page with its generated parts in the place of `<!-- generated: NAME -->`."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda match: GENERATED[match[1]](), markdown)
