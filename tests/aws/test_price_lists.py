"""Prices from AWS's lists, as botocore's Stubber answers: no emulator has the Pricing API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.stub import ANY, Stubber

from in_process import run_in_process
from pomona.aws import price_lists
from pomona.aws.account import Account
from pomona.aws.prices import packaged
from pomona.errors import CloudError

SERVERLESS = [
    ("ElasticMapReduce", "EUW3-EMR-SERVERLESS-vCPUHours", 0.06318),
    ("ElasticMapReduce", "EUW3-EMR-SERVERLESS-MemoryGBHours", 0.00689),
    ("ElasticMapReduce", "EUW3-EMR-SERVERLESS-ARM-vCPUHours", 0.05),
    ("ElasticMapReduce", "EUW3-EMR-SERVERLESS-ARM-MemoryGBHours", 0.005),
]
OTHERS = [
    ("AmazonEC2", "EUW3-EBS:VolumeUsage.gp3", 0.0928),
    ("AmazonS3", "EUW3-Requests-Tier1", 0.0000053),
    ("AmazonS3", "EUW3-Requests-Tier2", 0.00000042),
    ("AmazonS3", "EUW3-TimedStorage-ByteHrs", 0.024),
]
FAMILIES = ("c7g", "c8g", "c7a", "c7i", "m5")


def product(usd: float) -> str:
    """A product as the API lists it: a text, with a free tier and a dearer second one."""
    tiers = {"A": ("0", 0.0), "B": ("0", usd), "C": ("51200", usd * 2)}
    dimensions = {
        name: {"beginRange": begin, "pricePerUnit": {"USD": f"{price:.10f}"}}
        for name, (begin, price) in tiers.items()
    }
    return json.dumps({"terms": {"OnDemand": {"SKU.T": {"priceDimensions": dimensions}}}})


def filters(**attributes: str) -> list[dict[str, str]]:
    return [
        {"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()
    ]


def expect(stub: Stubber, service: str, usd: float | None, **attributes: str) -> None:
    listed = [] if usd is None else [product(usd)]
    asked = {"ServiceCode": service, "Filters": filters(**attributes)}
    stub.add_response("get_products", {"PriceList": listed}, asked)


def expect_families(stub: Stubber, region: str, missing: str) -> None:
    for number, family in enumerate(FAMILIES):
        instance = {"instanceType": f"{family}.2xlarge", "regionCode": region}
        linux = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA"}
        usd = None if family == missing else 0.4 + number / 100
        expect(stub, "AmazonEC2", usd, **instance, **linux, capacitystatus="Used")
        expect(stub, "ElasticMapReduce", usd and usd / 4, **instance, softwareType="EMR")


def expect_spot(stub: Stubber, families: tuple[str, ...]) -> None:
    history = [
        {"InstanceType": "c7g.2xlarge", "AvailabilityZone": "eu-west-3a", "SpotPrice": "0.10"},
        {"InstanceType": "c7g.2xlarge", "AvailabilityZone": "eu-west-3b", "SpotPrice": "0.20"},
        {"InstanceType": "c7g.2xlarge", "AvailabilityZone": "eu-west-3a", "SpotPrice": "9.99"},
    ]
    asked = {
        "InstanceTypes": [f"{family}.2xlarge" for family in families],
        "ProductDescriptions": ["Linux/UNIX"],
        "StartTime": ANY,
    }
    stub.add_response("describe_spot_price_history", {"SpotPriceHistory": history}, asked)


REGIONS = {"pricing": "eu-central-1", "ec2": "eu-west-3"}


@pytest.fixture(scope="module")
def clients() -> dict[str, Any]:
    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret"}
    session = botocore.session.get_session()
    return {
        service: session.create_client(service, region_name=region, **keys)
        for service, region in REGIONS.items()
    }


@pytest.fixture
def stubs(clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Stubber]]:
    """What answers the clients of every account that is opened, by service."""

    def client(self: Account, service: str) -> Any:
        assert self.region == REGIONS[service]
        return clients[service]

    monkeypatch.setattr(Account, "_client", client)
    with Stubber(clients["pricing"]) as pricing, Stubber(clients["ec2"]) as ec2:
        yield {"pricing": pricing, "ec2": ec2}


def paris(stubs: dict[str, Stubber]) -> None:
    """What AWS would answer about Paris, which is asked for in this order."""
    for service, usage, usd in (*SERVERLESS, *OTHERS):
        expect(stubs["pricing"], service, usd, usagetype=usage)
    expect_families(stubs["pricing"], "eu-west-3", missing="c8g")
    expect_spot(stubs["ec2"], ("c7g", "c7a", "c7i", "m5"))


def test_prices_come_from_the_lists(stubs: dict[str, Stubber]) -> None:
    paris(stubs)
    prices = price_lists.ask("eu-west-3")
    assert (prices.region, prices.origin) == ("eu-west-3", "aws")
    assert prices["serverless.arm64.vcpu_hour"].usd == 0.05
    assert prices["s3.get"].usd == 4.2e-7
    assert prices["ec2.c7a.2xlarge.on_demand_hour"].usd == 0.42
    assert prices["emr.c7a.2xlarge.hour"].usd == 0.105
    assert "ec2.c8g.2xlarge.on_demand_hour" not in prices
    assert "ec2.m5.2xlarge.spot_hour" not in prices
    spot = prices["ec2.c7g.2xlarge.spot_hour"]
    assert (spot.low_usd, spot.usd, spot.high_usd) == (0.10, 0.15, 0.20)
    assert prices["kms.request"] == packaged("eu-west-1")["kms.request"]
    assert {price.source for price in prices.items.values()} == prices.sources.keys()
    for stub in stubs.values():
        stub.assert_no_pending_responses()


def test_a_plan_takes_live_prices(stubs: dict[str, Stubber]) -> None:
    paris(stubs)
    args = ("--images", 1000, "--image-bytes", 5000, "--region", "eu-west-3", "--live-prices")
    ended = run_in_process("aws", "plan", *args, "--json")
    assert ended.status == 0, ended.stderr
    content = json.loads(ended.stdout)
    assert content["prices"]["origin"] == "aws"
    assert content["prices"]["items"]["serverless.arm64.vcpu_hour"]["usd"] == 0.05


def test_the_table_in_the_package_can_be_written_from_the_lists(
    stubs: dict[str, Stubber], tmp_path: Path
) -> None:
    paris(stubs)
    price_lists.write_table(tmp_path / "prices.json", ["eu-west-3"])
    written = json.loads((tmp_path / "prices.json").read_text("utf-8"))
    kept = json.loads(Path(price_lists.__file__).with_name("prices.json").read_text("utf-8"))
    assert written.keys() == kept.keys()
    rows = {row["item"]: row for row in written["prices"]}
    names = {row["item"] for row in kept["prices"]}
    assert rows.keys() <= names
    assert rows["ec2.c7g.2xlarge.spot_hour"] == {
        "region": "eu-west-3",
        "item": "ec2.c7g.2xlarge.spot_hour",
        "usd": 0.15,
        "low_usd": 0.1,
        "high_usd": 0.2,
        "basis": "published",
        "source": "aws",
    }
    assert all(about.keys() == {"what", "address", "date"} for about in written["sources"].values())


@pytest.mark.parametrize("text", ["{", "[]", '{"terms": 1}', '{"terms": {"OnDemand": {"a": {}}}}'])
def test_another_form_of_the_list_is_one_line(stubs: dict[str, Stubber], text: str) -> None:
    stubs["pricing"].add_response("get_products", {"PriceList": [text]})
    with pytest.raises(CloudError, match=r"^AWS's price list has another form than pomona knows"):
        price_lists.ask("eu-west-3")


def test_a_region_without_emr_serverless_is_one_line(stubs: dict[str, Stubber]) -> None:
    for service, usage, _ in (*SERVERLESS, *OTHERS):
        expect(stubs["pricing"], service, None, usagetype=usage)
    with pytest.raises(CloudError, match=r"^AWS lists no price of EMR Serverless in eu-west-3$"):
        price_lists.ask("eu-west-3")


def test_no_right_to_the_price_list_is_one_line(stubs: dict[str, Stubber]) -> None:
    stubs["pricing"].add_client_error("get_products", "AccessDeniedException", "")
    args = ("--images", 1000, "--image-bytes", 5000, "--region", "eu-west-3", "--live-prices")
    ended = run_in_process("aws", "plan", *args)
    assert (ended.status, ended.stdout) == (1, "")
    assert "these credentials have no right to pricing:GetProducts" in ended.complaint


def test_the_sovereign_cloud_has_no_live_prices() -> None:
    args = ("--images", 1, "--image-bytes", 1, "--region", "eusc-de-east-1", "--live-prices")
    complaint = run_in_process("aws", "plan", *args).complaint
    assert "--live-prices cannot ask for prices in eusc-de-east-1: choose one of eu-" in complaint
