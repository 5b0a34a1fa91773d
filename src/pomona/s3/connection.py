"""Connections: how one process reaches buckets, with the credentials of AWS's own tools."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import lru_cache
from threading import RLock
from typing import Any, Protocol

from pomona.errors import ObjectStoreError
from pomona.s3 import region_guard
from pomona.s3.signed_get import SignedGetClient

# Where the settings name no region: one in Europe can tell where any bucket of AWS is, and other
# servers call themselves the other one.
_AWS_REGION, _OTHER_REGION = "eu-west-1", "us-east-1"
ATTEMPTS = 6
THREADS = 16
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 15.0

_CONNECTING = RLock()
# Reasons for a refusal that other credentials or settings may remove
_RENEWABLE = ("credentials", "expired", "settings")


class Target(Protocol):
    """The bucket to connect to."""

    def __hash__(self) -> int: ...

    @property
    def name(self) -> str:
        """The bucket's name."""

    @property
    def region(self) -> str:
        """The bucket's region."""

    @property
    def endpoint(self) -> str:
        """The server's URL."""


class Connection:
    """A process's clients for one bucket, to be used by all of its threads.

    Parameters
    ----------
    bucket : Target
        The bucket.

    Attributes
    ----------
    client : botocore.client.S3
        Takes every request.
    signed_get : SignedGetClient
        Takes the common GETs, with less work.

    Raises
    ------
    ObjectStoreError
        If there are no credentials, or they or the settings cannot be used.
    """

    def __init__(self, bucket: Target) -> None:
        self._name, self._endpoint = bucket.name, bucket.endpoint
        session = _session()
        with self.translate():
            self.client = _client(session, bucket.region, bucket.endpoint)
            credentials = session.get_credentials()
            if credentials is None:
                from botocore.exceptions import NoCredentialsError

                raise NoCredentialsError
        self.signed_get = SignedGetClient(bucket.name, bucket.region, bucket.endpoint, credentials)

    def close(self) -> None:
        """Closes what is open."""
        self.signed_get.close()
        self.client.close()

    def translate(self, key: str | None = None) -> contextlib.AbstractContextManager[None]:
        """Raises pomona's errors in place of botocore's.

        Parameters
        ----------
        key : str, optional
            The key that the requests of the block are about.
        """
        return _translate(self._name, self._endpoint, key)


def connect(bucket: Target) -> Connection:
    """Returns this process's connection to a bucket.

    All threads share one, so that they do not look for credentials all at once.

    Parameters
    ----------
    bucket : Target
        The bucket.

    Raises
    ------
    ObjectStoreError
        As by `Connection`.
    """
    with _CONNECTING:
        return _connect(bucket, os.getpid())


@lru_cache(maxsize=32)
def _connect(bucket: Target, process: int) -> Connection:
    """Connects once per bucket and process: a forked one must not use its parent's sockets."""
    return Connection(bucket)


@lru_cache(maxsize=32)
def locate(bucket: str, *, insecure: bool) -> tuple[str | None, str]:
    """Finds the region and the endpoint of a bucket, by a request that reads nothing of it.

    Parameters
    ----------
    bucket : str
        The bucket's name.
    insecure : bool
        Whether an http:// endpoint may be on another machine.

    Returns
    -------
    tuple
        The region, None where it cannot be found, and the endpoint's URL.

    Raises
    ------
    ObjectStoreError
        If the endpoint is refused or cannot be reached, or the bucket is missing.
    """
    session = _session()
    try:
        with _translate(bucket, "S3"):
            named = session.get_config_variable("region")
            client = _client(session, named or _AWS_REGION, None)
            if named is None and not region_guard.is_aws(client.meta.endpoint_url):
                client = _client(session, _OTHER_REGION, None)
    except ValueError:  # botocore's, for an endpoint that is no URL
        raise ObjectStoreError(
            "the endpoint is no http:// or https:// URL: check AWS_ENDPOINT_URL", "settings"
        ) from None
    endpoint = client.meta.endpoint_url
    refused = region_guard.refuse_endpoint(endpoint, insecure=insecure)
    if refused:
        raise ObjectStoreError(refused, "guard")
    with _translate(bucket, endpoint):
        region = _region(client, bucket)
        if not region_guard.is_aws(endpoint):
            return region or client.meta.region_name, endpoint
        if region and region != client.meta.region_name:
            endpoint = _client(session, region, None).meta.endpoint_url
        return region, endpoint


def _region(client: Any, bucket: str) -> str | None:
    """Returns a bucket's region, which AWS tells even those who may not see into the bucket."""
    from botocore.exceptions import ClientError

    try:
        reply = client.head_bucket(Bucket=bucket)
    except ClientError as exc:
        reply = exc.response
        status = reply["ResponseMetadata"].get("HTTPStatusCode")
        # HEAD gives no reason for a refusal; a listing of nothing does.
        if status not in (301, 403) or not reply["ResponseMetadata"]["HTTPHeaders"].get(
            "x-amz-bucket-region"
        ):
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    headers: dict[str, str] = reply["ResponseMetadata"]["HTTPHeaders"]
    return headers.get("x-amz-bucket-region")


def _session() -> Any:
    """Returns botocore's session; raises ObjectStoreError if botocore is not installed."""
    try:
        import botocore.session
    except ModuleNotFoundError as exc:
        raise ObjectStoreError(
            'botocore is not installed: pip install "pomona[s3]"', "missing"
        ) from exc
    return botocore.session.get_session()


def _client(session: Any, region: str, endpoint: str | None) -> Any:
    """Returns botocore's client; endpoint None: as AWS's settings say."""
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
def _translate(bucket: str, endpoint: str, key: str | None = None) -> Iterator[None]:
    """Raises pomona's errors in place of botocore's, and forgets refused credentials."""
    from pomona.s3.errors import translate

    try:
        with translate(bucket, endpoint, key):
            yield
    except ObjectStoreError as exc:
        # The session's next command looks for credentials again; one denied key is no reason to.
        if exc.reason in _RENEWABLE or (exc.reason == "denied" and key is None):
            locate.cache_clear()
            _connect.cache_clear()
        raise
