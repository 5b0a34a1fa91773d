"""The settings of learning, each with its default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NEAR_DUPLICATES, NO_GROUPS = "near-duplicates", "none"


@dataclass(frozen=True)
class TrainSettings:
    """What a classifier learns, and from what.

    Parameters
    ----------
    model : str
        A key of `models.registry.MODELS`, or "auto": the best of those that are quick.
    on : str
        "pca" or "features": which rows of the store it takes.
    labels : Path, optional
        A CSV file of path and label, and optionally split. It wins over the store for the paths
        that it names.
    groups : str or Path
        What must not be torn apart: "near-duplicates", "none", or a CSV file of path and group.
    seed : int
        Decides which images are the test's where the store has no splits, and what is random in
        a model.
    """

    model: str = "auto"
    on: str = "pca"
    labels: Path | None = None
    groups: str | Path = NEAR_DUPLICATES
    seed: int = 0
