"""Commands that make labels: train, evaluate, predict, export."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.completion import one_of
from pomona.commands.models import in_versus
from pomona.commands.options.buckets import BucketOptions, ReadBucketOptions
from pomona.commands.options.engine import ClusterOptions, EngineOptions
from pomona.commands.options.images import ImageOptions
from pomona.commands.options.learning import LabelsAgain, LearningOptions, Top, Unsure
from pomona.commands.options.places import StoreFolder
from pomona.commands.output import MeasuredOutputOptions, OutputOptions
from pomona.commands.running import (
    TASK_MODULES,
    finish,
    open_in_browser,
    run_settings,
    start_engine,
)
from pomona.errors import UsageError
from pomona.learning.settings import ALWAYS, AUTO, NEVER, TrainSettings
from pomona.progress import count
from pomona.store.folders.registry import place
from pomona.store.kept import file_name
from pomona.store.layout import EVALUATION_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from pomona.learning.ask import Prediction
    from pomona.learning.predict import Tally
    from pomona.pipeline.context import RunSettings

OpenPage = Annotated[
    bool, typer.Option("--open", help="Open classifier/evaluation.html in the browser.")
]


def train(
    store: StoreFolder,
    learning: LearningOptions,
    where: ClusterOptions,
    buckets: BucketOptions,
    output: MeasuredOutputOptions,
    feedback: Annotated[
        bool,
        typer.Option(
            "--feedback",
            help="Also learn the labels that users of `pomona serve` confirmed or corrected, but "
            "not those of the test images. Corrections that contradict each other, or the labels "
            "of most similar images, are reported but not learned.",
        ),
    ] = False,
    promote: Annotated[
        str,
        typer.Option(
            metavar="WHEN",
            help="When the new classifier takes the place of the one in use: never, auto (if it is "
            "not worse on the same test images) or always. What is not in use is kept: see "
            "`pomona models`.",
            autocompletion=one_of((NEVER, AUTO, ALWAYS)),
        ),
    ] = TrainSettings.promote,
    open_page: OpenPage = False,
) -> None:
    r"""Train a classifier on a store's labelled images, and evaluate it on those of the test split.

    All other splits, validation included, are used for training. If there is no test split (test,
    testing, hold-out or evaluation), about a fifth of the images is chosen at random for the test.
    Writes the classifier, evaluation.html and suspects.csv (images that are probably mislabelled)
    to classifier/. A classifier that was in use before is kept in models/; with --promote auto or
    never, the new one may be kept there instead. Needs scikit-learn; in a clone: pip install
    ".\[learn]". The model xgboost needs ".\[xgboost]".
    """
    from pomona.learning import train as training

    with run_settings(output, buckets.access(), where.open(), store=store) as settings:
        learned = dataclasses.replace(
            learning.settings(),
            corrections=_read_feedback(store, settings) if feedback else None,
            promote=promote,
        )
        facts = training.train(store, learned, settings)
        _show(store, facts, output)
        if open_page:
            open_in_browser(_page(store, facts), settings.progress)


def _read_feedback(store: str | Path, settings: RunSettings) -> pa.Table:
    """What users last said of each prediction, where they gave a label."""
    from pomona.feedback.journal import Journal
    from pomona.feedback.labels import read_statements
    from pomona.store.store import Store

    return read_statements(Journal(Store(store, settings.access)))


def evaluate(
    store: StoreFolder,
    buckets: BucketOptions,
    output: OutputOptions,
    labels: LabelsAgain = None,
    open_page: OpenPage = False,
) -> None:
    r"""Evaluate a store's classifier again, without changing it, and rewrite evaluation.html.

    Use this after correcting labels. The model is cross-validated again, which can take as long as
    training. Needs scikit-learn; in a clone: pip install ".\[learn]".
    """
    from pomona.learning import evaluate as evaluating

    with run_settings(output, buckets.access(), ClusterOptions().open()) as settings:
        facts = evaluating.evaluate(store, labels, settings)
        _show(store, facts, output)
        if open_page:
            open_in_browser(_page(store, facts), settings.progress)


def predict(
    store: StoreFolder,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES",
            help="Image files; or one folder, pack or s3:// address of images, optionally followed "
            "by OUT, where the predictions are kept: a folder or s3:// address that is new, empty, "
            "or a store of predictions.",
        ),
    ],
    taken: ImageOptions,
    where: EngineOptions,
    buckets: BucketOptions,
    output: MeasuredOutputOptions,
    top: Top = 5,
    unsure: Unsure = 0.9,
) -> None:
    """Label images with a store's classifier.

    Prints the labels of the images. If IMAGES is one folder, pack or s3:// address, followed by
    OUT, it writes them to the table predictions/ of the store OUT instead, one row per image. Run
    the same command again to continue after a stop, or to label new images. --limit,
    --retry-errors, --sync, --max-error-rate, --yes and --metrics-file need OUT.
    """
    with start_engine(where, (*TASK_MODULES, "pomona.learning.predictions")) as engine:
        from pomona.learning import ask
        from pomona.learning import predict as predicting

    places = [place(each) for each in images]
    out = _find_out(places)
    extracting = taken.settings(places[0])
    with run_settings(output, buckets.access(), engine, store=out) as settings:
        if out is None:
            _refuse_options_of_stores(taken, output)
            answers = ask.predict_images(
                *(store, places, settings),
                top=top,
                unsure=unsure,
                include=extracting.include,
                exclude=extracting.exclude,
                image_timeout=extracting.image_timeout,
                max_pixels=extracting.max_pixels,
                allow_damaged=extracting.allow_damaged,
            )
            content = {"predictions": [each.to_dict() for each in answers]}
            output.result(content, "\n".join(map(_in_words, answers)))
            return
        if len(places) != 2:
            raise UsageError("give one folder, pack or address of images before OUT")
        summary, tally = predicting.predict_into(
            store, out, extracting, settings, top=top, unsure=unsure
        )
        finish(
            output,
            summary,
            taken.max_error_rate,
            more=dataclasses.asdict(tally),
            lines=_tallied(tally),
        )


def _refuse_options_of_stores(taken: ImageOptions, output: MeasuredOutputOptions) -> None:
    """Raises UsageError for an option that says something of a store only."""
    for name in ("limit", "retry_errors", "sync", "yes", "max_error_rate"):
        if getattr(taken, name) != getattr(ImageOptions, name):
            raise UsageError(f"`{name}` is for predictions that are kept: give OUT after IMAGES")
    if output.metrics_file is not None:
        raise UsageError("`metrics_file` is for predictions that are kept: give OUT after IMAGES")


def _find_out(places: list[str | Path]) -> str | Path | None:
    """The last of several places, if it is no image file: where predictions are kept."""
    last = places[-1]
    if len(places) < 2 or (isinstance(last, Path) and last.is_file()):
        return None
    if isinstance(last, Path) and not last.exists() and last.suffix:
        raise UsageError(f"{last} does not exist: check its name")
    return last


def _in_words(answer: Prediction) -> str:
    """A line for an image: its label, how probable it is, and the next ones."""
    if answer.error:
        detail = f": {answer.error['detail']}" if answer.error["detail"] else ""
        return f"{answer.path}: no label, {answer.error['reason']}{detail}"
    assert answer.probability is not None  # noqa: S101 - as it has no error
    others = ", ".join(f"{label} {share:.1%}" for label, share in answer.top[1:])
    mark = "?" if answer.unsure else ""
    return f"{answer.path}: {answer.label} {answer.probability:.1%}{mark}" + (
        f" ({others})" if others else ""
    )


def _tallied(tally: Tally) -> list[str]:
    labels = ", ".join(f"{name} {number:,}" for name, number in list(tally.labels.items())[:5])
    more = ", …" if len(tally.labels) > 5 else ""
    return [f"  labels    {labels}{more}", f"  unsure    {tally.unsure:,}"]


def export(
    store: StoreFolder,
    file: Annotated[
        Path,
        typer.Argument(
            readable=False, metavar="FILE", help="The file to write; its name ends in .onnx."
        ),
    ],
    buckets: ReadBucketOptions,
    output: OutputOptions,
) -> None:
    r"""Write network, PCA and classifier into one ONNX file: pixels in, labels out.

    It takes RGB images as uint8\[n, side, side, 3] and returns, for each, the index of the
    predicted label and the probability of every label; the file's metadata lists the labels and
    says how to make an image square. It runs wherever ONNX Runtime runs, without pomona: on
    servers, on phones and in browsers. Train the classifier first, with `pomona train`.
    """
    from pomona.learning import export as exporting

    written = exporting.export(store, file, buckets.access())
    output.result(
        written,
        f"{file}: {count(len(written['labels']), 'label')}, images of {written['input_size']} × "
        f"{written['input_size']} pixels\n  SHA-256  {written['sha256']}",
    )


def _page(store: str | Path, facts: Mapping[str, Any]) -> str:
    """Where the page of a classifier lies: that of a candidate is kept beside it."""
    is_kept = not facts.get("promotion", {"promoted": True})["promoted"]
    return f"{store}/{file_name(facts['id'], EVALUATION_PAGE) if is_kept else EVALUATION_PAGE}"


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
    lines.append(f"  page      {_page(store, facts)}")
    lines += _promoted(store, facts)
    output.result(dict(facts), "\n".join(lines))


def _promoted(store: str | Path, facts: Mapping[str, Any]) -> list[str]:
    """What has become of a candidate."""
    promotion = facts.get("promotion")
    if promotion is None:
        return []
    in_use, model = promotion["in_use"], facts["id"]
    told = f"{model} beside {in_use}, which was in use: {in_versus(promotion)}"
    if promotion["promoted"]:
        return [told, f"{model} is in use now; {in_use} is kept: `pomona models {store}`"]
    way_out = f"`pomona models {store} --promote {model}` puts it in use"
    return [told, f"{model} is a candidate, {in_use} stays in use; {way_out}"]


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
