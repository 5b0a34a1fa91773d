"""Submit and cancel jobs on EMR Serverless."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pomona.aws import jobs
from pomona.aws.account import Account
from pomona.aws.jobs import SERVICE, Job, digest
from pomona.errors import CloudError


@dataclass(frozen=True)
class Request:
    """A job to submit.

    Parameters
    ----------
    application_id, role_arn : str
        Where it runs, and as whom.
    out : str
        The address of the store.
    entry_point, spark_parameters : str
        What Spark starts, and how.
    arguments : sequence of str
        What it is told: SOURCE, OUT and options.
    logs : str
        The address for its logs.
    key_arn : str
        The key that encrypts them.
    vcpus, memory_gb : int
        The most that it has at once.
    budget_usd, estimate_usd : float
        What it may cost, and is expected to.
    timeout_minutes : int
        After which AWS ends it.
    flex : bool
        Whether executors take spare capacity.
    """

    application_id: str
    role_arn: str
    out: str
    entry_point: str
    spark_parameters: str
    arguments: Sequence[str]
    logs: str
    key_arn: str
    vcpus: int
    memory_gb: int
    budget_usd: float
    estimate_usd: float
    timeout_minutes: int
    flex: bool = False


def submit(account: Account, request: Request, earlier: Iterable[Job]) -> str:
    """Submits a job, once for the state that the caller has seen, and returns its id.

    Its token is that of the store and of the last job on it. So two commands that have seen the
    same jobs get the same one, and AWS refuses the second if it asks for something else.

    Parameters
    ----------
    account : Account
        Where it runs.
    request : Request
        The job.
    earlier : iterable of Job
        All jobs on its store, the newest first.

    Raises
    ------
    CloudError
        If AWS refuses it; with the reason "ConflictException" there may be another on the store.
    """
    last = next((job.id for job in earlier), "")
    driver = {
        "entryPoint": request.entry_point,
        "entryPointArguments": list(request.arguments),
        "sparkSubmitParameters": request.spark_parameters,
    }
    more: dict[str, Any] = {"flexExecution": {"enabled": True}} if request.flex else {}
    answer = account.call(
        SERVICE,
        "start_job_run",
        applicationId=request.application_id,
        clientToken=digest("job", request.application_id, request.out, last),
        executionRoleArn=request.role_arn,
        name=jobs.name_of(request.out),
        jobDriver={"sparkSubmit": driver},
        configurationOverrides={
            "monitoringConfiguration": {
                "s3MonitoringConfiguration": {
                    "logUri": request.logs,
                    "encryptionKeyArn": request.key_arn,
                },
                "managedPersistenceMonitoringConfiguration": {"enabled": False},
            }
        },
        executionTimeoutMinutes=request.timeout_minutes,
        # Going on is the user's to decide, since it costs again.
        retryPolicy={"maxAttempts": 1},
        tags={
            jobs.OUT_TAG: digest(request.out),
            jobs.REQUEST_TAG: digest(*request.arguments),
            jobs.BUDGET_TAG: f"{request.budget_usd:g}",
            jobs.ESTIMATE_TAG: f"{request.estimate_usd:.4g}",
            jobs.VCPUS_TAG: str(request.vcpus),
            jobs.MEMORY_TAG: str(request.memory_gb),
        },
        **more,
    )
    return str(answer["jobRunId"])


def cancel(account: Account, job: Job) -> bool:
    """Cancels a job, and returns whether it had not ended by itself.

    Parameters
    ----------
    account : Account
        Where it runs.
    job : Job
        The job.

    Raises
    ------
    CloudError
        If AWS refuses.
    """
    if not job.is_active:
        return False
    try:
        account.call(SERVICE, "cancel_job_run", applicationId=job.application_id, jobRunId=job.id)
    except CloudError as exc:
        # AWS refuses to cancel what has ended in the meantime.
        if exc.reason not in ("ValidationException", "ConflictException"):
            raise
        now = jobs.read(account, job.application_id, job.id)
        if now.is_active and now.state != "CANCELLING":
            raise
        return now.is_active
    return True
