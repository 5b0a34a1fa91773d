"""The memory of an executor beside its JVM's heap."""

from __future__ import annotations

# The most that a Python worker takes, and what a JVM takes beside its heap: docs/how-to/spark.md
WORKER_MB, JVM_MB = 1024, 384


def overhead_mb(slots: int) -> int:
    """Returns what an executor needs beside its heap, in MB.

    Parameters
    ----------
    slots : int
        How many tasks it runs at a time.
    """
    return JVM_MB + max(1, slots) * WORKER_MB
