"""Prices: from the table in the package, or as AWS lists them today, with what Spot costs now.

`make prices` writes the table in the package again from these.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pomona.aws import europe
from pomona.aws.account import Account
from pomona.aws.fleet import FAMILIES
from pomona.aws.prices import CURRENCY, PUBLISHED, Price, Prices, packaged, serverless
from pomona.errors import CloudError

# The Pricing API is in few regions; this one of them is in the European Economic Area.
PRICING_REGION = "eu-central-1"
# What the names of usage begin with.
PREFIXES = {
    "eu-central-1": "EUC1",
    "eu-north-1": "EUN1",
    "eu-south-1": "EUS1",
    "eu-south-2": "EUS2",
    "eu-west-1": "EU",
    "eu-west-3": "EUW3",
}
SOURCE = "aws"
SOURCES = {
    SOURCE: {
        "what": "AWS's Pricing API; Spot: EC2's price history, the mean of the zones",
        "address": "https://aws.amazon.com/pricing/",
    }
}
# Items that have one usage type each: the service, and the usage without its region.
USAGE = {
    serverless("x86_64", "vcpu_hour"): ("ElasticMapReduce", "EMR-SERVERLESS-vCPUHours"),
    serverless("x86_64", "gb_hour"): ("ElasticMapReduce", "EMR-SERVERLESS-MemoryGBHours"),
    serverless("arm64", "vcpu_hour"): ("ElasticMapReduce", "EMR-SERVERLESS-ARM-vCPUHours"),
    serverless("arm64", "gb_hour"): ("ElasticMapReduce", "EMR-SERVERLESS-ARM-MemoryGBHours"),
    "ebs.gp3.gb_month": ("AmazonEC2", "EBS:VolumeUsage.gp3"),
    "s3.put": ("AmazonS3", "Requests-Tier1"),
    "s3.get": ("AmazonS3", "Requests-Tier2"),
    "s3.gb_month": ("AmazonS3", "TimedStorage-ByteHrs"),
}
# Their usage types are not known; the table has what is usual in all regions.
FROM_TABLE, TABLE_REGION = ("kms.request", "cloudtrail.event"), "eu-west-1"


def find(region: str | None, *, live: bool = False) -> Prices:
    """Returns the prices in a region.

    Parameters
    ----------
    region : str, optional
        A region of the European Economic Area. None: that of AWS's own settings.
    live : bool
        Whether to ask AWS, which takes an account, in place of the table in the package.

    Raises
    ------
    CloudError
        If no region is named, it is outside the European Economic Area, or its prices are not
        known.
    """
    if region is None or live:
        region = Account(region).region
    europe.check_region(region)
    return ask(region) if live else packaged(region)


def ask(region: str, account: Account | None = None, pricing: Account | None = None) -> Prices:
    """Asks AWS for the prices in a region.

    Parameters
    ----------
    region : str
        A region of the European Economic Area.
    account, pricing : Account, optional
        The account in that region, and in the one that has the Pricing API. None: those that AWS's
        own settings name.

    Raises
    ------
    CloudError
        If AWS refuses, or has no EMR Serverless there.
    """
    if region not in PREFIXES:
        raise CloudError(
            f"`live_prices` cannot ask for prices in {region}: choose one of {', '.join(PREFIXES)}",
            "price",
        )
    pricing = pricing or Account(PRICING_REGION)
    items: dict[str, Price] = {}
    for name, (service, usage) in USAGE.items():
        _add(items, name, _listed(pricing, service, usagetype=f"{PREFIXES[region]}-{usage}"))
    if not any(name.startswith("serverless.") for name in items):
        raise CloudError(f"AWS lists no price of EMR Serverless in {region}", "price")
    for family in FAMILIES:
        _add_family(items, family, region, pricing)
    _add_spot(items, account or Account(region))
    table = packaged(TABLE_REGION)
    items |= {name: table[name] for name in FROM_TABLE}
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    sources = {key: {**about, "date": today} for key, about in SOURCES.items()}
    used = {table[name].source for name in FROM_TABLE}
    sources |= {key: dict(table.sources[key]) for key in used}
    return Prices(region, "aws", today, items, sources)


def write_table(file: str | Path, regions: Iterable[str] = tuple(PREFIXES)) -> None:
    """Writes the table in the package from AWS's lists.

    Parameters
    ----------
    file : str or Path
        Where it is.
    regions : iterable of str
        The regions to ask for.

    Raises
    ------
    CloudError
        As by `ask`.
    """
    asked = [ask(region) for region in regions]
    sources = {key: about for prices in asked for key, about in prices.sources.items()}
    rows = [_row(prices.region, name, price) for prices in asked for name, price in _sorted(prices)]
    lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    about = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in sources.items())
    head = f'{{\n  "date": "{asked[0].date}",\n  "currency": "{CURRENCY}",\n'
    text = f'{head}  "sources": {{\n{about}\n  }},\n  "prices": [\n{lines}\n  ]\n}}\n'
    Path(file).write_text(text, encoding="utf-8")


def _sorted(prices: Prices) -> list[tuple[str, Price]]:
    return sorted(prices.items.items())


def _row(region: str, name: str, price: Price) -> dict[str, Any]:
    row: dict[str, Any] = {"region": region, "item": name, "usd": price.usd}
    if price.low_usd != price.high_usd:
        row |= {"low_usd": price.low_usd, "high_usd": price.high_usd}
    return {**row, "basis": price.basis, "source": price.source}


def _add(items: dict[str, Price], name: str, usd: float | None) -> None:
    """Adds a price, if AWS lists it."""
    if usd is not None:
        items[name] = Price(usd, usd, usd, PUBLISHED, SOURCE)


def _add_family(items: dict[str, Price], family: str, region: str, pricing: Account) -> None:
    """Adds the prices of a family of EC2, if the region has it."""
    instance = f"{family}.2xlarge"
    on_demand = _listed(
        pricing,
        "AmazonEC2",
        instanceType=instance,
        regionCode=region,
        operatingSystem="Linux",
        tenancy="Shared",
        preInstalledSw="NA",
        capacitystatus="Used",
    )
    fee = _listed(
        pricing,
        "ElasticMapReduce",
        instanceType=instance,
        regionCode=region,
        softwareType="EMR",
    )
    if on_demand is not None and fee is not None:
        _add(items, f"ec2.{instance}.on_demand_hour", on_demand)
        _add(items, f"emr.{instance}.hour", fee)


def _add_spot(items: dict[str, Price], account: Account) -> None:
    """Adds what Spot costs now, of each family that has a price On-Demand."""
    instances = [
        f"{family}.2xlarge"
        for family in FAMILIES
        if f"ec2.{family}.2xlarge.on_demand_hour" in items
    ]
    if not instances:
        return
    now = datetime.datetime.now(datetime.timezone.utc)
    zones: dict[str, dict[str, float]] = {instance: {} for instance in instances}
    for row in account.pages(
        "ec2",
        "describe_spot_price_history",
        "SpotPriceHistory",
        InstanceTypes=instances,
        ProductDescriptions=["Linux/UNIX"],
        StartTime=now,
    ):
        # The newest comes first.
        found = zones.get(row["InstanceType"], {})
        found.setdefault(row["AvailabilityZone"], float(row["SpotPrice"]))
    for instance, found in zones.items():
        if found:
            usd = list(found.values())
            mean = round(sum(usd) / len(usd), 6)
            price = Price(mean, min(usd), max(usd), PUBLISHED, SOURCE)
            items[f"ec2.{instance}.spot_hour"] = price


def _listed(pricing: Account, service: str, **attributes: str) -> float | None:
    """The highest price of what AWS lists under these attributes, in its first tier, or None."""
    filters = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value}
        for field, value in attributes.items()
    ]
    products = pricing.pages(
        "pricing", "get_products", "PriceList", ServiceCode=service, Filters=filters
    )
    return max((usd for text in products for usd in _first_tiers(text)), default=None)


def _first_tiers(text: str) -> Iterator[float]:
    """The prices On-Demand of one product, from its first unit on. Raises CloudError."""
    try:
        terms: Mapping[str, Any] = json.loads(text)["terms"].get("OnDemand", {})
        for term in terms.values():
            for each in term["priceDimensions"].values():
                usd = float(each["pricePerUnit"].get(CURRENCY, 0))
                if usd > 0 and float(each.get("beginRange", 0)) == 0:
                    yield usd
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CloudError(
            "AWS's price list has another form than pomona knows: leave out `live_prices`", "price"
        ) from None
