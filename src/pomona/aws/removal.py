"""Removal: what computes goes, and with the data all of the perimeter; both end with proof.

Each step looks at what is there, so that the same call goes on after a stop at any point.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pomona.aws import perimeter, stopping, waiting
from pomona.aws import stack as stacks
from pomona.aws.account import Account
from pomona.aws.jobs import ACTIVE
from pomona.aws.template import template
from pomona.aws.traces import Trace, look_for, pieces_ever
from pomona.errors import CloudError, ObjectStoreError
from pomona.progress import Progress, count
from pomona.s3.address import Address
from pomona.s3.bucket import Bucket, open_bucket

_RUNNING = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
DATA = ("Images", "Results", "Logs", "Audit")
# A bucket is counted up to here; what matters is whether it holds anything.
COUNTED = 10_000
BATCH = 1000
# CloudTrail writes for some minutes after it was stopped.
_ATTEMPTS = 5


@dataclass(frozen=True)
class Removal:
    """What would be removed.

    Parameters
    ----------
    stack : str
        The stack's name.
    changes : tuple of stacks.Change
        What CloudFormation would remove.
    jobs : tuple of (str, str)
        Jobs at work, by application and id, which would be cancelled.
    clusters : tuple of str
        Clusters of the perimeter that run, which would be terminated.
    objects : dict of str to str
        With the data: how many objects each bucket holds, in words.
    """

    stack: str
    changes: tuple[stacks.Change, ...] = ()
    jobs: tuple[tuple[str, str], ...] = ()
    clusters: tuple[str, ...] = ()
    objects: tuple[tuple[str, str], ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.changes or self.jobs or self.clusters)


def plan(
    account: Account, progress: Progress, name: str = perimeter.STACK, *, with_data: bool = False
) -> Removal:
    """Returns what a removal would do; nothing is removed yet.

    Parameters
    ----------
    account : Account
        Where the stack is.
    progress : Progress
        Is told what is waited for.
    name : str
        The stack's name.
    with_data : bool
        Whether the data goes too.

    Raises
    ------
    CloudError
        If AWS refuses, or the stack is in a state that only a person can mend.
    """
    described = stacks.at_rest(account, name, progress, deleting=with_data)
    if described is None:
        # A stack that was proposed and never made is nothing but its name.
        stacks.delete(account, name, progress)
        return Removal(name)
    ids = dict(_ids(account, name))
    jobs = tuple(_jobs(account, ids.get("Application")))
    clusters = tuple(_clusters(account, ids.get("NodeEncryption")))
    if with_data:
        changes = tuple(stacks.Change("remove", each, "") for each in ids)
        objects = tuple((ids[each], _holds(ids[each])) for each in DATA if each in ids)
        return Removal(name, changes, jobs, clusters, objects)
    proposal = stacks.propose(account, {"Scope": "data"}, progress, name)
    return Removal(name, proposal.changes, jobs, clusters)


def discard(account: Account, removal: Removal) -> None:
    """Leaves everything as it is.

    Parameters
    ----------
    account : Account
        Where the stack is.
    removal : Removal
        What `plan` has returned.
    """
    stacks.drop_change_set(account, removal.stack)


def remove_what_computes(account: Account, removal: Removal, progress: Progress) -> None:
    """Removes all but the data, the key, the trail and the budget.

    Parameters
    ----------
    account : Account
        Where the stack is.
    removal : Removal
        What `plan` has returned.
    progress : Progress
        Is told how far it is.

    Raises
    ------
    CloudError
        If AWS refuses.
    """
    _end_work(account, removal, progress)
    if removal.changes:
        stacks.apply(account, stacks.Proposal(removal.stack, False, removal.changes), progress)


def remove_all(account: Account, removal: Removal, progress: Progress) -> None:
    """Removes the stack with all of its data; the key goes after seven days.

    Parameters
    ----------
    account, removal, progress
        As for `remove_what_computes`, of a plan with the data.

    Raises
    ------
    CloudError, ObjectStoreError
        If AWS refuses, or somebody goes on writing into a bucket.
    """
    if removal.is_nothing:
        return
    _end_work(account, removal, progress)
    ids = dict(_ids(account, removal.stack))
    if "Trail" in ids:
        progress.note("stopping the trail, which writes into a bucket")
        account.call("cloudtrail", "stop_logging", Name=ids["Trail"])
    for name in ("UserAccess", "DoctorAccess"):
        if name in ids:
            _detach(account, ids[name], progress)
    for attempt in range(_ATTEMPTS):
        for bucket in (ids[each] for each in DATA if each in ids):
            _empty(bucket, progress)
        try:
            stacks.delete(account, removal.stack, progress)
        except CloudError as exc:
            if exc.reason != "not_deleted" or attempt == _ATTEMPTS - 1:
                raise
            progress.note("something was written meanwhile: emptying the buckets again")
            time.sleep(waiting.POLL_S)
        else:
            return


def prove(
    account: Account, name: str = perimeter.STACK, *, with_data: bool = False
) -> tuple[Trace, ...]:
    """Looks for everything that the stack ever had.

    Parameters
    ----------
    account : Account
        Where it was.
    name : str
        Its name.
    with_data : bool
        Whether the data should be gone too.

    Raises
    ------
    CloudError
        If AWS refuses to say.
    """
    resources = template()["Resources"]
    kept = {
        each
        for piece, each in _ids(account, name)
        if not with_data and "Condition" not in resources.get(piece, {})
    }
    return tuple(
        look_for(account, piece, is_kept=piece.id in kept) for piece in pieces_ever(account, name)
    )


def _ids(account: Account, name: str) -> Iterator[tuple[str, str]]:
    """The pieces that the stack has, with their ids."""
    if perimeter.find(account, name) is None:
        return
    for each in account.pages(
        "cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=name
    ):
        gone = each["ResourceStatus"] in ("DELETE_COMPLETE", "DELETE_SKIPPED")
        if each.get("PhysicalResourceId") and not gone:
            yield each["LogicalResourceId"], each["PhysicalResourceId"]


def _jobs(account: Account, application: str | None) -> Iterator[tuple[str, str]]:
    if application is not None:
        request = {"applicationId": application, "states": list(ACTIVE)}
        for each in account.pages("emr-serverless", "list_job_runs", "jobRuns", **request):
            yield application, each["id"]


def _clusters(account: Account, encryption: str | None, *more: str) -> Iterator[str]:
    """Clusters that run, or are in another state, with the perimeter's security configuration."""
    if encryption is None:
        return
    states = [*_RUNNING, *more]
    for each in account.pages("emr", "list_clusters", "Clusters", ClusterStates=states):
        found = account.call("emr", "describe_cluster", ClusterId=each["Id"])["Cluster"]
        if found.get("SecurityConfiguration") == encryption:
            yield each["Id"]


def _end_work(account: Account, removal: Removal, progress: Progress) -> None:
    """Cancels jobs and clusters, and stops the application, which cannot be removed otherwise."""
    if removal.clusters:
        progress.note(f"terminating {count(len(removal.clusters), 'cluster')}")
        account.call("emr", "terminate_job_flows", JobFlowIds=list(removal.clusters))
    ids = dict(_ids(account, removal.stack))
    if removal.clusters:
        for _ in waiting.polls("the clusters"):
            if not list(_clusters(account, ids.get("NodeEncryption"), "TERMINATING")):
                break
    if "Application" in ids:
        stopping.end_jobs(account, ids["Application"], progress)
        stopping.stop(account, ids["Application"], progress)


def _detach(account: Account, policy: str, progress: Progress) -> None:
    """Takes a policy from whoever has it: one that somebody has cannot be deleted."""
    for kind in ("User", "Group", "Role"):
        holders = account.pages(
            "iam",
            "list_entities_for_policy",
            f"Policy{kind}s",
            PolicyArn=policy,
            EntityFilter=kind,
        )
        for each in list(holders):
            name = each[f"{kind}Name"]
            progress.note(f"taking {policy.rpartition('/')[2]} from the {kind.lower()} {name}")
            request = {"PolicyArn": policy, f"{kind}Name": name}
            account.call("iam", f"detach_{kind.lower()}_policy", **request)


def _open(bucket: str) -> Bucket | None:
    """A bucket; None if it is gone."""
    try:
        return open_bucket(Address(bucket))
    except ObjectStoreError as exc:
        if exc.reason == "no_bucket":
            return None
        raise


def _holds(name: str) -> str:
    bucket = _open(name)
    some = 0 if bucket is None else sum(1 for _ in itertools.islice(bucket.list_all(), COUNTED))
    return f"{COUNTED:,} objects or more" if some == COUNTED else count(some, "object")


def _empty(name: str, progress: Progress) -> None:
    """Removes every object of a bucket, and the parts of unfinished uploads."""
    bucket = _open(name)
    if bucket is None:
        return
    progress.note(f"emptying {bucket}")
    keys: list[str] = []
    for each in bucket.list_all():
        keys.append(each.key)
        if len(keys) == BATCH:
            bucket.delete(*keys)
            keys = []
    bucket.delete(*keys)
    bucket.abort_uploads("", lambda _: True)
