"""Commands that move images and stores: upload, download, pack."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pomona.commands.options.buckets import BucketOptions, ReadBucketOptions
from pomona.commands.options.engine import EngineOptions, Workers
from pomona.commands.options.images import (
    AllowDamaged,
    Exclude,
    Include,
    LabelFrom,
    Labels,
    Splits,
)
from pomona.commands.options.places import Address, ImagesToPack, ImagesToUpload
from pomona.commands.output import DryRun, OutputOptions
from pomona.commands.running import run_settings
from pomona.errors import PomonaError
from pomona.images.folders import PARENT
from pomona.progress import count
from pomona.store.folders.registry import place

if TYPE_CHECKING:
    from pomona.s3.address import Access


def _parse_size(text: str | int) -> int:
    """Parses a number of bytes: 128000000, 128MB or 1GB."""
    number = re.fullmatch(r"(\d+)(MB|GB)?", str(text))
    if number is None:
        raise typer.BadParameter(f"{text!r} is not a size: give bytes, or 128MB or 1GB")
    return int(number[1]) * {None: 1, "MB": 10**6, "GB": 10**9}[number[2]]


PackSize = Annotated[
    int,
    typer.Option(
        "--size",
        parser=_parse_size,
        metavar="SIZE",
        show_default=False,
        help="Approximate size of each file of the pack, such as 50MB or 1GB. (default: 128MB)",
    ),
]


def upload(
    source: ImagesToUpload,
    to: Address,
    buckets: BucketOptions,
    output: OutputOptions,
    strip_metadata: Annotated[
        bool,
        typer.Option(
            "--strip-metadata/--no-strip-metadata",
            help="Remove EXIF (except orientation), XMP, IPTC and comments; pixel data and colour "
            "profile do not change. AVIF and HEIC cannot be stripped, and are refused.",
        ),
    ] = True,
    include: Include = None,
    exclude: Exclude = None,
    allow_damaged: AllowDamaged = False,
    dry_run: DryRun = False,
    workers: Workers = None,
) -> None:
    """Upload new and changed images to a bucket, with EXIF and other embedded metadata removed.

    An image is sent again only if its content has changed. Run the same command again to continue
    after a stop. Images that are no longer in SOURCE stay in the bucket. To write a store to a
    bucket, give `pomona run` an s3:// address as OUT.
    """
    from pomona.transfer import upload as uploading

    uploading_settings = uploading.UploadSettings(
        source=source,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        strip_metadata=strip_metadata,
        allow_damaged=allow_damaged,
    )
    engine = EngineOptions(workers=workers).open()
    with run_settings(output, buckets.access(), engine) as settings:
        uploaded = uploading.upload(to, uploading_settings, settings, dry_run=dry_run)
        output.result(dataclasses.asdict(uploaded), uploaded.in_words())
        if uploaded.refused:
            raise PomonaError(
                f"not sent: {uploaded.complaint()}; repair them, or leave them out, or send them "
                "as they are with --no-strip-metadata; --json lists them all"
            )


def download(
    source: Address,
    folder: Annotated[
        Any, typer.Argument(parser=place, metavar="DIR", help="Folder for the files.")
    ],
    buckets: ReadBucketOptions,
    output: OutputOptions,
    include: Include = None,
    dry_run: DryRun = False,
    workers: Workers = None,
) -> None:
    """Download new and changed files (images or a store) from a bucket.

    Files are compared by content. Run the same command again to continue after a stop. Files
    that are no longer in the bucket stay in DIR.
    """
    fetch_files(source, folder, buckets.access(), output, workers, include, dry_run=dry_run)


def fetch_files(
    source: str | Path,
    folder: str | Path,
    access: Access,
    output: OutputOptions,
    workers: int | None,
    include: Sequence[str] | None = None,
    *,
    dry_run: bool = False,
) -> None:
    """Downloads what is new or changed, and tells of it: also what `pomona aws fetch` does."""
    from pomona.transfer import download as downloading

    engine = EngineOptions(workers=workers).open()
    with run_settings(output, access, engine) as settings:
        patterns = tuple(include or ())
        downloaded = downloading.download(source, folder, settings, patterns, dry_run=dry_run)
        output.result(dataclasses.asdict(downloaded), downloaded.in_words())
        if downloaded.refused:
            raise PomonaError(
                f"{count(len(downloaded.refused), 'key')} cannot be saved in {folder}, such as "
                f"{downloaded.refused[0]!r}: copy them to other keys; --json lists them all"
            )


def pack(
    source: ImagesToPack,
    dest: Annotated[
        Any,
        typer.Argument(
            parser=place,
            metavar="DEST",
            help="Folder or s3://BUCKET/PREFIX for the pack: new, empty, or an existing pack.",
        ),
    ],
    buckets: BucketOptions,
    output: OutputOptions,
    labels: Labels = None,
    label_from: LabelFrom = PARENT,
    splits: Splits = None,
    include: Include = None,
    exclude: Exclude = None,
    size_bytes: PackSize = 128_000_000,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Allow the removal of more than half of the pack's images. (default: refuse that, "
            "and change nothing)",
        ),
    ] = False,
    dry_run: DryRun = False,
    workers: Workers = None,
) -> None:
    """Pack many image files, unchanged, into a few large Parquet files, for faster reading.

    `pomona run` takes a pack as SOURCE. Run the same command again to continue after a stop, or to
    update the pack: it adds new and changed images, and removes those that are no longer in
    SOURCE or that --include and --exclude leave out.
    """
    from pomona.transfer import pack as packing

    packing_settings = packing.PackSettings(
        source=source,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        labels=labels,
        label_from=label_from,
        splits=splits,
        size_bytes=size_bytes,
        yes=yes,
    )
    engine = EngineOptions(workers=workers).open()
    with run_settings(output, buckets.access(), engine) as settings:
        packed = packing.make_pack(dest, packing_settings, settings, dry_run=dry_run)
        output.result(dataclasses.asdict(packed), packed.in_words())
