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
from pomona.schemas import decode_path
from pomona.storage import TEMPORARIES, LocalFolder

NEEDED = ("PIL", "cv2", "numpy", "onnxruntime", "pyarrow", "threadpoolctl")


@dataclass(frozen=True)
class Reach:
    """What a worker must find: this pomona, a file with this nonce, one of the images."""

    version: str
    store_root: str
    name: str
    nonce: bytes
    source: str | None
    image: str | None


def check(engine: Engine, files: LocalFolder, source: str | None, image: str | None) -> None:
    """Asks the engine's workers, if they may be elsewhere. image: a path of source.

    Writes a file under the store's temporaries and removes it. Raises EngineError with what they
    do not see, StoreWriteError.
    """
    if not engine.remote:
        return
    nonce = uuid.uuid4().hex
    reach = Reach(
        __version__, files.address, f"{TEMPORARIES}/{nonce}", nonce.encode(), source, image
    )
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
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return f"{host} has pomona, but no {', '.join(missing)}: install its dependencies there"
    try:
        found = LocalFolder(reach.store_root).read(reach.name)
    except OSError:
        found = b""
    if found != reach.nonce:
        return f"{host} does not see {reach.store_root}: put OUT on a disk that all nodes share"
    if reach.source is not None and reach.image is not None:
        path = Path(reach.source, decode_path(reach.image))
        if not os.access(path, os.R_OK):
            return f"{host} cannot read {path}: put SOURCE on a disk that all nodes share"
    return None
