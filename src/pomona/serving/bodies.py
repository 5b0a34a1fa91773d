"""Bodies: the images and fields of a request, within bounds of bytes and parts."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request

from pomona.serving.problems import RefusedError, overloaded
from pomona.serving.settings import ServeSettings

MOST_FIELDS = 8
MOST_FIELD_BYTES = 4_096
MOST_NAME = 200
MOST_TEXT_BYTES = 2**16
# Of all requests together: so many times the most of one, and no less than this.
HELD_REQUESTS, FEWEST_HELD_BYTES = 4, 2**28

MULTIPART, FORM = "multipart/form-data", "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class File:
    """A file that was sent.

    Attributes
    ----------
    name : str, optional
        What the client calls it. It names the file in the answer, and is used for nothing else.
    data : bytes
        Its content.
    """

    name: str | None
    data: bytes


class Memory:
    """Counts the bytes of the requests that are in memory.

    Parameters
    ----------
    settings : ServeSettings
        Whose `max_bytes` bounds a request.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.most_bytes = max(FEWEST_HELD_BYTES, HELD_REQUESTS * settings.max_bytes)
        self.held_bytes = 0

    @contextmanager
    def request(self) -> Iterator[Share]:
        """Gives a request its share, and takes it back."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held_bytes -= share.bytes


class Share:
    """A request's share of the memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.bytes = 0

    def take(self, count: int) -> None:
        """Takes some bytes. Raises RefusedError if there is no room."""
        if self._memory.held_bytes + count > self._memory.most_bytes:
            raise overloaded("too many bytes of other requests are in memory: ask again later")
        self._memory.held_bytes += count
        self.bytes += count


def media_type(request: Request) -> str:
    """Returns the media type of a request's body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_bytes(request: Request, most: int, share: Share) -> bytes:
    """Reads a body whole. Raises RefusedError beyond `most` bytes."""
    return b"".join([chunk async for chunk in _stream(request, most, share)])


async def read_files(request: Request, settings: ServeSettings, share: Share) -> list[File]:
    """Reads the images of a request: its body, or the files of a multipart body.

    Raises
    ------
    RefusedError
        If there are none or too many, or the body cannot be parsed.
    """
    if media_type(request) != MULTIPART:
        data = await read_bytes(request, settings.max_bytes, share)
        if not data:
            raise RefusedError(
                400, "the request has no image: send one as its body, or several as multipart"
            )
        return [File(None, data)]
    files, _ = await read_form(request, settings, share)
    if not files:
        raise RefusedError(400, "no part of the request is a file: give each image a file name")
    return files


async def read_form(
    request: Request, settings: ServeSettings, share: Share
) -> tuple[list[File], dict[str, str]]:
    """Reads the files and the fields of a form. Raises RefusedError as `read_files` does."""
    headers = Headers({"content-type": request.headers.get("content-type", "")})
    stream = _stream(request, settings.max_bytes, share)
    parser: MultiPartParser | FormParser
    if media_type(request) == MULTIPART:
        parser = _InMemory(
            headers,
            stream,
            max_files=settings.max_images,
            max_fields=MOST_FIELDS,
            max_part_size=MOST_FIELD_BYTES,
        )
    elif media_type(request) == FORM:
        parser = FormParser(headers, stream)
    else:
        raise RefusedError(415, f"a form is sent as {MULTIPART} or {FORM}")
    try:
        form = await parser.parse()
    except MultiPartException as exc:
        status = 413 if "Too many" in exc.message or "exceeded" in exc.message else 400
        raise RefusedError(
            status, f"{exc.message.rstrip('.')}: send fewer or smaller parts"
        ) from exc
    files, fields = [], {}
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            fields[name] = value
        elif value.filename:  # a form without a choice sends a file without a name
            files.append(File(value.filename[:MOST_NAME], value.file.read()))
            value.file.close()
    return files, fields


async def read_json(request: Request, share: Share) -> dict[str, Any]:
    """Reads a JSON object. Raises RefusedError for anything else."""
    data = await read_bytes(request, MOST_TEXT_BYTES, share)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise RefusedError(400, "the body is not JSON") from exc
    if not isinstance(content, dict):
        raise RefusedError(400, "the body is not a JSON object")
    return content


class _InMemory(MultiPartParser):
    """Keeps files in memory, which is bounded, and off the disk."""

    spool_max_size = sys.maxsize


async def _stream(request: Request, most: int, share: Share) -> AsyncGenerator[bytes, None]:
    """The chunks of a body of at most `most` bytes."""
    size = 0
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(most)
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        share.take(len(chunk))
        yield chunk


def _too_large(most: int) -> RefusedError:
    return RefusedError(
        413, f"the body has more than {most:,} bytes: send less, or a smaller image"
    )
