"""The command that shows what users say of predictions: feedback."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.options.buckets import BucketOptions
from pomona.commands.options.engine import ClusterOptions
from pomona.commands.options.places import StoreFolder
from pomona.commands.output import OutputOptions
from pomona.commands.running import run_settings
from pomona.progress import count

if TYPE_CHECKING:
    from pomona.feedback.labels import LabelsFile
    from pomona.feedback.tally import Tally

ENTRIES_SHOWN = 20
PAIRS_SHOWN = 10
Forget = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Forget the feedback on this prediction (its id is in --json), and remove the "
        "classifiers that learned from it. If one of them is in use, the one before takes its "
        "place.",
    ),
]


def feedback(
    store: StoreFolder,
    buckets: BucketOptions,
    output: OutputOptions,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="L", help="Show only feedback where L is the predicted or the right label."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Show only feedback given at or after this date or time (UTC), such as 2026-05-01 "
            "or 2026-05-01T10:00.",
        ),
    ] = None,
    labels_file: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="FILE",
            help="Also write the labels that users confirmed or corrected, for images that are in "
            "the store, as a CSV file for `pomona train --labels`. It has no rows if there is no "
            "feedback on images of the store.",
        ),
    ] = None,
    forget: Forget = None,
) -> None:
    """Show the feedback on predictions of `pomona serve`, and how often these were right.

    Users of `pomona serve` confirm or correct its predictions, and the labels of the store's images
    on its page `/collection`. If a prediction or an image has received feedback more than once,
    only the latest counts.
    """
    from pomona.feedback import tally as tallying
    from pomona.feedback.journal import Journal
    from pomona.feedback.labels import write_labels
    from pomona.memory import forgo_pandas
    from pomona.store.store import Store

    if forget is not None:
        _forget(store, forget, buckets, output)
        return
    forgo_pandas()
    earliest = None if since is None else tallying.parse_since(since)
    journal = Journal(Store(store, buckets.access()))
    entries = tallying.choose(journal.read(), label=label, since=earliest)
    counted = tallying.tally(entries)
    written = None if labels_file is None else write_labels(journal.store, entries, labels_file)
    rows = entries.to_pylist()
    content = {
        **dataclasses.asdict(counted),
        "share": counted.share,
        "labels_file": written and dataclasses.asdict(written),
        "feedback": [{**row, "time": row["time"].isoformat()} for row in rows],
    }
    output.result(content, "\n".join([*_shown(rows), *_counted(counted), *_written(written)]))


def _forget(
    store: StoreFolder, statement: str, buckets: BucketOptions, output: OutputOptions
) -> None:
    """Forgets what was said of a prediction, and says what went with it."""
    from pomona.feedback.retraction import retract

    with run_settings(output, buckets.access(), ClusterOptions().open()) as settings:
        found = retract(store, statement, settings)
        lines = [f"Forgot {count(found.entries, 'entry', 'entries')} of {statement}"]
        if found.models:
            lines.append(f"  removed, since it was learned: {', '.join(found.models)}")
            in_use = found.in_use or f"none; train one with `pomona train {store}`"
            lines.append(f"  classifier in use: {in_use}")
        if found.photographs:
            lines.append("  its photograph was kept outside the store: delete it there too")
        output.result(dataclasses.asdict(found), "\n".join(lines))


def _shown(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each of the last entries."""
    hidden = len(rows) - ENTRIES_SHOWN
    return [
        *([f"… {count(hidden, 'earlier entry', 'earlier entries')}: --json has all"][: hidden > 0]),
        *(
            f"{row['time']:%Y-%m-%d %H:%M}  {row['predicted']} {_given(row)}  "
            + ("right" if row["confirmed"] else f"wrong, {_named(row['label'])}")
            for row in rows[-ENTRIES_SHOWN:]
        ),
    ]


def _given(row: dict[str, Any]) -> str:
    """How probable a label was, or that it is the store's own."""
    from pomona.store.feedback import STORED

    return "in the store" if row["model"] == STORED else f"{row['probability']:.1%}"


def _named(label: str | None) -> str:
    return "no label given" if label is None else f"it is {label}"


def _counted(counted: Tally) -> list[str]:
    lines = []
    if counted.stored:
        right = f"{counted.stored_right:,} of {count(counted.stored, 'label')}"
        lines.append(f"{right} in the store right")
    if counted.share is None:
        return lines or ["No feedback"]
    lines.append(
        f"{counted.right:,} of {count(counted.entries, 'prediction')} right ({counted.share:.1%})"
    )
    for predicted, label, number in counted.mistaken[:PAIRS_SHOWN]:
        lines.append(f"  {number:>5,}  {predicted}, but {_named(label)}")
    more = len(counted.mistaken) - PAIRS_SHOWN
    return [*lines, *([f"  … {more:,} more kinds of mistake"][: more > 0])]


def _written(written: LabelsFile | None) -> list[str]:
    if written is None:
        return []
    lines = [
        f"{written.file}: {count(written.images, 'image')} of the store, "
        f"{written.changed:,} with another label than there"
    ]
    if written.conflicts:
        lines.append(
            f"  {count(written.conflicts, 'image')} with several right labels: the last one counts"
        )
    if written.not_in_store:
        lines.append(
            f"  left out: {count(written.not_in_store, 'entry', 'entries')} of images that the "
            "store does not have"
        )
    if written.without_label:
        lines.append(
            f"  left out: {count(written.without_label, 'entry', 'entries')} without a right label"
        )
    return lines
