"""`pomona aws` in the tests' own process: on a terminal that answers, and killed between calls."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conftest import Ended
from in_process import run_in_process
from pomona.aws.account import Account
from pomona.s3.bucket import Bucket

REGION = "eu-west-1"
EMAIL = "somebody@example.org"


class Killed(BaseException):
    """The process ends here."""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run_aws(*args: object, typed: str | None = None) -> Ended:
    """Runs `pomona aws`; typed: what a person types, None: there is no terminal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pomona.aws.waiting.POLL_S", 0.0)
        patch.setattr(sys, "stdin", io.StringIO() if typed is None else _Terminal(typed))
        return run_in_process("aws", *args)


def up(*args: object) -> Ended:
    """Makes the perimeter."""
    return run_aws("up", "--region", REGION, "--alert-email", EMAIL, "--yes", *args)


def refusal(ended: Ended) -> str:
    """The one line of a command that failed."""
    assert (ended.status, ended.stdout) == (1, "")
    line = ended.stderr.splitlines()[-1]
    assert line.startswith("pomona: ")
    assert "Traceback" not in ended.stderr
    return line


@contextmanager
def calls(kill_before: int | None = None) -> Iterator[list[str]]:
    """Counts the calls of an account, and ends the process before one of them, counted from 1."""
    made: list[str] = []
    call, pages = Account.call, Account.pages

    def note(service: str, operation: str) -> None:
        if len(made) + 1 == kill_before:
            raise Killed
        made.append(f"{service}.{operation}")

    def counting_call(self: Account, service: str, operation: str, **request: Any) -> Any:
        note(service, operation)
        return call(self, service, operation, **request)

    def counting_pages(
        self: Account, service: str, operation: str, *key: str, **request: Any
    ) -> Any:
        note(service, operation)
        return pages(self, service, operation, *key, **request)

    def counting_delete(self: Bucket, *keys: str) -> None:
        note("s3", "delete_objects")
        delete(self, *keys)

    delete = Bucket.delete
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bucket, "delete", counting_delete)
        patch.setattr(Account, "call", counting_call)
        patch.setattr(Account, "pages", counting_pages)
        yield made
