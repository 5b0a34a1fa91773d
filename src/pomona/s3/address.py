"""Addresses: `s3://bucket/prefix`, and how buckets are used."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pomona.errors import UsageError

SCHEME = "s3://"
SSE = ("AES256", "aws:kms", "none")


@dataclass(frozen=True)
class Address:
    """A bucket, or a prefix in it.

    Parameters
    ----------
    bucket : str
        The bucket's name.
    prefix : str
        What the keys begin with, without slashes at its ends; "" for all of the bucket.
    """

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def key(self, name: str) -> str:
        """Returns the key of a name.

        Parameters
        ----------
        name : str
            A name relative to this address.
        """
        return f"{self.prefix}/{name}" if self.prefix else name

    @property
    def folder(self) -> str:
        """The start of the keys of all names under this address."""
        return f"{self.prefix}/" if self.prefix else ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Returns the address that a text spells.

        Parameters
        ----------
        text : str
            s3://BUCKET or s3://BUCKET/PREFIX.

        Raises
        ------
        UsageError
            If it does not name a bucket.
        """
        bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
            raise UsageError(
                f"{without_credentials(text)} does not name a bucket: "
                "give s3://BUCKET or s3://BUCKET/PREFIX"
            )
        return cls(bucket, prefix.strip("/"))


def without_credentials(address: str) -> str:
    """Returns an address, of any scheme, without what may be credentials before an `@`.

    Parameters
    ----------
    address : str
        The address.
    """
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def is_bucket(place: object) -> bool:
    """Returns whether a place is in a bucket.

    Parameters
    ----------
    place : object
        A path or an address.
    """
    return isinstance(place, str) and place.startswith(SCHEME)


@dataclass(frozen=True)
class Access:
    """How buckets are used.

    Parameters
    ----------
    allow_regions : tuple of str
        AWS regions outside the European Economic Area that a bucket may be in.
    sse : {"AES256", "aws:kms", "none"}, optional
        The encryption to ask for. None: AES256 on AWS, elsewhere the server's default.
    kms_key : str, optional
        The key for "aws:kms".
    insecure_endpoint : bool
        Whether an http:// endpoint may be on another machine.

    Raises
    ------
    UsageError
        For values that cannot be, or contradict each other.
    """

    allow_regions: tuple[str, ...] = ()
    sse: str | None = None
    kms_key: str | None = None
    insecure_endpoint: bool = False

    def __post_init__(self) -> None:
        if self.sse not in (None, *SSE):
            raise UsageError(f"`sse` {self.sse}: choose AES256, aws:kms or none")
        if self.kms_key and self.sse not in (None, "aws:kms"):
            raise UsageError("`kms_key` goes with `sse` aws:kms: leave out one of them")
