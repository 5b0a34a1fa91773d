"""Stopping: ends the jobs of an application, and stops it, so that it can be changed or removed."""

from __future__ import annotations

from pomona.aws import jobs, requests, waiting
from pomona.aws.account import Account
from pomona.errors import CloudError
from pomona.progress import Progress, count

_AT_REST = ("CREATED", "STOPPED", "TERMINATED")
_ENDING = "CANCELLING"


def end_jobs(account: Account, application_id: str, progress: Progress) -> None:
    """Cancels whatever is at work on an application, and waits until all has ended.

    Parameters
    ----------
    account : Account
        Where it is.
    application_id : str
        Its id.
    progress : Progress
        Is told what is cancelled.

    Raises
    ------
    CloudError
        If AWS refuses.
    """
    for _ in waiting.polls("the jobs"):
        active = jobs.find(account, application_id, states=jobs.ACTIVE)
        if not active:
            return
        for job in active:
            if job.state != _ENDING:
                progress.note(f"cancelling the job {job.id}")
                requests.cancel(account, job)


def require_idle(account: Account, application_id: str) -> None:
    """Refuses to go on while a job is at work.

    Parameters
    ----------
    account : Account
        Where it is.
    application_id : str
        Its id.

    Raises
    ------
    CloudError
        If a job is at work.
    """
    active = jobs.find(account, application_id, states=jobs.ACTIVE)
    if active:
        raise CloudError(
            f"{count(len(active), 'job')} at work on the application, which cannot be changed then "
            f"({', '.join(each.id for each in active[:3])}): wait, or end them with "
            "`pomona aws cancel`",
            "busy",
        )


def stop(account: Account, application_id: str, progress: Progress) -> None:
    """Stops an application, and waits until it is at rest.

    Parameters
    ----------
    account : Account
        Where it is.
    application_id : str
        Its id.
    progress : Progress
        Is told that it is stopped.

    Raises
    ------
    CloudError
        If AWS refuses.
    """
    for _ in waiting.polls(f"the application {application_id}"):
        found = account.call(jobs.SERVICE, "get_application", applicationId=application_id)
        state = found["application"]["state"]
        if state in _AT_REST:
            return
        if state == "STARTED":
            progress.note(f"stopping the application {application_id}")
            try:
                account.call(jobs.SERVICE, "stop_application", applicationId=application_id)
            except CloudError as exc:
                # It may have begun to stop by itself; the next look tells.
                if exc.reason not in ("ValidationException", "ConflictException"):
                    raise
