"""The script that a cluster runs as its driver: `pomona run` in the Spark application at hand.

    job.py SOURCE OUT [OPTION]...

All that it prints goes to standard output, of which clusters keep a file of its own. The last line
tells pomona's exit status, for a cluster says no more than that a job has failed.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile

STATUS = "exit status"


def main() -> None:
    """Runs pomona, and ends with its exit status."""
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    sys.argv[1:] = ["run", *sys.argv[1:], "--engine", "spark"]
    status: object = 1
    with tempfile.TemporaryDirectory() as folder:
        # The user that jobs run as has no folder of its own.
        os.environ.setdefault("POMONA_CACHE", folder)
        try:
            runpy.run_module("pomona", run_name="__main__")
        except SystemExit as exc:
            status = exc.code or 0
    print(f"{STATUS} {status}", flush=True)
    sys.exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    main()
