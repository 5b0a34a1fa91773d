"""Member: an image in a container, where its bytes are, and what a container says of all."""

from __future__ import annotations

from dataclasses import dataclass, field

from pomona.errors import ImageError


@dataclass(frozen=True)
class Member:
    """An image in a container.

    Parameters
    ----------
    name : str
        Its path in the container, as `os.fsdecode` would give it.
    size_bytes : int
        Its size; in Parquet, the average of its row group.
    place : tuple of int
        The first byte to read, how many, and what else the format needs to find it there.
    label, split : str, optional
        What the container says of it. None: folders decide.
    """

    name: str
    size_bytes: int
    place: tuple[int, ...]
    label: str | None = None
    split: str | None = None


@dataclass
class Listing:
    """What a container holds.

    Attributes
    ----------
    members : list of Member
        Its files, or in Parquet its rows.
    are_images : bool
        Whether the members are images whatever their names.
    others : int
        Members that are neither files nor folders, or lead out of the container.
    lost : list of str
        Why parts of it could not be read.
    notes : list of str
        What may not be meant so.
    """

    members: list[Member] = field(default_factory=list)
    are_images: bool = False
    others: int = 0
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class DamagedError(Exception):
    """A container that cannot be listed at all, with the reason in words."""


class UnsuitableError(Exception):
    """A sound container that is not one of images, with the reason and the way out."""


def damaged(detail: str) -> ImageError:
    """Returns the error of an image whose bytes are not what its container says.

    Parameters
    ----------
    detail : str
        What is wrong with them.
    """
    return ImageError("fetch", "corrupt", f"{detail}: copy the container again")


def safe_name(name: str) -> str | None:
    """Returns a member's path without `./`; None for one that leads out of the container.

    Parameters
    ----------
    name : str
        The path as the container has it.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts or "\0" in name:
        return None
    return "/".join(parts)
