"""Runs pytest in forks of a process that has imported already what takes the tests long to import.

It reads a request a line from stdin, the arguments of `run` as JSON, and answers with the status.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

# Nothing of pomona, whose modules differ from fork to fork, and no plugin of pytest.
PRELOADED = (
    "cv2",
    "duckdb",
    "numpy",
    "onnxruntime",
    "pandas",
    "PIL.Image",
    "polars",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "sklearn.decomposition",
)


def run(args: list[str], output: str, limit_s: float | None) -> int | None:
    """Runs pytest, its output into a file; returns its status, None where it is not in time."""
    pid = os.fork()
    if pid == 0:
        status = int(pytest.ExitCode.INTERNAL_ERROR)
        os.setsid()  # what kills its own group kills no more
        try:
            with Path(output).open("wb") as file, Path(os.devnull).open("rb") as nothing:
                os.dup2(nothing.fileno(), 0)
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            status = int(pytest.main(args))
            sys.stdout.flush()
        finally:
            os._exit(status)
    began = time.monotonic()
    while limit_s is None or time.monotonic() - began < limit_s:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def main() -> None:
    """Answers requests until stdin ends."""
    sys.path[0] = str(Path.cwd())
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
