"""Page: the numbers of a store, and the page that shows them.

`numbers` computes all that is said; `template.html.j2` says it and `page.css` dresses it. What
comes from outside (labels, paths, details) is escaped by Jinja2.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, PackageLoader, StrictUndefined

from pomona import schemas
from pomona.backbones import registry
from pomona.progress import duration
from pomona.projection import Projection
from pomona.store import Store

SHARES = (0.80, 0.90, 0.95, 0.99)
LABELS_SHOWN, LABELS_LISTED = 60, 2_000
SPLITS_SHOWN = 5
KINDS_SHOWN = 10
PATHS_SHOWN = 100
RUNS_SHOWN = 20
CURVE_POINTS = 200


def render(store: Store, manifest: dict[str, Any]) -> str:
    """The whole page: HTML that loads nothing and runs nothing."""
    environment = Environment(
        loader=PackageLoader("pomona", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, duration=duration, percent=percent, whole="{:,}".format)
    return environment.get_template("template.html.j2").render(numbers(store, manifest))


def numbers(store: Store, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the page shows, by section, from a store's tables and this manifest."""
    metadata, errors = store.metadata(), store.errors()
    projection = store.find_projection() if manifest["pca"] else None
    runs = manifest["runs"][::-1]
    extracting = [run for run in runs if run["images"]]
    totals = {
        "images": metadata.num_rows,
        "errors": errors.num_rows,
        "features": metadata.num_rows - errors.num_rows,
        "labels": pc.count_distinct(metadata["label"]).as_py(),
    }
    labels = _labels(metadata)
    is_stopped = totals["images"] != manifest["totals"]["images"]
    return {
        "name": PurePath(manifest["source"]).name or manifest["source"],
        "source": manifest["source"],
        "store": str(store.files),
        "totals": totals,
        "unlabelled": metadata["label"].null_count,
        "judgements": _judgements(totals, labels["rows"], projection, is_stopped),
        "variance": _variance(projection) if projection else None,
        "labels": labels,
        "formats": _kinds(metadata["format"]),
        "sizes": _kinds(_sizes(metadata)),
        "errors": _errors(errors),
        "recipe": {name: value for name, value in manifest["recipe"].items() if value is not None},
        "backbone": _backbone(manifest["recipe"]["backbone"]),
        "pca": manifest["pca"],
        "runs": runs[:RUNS_SHOWN],
        "runs_hidden": len(runs[RUNS_SHOWN:]),
        "last_run": extracting[0] if extracting else None,
    }


def count(number: int, noun: str) -> str:
    """A number and its noun: 1 image, 2,000 images."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percent(share: float, digits: int = 1) -> str:
    """A share as percent, with a space that does not break: 90.1 %."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _judgements(
    totals: dict[str, int],
    labels: list[dict[str, Any]],
    projection: Projection | None,
    is_stopped: bool,
) -> list[str]:
    """What the numbers say, in sentences."""
    images, errors, features = totals["images"], totals["errors"], totals["features"]
    if is_stopped:
        said = ["A run of this store was stopped: give its command again to finish it."]
    elif not images:
        said = ["The store holds no images."]
    elif not errors:
        said = ["Every image gave features."]
    elif not features:
        said = ["No image gave features: see Errors below."]
    else:
        said = [f"{errors:,} of {count(images, 'image')} gave no features: see Errors below."]
    counts = [row["total"] for row in labels if row["label"] is not None]
    if not counts:
        said += ["No image has a label."] if images else []
    elif min(counts) < max(counts):
        said.append(
            f"The {len(counts):,} labels' counts range from {min(counts):,} to {max(counts):,}."
        )
    else:
        each = (
            "The only label has" if len(counts) == 1 else f"Each of the {len(counts):,} labels has"
        )
        said.append(f"{each} {count(counts[0], 'image')}.")
    if projection and projection.n != features:
        said.append(
            f"The components were fitted on {count(projection.n, 'image')}, "
            f"the store holds features of {features:,} now."
        )
    return said


def _variance(projection: Projection) -> dict[str, Any]:
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


def _labels(metadata: pa.Table) -> dict[str, Any]:
    """Images per label and split. The splits are sorted by count, the rarest of many are one."""
    splits = _counter(metadata["split"])
    shown = [split for split, _ in splits.most_common(SPLITS_SHOWN)]
    has_others = len(splits) > len(shown)
    groups = metadata.group_by(["label", "split"]).aggregate([([], "count_all")]).to_pylist()
    rows: dict[str | None, list[int]] = {}
    for group in groups:
        counts = rows.setdefault(group["label"], [0] * (len(shown) + has_others))
        at = shown.index(group["split"]) if group["split"] in shown else -1
        counts[at] += group["count_all"]
    table: list[dict[str, Any]] = [
        {"label": label, "counts": rows[label], "total": sum(rows[label])}
        for label in sorted(rows, key=_by_number)
    ]
    return {
        "splits": shown,
        "has_others": has_others,
        "is_split": set(splits) - {None} != set(),
        "rows": table,
        "most": max((row["total"] for row in table), default=0),
        "shown": LABELS_SHOWN,
        "listed": LABELS_LISTED,
    }


def _by_number(label: str | None) -> tuple[bool, str, str]:
    """Sorts Apple 2 before Apple 10, and no label last."""
    text = label or ""
    return label is None, re.sub(r"\d+", lambda number: number[0].zfill(12), text.casefold()), text


def _counter(column: pa.ChunkedArray) -> Counter[str | None]:
    """How often each value occurs; those of one count in the order of their names."""
    pairs = [(pair["values"], pair["counts"]) for pair in pc.value_counts(column).to_pylist()]
    return Counter(dict(sorted(pairs, key=lambda pair: _by_number(pair[0]))))


def _kinds(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    """The commonest values with their counts, then the others' and those not known."""
    found = _counter(column)
    unknown = found.pop(None, 0)
    top = found.most_common(KINDS_SHOWN)
    rest = {
        f"{len(found) - len(top):,} others": found.total() - sum(number for _, number in top),
        "not known": unknown,
    }
    return [(str(kind), number) for kind, number in [*top, *rest.items()] if number]


def _sizes(metadata: pa.Table) -> pa.ChunkedArray:
    """string[n]: width × height."""
    texts = [metadata[side].cast(pa.string()) for side in ("width", "height")]
    return pc.binary_join_element_wise(*texts, " × ")


def _errors(errors: pa.Table) -> list[dict[str, Any]]:
    """The errors by stage and reason, the commonest first, with some paths of each."""
    kinds = errors.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return [
        {
            **kind,
            "advice": schemas.REASONS[kind["reason"]][1],
            "paths": errors.filter(
                (pc.field("stage") == kind["stage"]) & (pc.field("reason") == kind["reason"])
            )
            .slice(0, PATHS_SHOWN)
            .select(["path", "detail"])
            .to_pylist(),
        }
        for kind in sorted(kinds, key=lambda kind: (-kind["count_all"], kind["reason"]))
    ]


def _backbone(name: str) -> registry.Backbone | None:
    """What is known of a backbone; None of one that is not pomona's, as with imported features."""
    return registry.get(name) if name in registry.names() else None
