"""The fit of a logistic regression to the features of a STORE, by an ENGINE."""

from __future__ import annotations

import atexit
import resource
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.measuring import WORKERS
from benchmarks.ways import serve
from pomona.engines.registry import open_engine
from pomona.learning.fitting import find_fit
from pomona.learning.lesson import prepare as prepare_lesson
from pomona.learning.models.registry import MODELS
from pomona.learning.settings import TrainSettings
from pomona.progress import Progress
from pomona.store.store import Store

SETTINGS = {"scaling": "plain", "C": 0.005}


def prepare() -> Callable[..., dict[str, Any]]:
    store, name = Store(sys.argv[1]), sys.argv[2]
    lesson = prepare_lesson(store, TrainSettings(on="features", groups="none"), Progress())
    if name == "spark":
        conf = {"spark.driver.memory": "3g", "spark.ui.enabled": "false"}
        engine = open_engine(name, None, master=f"local[{WORKERS}]", conf=conf)
    else:
        engine = open_engine(name, WORKERS)
    stack = ExitStack()
    atexit.register(stack.close)
    stack.enter_context(engine)
    fit = find_fit(store, lesson, MODELS["logistic"], SETTINGS, engine)

    def measure(step: int) -> dict[str, Any]:
        """Fits to every row of so many."""
        start = time.perf_counter()
        fitted = fit(np.arange(0, len(lesson.training), step))
        seconds = time.perf_counter() - start
        right = fitted.logits(lesson.test.x).argmax(axis=1) == lesson.test.y
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        return {"fit": seconds, "accuracy": float(right.mean()), "peak_gb": peak}

    if name == "spark":
        measure(20)  # the second time the JVM is warm
    return measure


if __name__ == "__main__":
    serve(prepare)
