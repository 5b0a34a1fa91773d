"""Status: the jobs that run, how far they are and what they cost, and the last that ended."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from pomona.aws import jobs, spending
from pomona.aws.account import Account
from pomona.aws.job_progress import count_done
from pomona.aws.jobs import Application, Job
from pomona.aws.perimeter import Perimeter
from pomona.aws.spending import Rates, usd
from pomona.errors import PomonaError
from pomona.progress import duration
from pomona.s3.address import Access
from pomona.store.store import Store

ENDED = 5


@dataclass(frozen=True)
class JobStatus:
    """A job as `pomona aws status` shows it.

    Attributes
    ----------
    job, state, source, out : str
        What it is and does; the addresses are "" for another's job.
    since : str
        When it was submitted, in UTC.
    seconds : float
        For how long it has run.
    done, images : int or None
        Images whose features the store has, and all; None: not known.
    cost_usd, cost_basis : float, str
        What its workers cost: "billed", or "time": price times time, at most.
    budget_usd : float
        What it may cost.
    limit_minutes : int or None
        After which AWS ends it.
    is_own : bool
        Whether pomona submitted it.
    """

    job: str
    state: str
    source: str
    out: str
    since: str
    seconds: float
    done: int | None
    images: int | None
    cost_usd: float
    cost_basis: str
    budget_usd: float
    limit_minutes: int | None
    is_own: bool

    def in_words(self) -> str:
        """The text for a person, in one line."""
        if not self.is_own:
            return f"{self.job}  {self.state}  since {self.since}: not pomona's"
        at_most = "" if self.cost_basis == "billed" else "at most "
        parts = [f"{self.job}  {self.state}  since {self.since}", duration(self.seconds)]
        if self.images is not None and self.done is not None:
            parts.append(f"{self.done:,} of {self.images:,} images")
        parts += [f"{at_most}{usd(self.cost_usd)} of {usd(self.budget_usd)}", self.out]
        return ", ".join(parts)


@dataclass(frozen=True)
class Status:
    """What runs on the application.

    Attributes
    ----------
    application, state : str
        Its id, and what it does.
    running, ended : list of JobStatus
        The jobs that run, and the last that ended.
    """

    application: str
    state: str
    running: list[JobStatus]
    ended: list[JobStatus]

    def as_json(self) -> dict[str, Any]:
        """The content of --json."""
        return dataclasses.asdict(self)

    def in_words(self) -> str:
        """The text for a person."""
        lines = [each.in_words() for each in self.running] or ["no job runs"]
        lines += [each.in_words() for each in self.ended]
        if self.running:
            lines.append(
                "follow one with its `pomona aws run`, end it with `pomona aws cancel JOB`"
            )
        lines.append(f"application {self.application}: {self.state}")
        return "\n".join(lines)


def find(account: Account, application: Application, rates: Rates, perimeter: Perimeter) -> Status:
    """Finds what runs.

    Parameters
    ----------
    account : Account
        Where it runs.
    application : Application
        What runs it.
    rates : Rates
        Its prices.
    perimeter : Perimeter
        What the account has.

    Raises
    ------
    CloudError
        If AWS refuses to say.
    """
    access = Access(sse="aws:kms", kms_key=perimeter.key_arn)
    running = jobs.find(account, application.id, states=jobs.ACTIVE)
    ended = jobs.find(account, application.id, states=jobs.ENDED, most=ENDED)
    return Status(
        application.id,
        application.state,
        [_status(job, rates, access) for job in running],
        [_status(job, rates, access) for job in ended],
    )


def _status(job: Job, rates: Rates, access: Access) -> JobStatus:
    cost = spending.cost(job, rates)
    source, out = job.places if job.is_own else ("", "")
    done, images = _count_done(out, access) if job.is_active and out else (None, None)
    return JobStatus(
        job=job.id,
        state=job.state,
        source=source,
        out=out,
        since=_utc(job.created),
        seconds=job.seconds,
        done=done,
        images=images,
        cost_usd=cost.usd,
        cost_basis="billed" if cost.is_billed else "time",
        budget_usd=job.number(jobs.BUDGET_TAG),
        limit_minutes=job.timeout_minutes,
        is_own=job.is_own,
    )


def _count_done(out: str, access: Access) -> tuple[int | None, int | None]:
    try:
        return count_done(Store(out, access))
    except PomonaError:  # a store that cannot be read hides no job
        return None, None


def _utc(time: datetime) -> str:
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
