"""Commands for the perimeter: make it, look at it, remove it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands import exit_status
from pomona.commands.aws.asking import answer, is_agreed, require_terminal, show, watched
from pomona.commands.options.aws import Region, Yes
from pomona.commands.output import OutputOptions
from pomona.errors import CloudError, PomonaError
from pomona.progress import count

if TYPE_CHECKING:
    from pomona.aws.doctor.examine import Examination
    from pomona.aws.perimeter import Perimeter
    from pomona.aws.removal import Removal
    from pomona.aws.stack import Change
    from pomona.aws.traces import Trace

Stack = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Name of the stack; the names of its resources begin with it."
    ),
]
_MARKS = {"ok": "✓", "warning": "!", "failure": "✗"}
_GOES_ON = "CloudFormation finishes what it has started; run the same command again to resume"


def up(
    output: OutputOptions,
    region: Region = None,
    stack: Stack = "pomona",
    alert_email: Annotated[
        str | None,
        typer.Option(
            metavar="EMAIL",
            help="Address to notify when the account's monthly bill passes 50, 80 and 100 % of the "
            "budget; required the first time.",
        ),
    ] = None,
    monthly_budget: Annotated[
        float | None,
        typer.Option(
            metavar="USD",
            help="The account's monthly budget in US dollars; you are alerted, but nothing is "
            "stopped. (default: 10 the first time, then unchanged)",
        ),
    ] = None,
    max_vcpus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Maximum number of vCPUs that the EMR Serverless application may use at once; "
            "limits the cost per hour. Up to 400; the smallest job takes 4. (default: 16 the first "
            "time, then unchanged)",
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Create or update everything that pomona needs in your AWS account.

    Creates one CloudFormation stack: a key, buckets (for images, results, logs and audit; it prints
    their names), roles, an EMR Serverless application, a security configuration for EMR clusters of
    your own, an audit trail and a budget. Lists all changes and asks for confirmation before it
    applies them. While no job runs, the stack costs about 1 USD a month plus storage. Run the same
    command again to continue after a stop, or with other options to change these settings.
    """
    from pomona.aws import perimeter
    from pomona.aws import stack as stacks
    from pomona.aws.account import Account

    stacks.check_name(stack)
    wanted = stacks.Wanted(alert_email, monthly_budget, max_vcpus)
    require_terminal(yes=yes)
    account = Account(region)
    with watched(output, _GOES_ON) as progress:
        progress.note(f"looking for the stack {stack} in {account.region}")
        proposal = stacks.propose(account, wanted.parameters(), progress, stack)
        if proposal.changes and not yes:
            show(_in_words(proposal.changes))
            if not is_agreed(f"Apply {count(len(proposal.changes), 'change')}?"):
                stacks.discard(account, proposal)
                progress.note("nothing was changed")
                raise typer.Exit(exit_status.FAILED)
        if proposal.changes:
            stacks.apply(account, proposal, progress)
        _print_perimeter(perimeter.read(account, stack), account.region, output, proposal.changes)


def _in_words(changes: tuple[Change, ...]) -> str:
    """A table of changes, each with its purpose and its price while nothing runs."""
    from pomona.aws.pieces import PIECES, Piece

    lines = []
    for each in changes:
        piece = PIECES.get(each.name, Piece(each.type, "?"))
        price = piece.idle if each.action == "make" else ""
        lines.append(f"  {each.action:8}{each.name:16}{piece.purpose:58}{price}".rstrip())
    title = f"  {'':8}{'':16}{'':58}while nothing runs"
    return "\n".join((title, *lines))


def _print_perimeter(
    made: Perimeter, region: str, output: OutputOptions, changes: tuple[Change, ...]
) -> None:
    """The result of `up`: the buckets, and what to do next."""
    done = count(len(changes), "change") + " made" if changes else "nothing to change"
    result: dict[str, Any] = {
        "stack": made.stack,
        "region": region,
        "changes": [{"action": each.action, "name": each.name} for each in changes],
        "images": made.images,
        "results": made.results,
        "logs": made.logs,
        "audit": made.audit,
        "key_arn": made.key_arn,
        "application_id": made.application_id,
    }
    where = f"--region {region}" + (f" --stack {made.stack}" if made.stack != "pomona" else "")
    text = (
        f"The stack {made.stack} in {region}: {done}\n"
        f"  images   s3://{made.images}\n"
        f"  results  s3://{made.results}\n"
        f"  logs     s3://{made.logs}\n"
        f"  audit    s3://{made.audit}\n"
        "Next, confirm the e-mail from AWS Notifications if you have received one, then:\n"
        f"  pomona upload photos s3://{made.images}/photos --sse aws:kms --kms-key {made.key_arn}\n"
        f"  pomona aws run s3://{made.images}/photos s3://{made.results}/stores/out {where} "
        "--budget 0.50"
    )
    output.result(result, text)


def doctor(
    output: OutputOptions,
    region: Region = None,
    stack: Stack = "pomona",
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the results, and records of processing for a data protection officer, "
            "to FILE, a self-contained HTML file.",
        ),
    ] = None,
) -> None:
    """Check that your account still matches what `pomona aws up` created; changes nothing.

    Each check shows its evidence and, if something is wrong, how to fix it. The exit status is 1
    if a check fails; it is 0 if there are only warnings.
    """
    from pomona.aws.account import Account
    from pomona.aws.doctor.examine import examine

    account = Account(region)
    with watched(output) as progress:
        progress.note(f"checking the account in {account.region}")
        examined = examine(account, stack)
        if page is not None:
            _write_page(examined, page)
        _print_findings(examined, output)
        if page is not None:
            progress.note(f"the page was written to {page}")
        if examined.failures:
            raise typer.Exit(exit_status.FAILED)


def _print_findings(examined: Examination, output: OutputOptions) -> None:
    result = {
        "account": examined.account_id,
        "region": examined.region,
        "stack": examined.stack,
        "failures": examined.failures,
        "findings": [dataclasses.asdict(each) for each in examined.findings],
    }
    lines = []
    for each in examined.findings:
        lines.append(f"{_MARKS[each.state]} {each.piece:16}{each.check:32}{each.evidence}")
        if each.remedy:
            lines.append(f"  {'':16}{'':32}-> {each.remedy}")
    counts = [
        count(sum(each.state == state for each in examined.findings), word)
        for state, word in (("failure", "failure"), ("warning", "warning"))
    ]
    lines.append(f"{count(len(examined.findings), 'check')}: {', '.join(counts)}")
    output.result(result, "\n".join(lines))


def _write_page(examined: Examination, file: Path) -> None:
    from pomona.aws.doctor.page import render

    try:
        file.write_text(render(examined), encoding="utf-8")
    except OSError as exc:
        raise PomonaError(f"`page` {file}: {exc.strerror}; choose another file") from exc


def down(
    output: OutputOptions,
    region: Region = None,
    stack: Stack = "pomona",
    with_data: Annotated[
        bool,
        typer.Option(
            "--with-data",
            help="Also delete all data (images, results, logs, audit trail) and the stack; this "
            "cannot be undone. The key is deleted after seven days. Asks you to type the stack's "
            "name unless --yes is given.",
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove the compute resources but keep the data and the key, or remove everything.

    First stops running jobs, and EMR clusters of your own that use the stack's security
    configuration; finally checks that everything that should be gone is gone. `pomona aws up`
    creates the compute resources again. Run the same command again to continue after a stop.
    """
    from pomona.aws import removal as removing
    from pomona.aws.account import Account

    require_terminal(yes=yes)
    account = Account(region)
    with watched(output, _GOES_ON) as progress:
        progress.note(f"looking for the stack {stack} in {account.region}")
        removal = removing.plan(account, progress, stack, with_data=with_data)
        if not removal.is_nothing and not yes:
            show(_of_removal(removal))
            if not _may_remove(removal, with_data=with_data):
                removing.discard(account, removal)
                progress.note("nothing was removed")
                raise typer.Exit(exit_status.FAILED)
        if with_data:
            removing.remove_all(account, removal, progress)
        else:
            removing.remove_what_computes(account, removal, progress)
        progress.note("checking that what was removed is gone")
        traces = removing.prove(account, stack, with_data=with_data)
        _print_traces(traces, output)
        left = [each for each in traces if each.state == "left"]
        if left:
            raise CloudError(
                f"{count(len(left), 'resource')} not gone, such as {left[0].name} ({left[0].id}): "
                "run the same command again"
            )


def _of_removal(removal: Removal) -> str:
    lines = [f"  cancel  job {job}" for _, job in removal.jobs]
    lines += [f"  end     cluster {each}" for each in removal.clusters]
    lines += [f"  empty   s3://{name}: {held}" for name, held in removal.objects]
    return "\n".join([*lines, _in_words(removal.changes)])


def _may_remove(removal: Removal, *, with_data: bool) -> bool:
    if not with_data:
        removed = sum(each.action == "remove" for each in removal.changes)
        return is_agreed(f"Remove {count(removed, 'resource')}? The data and the key are kept.")
    asked = (
        f"All data will be deleted for good. Type the stack's name ({removal.stack}) to confirm: "
    )
    return answer(asked).strip() == removal.stack


def _print_traces(traces: tuple[Trace, ...], output: OutputOptions) -> None:
    lines = [f"{each.state:8}{each.name:16}{each.id}: {each.evidence}" for each in traces]
    states = [each.state for each in traces]
    summary = ", ".join(f"{states.count(each)} {each}" for each in dict.fromkeys(states))
    text = "\n".join([*lines, summary or "there was nothing to remove"])
    output.result({"pieces": [dataclasses.asdict(each) for each in traces]}, text)
