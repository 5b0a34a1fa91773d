"""Guard of Europe: whether a resource of AWS may hold images or what was made of them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from pomona.errors import CloudError
from pomona.s3.region_guard import EEA, is_aws

# The European Sovereign Cloud is a partition of its own; all other regions of the EEA are in `aws`.
PARTITIONS = {region: "aws-eusc" if region.startswith("eusc-") else "aws" for region in EEA}


@dataclass(frozen=True)
class Resource:
    """What AWS says of something that can hold data.

    Parameters
    ----------
    kind : str
        What it is, as it is called in a message: "bucket", "KMS key", "log group".
    name : str
        Its name or ARN.
    region : str, optional
        Where it is; None: not known.
    partition : str
        AWS's partition: "aws", "aws-eusc", "aws-cn".
    replicas : tuple of str
        The regions to which it is replicated: of a multi-region KMS key, a bucket, a repository.
    endpoint : str, optional
        The URL at which it is asked for; None: AWS's default.
    every_region : bool
        Whether it is in all regions at once, as a multi-region trail is.
    """

    kind: str
    name: str
    region: str | None
    partition: str = "aws"
    replicas: tuple[str, ...] = ()
    endpoint: str | None = None
    every_region: bool = False


def check_region(region: str) -> None:
    """Raises CloudError (reason "guard") for a region outside the European Economic Area.

    Parameters
    ----------
    region : str
        AWS's name of it.
    """
    if region not in EEA:
        raise CloudError(
            f"{region} is not in the European Economic Area: choose one of {', '.join(EEA)}",
            "guard",
        )


def refuse(resource: Resource) -> str | None:
    """Returns why a resource is refused; None if all of it is in the European Economic Area.

    Parameters
    ----------
    resource : Resource
        What AWS says of it.
    """
    what = f"{resource.kind} {resource.name}"
    if resource.region is None:
        return f"the region of the {what} cannot be determined: check its name and your permissions"
    if resource.region not in EEA:
        return (
            f"the {what} is in {resource.region}, which is not in the European Economic Area: "
            f"choose one of {', '.join(EEA)}"
        )
    if resource.partition != PARTITIONS[resource.region]:
        return (
            f"the {what} is in the partition {resource.partition}, but {resource.region} is in "
            f"{PARTITIONS[resource.region]}: check the profile and its credentials"
        )
    outside = sorted(set(resource.replicas) - set(EEA))
    if outside:
        return (
            f"the {what} has replicas outside the European Economic Area ({', '.join(outside)}): "
            "remove them, or choose another"
        )
    if resource.endpoint is not None and not _is_at(resource.endpoint, resource.region):
        return (
            f"the endpoint of the {what} is not AWS's own in {resource.region}, "
            "or not encrypted: check AWS_ENDPOINT_URL"
        )
    if resource.every_region:
        return f"the {what} covers all regions: create one for {resource.region} only"
    return None


def _is_at(endpoint: str, region: str) -> bool:
    """Whether an endpoint is AWS's own in a region, and encrypted."""
    parts = urlsplit(endpoint)
    labels = (parts.hostname or "").split(".")
    return parts.scheme == "https" and is_aws(endpoint) and region in labels
