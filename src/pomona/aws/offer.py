"""Offer: what a run on EMR Serverless would take and cost, shown before anything is submitted."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.aws import spending
from pomona.aws.jobs import Application
from pomona.aws.plan import Candidate, Wishes, choose, make_plan
from pomona.aws.prices import Prices
from pomona.aws.spending import usd
from pomona.aws.work import Work
from pomona.aws.workload import Workload
from pomona.errors import CloudError
from pomona.progress import count, duration

MOST_VCPUS = 400


@dataclass(frozen=True)
class Offer:
    """What would be submitted.

    Attributes
    ----------
    source, out, region : str
        Where the images, the store and the job are.
    application : Application
        What runs it.
    work : Work
        What is left to do.
    candidate : Candidate
        The workers, the time and the cost.
    prices : Prices
        Those of the region.
    budget_usd, spent_usd : float
        What all attempts may cost, and what earlier ones have.
    minutes : int
        After which AWS ends the job.
    """

    source: str
    out: str
    region: str
    application: Application
    work: Work
    candidate: Candidate
    prices: Prices
    budget_usd: float
    spent_usd: float
    minutes: int

    def in_words(self) -> str:
        """The text for a person."""
        fleet, work = self.candidate.fleet, self.work
        best, worst = self.candidate.best, self.candidate.worst
        earlier = f", {usd(self.spent_usd)} of it spent by earlier attempts"
        return "\n".join(
            (
                f"{count(work.images, 'image')} in {self.source}, {work.to_do:,} to do",
                f"  store   {self.out}",
                f"  where   {fleet.name}, {fleet.memory_gb} GB, in {self.region}",
                f"  time    about {duration(self.candidate.expected.seconds)} "
                f"({duration(best.seconds)} to {duration(worst.seconds)}), start included; "
                f"AWS ends it after {self.minutes} min",
                f"  cost    about {usd(self.candidate.cost_usd)} ({usd(best.cost_usd)} to "
                f"{usd(worst.cost_usd)}) for workers and requests, before tax; prices of "
                f"{self.prices.date}",
                f"  budget  {usd(self.budget_usd)}{earlier if self.spent_usd else ''}: "
                "the workers cannot cost more",
            )
        )


def size(
    work: Work, prices: Prices, application: Application, left_usd: float, vcpus: int | None
) -> Candidate:
    """Chooses the workers: the fastest within the application and what is left of the budget.

    Parameters
    ----------
    work : Work
        What is to be done.
    prices : Prices
        Those of the region.
    application : Application
        What runs it.
    left_usd : float
        What the job may cost.
    vcpus : int, optional
        How many vCPUs; None: any.

    Raises
    ------
    CloudError
        If no workers fit.
    """
    most = min(application.max_vcpus or MOST_VCPUS, MOST_VCPUS)
    images = Workload(max(1, work.to_do), max(1.0, work.image_bytes), packed=work.packed)
    plan = make_plan(images, prices, Wishes(max_vcpus=most))
    fitting = [
        each
        for each in plan.candidates
        if each.why_not is None
        and each.fleet.architecture == spending.ARCHITECTURES[application.architecture]
        and each.fleet.speed.precision == "float32"
        and each.fleet.memory_gb <= (application.max_memory_gb or each.fleet.memory_gb)
    ]
    sizes = sorted({each.fleet.vcpus for each in fitting})
    if not fitting or (vcpus is not None and vcpus not in sizes):
        raise CloudError(
            f"the application runs at most {most} vCPUs: give `vcpus` as one of "
            f"{', '.join(map(str, sizes)) or 'none'}, or raise its maximum with `pomona aws up`",
            "vcpus",
        )
    wanted = [each for each in fitting if vcpus in (None, each.fleet.vcpus)]
    prices_of_hour = {id(each): _hour(each, prices, application) for each in wanted}
    least = min(prices_of_hour.values())
    spending.minutes_within(left_usd, least)
    lasting = [each for each in wanted if prices_of_hour[id(each)] * 5 / 60 <= left_usd]
    return choose(tuple(lasting), Wishes(budget_usd=left_usd, max_vcpus=most))


def _hour(candidate: Candidate, prices: Prices, application: Application) -> float:
    """The price of an hour of all workers, in USD."""
    fleet = candidate.fleet
    return spending.rates(prices, application).hour(fleet.vcpus, fleet.memory_gb)
