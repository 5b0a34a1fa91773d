"""Errors: the images without features, by reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from pomona.report.context import ReportContext
from pomona.store import schemas

PATHS_SHOWN = 100


@dataclass(frozen=True)
class ErrorGroup:
    """The errors of one reason.

    Attributes
    ----------
    stage, reason : str
        Where it happened, and why, as errors/ has it.
    images : int
        How many images have it.
    advice : str
        What to do about it.
    rows : list of dict
        path and detail of some of them.
    """

    stage: str
    reason: str
    images: int
    advice: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Errors:
    """The errors by stage and reason, the most frequent first.

    Attributes
    ----------
    groups : list of ErrorGroup
        One for each stage and reason.
    damaged : int
        How many damaged images were taken all the same, in all runs.
    """

    groups: list[ErrorGroup]
    damaged: int


def gather(context: ReportContext) -> Errors:
    """Groups the errors."""
    errors = context.errors
    kinds = errors.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist()
    groups = []
    for kind in sorted(kinds, key=lambda kind: (-kind["count_all"], kind["reason"])):
        stage, reason = kind["stage"], kind["reason"]
        own = errors.filter((pc.field("stage") == stage) & (pc.field("reason") == reason))
        rows = own.slice(0, PATHS_SHOWN).select(["path", "detail"]).to_pylist()
        advice = schemas.REASONS[reason].advice
        groups.append(ErrorGroup(stage, reason, kind["count_all"], advice, rows))
    return Errors(groups, sum(run.get("damaged", 0) for run in context.manifest["runs"]))
