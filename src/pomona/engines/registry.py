"""The engines by name."""

from __future__ import annotations

from collections.abc import Mapping

from pomona.engines.base import Engine, usable_cores
from pomona.errors import EngineError, UsageError

NAMES = ("local", "spark")


def open_engine(
    name: str,
    workers: int | None = None,
    *,
    master: str | None = None,
    conf: Mapping[str, str] | None = None,
) -> Engine:
    """The engine of this name with so many workers (default: one a core that may be used).

    master, conf: for "spark" alone, the cluster's address and further settings of Spark.
    Raises UsageError, or EngineError where pyspark is missing.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: at least 1 is needed")
    if name not in NAMES:
        raise UsageError(f"unknown engine {name!r}: there is {', '.join(NAMES)}")
    if name == "spark":
        try:
            from pomona.engines.spark.engine import SparkEngine
        except ModuleNotFoundError as exc:
            if (exc.name or "").partition(".")[0] not in ("pyspark", "py4j"):
                raise
            raise EngineError('pyspark is not installed: pip install "pomona[spark]"') from exc
        return SparkEngine(master, workers, conf)
    if master is not None or conf:
        raise UsageError("--master and --spark-conf are Spark's: add --engine spark")
    from pomona.engines.local import LocalEngine

    return LocalEngine(workers or usable_cores())
