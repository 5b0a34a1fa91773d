"""Requests against botocore's models in full: enums, patterns, bounds.

botocore itself checks names, types and minima, and sends the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import botocore.client
import pytest
from botocore.model import OperationModel, Shape

# Every operation that the tests of this process have asked for, as "service.Operation", and those
# of them that went to a server: botocore's Stubber answers before.
ASKED: set[str] = set()
SENT: set[str] = set()
# Java's classes of characters, and its pairs for those beyond 16 bits, as Python has them.
_AS_PYTHON = (
    (r"(?s)", ""),  # re.DOTALL is given
    (r"(?i)", ""),  # Python takes it at the start alone
    (r"\p{Z}-", r"\s\-"),
    (r"\uD800\uDC00-\uDBFF\uDFFF", "\U00010000-\U0010ffff"),
    (r"\p{L}", "a-zA-Z\u00c0-\U0001ffff"),
    (r"\p{Z}", r"\s"),
    (r"\p{N}", "0-9"),
    (r"\p{S}", "$+<=>^`|~"),
    (r"\p{P}", "!-/:-@\\[-_{}"),
    (r"\p{ASCII}", "\x00-\x7f"),
)


def complaints(value: Any, shape: Shape, path: str = "") -> Iterator[str]:
    """Says what a model forbids of a value.

    Parameters
    ----------
    value : object
        A parameter, or a part of one.
    shape : Shape
        botocore's model of it.
    path : str
        Where it is in the request.
    """
    model: Any = shape
    if shape.type_name == "structure":
        for name, each in value.items():
            yield from complaints(each, model.members[name], f"{path}.{name}")
        return
    size = value
    if shape.type_name == "list":
        size = len(value)
        for number, each in enumerate(value):
            yield from complaints(each, model.member, f"{path}[{number}]")
    elif shape.type_name == "map":
        size = len(value)
        for name, each in value.items():
            yield from complaints(name, model.key, f"{path} key")
            yield from complaints(each, model.value, f"{path}.{name}")
    elif shape.type_name == "string":
        size = len(value)
        if model.enum and value not in model.enum:
            yield f"{path}: {value!r} is none of {list(model.enum)}"
        pattern = shape.metadata.get("pattern")
        if pattern and not re.fullmatch(_as_python(pattern), value, re.DOTALL):
            yield f"{path}: {value!r} does not match {pattern}"
    elif shape.type_name not in ("integer", "long", "float", "double"):
        return
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        yield f"{path}: {size} is less than {least}"
    if most is not None and size > most:
        yield f"{path}: {size} is more than {most}"


def strictly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every client of botocore fail a request that its model forbids."""
    made = botocore.client.BaseClient.__init__

    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self.meta.events.register("before-parameter-build.*.*", _check)
        self.meta.events.register("before-send.*.*", _note)

    monkeypatch.setattr(botocore.client.BaseClient, "__init__", make)


def _note(event_name: str, **_: Any) -> None:
    SENT.add(event_name.partition(".")[2])


def _check(params: dict[str, Any], model: OperationModel, event_name: str, **_: Any) -> None:
    service = model.service_model.service_name
    ASKED.add(event_name.partition(".")[2])
    known = getattr(model.input_shape, "members", {})
    # Unknown names and wrong types are for botocore to refuse.
    of_right_type = {key: each for key, each in params.items() if key in known}
    found = [
        each
        for name, value in of_right_type.items()
        for each in complaints(value, known[name], name)
    ]
    assert not found, f"{service} takes no such {model.name}: {'; '.join(found)}"


def _as_python(pattern: str) -> str:
    for java, python in _AS_PYTHON:
        pattern = pattern.replace(java, python)
    return pattern
