"""The guard: which buckets and endpoints may be used."""

from __future__ import annotations

import pytest

from pomona.s3.region_guard import EEA, is_aws, refuse_endpoint, refuse_region

AWS = "https://s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("region", EEA)
def test_a_bucket_in_the_eea_is_taken(region: str) -> None:
    assert refuse_region("b", region, AWS) is None


@pytest.mark.parametrize(
    "region",
    ["eu-west-2", "eu-central-2", "us-east-1", "ap-south-1", "eu-west-10", "eu-", "EU-WEST-1"],
)
def test_a_bucket_elsewhere_is_refused_unless_it_is_named(region: str) -> None:
    refused = refuse_region("b", region, AWS)
    assert refused is not None
    assert f"s3://b is in {region}" in refused
    assert "eu-west-1" in refused
    assert f"`allow_region` {region}" in refused
    assert refuse_region("b", region, AWS, (region,)) is None
    assert refuse_region("b", region, AWS, ("sa-east-1",)) == refused


def test_a_region_that_is_not_known_is_refused() -> None:
    assert "cannot be determined" in (refuse_region("b", None, AWS, ("us-east-1",)) or "")


@pytest.mark.parametrize(
    ("endpoint", "own"),
    [
        ("https://s3.eu-west-1.amazonaws.com", True),
        ("https://s3.eusc-de-east-1.amazonaws.eu", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://s3.dualstack.us-east-1.api.aws", True),
        ("https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com:443/x", True),
        ("http://127.0.0.1:7070", False),
        ("https://amazonaws.com.example.org", False),
        ("https://notamazonaws.com", False),
    ],
)
def test_only_aws_has_regions_that_say_where_they_are(endpoint: str, own: bool) -> None:
    assert is_aws(endpoint) is own
    assert (refuse_region("b", "us-east-1", endpoint) is None) is not own


@pytest.mark.parametrize(
    "endpoint",
    ["https://s3.example.org", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"],
)
def test_https_and_loopback_endpoints_are_taken(endpoint: str) -> None:
    assert refuse_endpoint(endpoint) is None


@pytest.mark.parametrize("endpoint", ["http://s3.example.org", "http://10.0.0.1:9000"])
def test_plain_http_to_another_machine_must_be_asked_for(endpoint: str) -> None:
    assert "`insecure_endpoint`" in (refuse_endpoint(endpoint) or "")
    assert refuse_endpoint(endpoint, insecure=True) is None


@pytest.mark.parametrize("endpoint", ["ftp://x", "example.org", "", "https://"])
def test_an_endpoint_that_is_not_a_url_is_refused(endpoint: str) -> None:
    assert "AWS_ENDPOINT_URL" in (refuse_endpoint(endpoint, insecure=True) or "")


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    refused = refuse_endpoint("https://me:secret@s3.example.org") or ""
    assert "s3.example.org has a name or password" in refused
    assert "secret" not in refused
