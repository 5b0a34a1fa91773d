"""Images in zip, tar and Parquet files: one such file, or all those of a folder."""

from __future__ import annotations

import contextlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pomona.errors import ImageError, SourceError
from pomona.images.containers import tables, tars, zips
from pomona.images.containers.blob import MAX_READ_BYTES, Blob
from pomona.images.containers.member import DamagedError, Listing, Member, UnsuitableError
from pomona.images.fetch import MAX_BYTES
from pomona.images.prefetch import ImageRequest
from pomona.images.scan import Row, Scan, to_catalog
from pomona.images.select import EXCLUDED, HIDDEN, NOT_INCLUDED, GlobPatterns, NameFilter
from pomona.store.folders.registry import is_address
from pomona.store.schemas import decode_path, encode_path

# What one request reads at most, unless an image or a row group is larger, and what it reads in
# vain rather than being two; what is kept of earlier requests.
WINDOW_BYTES, HOLE_BYTES, KEPT_BYTES = 16 * 2**20, 2**20, 48 * 2**20
_LISTERS = {"zip": zips.list_members, "tar": tars.list_members, "parquet": tables.list_members}
_PLACE = re.compile(r"(.+)@([0-9a-f]+(?:\.[0-9a-f]+)+)")
# The most bytes of a member with its header, or of the images of a row group.
_LIMITS = {"zip": MAX_BYTES + 2**17, "tar": MAX_BYTES, "parquet": MAX_READ_BYTES}
Span = tuple[int, ...]
_Wanted = tuple[NameFilter, GlobPatterns, GlobPatterns, bool]


class ContainerSource:
    """Images in containers. A fingerprint is the container's, and the image's place in it.

    Parameters
    ----------
    name : str
        The source as the user gave it.
    blobs : dict
        The containers by their names, each with its kind: zip, tar or parquet. A single one has
        the name "", and its images have their names in it alone.
    """

    ahead = 1

    def __init__(self, name: str, blobs: dict[str, tuple[str, Blob]]) -> None:
        self._name, self._blobs = name, blobs
        self._places: dict[str, dict[str, Member]] = {}
        self._expected: dict[str, list[Span]] = {}
        self._held: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()
        self._groups: OrderedDict[tuple[str, str, int], Any] = OrderedDict()
        self._footers: dict[tuple[str, str], Any] = {}

    def __str__(self) -> str:
        return self._name

    def __reduce__(self) -> tuple[type[ContainerSource], tuple[str, dict[str, tuple[str, Blob]]]]:
        return type(self), (self._name, self._blobs)  # without the images in memory

    def absolute(self) -> ContainerSource:
        """Returns this source for a worker, whatever its working directory."""
        blobs = {name: (kind, blob.absolute()) for name, (kind, blob) in self._blobs.items()}
        name = self._name if is_address(self._name) else os.path.abspath(self._name)
        return ContainerSource(name, blobs)

    def scan(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Scan:
        """Lists the images of all containers. Raises SourceError, ObjectStoreError."""
        result = Scan(containers=frozenset(map(encode_path, self._blobs)) - {""})
        wanted = NameFilter(include, exclude), GlobPatterns(include), GlobPatterns(exclude)
        result.catalog = to_catalog(self._rows((*wanted, bool(exclude)), result))
        return result

    def _rows(self, wanted: _Wanted, result: Scan) -> Iterator[Row]:
        """The rows of images; counts all other members in the result."""
        for container, (_, blob) in sorted(self._blobs.items()):
            try:
                stamp = blob.stamp
            except OSError as exc:
                raise SourceError(f"cannot read {blob}: {exc.strerror}; check the path") from exc
            listing = self._list(container)
            if listing.others:
                result.skipped["leading out of a container, or of no plain kind"] += listing.others
            result.unlisted += [f"{why} of {blob}" for why in listing.lost]
            result.notes += [note for note in listing.notes if note not in result.notes]
            for member in listing.members:
                why_not = _why_not(member.name, wanted, are_images=listing.are_images)
                if why_not is not None:
                    result.skipped[why_not] += 1
                    continue
                name = f"{container}/{member.name}" if container else member.name
                place = ".".join(f"{number:x}" for number in member.place)
                label = member.label and encode_path(member.label)
                row = encode_path(name), label, member.split, member.size_bytes
                yield (*row, f"{stamp}@{place}")

    def _list(self, container: str) -> Listing:
        kind, blob = self._blobs[container]
        try:
            return _LISTERS[kind](blob)
        except DamagedError as exc:
            raise SourceError(f"cannot read {blob}: {exc}; copy it again, or leave it out") from exc
        except UnsuitableError as exc:
            raise SourceError(f"cannot take images from {blob}: {exc}") from exc
        except ImageError as exc:
            raise SourceError(f"cannot read {blob} ({exc}): check it, then run again") from exc

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        """Announces the images that `fetch` will be asked for, to be read in few large pieces."""
        spans: dict[str, set[Span]] = {}
        for image in wanted:
            container, member = self._split(image.path)
            found = _PLACE.fullmatch(image.fingerprint or "")
            with contextlib.suppress(ImageError):  # `fetch` says it
                place = _numbers(found[2]) if found else self._find(container, member)
                if place[1] <= _LIMITS[self._blobs[container][0]]:
                    spans.setdefault(container, set()).add(place[:2])
        self._expected = {container: _windows(sorted(own)) for container, own in spans.items()}

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        """Reads an image. Raises ImageError (stage "fetch"), ObjectStoreError."""
        container, member = self._split(path)
        if container not in self._blobs:
            raise ImageError("fetch", "not_found")
        kind = self._blobs[container][0]
        found = _PLACE.fullmatch(expected or "")
        if found is None and expected is not None:
            raise ImageError("fetch", "changed")
        if found is not None:
            stamp, place = found[1], _numbers(found[2])
        else:
            stamp, place = self._stamp(container), self._find(container, member)
        if place[1] > _LIMITS[kind]:  # a damaged header may say anything
            raise ImageError("fetch", "too_large", f"more than {_LIMITS[kind] >> 20} MiB")
        if kind == "parquet":
            return self._fetch_row(container, stamp, place)
        data = self._read(container, stamp, place)
        return zips.extract(data, place) if kind == "zip" else tars.extract(data, place)

    def _fetch_row(self, container: str, stamp: str, place: tuple[int, ...]) -> bytes:
        """An image of a Parquet file, from its row group, which is kept for its other rows."""
        key = (container, stamp, place[2])
        if key not in self._groups:
            blob = self._blobs[container][1]
            if (container, stamp) not in self._footers:
                self._footers = {(container, stamp): tables.read_metadata(blob)}
            footer = self._footers[container, stamp]
            data = self._read(container, stamp, place)
            size = int(stamp.rpartition("-")[2], 16)
            self._groups[key] = tables.read_group(data, place, footer, size)
            while (
                len(self._groups) > 1 and sum(g.nbytes for g in self._groups.values()) > KEPT_BYTES
            ):
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return tables.extract(self._groups[key], place)

    def _read(self, container: str, stamp: str, place: tuple[int, ...]) -> bytes:
        """The bytes at a place, in one request with those of other expected images nearby."""
        start, size = place[:2]
        window = next(
            (
                (begin, length)
                for begin, length in self._expected.get(container, ())
                if begin <= start and start + size <= begin + length
            ),
            (start, size),
        )
        key = (container, stamp, window[0])
        held = self._held.get(key)
        if held is None or start + size > window[0] + len(held):
            held = self._blobs[container][1].read(*window, stamp)
            self._held[key] = held
            while len(self._held) > 1 and sum(map(len, self._held.values())) > KEPT_BYTES:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return held[start - window[0] : start - window[0] + size]

    def _find(self, container: str, member: str) -> tuple[int, ...]:
        """The place of an image that only its name tells."""
        if container not in self._places:
            if container not in self._blobs:
                raise ImageError("fetch", "not_found")
            try:
                members = self._list(container).members
            except SourceError as exc:
                raise ImageError("fetch", "io_error", "its container cannot be read") from exc
            self._places[container] = {one.name: one for one in members}
        found = self._places[container].get(member)
        if found is None:
            raise ImageError("fetch", "not_found", "not in the container")
        return found.place

    def _stamp(self, container: str) -> str:
        try:
            return self._blobs[container][1].stamp
        except FileNotFoundError as exc:
            raise ImageError("fetch", "not_found") from exc

    def _split(self, path: str) -> tuple[str, str]:
        """The container of an image, and its name in it."""
        name = decode_path(path)
        if "" in self._blobs:
            return "", name
        at = name.find("/")
        while at >= 0 and name[:at] not in self._blobs:
            at = name.find("/", at + 1)
        return (name[:at], name[at + 1 :]) if at >= 0 else (name, "")

    def find_problem(self, path: str, expected: str | None) -> str | None:
        """Why this machine does not see a container as the scan did, with the remedy."""
        container, _ = self._split(path)
        found = _PLACE.fullmatch(expected or "")
        try:
            self._blobs[container][1].read(0, 1, found[1] if found else None)
        except (ImageError, KeyError) as exc:
            return f"cannot read SOURCE ({exc}): put {self} on a disk that all nodes share"
        return None


def _why_not(name: str, wanted: _Wanted, *, are_images: bool) -> str | None:
    """Why a member is skipped; None for an image that is wanted, which its name need not tell."""
    by_name, included, excluded, has_exclude = wanted
    if not are_images:
        return by_name.why_not(name)
    if by_name.is_hidden(name):
        return HIDDEN
    if not included.matches(name):
        return NOT_INCLUDED
    return EXCLUDED if has_exclude and excluded.matches(name) else None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number, 16) for number in text.split("."))


def _windows(spans: list[Span]) -> list[Span]:
    """What to read at once: neighbours with little between them."""
    windows: list[Span] = []
    for start, size in spans:
        if windows:
            begin, length = windows[-1]
            end = max(begin + length, start + size)
            if start - begin - length <= HOLE_BYTES and end - begin <= WINDOW_BYTES:
                windows[-1] = begin, end - begin
                continue
        windows.append((start, size))
    return windows
