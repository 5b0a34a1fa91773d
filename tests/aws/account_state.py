"""All that an account holds, in a form in which two accounts can be compared."""

from __future__ import annotations

import json
import re
from typing import Any

from moto.emr.models import emr_backends
from moto_server import EMR_POLICY, MotoServer
from template_resources import ACCOUNT


def state_of(aws: MotoServer) -> dict[str, Any]:
    """What is there: of each service the names, and what matters of each.

    Keys whose deletion is pending count as gone, as do terminated applications.
    """
    kms = aws.client("kms")
    keys = [
        kms.describe_key(KeyId=each["KeyId"])["KeyMetadata"] for each in kms.list_keys()["Keys"]
    ]
    emr = aws.client("emr-serverless").list_applications()["applications"]
    s3 = aws.client("s3")
    budgets = aws.client("budgets").describe_budgets(AccountId=ACCOUNT)
    iam = aws.client("iam")
    found = {
        "stacks": {
            name: (each.status, each.plan.parameters, sorted(each.made), sorted(each.change_sets))
            for name, each in aws.cloudformation.stacks.items()
        },
        "keys": [each["KeyState"] for each in keys if each["KeyState"] != "PendingDeletion"],
        "buckets": {
            each["Name"]: _of_bucket(s3, each["Name"]) for each in s3.list_buckets()["Buckets"]
        },
        "roles": sorted(each["RoleName"] for each in iam.list_roles()["Roles"]),
        "policies": [
            each["PolicyName"]
            for each in iam.list_policies(Scope="Local")["Policies"]
            if each["PolicyName"] != EMR_POLICY
        ],
        "profiles": [
            each["InstanceProfileName"] for each in iam.list_instance_profiles()["InstanceProfiles"]
        ],
        "applications": [each["name"] for each in emr if each["state"] != "TERMINATED"],
        # moto does not list them.
        "encryption of nodes": sorted(emr_backends[ACCOUNT]["eu-west-1"].security_configurations),
        "trails": [each["Name"] for each in aws.client("cloudtrail").list_trails()["Trails"]],
        "topics": [each["TopicArn"] for each in aws.client("sns").list_topics()["Topics"]],
        "budgets": [(each["BudgetName"], each["BudgetLimit"]) for each in budgets["Budgets"]],
    }
    # Ids differ from one account to the next.
    bare = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", json.dumps(found))
    state: dict[str, Any] = json.loads(bare)
    return state


def _of_bucket(s3: Any, name: str) -> Any:
    return {
        "encryption": s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"],
        "objects": [each["Key"] for each in s3.list_objects_v2(Bucket=name).get("Contents", [])],
    }
