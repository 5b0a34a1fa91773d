"""Checks of what holds data: the key and the buckets."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from pomona.aws import europe
from pomona.aws.doctor.finding import (
    WARNING,
    Finding,
    Scene,
    differing,
    guarded,
    is_gone,
    is_same,
    judge,
)
from pomona.aws.expected import Expected
from pomona.errors import CloudError

_BY_HAND = "set it as `perimeter.yaml` has it, in AWS's console or by `aws s3api {}`"
_OLD_NAMES = {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}


def check(scene: Scene) -> Iterator[Finding]:
    """Yields findings on the key and on each bucket.

    Parameters
    ----------
    scene : Scene
        What to look at.
    """
    for key in scene.of_type("AWS::KMS::Key"):
        gone = "without it nothing can be read: cancel its deletion (`aws kms cancel-key-deletion`)"
        yield from guarded(key.name, functools.partial(_key, scene, key), gone)
    for bucket in scene.of_type("AWS::S3::Bucket"):
        policies = scene.of_type("AWS::S3::BucketPolicy")
        policy = next((each for each in policies if each.properties["Bucket"] == bucket.id), None)
        gone = (
            "its data is lost: delete the stack (`pomona aws down --with-data`) and create it again"
        )
        yield from guarded(bucket.name, functools.partial(_bucket, scene, bucket, policy), gone)


def _key(scene: Scene, key: Expected) -> Iterator[Finding]:
    kms = functools.partial(scene.account.call, "kms", KeyId=key.id)
    found = kms("describe_key")["KeyMetadata"]
    yield judge(
        key.name,
        "usable",
        found["KeyState"] == "Enabled",
        f"{found['Arn']}: {found['KeyState']}",
        "without it nothing can be read: `aws kms cancel-key-deletion` or `enable-key`",
    )
    replicas = found.get("MultiRegionConfiguration", {}).get("ReplicaKeys", ())
    partition, region = found["Arn"].split(":")[1:4:2]
    resource = europe.Resource(
        "KMS key", key.id, region, partition, tuple(each["Region"] for each in replicas)
    )
    refused = europe.refuse(resource)
    yield judge(
        key.name,
        "in one region of the EEA",
        refused is None and not found.get("MultiRegion"),
        refused or (f"{region}, of several regions" if found.get("MultiRegion") else region),
        "make another key: AWS cannot make this one a key of one region",
    )
    rotates = kms("get_key_rotation_status")["KeyRotationEnabled"]
    yield judge(
        key.name,
        "rotates",
        rotates,
        "each year" if rotates else "never",
        f"aws kms enable-key-rotation --key-id {key.id}",
    )
    policy = json.loads(kms("get_key_policy", PolicyName="default")["Policy"])
    said = differing(policy, key.properties["KeyPolicy"])
    yield judge(
        key.name,
        "its policy",
        said == "as in the template",
        said,
        "set it as `perimeter.yaml` has it: `aws kms put-key-policy`",
    )


def _bucket(scene: Scene, bucket: Expected, policy: Expected | None) -> Iterator[Finding]:
    s3 = functools.partial(_ask, scene, bucket.id)
    where = s3("get_bucket_location").get("LocationConstraint")
    region = _OLD_NAMES.get(where, where)
    refused = europe.refuse(europe.Resource("bucket", bucket.id, region, scene.account.partition))
    yield judge(
        bucket.name,
        "in the EEA",
        refused is None,
        refused or str(region),
        "move its objects to a bucket in the EEA, and delete it",
    )
    yield _encryption(bucket, s3("get_bucket_encryption"))
    block = s3("get_public_access_block").get("PublicAccessBlockConfiguration", {})
    wanted = bucket.properties["PublicAccessBlockConfiguration"]
    off = sorted(name for name in wanted if block.get(name) is not True)
    yield judge(
        bucket.name,
        "closed to the public",
        not off,
        f"{', '.join(off)} off" if off else "all four blocks are on",
        _BY_HAND.format("put-public-access-block"),
    )
    answer = s3("get_bucket_policy").get("Policy")
    wanted_policy = policy.properties["PolicyDocument"] if policy else {}
    said = differing(json.loads(answer), wanted_policy) if answer else "it has none"
    yield judge(
        bucket.name,
        "only TLS and the key" if bucket.name != "Audit" else "only TLS",
        said == "as in the template",
        f"its policy: {said}",
        _BY_HAND.format("put-bucket-policy"),
    )
    rules = s3("get_bucket_replication").get("ReplicationConfiguration", {}).get("Rules", ())
    copies = sorted(each["Destination"]["Bucket"] for each in rules)
    yield judge(
        bucket.name,
        "not replicated",
        not copies,
        f"to {', '.join(copies)}" if copies else "nowhere",
        f"aws s3api delete-bucket-replication --bucket {bucket.id}; then remove the copies",
    )
    yield _lifecycle(bucket, s3("get_bucket_lifecycle_configuration").get("Rules", ()))
    versions = s3("get_bucket_versioning").get("Status", "never on")
    yield judge(
        bucket.name,
        "erased is erased",
        versions == "never on",
        f"versions of objects: {versions.lower()}",
        "old versions stay: expire them, or erase them one by one",
        otherwise=WARNING,
    )


def _encryption(bucket: Expected, answer: Any) -> Finding:
    rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", ())
    found = [each.get("ApplyServerSideEncryptionByDefault", {}) for each in rules]
    [wanted] = bucket.properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    return judge(
        bucket.name,
        "encrypted with the key",
        found == [wanted["ServerSideEncryptionByDefault"]],
        "; ".join(
            f"{each.get('SSEAlgorithm')} {each.get('KMSMasterKeyID', '')}".strip() for each in found
        )
        or "by no rule",
        _BY_HAND.format("put-bucket-encryption"),
    )


def _lifecycle(bucket: Expected, rules: Any) -> Finding:
    found = {
        each.get("ID"): (
            each["Status"],
            str(each.get("Expiration", {}).get("Days", "")),
            str(each.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation", "")),
        )
        for each in rules
    }
    wanted = {
        each["Id"]: (
            each["Status"],
            str(each.get("ExpirationInDays", "")),
            str(each.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation", "")),
        )
        for each in bucket.properties["LifecycleConfiguration"]["Rules"]
    }
    kept = [f"objects for {days} days" for _, days, _ in found.values() if days]
    return judge(
        bucket.name,
        "keeps what it says",
        is_same(found, wanted),
        ", ".join(kept) or ("objects until they are removed" if found else "it has no rules"),
        _BY_HAND.format("put-bucket-lifecycle-configuration"),
    )


def _ask(scene: Scene, bucket: str, operation: str) -> dict[str, Any]:
    """What S3 says of a bucket; nothing where it has no such setting."""
    try:
        return scene.account.call("s3", operation, Bucket=bucket)
    except CloudError as exc:
        if is_gone(exc) and exc.reason != "NoSuchBucket":
            return {}
        raise
