"""Guard: whether a bucket may be used, decided before its first byte moves."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

# AWS's regions in the European Economic Area. London (eu-west-2) and Zurich (eu-central-2) are not:
# a prefix `eu-` says nothing.
EEA = (
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-3",
    "eusc-de-east-1",
)
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")


def is_aws(endpoint: str) -> bool:
    """Returns whether an endpoint is AWS's own.

    Parameters
    ----------
    endpoint : str
        Its URL.
    """
    return f".{urlsplit(endpoint).hostname or ''}".rstrip(".").endswith(_AWS)


def is_loopback(endpoint: str) -> bool:
    """Returns whether an endpoint is on this machine.

    Parameters
    ----------
    endpoint : str
        Its URL.
    """
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_region(
    bucket: str, region: str | None, endpoint: str, allowed: tuple[str, ...] = ()
) -> str | None:
    """Returns why a bucket's region is refused; None if the bucket may be used.

    Only the regions of AWS's own buckets say where they are.

    Parameters
    ----------
    bucket : str
        The bucket's name.
    region : str, optional
        Its region; None: not known.
    endpoint : str
        The server's URL.
    allowed : tuple of str
        Regions to take besides those of the European Economic Area.
    """
    if not is_aws(endpoint) or (region and (region in EEA or region in allowed)):
        return None
    if region is None:
        return (
            f"the region of s3://{bucket} cannot be determined: "
            "ask for the permission s3:ListBucket, or check its name"
        )
    return (
        f"s3://{bucket} is in {region}, which is not in the European Economic Area "
        f"({', '.join(EEA)}): take a bucket that is, or allow it with `allow_region` {region}"
    )


def refuse_endpoint(endpoint: str, *, insecure: bool = False) -> str | None:
    """Returns why an endpoint is refused; None if it may be used.

    Parameters
    ----------
    endpoint : str
        Its URL.
    insecure : bool
        Whether http:// is taken for another machine too.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "the endpoint is no http:// or https:// URL: check AWS_ENDPOINT_URL"
    if parts.username or parts.password:
        return (
            f"the endpoint {parts.hostname} has a name or password in its URL: "
            "give credentials as AWS's own tools take them"
        )
    if parts.scheme == "https" or insecure or is_loopback(endpoint):
        return None
    return (
        f"the endpoint http://{parts.hostname} is not encrypted: "
        "give an https:// one, or `insecure_endpoint`"
    )
