"""The store's projection: when it must be fitted again, and the files that hold it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pomona.pca.projection import Projection
from pomona.progress import count
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
    """Says why a store needs a new projection.

    Parameters
    ----------
    kept : Projection, optional
        The projection that it has.
    rows : int
        How many rows of features the store holds now.
    requested : tuple, optional
        ("components", k) or ("variance", share), as requested now.
    keep : bool
        Whether growth is no reason.

    Returns
    -------
    str or None
        The reason, or None if it needs none.
    """
    if kept is None:
        return "there is none"
    if requested is not None and requested != kept.requested:
        return f"{_in_words(*requested)} requested, {_in_words(*kept.requested)} before"
    if kept.n * 2 < rows and not keep:
        return f"{count(rows, 'image')} now, {kept.n:,} when it was fitted"
    return None


def _in_words(name: str, amount: float) -> str:
    """A requested size of the PCA: 3 components, 0.9 of the variance."""
    return (
        count(int(amount), "component") if name == "components" else f"{amount:g} of the variance"
    )


def save(store: Store, projection: Projection | None) -> None:
    """Replaces the store's projection. Rows of the old one go first: two never mix in pca/."""
    for name in ("pca", "csv/pca", "model_info"):
        store.files.delete(name)
    if projection is not None:
        store.files.write(PROJECTION, projection.to_bytes())


def describe(store: Store, projection: Projection) -> None:
    """Writes the files of model_info/ that describe the projection, if they are missing."""
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
