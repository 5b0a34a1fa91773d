"""The Spark engine: the tasks that `local` runs, on the executors of a Spark application.

Each item is a task of Spark's. The payload is broadcast, once to an executor; the results, which
are small, come back through an accumulator as the tasks end. Spark reschedules the items of a lost
worker or executor; the number of the attempt tells the next one to be careful.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pyspark import InheritableThread, SparkContext

from pomona.engines.base import MAX_ATTEMPTS, Failure, Task
from pomona.engines.spark import application
from pomona.engines.spark.executor import Outcome, Partition, Streamed
from pomona.errors import EngineError

logger = logging.getLogger(__name__)

PATIENCE_S = 30.0

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Transfer:
    """The sending of a map's payload to the workers. size: bytes, once."""

    size: int
    tasks: int
    loads: int = 0
    workers: set[str] = field(default_factory=set)
    executors: set[str] = field(default_factory=set)

    def count(self, outcome: Outcome) -> None:
        """Counts where a task ran."""
        self.loads += outcome.loaded
        self.workers.add(outcome.worker)
        self.executors.add(outcome.executor)

    @property
    def facts(self) -> dict[str, int]:
        return {
            "bytes": self.size * len(self.executors),
            "executors": len(self.executors),
            "workers": len(self.workers),
            "loads": self.loads,
            "bytes_with_every_task": self.size * self.tasks,
        }


class SparkEngine:
    """The Spark application that is active, which is left as it is, or else one of its own.

    Parameters
    ----------
    master : str, optional
        Its address. None: what spark-submit or Spark's settings say, else this machine.
    workers : int, optional
        How many tasks at a time; on this machine only.
    conf : mapping of str to str, optional
        Settings of Spark.

    Raises
    ------
    UsageError, EngineError
        For what cannot work.
    """

    name = "spark"
    runs_here = False
    # An array of the JVM holds no more; nor does an ONNX file.
    max_payload_bytes: int | None = 2**31 - 1
    peak_memory_mb = 0.0

    def __init__(
        self,
        master: str | None = None,
        workers: int | None = None,
        conf: Mapping[str, str] | None = None,
    ) -> None:
        application.check(master, workers)
        self._settings = master, workers, conf or {}
        self._own: SparkContext | None = None
        self._retries = 0
        self._transfers: dict[str, Transfer] = {}

    def start(self, modules: Sequence[str]) -> None:
        """Nothing: executors import what their first task needs."""

    def __enter__(self) -> SparkEngine:
        if application.active() is None:
            self._own = application.start(*self._settings)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._own is not None:
            self._own.stop()
            self._own = None

    @property
    def _context(self) -> SparkContext:
        context = application.active()
        if context is None:
            raise EngineError("the Spark application has ended: run the same command again")
        return context

    @property
    def threads(self) -> int:
        return int(self._context.getConf().get("spark.task.cpus", "1") or 1)

    @property
    def workers(self) -> int:
        return max(1, self._context.defaultParallelism // self.threads)

    @property
    def remote(self) -> bool:
        return not application.is_local(self._context.master or "")

    @property
    def notice(self) -> str:
        context = self._context
        page = f", its page is {context.uiWebUrl}" if context.uiWebUrl else ""
        return f"Spark {context.version} on {context.master}{page}"

    @property
    def facts(self) -> dict[str, Any]:
        context = self._context
        return {
            "retries": self._retries,
            "spark": {"version": context.version, "master": context.master},
            "broadcasts": {name: sent.facts for name, sent in self._transfers.items()},
        }

    def map(
        self, task: Task[Item, Result], items: Iterable[Item], payload: object
    ) -> Iterator[tuple[Item, Result | Failure]]:
        """Yields each item with its result as they complete.

        Leaving the iteration early cancels what is left.

        Raises
        ------
        EngineError
            If Spark gives up.
        """
        given = list(items)
        if not given:
            return
        pickled = pickle.dumps((task, payload), protocol=5)
        transfer = self._transfers[task.__name__] = Transfer(len(pickled), len(given))
        missing = set(range(len(given)))
        for outcome in self._outcomes(pickled, given):
            missing.discard(outcome.index)
            self._retries += outcome.attempt - 1
            transfer.count(outcome)
            yield given[outcome.index], self._result(outcome)
        if missing:
            raise EngineError(
                f"{len(missing):,} tasks returned nothing: run the same command again"
            )

    def _result(self, outcome: Outcome) -> Any:
        reply = outcome.reply
        if reply is None:
            return Failure(f"its worker died {MAX_ATTEMPTS} times")
        self.peak_memory_mb = max(self.peak_memory_mb, reply.peak_memory_mb)
        return Failure(str(reply.error), reply.error) if reply.error else reply.result

    def _next(self, arrived: SimpleQueue[Any], group: str) -> Any:
        """Returns what arrives next; while nothing does, warns if no executor takes a task."""
        while True:
            try:
                return arrived.get(timeout=PATIENCE_S)
            except Empty:
                context = self._context
                tracker = context.statusTracker()
                jobs = filter(None, map(tracker.getJobInfo, tracker.getJobIdsForGroup(group)))
                stages = [tracker.getStageInfo(stage) for job in jobs for stage in job.stageIds]
                if not any(stage and stage.numActiveTasks for stage in stages):
                    logger.warning(
                        "no executor takes a task: has the cluster free cores, and memory for "
                        "spark.executor.memory and memoryOverhead? See %s",
                        context.uiWebUrl or context.master,
                    )

    def _outcomes(self, pickled: bytes, items: list[Any]) -> Iterator[Outcome]:
        """Runs one job, with a task for each item, and yields each outcome when its task ends."""
        context, group = self._context, uuid.uuid4().hex
        arrived: SimpleQueue[Outcome | BaseException | None] = SimpleQueue()
        payload = context.broadcast(pickled)
        outcomes = context.accumulator([], Streamed(arrived))
        partition = Partition(payload, hashlib.sha256(pickled).hexdigest(), outcomes)

        def run() -> None:
            try:
                context.setJobGroup(group, "pomona")
                tasks = context.parallelize(enumerate(items), len(items))
                tasks.mapPartitions(partition)._jrdd.count()  # the JVM counts: nothing is collected
                arrived.put(None)
            except BaseException as exc:
                arrived.put(exc)

        job = InheritableThread(target=run, daemon=True)
        job.start()
        ended = False
        try:
            while (outcome := self._next(arrived, group)) is not None:
                if isinstance(outcome, BaseException):
                    raise EngineError(application.in_one_line(outcome)) from outcome
                yield outcome
            ended = True
        finally:
            if not ended and job.is_alive():
                context.cancelJobGroup(group)
            job.join()
            payload.destroy()
