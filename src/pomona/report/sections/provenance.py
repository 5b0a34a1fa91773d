"""How it was made: the recipe, the backbone, and the runs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pomona.backbones import registry
from pomona.backbones.spec import Backbone
from pomona.report.context import ReportContext

RUNS_SHOWN = 20


@dataclass(frozen=True)
class Provenance:
    """How a store was made.

    Attributes
    ----------
    source : str
        Where the images come from.
    recipe : mapping
        The manifest's recipe, without what it leaves open.
    backbone : Backbone or None
        The network. None: it is not one of pomona's, as with imported features.
    pca : mapping or None
        The manifest's summary of the PCA.
    runs : sequence of mapping
        The manifest's entries of the last runs, the last one first.
    runs_hidden : int
        How many earlier runs there are.
    last_command : str or None
        The command of the last run that extracted features.
    """

    source: str
    recipe: Mapping[str, Any]
    backbone: Backbone | None
    pca: Mapping[str, Any] | None
    runs: Sequence[Mapping[str, Any]]
    runs_hidden: int
    last_command: str | None


def gather(context: ReportContext) -> Provenance:
    """Gathers what the manifest says."""
    manifest, runs = context.manifest, context.runs
    recipe = manifest["recipe"]
    return Provenance(
        source=manifest["source"],
        recipe={name: value for name, value in recipe.items() if value is not None},
        backbone=registry.find(recipe["backbone"]),
        pca=manifest["pca"],
        runs=runs[:RUNS_SHOWN],
        runs_hidden=len(runs[RUNS_SHOWN:]),
        last_command=next((run["command"] for run in context.extract_runs), None),
    )
