"""Signed GETs: an object's bytes by one request, at a seventh of botocore's work.

They take the common case. For all others (a refusal, a stall, a redirect, a proxy) they return
None, and the caller asks botocore, which knows what to do.

Signature Version 4: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import os
import ssl
import time
import urllib.request
from collections import deque
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

TIMEOUT_S = 10.0
_UNSIGNED = "UNSIGNED-PAYLOAD"
_TAKEN = (200, 206, 404, 412)


@dataclass(frozen=True)
class Reply:
    """A server's answer to a GET.

    Parameters
    ----------
    status : int
        The HTTP status.
    headers : dict
        The headers; their names are in lower case.
    data : bytes
        The body.
    """

    status: int
    headers: dict[str, str]
    data: bytes


class SignedGetClient:
    """GETs objects of one bucket, from any number of threads; connections are kept open.

    Parameters
    ----------
    bucket : str
        The bucket's name.
    region : str
        Its region.
    endpoint : str
        The server's URL.
    credentials : botocore.credentials.Credentials
        What to sign with; botocore renews them.

    Attributes
    ----------
    is_open : bool
        Whether it may be used: there is no proxy between.
    """

    def __init__(self, bucket: str, region: str, endpoint: str, credentials: Any) -> None:
        parts = urlsplit(endpoint)
        self._host = parts.netloc
        self._base = f"{parts.path.rstrip('/')}/{quote(bucket)}/"
        self._region, self._credentials = region, credentials
        self._context = _trust() if parts.scheme == "https" else None
        self._free: deque[http.client.HTTPConnection] = deque()
        self.is_open = not _by_proxy(parts.scheme, parts.hostname or "")

    def get(self, key: str, headers: dict[str, str], limit: int) -> Reply | None:
        """Gets an object.

        Parameters
        ----------
        key : str
            Its key.
        headers : dict
            Headers to send, with names in lower case.
        limit : int
            The most bytes to read.

        Returns
        -------
        Reply or None
            None in all but the common case: ask botocore then.
        """
        path = self._base + quote(key, safe="/~")
        connection = self._connection()
        try:
            connection.request("GET", path, headers=self._signed(path, headers))
            response = connection.getresponse()
            size = response.length
            if response.status not in _TAKEN or size is None or size > limit:
                connection.close()
                return None
            data = response.read()
            is_over = response.will_close or len(data) != size
        except (OSError, http.client.HTTPException):
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        if is_over:
            connection.close()
        else:
            self._free.append(connection)
        received = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, received, data) if len(data) == size else None

    def close(self) -> None:
        """Closes the connections that are not in use."""
        while self._free:
            self._free.pop().close()

    def _connection(self) -> http.client.HTTPConnection:
        with contextlib.suppress(IndexError):
            return self._free.pop()
        if self._context:
            return http.client.HTTPSConnection(self._host, timeout=TIMEOUT_S, context=self._context)
        return http.client.HTTPConnection(self._host, timeout=TIMEOUT_S)

    def _signed(self, path: str, headers: dict[str, str]) -> dict[str, str]:
        credentials = self._credentials.get_frozen_credentials()
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = {
            **headers,
            "host": self._host,
            "x-amz-content-sha256": _UNSIGNED,
            "x-amz-date": now,
            **({"x-amz-security-token": credentials.token} if credentials.token else {}),
        }
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = f"GET\n{path}\n\n{lines}\n{names}\n{_UNSIGNED}"
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        key = _signing_key(credentials.secret_key, now[:8], self._region)
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return headers


@lru_cache(maxsize=8)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _trust() -> ssl.SSLContext:
    """Returns whose certificates to trust: as AWS's own tools are told, else as the system does."""
    return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)


def _by_proxy(scheme: str, host: str) -> bool:
    proxies = urllib.request.getproxies()
    return scheme in proxies and not urllib.request.proxy_bypass(host)


def seconds(http_date: str | None) -> float:
    """Returns an HTTP date as seconds since 1970.

    Parameters
    ----------
    http_date : str, optional
        The date; None gives 0.
    """
    return parsedate_to_datetime(http_date).timestamp() if http_date else 0.0
