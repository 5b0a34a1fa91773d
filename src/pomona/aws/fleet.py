"""Fleets: the machines that a run can take, on EMR Serverless and on EMR's clusters of EC2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pomona.aws.prices import Prices, serverless
from pomona.aws.speeds import Speed, speeds
from pomona.aws.workload import Workload

EMR_SERVERLESS, EMR_EC2 = "emr-serverless", "emr-ec2"
ON_DEMAND, SPOT = "on-demand", "spot"
ARCHITECTURES = {"arm64": "ARM", "x86_64": "x86-64"}
# The template's `MaximumVcpus`, by default and at most.
MAXIMUM_VCPUS, MOST_VCPUS = 16, 400
# vCPUs of a whole application, of which the driver has two or more.
SERVERLESS_VCPUS = (4, 8, 16, 32, 64, 128, 256, MOST_VCPUS)
# Workers of EMR Serverless: vCPUs, the most GB, and the step of GB (its user guide).
WORKERS = {2: (16, 1), 4: (30, 1), 8: (60, 4), 16: (120, 8)}
GB_PER_VCPU = 2
# The driver's JVM and Python, and what each image adds (README.md, "What it costs").
DRIVER_GB, DRIVER_GB_PER_IMAGE = 1.5, 0.3e-6
# Families of EC2 with their processors and the GB of a 2xlarge, which has 8 vCPUs.
FAMILIES = {
    "c7g": ("arm64", 16),
    "c8g": ("arm64", 16),
    "c7a": ("x86_64", 16),
    "c7i": ("x86_64", 16),
    "m5": ("x86_64", 32),
}
# Nodes beside the primary one: their number and size. EMR takes no `large` of these families,
# and Spot prices do not follow the size.
CLUSTERS = ((1, "xlarge", ON_DEMAND), (2, "2xlarge", ON_DEMAND), (8, "2xlarge", ON_DEMAND))
SPOT_CLUSTERS = ((2, "2xlarge", SPOT), (8, "2xlarge", SPOT))


@dataclass(frozen=True)
class Machine:
    """One worker of EMR Serverless, or one instance of EC2.

    Parameters
    ----------
    vcpus, memory_gb : int
        Its size.
    instance_type : str, optional
        EC2's name of it.
    """

    vcpus: int
    memory_gb: int
    instance_type: str | None = None


@dataclass(frozen=True)
class Fleet:
    """The machines of one run.

    Parameters
    ----------
    service : {"emr-serverless", "emr-ec2"}
        What starts them.
    architecture : {"x86_64", "arm64"}
        Their processors.
    market : {"on-demand", "spot"}
        How the executors are bought; driver and primary node are always On-Demand.
    speed : Speed
        What one of their cores does.
    driver, executor : Machine
        The driver's, or the cluster's primary node; one of the others.
    executors : int
        How many others.
    """

    service: str
    architecture: str
    market: str
    speed: Speed
    driver: Machine
    executor: Machine
    executors: int

    @property
    def vcpus(self) -> int:
        """All vCPUs."""
        return self.driver.vcpus + self.executors * self.executor.vcpus

    @property
    def memory_gb(self) -> int:
        """All memory."""
        return self.driver.memory_gb + self.executors * self.executor.memory_gb

    @property
    def cores(self) -> float:
        """The cores that extract features: those of the executors."""
        return self.executors * self.executor.vcpus * self.speed.cores_per_vcpu

    @property
    def name(self) -> str:
        """What a person calls it."""
        if self.service == EMR_SERVERLESS:
            processors = ARCHITECTURES[self.architecture]
            return f"EMR Serverless {processors}, {self.vcpus} vCPUs, {self.speed.precision}"
        market = "Spot" if self.market == SPOT else "On-Demand"
        nodes = f"{self.executors} x {self.executor.instance_type} {market}"
        return f"EMR on EC2, 1 + {nodes}, {self.speed.precision}"


def driver_for(images: int, vcpus: int = MAXIMUM_VCPUS) -> Machine:
    """Returns the smallest worker of EMR Serverless that holds the driver.

    Parameters
    ----------
    images : int
        How many images it plans.
    vcpus : int
        Those of the whole application; many executors keep more than two busy.
    """
    needed = DRIVER_GB + DRIVER_GB_PER_IMAGE * images
    fewest = 2 if vcpus <= MAXIMUM_VCPUS else 4
    fitting = [own for own, (most, _) in WORKERS.items() if own >= fewest and needed <= most]
    own = min(fitting, default=max(WORKERS))
    most, step = WORKERS[own]
    return Machine(own, min(most, max(GB_PER_VCPU * own, step * math.ceil(needed / step))))


def fleets(
    workload: Workload, prices: Prices, table: tuple[Speed, ...] | None = None
) -> Iterator[Fleet]:
    """Yields every fleet whose prices are known: EMR Serverless, then clusters of EC2.

    Parameters
    ----------
    workload : Workload
        The images.
    prices : Prices
        Those of the region.
    table : tuple of Speed, optional
        What a core of each machine does. None: the package's table.
    """
    table = speeds() if table is None else table
    for speed in table:
        service, _, architecture = speed.machine.partition(".")
        if service == "serverless" and serverless(architecture, "vcpu_hour") in prices:
            yield from _serverless(speed, architecture, workload.images)
    for speed in table:
        if speed.machine in FAMILIES:
            yield from _clusters(speed, prices)


def _serverless(speed: Speed, architecture: str, images: int) -> Iterator[Fleet]:
    """Applications of all sizes, with small executors where few vCPUs are to be divided."""
    for vcpus in SERVERLESS_VCPUS:
        driver = driver_for(images, vcpus)
        executor_vcpus = 2 if vcpus <= MAXIMUM_VCPUS else 4
        executor = Machine(executor_vcpus, GB_PER_VCPU * executor_vcpus)
        executors = (vcpus - driver.vcpus) // executor.vcpus
        if executors > 0:
            yield Fleet(EMR_SERVERLESS, architecture, ON_DEMAND, speed, driver, executor, executors)


def _clusters(speed: Speed, prices: Prices) -> Iterator[Fleet]:
    """Clusters of one family, with a small primary node."""
    architecture, memory_gb = FAMILIES[speed.machine]
    machines = {
        "xlarge": Machine(4, memory_gb // 2, f"{speed.machine}.xlarge"),
        "2xlarge": Machine(8, memory_gb, f"{speed.machine}.2xlarge"),
    }
    for executors, size, market in (*CLUSTERS, *SPOT_CLUSTERS):
        item = "spot_hour" if market == SPOT else "on_demand_hour"
        if f"ec2.{speed.machine}.2xlarge.{item}" in prices:
            yield Fleet(
                EMR_EC2,
                architecture,
                market,
                speed,
                machines["xlarge"],
                machines[size],
                executors,
            )
