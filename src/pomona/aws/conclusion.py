"""Conclusion: what a job has made and cost, or why it did not."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from pomona.aws import job_logs, jobs, spending
from pomona.aws.jobs import Job
from pomona.aws.perimeter import Perimeter
from pomona.aws.spending import Rates, usd
from pomona.errors import CloudError, ObjectStoreError
from pomona.progress import count, duration
from pomona.s3.address import Access, Address
from pomona.store.layout import REPORT
from pomona.store.store import Store


@dataclass(frozen=True)
class Conclusion:
    """How a run came out.

    Attributes
    ----------
    job, store, report, logs : str
        Its id, and the addresses of what it left.
    images, features, errors : int
        What the store holds.
    components : int or None
        Of its PCA.
    seconds : float
        For how long the job ran.
    cost_usd, cost_basis : float, str
        What the workers cost: "billed", usage times price; or "time", price times time, at most.
    estimate_usd : float
        What they and the requests were expected to cost.
    attempts : int
        How many jobs it took.
    attempts_usd : float
        What these cost together.
    budget_usd : float
        What they might have cost.
    """

    job: str
    store: str
    report: str
    logs: str
    images: int
    features: int
    errors: int
    components: int | None
    seconds: float
    cost_usd: float
    cost_basis: str
    estimate_usd: float
    attempts: int
    attempts_usd: float
    budget_usd: float

    def in_words(self) -> str:
        """The text for a person."""
        kind = "billed usage × price" if self.cost_basis == "billed" else "price × time, at most"
        lines = [
            f"{count(self.images, 'image')} done by the job {self.job} in {duration(self.seconds)}",
            f"  features  {self.features:,}",
            f"  errors    {self.errors:,}",
        ]
        if self.components:
            lines.append(f"  PCA       {count(self.components, 'component')}")
        lines += [
            f"  cost      {usd(self.cost_usd)} ({kind}); estimated {usd(self.estimate_usd)}",
        ]
        if self.attempts > 1:
            lines.append(f"            {usd(self.attempts_usd)} in {self.attempts} attempts")
        lines += [
            f"  report    {self.report}",
            f"  logs      {self.logs}",
            f"next: pomona aws fetch {self.store} FOLDER",
        ]
        return "\n".join(lines)


def conclude(
    job: Job, on_out: Sequence[Job], rates: Rates, perimeter: Perimeter, access: Access
) -> Conclusion:
    """Returns how a run came out whose job has ended.

    Parameters
    ----------
    job : Job
        The job.
    on_out : sequence of Job
        All jobs on its store, this one first.
    rates : Rates
        The prices of its region and architecture.
    perimeter : Perimeter
        What the account has.
    access : Access
        How buckets are used.

    Raises
    ------
    CloudError
        If it did not end well, with the probable cause.
    """
    logs = job_logs.address_of(f"s3://{perimeter.logs}/serverless", job.application_id, job.id)
    if job.state != "SUCCESS":
        raise CloudError(_complaint(job, on_out, rates, logs), job.state.lower())
    store = Store(job.places[1], access)
    manifest = store.manifest
    totals, pca = manifest["totals"], manifest["pca"]
    attempts = [job, *spending.since_success(on_out[1:])]
    cost = spending.cost(job, rates)
    return Conclusion(
        job=job.id,
        store=str(store.files),
        report=str(store.files.path(REPORT)),
        logs=str(logs),
        images=totals["images"],
        features=totals["features"],
        errors=totals["errors"],
        components=pca["components"] if pca else None,
        seconds=job.seconds,
        cost_usd=cost.usd,
        cost_basis="billed" if cost.is_billed else "time",
        estimate_usd=job.number(jobs.ESTIMATE_TAG),
        attempts=len(attempts),
        attempts_usd=spending.spent(attempts, rates),
        budget_usd=job.number(jobs.BUDGET_TAG),
    )


def _complaint(job: Job, on_out: Sequence[Job], rates: Rates, logs: Address) -> str:
    """Why a job did not end well, in one line."""
    cause = None
    # Without its logs, what AWS says of it is all there is.
    with contextlib.suppress(ObjectStoreError):
        cause = job_logs.read(logs, job.details).cause
    ended, cost = "failed", spending.cost(job, rates)
    if job.state == "CANCELLED":
        ended = "was cancelled"
        # AWS cancels a job at its limit of time, which is what the budget allowed.
        is_spent = job.is_out_of_time or _spent_at_most(job, on_out, rates) > job.number(
            jobs.BUDGET_TAG
        )
        cause = "its budget is spent, raise `budget`" if is_spent else "as was asked for"
    reason = cause or job.details or "AWS says nothing of it"
    return (
        f"the job {job.id} {ended} after {duration(job.seconds)} and "
        f"{cost.in_words()}: {reason}; what is done is kept, and the same "
        f"command goes on; `pomona aws logs {job.id}` shows more"
    )


def _spent_at_most(job: Job, on_out: Sequence[Job], rates: Rates) -> float:
    """Price times time of a job, and what the attempts before it cost."""
    earlier = spending.spent(spending.since_success(on_out[1:]), rates)
    return spending.at_most(job, rates) + earlier
