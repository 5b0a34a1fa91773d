"""EMR Serverless as moto has it, with what moto lacks.

The patches, all of them of the tests' own making and held against no AWS:

- a job begins as SUBMITTED, and goes on only as the test says (moto: SUCCESS at once),
- a token that was used gives its job again, or ConflictException for another request (moto: a new
  job each time),
- a job has the times at which it was made, started and ended (moto: midnight, and none),
- an application without jobs has an empty list of them (moto: ResourceNotFoundException).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import moto.emrserverless.models as models
import pytest
from moto.core.exceptions import JsonRESTError
from moto.emrserverless.exceptions import ValidationException

from pomona.aws.jobs import ACTIVE

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/jobs"
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1"


class ConflictError(JsonRESTError):
    code = 409

    def __init__(self, message: str) -> None:
        super().__init__("ConflictException", message)


class Serverless:
    """What the test does in place of AWS.

    Attributes
    ----------
    jobs : list
        moto's job runs, in the order of their submission.
    steps : deque
        What comes to pass when an active job is asked for, one step each time.
    """

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.tokens: dict[str, tuple[str, Any]] = {}
        self.steps: deque[Callable[[Any], None]] = deque()
        self.runs: list[list[Any]] = []

    def set(self, job: Any, state: str, details: str = "", minutes: float = 0.0) -> None:
        """Moves a job to a state; minutes: for how long it has run by then."""
        now = datetime.now(timezone.utc)
        job.state, job.state_details, job.updated_at = state, details, now
        if minutes or state == "RUNNING":
            job.started_at = now - timedelta(minutes=minutes)
        if state not in ACTIVE:
            job.ended_at = now

    def forget(self) -> None:
        """Forgets all jobs, as if there had been none."""
        for runs in self.runs:
            runs.clear()
        for mine in (self.jobs, self.tokens, self.steps, self.runs):
            mine.clear()

    def bill(self, job: Any, vcpu_hours: float, memory_gb_hours: float) -> None:
        """Says what a job is billed for."""
        job.billed_resource_utilization = {
            "vCPUHour": vcpu_hours,
            "memoryGBHour": memory_gb_hours,
            "storageGBHour": 0.0,
        }

    @property
    def active(self) -> list[Any]:
        """The jobs that cost."""
        return [job for job in self.jobs if job.state in ACTIVE]


@contextmanager
def patched() -> Iterator[Serverless]:
    """Patches moto for a block."""
    serverless = Serverless()
    backend = models.EMRServerlessBackend
    start, listing, cancel = backend.start_job_run, backend.list_job_runs, backend.cancel_job_run
    read = backend.get_job_run

    def start_once(self: Any, *, client_token: str, **asked: Any) -> Any:
        body = json.dumps(asked, sort_keys=True)
        if client_token in serverless.tokens:
            before, job = serverless.tokens[client_token]
            if before != body:
                raise ConflictError("The client token was used with other parameters.")
            return job
        job = start(self, client_token=client_token, **asked)
        job.state, job.created_at = "SUBMITTED", datetime.now(timezone.utc)
        job.updated_at = job.created_at
        job.billed_resource_utilization = None  # type: ignore[assignment]
        serverless.tokens[client_token] = body, job
        serverless.jobs.append(job)
        serverless.runs.append(self.job_runs[asked["application_id"]])
        return job

    def list_any(self: Any, application_id: str, **asked: Any) -> Any:
        return listing(self, application_id, **asked) if application_id in self.job_runs else []

    def get_next(self: Any, application_id: str, job_run_id: str) -> Any:
        job = read(self, application_id, job_run_id)
        if job.state in ACTIVE and serverless.steps:
            serverless.steps.popleft()(job)
        return job

    def cancel_active(self: Any, application_id: str, job_run_id: str) -> Any:
        job = read(self, application_id, job_run_id)
        if job.state not in ACTIVE:
            raise ValidationException(f"Job run {job_run_id} is in a terminal state.")
        cancelled = cancel(self, application_id, job_run_id)
        serverless.set(job, "CANCELLED")
        return cancelled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "start_job_run", start_once)
        patch.setattr(backend, "list_job_runs", list_any)
        patch.setattr(backend, "cancel_job_run", cancel_active)
        patch.setattr(backend, "get_job_run", get_next)
        yield serverless
