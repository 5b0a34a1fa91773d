"""Addresses: `s3://bucket/prefix`, and what a command line says of how buckets are used."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

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
                f"{_shown(text)} names no bucket: give s3://BUCKET or s3://BUCKET/PREFIX"
            )
        return cls(bucket, prefix.strip("/"))


def _shown(address: str) -> str:
    """Without what may be credentials before an `@`."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def is_address(place: object) -> bool:
    """Whether a place is in a bucket, and not on a disk."""
    return isinstance(place, str) and place.startswith(SCHEME)


def place(given: str | os.PathLike[str]) -> str | Path:
    """What a user gave for a folder: an address as it is, else a path, `~` expanded.

    Raises UsageError for an address of another kind, which would make an odd folder.
    """
    text = os.fspath(given)
    if re.match(r"[A-Za-z][\w+.-]*://", text) and not is_address(text):
        raise UsageError(
            f"{_shown(text)} is no place for pomona: give a folder, or s3://BUCKET/PREFIX"
        )
    return str(given) if is_address(given) else Path(given).expanduser()


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
