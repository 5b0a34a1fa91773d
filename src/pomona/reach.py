"""Reach: whether workers on other machines see what this one sees, asked before they work."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pomona import __version__
from pomona.engines import Engine, Failure
from pomona.errors import EngineError
from pomona.sources.fetch import fingerprint
from pomona.storage import TEMPORARIES, LocalFolder

NEEDED = ("PIL", "cv2", "numpy", "pyarrow", "simplejpeg", "threadpoolctl")


@dataclass(frozen=True)
class Reach:
    """What a worker must find: this pomona, a file with this nonce, an image as it is here."""

    version: str
    files: LocalFolder
    name: str
    nonce: bytes
    image: Path | None
    fingerprint: str | None
    modules: tuple[str, ...]


def check(
    engine: Engine, files: LocalFolder, image: Path | None, runtime: str | None = None
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
    state = None if image is None else _fingerprint(image)
    modules = (*NEEDED, *([runtime] if runtime else []))
    reach = Reach(__version__, files.absolute(), name, nonce.encode(), image, state, modules)
    files.write(reach.name, reach.nonce)
    try:
        for _, problem in engine.map(look, range(engine.workers), reach):
            if problem is not None:
                raise EngineError(problem.message if isinstance(problem, Failure) else problem)
    finally:
        files.delete(reach.name)


def look(worker: int, reach: Reach, attempt: int) -> str | None:
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
    if reach.image is not None and reach.fingerprint is not None:
        if not os.access(reach.image, os.R_OK):
            return f"{host} cannot read {reach.image}: put SOURCE on a disk that all nodes share"
        if _fingerprint(reach.image) != reach.fingerprint:
            return (
                f"{host} sees another size or time of {reach.image}: "
                "let all nodes see SOURCE in the same way"
            )
    return None


def _fingerprint(image: Path) -> str | None:
    """None where it is gone."""
    try:
        return fingerprint(image.stat())
    except OSError:
        return None
