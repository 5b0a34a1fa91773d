"""Groups of options: a frozen dataclass whose fields are options, and `panel` their heading.

A command takes a whole group as one argument, through `grouped`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from copy import copy
from typing import Annotated, Any, get_args, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Spreads the groups among a command's parameters into their options, as Typer needs them.

    Parameters
    ----------
    command : callable
        A function whose parameters are options, arguments, and groups of options.

    Returns
    -------
    callable
        The function that Typer registers, with each group's options in the group's place.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {
        each.name: each.annotation for each in own if dataclasses.is_dataclass(each.annotation)
    }

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        for name, group in groups.items():
            options = {field.name: given.pop(field.name) for field in dataclasses.fields(group)}
            given[name] = group(**options)
        command(**given)

    options = []
    for each in own:
        options += _options(groups[each.name]) if each.name in groups else [each]
    spread.__annotations__ = {each.name: each.annotation for each in options}
    options = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in options]
    spread.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return spread


def _options(group: Any) -> list[inspect.Parameter]:
    """The fields of a group as parameters, under the group's heading."""
    hints, options = get_type_hints(group, include_extras=True), []
    for field in dataclasses.fields(group):
        kind, option = get_args(hints[field.name])
        option = copy(option)
        option.rich_help_panel = group.panel
        annotation = Annotated[kind, option]  # type: ignore[valid-type]
        parameter = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY)
        options.append(parameter.replace(default=field.default, annotation=annotation))
    return options
