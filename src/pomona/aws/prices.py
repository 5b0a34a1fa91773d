"""Prices of AWS in one region, in US dollars: from the table in the package, or from AWS."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from pomona.errors import CloudError

CURRENCY = "USD"
# What is known of a price: read from a list; computed from others; AWS's usual one, not read.
PUBLISHED, INFERRED, UNVERIFIED = "published", "inferred", "unverified"


@dataclass(frozen=True)
class Price:
    """One price.

    Parameters
    ----------
    usd : float
        US dollars for one unit, which the item's name ends with.
    low_usd, high_usd : float
        Its range: of a Spot price, the cheapest and the dearest zone.
    basis : {"published", "inferred", "unverified"}
        What is known of it: read from a list, computed from others, or AWS's usual one.
    source : str
        Where it is from: a key of `Prices.sources`.
    """

    usd: float
    low_usd: float
    high_usd: float
    basis: str
    source: str


@dataclass(frozen=True)
class Prices:
    """The prices in a region.

    Parameters
    ----------
    region : str
        The region.
    origin : {"table", "aws"}
        The table in the package, or AWS's own lists.
    date : str
        When they were gathered, as YYYY-MM-DD.
    items : mapping of str to Price
        By name, such as "serverless.arm64.vcpu_hour" or "ec2.c7g.2xlarge.spot_hour".
    sources : mapping
        What each source is: its description, address and date.
    """

    region: str
    origin: str
    date: str
    items: Mapping[str, Price]
    sources: Mapping[str, Mapping[str, str]]

    def __contains__(self, item: str) -> bool:
        return item in self.items

    def __getitem__(self, item: str) -> Price:
        """The price of an item. Raises CloudError if it is not known."""
        if item not in self.items:
            raise CloudError(
                f"no price of {item} in {self.region} is known: give `live_prices`, or take "
                "another region",
                "price",
            )
        return self.items[item]


def serverless(architecture: str, unit: str) -> str:
    """Returns the name of a price of EMR Serverless.

    Parameters
    ----------
    architecture : {"x86_64", "arm64"}
        The processors.
    unit : {"vcpu_hour", "gb_hour"}
        What is counted.
    """
    return f"serverless.{architecture}.{unit}"


def packaged(region: str) -> Prices:
    """Returns the prices in the package's table.

    Parameters
    ----------
    region : str
        A region of the European Economic Area.

    Raises
    ------
    CloudError
        If the table has no prices of EMR Serverless there.
    """
    table = json.loads((files("pomona.aws") / "prices.json").read_text(encoding="utf-8"))
    items = {
        row["item"]: Price(
            usd=row["usd"],
            low_usd=row.get("low_usd", row["usd"]),
            high_usd=row.get("high_usd", row["usd"]),
            basis=row["basis"],
            source=row["source"],
        )
        for row in table["prices"]
        if row["region"] == region
    }
    if serverless("arm64", "vcpu_hour") not in items:
        known = sorted({row["region"] for row in table["prices"]})
        raise CloudError(
            f"pomona's table of {table['date']} has no prices in {region}: give `live_prices`, "
            f"which asks AWS, or choose one of {', '.join(known)}",
            "price",
        )
    return Prices(region, "table", table["date"], items, table["sources"])
