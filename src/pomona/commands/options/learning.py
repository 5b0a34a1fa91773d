"""What a classifier learns, and from what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from pomona.commands.completion import one_of
from pomona.learning.models.registry import MODELS
from pomona.learning.settings import NEAR_DUPLICATES, NO_GROUPS, TrainSettings

*_FIRST, _LAST = [name for name, model in MODELS.items() if model.is_quick]
_LABELS = (
    "CSV file with the columns path (as in the store), label and optionally split, or JSON "
    "with the same names, or a COCO or FiftyOne export. Images that it does not list keep the "
    "store's labels. "
)
Labels = Annotated[
    Path | None,
    typer.Option(
        readable=False, metavar="FILE", help=f"{_LABELS}(default: the labels in the store)"
    ),
]
LabelsAgain = Annotated[
    Path | None,
    typer.Option(
        readable=False,
        metavar="FILE",
        help=f"{_LABELS}(default: the file that was given to `pomona train`)",
    ),
]
Top = Annotated[
    int,
    typer.Option(metavar="N", help="How many labels to list per image, the most probable first."),
]
Unsure = Annotated[
    float,
    typer.Option(
        metavar="P", help="Mark a prediction as unsure if its label is less probable than P."
    ),
]


def _names_of_spark() -> str:
    names = [model.name for model in MODELS.values() if model.spark_module]
    return ", ".join(names)


@dataclass(frozen=True)
class LearningOptions:
    """What a classifier learns, and from what."""

    panel: ClassVar[str] = "Learning"
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"{', '.join(MODELS)}, or auto, which compares {', '.join(_FIRST)} and {_LAST} by "
            "cross-validation and takes the simplest within one standard error of the best. "
            f"With --engine spark, only {_names_of_spark()} and auto are available, and auto means "
            "logistic.",
            autocompletion=one_of(("auto", *MODELS)),
        ),
    ] = TrainSettings.model
    on: Annotated[
        str,
        typer.Option(
            metavar="TABLE",
            help="Which table of the store to learn from: pca (the reduced features) or features.",
            autocompletion=one_of(("pca", "features")),
        ),
    ] = TrainSettings.on
    labels: Labels = TrainSettings.labels
    groups: Annotated[
        str,
        typer.Option(
            metavar="GROUPS",
            help="Which images to keep together, in cross-validation and when test images are "
            f"chosen: {NEAR_DUPLICATES}; {NO_GROUPS}; or the path of a CSV file with the columns "
            "path and group (a person, an object, a day).",
            autocompletion=one_of((NEAR_DUPLICATES, NO_GROUPS)),
        ),
    ] = NEAR_DUPLICATES
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Seed for models that use random numbers, for finding near-duplicates, and for "
            "choosing test images if the store has no test split.",
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
