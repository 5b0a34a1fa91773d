"""The perimeter's template as Python reads it, and CloudFormation's functions in it.

`perimeter.json` is `perimeter.yaml` in a form that Python reads by itself; a test holds one against
the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any


@cache
def template() -> dict[str, Any]:
    """Returns the template with its functions in their long form."""
    text = (resources.files("pomona.aws") / "perimeter.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


def conditions(plan: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, bool]:
    """Returns which conditions of the template hold.

    Parameters
    ----------
    plan : mapping
        The template.
    names : mapping
        What `Ref` gives, of parameters.
    """
    return {key: bool(evaluate(each, names, {})) for key, each in plan["Conditions"].items()}


def is_made(resource: Mapping[str, Any], plan: Mapping[str, Any], names: Mapping[str, Any]) -> bool:
    """Returns whether the condition of a resource, or of an output, holds.

    Parameters
    ----------
    resource : mapping
        A resource or an output of the template.
    plan : mapping
        The template.
    names : mapping
        What `Ref` gives.
    """
    return bool(evaluate(plan["Conditions"].get(resource.get("Condition"), True), names, {}))


def evaluate(node: Any, names: Mapping[str, Any], attributes: Mapping[str, str]) -> Any:
    """Returns a part of the template with every function done that it takes.

    Parameters
    ----------
    node : object
        The part.
    names : mapping
        What `Ref` gives, of parameters and resources alike, and which conditions hold.
    attributes : mapping
        What `Fn::GetAtt` gives, by "RESOURCE.ATTRIBUTE".

    Raises
    ------
    KeyError
        If it names what is not there.
    NotImplementedError
        For another function.
    """
    if isinstance(node, list):
        return [evaluate(each, names, attributes) for each in node]
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        [(function, argument)] = node.items()
        if function == "Ref":
            return names[argument]
        if function == "Fn::GetAtt":
            return attributes[".".join(argument)]
        if function == "Fn::Equals":
            first, second = evaluate(argument, names, attributes)
            return first == second
        if function == "Fn::If":
            # The other branch may name what is not made.
            return evaluate(argument[1 if names[argument[0]] else 2], names, attributes)
        if function == "Fn::Sub":
            known = {**names, **attributes}
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(known[found[1]]), argument)
        if function.startswith("Fn::"):
            raise NotImplementedError(function)
    return {key: evaluate(each, names, attributes) for key, each in node.items()}
