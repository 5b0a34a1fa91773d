"""Report: what a store holds, on one self-contained page.

`registry` lists the page's sections, `page` puts them together, and `writer` is what others call.
"""

from pomona.report.writer import FORMATS, PICTURES_S, draw, prepare, write

__all__ = ["FORMATS", "PICTURES_S", "draw", "prepare", "write"]
