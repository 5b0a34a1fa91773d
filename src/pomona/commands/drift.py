"""The command that says whether new images are like the known ones: drift."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from pomona.commands import exit_status
from pomona.commands.options.buckets import ReadBucketOptions
from pomona.commands.options.places import StoreFolder
from pomona.commands.output import OutputOptions
from pomona.commands.running import open_in_browser
from pomona.progress import count
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.operations.drift import Drift, Far

LABELS_SHOWN, FARTHEST_SHOWN = 5, 5
# A batch of fewer independent images shows great changes only (docs/drift.md).
FEW = 100


@dataclass(frozen=True)
class DriftOptions:
    """Which images are new, and what counts as a change."""

    panel: ClassVar[str] = "Comparison"
    since: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Images added after this run are new, earlier ones known: its id in pomona.json, "
            "or how the id begins, such as 20260501T. (default: after the PCA was fitted)",
        ),
    ] = None
    against: Annotated[
        Any,
        typer.Option(
            parser=place,
            metavar="OTHER",
            help="The images of this store, such as one that `pomona predict` made, are new; those "
            "of STORE are known.",
        ),
    ] = None
    level: Annotated[
        float,
        typer.Option(
            metavar="P",
            help="Significance level, the chance of a false alarm: the exit status is 4 if the "
            "p-value of the difference is at most P.",
        ),
    ] = 0.01
    max_unlike: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="The exit status is also 4 if more than this share of the new images is unlike "
            "any known image.",
        ),
    ] = 0.5


def drift(
    store: StoreFolder,
    buckets: ReadBucketOptions,
    output: OutputOptions,
    compared: DriftOptions,
    page: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="FILE",
            help="Also write the result as an HTML page, with pictures of the new images that are "
            "farthest from the known ones.",
        ),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page of --page in the browser.")
    ] = False,
) -> None:
    r"""Tell whether new images are like those that a store's PCA and classifier know.

    Reads the store and writes nothing to it. Compares the components of new and known images,
    counts the new images that are unlike any known one, and compares the predictions of the store's
    classifier. The exit status is 4 if there is drift (see --level and --max-unlike). Needs SciPy;
    in a clone: pip install ".\[learn]".
    """
    from pomona.errors import UsageError
    from pomona.memory import forgo_pandas
    from pomona.operations.drift import measure_drift

    if open_page and page is None:
        raise UsageError("`open` opens the page that `page` writes: give `page` too")
    forgo_pandas()
    found, new = measure_drift(store, **dataclasses.asdict(compared), access=buckets.access())
    if page is not None:
        from pomona.operations import drift_page
        from pomona.pipeline.here import map_here

        with map_here() as run_here:
            drift_page.write(found, new, page, run_here)
    output.result(found.to_dict(), "\n".join(_in_words(found)))
    if open_page:
        open_in_browser(str(page), output.progress())
    if found.has_drifted:
        raise typer.Exit(exit_status.DRIFTED)


def _in_words(found: Drift) -> list[str]:
    lines = [
        f"{_of(found.images, found.new_in_all, 'new image')} {found.what}, beside "
        f"{_of(found.known, found.known_in_all, 'known one')}",
        f"  variance  {found.variance_explained:.1%} explained; {found.variance_before:.1%} of the "
        "images that the PCA was fitted on",
        f"  unlike    {found.unlike.number:,} of {count(found.unlike.of, 'image')} "
        f"({found.unlike.value:.1%}); {found.unlike.before:.0%} is usual",
    ]
    if found.unsure:
        before = found.unsure.before
        beside = "" if before is None else f"; {before:.1%} of the held-out images"
        lines.append(f"  unsure    {found.unsure.value:.1%} of the predictions{beside}")
    if found.labels:
        lines.append(f"  labels    {', '.join(_shares(found))}")
    if found.accuracy:
        lines.append(f"  accuracy  {_accuracy(found)}")
    lines += [f"  farthest  {_far(each)}" for each in found.farthest[:FARTHEST_SHOWN]]
    return [*lines, _verdict(found)]


def _of(number: int, total: int, noun: str) -> str:
    return count(number, noun) + (f" of {total:,}" if total > number else "")


def _shares(found: Drift) -> list[str]:
    """The labels whose shares differ most."""
    return [
        f"{name} {share:.1%} (known: {before:.1%})"
        for name, (share, before) in list(found.labels.items())[:LABELS_SHOWN]
    ]


def _accuracy(found: Drift) -> str:
    told = found.accuracy
    assert told is not None  # noqa: S101 - it was asked for
    before = "" if told.before is None else f"; {told.before:.1%} of the held-out images"
    return (
        f"{told.right:,} of {count(told.images, 'image')} with feedback right (95 % interval "
        f"{told.low:.1%} to {told.high:.1%}){before}"
    )


def _far(image: Far) -> str:
    label = f" ({image.label})" if image.label else ""
    return f"{image.distance:.2f}  {image.path}{label}"


def _verdict(found: Drift) -> str:
    """The answer in a sentence or two."""
    if found.p is None:
        chance = "each new image is a near-duplicate of a known one"
    else:
        chance = f"p = {found.p:.3f}, level {found.level:g}"
    if found.differs:
        return f"Drift: the new images differ from the known ones ({chance})"
    if found.has_drifted:
        return (
            f"Drift: more than {found.max_unlike:.0%} of the new images are unlike any known one "
            f"({chance})"
        )
    few = "; so few images show a great change only" if 0 < found.independent < FEW else ""
    return f"No drift: the difference may be chance ({chance}){few}"
