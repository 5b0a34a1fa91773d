"""Kinds of containers: by their names, and on disk by their first bytes."""

from __future__ import annotations

from pathlib import Path

from pomona.errors import SourceError
from pomona.images.containers import tables, tars, zips
from pomona.images.formats import extensions

KINDS = ("zip", "tar", "parquet")
PACKED_TAR = "compressed tar"
ARROW = "Arrow"
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def name_kind(name: str) -> str | None:
    """Returns the kind of container that a name stands for, None for another name.

    Parameters
    ----------
    name : str
        A file's name, or a key.
    """
    lower = name.lower()
    if lower.endswith(_PACKED):
        return PACKED_TAR
    if lower.endswith(".arrow"):
        return ARROW
    return next((kind for kind in KINDS if lower.endswith(f".{kind}")), None)


def check_kind(name: str, kind: str) -> str:
    """Returns the kind of a container that is to be read.

    Parameters
    ----------
    name, kind : str
        Its name and its kind.

    Raises
    ------
    SourceError
        For a compressed tar, which cannot be read in ranges, and for an Arrow file.
    """
    if kind == ARROW:
        raise SourceError(
            f"{name} is an Arrow file, as save_to_disk of Hugging Face's datasets writes it: write "
            "it as Parquet first, with datasets.load_from_disk(FOLDER).to_parquet(FILE)"
        )
    if kind == PACKED_TAR:
        raise SourceError(
            f"{name} is compressed as a whole, so no image in it can be read alone: "
            "decompress it to .tar first"
        )
    return kind


def file_kind(path: Path) -> str | None:
    """Returns the kind of container that a file is, None for another file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    SourceError
        For a file with a container's name that is none.
    """
    if path.suffix.lower() in extensions():
        return None
    named = name_kind(path.name)
    try:
        with path.open("rb") as file:
            head = file.read(tars.BLOCK)
    except OSError:
        return named  # whoever reads it says why it cannot
    if head.startswith(zips.MAGIC):
        return "zip"
    if head.startswith(tables.MAGIC):
        return "parquet"
    if head[tars.MAGIC_AT :].startswith(tars.MAGIC):
        return "tar"
    if named is not None and named in ("zip", "parquet"):  # the oldest tars have no mark
        raise SourceError(f"{path} is no {named} file: copy it again, or give another source")
    return named
