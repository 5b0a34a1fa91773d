"""The command line: parse, call, print. The only place that exits.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but over --max-error-rate, 130 stopped by
Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperCommand

from pomona import __version__
from pomona.commands import backbones as backbone_commands
from pomona.commands.backbones import STOPPED
from pomona.commands.options import (
    AsJson,
    Buckets,
    DryRun,
    Images,
    Include,
    Labels,
    Network,
    NetworkFile,
    Out,
    Output,
    Pca,
    ReadBuckets,
    Seed,
    Source,
    StoreFolder,
    Thumbnails,
    Where,
    Workers,
    grouped,
    parse_size,
)
from pomona.engines.workers import ARROW_MEMORY, forgo_pandas
from pomona.errors import PomonaError, StoreError, UsageError
from pomona.progress import duration
from pomona.store.folders.registry import is_address, place

if TYPE_CHECKING:
    from pomona.engines.base import Engine
    from pomona.pipeline.context import RunSettings
    from pomona.pipeline.finish import Summary
    from pomona.progress import Progress
    from pomona.s3.address import Access

app = typer.Typer(
    name="pomona",
    help="Images in, compact features out: a pretrained network, PCA, Parquet and a report.\n\n"
    "Start with: pomona sample photos && pomona run photos out",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

FAILED, WRONG_USAGE, OVER_ERROR_RATE, TERMINATED = 1, 2, 3, 143
WORKERS_NEED = ("pomona.extraction.task", "pomona.reduction.tasks")

# What Spark itself takes for a secret among its settings (spark.redaction.regex)
_SECRET = re.compile(
    r"(?is)^((?:--spark-conf=)?[\w.-]*(?:secret|password|token|access\.?key)[\w.-]*)=.*"
)
# What typer raises of arguments that it cannot parse, under a name that its versions share
_Misuse: Any = typer.BadParameter.__base__


def main() -> None:
    """The `pomona` command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that is no UTF-8 is told in escapes, as JSON knows them, and stops nothing.
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    os.environ.update(ARROW_MEMORY | os.environ)  # before pyarrow is imported
    try:
        # The exit status of a `typer.Exit`, or None.
        status = app(sys.argv[1:] or ["--help"], prog_name="pomona", standalone_mode=False)
        print(end="", flush=True)
        sys.exit(status)
    except _Misuse as exc:
        command = exc.ctx.command_path if exc.ctx else "pomona"
        message = " ".join(exc.format_message().split()).rstrip(".")
        _fail(f"{message}; `{command} --help` says what it takes", WRONG_USAGE)
    except UsageError as exc:
        _fail(exc, WRONG_USAGE)
    except PomonaError as exc:
        _fail(exc, FAILED)
    except BrokenPipeError:
        # Whoever read the output has left; nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as exc:
        if os.environ.get("POMONA_DEBUG"):
            raise
        _fail(
            f"unexpected {type(exc).__name__}: {' '.join(str(exc).split())}; this is a bug: "
            "give the command again with POMONA_DEBUG=1 and report what it prints",
            FAILED,
        )


def _command() -> str:
    """This command as it can be given again, and as others may read it."""
    return shlex.join(["pomona", *(_SECRET.sub(r"\1=(hidden)", word) for word in sys.argv[1:])])


def _status(exc: KeyboardInterrupt) -> int:
    """130 for Ctrl-C, else what `_terminate` gave."""
    return exc.args[0] if exc.args else STOPPED


def _terminate(number: int, frame: object) -> None:
    raise KeyboardInterrupt(TERMINATED)


def _fail(message: object, status: int) -> None:
    print(f"pomona: {message}", file=sys.stderr)
    sys.exit(status)


class _Retries(TyperCommand):
    """A command whose `--retry-errors` may go without a value, which Typer does not know."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        given = ["--retry-errors=retryable" if arg == "--retry-errors" else arg for arg in args]
        return super().parse_args(ctx, [*given[:end], *args[end:]])


app.add_typer(backbone_commands.app, name="backbones")


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        print(f"pomona {__version__}")
        raise typer.Exit


@contextmanager
def _started(where: Where, modules: Sequence[str] = WORKERS_NEED) -> Iterator[Engine]:
    """An engine whose workers import what they need while this process does, within."""
    engine = where.open()
    try:
        engine.start(modules)
        yield engine
    except KeyboardInterrupt as exc:
        print(f"pomona: stopped before it began; go on with: {_command()}", file=sys.stderr)
        raise typer.Exit(_status(exc)) from None


@contextmanager
def _running(
    output: Output, access: Access, engine: Engine, thumbnails: bool | None = None
) -> Iterator[RunSettings]:
    """What the pipeline's commands need; tells how to go on after a stop, and logs how it ended.

    What it holds ends with the command's result, so that its exit status is known here.
    """
    from pomona.pipeline.context import RunSettings

    forgo_pandas()
    command = _command()
    running = RunSettings(engine, output.progress(), command, thumbnails, access=access)
    progress = running.progress
    try:
        yield running
    except KeyboardInterrupt as exc:
        status = _status(exc)
        done = f"{progress.status()}; " if progress.stage else ""
        progress.warn(f"stopped. {done}what is done is kept, go on with: {command}")
        progress.over(status, "stopped")
        raise typer.Exit(status) from None
    except typer.Exit as exc:
        progress.over(exc.exit_code)
        raise
    except Exception as exc:
        progress.over(WRONG_USAGE if isinstance(exc, UsageError) else FAILED, str(exc))
        raise
    progress.over(0)


def _finish(output: Output, summary: Summary, max_error_rate: float = 1.0) -> None:
    content = {**vars(summary), "error_rate": summary.error_rate}
    output.result(content, _in_words(summary))
    if summary.error_rate > max_error_rate:
        print(
            f"pomona: {summary.errors:,} of {summary.images:,} images gave no features, more than "
            f"--max-error-rate {max_error_rate:g}: {summary.store}/errors says why",
            file=sys.stderr,
        )
        raise typer.Exit(OVER_ERROR_RATE)


def _in_words(summary: Summary) -> str:
    lines = []
    if summary.ran:
        speed = f"extracted at {summary.images_per_second:,.0f} images/s"
        lines.append(f"{summary.ran:,} images done in {duration(summary.seconds)}, {speed}")
    elif summary.worked:
        lines.append(f"Done in {duration(summary.seconds)}; no image had to run")
    else:
        lines.append(f"Nothing to do: {summary.store} is up to date")
    labels = f" of {summary.labels:,} labels" if summary.labels else ""
    lines.append(f"  images    {summary.images:,}{labels}")
    lines.append(f"  features  {summary.features:,}")
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary.reasons.items())
    lines.append(f"  errors    {summary.errors:,}{f' ({reasons})' if reasons else ''}")
    if summary.components:
        share = f"{summary.variance_explained:.1%} of the variance"
        if summary.fitted_on != summary.features:
            share += f" of the {summary.fitted_on:,} images it was fitted on; --refit takes all"
        lines.append(f"  PCA       {summary.components:,} components, {share}")
    lines.append(f"  report    {summary.report}")
    return "\n".join(lines)


@app.command(
    cls=_Retries, epilog="Example: pomona run photos out --variance 0.95 --labels labels.csv"
)
@grouped
def run(
    source: Source,
    out: Out,
    images: Images,
    network: Network,
    network_file: NetworkFile,
    pca: Pca,
    where: Where,
    buckets: Buckets,
    output: Output,
    thumbnails: Thumbnails = None,
    dry_run: DryRun = False,
) -> None:
    """The whole way: images in; features, PCA, CSV and a report out.

    Give it again to go on after a stop, or to take in new and changed images.
    """
    with _started(where, (*WORKERS_NEED, network.runtime)) as engine:
        from pomona.pipeline import dry_run as planning
        from pomona.pipeline import run as pipeline

    access, reducing = buckets.access(), pca.reducing()
    extracting = images.extracting(source, network, network_file)
    with _running(output, access, engine, thumbnails) as running:
        if dry_run:
            expected = planning.dry_run(out, extracting, running)
            output.result(dataclasses.asdict(expected), expected.in_words())
            return
        summary = pipeline.run(out, extracting, reducing, running)
        _finish(output, summary, images.max_error_rate)


@app.command(cls=_Retries, epilog="Example: pomona extract photos out")
@grouped
def extract(
    source: Source,
    out: Out,
    images: Images,
    network: Network,
    network_file: NetworkFile,
    where: Where,
    buckets: Buckets,
    output: Output,
    thumbnails: Thumbnails = None,
) -> None:
    """The first half alone: images in, features out; `pomona reduce` is the other half."""
    with _started(where, (*WORKERS_NEED, network.runtime)) as engine:
        from pomona.pipeline import run as pipeline

    access, extracting = buckets.access(), images.extracting(source, network, network_file)
    with _running(output, access, engine, thumbnails) as running:
        summary = pipeline.extract(out, extracting, running)
        _finish(output, summary, images.max_error_rate)


@app.command(epilog="Example: pomona reduce out --components 50")
@grouped
def reduce(
    store: StoreFolder,
    pca: Pca,
    where: Where,
    buckets: Buckets,
    output: Output,
    thumbnails: Thumbnails = None,
) -> None:
    """PCA of the features that a store holds: another k without running the network again."""
    with _started(where) as engine:
        from pomona.pipeline import run as pipeline

    access, reducing = buckets.access(), pca.reducing()
    with _running(output, access, engine, thumbnails) as running:
        _finish(output, pipeline.reduce(store, reducing, running))


@app.command(epilog="Example: pomona report out")
@grouped
def report(
    store: StoreFolder,
    buckets: Buckets,
    output: Output,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
    figures: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="DIR",
            help="Draw its figures for slides too: variance, map, labels and times.",
        ),
    ] = None,
    image_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="What --figures draws: png or svg.",
            autocompletion=lambda: ["png", "svg"],
        ),
    ] = "png",
    thumbnails: Thumbnails = None,
) -> None:
    """Write report.html anew from what a store holds."""
    from pomona.pipeline import run as pipeline

    with _running(output, buckets.access(), Where(1).open(), thumbnails) as running:
        page = pipeline.rewrite_report(store, running)
        drawn = (
            pipeline.draw_figures(store, figures, image_format, buckets.access()) if figures else []
        )
        content: dict[str, Any] = {"report": str(page)}
        if figures:
            content["figures"] = [str(file) for file in drawn]
        output.result(content, "\n".join(map(str, [page, *drawn])))
        if open_page:
            _open_in_browser(page, running.progress)


def _open_in_browser(page: str, progress: Progress) -> None:
    import webbrowser

    if is_address(page):
        progress.warn(f"a browser cannot open {page}: copy it to a disk first")
        return
    address = Path(page).absolute().as_uri()
    try:
        is_open = webbrowser.open(address)
    except (webbrowser.Error, OSError):
        is_open = False
    if not is_open:
        progress.warn(f"no browser could be started: open {address} yourself")


@app.command(epilog="Example: pomona forget out 'Training/Pear/0_100.jpg'")
@grouped
def forget(
    store: StoreFolder,
    buckets: Buckets,
    output: Output,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Paths as they stand in metadata/; none: finish a forget that was stopped.",
        ),
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option("--from", readable=False, metavar="FILE", help="A file of paths, one a line."),
    ] = None,
    keep_projection: Annotated[
        bool,
        typer.Option(
            "--keep-projection",
            help="Keep the PCA, though the forgotten images had a share in its components; "
            "else it is fitted anew on what remains.",
        ),
    ] = False,
    workers: Workers = None,
) -> None:
    """Take every trace of images out of a store: rows, CSV, plan, report and PCA.

    What the source still holds of them, the next `pomona run` takes in again.
    """
    from pomona.maintenance import forget as forgetting

    listed = [] if from_file is None else _lines(from_file)
    with _running(output, buckets.access(), Where(workers).open()) as running:
        given = {*(paths or ()), *listed}
        summary = forgetting.forget(store, given, running, keep_projection=keep_projection)
        _finish(output, summary)


@app.command(epilog="Example: pomona verify out --source photos")
@grouped
def verify(
    store: StoreFolder,
    buckets: ReadBuckets,
    output: Output,
    source: Annotated[
        Any,
        typer.Option(
            parser=place, metavar="SOURCE", help="Read the images again and compare them too."
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Prove a store whole, or say what is not, where, and the way out; nothing is written."""
    from pomona.maintenance import verify as verifying

    with _running(output, buckets.access(), Where(workers).open()) as running:
        verdict = verifying.verify(store, running, source)
        output.result(dataclasses.asdict(verdict), verdict.in_words())
        if verdict.findings:
            raise StoreError(f"{store} is not whole: {len(verdict.findings):,} findings")


@app.command(epilog="Example: pomona pack photos photos.pack && pomona run photos.pack out")
@grouped
def pack(
    source: Source,
    dest: Annotated[
        Any,
        typer.Argument(
            parser=place,
            metavar="DEST",
            help="Folder, or s3://BUCKET/PREFIX, for the pack: new, empty, or a pack.",
        ),
    ],
    buckets: Buckets,
    output: Output,
    labels: Labels = None,
    include: Include = None,
    size: Annotated[
        int,
        typer.Option(
            parser=parse_size,
            metavar="SIZE",
            show_default=False,
            help="About how large a file of the pack grows, as 128MB or 1GB. (default: 128MB)",
        ),
    ] = 128_000_000,
    yes: Annotated[
        bool, typer.Option("--yes", help="Replace a pack of which most images are not in SOURCE.")
    ] = False,
    dry_run: DryRun = False,
    workers: Workers = None,
) -> None:
    """Turn many image files into few large ones, their bytes untouched; `run` takes it as SOURCE.

    Give it again to go on after a stop, or after images were added or changed.
    """
    from pomona.transfer import pack as packing

    wanted = packing.PackSettings(source, tuple(include or ()), labels, size, yes)
    with _running(output, buckets.access(), Where(workers).open()) as running:
        packed = packing.make_pack(dest, wanted, running, dry_run=dry_run)
        output.result(dataclasses.asdict(packed), packed.in_words())


@app.command(epilog="Example: pomona upload photos s3://bucket/photos")
@grouped
def upload(
    source: Source,
    to: Annotated[
        Any,
        typer.Argument(parser=place, metavar="ADDRESS", help="s3://BUCKET or s3://BUCKET/PREFIX."),
    ],
    buckets: Buckets,
    output: Output,
    strip_metadata: Annotated[
        bool,
        typer.Option(
            "--strip-metadata/--no-strip-metadata",
            help="Take out EXIF, XMP, IPTC and comments, without touching the pixels' bytes; "
            "orientation and colour profile stay.",
        ),
    ] = True,
    include: Include = None,
    dry_run: DryRun = False,
    workers: Workers = None,
) -> None:
    """Send images to a bucket, without their metadata: only what is new or changed, by content.

    Give it again to go on after a stop. What SOURCE does not have any more stays in the bucket.
    """
    from pomona.transfer import upload as uploading

    wanted = uploading.UploadSettings(source, tuple(include or ()), strip_metadata)
    with _running(output, buckets.access(), Where(workers).open()) as running:
        uploaded = uploading.upload(to, wanted, running, dry_run=dry_run)
        output.result(dataclasses.asdict(uploaded), uploaded.in_words())
        if uploaded.refused:
            raise PomonaError(
                f"not sent: {uploaded.complaint()}; mend them, or leave them out, or send them as "
                "they are with --no-strip-metadata; --json names each"
            )


@app.command(epilog="Example: pomona download s3://bucket/out out")
@grouped
def download(
    source: Annotated[
        Any,
        typer.Argument(parser=place, metavar="ADDRESS", help="s3://BUCKET or s3://BUCKET/PREFIX."),
    ],
    folder: Annotated[Any, typer.Argument(parser=place, metavar="DIR", help="Where the files go.")],
    buckets: ReadBuckets,
    output: Output,
    include: Include = None,
    dry_run: DryRun = False,
    workers: Workers = None,
) -> None:
    """Fetch the objects under an address as files: only what is new or changed, by content.

    Give it again to go on after a stop. What the bucket does not have any more stays in DIR.
    """
    from pomona.transfer import download as downloading

    with _running(output, buckets.access(), Where(workers).open()) as running:
        given = tuple(include or ())
        downloaded = downloading.download(source, folder, running, given, dry_run=dry_run)
        output.result(dataclasses.asdict(downloaded), downloaded.in_words())
        if downloaded.refused:
            raise PomonaError(
                f"{len(downloaded.refused):,} keys can be no file in {folder}, as "
                f"{downloaded.refused[0]!r}: copy these objects to other keys; --json names each"
            )


@app.command(name="import-features", epilog="Example: pomona import-features features.parquet out")
@grouped
def import_features(
    file: Annotated[
        Path,
        typer.Argument(
            readable=False,
            help="Parquet file or folder with path, label and one column of lists.",
        ),
    ],
    out: Out,
    buckets: Buckets,
    output: Output,
) -> None:
    """Make a store of features that were computed elsewhere; then `pomona reduce` it."""
    from pomona.maintenance import import_features as imported

    with _running(output, buckets.access(), Where(1).open()) as running:
        summary = imported.import_features(file, out, running)
        _finish(output, summary)


@app.command(epilog="Example: pomona sample photos --varieties 24")
def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    varieties: Annotated[int, typer.Option(help="How many kinds of fruit.")] = 12,
    per_variety: Annotated[int, typer.Option(help="How many images of each.")] = 25,
    seed: Seed = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw photographs of fruit to try pomona on: one folder a variety, Training and Test."""
    from pomona.samples.sample import draw_sample

    output = Output(quiet, as_json)
    progress = output.progress()
    progress.begin("draw", varieties * per_variety)
    try:
        drawn = draw_sample(
            folder,
            varieties=varieties,
            per_variety=per_variety,
            seed=seed,
            progress=progress.advance,
        )
    except OSError as exc:
        raise PomonaError(f"cannot write {folder}: {exc.strerror}; choose another folder") from exc
    finally:
        progress.end()
    content = {**dataclasses.asdict(drawn), "folder": str(drawn.folder)}
    output.result(
        content,
        f"{drawn.images:,} images of {drawn.varieties:,} varieties in {drawn.folder}\n"
        f"next: pomona run {shlex.quote(str(drawn.folder))} out",
    )


@app.command(epilog="Example: pomona doctor --speed")
def doctor(
    speed: Annotated[
        bool,
        typer.Option("--speed", help="Measure the network too, a few seconds a runtime."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, what this machine has, and how to get what is missing."""
    from pomona.maintenance.doctor import examine, measure

    findings = [*examine(), *(measure() if speed else ())]
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings]))
    else:
        table = Table("", "", "", box=None, show_header=False)
        for finding in findings:
            mark = {True: "[green]ok[/]", False: "[red]missing[/]", None: "[dim]optional[/]"}
            table.add_row(mark[finding.ok], finding.what, escape(finding.detail))
        Console().print(table)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(FAILED)


def _lines(file: Path) -> list[str]:
    """The lines of a file that are not empty; raw bytes where it is no UTF-8."""
    try:
        text = file.read_text("utf-8-sig", "surrogateescape")
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}; check --from") from exc
    return [line for line in text.split("\n") if line]
