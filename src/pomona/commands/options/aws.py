"""Options of the commands for AWS."""

from __future__ import annotations

from typing import Annotated

import typer

Region = Annotated[
    str | None,
    typer.Option(
        metavar="REGION",
        help="AWS region in the European Economic Area, such as eu-west-1. "
        "(default: that of AWS's own settings)",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: for programs.")]
