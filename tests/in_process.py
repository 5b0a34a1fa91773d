"""The command `pomona` in the tests' own process, for what needs no process of its own."""

from __future__ import annotations

import io
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from conftest import Ended
from pomona.commands.main import main


def run_in_process(*args: object, columns: int = 80) -> Ended:
    """Runs `pomona` with these arguments, on a terminal so many columns wide.

    Not for commands that work on a store: they change the process that they run in.
    """
    terminate = signal.getsignal(signal.SIGTERM)
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pomona", *map(str, args)])
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")  # main sets it: undone with the rest
        try:
            with (
                redirect_stdout(stdout),
                redirect_stderr(stderr),
                pytest.raises(SystemExit) as exited,
            ):
                main()
        finally:
            signal.signal(signal.SIGTERM, terminate)
    return Ended(int(exited.value.code or 0), stdout.getvalue(), stderr.getvalue())
