"""Settings in messages, named as the flags of the command that runs.

The library knows no flags: its messages name a setting in backticks, as `limit`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

_SETTING = re.compile(r"`([a-z][a-z0-9_]*)`")
_NONE: Mapping[str, str] = MappingProxyType({})
_current: ContextVar[Mapping[str, str]] = ContextVar("flags of the command", default=_NONE)


def use_flags_of(parameters: Iterable[Any]) -> None:
    """Makes the flags of a command those that messages name, from now on.

    Parameters
    ----------
    parameters : iterable of Click parameters
        The arguments and options of the command that runs.
    """
    _current.set(flags_of(parameters))


def flags_of(parameters: Iterable[Any]) -> dict[str, str]:
    """Maps settings to flags.

    Parameters
    ----------
    parameters : iterable of Click parameters
        The arguments and options of a command.

    Returns
    -------
    dict of str to str
        How a user writes each parameter, by its name in Python, and by that of its flag.
    """
    names: dict[str, str] = {}
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            names[parameter.name] = parameter.metavar or parameter.name.upper()
            continue
        flags = [flag for flag in parameter.opts if flag.startswith("--")]
        for flag in (*flags, *parameter.secondary_opts):
            names[flag.removeprefix("--").replace("-", "_")] = flag
        names[parameter.name] = flags[0]
    return names


def with_flags(message: object, names: Mapping[str, str] | None = None) -> str:
    """Names the settings in a message as flags.

    Parameters
    ----------
    message : object
        A text, or an exception of the library.
    names : mapping, optional
        Flags by setting. None: those of the command that runs.

    Returns
    -------
    str
        The message, in which all else in backticks stays as it is.
    """
    flags = _current.get() if names is None else names
    return _SETTING.sub(lambda setting: flags.get(setting[1], setting[0]), str(message))
