"""Strip a TIFF: its bytes stay where they are, and those that no pixel needs become zeros.

The offsets of a TIFF lead anywhere in it (TIFF 6.0, section 2; BigTIFF). So the stripped file
starts as zeros, into which goes whatever its directories reach by a tag that pixels need.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pomona.errors import ImageError
from pomona.images.stripping.jpeg import metadata_ranges
from pomona.images.stripping.metadata import corrupt, is_profile, orientation, truncated

MAX_DIRECTORIES, MAX_ENTRIES = 10_000, 4_096
ORIENTATION, XMP, COMPRESSION, PROFILE = 274, 700, 259, 34675
# Tags that lead to further directories: smaller pictures, EXIF, GPS, EXIF's interoperability.
_LEADING = (330, 34665, 34853, 40965)
_YCBCR, _PLANAR = 6, 2
_PLAIN, _OLD_JPEG, _JPEG, _TABLES = 1, 6, 7, 347
# Compressions without a place for metadata, which WebP and JPEG 2000 have.
_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000)
# Types of values: bytes; text and undefined.
_BYTES, _TEXTS = (1, 6), (2, 7)
# Tag of the offsets of pixels → tag of their sizes in bytes.
_PIXELS = {273: 279, 324: 325}
# Tags that pixels need (TIFF 6.0), and the ICC profile.
_KEPT = frozenset([*range(254, 260), *range(262, 267), 273, ORIENTATION, *range(277, 285)])
_KEPT |= frozenset([*range(288, 294), 296, 297, 301, *range(317, 329), 332, 334, 336])
_KEPT |= frozenset([*range(338, 343), 347, *range(529, 533), PROFILE])
# Type → bytes of a value (TIFF 6.0, page 15; 16 to 18 are BigTIFF's).
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_WHOLE = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
MAX_DEPTH = 3
# How many parts of a file may share a byte, on average.
MAX_SHARED = 8


@dataclass
class _Layout:
    """How a TIFF stores numbers: its byte order, and wider offsets in a BigTIFF.

    left: the entries that may still be read before the file is refused.
    """

    order: str
    big: bool
    left: int = 500_000

    @property
    def word(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def room(self) -> int:
        return 8 if self.big else 4

    @property
    def entry(self) -> int:
        return 20 if self.big else 12


@dataclass(frozen=True)
class _Entry:
    """An entry of a directory: its bytes (raw) and where its values lie, in these if `inside`."""

    tag: int
    kind: int
    count: int
    raw: bytes
    start: int
    end: int
    inside: bool


def strip_tiff(data: bytes) -> bytes:
    """Takes the metadata out of a TIFF. Raises ImageError (stage "strip")."""
    layout = _Layout(">" if data[:2] == b"MM" else "<", 43 in data[2:4])
    header = 16 if layout.big else 8
    [at] = struct.unpack_from(layout.word, data, header - layout.room)
    kept = [(0, header)]
    dropped: list[tuple[int, int]] = []
    directories: dict[int, bytes] = {}
    while at:
        if len(directories) == MAX_DIRECTORIES or at in directories:
            raise corrupt("too many directories")
        entries, after = _read(data, at, layout)
        [following] = struct.unpack_from(layout.word, data, after)
        stays = [
            entry
            for entry in entries
            if entry.tag in _KEPT
            and (entry.tag != PROFILE or is_profile(data[entry.start : entry.end]))
            and (entry.tag != _TABLES or _compression(data, entries, layout) == _JPEG)
        ]
        _refuse_texts(stays)
        used, unused = _split(data, stays, layout)
        kept += used
        dropped += unused
        dropped += _metadata(data, entries, layout)
        dropped.append((at, after + layout.room))
        raws = {entry.tag: _padded(entry, layout) for entry in stays}
        if ORIENTATION not in raws and not directories:
            raws |= _xmp_orientation(data, entries, layout)
        directories[at] = _directory(raws, following, layout)
        at = following
    return _assemble(data, kept, dropped, directories)


def _read(data: bytes, at: int, layout: _Layout) -> tuple[list[_Entry], int]:
    """A directory's entries, and where the offset of the next directory stands."""
    [count] = struct.unpack_from(layout.count, data, at)
    first = at + struct.calcsize(layout.count)
    layout.left -= count
    if layout.left < 0:
        raise corrupt("too many entries")
    if not 0 < count <= MAX_ENTRIES or first + count * layout.entry + layout.room > len(data):
        raise corrupt("an invalid directory")
    entries = []
    for place in range(first, first + count * layout.entry, layout.entry):
        raw = data[place : place + layout.entry]
        tag, kind, many = struct.unpack_from(layout.order + "HH" + layout.word[1:], raw)
        size = _SIZES.get(kind, 0) * many
        start = place + layout.entry - layout.room
        if size > layout.room:
            [start] = struct.unpack(layout.word, raw[-layout.room :])
        if (kind not in _SIZES and tag in _KEPT) or start + size > len(data):
            raise corrupt("values outside the file")
        entries.append(_Entry(tag, kind, many, raw, start, start + size, size <= layout.room))
    return entries, first + count * layout.entry


def _numbers(data: bytes, entry: _Entry, layout: _Layout) -> tuple[int, ...]:
    """The values of an entry of whole numbers."""
    if entry.kind not in _WHOLE:
        raise corrupt("offsets that are not numbers")
    return struct.unpack_from(f"{layout.order}{entry.count}{_WHOLE[entry.kind]}", data, entry.start)


def _refuse_texts(entries: list[_Entry]) -> None:
    """Refuses text where numbers belong."""
    for entry in entries:
        is_text = entry.kind in _TEXTS or (entry.kind in _BYTES and not entry.inside)
        if is_text and entry.tag not in (_TABLES, PROFILE):
            raise corrupt(f"text where tag {entry.tag} has numbers")


def _padded(entry: _Entry, layout: _Layout) -> bytes:
    """An entry's bytes, with zeros behind a value that is shorter than the room for it."""
    used = layout.entry - layout.room + (entry.end - entry.start if entry.inside else layout.room)
    return entry.raw[:used].ljust(layout.entry, b"\0")


def _compression(data: bytes, entries: list[_Entry], layout: _Layout) -> int:
    """The compression of a directory's pixels; refused where it may hold metadata."""
    given = [entry for entry in entries if entry.tag == COMPRESSION]
    [compression] = _numbers(data, given[-1], layout)[:1] if given else [_PLAIN]
    if compression == _OLD_JPEG:
        raise ImageError("strip", "unsupported", "TIFF with old-style JPEG compression")
    if compression not in _COMPRESSIONS:
        raise ImageError("strip", "unsupported", f"TIFF with compression {compression}")
    return compression


def _split(
    data: bytes, entries: list[_Entry], layout: _Layout
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The ranges that a directory's pixels need, and those that their JPEGs hold in addition."""
    used = [(entry.start, entry.end) for entry in entries if not entry.inside]
    pixels = list(_pixels(data, entries, layout))
    if _compression(data, entries, layout) != _JPEG:
        return used + pixels, []
    tables = [(entry.start, entry.end) for entry in entries if entry.tag == _TABLES]
    if any(entry.inside for entry in entries if entry.tag == _TABLES):
        raise corrupt("invalid JPEG tables")
    used = [part for part in used if part not in tables]
    unused = []
    for start, end in dict.fromkeys(tables + pixels):
        at = start
        for first, last in metadata_ranges(data[start:end], tables=(start, end) in tables):
            used.append((at, start + first))
            unused.append((start + first, start + last))
            at = start + last
        used.append((at, end))
    return used, unused


def _pixels(data: bytes, entries: list[_Entry], layout: _Layout) -> Iterator[tuple[int, int]]:
    """The ranges of a directory's pixels."""
    by_tag = {entry.tag: entry for entry in entries}
    plain = _compression(data, entries, layout) == _PLAIN
    wanted = _plain_size(data, by_tag, layout) if plain and 273 in by_tag else None
    for where, sizes in _PIXELS.items():
        if where not in by_tag:
            continue
        starts = _numbers(data, by_tag[where], layout)
        if sizes in by_tag:
            lengths = _numbers(data, by_tag[sizes], layout)
        elif len(starts) == 1:
            raise ImageError("strip", "unsupported", "TIFF without the size of its strip")
        else:
            raise corrupt("strips without their sizes")
        if len(starts) != len(lengths):
            raise corrupt("unequal numbers of strips and sizes")
        if wanted not in (None, sum(lengths)):
            raise corrupt("strips whose sizes do not match its rows")
        for start, length in zip(starts, lengths, strict=True):
            if start + length > len(data):
                raise truncated()
            yield start, start + length


def _plain_size(data: bytes, by_tag: dict[int, _Entry], layout: _Layout) -> int | None:
    """The size of uncompressed pixels in bytes; None where a sample stands for several pixels."""

    def first(tag: int, otherwise: int) -> int:
        return _numbers(data, by_tag[tag], layout)[0] if tag in by_tag else otherwise

    if first(262, 0) == _YCBCR:
        return None
    bits = _numbers(data, by_tag[258], layout) if 258 in by_tag else (1,) * first(277, 1)
    planes = bits if first(284, 1) == _PLANAR else (sum(bits),)
    return sum((first(256, 0) * plane + 7) // 8 for plane in planes) * first(257, 0)


def _metadata(
    data: bytes, entries: list[_Entry], layout: _Layout, depth: int = 0
) -> Iterator[tuple[int, int]]:
    """The ranges of values that no pixel needs, and of the directories that they lead to."""
    for entry in entries:
        if entry.tag in _KEPT and not depth:
            continue
        if not entry.inside:
            yield entry.start, entry.end
        if entry.tag in _LEADING and depth < MAX_DEPTH:
            for at in _numbers(data, entry, layout)[:MAX_ENTRIES]:
                further, after = _read(data, at, layout)
                yield at, after + layout.room
                yield from _metadata(data, further, layout, depth + 1)


def _xmp_orientation(data: bytes, entries: list[_Entry], layout: _Layout) -> dict[int, bytes]:
    """The entry for an orientation that only XMP gives, by its tag."""
    for entry in entries:
        if entry.tag == XMP and (turn := orientation(b"", data[entry.start : entry.end])) != 1:
            value = struct.pack(layout.order + "H", turn).ljust(layout.room, b"\0")
            one = struct.pack(layout.order + "HH" + layout.word[1:], ORIENTATION, 3, 1)
            return {ORIENTATION: one + value}
    return {}


def _directory(raws: dict[int, bytes], following: int, layout: _Layout) -> bytes:
    """A directory's bytes: its entries in the order of their tags, and the next one's offset."""
    return (
        struct.pack(layout.count, len(raws))
        + b"".join(raws[tag] for tag in sorted(raws))
        + struct.pack(layout.word, following)
    )


def _assemble(
    data: bytes,
    kept: list[tuple[int, int]],
    dropped: list[tuple[int, int]],
    directories: dict[int, bytes],
) -> bytes:
    """Zeros with the ranges that are kept; refused where these overlap those that are dropped."""
    if sum(end - start for start, end in kept + dropped) > MAX_SHARED * len(data):
        raise corrupt("parts that overlap too often")
    taken = bytearray(len(data))
    for start, end in dropped:
        taken[start:end] = b"\1" * (end - start)
    stripped = bytearray(len(data))
    for start, end in kept:
        if taken.find(1, start, end) >= 0:
            raise corrupt("pixels and metadata that overlap")
        stripped[start:end] = data[start:end]
    for place, table in directories.items():
        stripped[place : place + len(table)] = table
    return bytes(stripped)
