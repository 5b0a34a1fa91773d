"""The run of the script that pomona replaces, at today's prices, for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pomona.aws.prices import Prices

IMAGES, MINUTES = 67_692, 83
NODES, INSTANCE = 3, "m5.2xlarge"


@dataclass(frozen=True)
class OldScript:
    """What 67,692 images cost on a cluster of EMR, without its disks and requests.

    Attributes
    ----------
    compute_usd, emr_usd : float
        The instances, On-Demand, and EMR's surcharge on them.
    """

    compute_usd: float
    emr_usd: float

    @property
    def cost_usd(self) -> float:
        """The sum."""
        return self.compute_usd + self.emr_usd

    def as_json(self) -> dict[str, Any]:
        """The content of --json."""
        return {
            "name": f"EMR on EC2, {NODES} x {INSTANCE} On-Demand",
            "images": IMAGES,
            "minutes": MINUTES,
            "cost_usd": round(self.cost_usd, 4),
            "items": {"compute": round(self.compute_usd, 6), "emr": round(self.emr_usd, 6)},
        }


def old_script(prices: Prices) -> OldScript | None:
    """Returns what that run costs in a region; None where the prices are not known.

    Parameters
    ----------
    prices : Prices
        Those of the region.
    """
    compute, emr = f"ec2.{INSTANCE}.on_demand_hour", f"emr.{INSTANCE}.hour"
    if compute not in prices or emr not in prices:
        return None
    hours = NODES * MINUTES / 60
    return OldScript(hours * prices[compute].usd, hours * prices[emr].usd)
