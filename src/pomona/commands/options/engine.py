"""Where the work is done: on this machine, or by Spark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from pomona.commands.completion import one_of
from pomona.engines.registry import DEFAULT, ENGINES, open_engine
from pomona.errors import UsageError

if TYPE_CHECKING:
    from pomona.engines.base import Engine

Workers = Annotated[
    int | None,
    typer.Option(metavar="N", help="Number of worker processes. (default: one per processor core)"),
]


@dataclass(frozen=True)
class ClusterOptions:
    """Whether the work is done on this machine, by the command itself, or by Spark."""

    panel: ClassVar[str] = "Where the work is done"
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"Where to compute: {' or '.join(ENGINES)}; local is this machine.",
            autocompletion=one_of(ENGINES),
        ),
    ] = DEFAULT
    master: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="With --engine spark, the Spark master: local[N], spark://HOST:PORT, yarn or "
            "k8s://HOST:PORT. (default: from spark-submit, or this machine)",
        ),
    ] = None
    spark_conf: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="With --engine spark, a Spark configuration property, such as "
            "spark.executor.memory=4g; may be repeated.",
        ),
    ] = None

    def open(self) -> Engine:
        """Returns the engine; that of this machine has a worker for what little is not done here.

        Raises UsageError for options that no engine takes.
        """
        return self._open(1 if self.engine == DEFAULT else None)

    def _open(self, workers: int | None) -> Engine:
        conf = {}
        for setting in self.spark_conf or []:
            key, equals, value = setting.partition("=")
            if not equals or not key.startswith("spark."):
                raise UsageError(f"`spark_conf` {setting}: give spark.KEY=VALUE")
            conf[key] = value
        return open_engine(self.engine, workers, master=self.master, conf=conf)


@dataclass(frozen=True)
class EngineOptions(ClusterOptions):
    """Where the work is done."""

    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of worker processes. On a Spark cluster, leave this out: the cluster's "
            "settings decide. (default: one per processor core)",
        ),
    ] = None

    def open(self) -> Engine:
        """Returns the engine. Raises UsageError for options that no engine takes."""
        return self._open(self.workers)
