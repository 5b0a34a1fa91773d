"""A process that ends with the one that started it, and takes all of its descendants along.

    python bound_process.py COMMAND [ARGUMENT]...

runs a command until it ends, or until standard input does: the caller, who holds its other end, has
closed it or died. Then every descendant is killed, those too that have made a session of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import IO

import psutil

PR_SET_CHILD_SUBREAPER = 36
PATIENCE_S = 20.0


class BoundProcess:
    """A command that ends, with all that it has started, with this process at the latest.

    Parameters
    ----------
    command : list of str
        What to run.
    folder : Path
        Where it runs, and where `NAME.out` and `NAME.err` get what it prints.
    name : str
        The name of these files.
    env : dict
        Its environment.
    """

    def __init__(self, command: list[str], folder: Path, name: str, env: dict[str, str]) -> None:
        self.stdout, self.stderr = folder / f"{name}.out", folder / f"{name}.err"
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=env,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The command's exit status; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        """The command's exit status, once it has ended by itself."""
        return self._process.wait(timeout_s)

    def end(self) -> None:
        """Kills the command and its descendants, and returns when they are gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(PATIENCE_S)


def _run(command: list[str], leash: IO[bytes]) -> int:
    """Runs a command while nobody lets go of the leash."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become the parent of orphans")
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    with selectors.DefaultSelector() as selector:
        ended = os.pidfd_open(child.pid)
        for watched in (leash.fileno(), ended):
            selector.register(watched, selectors.EVENT_READ)
        selector.select()
    status = child.poll()
    _kill_descendants()
    return 1 if status is None else status if status >= 0 else 128 - status


def _kill_descendants() -> None:
    """Kills until there is nothing left: what is orphaned becomes a child of this process."""
    this = psutil.Process()
    while left := this.children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(this.children(), timeout=1)


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:], sys.stdin.buffer))
