"""An evaluator of IAM's policies: as much of AWS's logic as the perimeter's policies use.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html, and
reference_policies_elements_condition_operators.html beside it. An operator that is not here fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What somebody asks; principal: a role's ARN or a service, context: the keys of conditions."""

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def is_allowed(
    request: Request, *, identity: Iterable[Policy] = (), resource: Iterable[Policy] = ()
) -> bool:
    """Whether a request within one account is allowed: a Deny decides, else one Allow is enough.

    Parameters
    ----------
    request : Request
        Who asks what, of what.
    identity : iterable of dict
        The policies of the role that asks.
    resource : iterable of dict
        The policies of what is asked for, or the trust of a role that is to be assumed.
    """
    effects = [
        statement["Effect"]
        for policy in identity
        for statement in policy["Statement"]
        if _applies(statement, request)
    ]
    effects += [
        statement["Effect"]
        for policy in resource
        for statement in policy["Statement"]
        if _is_meant(statement["Principal"], request.principal) and _applies(statement, request)
    ]
    return "Deny" not in effects and "Allow" in effects


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _is_meant(principal: Any, who: str) -> bool:
    if principal == "*":
        return True
    return any(who in as_list(each) for each in principal.values())


def _applies(statement: Policy, request: Request) -> bool:
    assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys()
    actions = (each.lower() for each in as_list(statement["Action"]))
    if not any(_matches(each, request.action.lower()) for each in actions):
        return False
    # The trust of a role names no resource: it is the role's own.
    if not any(_matches(e, request.resource) for e in as_list(statement.get("Resource", "*"))):
        return False
    return all(
        _holds(operator, as_list(wanted), request.context.get(key))
        for operator, keys in statement.get("Condition", {}).items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, wanted: list[str], given: str | None) -> bool:
    if operator == "Null":
        return wanted == ["true" if given is None else "false"]
    if operator == "StringNotEquals":
        return given is None or given not in wanted
    if operator.endswith("IfExists"):
        return given is None or _holds(operator.removesuffix("IfExists"), wanted, given)
    if given is None:
        return False
    if operator in ("StringLike", "ArnLike"):
        return any(_matches(each, given) for each in wanted)
    if operator in ("StringEquals", "Bool"):
        return given in wanted
    raise NotImplementedError(operator)


def _matches(pattern: str, text: str) -> bool:
    as_regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(as_regex, text, re.DOTALL) is not None
