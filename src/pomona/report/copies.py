"""Copies: the images of a store whose files are the same, byte for byte."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pomona.report.projected import ImageRef

COPIES_SHOWN = 50
PATHS_SHOWN = 10


@dataclass(frozen=True)
class CopiedImage:
    """Files with the same bytes: how many, and some of them."""

    count: int
    images: list[ImageRef]


@dataclass(frozen=True)
class Copies:
    """Files that share their bytes with another.

    Attributes
    ----------
    images : int
        How many there are.
    contents : int
        How many different images they hold.
    label_contents, split_contents : int
        How many of these are under more than one label, or in more than one split.
    shown : list of CopiedImage
        Some of these, those under most labels first.
    """

    images: int
    contents: int
    label_contents: int
    split_contents: int
    shown: list[CopiedImage]


def find_repeated(digests: pa.ChunkedArray) -> pa.Array:
    """Finds digests that occur more than once.

    Parameters
    ----------
    digests : pyarrow.ChunkedArray
        SHA-256 of files in hexadecimal, or null.

    Returns
    -------
    pyarrow.Array
        The first 16 digits of those that seem to be repeated: whole they take three times the
        memory.
    """
    counts = pc.value_counts(pc.drop_null(_prefixes(digests)))
    return counts.filter(pc.greater(counts.field("counts"), 1)).field("values")


def _prefixes(digests: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_slice_codeunits(digests, 0, 16)


def find_copies(images: pa.Table, repeated: pa.Array) -> Copies:
    """Groups the images of a store that have the same bytes.

    Parameters
    ----------
    images : pyarrow.Table
        path, label, split and sha256: a row per image.
    repeated : pyarrow.Array
        What `find_repeated` returns for these images.
    """
    rows = images.filter(pc.is_in(_prefixes(images["sha256"]), repeated))
    groups: defaultdict[str, list[ImageRef]] = defaultdict(list)
    for row in rows.select(["path", "label", "split", "sha256"]).to_pylist():
        groups[row["sha256"]].append(ImageRef(**row))
    same = [group for group in groups.values() if len(group) > 1]
    contents = sorted(same, key=lambda group: -_labels(group))
    return Copies(
        images=sum(map(len, contents)),
        contents=len(contents),
        label_contents=sum(_labels(group) > 1 for group in contents),
        split_contents=sum(_splits(group) > 1 for group in contents),
        shown=[CopiedImage(len(group), group[:PATHS_SHOWN]) for group in contents[:COPIES_SHOWN]],
    )


def _labels(group: list[ImageRef]) -> int:
    return len({image.label for image in group} - {None})


def _splits(group: list[ImageRef]) -> int:
    return len({image.split for image in group} - {None})
