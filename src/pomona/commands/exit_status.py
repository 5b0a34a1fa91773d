"""The exit statuses of the command line."""

from __future__ import annotations

DONE = 0
FAILED = 1
WRONG_USAGE = 2
OVER_ERROR_RATE = 3
DRIFTED = 4
INTERRUPTED = 130  # by Ctrl-C: 128 and the number of SIGINT
TERMINATED = 143  # 128 and the number of SIGTERM


def of_stop(exc: KeyboardInterrupt) -> int:
    """Returns the exit status after a stop.

    Parameters
    ----------
    exc : KeyboardInterrupt
        Its argument is the status; without one it was Ctrl-C.
    """
    return exc.args[0] if exc.args else INTERRUPTED
