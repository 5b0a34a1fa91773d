"""Selection: which files of a source are images, by their names, and a sample of a catalog."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import pyarrow as pa

from pomona.images.formats import extensions
from pomona.store.schemas import encode_path

NOT_INCLUDED = "not matching `include`"
EXCLUDED = "matching `exclude`"
HIDDEN = "hidden, or in a folder of the system"


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


# Folders of desktops, servers and archives, in lower case: previews, copies, what was deleted.
_SYSTEM = (
    "__macosx", "thumbs", "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle",
    "#snapshot", "$recycle.bin", "recycler", "system volume information", "lost+found", "_vti_cnf",
    "network trash folder", "temporary items",
)  # fmt: skip
# A path of which a component begins with a dot, or a folder is one of these.
_HIDDEN = re.compile(
    rf"(?:^|/)(?:\.|(?:{'|'.join(re.escape(name) for name in _SYSTEM)})/)", re.IGNORECASE
)
# What follows a dot, and tells of another kind of file: not so .jpg_large, or .jpg?w=640.
_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{0,4}", re.IGNORECASE)


class NameFilter:
    """Tells images from other files by their names.

    Parameters
    ----------
    include : sequence of str
        Glob patterns of the images that are wanted, as of `GlobPatterns`. Their own extensions
        count as an image's, too, and so does a name without one: then the content decides. A
        pattern that names a hidden folder, or one of the system, takes what is in it. Empty: all
        images.
    exclude : sequence of str
        Glob patterns of images that are not wanted.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._include, self._exclude = GlobPatterns(include), GlobPatterns(exclude)
        self._has_include, self._has_exclude = bool(include), bool(exclude)
        self._extensions = extensions() | self._include.suffixes()
        self._named = frozenset(part for pattern in include for part in pattern.split("/"))

    def why_not(self, name: str) -> str | None:
        """Why a file of this relative path is skipped; None for an image that is wanted."""
        own = name.rpartition("/")[2]
        if own.startswith("._"):  # macOS writes these beside files on disks of other systems
            return "named ._*"
        if self.is_hidden(name):
            return HIDDEN
        is_included = self._include.matches(name)
        why_not = self._why_no_image(own, is_named=self._has_include and is_included)
        if why_not is None and not is_included:
            return NOT_INCLUDED
        if why_not is None and self._has_exclude and self._exclude.matches(name):
            return EXCLUDED
        return why_not

    def is_hidden(self, name: str) -> bool:
        """Whether a relative path is hidden or the system's, and no pattern names what makes it so.

        A folder's path ends with a slash.
        """
        if not _HIDDEN.search(name):
            return False
        *folders, own = name.split("/")
        hidden = [part for part in folders if _HIDDEN.match(f"{part}/")]
        return not {*hidden, *([own] if own.startswith(".") else [])} <= self._named

    def _why_no_image(self, name: str, *, is_named: bool) -> str | None:
        """Why a file of this name is not an image; None for an image."""
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        if suffix in self._extensions or (is_named and not _EXTENSION.fullmatch(suffix)):
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
