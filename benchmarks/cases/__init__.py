"""The cases: each measures in rounds, what is compared in turn, and tells ratios within a round."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from benchmarks.measuring import Measure, Setting

# By name: what the table calls it.
CASES = {
    "speed": "Extraction, the default backbone",
    "worker": "A worker's own tasks, some seconds of them and of the bare network in turn",
    "original": "Extraction, MobileNetV2, beside the way that pomona replaces",
    "fixed": "What a run costs beyond its images",
    "growth": "More images, with squares of 128 pixels",
    "predict": "Predictions, kept in a store",
    "pca": "PCA, 50 components",
    "planning": "Planning",
    "comparison": "The report's comparison of images, rows of 100 components",
    "classifier": "A classifier of 100 labels, of a million rows of 100 components",
    "search": "Search, clustered rows of 100 components, 10 nearest of one query",
}


def case(name: str) -> Callable[[Setting], list[Measure]]:
    """Its `measure`: raises MissingError where something that it needs is missing."""
    measure: Callable[[Setting], list[Measure]]
    measure = import_module(f"benchmarks.cases.{name}").measure
    return measure
