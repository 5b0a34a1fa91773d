"""Sweep: what runs on the application and should not."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.aws import jobs, requests
from pomona.aws.account import Account
from pomona.aws.jobs import Job
from pomona.aws.spending import Rates, cost, usd

# How long AWS may take to end a job at its limit
GRACE_S = 300.0


@dataclass(frozen=True)
class Finding:
    """Something that runs and should not.

    Parameters
    ----------
    kind : str
        "job" or "application".
    id : str
        Its id.
    reason : str
        Why it should not run, in one line.
    """

    kind: str
    id: str
    reason: str

    def in_words(self) -> str:
        """The text for a person."""
        return f"{self.kind} {self.id}: {self.reason}"


def find(account: Account, application_id: str, rates: Rates) -> list[Finding]:
    """Finds what runs on the application and should not; ends nothing.

    Parameters
    ----------
    account : Account
        Where it is.
    application_id : str
        Its id.
    rates : Rates
        The prices of its region and architecture.

    Raises
    ------
    CloudError
        If AWS refuses to say.
    """
    state = jobs.application(account, application_id).state
    running = jobs.find(account, application_id, states=jobs.ACTIVE)
    found = []
    for job in running:
        reason = _reason(job, rates)
        if reason:
            found.append(Finding("job", job.id, reason))
    if state == "STARTED" and not running:
        reason = "it is started and runs nothing; it stops by itself after its idle minutes"
        found.append(Finding("application", application_id, reason))
    return found


def end(account: Account, application_id: str, findings: list[Finding]) -> None:
    """Ends what `find` found.

    Parameters
    ----------
    account : Account
        Where it is.
    application_id : str
        The application.
    findings : list of Finding
        What to end.

    Raises
    ------
    CloudError
        If AWS refuses.
    """
    for each in findings:
        if each.kind == "job":
            requests.cancel(account, jobs.read(account, application_id, each.id))
        else:
            account.call(jobs.SERVICE, "stop_application", applicationId=application_id)


def _reason(job: Job, rates: Rates) -> str | None:
    """Why a job that runs should not; None if it may."""
    if not job.is_own:
        return "it has none of pomona's tags: something else started it on pomona's application"
    limit, budget = job.timeout_minutes, job.number(jobs.BUDGET_TAG)
    seconds = job.seconds
    if limit and seconds > limit * 60 + GRACE_S:
        return f"it runs for {seconds / 60:.0f} minutes, and its limit is {limit}"
    so_far = cost(job, rates).usd
    if budget and so_far > budget:
        return f"it may have cost {usd(so_far)}, more than its budget of {usd(budget)}"
    return None
