"""Run: a server from its first address to its last answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
import uvloop

from pomona.engines.base import usable_cores
from pomona.engines.queue import BatchQueue
from pomona.errors import PomonaError, UsageError
from pomona.progress import Progress
from pomona.s3.address import Access
from pomona.serving.app import make_app
from pomona.serving.asking import Asking
from pomona.serving.interfaces import Feedback
from pomona.serving.metrics import Metrics
from pomona.serving.model import Model, read_model, read_stamp
from pomona.serving.photographs import Photographs
from pomona.serving.protocol import limit_connections
from pomona.serving.settings import ServeSettings
from pomona.serving.tokens import Tokens

# Images that go through a worker together: more are no faster, and keep the first one waiting.
BATCH = 8
WORKER_MODULES = ("pomona.serving.answers", "pomona.backbones.runtimes.onnxruntime")
WATCH_EVERY_S = 2.0
# What has begun has so long to end; the whole takes less than 10 s.
GRACE_S = 8
BACKLOG = 512
# How long the head of a request may take, from its first byte or from the connection.
HEAD_S = 10.0


@dataclass(frozen=True)
class Service:
    """What is served, and by what.

    Attributes
    ----------
    place : str or Path
        The store.
    access : Access
        How buckets are used.
    settings : ServeSettings
        The bounds.
    workers : int, optional
        How many worker processes. None: one for each core.
    feedback : Feedback, optional
        What keeps feedback.
    log : callable, optional
        Takes a line for each request.
    """

    place: str | Path
    access: Access
    settings: ServeSettings
    workers: int | None
    feedback: Feedback | None
    log: Callable[[str], None] | None

    def read_model(self) -> Model:
        """Reads what answers, as it is in the store now. Raises PomonaError."""
        return read_model(self.place, self.access, self.settings)


def serve(service: Service, progress: Progress, started: Callable[[str, Model], None]) -> None:
    """Serves until SIGTERM or SIGINT; SIGHUP takes up the store's classifier.

    Parameters
    ----------
    service : Service
        What is served.
    progress : Progress
        Who is told what happens.
    started : callable
        Called with the server's address and its model once it answers.

    Raises
    ------
    UsageError, PomonaError
        If it cannot be started.
    """
    settings = service.settings
    for name in ("uvicorn.error", "python_multipart.multipart"):
        logging.getLogger(name).disabled = True  # the gate says what is to be said
    if service.workers is not None and service.workers < 1:
        raise UsageError(f"`workers` {service.workers}: at least 1 is needed")
    tokens = Tokens(settings.token_file) if settings.token_file else None
    folder = settings.keep_photographs
    photographs = Photographs(folder, progress.warn) if folder else None
    with contextlib.closing(_listen(settings)) as listening:
        model = service.read_model()
        queue = BatchQueue(
            service.workers or usable_cores(), batch=BATCH, waiting=settings.max_waiting
        )
        try:
            queue.start(model.loaded, WORKER_MODULES)
            asking = Asking(settings, queue, model, service.feedback, Metrics(queue), photographs)
            app = make_app(asking, tokens, service.log, progress.warn)
            server = _Server(
                uvicorn.Config(
                    app,
                    http=limit_connections(
                        settings.max_connections, min(HEAD_S, settings.request_timeout)
                    ),
                    lifespan="off",
                    ws="none",
                    loop="asyncio",
                    log_config=None,
                    access_log=False,
                    proxy_headers=False,
                    server_header=False,
                    backlog=BACKLOG,
                    timeout_graceful_shutdown=GRACE_S,
                )
            )
            address = _address(listening)
            uvloop.run(_live(server, listening, service, asking, progress, address, started))
        finally:
            queue.close()


class _Server(uvicorn.Server):
    """uvicorn's server, with the signals left to the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _live(
    server: _Server,
    listening: socket.socket,
    service: Service,
    asking: Asking,
    progress: Progress,
    address: str,
    started: Callable[[str, Model], None],
) -> None:
    """The server's life: it answers, takes up classifiers, and ends when it is told to."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def stop() -> None:
        server.should_exit = True

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(signal.SIGHUP, changed.set)
    renewing = asyncio.create_task(_renew(service, asking, progress, changed))
    started(address, asking.model)
    try:
        await server.serve([listening])
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing


async def _renew(
    service: Service, asking: Asking, progress: Progress, changed: asyncio.Event
) -> None:
    """Takes up another classifier of the store: when told to, or when it is seen."""
    seen, said = asking.model.stamp, ""
    while True:
        told = await _is_set(changed, WATCH_EVERY_S if service.settings.watch else None)
        changed.clear()
        try:
            stamp = await asyncio.to_thread(read_stamp, service.place, service.access)
            # While a classifier is written there is none for a moment.
            if stamp == b"" or (stamp == seen and not told):
                continue
            seen = stamp
            model = await asyncio.to_thread(service.read_model)
        except Exception as exc:  # the server goes on with what it has
            kind = "" if isinstance(exc, PomonaError) else f"unexpected {type(exc).__name__}: "
            if told or str(exc) != said:
                progress.warn(f"{kind}{exc}; the classifier in use stays")
            said = str(exc)
            continue
        asking.queue.prepare(model.loaded)
        asking.model, said = model, ""
        asking.metrics.reload()
        progress.note(f"takes up the classifier {model.id}")


async def _is_set(event: asyncio.Event, timeout_s: float | None) -> bool:
    """Waits for an event, for so long at most; returns whether it came."""
    try:
        return await asyncio.wait_for(event.wait(), timeout_s)
    except asyncio.TimeoutError:
        return False


def _listen(settings: ServeSettings) -> socket.socket:
    """A socket that listens, so that nobody else takes the port while workers start."""
    place = f"port {settings.port} of {settings.host}"
    try:
        [(family, kind, number, _, address), *_] = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listening = socket.socket(family, kind, number)
    except OSError as exc:
        raise UsageError(f"`host` {settings.host} is no address: {exc.strerror}") from exc
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as exc:
        listening.close()
        raise PomonaError(
            f"cannot listen on {place}: {exc.strerror}; choose another `port`, or 0 for any"
        ) from exc
    listening.setblocking(False)
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
