"""The perimeter's template: that it is what it must be, and that defects are seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs
from cfnlint.schema import ResourceNotFoundError
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from perimeter_rules import RULES, broken
from perimeter_template import EMAIL, Resources, parse, resolve

from pomona.aws import perimeter, template
from pomona.s3.region_guard import EEA

PAGE = Path(__file__).parents[2] / "docs" / "aws.md"
# Where CloudFormation has every type that the template takes: it has no budgets elsewhere.
REGIONS = ["eu-central-1", "eu-west-1", "eu-west-3", "eusc-de-east-1"]
MOST_BYTES = 51_200  # of a template that is sent with the request

PERIMETER = resolve()


def complaints(template: str, regions: list[str]) -> set[str]:
    config = ManualArgs(regions=regions, include_checks=["I"])
    return {match.rule.id for match in lint(template, config=config)}


def test_cfn_lint_has_nothing_to_say() -> None:
    text = perimeter.template()
    assert complaints(text, REGIONS) == set()
    assert len(text.encode()) < MOST_BYTES


def test_cfn_lint_sees_defects() -> None:
    text = perimeter.template()
    for old, new in (
        ("BucketKeyEnabled: true", "BucketKey: true"),
        ("Topics: [!Ref Alerts]", "Topics: [!Ref Alarms]"),
        ("DeletionPolicy: Delete", "# Delete"),
    ):
        assert old in text
        text = text.replace(old, new)
    # A property that is none, a name of nothing, and no word on what becomes of the data.
    assert complaints(text, ["eu-west-1"]) == {"E1020", "E3002", "I3011", "W3011"}


def test_every_region_is_one_that_makes_all_of_it() -> None:
    kinds = {each["Type"] for each in PERIMETER.values()}

    def has_all(region: str) -> bool:
        try:
            for kind in kinds:
                PROVIDER_SCHEMA_MANAGER.get_resource_schema(region, kind)
        except ResourceNotFoundError:
            return False
        return True

    assert [region for region in EEA if has_all(region)] == sorted(REGIONS)
    listed = PAGE.read_text(encoding="utf-8")
    assert all(f"`{region}`" in listed for region in REGIONS)


def test_the_twin_in_json_is_the_template() -> None:
    """Made by `python tests/aws/perimeter_template.py > src/pomona/aws/perimeter.json`."""
    assert template.template() == parse(perimeter.template())


def test_every_rule_holds() -> None:
    assert broken(PERIMETER) == set()
    assert broken(resolve(MaximumVcpus=64, Architecture="X86_64", MonthlyBudgetUsd=3)) == set()


def test_what_is_kept_for_the_data_computes_nothing() -> None:
    kept = resolve(Scope="data")
    assert {each["Type"].split("::")[1] for each in kept.values()} == {
        *("Budgets", "CloudTrail", "IAM", "KMS", "S3", "SNS"),
    }
    assert {each["Type"] for each in kept.values() if "::IAM::" in each["Type"]} == {
        "AWS::IAM::ManagedPolicy"
    }
    changed = {name for name, each in kept.items() if each != PERIMETER[name]}
    assert changed == {"UserAccess"}  # it names the application and its role no more


def test_nothing_is_named_after_a_person() -> None:
    holders = [name for name, each in PERIMETER.items() if EMAIL in json.dumps(each)]
    assert holders == ["AlertsByMail"]


def test_memory_and_disk_bind_no_sooner_than_processors() -> None:
    bound = PERIMETER["Application"]["Properties"]["MaximumCapacity"]
    cpu, memory, disk = (int(bound[what].split()[0]) for what in ("Cpu", "Memory", "Disk"))
    assert (memory, disk) == (8 * cpu, 20 * cpu)


def properties(name: str) -> Callable[[Resources], Any]:
    return lambda resources: resources[name]["Properties"]


def of_policy(name: str, sid: str) -> Callable[[Resources], Any]:
    def find(resources: Resources) -> Any:
        documents = resources[name]["Properties"]
        for each in documents.get("Policies", [documents]):
            for statement in each["PolicyDocument"]["Statement"]:
                if statement["Sid"] == sid:
                    return statement
        raise KeyError(sid)

    return find


def of_trust(name: str) -> Callable[[Resources], Any]:
    return lambda resources: resources[name]["Properties"]["AssumeRolePolicyDocument"]["Statement"][
        0
    ]


def encryption_of_nodes(resources: Resources) -> Any:
    return resources["NodeEncryption"]["Properties"]["SecurityConfiguration"][
        "EncryptionConfiguration"
    ]


def second_alert(resources: Resources) -> Any:
    return resources["Budget"]["Properties"]["NotificationsWithSubscribers"][1]["Notification"]


# What is planted: where, which key, its new value (None: without it), and the rule that sees it.
DEFECTS: tuple[tuple[Callable[[Resources], Any], str, Any, str], ...] = (
    (properties("Images"), "BucketEncryption", None, "buckets_encrypt_with_one_key"),
    (
        lambda resources: resources["Results"]["Properties"]["BucketEncryption"][
            "ServerSideEncryptionConfiguration"
        ][0]["ServerSideEncryptionByDefault"],
        "SSEAlgorithm",
        "AES256",
        "buckets_encrypt_with_one_key",
    ),
    (properties("Audit"), "PublicAccessBlockConfiguration", None, "buckets_are_private"),
    (
        lambda resources: resources["Images"]["Properties"]["PublicAccessBlockConfiguration"],
        "RestrictPublicBuckets",
        False,
        "buckets_are_private",
    ),
    (properties("Results"), "LifecycleConfiguration", None, "buckets_keep_what_they_say"),
    (
        properties("Images"),
        "ReplicationConfiguration",
        {"Role": "r", "Rules": []},
        "buckets_keep_what_they_say",
    ),
    (
        properties("Images"),
        "VersioningConfiguration",
        {"Status": "Enabled"},
        "buckets_keep_what_they_say",
    ),
    (of_policy("LogsPolicy", "TlsAlone"), "Effect", "Allow", "buckets_take_tls_alone"),
    (of_policy("AuditPolicy", "TlsAlone"), "Action", "s3:GetObject", "buckets_take_tls_alone"),
    (
        lambda resources: of_policy("ImagesPolicy", "KmsAlone")(resources)["Condition"],
        "Null",
        None,
        "buckets_refuse_another_encryption",
    ),
    (properties("Key"), "EnableKeyRotation", False, "the_key_rotates_and_stays"),
    (properties("Key"), "MultiRegion", True, "the_key_rotates_and_stays"),
    (
        lambda resources: resources["Key"]["Properties"]["KeyPolicy"]["Statement"][3],
        "Condition",
        None,
        "services_use_the_key_for_this_account",
    ),
    (of_trust("JobRole"), "Condition", None, "roles_trust_services_of_this_account"),
    (
        of_trust("NodeRole"),
        "Principal",
        {"AWS": "*"},
        "roles_trust_services_of_this_account",
    ),
    (
        of_policy("DataAccess", "WriteStores"),
        "Action",
        "s3:*",
        "policies_name_actions_and_resources",
    ),
    (
        of_policy("NodeRole", "EncryptLocalDisks"),
        "Resource",
        "*",
        "policies_name_actions_and_resources",
    ),
    (
        of_policy("ServiceRole", "GiveNodesTheirRole"),
        "Condition",
        None,
        "roles_are_passed_to_their_service_alone",
    ),
    (properties("Application"), "MaximumCapacity", None, "the_application_is_bounded"),
    (
        lambda resources: resources["Application"]["Properties"]["AutoStopConfiguration"],
        "Enabled",
        False,
        "the_application_is_bounded",
    ),
    (
        lambda resources: resources["Application"]["Properties"]["MonitoringConfiguration"],
        "ManagedPersistenceMonitoringConfiguration",
        {"Enabled": True},
        "logs_stay_in_the_bucket",
    ),
    (encryption_of_nodes, "EnableInTransitEncryption", False, "nodes_are_encrypted"),
    (encryption_of_nodes, "EnableInTransitEncrypted", True, "nodes_are_encrypted"),
    (
        lambda resources: encryption_of_nodes(resources)["AtRestEncryptionConfiguration"],
        "LocalDiskEncryptionConfiguration",
        None,
        "nodes_are_encrypted",
    ),
    (
        properties("Trail"),
        "IsMultiRegionTrail",
        True,
        "the_trail_records_images_and_results",
    ),
    (properties("Trail"), "KMSKeyId", None, "the_trail_records_images_and_results"),
    (properties("Trail"), "S3BucketName", "elsewhere", "the_trail_records_images_and_results"),
    (second_alert, "Threshold", 800, "the_budget_alerts_three_times"),
    (second_alert, "ThresholdType", "ABSOLUTE_VALUE", "the_budget_alerts_three_times"),
    (properties("Alerts"), "KmsMasterKeyId", None, "alerts_are_encrypted"),
)


@pytest.mark.parametrize(
    "defect", DEFECTS, ids=lambda defect: f"{defect[3]}-{defect[1]}-{defect[2]}"
)
def test_a_planted_defect_is_seen(
    defect: tuple[Callable[[Resources], Any], str, Any, str],
) -> None:
    find, key, value, rule = defect
    resources = deepcopy(PERIMETER)
    if value is None:
        del find(resources)[key]
    else:
        find(resources)[key] = value
    assert rule in broken(resources)


def test_each_rule_has_a_defect() -> None:
    assert {rule.__name__ for rule in RULES} == {each[3] for each in DEFECTS}
