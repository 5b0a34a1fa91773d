"""Zip: its directory lists the members, and each can be read alone."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import IO, cast

from pomona.errors import ImageError
from pomona.images.containers.blob import Blob, BlobFile
from pomona.images.containers.member import DamagedError, Listing, Member, damaged, safe_name
from pomona.images.fetch import MAX_BYTES

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SYMLINK, _KIND = 0o120000, 0o170000


def list_members(blob: Blob) -> Listing:
    """Lists the files of a zip archive.

    Parameters
    ----------
    blob : Blob
        The archive.

    Raises
    ------
    DamagedError
        If its directory cannot be read.
    """
    try:
        with zipfile.ZipFile(cast("IO[bytes]", BlobFile(blob))) as archive:
            infos, end = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as exc:
        raise DamagedError(f"its directory cannot be read ({exc})") from exc
    starts = sorted({info.header_offset for info in infos})
    ends = dict(zip(starts, [*starts[1:], end], strict=True))
    listing, seen = Listing(), set()
    for info in infos:
        if info.is_dir():
            continue
        name = safe_name(info.filename)
        if name is None or name in seen or info.external_attr >> 16 & _KIND == _SYMLINK:
            listing.others += 1
            continue
        seen.add(name)
        # What members share bytes, as those of a bomb do, none can have as its own.
        size = max(0, ends[info.header_offset] - info.header_offset)
        listing.members.append(
            Member(
                name,
                info.file_size,
                (
                    info.header_offset,
                    min(size, info.compress_size + 2**17),
                    info.compress_size,
                    info.file_size,
                    info.CRC,
                    info.compress_type,
                    info.flag_bits & _ENCRYPTED,
                ),
            )
        )
    return listing


def extract(data: bytes, place: tuple[int, ...]) -> bytes:
    """Returns a member's bytes.

    Parameters
    ----------
    data : bytes
        What is at its place.
    place : tuple of int
        Of its `Member`.

    Raises
    ------
    ImageError
        Stage "fetch": if they are not what the directory says, or of a kind that is not read.
    """
    _, _, packed, size, crc, method, is_encrypted = place
    if is_encrypted or method not in _METHODS:
        what = "it is encrypted" if is_encrypted else f"compressed by method {method}"
        raise ImageError("fetch", "unsupported", f"{what}: zip it again, stored or deflated")
    if max(packed, size) > MAX_BYTES:
        raise ImageError("fetch", "too_large", f"more than {MAX_BYTES >> 20} MiB")
    if len(data) < _HEADER.size or not data.startswith(MAGIC[0]):
        raise damaged("no member of the zip where its directory says")
    *_, name_bytes, extra_bytes = _HEADER.unpack_from(data)
    start = _HEADER.size + name_bytes + extra_bytes
    own = data[start : start + packed]
    if len(own) < packed:
        raise damaged("fewer bytes in the zip than its directory says")
    if method == zipfile.ZIP_DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            own = inflate.decompress(own, size + 1)  # a bomb ends here
        except zlib.error as exc:
            raise damaged("its compressed bytes in the zip are damaged") from exc
    if len(own) != size or zlib.crc32(own) != crc:
        raise damaged("its bytes in the zip do not have their checksum")
    return own
