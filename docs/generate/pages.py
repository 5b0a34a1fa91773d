"""The generated parts of pages, each in the place that its page marks by comments."""

from __future__ import annotations

import re

from docs.generate import commands, reasons

GENERATED = {"commands": commands.page, "reasons": reasons.table}

# What stands between the marks is for readers of the file itself.
_PART = re.compile(r"<!-- generated: (\w+) -->.*?<!-- /generated -->", re.DOTALL)


def fill(markdown: str) -> str:
    """Returns a page with its generated parts in their places."""
    return _PART.sub(lambda match: GENERATED[match[1]](), markdown)
