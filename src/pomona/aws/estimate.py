"""Estimates: what a run on a fleet takes and costs, and the range of both.

    seconds  = wait + start + images x seconds per image / cores + finish
    billed   = seconds - wait
    price    = billed x the price of the machines, + requests

Each is worked out three times: as expected, and with all that is uncertain at its best and at its
worst.
"""

from __future__ import annotations

from dataclasses import dataclass

from pomona.aws.fleet import EMR_SERVERLESS, ON_DEMAND, SPOT, Fleet, Machine
from pomona.aws.prices import Price, Prices, serverless
from pomona.aws.speeds import (
    DECODE_S_PER_PIXEL,
    PCA_S_PER_IMAGE,
    PIXELS,
    Speed,
    Time,
    time_of,
)
from pomona.aws.workload import Requests, Workload, requests

EXPECTED, BEST, WORST = "expected", "best", "worst"
HOUR_S, MONTH_HOURS = 3600.0, 730.0
# Each worker of EMR Serverless, and each instance, is billed for a minute at least.
LEAST_BILLED_S = 60.0
NODE_DISK_GB = 64
# The share of requests for which S3 asks KMS; with a bucket key it is at most one in a hundred.
KMS_SHARE = 0.01


@dataclass(frozen=True)
class Estimate:
    """What a run on one fleet takes and costs, in one case.

    Attributes
    ----------
    images_per_s : float
        Of all executors together.
    extract_s : float
        Features and PCA.
    seconds, billed_s : float
        From the submission to the end; the part of it that is billed.
    items : dict of str to float
        US dollars for compute, emr (the surcharge on EC2), disks, requests, kms and audit.
    """

    images_per_s: float
    extract_s: float
    seconds: float
    billed_s: float
    items: dict[str, float]

    @property
    def cost_usd(self) -> float:
        """The sum of the items."""
        return sum(self.items.values())


def estimate(fleet: Fleet, workload: Workload, prices: Prices, case: str = EXPECTED) -> Estimate:
    """Estimates a run on a fleet.

    Parameters
    ----------
    fleet : Fleet
        The machines.
    workload : Workload
        The images.
    prices : Prices
        Those of the region.
    case : {"expected", "best", "worst"}
        Whether speeds, times and prices are as expected, or at one end of their ranges.

    Raises
    ------
    CloudError
        If a price is not known.
    """
    where = "serverless" if fleet.service == EMR_SERVERLESS else "ec2"
    per_s = images_per_core_s(fleet.speed, workload, case) * fleet.cores
    extract_s = workload.images / per_s
    start_s = _seconds(time_of(where, "start_s"), case)
    finish_s = _seconds(time_of(where, "finish_s"), case)
    billed_s = max(LEAST_BILLED_S, start_s + extract_s + finish_s)
    return Estimate(
        images_per_s=per_s,
        extract_s=extract_s,
        seconds=_seconds(time_of(where, "wait_s"), case) + billed_s,
        billed_s=billed_s,
        items={
            **_machines(fleet, billed_s / HOUR_S, prices, case),
            **request_items(requests(workload), prices),
        },
    )


def images_per_core_s(speed: Speed, workload: Workload, case: str = EXPECTED) -> float:
    """Returns the images per second of one core: features and PCA of images of this size.

    Parameters
    ----------
    speed : Speed
        What a core does with images of `PIXELS` pixels.
    workload : Workload
        The images; what decoding takes grows with their pixels.
    case : {"expected", "best", "worst"}
        Which end of the range of the speed.
    """
    own = {EXPECTED: speed.images_per_s, BEST: speed.high, WORST: speed.low}[case]
    decoding = max(0.0, workload.image_pixels - PIXELS) * DECODE_S_PER_PIXEL
    return 1 / (1 / own + decoding + PCA_S_PER_IMAGE)


def request_items(made: Requests, prices: Prices) -> dict[str, float]:
    """Returns the US dollars for requests: S3's own, those to the key, and their record.

    Parameters
    ----------
    made : Requests
        How many.
    prices : Prices
        Those of the region.
    """
    return {
        "requests": made.gets * prices["s3.get"].usd + made.puts * prices["s3.put"].usd,
        "kms": made.total * KMS_SHARE * prices["kms.request"].usd,
        "audit": made.total * prices["cloudtrail.event"].usd,
    }


def _machines(fleet: Fleet, hours: float, prices: Prices, case: str) -> dict[str, float]:
    """The US dollars for the machines."""
    if fleet.service == EMR_SERVERLESS:
        vcpu = prices[serverless(fleet.architecture, "vcpu_hour")].usd
        memory = prices[serverless(fleet.architecture, "gb_hour")].usd
        compute = hours * (fleet.vcpus * vcpu + fleet.memory_gb * memory)
        return {"compute": compute, "emr": 0.0, "disks": 0.0}
    nodes = ((fleet.driver, 1, ON_DEMAND), (fleet.executor, fleet.executors, fleet.market))
    return {
        "compute": hours * sum(n * _hour(each, market, prices, case) for each, n, market in nodes),
        "emr": hours * sum(n * surcharge(each, prices) for each, n, _ in nodes),
        "disks": hours
        * (1 + fleet.executors)
        * NODE_DISK_GB
        * prices["ebs.gp3.gb_month"].usd
        / MONTH_HOURS,
    }


def _hour(machine: Machine, market: str, prices: Prices, case: str) -> float:
    """The price of an hour of an instance: the 2xlarge's, by size."""
    item = "spot_hour" if market == SPOT else "on_demand_hour"
    price = prices[f"ec2.{family(machine)}.2xlarge.{item}"]
    return _usd(price, case) * machine.vcpus / 8


def surcharge(machine: Machine, prices: Prices) -> float:
    """Returns EMR's surcharge on an hour of an instance, in US dollars.

    Parameters
    ----------
    machine : Machine
        The instance.
    prices : Prices
        Those of the region.
    """
    return prices[f"emr.{family(machine)}.2xlarge.hour"].usd * machine.vcpus / 8


def family(machine: Machine) -> str:
    """Returns the family of an instance: c7g of c7g.2xlarge."""
    return str(machine.instance_type).partition(".")[0]


def _usd(price: Price, case: str) -> float:
    return {EXPECTED: price.usd, BEST: price.low_usd, WORST: price.high_usd}[case]


def _seconds(time: Time, case: str) -> float:
    return {EXPECTED: time.value, BEST: time.low, WORST: time.high}[case]
