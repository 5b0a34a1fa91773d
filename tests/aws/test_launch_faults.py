"""`pomona aws run` when AWS fails at each of its calls: one line, and the same command goes on.

Errors are raised in place of botocore's, before a call is made or after its answer is lost; moto
itself never fails so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.exceptions as boto
import pytest
from launched import Launched
from test_launch import Command, run

from pomona.aws.account import Account
from pomona.aws.errors import translate
from pomona.errors import CloudError

pytest_plugins = ("aws_account", "launched_account")
__all__ = ["run"]

# What each kind of error says in pomona's words
FAULTS = {
    "ThrottlingException": "asked too often",
    "InternalServerException": "refused",
    "ExpiredTokenException": "have expired",
    "AccessDeniedException": "no right to",
    "ServiceQuotaExceededException": "refused",
    "ApplicationMaxCapacityExceededException": "refused",
    "": "cannot be reached",
}


def _error(code: str, operation: str) -> Exception:
    error: Exception = boto.ReadTimeoutError(endpoint_url="https://emr-serverless")
    if code:
        error = boto.ClientError({"Error": {"Code": code, "Message": "Try later."}}, operation)
    return error


@contextmanager
def failing(at: int, code: str, *, lost: bool) -> Iterator[list[str]]:
    """Lets the call of this number, from 0 on, fail; lost: after AWS has done what was asked."""
    made: list[str] = []
    call, pages = Account.call, Account.pages

    def check(operation: str, *, after: bool) -> None:
        if len(made) - 1 == at and after == lost:
            with translate("emr-serverless", operation):
                raise _error(code, operation)

    def failing_call(self: Account, service: str, operation: str, **request: Any) -> Any:
        made.append(operation)
        check(operation, after=False)
        answer = call(self, service, operation, **request)
        check(operation, after=True)
        return answer

    def failing_pages(self: Account, service: str, operation: str, key: str, **more: Any) -> Any:
        made.append(operation)
        check(operation, after=False)
        yield from pages(self, service, operation, key, **more)
        check(operation, after=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Account, "call", failing_call)
        patch.setattr(Account, "pages", failing_pages)
        yield made


def _check_one_line(exc: CloudError, code: str) -> None:
    assert "\n" not in str(exc)
    assert FAULTS[code] in str(exc)


def test_an_error_at_any_call_leaves_one_job_and_the_same_command_ends_as_ever(
    launched: Launched, run: Command
) -> None:
    launched.lives()
    with failing(10**6, "", lost=False) as operations:
        run()
    assert {"describe_stacks", "get_application", "start_job_run", "get_job_run"} <= {*operations}
    # The job is asked for again and again: of these calls the first and the last are enough.
    asked = operations.index("get_job_run")
    for at in (*range(asked + 1), len(operations) - 1):
        operation = operations[at]
        launched.begin_again()
        launched.lives()
        code = list(FAULTS)[at % len(FAULTS)]
        with failing(at, code, lost=False) as made, pytest.raises(CloudError) as raised:
            run()
        assert made[-1] == operation
        _check_one_line(raised.value, code)
        ended = run()
        assert ended is not None
        [job] = launched.serverless.jobs
        assert (ended.job, ended.attempts) == (job.id, 1), operations
        assert launched.stored() == launched.objects


@pytest.mark.parametrize(
    ("code", "lost"),
    [
        ("ServiceQuotaExceededException", False),
        ("ApplicationMaxCapacityExceededException", False),
        ("InternalServerException", True),
        ("", True),
    ],
)
def test_no_error_of_the_submission_makes_a_second_job(
    launched: Launched, run: Command, code: str, lost: bool
) -> None:
    launched.lives()
    with failing(3, code, lost=lost) as operations, pytest.raises(CloudError) as raised:
        run()
    assert operations[-1] == "start_job_run"
    _check_one_line(raised.value, code)
    assert len(launched.serverless.jobs) == lost
    assert run() is not None
    assert len(launched.serverless.jobs) == 1


def test_of_two_commands_at_once_one_submits_and_both_watch(
    launched: Launched, run: Command
) -> None:
    """The second sees no job before it submits, and other options are refused by AWS."""
    launched.lives()

    def overtake(offer: object) -> bool:
        with pytest.raises(KeyboardInterrupt):
            Command(launched)(stop_at="runs")
        return True

    ended = run(overtake)
    assert ended is not None
    [job] = launched.serverless.jobs
    assert ended.job == job.id
    launched.begin_again()
    launched.lives()
    with pytest.raises(CloudError, match=r"is at work on .* with other options"):
        run(overtake, options=("--components", "8"))
    assert len(launched.serverless.jobs) == 1
