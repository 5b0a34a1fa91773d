"""Jobs on EMR Serverless: what AWS tells of those on pomona's application."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from pomona.aws import europe
from pomona.aws.account import Account
from pomona.errors import CloudError

SERVICE = "emr-serverless"
ACTIVE = ("SUBMITTED", "PENDING", "SCHEDULED", "QUEUED", "RUNNING", "CANCELLING")
ENDED = ("SUCCESS", "FAILED", "CANCELLED")
# What pomona writes on a job. Tags and names are read by many services: they hold no path.
OUT_TAG, REQUEST_TAG = "pomona-out", "pomona-request"
BUDGET_TAG, ESTIMATE_TAG = "pomona-budget-usd", "pomona-estimate-usd"
VCPUS_TAG, MEMORY_TAG = "pomona-vcpus", "pomona-memory-gb"
# AWS's own bounds of a job's time.
LEAST_MINUTES, MOST_MINUTES = 5, 7 * 24 * 60
# AWS may end a job so many seconds early, by the times that it tells.
_ENDING_S = 30
_JOB_ID = re.compile(r"[0-9a-z]{1,64}")
_AMOUNT = re.compile(r"\s*(\d+)")


@dataclass(frozen=True)
class Application:
    """The application that runs the jobs.

    Parameters
    ----------
    id, arn, state : str
        What it is and does.
    architecture : str
        "ARM64" or "X86_64".
    max_vcpus, max_memory_gb : int, optional
        The most that its jobs have at once, together; None: no bound.
    """

    id: str
    arn: str
    state: str
    architecture: str
    max_vcpus: int | None
    max_memory_gb: int | None


@dataclass(frozen=True)
class Usage:
    """What AWS bills for a job.

    Parameters
    ----------
    vcpu_hours, memory_gb_hours : float
        As AWS counts them.
    """

    vcpu_hours: float
    memory_gb_hours: float


@dataclass(frozen=True)
class Job:
    """A job, as AWS last told of it.

    Parameters
    ----------
    id, application_id, state, details : str
        What it is and does; details: AWS's words on the state.
    asked, created, updated : datetime
        In UTC, all by AWS's clock.
    started, ended : datetime, optional
        None: not yet.
    arguments : tuple of str
        What pomona was told: SOURCE, OUT and options.
    timeout_minutes : int, optional
        After which AWS ends it.
    tags : mapping of str to str
        Those of `submit`; another's job has none of them.
    usage : Usage, optional
        What is billed; None: not known yet.
    """

    id: str
    application_id: str
    state: str
    details: str
    asked: datetime
    created: datetime
    updated: datetime
    started: datetime | None
    ended: datetime | None
    arguments: tuple[str, ...]
    timeout_minutes: int | None
    tags: Mapping[str, str]
    usage: Usage | None

    @property
    def is_active(self) -> bool:
        """Whether it runs, or is to run."""
        return self.state in ACTIVE

    @property
    def is_own(self) -> bool:
        """Whether pomona submitted it."""
        return OUT_TAG in self.tags

    @property
    def places(self) -> tuple[str, str]:
        """SOURCE and OUT, the first arguments; "" for what they do not say."""
        source, out, *_ = (*self.arguments, "", "")
        return source, out

    def number(self, tag: str) -> float:
        """Returns the number in a tag; 0 where there is none."""
        try:
            return float(self.tags.get(tag, "0"))
        except ValueError:
            return 0.0

    @property
    def is_out_of_time(self) -> bool:
        """Whether it has run as long as it may, or so nearly that AWS will have ended it."""
        most = self.timeout_minutes
        return most is not None and self.seconds >= most * 60 - _ENDING_S

    @property
    def seconds(self) -> float:
        """For how long it has run, in seconds."""
        if self.started is None:
            return 0.0
        until = self.asked if self.is_active else self.ended or self.updated
        return max(0.0, (until - self.started).total_seconds())


def digest(*words: str) -> str:
    """Returns SHA-256 (hex, 32 digits) of some words."""
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def application(account: Account, application_id: str) -> Application:
    """Reads the application, and holds it against the guard of Europe.

    Parameters
    ----------
    account : Account
        Where it is.
    application_id : str
        Its id.

    Raises
    ------
    CloudError
        If it is refused, is gone, or AWS refuses to say.
    """
    answer = account.call(SERVICE, "get_application", applicationId=application_id)
    found = answer["application"]
    _, partition, _, region, *_ = found["arn"].split(":")
    refused = europe.refuse(europe.Resource("application", application_id, region, partition))
    if refused:
        raise CloudError(refused, "guard")
    most = found.get("maximumCapacity") or {}
    return Application(
        application_id,
        found["arn"],
        found["state"],
        found.get("architecture") or "X86_64",
        _amount(most.get("cpu")),
        _amount(most.get("memory")),
    )


def read(account: Account, application_id: str, job_id: str) -> Job:
    """Reads a job.

    Parameters
    ----------
    account : Account
        Where it is.
    application_id, job_id : str
        Their ids.

    Raises
    ------
    CloudError
        If there is no such job, or AWS refuses to say.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise CloudError(f"{job_id!r} is not the id of a job: `pomona aws status` lists them")
    try:
        answer = account.call(SERVICE, "get_job_run", applicationId=application_id, jobRunId=job_id)
    except CloudError as exc:
        if exc.reason != "ResourceNotFoundException":
            raise
        raise CloudError(
            f"there is no job {job_id} in {account.region}: `pomona aws status` lists them",
            exc.reason,
        ) from None
    return _job(application_id, job_id, answer)


def find(
    account: Account,
    application_id: str,
    *,
    out: str | None = None,
    states: Sequence[str] = (),
    most: int | None = None,
) -> list[Job]:
    """Finds the jobs of an application, the newest first.

    Parameters
    ----------
    account : Account
        Where they are.
    application_id : str
        Its id.
    out : str, optional
        The address of their store; None: any, others' jobs too.
    states : sequence of str
        Empty: any.
    most : int, optional
        How many to read; None: all.

    Raises
    ------
    CloudError
        If AWS refuses to say.
    """
    asked = {"states": list(states)} if states else {}
    listed = account.pages(
        SERVICE, "list_job_runs", "jobRuns", applicationId=application_id, **asked
    )
    wanted = [each for each in listed if out is None or each.get("name") == name_of(out)]
    wanted.sort(key=lambda each: (each["createdAt"], each["id"]), reverse=True)
    return [read(account, application_id, each["id"]) for each in wanted[:most]]


def name_of(out: str) -> str:
    """Returns the name of the jobs on a store, which holds no path."""
    return f"pomona-{digest(out)}"


def _amount(text: str | None) -> int | None:
    """The number in "16 vCPU" or "128 GB"."""
    found = _AMOUNT.match(text or "")
    return int(found[1]) if found else None


def _job(application_id: str, job_id: str, answer: Mapping[str, Any]) -> Job:
    run = answer["jobRun"]
    spark = run.get("jobDriver", {}).get("sparkSubmit", {})
    return Job(
        id=job_id,
        application_id=application_id,
        state=run["state"],
        details=" ".join((run.get("stateDetails") or "").split()),
        asked=_clock(answer),
        created=run["createdAt"],
        updated=run["updatedAt"],
        started=run.get("startedAt"),
        ended=run.get("endedAt"),
        arguments=tuple(spark.get("entryPointArguments") or ()),
        timeout_minutes=run.get("executionTimeoutMinutes"),
        tags=run.get("tags") or {},
        usage=_usage(run),
    )


def _usage(run: Mapping[str, Any]) -> Usage | None:
    billed = run.get("billedResourceUtilization")
    if not billed or run["state"] in ACTIVE:
        return None
    return Usage(float(billed.get("vCPUHour") or 0.0), float(billed.get("memoryGBHour") or 0.0))


def _clock(answer: Mapping[str, Any]) -> datetime:
    """The time of an answer by AWS's clock; a laptop's may be wrong."""
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(said) if said else datetime.now(timezone.utc)
