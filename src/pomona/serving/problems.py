"""Problems: what a server refuses, as RFC 9457 has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from pomona.errors import ImageError

MEDIA_TYPE = "application/problem+json"


class RefusedError(Exception):
    """A request that is refused.

    Parameters
    ----------
    status : int
        The HTTP status.
    detail : str
        What is wrong, and the way out.
    headers : mapping, optional
        Headers of the response.
    more : any
        Further members of the problem.
    """

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers, self.more = dict(headers or {}), more

    def to_dict(self) -> dict[str, Any]:
        """Returns the problem's members."""
        title = HTTPStatus(self.status).phrase
        return {"title": title, "status": self.status, "detail": self.detail, **self.more}

    def response(self) -> Response:
        """Returns the response that says it."""
        content = json.dumps(self.to_dict(), ensure_ascii=False).encode("utf-8", "replace")
        return Response(content, self.status, self.headers, MEDIA_TYPE)


def overloaded(detail: str) -> RefusedError:
    """Returns the problem of a server that has too much to do."""
    return RefusedError(503, detail, {"Retry-After": "1"})


def unusable(error: ImageError) -> RefusedError:
    """Returns the problem of an image that gives no features; stage and reason as in errors/."""
    detail = f"the image gives no features: {error}"
    return RefusedError(422, detail, stage=error.stage, reason=error.reason)
