"""A logistic regression of many rows, fitted here and by Spark, and of half as many by Spark.

The rows are made up: a centre for each label, and so much around it that a quarter of the labels
cannot be told.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import Measure, Setting, children, command, figure, need, ratio

WIDTH, LABELS, SPREAD = 100, 100, 3.0
GROUP_ROWS = 100_000


def measure(setting: Setting) -> list[Measure]:
    need("sklearn", "pyspark")
    store = _store(setting.folder, setting.sizes.learned)
    with children("classifier", [(store, "local")], folder=setting.folder) as [here]:
        mine = here.measure(step=1)
    half, all_of_it = [], []
    with children("classifier", [(store, "spark")], folder=setting.folder) as [spark]:
        for _ in range(min(2, setting.sizes.pairs)):
            half.append(spark.measure(step=2))
            all_of_it.append(spark.measure(step=1))
    last = all_of_it[-1]
    return [
        Measure("`--model logistic`, its fit", [mine["fit"]], "s", "≤ 120"),
        Measure("peak memory of its process", [mine["peak_gb"]], "GB", "≤ 4"),
        Measure("its accuracy", [mine["accuracy"]]),
        Measure(
            "accuracy on Spark, difference",
            [abs(last["accuracy"] - mine["accuracy"])],
            "",
            "≤ 0.002",
        ),
        ratio(
            "time on Spark, all rows / half",
            [each["fit"] for each in all_of_it],
            [each["fit"] for each in half],
            "≤ 2.2",
        ),
        figure("its fit on Spark", [each["fit"] for each in all_of_it], "s"),
    ]


def _store(folder: Path, rows: int) -> Path:
    """A store of made-up features."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((LABELS, WIDTH), np.float32)
    writer = None
    for start in range(0, rows, GROUP_ROWS):
        count = min(GROUP_ROWS, rows - start)
        codes = rng.integers(0, LABELS, count)
        x = centres[codes] + SPREAD * rng.standard_normal((count, WIDTH), np.float32)
        table = pa.table(
            {
                "path": [f"{row:08d}.jpg" for row in range(start, start + count)],
                "label": [f"label {code:03d}" for code in codes],
                "features": pa.FixedSizeListArray.from_arrays(x.ravel(), WIDTH),
            }
        )
        writer = writer or pq.ParquetWriter(folder / "rows.parquet", table.schema)
        writer.write_table(table)
    assert writer
    writer.close()
    command("-m", "pomona", "import-features", folder / "rows.parquet", folder / "store", "--quiet")
    (folder / "rows.parquet").unlink()
    return folder / "store"
