"""The store's projection: when it must be fitted again, and the files that hold it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pomona.pca.projection import Projection
from pomona.store.layout import PROJECTION
from pomona.store.store import Store

MODEL_INFO = "model_info/model_info.json"
VARIANCE = "model_info/variance.csv"


def refit_reason(
    kept: Projection | None,
    rows: int,
    requested: tuple[str, float] | None,
    *,
    keep: bool = False,
) -> str | None:
    """Why a store of so many features needs another projection than `kept`; None: it does not.

    requested: the components or the variance asked for now; keep: whether growth is no reason.
    """
    if kept is None:
        return "there is none"
    if requested is not None and requested != kept.requested:
        (name, amount), (name_before, before) = requested, kept.requested
        return f"{name} {amount:g} asked, {name_before} {before:g} before"
    if kept.n * 2 < rows and not keep:
        return f"{rows:,} images now, {kept.n:,} when it was fitted"
    return None


def save(store: Store, projection: Projection | None) -> None:
    """Makes this the store's projection. What another made goes first: two never mix in pca/."""
    for name in ("pca", "csv/pca", "model_info"):
        store.files.delete(name)
    if projection is not None:
        store.files.write(PROJECTION, projection.to_bytes())


def describe(store: Store, projection: Projection) -> None:
    """Writes what model_info/ says of the projection beside it, where that is not there yet."""
    if store.files.exists(MODEL_INFO):
        return
    explained = projection.explained[: projection.k]
    variance = pa.table(
        {
            "component": np.arange(1, projection.k + 1),
            "variance_explained": explained,
            "cumulative_variance": np.cumsum(explained),
        }
    )
    store.write_csv(VARIANCE, variance)
    info = {"recipe": store.recipe.to_dict(), "pca": projection.summary()}
    store.write_json(MODEL_INFO, info)
