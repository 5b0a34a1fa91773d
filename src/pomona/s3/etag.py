"""ETags: a digest of an object's content, which a listing gives without reading it."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

from pomona.s3.bucket import PART_BYTES

_BLOCK_BYTES = 2**20


def etag_of(file: BinaryIO) -> str:
    """Computes the ETag that S3 gives to a file which pomona puts, unless KMS encrypts it.

    It is the file's MD5, or above `PART_BYTES` the MD5 of its parts' MD5s and their number. It
    protects against accidents, not against those who forge files.

    Parameters
    ----------
    file : binary file
        The file, read to its end.

    Returns
    -------
    str
        The ETag, without quotes.
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
