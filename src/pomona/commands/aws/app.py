"""The group of commands behind `pomona aws`.

To add one: write its function in a module here, and register it below.
"""

from __future__ import annotations

from collections.abc import Callable

import typer

from pomona.commands.aws import jobs
from pomona.commands.aws.perimeter import doctor, down, up
from pomona.commands.aws.plan import plan
from pomona.commands.aws.run import run
from pomona.commands.grouping import grouped
from pomona.commands.parser import PomonaCommand, PomonaGroup

app = typer.Typer(
    cls=PomonaGroup,
    help="Run pomona on Amazon EMR Serverless, in your own AWS account and in a region of the "
    "European Economic Area.\n\nUses the same credentials as the AWS CLI (AWS_PROFILE, for "
    "example).",
    no_args_is_help=True,
    subcommand_metavar="COMMAND [ARGS]...",
    add_completion=False,
)


@app.callback()
def aws() -> None:
    pass


def _register(function: Callable[..., None], example: str) -> None:
    app.command(cls=PomonaCommand, epilog=f"Example: pomona aws {example}")(grouped(function))


_register(plan, "plan --images 67692 --image-bytes 5000 --region eu-west-1")
_register(up, "up --region eu-west-1 --alert-email me@example.org")
_register(doctor, "doctor --page aws.html")
_register(down, "down")
_register(run, "run s3://IMAGES_BUCKET/photos s3://RESULTS_BUCKET/stores/out --budget 0.50")
_register(jobs.status, "status")
_register(jobs.logs, "logs 00f1abcd2efg3456")
_register(jobs.cancel, "cancel 00f1abcd2efg3456")
_register(jobs.cost, "cost 00f1abcd2efg3456")
_register(jobs.fetch, "fetch s3://RESULTS_BUCKET/stores/out out")
_register(jobs.sweep, "sweep --yes")
