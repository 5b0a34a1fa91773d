"""The command that shows and changes which classifier of a store is in use: models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.options.buckets import BucketOptions
from pomona.commands.options.engine import ClusterOptions
from pomona.commands.options.places import StoreFolder
from pomona.commands.output import OutputOptions
from pomona.commands.running import run_settings
from pomona.errors import UsageError
from pomona.progress import count

if TYPE_CHECKING:
    from pomona.learning.candidates import Entry


def models(
    store: StoreFolder,
    buckets: BucketOptions,
    output: OutputOptions,
    promote: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Put this classifier in use, and keep the one before."),
    ] = None,
    roll_back: Annotated[
        bool,
        typer.Option(
            "--roll-back",
            help="Put the classifier that the present one replaced back in use, and keep the "
            "present one.",
        ),
    ] = False,
    remove: Annotated[
        str | None, typer.Option(metavar="ID", help="Remove this classifier; not the one in use.")
    ] = None,
) -> None:
    r"""List a store's classifiers: the one in use, candidates, and those that were in use.

    Compares each with the one in use, on images that neither has learned from. A running `pomona
    serve --watch` loads the classifier that you put in use. Needs scikit-learn; in a clone: pip
    install ".\[learn]".
    """
    from pomona.learning import candidates

    if sum([promote is not None, roll_back, remove is not None]) > 1:
        raise UsageError("give `promote`, `roll_back` or `remove`, not several")
    with run_settings(output, buckets.access(), ClusterOptions().open()) as settings:
        if promote is not None:
            candidates.promote(store, promote, settings)
        elif roll_back:
            candidates.roll_back(store, settings)
        elif remove is not None:
            candidates.remove(store, remove, settings)
        found = candidates.list_models(store, settings)
        content = {"models": [each.to_dict() for each in found]}
        lines = [line for each in found for line in _in_words(each)]
        output.result(content, "\n".join(lines or [f"No classifier: run `pomona train {store}`"]))


def _in_words(entry: Entry) -> list[str]:
    told = entry.to_dict()
    rows, accuracy = told["rows"], told["accuracy"]
    settings = ", ".join(f"{name} {value}" for name, value in (told["settings"] or {}).items())
    lines = [
        f"{'*' if entry.is_in_use else ' '} {told['id']}  {told['model']}"
        + (f" ({settings})" if settings else "")
        + (f", accuracy {accuracy['value']:.2%}" if accuracy else "")
        + (", in use" if entry.is_in_use else "")
    ]
    learned = [count(rows["training"], "image")] if rows else []
    learned += [f"labels of {told['labels_from']}"] if told["labels_from"] else []
    lines.append(f"    learned from {', '.join(learned) or 'images'} of {told['labels']} labels")
    if told["feedback"] is not None:
        outcome = ", ".join(f"{number:,} {what}" for what, number in told["feedback"].items())
        lines.append(f"    feedback: {outcome or 'none'}")
    if told["versus"]:
        lines.append(f"    beside the one in use: {in_versus(told['versus'])}")
    if told["replaced"]:
        lines.append(f"    replaced {told['replaced']}")
    return lines


def in_versus(versus: Mapping[str, Any]) -> str:
    """Says how two classifiers compare, and what speaks against the candidate.

    Parameters
    ----------
    versus : mapping
        As `Versus.to_dict` returns it.
    """
    objections = "; ".join(versus["objections"])
    if not versus["images"]:
        return objections
    told = (
        f"{versus['accuracy']:.2%} to {versus['accuracy_in_use']:.2%} of "
        f"{count(versus['images'], 'test image')}, {versus['only_candidate']:,} gained and "
        f"{versus['only_in_use']:,} lost (p = {versus['p']:.3f})"
    )
    return f"{told}; {objections}" if objections else f"{told}; not worse"
