"""How a command runs: with an engine, with progress, and with a way to continue after a stop."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pomona.commands import exit_status
from pomona.commands.flags import with_flags
from pomona.commands.options.engine import EngineOptions
from pomona.commands.output import OutputOptions, complain
from pomona.errors import UsageError
from pomona.memory import forgo_pandas
from pomona.progress import count, duration
from pomona.store.folders.registry import is_address

if TYPE_CHECKING:
    from pomona.engines.base import Engine
    from pomona.pipeline.context import RunSettings
    from pomona.pipeline.finish import Summary
    from pomona.progress import Progress
    from pomona.s3.address import Access

# The pipeline's tasks, which its workers import while the driver imports what it needs itself.
TASK_MODULES = (
    "pomona.extraction.task",
    "pomona.reduction.measure",
    "pomona.reduction.project",
)
# What Spark itself takes for a secret among its settings (spark.redaction.regex)
_SECRET = re.compile(
    r"(?is)^((?:--spark-conf=)?[\w.-]*(?:secret|password|token|access\.?key)[\w.-]*)=.*"
)


@contextmanager
def start_engine(where: EngineOptions, modules: Sequence[str] = TASK_MODULES) -> Iterator[Engine]:
    """Starts an engine, whose workers import what they need while the block does so too.

    Parameters
    ----------
    where : EngineOptions
        Which engine.
    modules : sequence of str
        What its workers import.
    """
    engine = where.open()
    try:
        engine.start(modules)
        yield engine
    except KeyboardInterrupt as exc:
        complain(f"stopped before any work began; continue with: {_command_line()}")
        raise typer.Exit(exit_status.of_stop(exc)) from None


@contextmanager
def run_settings(
    output: OutputOptions,
    access: Access,
    engine: Engine,
    thumbnails: bool | None = None,
    *,
    store: str | Path | None = None,
) -> Iterator[RunSettings]:
    """Gives the settings of a run; says how to continue after a stop, and logs how it ended.

    The block ends with the command's result, so that its exit status is known here.

    Parameters
    ----------
    output : OutputOptions
        What is printed and logged.
    access : Access
        How buckets are used.
    engine : Engine
        Where tasks run.
    thumbnails : bool, optional
        Whether the report shows thumbnails. None: as before.
    store : str or Path, optional
        The store that the command works on, for figures of it.
    """
    from pomona.pipeline.context import RunSettings

    forgo_pandas()
    command = _command_line()
    progress = output.progress(store)
    try:
        yield RunSettings(engine, progress, command, thumbnails, access=access)
    except KeyboardInterrupt as exc:
        status = exit_status.of_stop(exc)
        done = f"{progress.status()}; " if progress.stage else ""
        progress.warn(f"stopped. {done}what is done is kept; continue with: {command}")
        progress.over(status, "stopped")
        raise typer.Exit(status) from None
    except typer.Exit as exc:
        progress.over(exc.exit_code)
        raise
    except Exception as exc:
        is_usage = isinstance(exc, UsageError)
        status = exit_status.WRONG_USAGE if is_usage else exit_status.FAILED
        progress.over(status, with_flags(exc))
        raise
    progress.over(exit_status.DONE)


def finish(
    output: OutputOptions,
    summary: Summary,
    max_error_rate: float = 1.0,
    *,
    more: Mapping[str, Any] | None = None,
    lines: Sequence[str] = (),
) -> None:
    """Prints a run's summary, and exits if too many images failed.

    Parameters
    ----------
    output : OutputOptions
        What is printed.
    summary : Summary
        What the run did.
    max_error_rate : float
        The share of images that may fail.
    more : mapping, optional
        What a command adds to the JSON object.
    lines : sequence of str
        What it adds to the text.
    """
    content = {**vars(summary), "error_rate": summary.error_rate, **(more or {})}
    output.result(content, "\n".join([_in_words(summary), *lines]))
    if summary.error_rate > max_error_rate:
        complain(
            f"{summary.errors:,} of {count(summary.images, 'image')} gave no features, more than "
            f"--max-error-rate {max_error_rate:g} allows: see {summary.store}/errors"
        )
        raise typer.Exit(exit_status.OVER_ERROR_RATE)


def open_in_browser(page: str, progress: Progress) -> None:
    """Opens a page in the browser, or says why that cannot be done.

    Parameters
    ----------
    page : str
        Its path or address.
    progress : Progress
        Who is told.
    """
    import webbrowser

    if is_address(page):
        progress.warn(f"a browser cannot open {page}: download it first")
        return
    address = Path(page).absolute().as_uri()
    try:
        is_open = webbrowser.open(address)
    except (webbrowser.Error, OSError):
        is_open = False
    if not is_open:
        progress.warn(f"no browser could be started: open {address} yourself")


def _in_words(summary: Summary) -> str:
    lines = []
    if summary.ran:
        speed = f"{summary.images_per_second:,.0f} images/s"
        lines.append(f"{count(summary.ran, 'image')} done in {duration(summary.seconds)}, {speed}")
    elif summary.worked:
        lines.append(f"Done in {duration(summary.seconds)}; no new images")
    else:
        lines.append(f"Nothing to do: {summary.store} is up to date")
    labels = f" of {count(summary.labels, 'label')}" if summary.labels else ""
    lines.append(f"  images    {summary.images:,}{labels}")
    lines.append(f"  features  {summary.features:,}")
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in summary.reasons.items())
    lines.append(f"  errors    {summary.errors:,}{f' ({reasons})' if reasons else ''}")
    if summary.components:
        share = f"{summary.variance_explained:.1%} of the variance"
        if summary.fitted_on is not None and summary.fitted_on != summary.features:
            share += f" of the {count(summary.fitted_on, 'image')} it was fitted on; "
            share += "--refit fits it to all current images"
        lines.append(f"  PCA       {count(summary.components, 'component')}, {share}")
    lines.append(f"  report    {summary.report}")
    return "\n".join(lines)


def _command_line() -> str:
    """This command as it can be given again, and as others may read it."""
    return shlex.join(["pomona", *(_SECRET.sub(r"\1=(hidden)", word) for word in sys.argv[1:])])
