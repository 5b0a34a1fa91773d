"""The engines by name.

To add an engine, write a class with the methods of `base.Engine` and a function that opens one, and
give them an entry in `ENGINES`. The command line then offers it and completes its name, and
`pomona doctor` says how to install what it needs.

The command line imports this module when it starts, so an opener imports what it needs itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pomona.engines.base import Engine, usable_cores
from pomona.errors import EngineError, UsageError


@dataclass(frozen=True)
class EngineSettings:
    """The settings that a user gave for an engine.

    Parameters
    ----------
    workers : int, optional
        How many tasks run at a time. None: as many as there are cores.
    master : str, optional
        The address of the cluster that it uses.
    conf : mapping of str to str
        The cluster's own settings.
    """

    workers: int | None
    master: str | None
    conf: Mapping[str, str]


@dataclass(frozen=True)
class EngineEntry:
    """An engine that can be chosen.

    Parameters
    ----------
    open : callable
        Makes it; raises UsageError for settings that it does not take.
    package : str, optional
        What it needs beside pomona, as Python imports it and pip installs it.
    extra : str, optional
        The extra of pomona that installs the package.
    """

    open: Callable[[EngineSettings], Engine]
    package: str | None = None
    extra: str | None = None


def _open_local(settings: EngineSettings) -> Engine:
    from pomona.engines.local import LocalEngine

    if settings.master is not None or settings.conf:
        raise UsageError("`master` and `spark_conf` are Spark's: add `engine` spark")
    return LocalEngine(settings.workers or usable_cores())


def _open_spark(settings: EngineSettings) -> Engine:
    try:
        from pomona.engines.spark.engine import SparkEngine
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in ("pyspark", "py4j"):
            raise
        raise EngineError('pyspark is not installed: pip install "pomona[spark]"') from exc
    return SparkEngine(settings.master, settings.workers, settings.conf)


ENGINES: dict[str, EngineEntry] = {
    "local": EngineEntry(_open_local),
    "spark": EngineEntry(_open_spark, "pyspark", "spark"),
}
DEFAULT = "local"


def open_engine(
    name: str,
    workers: int | None = None,
    *,
    master: str | None = None,
    conf: Mapping[str, str] | None = None,
) -> Engine:
    """Makes an engine; nothing starts before it is entered.

    Parameters
    ----------
    name : str
        One of `ENGINES`.
    workers : int, optional
        How many tasks run at a time. None: one for each core that may be used.
    master : str, optional
        The address of the cluster; for "spark" alone.
    conf : mapping of str to str, optional
        Settings of Spark; for "spark" alone.

    Raises
    ------
    UsageError
        If there is no such engine, or it does not take these settings.
    EngineError
        If what it needs is missing.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"`workers` {workers}: at least 1 is needed")
    entry = ENGINES.get(name)
    if entry is None:
        raise UsageError(f"unknown engine {name!r}: choose {' or '.join(ENGINES)}")
    return entry.open(EngineSettings(workers, master, conf or {}))
