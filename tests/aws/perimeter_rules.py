"""What the perimeter must be, beyond what CloudFormation checks: one function for each rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
from iam_policies import as_list
from perimeter_template import ACCOUNT, Resources

# Of EMR's free JSON, which neither CloudFormation nor cfn-lint looks into.
# https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-create-security-configuration.html
KEY_ARN = {"type": "string", "pattern": r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[0-9a-f-]+$"}


# What AWS lets nobody name a resource for; all of it reads.
# https://docs.aws.amazon.com/service-authorization/latest/reference/
WITHOUT_RESOURCE = {
    "ec2:DescribeSpotPriceHistory",
    "elasticmapreduce:DescribeSecurityConfiguration",
    "elasticmapreduce:ListClusters",
    "emr-serverless:ListApplications",
    "pricing:GetProducts",
    "servicequotas:ListServiceQuotas",
}


def _exactly(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


NODE_ENCRYPTION = _exactly(
    EncryptionConfiguration=_exactly(
        EnableAtRestEncryption={"const": True},
        EnableInTransitEncryption={"const": True},
        AtRestEncryptionConfiguration=_exactly(
            S3EncryptionConfiguration=_exactly(
                EncryptionMode={"const": "SSE-KMS"}, AwsKmsKey=KEY_ARN
            ),
            LocalDiskEncryptionConfiguration=_exactly(
                EncryptionKeyProviderType={"const": "AwsKms"},
                AwsKmsKey=KEY_ARN,
                EnableEbsEncryption={"const": True},
            ),
        ),
        InTransitEncryptionConfiguration=_exactly(
            TLSCertificateConfiguration=_exactly(
                CertificateProviderType={"const": "PEM"},
                S3Object={"type": "string", "pattern": r"^s3://[a-z0-9-]+/.+\.zip$"},
            )
        ),
    ),
    InstanceMetadataServiceConfiguration=_exactly(
        MinimumInstanceMetadataServiceVersion={"const": 2},
        HttpPutResponseHopLimit={"const": 1},
    ),
)


def of(resources: Resources, kind: str) -> dict[str, Any]:
    """The properties of all resources of a type, by name."""
    return {name: each["Properties"] for name, each in resources.items() if each["Type"] == kind}


def statements(policy: Any) -> list[Any]:
    return list(policy["PolicyDocument"]["Statement"])


def policies(resources: Resources) -> Iterator[Any]:
    """Every policy of an identity."""
    yield from of(resources, "AWS::IAM::ManagedPolicy").values()
    for role in of(resources, "AWS::IAM::Role").values():
        yield from role.get("Policies", [])


def key_arn(resources: Resources) -> str:
    [bucket] = [p for name, p in of(resources, "AWS::S3::Bucket").items() if name == "Logs"]
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    return str(rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"])


def buckets_encrypt_with_one_key(resources: Resources) -> bool:
    found = [
        each.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration")
        for each in of(resources, "AWS::S3::Bucket").values()
    ]
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn(resources)}
    wanted = [{"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": default}]
    return len(found) == 4 and all(each == wanted for each in found)


def buckets_are_private(resources: Resources) -> bool:
    flags = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    return all(
        bucket.get("PublicAccessBlockConfiguration") == dict.fromkeys(flags, True)
        and bucket.get("OwnershipControls")
        == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        for bucket in of(resources, "AWS::S3::Bucket").values()
    )


def buckets_keep_what_they_say(resources: Resources) -> bool:
    """Nothing elsewhere, no old version after an erasure, no half of an upload."""
    for name, bucket in of(resources, "AWS::S3::Bucket").items():
        rules = bucket.get("LifecycleConfiguration", {}).get("Rules", [])
        # Environments can be made again; images and stores cannot.
        ends = [
            each
            for each in rules
            if "ExpirationInDays" in each and each.get("Prefix") != "environments/"
        ]
        if not any("AbortIncompleteMultipartUpload" in each for each in rules):
            return False
        if bool(ends) != (name in ("Logs", "Audit")):
            return False
        if {"ReplicationConfiguration", "VersioningConfiguration"} & bucket.keys():
            return False
    return True


def _denials(resources: Resources, bucket: str) -> dict[str, Any]:
    found = of(resources, "AWS::S3::BucketPolicy").values()
    return {
        each["Sid"]: each
        for policy in found
        if policy["Bucket"] == bucket
        for each in statements(policy)
        if each["Effect"] == "Deny" and each["Principal"] == "*"
    }


def buckets_take_tls_alone(resources: Resources) -> bool:
    for bucket in of(resources, "AWS::S3::Bucket").values():
        name, denied = bucket["BucketName"], _denials(resources, bucket["BucketName"])
        every = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
        without = {"Bool": {"aws:SecureTransport": "false"}}
        if not any(
            (each["Action"], each["Resource"], each.get("Condition")) == ("s3:*", every, without)
            for each in denied.values()
        ):
            return False
    return True


def buckets_refuse_another_encryption(resources: Resources) -> bool:
    sse = "s3:x-amz-server-side-encryption"
    wanted = {sse: "aws:kms", f"{sse}-aws-kms-key-id": key_arn(resources)}
    for logical, bucket in of(resources, "AWS::S3::Bucket").items():
        denied = _denials(resources, bucket["BucketName"]).values()
        conditions = [each["Condition"] for each in denied if each["Action"] == "s3:PutObject"]
        right = [
            {"StringNotEquals": {key: value}, "Null": {key: "false"}}
            for key, value in wanted.items()
        ]
        # CloudTrail alone writes into the last one, and is told the key by its trail.
        if conditions != ([] if logical == "Audit" else right):
            return False
    return True


def the_key_rotates_and_stays(resources: Resources) -> bool:
    [key] = of(resources, "AWS::KMS::Key").values()
    return key["EnableKeyRotation"] is True and key["MultiRegion"] is False


def services_use_the_key_for_this_account(resources: Resources) -> bool:
    [key] = of(resources, "AWS::KMS::Key").values()
    for each in key["KeyPolicy"]["Statement"]:
        if "Service" in each["Principal"]:
            equals = each.get("Condition", {}).get("StringEquals", {})
            if ACCOUNT not in "".join(equals.values()):
                return False
        elif each["Principal"] != {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}:
            return False
    return True


def roles_trust_services_of_this_account(resources: Resources) -> bool:
    for role in of(resources, "AWS::IAM::Role").values():
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        equals = statement.get("Condition", {}).get("StringEquals", {})
        if list(statement["Principal"]) != ["Service"]:
            return False
        # Of instances AWS says no account: a role is given to them by PassRole, within the account.
        if statement["Principal"]["Service"] != "ec2.amazonaws.com" and equals != {
            "aws:SourceAccount": ACCOUNT
        }:
            return False
    return True


def policies_name_actions_and_resources(resources: Resources) -> bool:
    for policy in policies(resources):
        for each in statements(policy):
            actions = set(as_list(each["Action"])) - {"kms:ReEncrypt*"}
            if any("*" in action for action in actions):
                return False
            if "*" in as_list(each["Resource"]) and not actions <= WITHOUT_RESOURCE:
                return False
    return True


def roles_are_passed_to_their_service_alone(resources: Resources) -> bool:
    passing = {
        (str(each["Resource"]).rpartition("/")[2], json.dumps(each.get("Condition")))
        for policy in policies(resources)
        for each in statements(policy)
        if any(action.lower() == "iam:passrole" for action in as_list(each["Action"]))
    }
    return passing == {
        (f"pomona-{role}", json.dumps({"StringEquals": {"iam:PassedToService": service}}))
        for role, service in (
            ("NodeRole", "ec2.amazonaws.com"),
            ("JobRole", "emr-serverless.amazonaws.com"),
        )
    }


def the_application_is_bounded(resources: Resources) -> bool:
    return all(
        {"Cpu", "Memory", "Disk"} <= each.get("MaximumCapacity", {}).keys()
        and "InitialCapacity" not in each
        and each["AutoStopConfiguration"]["Enabled"] is True
        and each["AutoStopConfiguration"]["IdleTimeoutMinutes"] <= 15
        for each in of(resources, "AWS::EMRServerless::Application").values()
    )


def logs_stay_in_the_bucket(resources: Resources) -> bool:
    for each in of(resources, "AWS::EMRServerless::Application").values():
        logging = each["MonitoringConfiguration"]
        if logging["ManagedPersistenceMonitoringConfiguration"] != {"Enabled": False}:
            return False
        if logging["S3MonitoringConfiguration"]["EncryptionKeyArn"] != key_arn(resources):
            return False
    return True


def nodes_are_encrypted(resources: Resources) -> bool:
    validator = jsonschema.Draft202012Validator(NODE_ENCRYPTION)
    return all(
        validator.is_valid(each["SecurityConfiguration"])
        for each in of(resources, "AWS::EMR::SecurityConfiguration").values()
    )


def the_trail_records_images_and_results(resources: Resources) -> bool:
    [trail] = of(resources, "AWS::CloudTrail::Trail").values()
    buckets = of(resources, "AWS::S3::Bucket")
    recorded = {
        start
        for selector in trail["AdvancedEventSelectors"]
        for each in selector["FieldSelectors"]
        for start in each.get("StartsWith", [])
    }
    return (
        trail["IsLogging"] is True
        and trail["EnableLogFileValidation"] is True
        and trail["IsMultiRegionTrail"] is False
        and trail.get("KMSKeyId") == key_arn(resources)
        and trail["S3BucketName"] == buckets["Audit"]["BucketName"]
        and recorded
        == {f"arn:aws:s3:::{buckets[name]['BucketName']}/" for name in ("Images", "Results")}
    )


def the_budget_alerts_three_times(resources: Resources) -> bool:
    [budget] = of(resources, "AWS::Budgets::Budget").values()
    [topic] = of(resources, "AWS::SNS::TopicPolicy").values()
    told = [each["Notification"] for each in budget["NotificationsWithSubscribers"]]
    addresses = [each["Subscribers"] for each in budget["NotificationsWithSubscribers"]]
    return (
        budget["Budget"]["BudgetLimit"]["Unit"] == "USD"
        and [each["Threshold"] for each in told] == [50, 80, 100]
        and {each["ThresholdType"] for each in told} == {"PERCENTAGE"}
        and {each["NotificationType"] for each in told} == {"ACTUAL"}
        and all(
            each == [{"SubscriptionType": "SNS", "Address": topic["Topics"][0]}]
            for each in addresses
        )
    )


def alerts_are_encrypted(resources: Resources) -> bool:
    return all(
        each.get("KmsMasterKeyId") == key_arn(resources)
        for each in of(resources, "AWS::SNS::Topic").values()
    )


RULES: tuple[Callable[[Resources], bool], ...] = (
    buckets_encrypt_with_one_key,
    buckets_are_private,
    buckets_keep_what_they_say,
    buckets_take_tls_alone,
    buckets_refuse_another_encryption,
    the_key_rotates_and_stays,
    services_use_the_key_for_this_account,
    roles_trust_services_of_this_account,
    policies_name_actions_and_resources,
    roles_are_passed_to_their_service_alone,
    the_application_is_bounded,
    logs_stay_in_the_bucket,
    nodes_are_encrypted,
    the_trail_records_images_and_results,
    the_budget_alerts_three_times,
    alerts_are_encrypted,
)


def broken(resources: Resources) -> set[str]:
    """The names of the rules that do not hold."""
    return {rule.__name__ for rule in RULES if not rule(resources)}
