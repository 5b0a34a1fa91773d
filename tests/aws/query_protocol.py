"""The Query protocol of AWS's older services, as a server speaks it."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response


def refusal(code: str, words: str) -> Response:
    """Answers with an error."""
    error = f"<Type>Sender</Type><Code>{code}</Code><Message>{escape(words)}</Message>"
    body = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
    return Response(body, 400, content_type="text/xml")


def parsed(form: dict[str, str]) -> dict[str, Any]:
    """The parameters of a request of the Query protocol."""
    given: dict[str, Any] = {}
    for key, value in form.items():
        name, _, rest = key.partition(".member.")
        if key == "Version":
            continue
        if not rest:
            given[name] = value
            continue
        number, _, member = rest.partition(".")
        items = given.setdefault(name, [])
        while len(items) < int(number):
            items.append({} if member else "")
        if member:
            items[int(number) - 1][member] = value
        else:
            items[int(number) - 1] = value
    return given


def xml(value: Any) -> str:
    """A value as an answer has it."""
    if isinstance(value, dict):
        return "".join(f"<{key}>{xml(each)}</{key}>" for key, each in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{xml(each)}</member>" for each in value)
    return escape(str(value))
