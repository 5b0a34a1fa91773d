"""Selection: which files of a source are images, by their names, and a sample of a catalog."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import pyarrow as pa

from pomona.images.formats import extensions
from pomona.store.schemas import encode_path

NOT_INCLUDED = "not matching `include`"


class GlobPatterns:
    """Glob patterns of file names; without any, every name matches.

    Parameters
    ----------
    patterns : sequence of str
        Patterns of `fnmatch`, case-sensitive, each for a file's relative path or its own name. A
        leading "**/" is ignored.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [pattern.removeprefix("**/") for pattern in patterns]

    def matches(self, name: str) -> bool:
        """Whether a relative path, or its last component, matches one of the patterns."""
        own = name.rpartition("/")[2]
        return not self._patterns or any(
            fnmatchcase(name, pattern) or fnmatchcase(own, pattern) for pattern in self._patterns
        )

    def suffixes(self) -> frozenset[str]:
        """The file extensions that patterns end with literally, lower-case, with the dot."""
        suffixes = {PurePosixPath(pattern).suffix.lower() for pattern in self._patterns}
        return frozenset(suffix for suffix in suffixes if suffix and not set(suffix) & set("*?["))


class NameFilter:
    """Tells images from other files by their names.

    Parameters
    ----------
    include : sequence of str
        Glob patterns of the images that are wanted, whose own extensions count as an image's, too.
        Empty: all images.
    """

    def __init__(self, include: Sequence[str]) -> None:
        self._patterns = GlobPatterns(include)
        self._extensions = extensions() | self._patterns.suffixes()

    def why_not(self, name: str) -> str | None:
        """Why a file of this relative path is skipped; None for an image that is wanted."""
        why_not = self._why_no_image(name.rpartition("/")[2])
        if why_not is None and not self._patterns.matches(name):
            return NOT_INCLUDED
        return why_not

    def _why_no_image(self, name: str) -> str | None:
        """Why a file of this name is not an image; None for an image."""
        if name.startswith("._"):  # macOS writes these beside files on disks of other systems
            return "named ._*"
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        if suffix in self._extensions:
            return None
        return f"named *{encode_path(suffix)}" if suffix else "without an extension"


def spread_sample(catalog: pa.Table, limit: int, seed: int) -> pa.Table:
    """Draws a sample that is spread evenly over the labels.

    Parameters
    ----------
    catalog : pyarrow.Table
        Has columns path and label.
    limit : int
        The most rows to draw. A smaller limit's sample is part of a larger one's.
    seed : int
        Decides, with the paths, which rows are drawn.

    Returns
    -------
    pyarrow.Table
        The rows, in the catalog's order.
    """
    if catalog.num_rows <= limit:
        return catalog
    salt = str(seed).encode()
    draws = [
        hashlib.blake2b(path.encode(), key=salt, digest_size=8).digest()
        for path in catalog["path"].to_pylist()
    ]
    labels = catalog["label"].to_pylist()
    taken: Counter[str | None] = Counter()
    order = []
    for index in sorted(range(len(draws)), key=draws.__getitem__):
        order.append((taken[labels[index]], draws[index], index))
        taken[labels[index]] += 1
    chosen = sorted(index for _, _, index in sorted(order)[:limit])
    return catalog.take(pa.array(chosen, pa.int64()))
