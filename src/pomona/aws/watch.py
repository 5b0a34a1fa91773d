"""Watch a job to its end: its state, the progress of its store, and price times time."""

from __future__ import annotations

import time

from pomona.aws import jobs, requests
from pomona.aws.account import Account
from pomona.aws.job_progress import JobProgress
from pomona.aws.jobs import Job
from pomona.aws.spending import Rates, cost, usd
from pomona.errors import CloudError
from pomona.progress import Progress
from pomona.store.store import Store

POLL_S = 5.0
_WAITING = {
    "SUBMITTED": "is submitted",
    "PENDING": "waits for its workers, which takes a minute or two",
    "SCHEDULED": "starts",
    "QUEUED": "waits for other jobs of the application",
    "RUNNING": "runs",
    "CANCELLING": "is being cancelled",
}


def watch(
    account: Account, job: Job, store: Store, rates: Rates, left_usd: float, progress: Progress
) -> Job:
    """Watches a job, and returns it when it has ended.

    Parameters
    ----------
    account : Account
        Where it runs.
    job : Job
        The job.
    store : Store
        The store that it writes.
    rates : Rates
        The prices of its region and architecture.
    left_usd : float
        What it may cost; beyond that it is cancelled.
    progress : Progress
        Who is told.

    Raises
    ------
    CloudError
        If AWS refuses to say how the job is. It goes on then, as it does after a KeyboardInterrupt.
    """
    shown, stages, is_cancelled = "", JobProgress(store, progress), False
    try:
        while job.is_active:
            if job.state != shown:
                progress.note(f"the job {job.id} {_WAITING[job.state]}")
                shown = job.state
            if job.state == "RUNNING":
                stages.look()
                if not is_cancelled:
                    is_cancelled = _hold_to_budget(account, job, rates, left_usd, progress)
            time.sleep(POLL_S)
            job = jobs.read(account, job.application_id, job.id)
        stages.look()
        return job
    except KeyboardInterrupt:
        progress.warn(_goes_on(job))
        raise
    except CloudError as exc:
        raise CloudError(f"{exc}; {_goes_on(job)}", exc.reason) from None
    finally:
        stages.end()


def _hold_to_budget(
    account: Account, job: Job, rates: Rates, left_usd: float, progress: Progress
) -> bool:
    """Cancels a job that may have cost more than is left; returns whether it did."""
    so_far = cost(job, rates).usd
    if so_far <= left_usd:
        return False
    progress.warn(
        f"the job {job.id} may have cost {usd(so_far)}, and its budget leaves {usd(left_usd)}: "
        "it is cancelled"
    )
    return requests.cancel(account, job)


def _goes_on(job: Job) -> str:
    return (
        f"the job {job.id} goes on in AWS: follow it with the same command or "
        f"`pomona aws status`, end it with `pomona aws cancel {job.id}`"
    )
