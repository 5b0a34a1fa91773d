"""Counts: the images of a store by label, split, format, size and error."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pomona.report.judgement import count
from pomona.store import schemas

LABELS_SHOWN, LABELS_LISTED = 30, 2_000
SPLITS_SHOWN = 5
KINDS_SHOWN = 10
PATHS_SHOWN = 100


def by_label(images: pa.Table) -> dict[str, Any]:
    """Images per label and split, of a table with both.

    The splits are sorted by count, the rarest of many are one.
    """
    splits = _counter(images["split"])
    shown = [split for split, _ in splits.most_common(SPLITS_SHOWN)]
    has_others = len(splits) > len(shown)
    groups = images.group_by(["label", "split"]).aggregate([([], "count_all")]).to_pylist()
    rows: dict[str | None, list[int]] = {}
    for group in groups:
        counts = rows.setdefault(group["label"], [0] * (len(shown) + has_others))
        at = shown.index(group["split"]) if group["split"] in shown else -1
        counts[at] += group["count_all"]
    table: list[dict[str, Any]] = [
        {"label": label, "counts": rows[label], "total": sum(rows[label])}
        for label in sorted(rows, key=by_number)
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


def by_number(label: str | None) -> tuple[bool, str, str]:
    """Sorts Apple 2 before Apple 10, and no label last."""
    text = label or ""
    return label is None, re.sub(r"\d+", lambda number: number[0].zfill(12), text.casefold()), text


def _counter(column: pa.ChunkedArray) -> Counter[str | None]:
    """How often each value occurs; those of one count in the order of their names."""
    pairs = [(pair["values"], pair["counts"]) for pair in pc.value_counts(column).to_pylist()]
    return Counter(dict(sorted(pairs, key=lambda pair: by_number(pair[0]))))


def by_kind(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    """The commonest values with their counts, then the others' and those not known."""
    found = _counter(column)
    unknown = found.pop(None, 0)
    top = found.most_common(KINDS_SHOWN)
    rest = {
        count(len(found) - len(top), "other"): found.total() - sum(number for _, number in top),
        "not known": unknown,
    }
    return [(str(kind), number) for kind, number in [*top, *rest.items()] if number]


def sizes(metadata: pa.Table) -> pa.ChunkedArray:
    """string[n]: width × height."""
    texts = [metadata[side].cast(pa.string()) for side in ("width", "height")]
    return pc.binary_join_element_wise(*texts, " × ")


def most_pixels(metadata: pa.Table) -> int:
    """Those of the largest image that is known."""
    width, height = (metadata[side].cast(pa.int64()) for side in ("width", "height"))
    return pc.max(pc.multiply(width, height)).as_py() or 0


def file_sizes(metadata: pa.Table) -> list[tuple[str, int]]:
    """The smallest, the median, the largest and the sum of the files' sizes in bytes."""
    known = pc.drop_null(metadata["size_bytes"])
    if not len(known):
        return []
    ends = pc.min_max(known)
    [median] = pc.quantile(known, 0.5, interpolation="lower").to_pylist()
    return [
        ("smallest", ends["min"].as_py()),
        ("median", median),
        ("largest", ends["max"].as_py()),
        ("all together", pc.sum(known).as_py()),
    ]


def by_reason(errors: pa.Table) -> list[dict[str, Any]]:
    """The errors by stage and reason, the commonest first, with some paths of each."""
    kinds = errors.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist()
    return [
        {
            **kind,
            "advice": schemas.REASONS[kind["reason"]].advice,
            "paths": errors.filter(
                (pc.field("stage") == kind["stage"]) & (pc.field("reason") == kind["reason"])
            )
            .slice(0, PATHS_SHOWN)
            .select(["path", "detail"])
            .to_pylist(),
        }
        for kind in sorted(kinds, key=lambda kind: (-kind["count_all"], kind["reason"]))
    ]
