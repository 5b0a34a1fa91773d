"""The three files that extraction writes for each part."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pomona.store import schemas
from pomona.store.layout import derived_files, part_name
from pomona.store.plan import Shard
from pomona.store.recipe import Recipe
from pomona.store.store import Store

TABLES = ("metadata", "errors", "features")


def part_footer(shard: Shard, recipe: Recipe) -> dict[str, str]:
    """The footer of a shard's files once they are done."""
    return {"generation": shard.generation, "recipe": recipe.digest}


def is_extracted(store: Store, shard: Shard, recipe: Recipe) -> bool:
    """Whether the files of a shard are those of the plan, with a row for each image."""
    if shard.is_new:
        return False
    wanted = part_footer(shard, recipe)
    footers = [store.footer(part_name(table, shard.part)) or {} for table in TABLES]
    if any({key: footer.get(key) for key in wanted} != wanted for footer in footers):
        return False
    _, errors, features = (int(footer["rows"]) for footer in footers)
    return errors + features == len(shard.images)


def write_part(
    store: Store,
    shard: Shard,
    recipe: Recipe,
    rows: list[dict[str, Any]],
    errors: dict[int, dict[str, Any]],
    features: npt.NDArray[np.float32],
) -> None:
    """Writes the three files of a part.

    Parameters
    ----------
    store : Store
        Where they are written.
    shard : Shard
        The images of the part.
    recipe : Recipe
        How the features were made.
    rows : list of dict
        The shard's images, in order, as rows of `schemas.METADATA`.
    errors : dict
        The error of each row that gave no features: stage, reason, detail, retryable.
    features : float32[rows, width]
        The features; rows with an error are ignored.
    """
    if not shard.is_new:
        # Files derived from those to be replaced go first; `reduction.project` writes them again.
        store.files.delete(*derived_files(shard.part))
    footer = part_footer(shard, recipe)
    failed = [{**errors[row], **_identity(rows[row])} for row in sorted(errors)]
    good = np.array([row for row in range(len(rows)) if row not in errors], np.int64)
    metadata = pa.Table.from_pylist(rows, schemas.METADATA)
    numbers = pa.FixedSizeListArray.from_arrays(features[good].ravel(), recipe.width)
    columns = ["path", "label", "split", "width", "height", "sha256"]
    table = metadata.select(columns).take(pa.array(good)).append_column("features", numbers)
    tables = {
        "metadata": metadata,
        "errors": pa.Table.from_pylist(failed, schemas.ERRORS),
        "features": table.cast(schemas.features(recipe.width)),
    }
    store.map_concurrent(
        lambda name: store.write_table(part_name(name, shard.part), tables[name], footer), TABLES
    )


def _identity(image: dict[str, Any]) -> dict[str, Any]:
    return {key: image[key] for key in ("path", "label", "split", "fingerprint")}
