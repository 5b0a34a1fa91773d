"""Vectors: rows of features or principal components, with the images they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pomona.errors import PomonaError
from pomona.store.tables import PREFIXES, matrix, spread

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Vectors:
    """Rows of numbers and the images they belong to, sorted by path within each part of the store.

    Parameters
    ----------
    table : pyarrow.Table
        Table of n rows: path, label, split and `column`.
    column : str
        The column of numbers: "features" or "pca", `fixed_size_list<float32>[width]`.
    """

    table: pa.Table
    column: str

    @cached_property
    def array(self) -> npt.NDArray[np.float32]:
        """The numbers: float32[n, width]."""
        return matrix(self.table, self.column)

    @property
    def paths(self) -> list[str]:
        """The path of each row's image, relative to the source."""
        return self.table["path"].to_pylist()  # type: ignore[no-any-return]

    @property
    def labels(self) -> list[str | None]:
        """The label of each row's image; None where it has none."""
        return self.table["label"].to_pylist()  # type: ignore[no-any-return]

    @property
    def splits(self) -> list[str | None]:
        """The split of each row's image; None where it has none."""
        return self.table["split"].to_pylist()  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self.column}, {self.array.shape[1]} numbers each>"

    def to_arrow(self) -> pa.Table:
        """Returns the Arrow table, with the numbers as a `fixed_size_list<float32>`."""
        return self.table

    def to_pandas(self) -> pd.DataFrame:
        """Returns a data frame: path, label, split and a column a number (pc_1 or feature_1, …).

        Raises
        ------
        PomonaError
            If pandas is not installed.
        """
        try:
            frame: pd.DataFrame = spread(self.table, self.column, PREFIXES[self.column]).to_pandas()
        except ModuleNotFoundError as exc:
            raise PomonaError('pandas is not installed: pip install "pomona[pandas]"') from exc
        return frame
