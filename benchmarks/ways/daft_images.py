"""Daft with pomona's own graph: FOLDER NETWORK.onnx. Each order is a query, from files to rows.

An order says which way: "tuned", as fast as it was seen to be, or "plain", as one writes it first,
with the defaults of Daft and of ONNX Runtime.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import daft
import numpy as np
import onnxruntime
from daft import DataType, Series, col
from daft.functions import decode_image, download, resize

from benchmarks.measuring import WORKERS
from benchmarks.ways import serve

SIDE, WIDTH = 224, 1280
SQUARES = DataType.image("RGB", SIDE, SIDE)
FEATURES = DataType.fixed_size_list(DataType.float32(), WIDTH)


@daft.cls(use_process=True, max_concurrency=WORKERS)
class Extractor:
    """A session of one thread, made once in each of Daft's processes."""

    def __init__(self, model: str, batch: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._batch = batch

    @daft.method.batch(return_dtype=FEATURES, batch_size=64)  # type: ignore[untyped-decorator]
    def features(self, images: Series) -> Any:
        pixels = images.to_arrow().storage.flatten().to_numpy()  # not copied
        squares = pixels.reshape(-1, SIDE, SIDE, 3)
        found = [
            self._session.run(["features"], {"images": squares[at : at + self._batch]})[0]
            for at in range(0, len(squares), self._batch)
        ]
        return np.concatenate(found)


@daft.cls(max_concurrency=WORKERS)
class PlainExtractor:
    """Arrays in, an array out."""

    def __init__(self, model: str) -> None:
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    @daft.method.batch(return_dtype=FEATURES, batch_size=64)  # type: ignore[untyped-decorator]
    def features(self, images: Series) -> Any:
        return self._session.run(["features"], {"images": np.stack(images.to_pylist())})[0]


def prepare() -> Callable[..., dict[str, Any]]:
    folder, model = sys.argv[1:]

    def measure(way: str, batch: int) -> dict[str, Any]:
        extractor = Extractor(model, batch) if way == "tuned" else PlainExtractor(model)
        start = time.perf_counter()
        paths = [str(path) for path in Path(folder).rglob("*.jpg")]
        rows = daft.from_pydict({"path": paths})
        images = resize(decode_image(download(col("path"))), SIDE, SIDE).cast(SQUARES)
        found = rows.select(col("path"), extractor.features(images).alias("features")).to_arrow()
        return {"images": found.num_rows, "seconds": time.perf_counter() - start}

    return measure


if __name__ == "__main__":
    serve(prepare)
