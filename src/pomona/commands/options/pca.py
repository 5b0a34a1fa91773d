"""How features are reduced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from pomona.pipeline.settings import DEFAULT_VARIANCE, ReduceSettings

Variance = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Keep the fewest components that retain this share of the variance. "
        f"(default: as in the previous run, else {DEFAULT_VARIANCE:g})",
    ),
]
Components = Annotated[
    int | None,
    typer.Option(metavar="K", help="Keep exactly K components, instead of --variance."),
]


@dataclass(frozen=True)
class PcaOptions:
    """How many components are kept, and when they are fitted again."""

    panel: ClassVar[str] = "PCA"
    variance: Variance = ReduceSettings.variance
    components: Components = ReduceSettings.components
    refit: Annotated[
        bool,
        typer.Option(
            "--refit",
            help="Fit PCA again to all images in the store. Otherwise new images are projected "
            "with the existing PCA, which is fitted again only if --variance or --components "
            "changes, or once the store has more than doubled since the last fit.",
        ),
    ] = ReduceSettings.refit
    keep_projection: Annotated[
        bool,
        typer.Option(
            "--keep-projection",
            help="Keep the existing PCA even if the store has more than doubled. PCA is still "
            "fitted again if you change --variance or --components.",
        ),
    ] = ReduceSettings.keep_projection
    csv: Annotated[
        bool | None,
        typer.Option(
            "--csv/--no-csv",
            help="Also write the tables, except features, as CSV files in csv/. "
            "(default: as in the previous run, else yes)",
        ),
    ] = ReduceSettings.csv

    def settings(self) -> ReduceSettings:
        """Returns these options as the pipeline takes them."""
        return ReduceSettings(
            components=self.components,
            variance=self.variance,
            refit=self.refit,
            keep_projection=self.keep_projection,
            csv=self.csv,
        )
