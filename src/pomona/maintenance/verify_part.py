"""The check of one part of a store against the plan."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pomona.errors import ImageError, StoreDamagedError
from pomona.extraction.parts import TABLES, part_footer
from pomona.images.prefetch import ImageRequest, Prefetcher
from pomona.images.sources.base import Source
from pomona.pca.projection import Projection
from pomona.progress import count
from pomona.store import schemas
from pomona.store.folders.base import Folder
from pomona.store.layout import part_name, provenance
from pomona.store.plan import Shard
from pomona.store.recipe import Recipe
from pomona.store.store import Store
from pomona.store.tables import PREFIXES, matrix, spread

RUN = "run the store's `pomona run` again"
REDO = f"delete it and {RUN}"
REDUCE = "delete it and `pomona reduce` the store"
PREDICT = "run the `pomona predict` that made it again"
REPREDICT = f"delete it and {PREDICT}"
TOUCH = f"touch them and {RUN}"

# Another type of machine may round the last bits of a projected row differently.
ROUNDING = 4 * np.finfo(np.float32).eps


@dataclass(frozen=True)
class Finding:
    """Something wrong with a store: where (a name in the store), what, and the remedy."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class VerifyTask:
    """The payload of `check_part`.

    Attributes
    ----------
    files : Folder
        Where the store's files are read.
    recipe : Recipe
        How its features were made.
    projection : Projection, optional
        Its projection. None: pca/ is not checked.
    csv : bool
        Whether it has CSV files.
    predictions : mapping, optional
        What the files of predictions/ say of how they were made. None: they are not checked.
    source : Source, optional
        Where to read the images again.
    """

    files: Folder
    recipe: Recipe
    projection: Projection | None
    csv: bool
    predictions: Mapping[str, str] | None = None
    source: Source | None = None


@dataclass(frozen=True)
class VerifyResult:
    """The findings of a part, and how many rows it has."""

    findings: list[Finding]
    features: int
    errors: int


def check_part(shard: Shard, payload: VerifyTask, attempt: int = 1) -> VerifyResult:
    """Reads all files of a part, and its images if a source is given."""
    store, findings = Store(payload.files), list[Finding]()
    wanted = part_footer(shard, payload.recipe)
    expected = {
        "metadata": schemas.METADATA,
        "errors": schemas.ERRORS,
        "features": schemas.features(payload.recipe.width),
    }
    tables: dict[str, pa.Table] = {}
    for table in TABLES:
        name = part_name(table, shard.part)
        read = _read(store, name, expected[table], RUN, REDO)
        if isinstance(read, Finding):
            findings.append(read)
            continue
        tables[table] = read
        if provenance(store.footer(name)) != wanted:
            what = "was not made of the images, or by the recipe, that the plan says"
            findings.append(Finding(name, what, RUN))
    if len(tables) == len(TABLES):
        findings += _check_rows(shard, **tables)
        if payload.projection is not None:
            findings += _check_pca(store, shard, tables["features"], payload.projection)
        if payload.csv:
            findings += _check_csv(store, shard, tables, payload.projection)
        if payload.predictions is not None:
            made = {**wanted, **payload.predictions}
            findings += _check_predictions(store, shard, tables["features"], made)
    if payload.source is not None and "metadata" in tables:
        findings += _check_source(shard, tables["metadata"], payload.source)
    rows = {table: tables[table].num_rows if table in tables else 0 for table in TABLES}
    return VerifyResult(findings, rows["features"], rows["errors"])


def _read(
    store: Store, name: str, schema: pa.Schema, missing: str, damaged: str
) -> pa.Table | Finding:
    """Reads a table of this schema, or says why there is none; missing, damaged: the remedies."""
    try:
        table = store.read_table(name)
    except FileNotFoundError:
        return Finding(name, "is missing", missing)
    except StoreDamagedError:
        return Finding(name, "is damaged", damaged)
    if not table.schema.equals(schema):
        return Finding(name, "has other columns than it should", damaged)
    return table


def _check_rows(
    shard: Shard, metadata: pa.Table, errors: pa.Table, features: pa.Table
) -> Iterator[Finding]:
    names = {table: part_name(table, shard.part) for table in TABLES}
    planned, images = set(shard.images["path"].to_pylist()), metadata["path"].to_pylist()
    if images != shard.images["path"].to_pylist():
        lacking, more = len(planned - set(images)), len(set(images) - planned)
        twice = len(images) - len(set(images))
        what = f"lacks {lacking:,} of the plan's images, has {more:,} others, repeats {twice:,}"
        yield Finding(names["metadata"], what, REDO)
    yield from _compare(names["metadata"], metadata, shard.images, schemas.CATALOG.names)
    for table, rows in (("features", features), ("errors", errors)):
        unknown = len(set(rows["path"].to_pylist()) - set(images))
        if unknown:
            yield Finding(
                names[table], f"has {count(unknown, 'row')} of no image of metadata/", REDO
            )
    listed = Counter([*features["path"].to_pylist(), *errors["path"].to_pylist()])
    twice = sum(times > 1 for times in listed.values())
    if twice:
        what = f"has, with errors/, more than one row for {count(twice, 'image')}"
        yield Finding(names["features"], what, REDO)
    without = len(set(images) - set(listed))
    if without:
        what = f"has, with errors/, no row for {count(without, 'image')} of metadata/"
        yield Finding(names["features"], what, RUN)
    same = ["label", "split", "width", "height", "sha256"]
    yield from _compare(names["features"], features, metadata, same)
    yield from _compare(names["errors"], errors, metadata, ["label", "split", "fingerprint"])
    infinite = int((~np.isfinite(matrix(features, "features")).all(axis=1)).sum())
    if infinite:
        yield Finding(
            names["features"],
            f"has {count(infinite, 'row')} with numbers that are not finite",
            REDO,
        )
    if not set(errors["reason"].to_pylist()) <= schemas.REASONS.keys():
        yield Finding(names["errors"], "gives reasons that pomona does not know", REDO)


def _compare(where: str, table: pa.Table, other: pa.Table, columns: list[str]) -> Iterator[Finding]:
    """Compares the rows of both tables, by path."""
    at = pc.index_in(table["path"], value_set=other["path"])
    mine, theirs = table.filter(pc.is_valid(at)), other.take(pc.drop_null(at))
    for column in columns:
        if not mine[column].equals(theirs[column]):
            against = "metadata/" if other.schema.equals(schemas.METADATA) else "the plan"
            yield Finding(where, f"{column} is not what {against} says", REDO)


def _check_pca(
    store: Store, shard: Shard, features: pa.Table, projection: Projection
) -> Iterator[Finding]:
    name = part_name("pca", shard.part)
    table = _read(store, name, schemas.pca(projection.k), "`pomona reduce` the store", REDUCE)
    if isinstance(table, Finding):
        yield table
        return
    footer = store.footer(name) or {}
    if footer.get("projection") != projection.id:
        yield Finding(name, "was made by another projection", REDUCE)
    if provenance(footer) != provenance(store.footer(part_name("features", shard.part))):
        yield Finding(name, "was made of other features than those of its part", REDUCE)
    identity = ["path", "label", "split"]
    if not table.select(identity).equals(features.select(identity)):
        yield Finding(name, "has other rows than features/", REDUCE)
        return
    projected = projection.apply(matrix(features, "features"))
    largest = np.abs(projected).max(axis=1, keepdims=True, initial=0)
    off = ~(np.abs(matrix(table, "pca") - projected) <= ROUNDING * largest)
    if off.any():
        wrong = count(int(off.any(axis=1).sum()), "row")
        what = f"has {wrong} other than the projection of their features"
        yield Finding(name, what, REDUCE)


def _check_csv(
    store: Store, shard: Shard, tables: dict[str, pa.Table], projection: Projection | None
) -> Iterator[Finding]:
    rows = {"metadata": tables["metadata"], "errors": tables["errors"]}
    with contextlib.suppress(
        FileNotFoundError, StoreDamagedError
    ):  # reported where pca/ is checked
        if projection is not None:
            pca = store.read_table(part_name("pca", shard.part))
            rows["pca"] = spread(pca, "pca", PREFIXES["pca"])
    for folder, table in rows.items():
        name = part_name(f"csv/{folder}", shard.part, "csv")
        try:
            read = _read_csv(store.files.read(name), table.schema)
        except FileNotFoundError:
            yield Finding(name, "is missing", "`pomona reduce` the store")
        except (pa.ArrowException, OSError):
            yield Finding(name, "is damaged", REDUCE)
        else:
            if not read.equals(table):
                here = count(read.num_rows, "row")
                what = f"differs from {folder}/: {here} here, {table.num_rows:,} there"
                yield Finding(name, what, REDUCE)


def _check_predictions(
    store: Store, shard: Shard, features: pa.Table, made: Mapping[str, str]
) -> Iterator[Finding]:
    """Holds a part's predictions against its features; made: what their footer must say."""
    name = part_name("predictions", shard.part)
    table = _read(store, name, schemas.PREDICTIONS, PREDICT, REPREDICT)
    if isinstance(table, Finding):
        yield table
        return
    footer = store.footer(name) or {}
    if {key: footer.get(key) for key in made} != made:
        yield Finding(name, "was made of other features, or by another classifier", PREDICT)
    elif not table.select(["path", "sha256"]).equals(features.select(["path", "sha256"])):
        yield Finding(name, "has other rows than features/", REPREDICT)
    else:
        wrong = sum(not _agrees(row, float(made["unsure"])) for row in table.to_pylist())
        if wrong:
            what = f"has {count(wrong, 'row')} that contradict themselves"
            yield Finding(name, what, REPREDICT)


def _agrees(row: Mapping[str, Any], unsure: float) -> bool:
    """Whether a prediction's columns fit each other."""
    probabilities = [each["probability"] for each in row["top"]]
    return (
        bool(row["top"])
        and row["top"][0] == {"label": row["label"], "probability": row["probability"]}
        and probabilities == sorted(probabilities, reverse=True)
        and 0 <= probabilities[-1] <= probabilities[0] <= 1 + ROUNDING
        and row["unsure"] == bool(np.float32(row["probability"]) < np.float32(unsure))
        and 0 <= row["distance"] < math.inf
    )


def _read_csv(data: bytes, schema: pa.Schema) -> pa.Table:
    """Raises ArrowException, also for other columns."""
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    if table.column_names != schema.names:
        raise pa.ArrowInvalid("other columns")
    return table.cast(schema)


def _check_source(shard: Shard, metadata: pa.Table, source: Source) -> Iterator[Finding]:
    """Reads again the images whose content is known; those that are gone are counted elsewhere."""
    changed, unreadable = [], []
    known = metadata.filter(pc.is_valid(metadata["sha256"])).to_pylist()
    wanted = [ImageRequest(row["path"], None, row["size_bytes"] or 0) for row in known]
    source.expect(wanted)
    with contextlib.closing(Prefetcher(source.fetch, wanted, source.ahead)) as ahead:
        for row in known:
            try:
                data = ahead.take(row["path"], None)
            except ImageError as exc:
                if exc.reason != "not_found":
                    unreadable.append(row["path"])
            else:
                if hashlib.sha256(data).hexdigest() != row["sha256"]:
                    changed.append(row["path"])
    where = part_name("metadata", shard.part)
    if changed:
        what = f"{count(len(changed), 'image')} with other content now, such as {changed[0]}"
        yield Finding(where, what, TOUCH)
    if unreadable:
        what = f"{count(len(unreadable), 'image')} cannot be read, such as {unreadable[0]}"
        yield Finding(where, what, "give access, then verify again")
