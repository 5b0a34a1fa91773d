"""Guard: whether a bucket may be used, decided from facts before its first byte moves."""

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
    """Whether an endpoint's URL is AWS's own."""
    return f".{urlsplit(endpoint).hostname or ''}".rstrip(".").endswith(_AWS)


def refuse_region(
    bucket: str, region: str | None, endpoint: str, allowed: tuple[str, ...] = ()
) -> str | None:
    """Why a bucket's region is refused, or None where it may be used.

    Only AWS's own buckets have a region that says where they are; region None: not known.
    """
    if not is_aws(endpoint) or (region and (region in EEA or region in allowed)):
        return None
    if region is None:
        return (
            f"the region of s3://{bucket} cannot be found out: "
            "ask for the right s3:ListBucket, or see that its name is right"
        )
    return (
        f"s3://{bucket} is in {region}, which is not in the European Economic Area "
        f"({', '.join(EEA)}): take a bucket that is, or allow it with --allow-region {region}"
    )


def refuse_endpoint(endpoint: str, *, insecure: bool = False) -> str | None:
    """Why an endpoint's URL is refused, or None where it may be used."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "the endpoint is no http:// or https:// URL: check AWS_ENDPOINT_URL"
    if parts.username or parts.password:
        return (
            f"the endpoint {parts.hostname} has a name or password in its URL: "
            "give credentials as AWS's own tools take them"
        )
    if parts.scheme == "https" or insecure or _is_loopback(parts.hostname):
        return None
    return (
        f"the endpoint http://{parts.hostname} would be spoken to in the clear: "
        "give an https:// one, or --insecure-endpoint"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
