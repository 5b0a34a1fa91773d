"""Places: where the images and the store of a job may be."""

from __future__ import annotations

from pomona.aws import europe
from pomona.aws.account import Account
from pomona.aws.perimeter import Perimeter
from pomona.errors import CloudError, UsageError
from pomona.s3.address import Access, Address, is_bucket
from pomona.s3.bucket import open_bucket
from pomona.s3.region_guard import is_aws

STORES = "stores"


def check_places(
    source: str, out: str, perimeter: Perimeter, account: Account, access: Access
) -> None:
    """Checks where images and store are, against the perimeter and the guard of Europe.

    Parameters
    ----------
    source, out : str
        As `place_of_images` and `place_of_store` give them.
    perimeter : Perimeter
        What the account has.
    account : Account
        The account, and its region.
    access : Access
        How buckets are used.

    Raises
    ------
    UsageError
        If they are in other places than a job may read and write.
    ObjectStoreError, CloudError
        If a bucket or the key is refused, missing or cannot be reached.
    """
    images, store = Address.parse(source), Address.parse(out)
    if images.bucket != perimeter.images:
        raise UsageError(
            f"{source} is not in s3://{perimeter.images}, the only bucket whose images a job may "
            f"read: copy them with `pomona upload {source} s3://{perimeter.images}/NAME`"
        )
    if store.bucket != perimeter.results or not store.prefix.startswith(f"{STORES}/"):
        raise UsageError(
            f"{out} is not a place where a job may write: "
            f"give s3://{perimeter.results}/{STORES}/NAME"
        )
    for address in (images, store):
        bucket = open_bucket(address, access)
        if is_aws(bucket.endpoint) and bucket.region != account.region:
            raise CloudError(
                f"{bucket} is in {bucket.region}, and the job runs in {account.region}: "
                "give `region`",
                "guard",
            )
    _, partition, _, region, *_ = perimeter.key_arn.split(":")
    refused = europe.refuse(europe.Resource("KMS key", perimeter.key_arn, region, partition))
    if refused:
        raise CloudError(refused, "guard")


def place_of_images(source: object, perimeter: Perimeter) -> str:
    """Returns the address of images, as all commands write it.

    Parameters
    ----------
    source : str or Path
        What the user gave.
    perimeter : Perimeter
        What the account has.

    Raises
    ------
    UsageError
        If it is no address.
    """
    if not is_bucket(source):
        raise UsageError(
            f"{source} is on this machine, and jobs read from a bucket: "
            f"`pomona upload {source} s3://{perimeter.images}/NAME --sse aws:kms "
            f"--kms-key {perimeter.key_arn}` sends it, without metadata"
        )
    return str(Address.parse(str(source)))


def place_of_store(out: object, perimeter: Perimeter) -> str:
    """Returns the address of a store, as all commands write it.

    Parameters
    ----------
    out : str or Path
        What the user gave.
    perimeter : Perimeter
        What the account has.

    Raises
    ------
    UsageError
        If it is no address.
    """
    if not is_bucket(out):
        raise UsageError(
            f"{out} is on this machine, and jobs write to a bucket: "
            f"give s3://{perimeter.results}/{STORES}/NAME, and `pomona aws fetch` brings it here"
        )
    return str(Address.parse(str(out)))
