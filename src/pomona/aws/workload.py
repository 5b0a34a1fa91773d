"""What a run has to do: how many images, how large, and how many requests they cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pomona.errors import UsageError
from pomona.store.plan import TAIL_SHARD_FACTOR, shard_size

# Where the size in pixels is not known: 5,000 bytes are then 100 x 100 pixels.
BYTES_PER_PIXEL = 0.5
# Of a store, without its PCA model: README.md, "What it costs".
STORE_BYTES_PER_IMAGE = 7_300
# How a pack is read (images/sources/pack.py), and how large its files are (transfer/pack.py).
WINDOW_BYTES, PACK_BYTES = 16 * 2**20, 128_000_000
# Requests that a run made in the access log of an S3 server, with 10 and with 27 parts: for each
# part of the store, and beside them. LIST counts as PUT, HEAD as GET.
PART_GETS, PART_PUTS = 14, 7
RUN_GETS, RUN_PUTS = 60, 45
LISTED = 1_000


@dataclass(frozen=True)
class Workload:
    """The images of a run.

    Parameters
    ----------
    images : int
        How many there are.
    image_bytes : float
        The mean size of their files.
    pixels : float, optional
        Their mean size in pixels. None: `image_bytes` divided by `BYTES_PER_PIXEL`.
    packed : bool
        Whether they are in a pack or a container, where one request reads many.
    notes : tuple of str
        What was assumed or found of them, one sentence each.

    Raises
    ------
    UsageError
        If a number is not positive.
    """

    images: int
    image_bytes: float
    pixels: float | None = None
    packed: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("images", "image_bytes", "pixels"):
            if (value := getattr(self, name)) is not None and not 0 < value < 1e15:
                raise UsageError(f"`{name}` {value:g}: give a number above 0")

    @property
    def size_bytes(self) -> float:
        """The size of all files."""
        return self.images * self.image_bytes

    @property
    def image_pixels(self) -> float:
        """The mean size in pixels, assumed where it is not known."""
        return self.image_bytes / BYTES_PER_PIXEL if self.pixels is None else self.pixels

    @property
    def assumptions(self) -> tuple[str, ...]:
        """The notes, with what is assumed of the size in pixels."""
        if self.pixels is not None:
            return self.notes
        per_byte = 1 / BYTES_PER_PIXEL
        return (*self.notes, f"Their size in pixels is assumed: {per_byte:g} for each byte.")

    @property
    def store_bytes(self) -> float:
        """About the size of the store."""
        return self.images * STORE_BYTES_PER_IMAGE


@dataclass(frozen=True)
class Requests:
    """Requests to S3 of one run.

    Attributes
    ----------
    gets, puts : int
        GET and HEAD; PUT and LIST, which cost the same.
    """

    gets: int
    puts: int

    @property
    def total(self) -> int:
        """All of them, each of which the audit trail records."""
        return self.gets + self.puts


def requests(workload: Workload) -> Requests:
    """Returns about how many requests to S3 a run makes.

    Parameters
    ----------
    workload : Workload
        Its images.
    """
    parts = math.ceil(workload.images * TAIL_SHARD_FACTOR / shard_size(workload.images))
    if workload.packed:
        files = math.ceil(workload.size_bytes / PACK_BYTES)
        images, lists = files + math.ceil(workload.size_bytes / WINDOW_BYTES), 0
    else:
        images, lists = workload.images, math.ceil(workload.images / LISTED)
    return Requests(
        gets=RUN_GETS + images + PART_GETS * parts, puts=RUN_PUTS + lists + PART_PUTS * parts
    )
