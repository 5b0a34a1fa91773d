"""Addresses: `s3://bucket/prefix`, and what a command line says of how buckets are used."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pomona.errors import UsageError

SCHEME = "s3://"
SSE = ("AES256", "aws:kms", "none")


@dataclass(frozen=True)
class Address:
    """A bucket and, without slashes at its ends, the prefix in it; "" for all of the bucket."""

    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def key(self, name: str) -> str:
        """The key of a name relative to this address."""
        return f"{self.prefix}/{name}" if self.prefix else name

    @property
    def folder(self) -> str:
        """What the keys of all names under this address begin with."""
        return f"{self.prefix}/" if self.prefix else ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises UsageError for what names no bucket."""
        bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", bucket):
            raise UsageError(
                f"{without_credentials(text)} names no bucket: give s3://BUCKET or s3://BUCKET/PREFIX"
            )
        return cls(bucket, prefix.strip("/"))


def without_credentials(address: str) -> str:
    """Returns an address without what may be credentials before an `@`."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def is_bucket(place: object) -> bool:
    """Returns whether a place is an address of a bucket."""
    return isinstance(place, str) and place.startswith(SCHEME)


@dataclass(frozen=True)
class Access:
    """How buckets are used.

    allow_regions: outside the EEA; sse: one of `SSE`, None: AES256 on AWS, elsewhere the server's
    own way; insecure_endpoint: whether http:// is taken for an endpoint that is not on loopback.
    """

    allow_regions: tuple[str, ...] = ()
    sse: str | None = None
    kms_key: str | None = None
    insecure_endpoint: bool = False

    def __post_init__(self) -> None:
        if self.sse not in (None, *SSE):
            raise UsageError(f"--sse {self.sse}: choose AES256, aws:kms or none")
        if self.kms_key and self.sse not in (None, "aws:kms"):
            raise UsageError("--kms-key goes with --sse aws:kms: leave out one of them")
