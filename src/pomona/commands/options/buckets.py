"""How buckets are read and written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from pomona.commands.completion import one_of
from pomona.s3.address import SSE, Access


@dataclass(frozen=True)
class ReadBucketOptions:
    """How buckets are read."""

    panel: ClassVar[str] = "Buckets"
    allow_region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGION",
            help="Also allow AWS buckets in this region, such as us-east-1; may be repeated. "
            "(default: only regions in the European Economic Area)",
        ),
    ] = None
    insecure_endpoint: Annotated[
        bool,
        typer.Option(
            "--insecure-endpoint",
            help="Allow an unencrypted http:// endpoint that is not on this machine. (The "
            "environment variable AWS_ENDPOINT_URL selects an S3 service other than AWS.)",
        ),
    ] = Access.insecure_endpoint

    def access(self) -> Access:
        """Returns these options as the library takes them."""
        return Access(
            allow_regions=tuple(self.allow_region or ()), insecure_endpoint=self.insecure_endpoint
        )


@dataclass(frozen=True)
class BucketOptions(ReadBucketOptions):
    """How buckets are read and written."""

    sse: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Encryption at rest: AES256, aws:kms or none. (default: AES256 on AWS; "
            "on other servers, the server's own setting)",
            autocompletion=one_of(SSE),
        ),
    ] = Access.sse
    kms_key: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The KMS key to encrypt with; implies --sse aws:kms. (default with --sse aws:kms: "
            "the key that AWS manages for S3)",
        ),
    ] = Access.kms_key

    def access(self) -> Access:
        return dataclasses.replace(super().access(), sse=self.sse, kms_key=self.kms_key)
