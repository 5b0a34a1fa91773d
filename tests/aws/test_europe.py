"""The guard of Europe: each case, as docs/aws.md lists it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pomona.aws.europe import Resource, refuse

PAGE = Path(__file__).parents[2] / "docs" / "aws.md"

TAKEN = [
    Resource("cluster", "c", "eu-west-1"),
    Resource("bucket", "b", "eu-central-1", replicas=("eu-west-3",)),
    Resource("KMS key", "k", "eusc-de-east-1", "aws-eusc"),
    Resource("log group", "l", "eu-south-2", endpoint="https://logs.eu-south-2.amazonaws.com"),
]
# As the page's table names them, with what the message says.
REFUSED = {
    "a cluster in London": (Resource("cluster", "c", "eu-west-2"), "the cluster c is in eu-west-2"),
    "an application in Zurich": (Resource("application", "a", "eu-central-2"), "in eu-central-2"),
    "a region that only looks European": (
        Resource("subnet", "s", "eu-isoe-west-1", "aws-iso-e"),
        "in eu-isoe-west-1",
    ),
    "a log group in the United States": (Resource("log group", "l", "us-east-1"), "in us-east-1"),
    "a topic whose region is not known": (Resource("topic", "t", None), "cannot be determined"),
    "a partition that does not fit the region": (
        Resource("bucket", "b", "eusc-de-east-1"),
        "eusc-de-east-1 is in aws-eusc",
    ),
    "a KMS key with a replica outside": (
        Resource("KMS key", "k", "eu-west-1", replicas=("eu-west-3", "us-east-1")),
        "(us-east-1)",
    ),
    "a bucket replicated to London": (
        Resource("bucket", "b", "eu-west-1", replicas=("eu-west-2",)),
        "(eu-west-2)",
    ),
    "a trail of all regions": (
        Resource("trail", "t", "eu-west-1", every_region=True),
        "for eu-west-1 only",
    ),
    "an endpoint that is not AWS's": (
        Resource("KMS key", "k", "eu-west-1", endpoint="https://kms.example.org"),
        "not AWS's own in eu-west-1",
    ),
    "an endpoint that is not encrypted": (
        Resource("KMS key", "k", "eu-west-1", endpoint="http://kms.eu-west-1.amazonaws.com"),
        "or not encrypted",
    ),
    "an endpoint of another region": (
        Resource("KMS key", "k", "eu-west-1", endpoint="https://kms.us-east-1.amazonaws.com"),
        "not AWS's own in eu-west-1",
    ),
}


@pytest.mark.parametrize("resource", TAKEN, ids=lambda each: each.kind)
def test_what_is_in_the_eea_as_a_whole_is_taken(resource: Resource) -> None:
    assert refuse(resource) is None


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_elsewhere_in_part_is_refused_in_one_line(case: str) -> None:
    resource, said = REFUSED[case]
    refused = refuse(resource) or ""
    assert said in refused
    assert "\n" not in refused


def test_the_page_lists_each_refused_case_with_its_message() -> None:
    _, _, behind = PAGE.read_text(encoding="utf-8").partition("## What is refused")
    rows = behind.partition("\n## ")[0].splitlines()
    listed = [row for row in rows if row.startswith("| a")]
    assert listed == [f"| {case} | {refuse(each)} |" for case, (each, _) in REFUSED.items()]
