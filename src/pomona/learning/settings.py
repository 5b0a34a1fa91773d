"""The settings of learning, each with its default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

NEAR_DUPLICATES, NO_GROUPS = "near-duplicates", "none"
# When a new classifier is put in use: not by itself, if it is not worse, or in any case.
NEVER, AUTO, ALWAYS = "never", "auto", "always"


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
    corrections : pyarrow.Table, optional
        What users say of the store's images: id, sha256 and label, one row for each image and user
        statement, in the order of their time.
    promote : str
        "never", "auto" or "always": whether what was trained takes the place of a classifier that
        is in use. A store without one takes it in any case.
    """

    model: str = "auto"
    on: str = "pca"
    labels: Path | None = None
    groups: str | Path = NEAR_DUPLICATES
    seed: int = 0
    corrections: pa.Table | None = None
    promote: str = ALWAYS
