"""Protocol: uvicorn's, with an end for connections that send no request."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pomona.serving.problems import overloaded

# A refused client may be sending still: a close before it has read would take its answer away.
LINGER_S = 1.0


@cache
def _refusal() -> bytes:
    """The whole response to a connection that is one too many."""
    response = overloaded("the server has as many connections as it takes").response()
    headers = [*response.raw_headers, (b"connection", b"close")]
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return b"HTTP/1.1 503 Service Unavailable\r\n" + head + b"\r\n" + bytes(response.body)


class LimitedProtocol(H11Protocol):
    """A connection that is closed unless it asks for something soon."""

    most_connections: int
    head_timeout_s: float
    # Those that were told that they are too many, and may not have read it yet.
    refused: set[H11Protocol]
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        if self not in self.refused:
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self.refused.discard(self)
        super().connection_lost(exc)

    def _refuse(self) -> None:
        """Says so, and closes once the client has read it; soon where that takes too long."""
        self.connections.discard(self)
        self.transport.write(_refusal())
        if len(self.refused) < self.most_connections:
            self.refused.add(self)
            self.transport.write_eof()
            self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)
        else:
            self.transport.close()

    def _watch(self) -> None:
        """Sets the deadline while a request's head is awaited, and not while it is answered."""
        if self.conn.their_state is not h11.IDLE:
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_timeout_s, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def limit_connections(most: int, head_s: float) -> type[H11Protocol]:
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
