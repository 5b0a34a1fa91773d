"""Cost of one job, with the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.aws import jobs, spending
from pomona.aws.jobs import Job
from pomona.aws.prices import Prices
from pomona.aws.spending import Rates, usd
from pomona.progress import duration


@dataclass(frozen=True)
class JobCost:
    """What a job has cost, in USD before tax; requests, storage and the key are not in it.

    Attributes
    ----------
    job, state : str
        What it is and does.
    at_most_usd : float
        Price times time: all that it may have had at once, for as long as it ran.
    billed_usd : float or None
        What AWS bills times the price; None: not known yet.
    estimate_usd, budget_usd : float
        What it was expected to cost, requests included, and might have cost.
    seconds, vcpus, memory_gb : float
        For how long it ran, and the most that it had at once.
    billed_vcpu_hours, billed_gb_hours : float or None
        What AWS bills.
    vcpu_hour_usd, gb_hour_usd : float
        The prices.
    prices_of : str
        Their date.
    """

    job: str
    state: str
    at_most_usd: float
    billed_usd: float | None
    estimate_usd: float
    budget_usd: float
    seconds: float
    vcpus: float
    memory_gb: float
    billed_vcpu_hours: float | None
    billed_gb_hours: float | None
    vcpu_hour_usd: float
    gb_hour_usd: float
    prices_of: str

    def in_words(self) -> str:
        """The text for a person."""
        prices = f"{self.vcpu_hour_usd:g} USD per vCPU-hour, {self.gb_hour_usd:g} USD per GB-hour"
        lines = [
            f"the job {self.job}: {self.state}",
            f"  at most    {usd(self.at_most_usd)}: {duration(self.seconds)} of {self.vcpus:g} "
            f"vCPUs and {self.memory_gb:g} GB",
        ]
        if self.billed_usd is None:
            lines.append("  billed     not known yet: AWS says it once the job has ended")
        else:
            lines.append(
                f"  billed     {usd(self.billed_usd)}: {self.billed_vcpu_hours:g} vCPU-hours and "
                f"{self.billed_gb_hours:g} GB-hours"
            )
        return "\n".join(
            [
                *lines,
                f"  estimated  {usd(self.estimate_usd)}, requests included",
                f"  budget     {usd(self.budget_usd)}",
                f"Workers only, before tax, at {prices} (prices of {self.prices_of}).",
            ]
        )


def tell(job: Job, rates: Rates, prices: Prices) -> JobCost:
    """Returns what a job has cost.

    Parameters
    ----------
    job : Job
        The job.
    rates : Rates
        The prices of its region and architecture.
    prices : Prices
        Where they are from.
    """
    used = job.usage
    return JobCost(
        job=job.id,
        state=job.state,
        at_most_usd=spending.at_most(job, rates),
        billed_usd=spending.cost(job, rates).usd if used else None,
        estimate_usd=job.number(jobs.ESTIMATE_TAG),
        budget_usd=job.number(jobs.BUDGET_TAG),
        seconds=job.seconds,
        vcpus=job.number(jobs.VCPUS_TAG),
        memory_gb=job.number(jobs.MEMORY_TAG),
        billed_vcpu_hours=used.vcpu_hours if used else None,
        billed_gb_hours=used.memory_gb_hours if used else None,
        vcpu_hour_usd=rates.vcpu_hour,
        gb_hour_usd=rates.memory_gb_hour,
        prices_of=prices.date,
    )
