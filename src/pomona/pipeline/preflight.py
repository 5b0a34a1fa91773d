"""Probe: whether workers on other machines see what this one sees, asked before they work."""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass
from importlib.util import find_spec

from pomona import __version__
from pomona.engines.base import Engine, Failure
from pomona.errors import EngineError
from pomona.images.sources.base import Source
from pomona.store.folders.base import Folder
from pomona.store.layout import TEMPORARIES

NEEDED = ("PIL", "cv2", "numpy", "pyarrow", "simplejpeg", "threadpoolctl")


@dataclass(frozen=True)
class Image:
    """One of a source's images, as it was found."""

    source: Source
    path: str
    fingerprint: str | None

    def find_problem(self) -> str | None:
        """Why it is not seen from here as it was, with the way out."""
        return self.source.find_problem(self.path, self.fingerprint)


@dataclass(frozen=True)
class Probe:
    """What a worker must find: this pomona, a file with this nonce, an image as it is here."""

    version: str
    files: Folder
    name: str
    nonce: bytes
    image: Image | None
    modules: tuple[str, ...]


def check(
    engine: Engine, files: Folder, image: Image | None = None, runtime: str | None = None
) -> None:
    """Asks the engine's workers, if they may be elsewhere.

    image: one of those they are to read; runtime: what they are to run the network with.

    Writes a file under the store's temporaries and removes it. Raises EngineError with what they
    do not see, StoreWriteError.
    """
    if not engine.remote:
        return
    nonce = uuid.uuid4().hex
    name = f"{TEMPORARIES}/{nonce}"
    if image is not None and image.find_problem() is not None:
        image = None  # changed or gone since it was found: its row will say so
    modules = (*NEEDED, *([runtime] if runtime else []))
    reach = Probe(__version__, files.absolute(), name, nonce.encode(), image, modules)
    files.write(reach.name, reach.nonce)
    try:
        for _, problem in engine.map(probe_worker, range(engine.workers), reach):
            if problem is not None:
                raise EngineError(problem.message if isinstance(problem, Failure) else problem)
    finally:
        files.delete(reach.name)


def probe_worker(worker: int, reach: Probe, attempt: int) -> str | None:
    """What is missing where this runs, with the way out; None when all is there."""
    host = socket.gethostname()
    if __version__ != reach.version:
        return (
            f"{host} has pomona {__version__}, this is {reach.version}: install the same everywhere"
        )
    missing = [name for name in reach.modules if find_spec(name) is None]
    if missing:
        return f"{host} has pomona, but no {', '.join(missing)}: install its dependencies there"
    try:
        found = reach.files.read(reach.name)
    except OSError:
        found = b""
    if found != reach.nonce:
        return f"{host} does not see {reach.files}: put OUT on a disk that all nodes share"
    problem = reach.image and reach.image.find_problem()
    return f"{host} {problem}" if problem else None
