"""Findings: what was looked at, what was seen, and the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pomona.aws.account import Account
from pomona.aws.expected import Expected
from pomona.errors import CloudError

OK, WARNING, FAILURE = "ok", "warning", "failure"
MAKE_ANEW = "create it again: `pomona aws down`, then `pomona aws up`"
# AWS's codes for what is not there
_GONE = ("NotFound", "NoSuch", "404")


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    Parameters
    ----------
    piece : str
        What was looked at: a name of the template, or a word of the account.
    check : str
        What it was held against.
    state : {"ok", "warning", "failure"}
        How it is.
    evidence : str
        What AWS says of it.
    remedy : str
        The way out; "" for what is well.
    """

    piece: str
    check: str
    state: str
    evidence: str
    remedy: str = ""


@dataclass(frozen=True)
class Scene:
    """What checks look at.

    Parameters
    ----------
    account : Account
        The account.
    account_id : str
        Its number.
    expected : mapping of str to Expected
        The pieces that should be there.
    """

    account: Account
    account_id: str
    expected: Mapping[str, Expected]

    def of_type(self, type: str) -> list[Expected]:
        """Returns the pieces of a type that the stack has."""
        return [each for each in self.expected.values() if each.type == type and each.id]


def judge(
    piece: str,
    check: str,
    is_well: bool,
    evidence: str,
    remedy: str = MAKE_ANEW,
    *,
    otherwise: str = FAILURE,
) -> Finding:
    """Returns the finding of one comparison.

    Parameters
    ----------
    piece, check, evidence
        As of `Finding`.
    is_well : bool
        Whether it is as it should be.
    remedy : str
        The way out if it is not.
    otherwise : str
        How bad that is.
    """
    if is_well:
        return Finding(piece, check, OK, evidence)
    return Finding(piece, check, otherwise, evidence, remedy)


def guarded(
    piece: str, look: Callable[[], Iterator[Finding]], remedy: str = MAKE_ANEW
) -> Iterator[Finding]:
    """Yields what a check finds; a refusal of AWS is a finding too.

    Parameters
    ----------
    piece : str
        What is looked at.
    look : callable
        The check.
    remedy : str
        The way out if the piece is gone.
    """
    try:
        yield from look()
    except CloudError as exc:
        if is_gone(exc):
            yield Finding(piece, "exists", FAILURE, f"it is gone ({exc.reason})", remedy)
        elif exc.reason in ("expired", "credentials", "unreachable", "guard"):
            raise
        else:
            yield Finding(
                piece, "can be read", WARNING, str(exc), "look at it as somebody who may read it"
            )


def is_gone(error: CloudError) -> bool:
    """Returns whether a refusal says that something is not there."""
    # EMR has one code for all that it does not take.
    is_emrs = error.reason == "InvalidRequestException" and "does not exist" in str(error)
    return is_emrs or any(word in error.reason for word in _GONE)


def canonical(value: Any) -> Any:
    """Returns a policy, or another document, in a form in which two can be compared.

    Parameters
    ----------
    value : object
        A list of one item stands for the item, and its order says nothing; AWS gives numbers and
        truth back as text, or the other way round.
    """
    if isinstance(value, Mapping):
        return {key: canonical(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        items = sorted(map(canonical, value), key=lambda each: json.dumps(each, sort_keys=True))
        return items[0] if len(items) == 1 else items
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def is_same(one: Any, other: Any) -> bool:
    """Returns whether two documents say the same."""
    return bool(canonical(one) == canonical(other))


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Returns which statements of two policies differ, in words.

    Parameters
    ----------
    found, wanted : mapping
        The policies.
    """
    first, second = (_by_sid(each) for each in (found, wanted))
    names = [name for name in first | second if first.get(name) != second.get(name)]
    if not names:
        return "as in the template"
    return f"other than in the template: {', '.join(sorted(names))}"


def _by_sid(policy: Mapping[str, Any]) -> dict[str, Any]:
    statements = policy.get("Statement", [])
    every = statements if isinstance(statements, list) else [statements]
    return {
        each.get("Sid", f"statement {number}"): canonical(each)
        for number, each in enumerate(every, 1)
    }
