"""What a classifier learns, and from what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from pomona.commands.completion import one_of
from pomona.learning.models.registry import MODELS
from pomona.learning.settings import NEAR_DUPLICATES, NO_GROUPS, TrainSettings

Labels = Annotated[
    Path | None,
    typer.Option(
        readable=False,
        metavar="FILE",
        help="CSV file of path and label, and optionally split. Its labels replace the store's; "
        "images that it does not name keep theirs.",
    ),
]


@dataclass(frozen=True)
class LearningOptions:
    """What a classifier learns, and from what."""

    panel: ClassVar[str] = "Learning"
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto compares the quick ones by cross-validation and takes the simplest within "
            f"one standard error of the best. Or name one: {', '.join(MODELS)}.",
            autocompletion=one_of(("auto", *MODELS)),
        ),
    ] = TrainSettings.model
    on: Annotated[
        str,
        typer.Option(
            metavar="TABLE",
            help="What it learns from: pca (the components) or features.",
            autocompletion=one_of(("pca", "features")),
        ),
    ] = TrainSettings.on
    labels: Labels = TrainSettings.labels
    groups: Annotated[
        str,
        typer.Option(
            metavar="GROUPS",
            help="Images that cross-validation keeps together, as does a test set that pomona "
            f"draws: {NEAR_DUPLICATES}, {NO_GROUPS}, or a CSV file of path and group (a person, "
            "an object, a day).",
            autocompletion=one_of((NEAR_DUPLICATES, NO_GROUPS)),
        ),
    ] = NEAR_DUPLICATES
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Decides which images are the test's, if the store has no test split.",
        ),
    ] = TrainSettings.seed

    def settings(self) -> TrainSettings:
        """Returns these options as learning takes them."""
        named = self.groups in (NEAR_DUPLICATES, NO_GROUPS)
        return TrainSettings(
            model=self.model,
            on=self.on,
            labels=self.labels,
            groups=self.groups if named else Path(self.groups),
            seed=self.seed,
        )
