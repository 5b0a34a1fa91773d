"""Where in an account a command of `pomona aws` works, and what a job may cost and is to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from pomona.commands.options.pca import Components, Variance
from pomona.errors import UsageError
from pomona.pipeline.settings import FITS, ExtractSettings, ReduceSettings

if TYPE_CHECKING:
    from pomona.aws.account import Account

Region = Annotated[
    str | None,
    typer.Option(
        metavar="REGION",
        help="AWS region of the stack: eu-central-1, eu-west-1 or eu-west-3. "
        "(default: AWS_REGION or the region of your AWS profile)",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask for confirmation; for use in scripts.")
]


@dataclass(frozen=True)
class AccountOptions:
    """The account is that of AWS's own settings; these say where in it."""

    panel: ClassVar[str] = "AWS account"
    region: Region = None
    stack: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the stack created by `pomona aws up`.")
    ] = "pomona"

    def account(self) -> Account:
        """Opens the account.

        Raises
        ------
        CloudError
            If botocore is missing, or the region is none of the European Economic Area.
        """
        from pomona.aws.account import Account

        return Account(self.region)


@dataclass(frozen=True)
class JobOptions:
    """What a job may cost, and how large it may be."""

    panel: ClassVar[str] = "Job"
    budget: Annotated[
        float | None,
        typer.Option(
            metavar="USD",
            help="Maximum cost of the workers in US dollars, for all jobs on OUT since the last "
            "that succeeded. Required, unless the environment variable POMONA_AWS_BUDGET sets it.",
        ),
    ] = None
    vcpus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Total number of vCPUs of driver and executors: 4, 8, 16, 32, 64, 128, 256 or "
            "400. (default: the number that is fastest within the budget and the maximum set by "
            "`pomona aws up --max-vcpus`)",
        ),
    ] = None
    flex: Annotated[
        bool,
        typer.Option(
            "--flex",
            help="Run executors on spare capacity (Flex) if EMR Serverless has any; cheaper, but "
            "it may be slower.",
        ),
    ] = False


@dataclass(frozen=True)
class FeatureOptions:
    """What of `pomona run` a job takes."""

    panel: ClassVar[str] = "Features"
    backbone: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The network: only efficientnet_lite0, the one that is included in pomona.",
        ),
    ] = ExtractSettings.backbone
    fit: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help=f"How images are made square, as for `pomona run`: {', '.join(FITS)}.",
        ),
    ] = ExtractSettings.fit
    variance: Variance = ReduceSettings.variance
    components: Components = ReduceSettings.components

    def settings(self, source: str) -> ExtractSettings:
        """Returns these options as the pipeline takes them.

        Parameters
        ----------
        source : str
            The address of the images.
        """
        return ExtractSettings(source=source, backbone=self.backbone, fit=self.fit)

    def words(self) -> tuple[str, ...]:
        """Returns these options as a job takes them: words of `pomona run`.

        Raises
        ------
        UsageError
            For values that cannot be, or a network that jobs do not have.
        """
        from pomona.backbones.registry import is_bundled

        if not is_bundled(self.backbone):
            raise UsageError(
                f"`backbone` {self.backbone}: jobs can use only the networks included in pomona"
            )
        ReduceSettings(components=self.components, variance=self.variance)
        words = ["--backbone", self.backbone, "--fit", self.fit]
        if self.components is not None:
            words += ["--components", str(self.components)]
        if self.variance is not None:
            words += ["--variance", str(self.variance)]
        return tuple(words)
