"""Before any work: do workers on other machines see what this machine sees?"""

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
    """An image of a source, as it was found."""

    source: Source
    path: str
    fingerprint: str | None

    def find_problem(self) -> str | None:
        """Says why it cannot be seen from here as it was found, with the remedy."""
        return self.source.find_problem(self.path, self.fingerprint)


@dataclass(frozen=True)
class Probe:
    """The payload of `probe_worker`: this version, a file with this nonce, an image, modules."""

    version: str
    files: Folder
    name: str
    nonce: bytes
    image: Image | None
    modules: tuple[str, ...]


def check(
    engine: Engine, files: Folder, image: Image | None = None, runtime: str | None = None
) -> None:
    """Asks the engine's workers, if they may run on other machines.

    Writes a file under the store's temporary folder, and removes it.

    Parameters
    ----------
    engine : Engine
        Whose workers are asked.
    files : Folder
        Where the store is.
    image : Image, optional
        One of the images that they are to read.
    runtime : str, optional
        The package that they are to run the network with.

    Raises
    ------
    EngineError
        If a worker lacks or cannot see something.
    StoreWriteError
        If the store cannot be written.
    """
    if not engine.remote:
        return
    nonce = uuid.uuid4().hex
    name = f"{TEMPORARIES}/{nonce}"
    if image is not None and image.find_problem() is not None:
        image = None  # changed or gone since it was found: its row will say so
    modules = (*NEEDED, *([runtime] if runtime else []))
    probe = Probe(__version__, files.absolute(), name, nonce.encode(), image, modules)
    files.write(probe.name, probe.nonce)
    try:
        for _, problem in engine.map(probe_worker, range(engine.workers), probe):
            if problem is not None:
                raise EngineError(problem.message if isinstance(problem, Failure) else problem)
    finally:
        files.delete(probe.name)


def probe_worker(worker: int, probe: Probe, attempt: int) -> str | None:
    """Says what is missing where this runs, with the remedy, or returns None."""
    host = socket.gethostname()
    if __version__ != probe.version:
        return (
            f"{host} has pomona {__version__}, this is {probe.version}: install the same everywhere"
        )
    missing = [name for name in probe.modules if find_spec(name) is None]
    if missing:
        return f"{host} has pomona, but no {', '.join(missing)}: install its dependencies there"
    try:
        found = probe.files.read(probe.name)
    except OSError:
        found = b""
    if found != probe.nonce:
        return f"{host} does not see {probe.files}: put OUT on a disk that all nodes share"
    problem = probe.image and probe.image.find_problem()
    return f"{host} {problem}" if problem else None
