"""Objects: bytes under keys in a bucket.

A `Bucket` is plain data and holds no credential: each process that uses one finds its own, as AWS's
own tools do.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from threading import RLock
from typing import Any

from pomona.errors import ObjectChangedError, ObjectStoreError
from pomona.s3 import region_guard as guard
from pomona.s3.address import Access, Address
from pomona.s3.signed_get import SignedGetClient, seconds

PART_BYTES = 64 * 2**20
ATTEMPTS = 6
THREADS = 16
# How deep folders are looked for that can be listed beside one another
LEVELS = 3
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 15.0
MAX_BYTES = 5 * 2**30
# Before what was cut off is asked for again: up to this, doubled each time.
_PAUSE_S = 0.1
_CONNECTING = RLock()
# Why a bucket is refused that other credentials or settings may open
_RENEWABLE = ("credentials", "expired", "settings")


@dataclass(frozen=True)
class Listed:
    """An object as a listing names it; modified: seconds since 1970."""

    key: str
    size_bytes: int
    etag: str
    modified: float = 0.0


@dataclass(frozen=True)
class Got:
    """An object as it was read. size_bytes: of all of it, modified, now: by the server's clock."""

    data: bytes
    etag: str
    size_bytes: int
    modified: float
    now: float


@dataclass(frozen=True)
class Bucket:
    """A bucket and how it is used. Raised by all: ObjectStoreError, FileNotFoundError of a key.

    endpoint: the server's URL; sse: the encryption asked for, "AES256" or "aws:kms"; None: the
    server's own way.
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
        """An object's bytes: all, `size` or all from `start` on, or the `last` so many.

        Raises ObjectChangedError where its ETag is not `if_match`, ObjectStoreError ("too_large")
        beyond `limit` bytes.
        """
        headers = {} if if_match is None else {"if-match": f'"{if_match}"'}
        if start is not None or last is not None:
            end = "" if start is None or size is None else start + size - 1
            headers["range"] = f"bytes=-{last}" if start is None else f"bytes={start}-{end}"
        at = _connection(self, os.getpid())
        with at.translate(key):
            reply = at.lane.get(key, headers, limit) if at.lane.is_open else None
        if reply is not None and b"<Code>NoSuchKey</Code>" in reply.data and reply.status == 404:
            raise FileNotFoundError(f"{self}/{key}")
        if reply is None or reply.status in (404, 412):
            return at.get(key, headers, limit)
        told = reply.headers
        total = told.get("content-range", "").rpartition("/")[2]
        return Got(
            reply.data,
            told.get("etag", "").strip('"'),
            int(total) if total.isdigit() else len(reply.data),
            seconds(told.get("last-modified")),
            seconds(told.get("date")),
        )

    def head(self, key: str) -> Got:
        """What `get` says of an object, without its bytes."""
        at = _connection(self, os.getpid())
        with at.translate(key):
            found = at.client.head_object(Bucket=self.name, Key=key)
        return _got(found, b"", int(found["ContentLength"]))

    def put(
        self,
        key: str,
        data: bytes | memoryview,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        """Puts `data` under a key, whole or not at all; its ETag.

        With checksums, in parts above 64 MB, which are removed again if they do not become whole.
        Raises ObjectChangedError where there is an object (`if_absent`), or not the one of the
        ETag `if_match`.
        """
        at = _connection(self, os.getpid())
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        if if_match is not None:
            condition = {"IfMatch": f'"{if_match}"'}
        with at.translate(key):
            if len(data) > PART_BYTES:
                return at.put_in_parts(key, memoryview(data), condition)
            try:
                reply = at.client.put_object(
                    Bucket=self.name, Key=key, Body=bytes(data), **self._encryption(), **condition
                )
            except at.client.exceptions.NoSuchKey:  # If-Match of what is not there any more
                raise ObjectChangedError(f"{self}/{key} is gone") from None
            return str(reply["ETag"]).strip('"')

    def delete(self, *keys: str) -> None:
        """Removes objects, if they are there."""
        at = _connection(self, os.getpid())
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
                    "ask for the right to, then run the same command again",
                    "denied",
                )

    def list_all(self, prefix: str = "") -> Iterator[Listed]:
        """All objects whose keys begin with `prefix`, in no order.

        Folders are listed in parallel, once there are enough of them to be worth it.
        """
        folders = [prefix]
        with ThreadPoolExecutor(THREADS) as threads:
            try:
                for _ in range(LEVELS):
                    if len(folders) >= THREADS:
                        break
                    above, folders = folders, []
                    for below, objects in threads.map(self.list_folder, above):
                        folders += below
                        yield from objects
                todo = deque(threads.submit(self._pages, folder) for folder in folders)
                while todo:
                    yield from todo.popleft().result()
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def list_folder(self, prefix: str) -> tuple[list[str], list[Listed]]:
        """The prefixes up to the next slash, and the objects without one."""
        folders, objects = [], []
        for page in self._list(prefix, "/"):
            folders += [each["Prefix"] for each in page.get("CommonPrefixes", [])]
            objects += _objects(page)
        return folders, objects

    def _pages(self, prefix: str) -> list[Listed]:
        return [found for page in self._list(prefix) for found in _objects(page)]

    def _list(self, prefix: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
        at = _connection(self, os.getpid())
        with at.translate():
            pages = at.client.get_paginator("list_objects_v2")
            yield from pages.paginate(Bucket=self.name, Prefix=prefix, Delimiter=delimiter)

    def abort_uploads(
        self, prefix: str, is_own: Callable[[str], bool], older_than_s: float = 0.0
    ) -> int:
        """Removes the parts of uploads under a prefix that did not become whole; how many.

        is_own: whether a key's are; those of others are left alone. older_than_s: 0: all of them.
        """
        at, ended = _connection(self, os.getpid()), 0
        with at.translate():
            pages = at.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.name, Prefix=prefix):
                now = seconds(page["ResponseMetadata"]["HTTPHeaders"].get("date"))
                for upload in page.get("Uploads", []):
                    # A server's clocks may differ by a second or two, which is no age.
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
    """The bucket of an address, found and held against the guard before anything is read.

    Raises ObjectStoreError where it is refused, missing or cannot be reached.
    """
    access = access or Access()
    name = address.bucket
    region, endpoint = _find(name, insecure=access.insecure_endpoint)
    refused = guard.refuse_region(name, region, endpoint, access.allow_regions)
    if refused:
        raise ObjectStoreError(refused, "guard")
    sse = access.sse or ("aws:kms" if access.kms_key else None)
    if sse is None and guard.is_aws(endpoint):
        sse = "AES256"
    return Bucket(
        name, region or "us-east-1", endpoint, None if sse == "none" else sse, access.kms_key
    )


@lru_cache(maxsize=32)
def _find(bucket: str, *, insecure: bool) -> tuple[str | None, str]:
    """The region and the endpoint of a bucket, by a request that reads nothing of it."""
    session = _session()
    try:
        with _translated(bucket, "S3"):
            client = _client(session, session.get_config_variable("region") or "us-east-1", None)
    except ValueError:  # what botocore says of an endpoint that is no URL
        raise ObjectStoreError(
            "the endpoint is no http:// or https:// URL: check AWS_ENDPOINT_URL", "settings"
        ) from None
    endpoint = client.meta.endpoint_url
    refused = guard.refuse_endpoint(endpoint, insecure=insecure)
    if refused:
        raise ObjectStoreError(refused, "guard")
    with _translated(bucket, endpoint):
        region = _region(client, bucket)
        if not guard.is_aws(endpoint):
            return region or client.meta.region_name, endpoint
        if region and region != client.meta.region_name:
            endpoint = _client(session, region, None).meta.endpoint_url
        return region, endpoint


def _region(client: Any, bucket: str) -> str | None:
    """Of a bucket, which AWS tells even those who may not see into it."""
    from botocore.exceptions import ClientError

    try:
        reply = client.head_bucket(Bucket=bucket)
    except ClientError as exc:
        reply = exc.response
        status = reply["ResponseMetadata"].get("HTTPStatusCode")
        # HEAD tells no reason for a refusal; a listing of nothing does.
        if status not in (301, 403) or not reply["ResponseMetadata"]["HTTPHeaders"].get(
            "x-amz-bucket-region"
        ):
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    headers: dict[str, str] = reply["ResponseMetadata"]["HTTPHeaders"]
    return headers.get("x-amz-bucket-region")


class _Connection:
    """What one process uses a bucket by."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        session = _session()
        with self.translate():
            self.client = _client(session, bucket.region, bucket.endpoint)
            credentials = session.get_credentials()
        if credentials is None:
            raise ObjectStoreError(
                f"no credentials for {bucket} are found: set them as for AWS's own tools "
                "(AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role)",
                "credentials",
            )
        self.lane = SignedGetClient(bucket.name, bucket.region, bucket.endpoint, credentials)

    def close(self) -> None:
        self.lane.close()
        self.client.close()

    def translate(self, key: str | None = None) -> contextlib.AbstractContextManager[None]:
        return _translated(self.bucket.name, self.bucket.endpoint, key)

    def get(self, key: str, headers: dict[str, str], limit: int) -> Got:
        names = {"if-match": "IfMatch", "range": "Range"}
        asked = {names[name]: value for name, value in headers.items()}
        for attempt in range(ATTEMPTS):
            with self.translate(key):
                reply = self.client.get_object(Bucket=self.bucket.name, Key=key, **asked)
                with reply["Body"] as body:
                    if reply["ContentLength"] > limit:
                        raise ObjectStoreError(f"{self.bucket}/{key} is too large", "too_large")
                    data = _read(body, is_last=attempt == ATTEMPTS - 1)
            if data is not None:
                total = reply.get("ContentRange", "").rpartition("/")[2]
                return _got(reply, data, int(total) if total.isdigit() else len(data))
            time.sleep(_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311
        raise AssertionError("the last attempt raises")

    def put_in_parts(self, key: str, data: memoryview, condition: dict[str, str]) -> str:
        at: dict[str, Any] = {"Bucket": self.bucket.name, "Key": key}
        begun = self.client.create_multipart_upload(
            **at,
            **self.bucket._encryption(),
            ChecksumAlgorithm="CRC32",
        )
        at["UploadId"] = begun["UploadId"]

        def send(number: int) -> dict[str, Any]:
            piece = bytes(data[(number - 1) * PART_BYTES : number * PART_BYTES])
            sent = self.client.upload_part(
                **at, PartNumber=number, Body=piece, ChecksumAlgorithm="CRC32"
            )
            told = {name: sent[name] for name in ("ETag", "ChecksumCRC32") if name in sent}
            return {"PartNumber": number, **told}

        try:
            with ThreadPoolExecutor(4) as threads:
                parts = list(threads.map(send, range(1, -(-len(data) // PART_BYTES) + 1)))
            reply = self.client.complete_multipart_upload(
                **at, MultipartUpload={"Parts": parts}, **condition
            )
        except BaseException:
            with contextlib.suppress(Exception):
                self.client.abort_multipart_upload(**at)
            raise
        return str(reply["ETag"]).strip('"')


def _connection(bucket: Bucket, process: int) -> _Connection:
    """One for all threads of a process: they do not all look for credentials at once."""
    with _CONNECTING:
        return _connect(bucket, process)


@lru_cache(maxsize=32)
def _connect(bucket: Bucket, process: int) -> _Connection:
    return _Connection(bucket)


def _session() -> Any:
    try:
        import botocore.session
    except ModuleNotFoundError as exc:
        raise ObjectStoreError(
            'botocore is not installed: pip install "pomona[s3]"', "missing"
        ) from exc
    return botocore.session.get_session()


def _client(session: Any, region: str, endpoint: str | None) -> Any:
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=2 * THREADS,
        s3={"addressing_style": "path"},
        user_agent_extra="pomona",
    )
    return session.create_client("s3", region_name=region, endpoint_url=endpoint, config=config)


@contextlib.contextmanager
def _translated(bucket: str, endpoint: str, key: str | None = None) -> Iterator[None]:
    from pomona.s3.errors import translate

    try:
        with translate(bucket, endpoint, key):
            yield
    except ObjectStoreError as exc:
        # The next command of this session looks for them anew; one key that is denied is no reason.
        if exc.reason in _RENEWABLE or (exc.reason == "denied" and key is None):
            _find.cache_clear()
            _connect.cache_clear()
        raise


def _read(body: Any, *, is_last: bool) -> bytes | None:
    """The bytes of a reply; None where it ended too early, which botocore does not make good."""
    from botocore.exceptions import BotoCoreError, HTTPClientError

    try:
        data: bytes = body.read()
    except (BotoCoreError, HTTPClientError, OSError):
        if is_last:
            raise
        return None
    return data


def _objects(page: dict[str, Any]) -> list[Listed]:
    return [
        Listed(each["Key"], each["Size"], each["ETag"].strip('"'), each["LastModified"].timestamp())
        for each in page.get("Contents", [])
    ]


def _got(reply: dict[str, Any], data: bytes, size_bytes: int) -> Got:
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    return Got(
        data,
        str(reply.get("ETag", "")).strip('"'),
        size_bytes,
        reply["LastModified"].timestamp(),
        seconds(headers.get("date")),
    )
