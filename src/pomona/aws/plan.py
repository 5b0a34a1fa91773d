"""Plan: every way to run some images on AWS, with its time and its price, and the one to take."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from pomona.aws.estimate import BEST, HOUR_S, WORST, Estimate, estimate, request_items
from pomona.aws.fleet import EMR_SERVERLESS, MAXIMUM_VCPUS, MOST_VCPUS, Fleet, fleets
from pomona.aws.old_script import OldScript, old_script
from pomona.aws.prices import CURRENCY, Prices
from pomona.aws.speeds import Speed
from pomona.aws.workload import Workload, requests
from pomona.errors import CloudError, UsageError
from pomona.progress import duration

# Without a budget or a deadline: the fastest of the plans that cost hardly more than the cheapest.
HARDLY_MORE_SHARE, HARDLY_MORE_USD = 0.10, 0.01


@dataclass(frozen=True)
class Candidate:
    """One way to run the images.

    Attributes
    ----------
    fleet : Fleet
        The machines.
    expected, best, worst : Estimate
        What it takes and costs, and the range of that.
    why_not : str or None
        Why it cannot be chosen, with the remedy; None: it can.
    """

    fleet: Fleet
    expected: Estimate
    best: Estimate
    worst: Estimate
    why_not: str | None

    @property
    def minutes(self) -> float:
        """Expected minutes from the submission to the end."""
        return self.expected.seconds / 60

    @property
    def cost_usd(self) -> float:
        """Expected cost in US dollars."""
        return self.expected.cost_usd

    def in_words(self) -> str:
        """Its name, time and cost in one clause."""
        return (
            f"{self.fleet.name}: about {usd(self.cost_usd)} "
            f"({usd(self.best.cost_usd)} to {usd(self.worst.cost_usd)}) and "
            f"{duration(self.expected.seconds)}"
        )

    def as_json(self) -> dict[str, Any]:
        """The content of --json."""
        fleet, hours = self.fleet, self.expected.billed_s / HOUR_S
        return {
            "name": fleet.name,
            "service": fleet.service,
            "architecture": fleet.architecture,
            "precision": fleet.speed.precision,
            "market": fleet.market,
            "vcpus": fleet.vcpus,
            "memory_gb": fleet.memory_gb,
            "driver": dataclasses.asdict(fleet.driver),
            "executor": dataclasses.asdict(fleet.executor),
            "executors": fleet.executors,
            "images_per_s": round(self.expected.images_per_s, 1),
            "speed_basis": fleet.speed.basis,
            "minutes": round(self.minutes, 2),
            "minutes_low": round(self.best.seconds / 60, 2),
            "minutes_high": round(self.worst.seconds / 60, 2),
            "billed_minutes": round(self.expected.billed_s / 60, 2),
            "vcpu_hours": round(hours * fleet.vcpus, 4),
            "cost_usd": round(self.cost_usd, 4),
            "cost_low_usd": round(self.best.cost_usd, 4),
            "cost_high_usd": round(self.worst.cost_usd, 4),
            "items": {name: round(value, 6) for name, value in self.expected.items.items()},
            "runnable": self.why_not is None,
            "why_not": self.why_not,
        }


@dataclass(frozen=True)
class Wishes:
    """What a plan must keep to.

    Parameters
    ----------
    budget_usd : float, optional
        The most that it may be expected to cost.
    deadline_s : float, optional
        The most seconds that it may be expected to take.
    max_vcpus : int
        The application's maximum, the template's `MaximumVcpus`.

    Raises
    ------
    UsageError
        If a number cannot be.
    """

    budget_usd: float | None = None
    deadline_s: float | None = None
    max_vcpus: int = MAXIMUM_VCPUS

    def __post_init__(self) -> None:
        if self.budget_usd is not None and not 0 < self.budget_usd < 1e9:
            raise UsageError(f"`budget` {self.budget_usd:g}: give US dollars, such as 0.50")
        if not 2 <= self.max_vcpus <= MOST_VCPUS:
            raise UsageError(f"`max_vcpus` {self.max_vcpus}: give a number from 2 to {MOST_VCPUS}")

    @property
    def rule(self) -> str:
        """How the plan is chosen, in words."""
        limits = []
        if self.budget_usd is not None:
            limits.append(f"costs at most {usd(self.budget_usd)}")
        if self.deadline_s is not None:
            limits.append(f"ends within {duration(self.deadline_s)}")
        if limits:
            best = "the fastest" if self.deadline_s is None else "the cheapest"
            return f"{best} that {' and '.join(limits)}"
        return (
            f"the fastest of those that cost at most {HARDLY_MORE_SHARE * 100:.0f} % or "
            f"{HARDLY_MORE_USD:.2f} {CURRENCY} more than the cheapest"
        )


@dataclass(frozen=True)
class Plan:
    """The ways to run some images, and the one to take.

    Attributes
    ----------
    workload : Workload
        The images.
    prices : Prices
        Those of the region.
    wishes : Wishes
        What the plan keeps to.
    candidates : tuple of Candidate
        All ways, EMR Serverless first.
    chosen : Candidate
        The one to take.
    comparison : OldScript or None
        What the script that pomona replaces cost, where the prices are known.
    """

    workload: Workload
    prices: Prices
    wishes: Wishes
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    comparison: OldScript | None

    def requests_usd(self, *, packed: bool) -> float:
        """Returns what requests, key and audit cost.

        Parameters
        ----------
        packed : bool
            Whether the images are in a pack or a container; else each is an object of its own.
        """
        workload = dataclasses.replace(self.workload, packed=packed)
        return sum(request_items(requests(workload), self.prices).values())

    @property
    def month_usd(self) -> float:
        """What images and store cost in the buckets for each month."""
        stored = self.workload.size_bytes + self.workload.store_bytes
        return stored / 1e9 * self.prices["s3.gb_month"].usd

    def as_json(self) -> dict[str, Any]:
        """The content of --json."""
        work, wishes = self.workload, self.wishes
        return {
            "images": work.images,
            "image_bytes": round(work.image_bytes, 1),
            "image_pixels": round(work.image_pixels),
            "packed": work.packed,
            "notes": list(work.assumptions),
            "region": self.prices.region,
            "currency": CURRENCY,
            "prices": {
                "origin": self.prices.origin,
                "date": self.prices.date,
                "items": {name: vars(price) for name, price in self.prices.items.items()},
                "sources": dict(self.prices.sources),
            },
            "max_vcpus": wishes.max_vcpus,
            "budget_usd": wishes.budget_usd,
            "deadline_minutes": None if wishes.deadline_s is None else wishes.deadline_s / 60,
            "rule": wishes.rule,
            "chosen": self.chosen.as_json(),
            "candidates": [candidate.as_json() for candidate in self.candidates],
            "single_objects_usd": round(self.requests_usd(packed=False), 6),
            "packed_objects_usd": round(self.requests_usd(packed=True), 6),
            "storage_usd_per_month": round(self.month_usd, 4),
            "comparison": None if self.comparison is None else self.comparison.as_json(),
        }


def make_plan(
    workload: Workload,
    prices: Prices,
    wishes: Wishes | None = None,
    table: tuple[Speed, ...] | None = None,
) -> Plan:
    """Works out every way to run some images, and chooses one.

    Parameters
    ----------
    workload : Workload
        The images.
    prices : Prices
        Those of the region.
    wishes : Wishes, optional
        What the plan must keep to.
    table : tuple of Speed, optional
        What a core of each machine does. None: the package's table.

    Raises
    ------
    CloudError
        If no way keeps to it (reason "budget" or "deadline"), or a price is not known.
    """
    wishes = wishes or Wishes()
    found = tuple(
        _candidate(fleet, workload, prices, wishes) for fleet in fleets(workload, prices, table)
    )
    chosen = choose(found, wishes)
    return Plan(workload, prices, wishes, found, chosen, old_script(prices))


def _candidate(fleet: Fleet, workload: Workload, prices: Prices, wishes: Wishes) -> Candidate:
    return Candidate(
        fleet,
        estimate(fleet, workload, prices),
        estimate(fleet, workload, prices, BEST),
        estimate(fleet, workload, prices, WORST),
        _why_not(fleet, wishes.max_vcpus),
    )


def _why_not(fleet: Fleet, max_vcpus: int) -> str | None:
    """Why a fleet cannot be chosen."""
    if fleet.service != EMR_SERVERLESS:
        return "for comparison: pomona runs only on EMR Serverless"
    if fleet.vcpus > max_vcpus:
        return (
            f"over the application's maximum of {max_vcpus} vCPUs: raise MaximumVcpus with "
            "`pomona aws up --max-vcpus`, and the account's quota of EMR Serverless"
        )
    return None


def choose(candidates: tuple[Candidate, ...], wishes: Wishes) -> Candidate:
    """Returns the candidate to take.

    With a budget, the fastest under it; with a deadline, the cheapest that makes it; with both, the
    cheapest that keeps to both; with neither, the fastest of those that cost hardly more than the
    cheapest.

    Parameters
    ----------
    candidates : tuple of Candidate
        All ways.
    wishes : Wishes
        What to keep to.

    Raises
    ------
    CloudError
        If none keeps to it; `reason` is "budget" or "deadline".
    """
    possible = [each for each in candidates if each.why_not is None]
    if not possible:
        raise CloudError(
            f"no plan fits into {wishes.max_vcpus} vCPUs: raise MaximumVcpus, then give "
            "`max_vcpus`",
            "vcpus",
        )
    cheapest = min(possible, key=_by_cost)
    budget = wishes.budget_usd
    if budget is None and wishes.deadline_s is None:
        budget = max(
            cheapest.cost_usd * (1 + HARDLY_MORE_SHARE), cheapest.cost_usd + HARDLY_MORE_USD
        )
    under = [each for each in possible if budget is None or each.cost_usd <= budget]
    if not under:
        raise CloudError(
            f"no plan fits a budget of {usd(wishes.budget_usd or 0)}; the cheapest is "
            f"{cheapest.in_words()}: raise `budget`",
            "budget",
        )
    if wishes.deadline_s is None:
        return min(under, key=_by_time)
    in_time = [each for each in under if each.expected.seconds <= wishes.deadline_s]
    if not in_time:
        raise CloudError(_too_late(candidates, under, wishes, wishes.deadline_s), "deadline")
    return min(in_time, key=_by_cost)


def _too_late(
    candidates: tuple[Candidate, ...], under: list[Candidate], wishes: Wishes, deadline_s: float
) -> str:
    """The message where nothing ends in time, with the number of vCPUs that would."""
    fastest = min(under, key=_by_time)
    enough = [
        each
        for each in candidates
        if each.fleet.service == EMR_SERVERLESS
        and each.expected.seconds <= deadline_s
        and (wishes.budget_usd is None or each.cost_usd <= wishes.budget_usd)
    ]
    remedy = "give a later `deadline`"
    if enough:
        vcpus = min(each.fleet.vcpus for each in enough)
        remedy += f", or raise MaximumVcpus to {vcpus} and give `max_vcpus` {vcpus}"
    within = "" if wishes.budget_usd is None else f" and {usd(wishes.budget_usd)}"
    return (
        f"no plan with at most {wishes.max_vcpus} vCPUs{within} ends within "
        f"{duration(deadline_s)}; the fastest is {fastest.in_words()}: {remedy}"
    )


def _by_cost(candidate: Candidate) -> tuple[float, float]:
    return candidate.cost_usd, candidate.minutes


def _by_time(candidate: Candidate) -> tuple[float, float]:
    return candidate.minutes, candidate.cost_usd


def usd(amount: float) -> str:
    """Returns an amount as a person reads it: 2.83 USD, 0.053 USD, 0.0001 USD.

    Parameters
    ----------
    amount : float
        US dollars.
    """
    if 0 < amount < 0.0001:
        return f"under 0.0001 {CURRENCY}"
    digits = 2 if amount >= 0.0995 else 3 if amount >= 0.0005 else 4
    return f"{amount:,.{digits}f} {CURRENCY}"
