"""The hooks of the site: fill in what is generated, and check what each page names."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.generate import check, pages

# MkDocs counts its warnings, which end a strict build.
log = logging.getLogger("mkdocs.hooks.pomona")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns the page with its generated parts; warns of names that do not exist."""
    for problem in check.problems(markdown):
        log.warning("%s: %s", page.file.src_path, problem)
    return pages.fill(markdown)
