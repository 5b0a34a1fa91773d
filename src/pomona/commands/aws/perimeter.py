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
    typer.Option(metavar="NAME", help="Name of the stack, with which those of its pieces begin."),
]
_MARKS = {"ok": "✓", "warning": "!", "failure": "✗"}
_GOES_ON = "CloudFormation ends what it has begun; the same command then goes on"


def up(
    output: OutputOptions,
    region: Region = None,
    stack: Stack = "pomona",
    alert_email: Annotated[
        str | None,
        typer.Option(
            metavar="EMAIL",
            help="Address that is told when the account's bill for the month passes 50, 80 and "
            "100 % of the budget; needed the first time.",
        ),
    ] = None,
    monthly_budget: Annotated[
        float | None,
        typer.Option(
            metavar="USD", help="The account's budget for a month, in US dollars. (default: 10)"
        ),
    ] = None,
    max_vcpus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="The most vCPUs that jobs on EMR Serverless have at once; it bounds the price of "
            "an hour. (default: 16)",
        ),
    ] = None,
    yes: Yes = False,
) -> None:
    """Make what pomona needs in your account, once: key, buckets, roles, application, budget.

    One CloudFormation stack; what it would change is shown, and asked for, before anything is
    made. While no job runs it costs about 1 $ a month and what is stored. Run the same command
    again to continue after a stop, or with other options to change them.
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
        "Next, confirm the e-mail of AWS Notifications if one has come, then:\n"
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
            help="Also write the findings and the records of processing, for a data protection "
            "officer, to FILE: one HTML page that loads nothing.",
        ),
    ] = None,
) -> None:
    """Check that your account holds what `pomona aws up` made, as it made it; nothing is changed.

    Each finding comes with its evidence and, where something is wrong, the way out. The exit
    status is 1 if a finding fails; warnings alone leave it 0.
    """
    from pomona.aws.account import Account
    from pomona.aws.doctor.examine import examine

    account = Account(region)
    with watched(output) as progress:
        progress.note(f"looking at the account in {account.region}")
        examined = examine(account, stack)
        if page is not None:
            _write_page(examined, page)
        _print_findings(examined, output)
        if page is not None:
            progress.note(f"the page is {page}")
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
            help="Remove the images, results, logs, the audit trail and the key too: nothing is "
            "left, and nothing can be brought back. Asks for the name of the stack.",
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove what computes, and keep the data and the key; or remove everything.

    Jobs and clusters that run are ended. `pomona aws up` brings back what computes. The command
    ends with proof: each piece that there ever was is looked for. Run the same command again to
    continue after a stop.
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
        progress.note("looking for what should be gone")
        traces = removing.prove(account, stack, with_data=with_data)
        _print_traces(traces, output)
        left = [each for each in traces if each.state == "left"]
        if left:
            raise CloudError(
                f"{count(len(left), 'piece')} not gone, such as {left[0].name} ({left[0].id}): "
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
        return is_agreed(f"Remove {count(removed, 'piece')}? The data and key stay.")
    asked = f"All data goes, for good. Type the name of the stack ({removal.stack}) to remove it: "
    return answer(asked).strip() == removal.stack


def _print_traces(traces: tuple[Trace, ...], output: OutputOptions) -> None:
    lines = [f"{each.state:8}{each.name:16}{each.id}: {each.evidence}" for each in traces]
    states = [each.state for each in traces]
    summary = ", ".join(f"{states.count(each)} {each}" for each in dict.fromkeys(states))
    text = "\n".join([*lines, summary or "there was nothing to remove"])
    output.result({"pieces": [dataclasses.asdict(each) for each in traces]}, text)
