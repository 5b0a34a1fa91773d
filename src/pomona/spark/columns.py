"""The stages' columns: checks of a DataFrame."""

from __future__ import annotations

from pyspark.ml.linalg import VectorUDT
from pyspark.ml.param.shared import HasInputCol, HasOutputCol
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DataType, DoubleType, FloatType, StructField

from pomona.errors import UsageError

VECTORS = (
    VectorUDT(),
    *(ArrayType(kind(), nulls) for kind in (FloatType, DoubleType) for nulls in (True, False)),
)


def refuse_connect(dataset: DataFrame) -> None:
    """Raises UsageError for a DataFrame of a Spark Connect session."""
    if type(dataset).__module__.startswith("pyspark.sql.connect"):
        raise UsageError(
            "pomona's stages need broadcasts and RDDs, which Spark Connect does not have: "
            "use a classic session, as SparkSession.builder.master(…) gives"
        )


def require_column(
    dataset: DataFrame, param: str, name: str | None, wanted: str, types: tuple[DataType, ...]
) -> StructField:
    """Returns the column that a stage's parameter names.

    Parameters
    ----------
    dataset : DataFrame
        The stage's input.
    param : str
        The parameter's name, for messages.
    name : str, optional
        The column's name. None: the parameter is not set.
    wanted : str
        The column's content, for messages.
    types : tuple of DataType
        The types that it may have.

    Raises
    ------
    UsageError
        If there is no such column, or it is of another type.
    """
    if name is None:
        raise UsageError(f"{param} is not set: name the column of {wanted}")
    if name not in dataset.columns:
        raise UsageError(f"no column {name!r} ({param}): there are {', '.join(dataset.columns)}")
    field = dataset.schema[name]
    if field.dataType not in types:
        raise UsageError(
            f"column {name!r} ({param}) is {field.dataType.simpleString()}, not {wanted}"
        )
    return field


def require_new(dataset: DataFrame, param: str, name: str) -> None:
    """Raises UsageError if there is such a column already."""
    if name in dataset.columns:
        raise UsageError(f"there is a column {name!r} already: give {param} another name")


def vector_field(name: str, width: int) -> StructField:
    """Returns a column of vectors, of which later stages learn the width without a job."""
    return StructField(name, VectorUDT(), True, {"ml_attr": {"num_attrs": width}})


class VectorColumns(HasInputCol, HasOutputCol):
    """The two columns that PCA and its model share."""

    def _check_columns(self, dataset: DataFrame) -> str:
        """Returns the input column's name. Raises UsageError if the columns cannot be used."""
        refuse_connect(dataset)
        column = self.getInputCol() if self.isDefined("inputCol") else None
        field = require_column(
            dataset, "inputCol", column, "vectors or arrays of float or double", VECTORS
        )
        require_new(dataset, "outputCol", self.getOutputCol())
        return field.name
