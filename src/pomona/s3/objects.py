"""Objects: what a listing and a reading say of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pomona.s3.signed_get import Reply, seconds


@dataclass(frozen=True)
class Listed:
    """An object as a listing names it.

    Parameters
    ----------
    key : str
        Its key.
    size_bytes : int
        Its size.
    etag : str
        Its ETag, without quotes.
    modified : float
        When it was put, in seconds since 1970.
    """

    key: str
    size_bytes: int
    etag: str
    modified: float = 0.0


@dataclass(frozen=True)
class Got:
    """An object as it was read.

    Parameters
    ----------
    data : bytes
        What was read of it.
    etag : str
        Its ETag, without quotes.
    size_bytes : int
        The size of all of it.
    modified, now : float
        When it was put and when it was read, in seconds since 1970 by the server's clock.
    """

    data: bytes
    etag: str
    size_bytes: int
    modified: float
    now: float


def from_page(page: dict[str, Any]) -> list[Listed]:
    """Returns the objects of a page of a listing.

    Parameters
    ----------
    page : dict
        botocore's reply to ListObjectsV2.
    """
    return [
        Listed(each["Key"], each["Size"], each["ETag"].strip('"'), each["LastModified"].timestamp())
        for each in page.get("Contents", [])
    ]


def from_signed_get(reply: Reply) -> Got:
    """Returns the object that a signed GET has read.

    Parameters
    ----------
    reply : Reply
        The server's reply.
    """
    return Got(
        reply.data,
        reply.headers.get("etag", "").strip('"'),
        _total(reply.headers.get("content-range", ""), len(reply.data)),
        seconds(reply.headers.get("last-modified")),
        seconds(reply.headers.get("date")),
    )


def from_botocore(reply: dict[str, Any], data: bytes, size_bytes: int | None = None) -> Got:
    """Returns the object that a request of botocore's has read.

    Parameters
    ----------
    reply : dict
        botocore's reply to GetObject or HeadObject.
    data : bytes
        What was read of the object.
    size_bytes : int, optional
        The size of all of it. None: as the reply's Content-Range says, else that of `data`.
    """
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    if size_bytes is None:
        size_bytes = _total(reply.get("ContentRange", ""), len(data))
    return Got(
        data,
        str(reply.get("ETag", "")).strip('"'),
        size_bytes,
        reply["LastModified"].timestamp(),
        seconds(headers.get("date")),
    )


def _total(content_range: str, read: int) -> int:
    """Returns the size of all of an object; without a Content-Range, that of what was read."""
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdigit() else read
