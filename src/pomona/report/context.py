"""Context: what the sections of a report are made from, read from the store once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pomona.memory import release_memory
from pomona.pca.projection import Projection
from pomona.report import projected
from pomona.report.copies import Copies, find_copies, find_repeated
from pomona.report.files import Files, describe_files
from pomona.report.projected import Projected
from pomona.store import schemas
from pomona.store.plan import label_count
from pomona.store.store import Store


@dataclass(frozen=True)
class Totals:
    """The numbers of images in all, with features, with an error, and without a label; labels."""

    images: int
    features: int
    errors: int
    labels: int
    unlabelled: int


@dataclass(frozen=True)
class ReportContext:
    """What the sections are made from. No table of all images is among it.

    Attributes
    ----------
    store : Store
        The store, for a section that reads more.
    manifest : mapping
        What pomona.json says, or is about to say.
    totals : Totals
        How many images, labels and errors there are.
    label_counts : pyarrow.Table
        label, split and count_all: a row for each pair that occurs.
    files : Files
        Formats and sizes of the images' files.
    copies : Copies
        Files with the same bytes.
    errors : pyarrow.Table
        A row of `schemas.ERRORS` for each image without features.
    projection : Projection or None
        The fitted PCA.
    projected : Projected or None
        The images on the components, all or a sample. None where there is no projection.
    threads : int
        How many threads a section may compute on.
    """

    store: Store
    manifest: Mapping[str, Any]
    totals: Totals
    label_counts: pa.Table
    files: Files
    copies: Copies
    errors: pa.Table
    projection: Projection | None
    projected: Projected | None
    threads: int

    @property
    def runs(self) -> Sequence[Mapping[str, Any]]:
        """The manifest's runs, the last one first."""
        return self.manifest["runs"][::-1]  # type: ignore[no-any-return]

    @property
    def extract_runs(self) -> Sequence[Mapping[str, Any]]:
        """The runs that extracted features, the last one first."""
        return [run for run in self.runs if run["images"]]


def read_context(store: Store, manifest: Mapping[str, Any], threads: int) -> ReportContext:
    """Reads what the sections are made from.

    Each table of all images is let go of before the next one is read.

    Parameters
    ----------
    store : Store
        The store to read.
    manifest : mapping
        What its pomona.json says, or is about to say.
    threads : int
        How many threads a section may compute on.

    Raises
    ------
    StoreError
        If a table cannot be read.
    """
    release_memory()
    errors = store.errors()
    projection = store.find_projection() if manifest["pca"] else None
    totals, label_counts = _read_plan(store, errors.num_rows)
    files, repeated = _read_files(store)
    release_memory()
    images = schemas.METADATA.empty_table()
    if projection or len(repeated):
        images = store.metadata(["path", "label", "split", "sha256"])
    return ReportContext(
        store,
        manifest,
        totals,
        label_counts,
        files,
        find_copies(images, repeated),
        errors,
        projection,
        projected.load(store, projection, images) if projection else None,
        threads,
    )


def _read_plan(store: Store, errors: int) -> tuple[Totals, pa.Table]:
    """The totals, given the number of errors, and the images per label and split."""
    plan = store.plan(["label", "split", "part"])
    totals = Totals(
        images=plan.num_rows,
        features=sum(store.rows_by_part("features", plan).values()),
        errors=errors,
        labels=label_count(plan),
        unlabelled=plan["label"].null_count,
    )
    return totals, plan.group_by(["label", "split"]).aggregate([([], "count_all")])


def _read_files(store: Store) -> tuple[Files, pa.Array]:
    """The formats and sizes of the files, and what `find_repeated` says of their digests."""
    metadata = store.metadata(["size_bytes", "width", "height", "format", "sha256"])
    return describe_files(metadata), find_repeated(metadata["sha256"])
