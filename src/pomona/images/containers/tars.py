"""Tar, and the shards of WebDataset: headers lie between the members, so a listing reads it all.

https://github.com/webdataset/webdataset: the files of a sample have one name up to the first dot;
`.cls` and the "label" of `.json` say its class.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator

from pomona.errors import ImageError
from pomona.images.containers.blob import Blob, BlobFile
from pomona.images.containers.member import DamagedError, Listing, Member, damaged, safe_name
from pomona.images.fetch import MAX_BYTES

BLOCK = tarfile.BLOCKSIZE
MAGIC, MAGIC_AT = b"ustar", 257
# The most bytes of a long name, or of a file that may say a label.
_MAX_NAME_BYTES, _MAX_TEXT_BYTES = 2**20, 2**16
_LABELS = ("cls", "json")
_PAX, _GLOBAL_PAX = b"x", b"g"


def list_members(blob: Blob) -> Listing:
    """Lists the files of a tar archive, with the labels of a WebDataset shard.

    Parameters
    ----------
    blob : Blob
        The archive.

    Raises
    ------
    DamagedError
        If it does not begin with a member.
    """
    listing = Listing()
    labels: dict[str, str] = {}
    found: dict[str, Member] = {}
    for info, at, data in _walk(BlobFile(blob), listing):
        name = safe_name(info.name)
        if info.isdir():
            continue
        if name is None or not info.isreg():
            listing.others += 1
            continue
        key, extension = _sample(name)
        if extension in _LABELS and data is not None:
            label = _read_label(extension, data)
            if label is not None:
                labels.setdefault(key, label)
        # As in tar itself, the last of a name counts.
        found[name] = Member(name, info.size, (at, info.size))
    listing.members = [
        Member(name, one.size_bytes, one.place, labels.get(_sample(name)[0]))
        for name, one in found.items()
    ]
    return listing


def extract(data: bytes, place: tuple[int, ...]) -> bytes:
    """Returns a member's bytes: those at its place. Raises ImageError (stage "fetch")."""
    _, size = place
    if size > MAX_BYTES:
        raise ImageError("fetch", "too_large", f"more than {MAX_BYTES >> 20} MiB")
    if len(data) < size:
        raise damaged("the tar ends within it")
    return data


def _walk(file: BlobFile, listing: Listing) -> Iterator[tuple[tarfile.TarInfo, int, bytes | None]]:
    """The members, where their bytes begin, and the bytes of those that may say a label."""
    at, lost = 0, 0
    long_name: str | None = None
    pax: dict[str, str] = {}
    while at < file.size:
        file.seek(at)
        block = file.read(BLOCK)
        if not any(block) and not lost:  # the end, unless another tar was appended to it
            at += BLOCK
            continue
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as exc:
            if not at:
                raise DamagedError("it does not begin with a member") from exc
            lost, at = lost or at, at + BLOCK  # the next header is one that has its checksum
            continue
        if lost:
            listing.lost.append(f"bytes {lost:,} to {at:,}")
            lost = 0
        at += BLOCK
        size = info.size
        if info.type in (tarfile.GNUTYPE_LONGNAME, _PAX, _GLOBAL_PAX) and size <= _MAX_NAME_BYTES:
            text = file.read(size)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                long_name = text.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type == _PAX:
                pax = _read_pax(text)
        elif info.type != tarfile.GNUTYPE_LONGLINK:
            info.name = pax.get("path", long_name or info.name)
            if pax.get("size", "").isdecimal():
                size = info.size = int(pax["size"])
            is_text = _sample(info.name)[1] in _LABELS and size <= _MAX_TEXT_BYTES
            yield info, at, file.read(size) if is_text and info.isreg() else None
            long_name, pax = None, {}
        at += -(-size // BLOCK) * BLOCK if size > 0 and not info.isdir() else 0
    if lost:
        listing.lost.append(f"bytes {lost:,} to {file.size:,}")


def _read_pax(text: bytes) -> dict[str, str]:
    """The records of an extended header, each "LENGTH KEY=VALUE" and a line feed."""
    records = {}
    while text:
        digits, _, _ = text.partition(b" ")
        if not digits.isdigit() or not len(digits) < int(digits[:9]) <= len(text):
            break
        record, text = text[len(digits) + 1 : int(digits)], text[int(digits) :]
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
    return records


def _sample(name: str) -> tuple[str, str]:
    """The key of a sample and the extension, as WebDataset parts a name: at its first dot."""
    folder, slash, own = name.rpartition("/")
    key, _, extension = own.partition(".")
    return f"{folder}{slash}{key}", extension.lower()


def _read_label(extension: str, data: bytes) -> str | None:
    """The label that a file of a sample says."""
    try:
        text = data.decode("utf-8").strip()
        value = text if extension == "cls" else json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = value.get("label")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value) or None
