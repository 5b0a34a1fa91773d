"""Protocol: uvicorn's, with an end for connections that send no request, or a head without end."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pomona.serving.gate import HEADERS
from pomona.serving.problems import RefusedError, overloaded

# A refused client may be sending still: a close before it has read would take its answer away.
LINGER_S = 1.0
# The most bytes of a request beside its body: of its head, the framing of chunks, a trailer.
MOST_BESIDE_BODY = 2**16


def _whole(problem: RefusedError) -> bytes:
    """The last response on a connection."""
    response = problem.response()
    headers = [*response.raw_headers, *HEADERS, (b"connection", b"close")]
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    status = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
    return status.encode() + head + b"\r\n" + bytes(response.body)


TOO_MANY = _whole(overloaded("the server has as many connections as it takes"))
UNREADABLE = _whole(RefusedError(400, "this is no request of HTTP/1.1, or has too long a head"))


class LimitedProtocol(HttpToolsProtocol):
    """A connection that is closed unless it asks for something soon, and in few words."""

    most_connections: int
    head_timeout_s: float
    # Those that were told that they are too many, and may not have read it yet.
    refused: set[HttpToolsProtocol]
    _deadline: asyncio.TimerHandle | None = None
    # Of the request that arrives, less twice its body: small chunks have as much framing.
    _beside_body = 0
    # Requests whose head is here, and whose answer has not ended.
    _answering = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        if self in self.refused or self.transport.is_closing():
            return
        self._beside_body += len(data)
        super().data_received(data)
        if self._beside_body > MOST_BESIDE_BODY and not self.transport.is_closing():
            self.send_400_response("too many bytes beside the body")
        self._watch()

    def send_400_response(self, msg: str) -> None:
        self.transport.write(UNREADABLE)
        self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._beside_body = 0

    def on_body(self, body: bytes) -> None:
        self._beside_body -= 2 * len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        # httptools ends such a request at its head, and would take its body for the next request.
        if self.parser.should_upgrade() and any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 "))
            for name, value in self.headers
        ):
            raise ValueError("an upgrade with a body")
        super().on_headers_complete()
        self._answering += 1

    def on_response_complete(self) -> None:
        self._answering -= 1
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self.refused.discard(self)
        super().connection_lost(exc)

    def _refuse(self) -> None:
        """Says so, and closes once the client has read it; soon where that takes too long."""
        self.connections.discard(self)
        self.transport.write(TOO_MANY)
        if len(self.refused) < self.most_connections:
            self.refused.add(self)
            self.transport.write_eof()
            self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)
        else:
            self.transport.close()

    def _watch(self) -> None:
        """Sets the deadline while a request's head is awaited, and not while it is answered."""
        if self._answering:
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_timeout_s, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def limit_connections(most: int, head_s: float) -> type[HttpToolsProtocol]:
    """Returns a protocol that bounds how many connections there are, and how long they idle.

    Parameters
    ----------
    most : int
        The most connections at a time.
    head_s : float
        How long the head of a request may take, in seconds.
    """
    bounds = {"most_connections": most, "head_timeout_s": head_s, "refused": set()}
    return type("BoundedProtocol", (LimitedProtocol,), bounds)
