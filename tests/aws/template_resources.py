"""The perimeter's types of resources, made by direct calls: what CloudFormation does with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ACCOUNT = "123456789012"  # moto's
Clients = Callable[[str], Any]


@dataclass
class Made:
    """A resource that is there: its id, as `Ref` gives it, and its attributes."""

    type: str
    id: str
    attributes: dict[str, str] = field(default_factory=dict)
    properties: Any = None


class Type:
    """How a type of resource is made, configured (again) and removed."""

    name: str

    def make(self, client: Clients, name: str, given: Any) -> Made:
        raise NotImplementedError

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        """Nothing, where `make` does all."""

    def remove(self, client: Clients, made: Made) -> None:
        raise NotImplementedError


class Key(Type):
    name = "AWS::KMS::Key"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        made = client("kms").create_key(
            Description=given["Description"],
            Policy=json.dumps(given["KeyPolicy"]),
            MultiRegion=given["MultiRegion"],
        )["KeyMetadata"]
        return Made(self.name, made["KeyId"], {"Arn": made["Arn"]})

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        client("kms").enable_key_rotation(KeyId=made.id)

    def remove(self, client: Clients, made: Made) -> None:
        client("kms").schedule_key_deletion(KeyId=made.id, PendingWindowInDays=7)


class Bucket(Type):
    name = "AWS::S3::Bucket"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        s3 = client("s3")
        bucket = given["BucketName"]
        s3.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name}
        )
        return Made(self.name, bucket, {"Arn": f"arn:aws:s3:::{bucket}"})

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        s3, bucket = client("s3"), {"Bucket": made.id}
        [rule] = given["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        encryption = {
            "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
            "BucketKeyEnabled": rule["BucketKeyEnabled"],
        }
        s3.put_bucket_encryption(
            **bucket, ServerSideEncryptionConfiguration={"Rules": [encryption]}
        )
        s3.put_public_access_block(
            **bucket, PublicAccessBlockConfiguration=given["PublicAccessBlockConfiguration"]
        )
        s3.put_bucket_ownership_controls(**bucket, OwnershipControls=given["OwnershipControls"])
        s3.put_bucket_lifecycle_configuration(
            **bucket,
            LifecycleConfiguration={
                "Rules": [_lifecycle(each) for each in given["LifecycleConfiguration"]["Rules"]]
            },
        )

    def remove(self, client: Clients, made: Made) -> None:
        client("s3").delete_bucket(Bucket=made.id)


def _lifecycle(rule: dict[str, Any]) -> dict[str, Any]:
    same = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": ""}}
    if "ExpirationInDays" in rule:
        return {**same, "Expiration": {"Days": int(rule["ExpirationInDays"])}}
    return {**same, "AbortIncompleteMultipartUpload": rule["AbortIncompleteMultipartUpload"]}


class BucketPolicy(Type):
    name = "AWS::S3::BucketPolicy"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        return Made(self.name, given["Bucket"])

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        client("s3").put_bucket_policy(Bucket=made.id, Policy=json.dumps(given["PolicyDocument"]))

    def remove(self, client: Clients, made: Made) -> None:
        client("s3").delete_bucket_policy(Bucket=made.id)


class Trail(Type):
    name = "AWS::CloudTrail::Trail"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        made = client("cloudtrail").create_trail(
            Name=given["TrailName"],
            S3BucketName=given["S3BucketName"],
            KmsKeyId=given["KMSKeyId"],
            IsMultiRegionTrail=given["IsMultiRegionTrail"],
            IncludeGlobalServiceEvents=given["IncludeGlobalServiceEvents"],
            EnableLogFileValidation=given["EnableLogFileValidation"],
        )
        return Made(self.name, given["TrailName"], {"Arn": made["TrailARN"]})

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        client("cloudtrail").put_event_selectors(
            TrailName=made.id, AdvancedEventSelectors=given["AdvancedEventSelectors"]
        )
        client("cloudtrail").start_logging(Name=made.id)

    def remove(self, client: Clients, made: Made) -> None:
        client("cloudtrail").delete_trail(Name=made.id)


class Topic(Type):
    name = "AWS::SNS::Topic"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        made = client("sns").create_topic(Name=name, Attributes=given)
        return Made(self.name, made["TopicArn"])

    def remove(self, client: Clients, made: Made) -> None:
        client("sns").delete_topic(TopicArn=made.id)


class TopicPolicy(Type):
    name = "AWS::SNS::TopicPolicy"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        return Made(self.name, name)

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        for topic in given["Topics"]:
            client("sns").set_topic_attributes(
                TopicArn=topic,
                AttributeName="Policy",
                AttributeValue=json.dumps(given["PolicyDocument"]),
            )

    def remove(self, client: Clients, made: Made) -> None:
        """It goes with its topic."""


class Subscription(Type):
    name = "AWS::SNS::Subscription"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        made = client("sns").subscribe(
            TopicArn=given["TopicArn"], Protocol=given["Protocol"], Endpoint=given["Endpoint"]
        )
        return Made(self.name, made["SubscriptionArn"])

    def remove(self, client: Clients, made: Made) -> None:
        client("sns").unsubscribe(SubscriptionArn=made.id)


class Budget(Type):
    name = "AWS::Budgets::Budget"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        self._create(client, name, given)
        return Made(self.name, name, properties=given)

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        if made.properties != given:  # moto updates none
            self.remove(client, made)
            self._create(client, made.id, given)

    def _create(self, client: Clients, name: str, given: Any) -> None:
        budget = given["Budget"]
        limit = {**budget["BudgetLimit"], "Amount": str(budget["BudgetLimit"]["Amount"])}
        client("budgets").create_budget(
            AccountId=ACCOUNT,
            Budget={**budget, "BudgetLimit": limit, "BudgetName": name},
            NotificationsWithSubscribers=given["NotificationsWithSubscribers"],
        )

    def remove(self, client: Clients, made: Made) -> None:
        client("budgets").delete_budget(AccountId=ACCOUNT, BudgetName=made.id)


class ManagedPolicy(Type):
    name = "AWS::IAM::ManagedPolicy"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        made = client("iam").create_policy(
            PolicyName=name,
            Description=given["Description"],
            PolicyDocument=json.dumps(given["PolicyDocument"]),
        )
        return Made(self.name, made["Policy"]["Arn"], properties=given)

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        if made.properties == given:
            return
        iam, policy = client("iam"), {"PolicyArn": made.id}
        for each in iam.list_policy_versions(**policy)["Versions"]:
            if not each["IsDefaultVersion"]:
                iam.delete_policy_version(**policy, VersionId=each["VersionId"])
        document = json.dumps(given["PolicyDocument"])
        iam.create_policy_version(**policy, PolicyDocument=document, SetAsDefault=True)

    def remove(self, client: Clients, made: Made) -> None:
        client("iam").delete_policy(PolicyArn=made.id)


class Role(Type):
    name = "AWS::IAM::Role"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        made = client("iam").create_role(
            RoleName=name,
            Description=given["Description"],
            AssumeRolePolicyDocument=json.dumps(given["AssumeRolePolicyDocument"]),
        )
        return Made(self.name, name, {"Arn": made["Role"]["Arn"]})

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        iam, role = client("iam"), {"RoleName": made.id}
        trust = json.dumps(given["AssumeRolePolicyDocument"])
        iam.update_assume_role_policy(**role, PolicyDocument=trust)
        for arn in given["ManagedPolicyArns"]:
            iam.attach_role_policy(**role, PolicyArn=arn)
        for each in given.get("Policies", ()):
            document = json.dumps(each["PolicyDocument"])
            iam.put_role_policy(**role, PolicyName=each["PolicyName"], PolicyDocument=document)

    def remove(self, client: Clients, made: Made) -> None:
        iam, role = client("iam"), {"RoleName": made.id}
        for each in iam.list_attached_role_policies(**role)["AttachedPolicies"]:
            iam.detach_role_policy(**role, PolicyArn=each["PolicyArn"])
        for name in iam.list_role_policies(**role)["PolicyNames"]:
            iam.delete_role_policy(**role, PolicyName=name)
        iam.delete_role(**role)


class InstanceProfile(Type):
    name = "AWS::IAM::InstanceProfile"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        iam = client("iam")
        made = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        for role in given["Roles"]:
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)
        return Made(self.name, name, {"Arn": made["Arn"]}, given)

    def remove(self, client: Clients, made: Made) -> None:
        iam, profile = client("iam"), {"InstanceProfileName": made.id}
        for role in made.properties["Roles"]:
            iam.remove_role_from_instance_profile(**profile, RoleName=role)
        iam.delete_instance_profile(**profile)


class Application(Type):
    name = "AWS::EMRServerless::Application"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        made = client("emr-serverless").create_application(
            clientToken=name,
            name=given["Name"],
            type=given["Type"].upper(),
            releaseLabel=given["ReleaseLabel"],
            architecture=given["Architecture"],
            interactiveConfiguration=_lower(given["InteractiveConfiguration"]),
            **self._configuration(given),
        )
        ids = {"ApplicationId": made["applicationId"], "Arn": made["arn"]}
        return Made(self.name, made["applicationId"], ids, given)

    def configure(self, client: Clients, made: Made, given: Any) -> None:
        if made.properties == given:
            return
        emr, application = client("emr-serverless"), {"applicationId": made.id}
        emr.stop_application(**application)
        emr.update_application(clientToken="t", **application, **self._configuration(given))

    def remove(self, client: Clients, made: Made) -> None:
        client("emr-serverless").stop_application(applicationId=made.id)
        client("emr-serverless").delete_application(applicationId=made.id)

    def _configuration(self, given: Any) -> dict[str, Any]:
        return {
            _lower_first(name): _lower(given[name])
            for name in (
                "MaximumCapacity",
                "AutoStartConfiguration",
                "AutoStopConfiguration",
                "MonitoringConfiguration",
            )
        }


def _lower(value: Any) -> Any:
    if isinstance(value, dict):
        return {_lower_first(key): _lower(each) for key, each in value.items()}
    return value


def _lower_first(name: str) -> str:
    return name[0].lower() + name[1:]


class SecurityConfiguration(Type):
    name = "AWS::EMR::SecurityConfiguration"

    def make(self, client: Clients, name: str, given: Any) -> Made:
        made = client("emr").create_security_configuration(
            Name=name, SecurityConfiguration=json.dumps(given["SecurityConfiguration"])
        )
        return Made(self.name, made["Name"])

    def remove(self, client: Clients, made: Made) -> None:
        client("emr").delete_security_configuration(Name=made.id)


TYPES = {
    each.name: each
    for each in (
        *(Key(), Bucket(), BucketPolicy(), Trail(), Topic(), TopicPolicy(), Subscription()),
        *(Budget(), ManagedPolicy(), Role(), InstanceProfile(), Application()),
        SecurityConfiguration(),
    )
}
