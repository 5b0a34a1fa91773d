"""Variance: how much the components hold, of the images they were fitted on and of later ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from pomona.pca.projection import Projection
from pomona.store.layout import part_name
from pomona.store.store import Store
from pomona.store.tables import matrix

SHARES = (0.80, 0.90, 0.95, 0.99)
CURVE_POINTS = 200
PARTS_READ = 200


def curve(projection: Projection) -> dict[str, Any]:
    """The curve of the cumulative variance as far as 99 %, and the kept components."""
    cumulative = np.cumsum(projection.explained)
    needed = [(share, int(np.searchsorted(cumulative, share)) + 1) for share in SHARES]
    is_flat = cumulative[-1] == 0
    last = min(len(cumulative), max(projection.k, 2 if is_flat else needed[-1][1]))
    shown = np.unique([*np.linspace(1, last, CURVE_POINTS).astype(int), projection.k])
    step = next(m * 10**e for e in range(9) for m in (1, 2, 5) if last <= 6 * m * 10**e)
    return {
        "kept": projection.k,
        "explained": projection.variance_explained,
        "all": len(cumulative),
        "fitted_on": projection.n,
        "is_flat": is_flat,
        "needed": needed,
        "last": last,
        "ticks": range(0, last + 1, step),
        "curve": [(0, 0.0), *((int(i), float(cumulative[i - 1])) for i in shown)],
        "table": [
            (i + 1, float(projection.explained[i]), float(cumulative[i]))
            for i in range(projection.k)
        ],
    }


def added_since(store: Store, projection: Projection) -> dict[str, Any] | None:
    """How the projection does on the images that came after it, whose parts are later ones.

    explained: 1 − residual / total of their features around the projection's mean. Of very many
    parts, some that are spread evenly are read. None where there are no such images.
    """
    last = projection.last_part
    parts = [] if last is None else [part for part in store.part_numbers("features") if part > last]
    if not parts:
        return None
    read = sorted({parts[at] for at in np.linspace(0, len(parts) - 1, PARTS_READ).astype(int)})
    rows, held, total = 0, 0.0, 0.0
    for part in read:
        features = matrix(store.read_table(part_name("features", part), ["features"]), "features")
        centred = features - projection.mean
        rows += len(features)
        total += float((centred**2).sum())
        held += float((projection.apply(features).astype(np.float64) ** 2).sum())
    if not rows:
        return None
    return {
        "images": rows,
        "explained": held / total if total else 1.0,
        "is_sample": len(read) < len(parts),
    }
