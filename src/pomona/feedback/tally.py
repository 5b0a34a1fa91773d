"""Tally: the entries of a journal that are wanted, and how often the classifier was right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import UsageError
from pomona.store.feedback import STORED


@dataclass(frozen=True)
class Tally:
    """How often a classifier was right, as far as users have said.

    Attributes
    ----------
    entries : int
        Predictions of which somebody has said something.
    right : int
        Those that were confirmed.
    mistaken : list of (str, str or None, int)
        Of the others the predicted label, the right one (None: not known), and how many; the most
        frequent first.
    stored : int
        Labels of the store's own images of which somebody has said something. They are not among
        the predictions.
    stored_right : int
        Those that were confirmed.
    """

    entries: int
    right: int
    mistaken: list[tuple[str, str | None, int]]
    stored: int = 0
    stored_right: int = 0

    @property
    def share(self) -> float | None:
        """The share of the predictions that were right; None without any."""
        return self.right / self.entries if self.entries else None


def parse_since(text: str) -> datetime:
    """Returns the moment that a user gave, as an ISO date or time; in UTC where it has no zone.

    Raises
    ------
    UsageError
        If it is neither.
    """
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as exc:
        raise UsageError(
            f"`since` {text}: give a date or a time in UTC, such as 2026-05-01 or 2026-05-01T12:00"
        ) from exc
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def choose(
    entries: pa.Table, *, label: str | None = None, since: datetime | None = None
) -> pa.Table:
    """Chooses entries.

    Parameters
    ----------
    entries : pyarrow.Table
        Of schema `schemas.FEEDBACK`.
    label : str, optional
        The label that was predicted, or is the right one. None: any.
    since : datetime, optional
        The earliest time. None: any.
    """
    if label is not None:
        is_right = pc.fill_null(pc.equal(entries["label"], label), False)
        entries = entries.filter(pc.or_(pc.equal(entries["predicted"], label), is_right))
    if since is not None:
        earliest = pa.scalar(since.astimezone(timezone.utc), entries.schema.field("time").type)
        entries = entries.filter(pc.greater_equal(entries["time"], earliest))
    return entries


def tally(entries: pa.Table) -> Tally:
    """Counts how often the classifier was right.

    Parameters
    ----------
    entries : pyarrow.Table
        Of schema `schemas.FEEDBACK`, one for each prediction.
    """
    is_stored = pc.equal(entries["model"], STORED)
    stored, entries = entries.filter(is_stored), entries.filter(pc.invert(is_stored))
    wrong = entries.filter(pc.invert(entries["confirmed"]))
    pairs = Counter(zip(wrong["predicted"].to_pylist(), wrong["label"].to_pylist(), strict=True))
    order = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0][0], pair[0][1] or ""))
    return Tally(
        entries.num_rows,
        entries.num_rows - wrong.num_rows,
        [(predicted, label, number) for (predicted, label), number in order],
        stored.num_rows,
        pc.sum(stored["confirmed"]).as_py() or 0,
    )
