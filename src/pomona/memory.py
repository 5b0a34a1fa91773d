"""Memory: what this process has taken, and how to take less."""

from __future__ import annotations

import sys
from pathlib import Path

from pomona.import_guard import block_import


def peak_memory_mb() -> float:
    """The most memory that this process has had resident, in MB (10⁶ bytes)."""
    try:
        status = Path("/proc/self/status").read_text()
        # Not getrusage's: that one starts with what the parent had when it made this process.
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def release_memory() -> None:
    """Gives freed memory back to the system, which Arrow's allocator keeps for later."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def forgo_pandas() -> None:
    """Spares this process half a second: pyarrow's first array imports pandas, if it is there.

    For pomona's own processes only: pyarrow takes no pandas data for arrays from then on.
    """
    import pyarrow as pa

    with block_import("pandas"):
        pa.array([])
