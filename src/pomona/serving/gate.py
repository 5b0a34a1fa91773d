"""Gate: what every request passes. It refuses, limits, counts and logs."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pomona.errors import PomonaError
from pomona.serving.metrics import Metrics
from pomona.serving.problems import RefusedError, overloaded
from pomona.serving.settings import ServeSettings
from pomona.serving.tokens import Tokens

# What anybody may see: nothing of it is of the store.
OPEN = frozenset({"/", "/healthz", "/ping", "/readyz", "/openapi.json"})
# Forms of the page, which bear their token in a field.
FORMS = frozenset({"/", "/feedback"})
# Pages that ask for the token themselves, since a browser sends none with a link.
COLLECTION = "/collection"
# A client that still sends what was refused has so long to read why.
LINGER_S = 1.0
CLIENT_LEFT = 499
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # without one, a form's own origin would not be told
    (b"cache-control", b"no-store"),
)


@dataclass
class Facts:
    """What is known of a request.

    Attributes
    ----------
    route : str
        Which of the server's addresses it is for.
    status : int
        Of the answer; 0 before there is one.
    images : int
        How many images it has.
    model : str, optional
        The id of the classifier that answered.
    is_read : bool
        Whether its body has arrived.
    """

    route: str = "none"
    status: int = 0
    images: int = 0
    model: str | None = None
    is_read: bool = False


class Gate:
    """The outermost application: each request passes it once, and each is answered.

    Parameters
    ----------
    app : ASGI application
        What answers. It finds `Facts` as scope["pomona"].
    paths : collection of str
        The addresses that there are, "{id}" for the end of one that varies: any other is counted
        as "none".
    settings : ServeSettings
        The bounds.
    metrics : Metrics
        What counts.
    log : callable, optional
        Takes a line for each request. None: there is no log.
    complain : callable
        Takes a line for what ought not to happen.
    """

    def __init__(
        self,
        app: ASGIApp,
        paths: Collection[str],
        settings: ServeSettings,
        metrics: Metrics,
        log: Callable[[str], None] | None,
        complain: Callable[[str], None],
    ) -> None:
        self._app, self._paths = app, paths
        self._settings, self._metrics = settings, metrics
        self._log, self._complain = log, complain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        began, facts = time.perf_counter(), Facts(is_read=not _has_body(scope))
        scope["pomona"] = facts
        for route in (scope["path"], scope["path"].rpartition("/")[0] + "/{id}"):
            if route in self._paths:
                facts.route = route
                break

        async def received() -> Message:
            message = await receive()
            facts.is_read |= not message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts.status = message["status"]
                own = {name for name, _ in message.setdefault("headers", [])}
                message["headers"] += [each for each in HEADERS if each[0] not in own]
            await send(message)

        try:
            await self._answer(scope, received, sent, facts)
        finally:
            self._record(scope, facts, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, facts: Facts) -> None:
        """Has the application answer in time, or says why it does not."""
        try:
            try:
                await asyncio.wait_for(
                    self._app(scope, receive, send), self._settings.request_timeout
                )
                return
            except asyncio.TimeoutError:
                if facts.status:
                    raise ClosedError("the client does not take its answer") from None
                problem = _late(facts, self._settings)
            except RefusedError as exc:
                problem = exc
            except HTTPException as exc:
                problem = RefusedError(exc.status_code, _UNKNOWN.get(exc.status_code, exc.detail))
                problem.headers.update(exc.headers or {})
            except PomonaError as exc:
                self._complain(str(exc))
                problem = RefusedError(503, "the server cannot do this now", {"Retry-After": "5"})
            except ClientDisconnect:
                facts.status = CLIENT_LEFT
                return
            await _refuse(problem, scope, receive, send, facts)
        except ClosedError:
            raise
        except Exception as exc:
            # What is wrong is for who runs the server; the client learns that it is.
            self._complain(f"unexpected {type(exc).__name__}: {' '.join(str(exc).split())}")
            if facts.status:
                raise ClosedError from None
            await RefusedError(500, "the server failed").response()(scope, receive, send)

    def _record(self, scope: Scope, facts: Facts, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.request(facts.route, method, facts.status, seconds)
        if self._log is None:
            return
        line: dict[str, Any] = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "method": method,
            "route": facts.route,
            "status": facts.status,
            "ms": round(1000 * seconds, 1),
        }
        if facts.images:
            line |= {"images": facts.images, "model": facts.model}
        self._log(json.dumps(line))


class ClosedError(Exception):
    """An answer that cannot be ended as it began: its connection is closed."""


class Door:
    """Lets in who may ask: by the name that was called, the page that asks, and the token.

    Parameters
    ----------
    app : ASGI application
        What answers.
    settings : ServeSettings
        Which pages may ask.
    tokens : Tokens, optional
        Which tokens may. None: none is needed.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, tokens: Tokens | None) -> None:
        self._app, self._settings, self._tokens = app, settings, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or raises RefusedError."""
        headers = Headers(scope=scope)
        self._check_host(headers)
        self._check_origin(headers)
        path = scope["path"]
        if path not in OPEN | FORMS and not f"{path}/".startswith(f"{COLLECTION}/"):
            check_token(self._tokens, headers.get("authorization", ""))
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """Keeps pages of other machines out that have their name lead to this one."""
        settings = self._settings
        if not settings.is_loopback or settings.no_auth or settings.token_file is not None:
            return
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(name).is_loopback:
                return
        if name != "localhost":
            raise RefusedError(421, "this server answers to the name localhost alone")

    def _check_origin(self, headers: Headers) -> None:
        """Keeps other pages from asking in the name of who looks at them."""
        origin = headers.get("origin")
        if origin is None or origin in self._settings.cors:
            return
        if urlsplit(origin).netloc != headers.get("host"):
            raise RefusedError(
                403, "a page of this origin may not ask: the server must be told of it"
            )


def check_token(tokens: Tokens | None, authorization: str) -> None:
    """Raises RefusedError unless a header Authorization has a token that may ask.

    Parameters
    ----------
    tokens : Tokens, optional
        Which tokens may. None: none is needed.
    authorization : str
        The header.
    """
    if tokens is None:
        return
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not tokens.allow(token.strip()):
        raise RefusedError(
            401,
            "a token is needed that this server knows, as the header Authorization: Bearer",
            {"WWW-Authenticate": "Bearer"},
        )


_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"})
_UNKNOWN = {
    404: "there is nothing at this address: /openapi.json says what there is",
    405: "this address takes another method: /openapi.json says which",
}


def _late(facts: Facts, settings: ServeSettings) -> RefusedError:
    """The problem of a request that took too long."""
    if not facts.is_read:
        return RefusedError(
            408, f"the request took more than {settings.request_timeout:g} s to arrive"
        )
    return overloaded(f"no answer within {settings.request_timeout:g} s: ask again later")


async def _refuse(
    problem: RefusedError, scope: Scope, receive: Receive, send: Send, facts: Facts
) -> None:
    """Answers with a problem; a client that is still sending has a moment to read it."""
    response = problem.response()
    if facts.is_read or not _has_body(scope):
        await response(scope, receive, send)
        return
    headers = [*response.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_drain(receive), LINGER_S)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _has_body(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return bool(names & {b"content-length", b"transfer-encoding"})


async def _drain(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
