"""Commands that make labels: train, evaluate, predict, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.options.buckets import BucketOptions
from pomona.commands.options.engine import EngineOptions
from pomona.commands.options.learning import Labels, LearningOptions
from pomona.commands.options.places import StoreFolder
from pomona.commands.output import OutputOptions
from pomona.commands.running import open_in_browser, run_settings
from pomona.progress import count
from pomona.store.layout import EVALUATION_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

OpenPage = Annotated[
    bool, typer.Option("--open", help="Open the page of all figures in the browser.")
]


def train(
    store: StoreFolder,
    learning: LearningOptions,
    buckets: BucketOptions,
    output: OutputOptions,
    open_page: OpenPage = False,
) -> None:
    r"""Train a classifier on the labelled images of a store, and measure it on its test images.

    It is stored in classifier/, with a page of its figures and a list of probable mislabels.
    Without a test split, pomona draws a fifth of the images. Needs pip install "pomona\[learn]".
    """
    from pomona.learning import train as training

    with _settings(buckets, output) as settings:
        facts = training.train(store, learning.settings(), settings)
        _show(store, facts, output)
        if open_page:
            open_in_browser(_page(store), settings.progress)


def evaluate(
    store: StoreFolder,
    buckets: BucketOptions,
    output: OutputOptions,
    labels: Labels = None,
    open_page: OpenPage = False,
) -> None:
    r"""Measure the classifier of a store again, and rewrite its page.

    Do so after labels were corrected. Needs pip install "pomona\[learn]".
    """
    from pomona.learning import evaluate as evaluating

    with _settings(buckets, output) as settings:
        facts = evaluating.evaluate(store, labels, settings)
        _show(store, facts, output)
        if open_page:
            open_in_browser(_page(store), settings.progress)


def _settings(buckets: BucketOptions, output: OutputOptions) -> Any:
    """The settings of a command whose only tasks are pictures."""
    return run_settings(output, buckets.access(), EngineOptions(workers=1).open())


def _page(store: str | Path) -> str:
    return f"{store}/{EVALUATION_PAGE}"


def _show(store: str | Path, facts: Mapping[str, Any], output: OutputOptions) -> None:
    """Prints what was compared and measured."""
    figures, rows = facts["figures"], facts["rows"]
    accuracy = figures["accuracy"]
    lines = [
        *_compared(facts),
        f"{facts['model']} of {count(len(facts['labels']), 'label')}, "
        f"from {count(rows['training'], 'image')}",
        f"  accuracy  {accuracy['value']:.2%} of {count(rows['test'], 'test image')}"
        + _interval(accuracy),
        f"  macro-F1  {figures['macro_f1']['value']:.2%}",
    ]
    if rows["copied"]:
        lines.append(
            f"  leak      {count(rows['copied'], 'test image')} left out: the same bytes are among "
            f"the training images, {figures['copied_from_other_labels']:,} of them under another "
            f"label; with them the accuracy is {figures['accuracy_with_copies']:.2%}"
        )
    lines.append(f"  suspects  {count(figures['suspects'], 'label')} more likely wrong than right")
    lines.append(f"  page      {_page(store)}")
    output.result(dict(facts), "\n".join(lines))


def _interval(figure: Mapping[str, Any]) -> str:
    if figure["low"] is None:
        return ""
    return f" (95 % interval {figure['low']:.2%} to {figure['high']:.2%})"


def _compared(facts: Mapping[str, Any]) -> list[str]:
    """A line for each candidate, as a table: the cross-validated accuracy, and the chosen one."""
    lines = ["cross-validation inside the training images:"]
    for each in facts["comparison"]:
        settings = ", ".join(f"{name} {value}" for name, value in each["settings"].items())
        mark = "*" if each["is_chosen"] else " "
        score = f"{each['accuracy']:.2%} ± {each['error']:.2%}"
        random = each["random_accuracy"]
        beside = f"   (random folds: {random:.2%})" if random is not None else ""
        lines.append(f" {mark} {each['model']:<28}{settings:<28}{score}{beside}")
    return lines
