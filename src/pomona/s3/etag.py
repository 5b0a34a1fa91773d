"""ETags: what a listing says of an object's content, without reading it."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from pomona.s3.bucket import PART_BYTES

_BLOCK_BYTES = 2**20


def etag_of(file: BinaryIO) -> str:
    """The ETag that S3 gives to a file which pomona puts, but for encryption by KMS.

    Its MD5, or above `PART_BYTES` that of its parts' MD5s with their number; against accidents,
    not against whoever makes files that have the same.
    """
    digests: list[bytes] = []
    left = 0
    while not left:
        part, left = hashlib.md5(usedforsecurity=False), PART_BYTES
        while left and (block := file.read(min(left, _BLOCK_BYTES))):
            part.update(block)
            left -= len(block)
        if left < PART_BYTES or not digests:
            digests.append(part.digest())
    if len(digests) == 1:
        return digests[0].hex()
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"
