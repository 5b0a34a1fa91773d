"""Objects: bytes under keys in a bucket.

A `Bucket` is plain data and holds no credential: each process that uses one finds its own, as AWS's
own tools do.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pomona.errors import ObjectChangedError, ObjectStoreError
from pomona.s3 import objects, region_guard
from pomona.s3.address import Access, Address
from pomona.s3.connection import ATTEMPTS, THREADS, Connection, connect, locate
from pomona.s3.objects import Got, Listed
from pomona.s3.signed_get import seconds

# Larger objects are put in parts of this size.
PART_BYTES = 64 * 2**20
# How many levels of folders a listing descends to find enough to list in parallel
LEVELS = 3
MAX_BYTES = 5 * 2**30
# The longest pause before the second attempt at a read that was cut off; it doubles each time.
_PAUSE_S = 0.1


@dataclass(frozen=True)
class Bucket:
    """A bucket and how it is used.

    Every method raises ObjectStoreError, and FileNotFoundError for a key that is not there.

    Parameters
    ----------
    name : str
        Its name.
    region : str
        Its region.
    endpoint : str
        The server's URL.
    sse : {"AES256", "aws:kms"}, optional
        The encryption to ask for. None: the server's default.
    kms_key : str, optional
        The key for "aws:kms".
    """

    name: str
    region: str
    endpoint: str
    sse: str | None = None
    kms_key: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.name}"

    def get(
        self,
        key: str,
        *,
        if_match: str | None = None,
        start: int | None = None,
        size: int | None = None,
        last: int | None = None,
        limit: int = MAX_BYTES,
    ) -> Got:
        """Gets an object, or a range of its bytes.

        Parameters
        ----------
        key : str
            Its key.
        if_match : str, optional
            The ETag that it must have.
        start, size : int, optional
            The first byte to read, and how many; without `size`, all that follow.
        last : int, optional
            How many bytes to read at the end, in place of `start`.
        limit : int
            The most bytes to read.

        Raises
        ------
        ObjectChangedError
            If its ETag is another.
        ObjectStoreError
            With the reason "too_large" beyond `limit`.
        """
        headers = {} if if_match is None else {"if-match": f'"{if_match}"'}
        if start is not None or last is not None:
            end = "" if start is None or size is None else start + size - 1
            headers["range"] = f"bytes=-{last}" if start is None else f"bytes={start}-{end}"
        at = connect(self)
        with at.translate(key):
            reply = at.signed_get.get(key, headers, limit) if at.signed_get.is_open else None
        if reply is not None and b"<Code>NoSuchKey</Code>" in reply.data and reply.status == 404:
            raise FileNotFoundError(f"{self}/{key}")
        if reply is None or reply.status in (404, 412):
            return self._get_by_botocore(at, key, headers, limit)
        return objects.from_signed_get(reply)

    def _get_by_botocore(
        self, at: Connection, key: str, headers: dict[str, str], limit: int
    ) -> Got:
        """Gets an object with all that botocore does about refusals, stalls and redirects."""
        names = {"if-match": "IfMatch", "range": "Range"}
        asked = {names[name]: value for name, value in headers.items()}
        for attempt in range(ATTEMPTS):
            with at.translate(key):
                reply = at.client.get_object(Bucket=self.name, Key=key, **asked)
                with reply["Body"] as body:
                    if reply["ContentLength"] > limit:
                        raise ObjectStoreError(f"{self}/{key} is too large", "too_large")
                    data = _read(body, is_last=attempt == ATTEMPTS - 1)
            if data is not None:
                return objects.from_botocore(reply, data)
            time.sleep(_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311
        raise AssertionError("the last attempt raises")

    def head(self, key: str) -> Got:
        """Gets what `get` says of an object, without its bytes."""
        at = connect(self)
        with at.translate(key):
            reply = at.client.head_object(Bucket=self.name, Key=key)
        return objects.from_botocore(reply, b"", int(reply["ContentLength"]))

    def put(
        self,
        key: str,
        data: bytes | memoryview,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        """Puts an object with checksums, whole or not at all.

        Parameters
        ----------
        key : str
            Its key.
        data : bytes or memoryview
            Its content; above `PART_BYTES` it is put in parts.
        if_absent : bool
            Whether there must be no object yet.
        if_match : str, optional
            The ETag of the object to replace.

        Returns
        -------
        str
            The new object's ETag.

        Raises
        ------
        ObjectChangedError
            If the condition does not hold.
        """
        at = connect(self)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        if if_match is not None:
            condition = {"IfMatch": f'"{if_match}"'}
        with at.translate(key):
            if len(data) > PART_BYTES:
                return self._put_in_parts(at.client, key, memoryview(data), condition)
            try:
                reply = at.client.put_object(
                    Bucket=self.name, Key=key, Body=bytes(data), **self._encryption(), **condition
                )
            except at.client.exceptions.NoSuchKey:  # If-Match of what is not there any more
                raise ObjectChangedError(f"{self}/{key} is gone") from None
            return str(reply["ETag"]).strip('"')

    def _put_in_parts(
        self, client: Any, key: str, data: memoryview, condition: dict[str, str]
    ) -> str:
        """Puts an object in parts, and removes them again if they do not become whole."""
        upload: dict[str, Any] = {"Bucket": self.name, "Key": key}
        begun = client.create_multipart_upload(
            **upload, **self._encryption(), ChecksumAlgorithm="CRC32"
        )
        upload["UploadId"] = begun["UploadId"]

        def send(number: int) -> dict[str, Any]:
            piece = bytes(data[(number - 1) * PART_BYTES : number * PART_BYTES])
            sent = client.upload_part(
                **upload, PartNumber=number, Body=piece, ChecksumAlgorithm="CRC32"
            )
            marks = {name: sent[name] for name in ("ETag", "ChecksumCRC32") if name in sent}
            return {"PartNumber": number, **marks}

        try:
            with ThreadPoolExecutor(4) as threads:
                parts = list(threads.map(send, range(1, -(-len(data) // PART_BYTES) + 1)))
            reply = client.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, **condition
            )
        except BaseException:
            with contextlib.suppress(Exception):
                client.abort_multipart_upload(**upload)
            raise
        return str(reply["ETag"]).strip('"')

    def delete(self, *keys: str) -> None:
        """Removes objects, if they are there.

        Parameters
        ----------
        *keys : str
            Their keys.
        """
        at = connect(self)
        for first in range(0, len(keys), 1000):
            some = keys[first : first + 1000]
            with at.translate(some[0]):
                if len(some) == 1:
                    at.client.delete_object(Bucket=self.name, Key=some[0])
                    continue
                wanted = {"Objects": [{"Key": key} for key in some], "Quiet": True}
                reply = at.client.delete_objects(Bucket=self.name, Delete=wanted)
            for error in reply.get("Errors", []):
                raise ObjectStoreError(
                    f"cannot remove {self}/{error['Key']} ({error.get('Code')}): "
                    "ask for permission, then run the same command again",
                    "denied",
                )

    def list_all(self, prefix: str = "") -> Iterator[Listed]:
        """Yields all objects whose keys begin with a prefix, in no order.

        Folders are listed in parallel, once there are enough of them.

        Parameters
        ----------
        prefix : str
            The prefix.
        """
        folders = [prefix]
        with ThreadPoolExecutor(THREADS) as threads:
            try:
                for _ in range(LEVELS):
                    if len(folders) >= THREADS:
                        break
                    above, folders = folders, []
                    for below, found in threads.map(self.list_folder, above):
                        folders += below
                        yield from found
                todo = deque(threads.submit(self._pages, folder) for folder in folders)
                while todo:
                    yield from todo.popleft().result()
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def list_folder(self, prefix: str) -> tuple[list[str], list[Listed]]:
        """Lists one level of keys.

        Parameters
        ----------
        prefix : str
            What the keys begin with.

        Returns
        -------
        tuple
            The prefixes up to the next slash, and the objects whose keys have no further slash.
        """
        folders: list[str] = []
        found: list[Listed] = []
        for page in self._list(prefix, "/"):
            folders += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
            found += objects.from_page(page)
        return folders, found

    def _pages(self, prefix: str) -> list[Listed]:
        return [found for page in self._list(prefix) for found in objects.from_page(page)]

    def _list(self, prefix: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
        at = connect(self)
        with at.translate():
            pages = at.client.get_paginator("list_objects_v2")
            yield from pages.paginate(Bucket=self.name, Prefix=prefix, Delimiter=delimiter)

    def abort_uploads(
        self, prefix: str, is_own: Callable[[str], bool], older_than_s: float = 0.0
    ) -> int:
        """Removes the parts of uploads that did not become whole.

        Parameters
        ----------
        prefix : str
            What their keys begin with.
        is_own : callable
            Whether an upload of a key may be removed; others' are left alone.
        older_than_s : float
            The least age in seconds; 0: any.

        Returns
        -------
        int
            How many uploads were removed.
        """
        at, ended = connect(self), 0
        with at.translate():
            pages = at.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.name, Prefix=prefix):
                now = seconds(page["ResponseMetadata"]["HTTPHeaders"].get("date"))
                for upload in page.get("Uploads", []):
                    # A server's clocks may differ by a second or two: 0 takes the newest too.
                    age_s = now - upload["Initiated"].timestamp()
                    if age_s > (older_than_s or -math.inf) and is_own(upload["Key"]):
                        with contextlib.suppress(at.client.exceptions.NoSuchUpload):
                            at.client.abort_multipart_upload(
                                Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]
                            )
                        ended += 1
        return ended

    def _encryption(self) -> dict[str, str]:
        asked = {} if self.sse is None else {"ServerSideEncryption": self.sse}
        return {**asked, **({"SSEKMSKeyId": self.kms_key} if self.kms_key else {})}


def open_bucket(address: Address, access: Access | None = None) -> Bucket:
    """Finds the bucket of an address and checks it against the guard, before anything is read.

    Parameters
    ----------
    address : Address
        An address in the bucket.
    access : Access, optional
        How buckets are used.

    Raises
    ------
    ObjectStoreError
        If it is refused, missing or cannot be reached.
    """
    access = access or Access()
    name = address.bucket
    region, endpoint = locate(name, insecure=access.insecure_endpoint)
    refused = region_guard.refuse_region(name, region, endpoint, access.allow_regions)
    if refused:
        raise ObjectStoreError(refused, "guard")
    sse = access.sse or ("aws:kms" if access.kms_key else None)
    if sse is None and region_guard.is_aws(endpoint):
        sse = "AES256"
    return Bucket(
        name, region or "us-east-1", endpoint, None if sse == "none" else sse, access.kms_key
    )


def _read(body: Any, *, is_last: bool) -> bytes | None:
    """Returns a reply's bytes; None if it ended too early, which botocore does not repeat."""
    from botocore.exceptions import BotoCoreError, HTTPClientError

    try:
        data: bytes = body.read()
    except (BotoCoreError, HTTPClientError, OSError):
        if is_last:
            raise
        return None
    return data
