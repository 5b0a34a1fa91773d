"""The way in from Python: `pomona.run` and `pomona.open`."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pomona.backbones import registry
from pomona.backbones.overrides import ModelOverrides
from pomona.engines.registry import open_engine
from pomona.images.decode import MAX_PIXELS
from pomona.pipeline import run as pipeline
from pomona.pipeline.context import RunSettings
from pomona.progress import PlainProgress, Progress
from pomona.s3.address import Access, place
from pomona.store.store import Store


def open(path: str | os.PathLike[str], *, allow_region: Sequence[str] = ()) -> Store:
    """The store in a folder or at an s3:// address, to be read. Raises StoreError for none there.

    allow_region: of AWS's outside the European Economic Area.
    """
    store = Store(place(path), Access(tuple(allow_region)))
    _ = store.manifest
    return store


def run(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    backbone: str = registry.DEFAULT,
    input_size: int | None = None,
    backbone_sha256: str | None = None,
    layer: str | None = None,
    preprocessing: str | None = None,
    layout: str | None = None,
    fit: str = "stretch",
    runtime: str = "onnxruntime",
    precision: str = "float32",
    variance: float | None = None,
    components: int | None = None,
    include: Sequence[str] = (),
    labels: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    max_pixels: int = MAX_PIXELS,
    retry_errors: str | None = None,
    sync: bool = False,
    yes: bool = False,
    refit: bool = False,
    keep_projection: bool = False,
    csv: bool | None = None,
    thumbnails: bool | None = None,
    engine: str = "local",
    workers: int | None = None,
    master: str | None = None,
    spark_conf: Mapping[str, str] | None = None,
    progress: bool = True,
    allow_region: Sequence[str] = (),
    sse: str | None = None,
    kms_key: str | None = None,
    insecure_endpoint: bool = False,
) -> Store:
    """The whole way, as `pomona run SOURCE OUT` with the flags of these names; returns the store.

    max_pixels: of an image, before it is refused;
    retry_errors: "retryable" or "all", as `--retry-errors` and `--retry-errors=all`;
    progress: whether a line every few seconds goes to stderr. Raises PomonaError.
    """
    extracting = pipeline.ExtractSettings(
        source=place(source),
        include=include,
        labels=None if labels is None else Path(labels).expanduser(),
        limit=limit,
        seed=seed,
        backbone=backbone,
        fit=fit,
        max_pixels=max_pixels,
        retry_errors=retry_errors,
        sync=sync,
        yes=yes,
        overrides=ModelOverrides(backbone_sha256, layer, input_size, preprocessing, layout),
        runtime=runtime,
        precision=precision,
    )
    reducing = pipeline.ReduceSettings(components, variance, refit, keep_projection, csv)
    running = RunSettings(
        open_engine(engine, workers, master=master, conf=spark_conf),
        PlainProgress(sys.stderr) if progress else Progress(),
        _as_call(
            str(source), str(out), extracting, extracting.overrides, reducing, thumbnails=thumbnails
        ),
        thumbnails,
        access=Access(tuple(allow_region), sse, kms_key, insecure_endpoint),
    )
    pipeline.run(place(out), extracting, reducing, running)
    return Store(place(out), running.access)


def _as_call(
    source: str,
    out: str,
    *settings: pipeline.ExtractSettings | pipeline.ReduceSettings | ModelOverrides,
    thumbnails: bool | None,
) -> str:
    """The call that repeats a run."""
    named = {
        "backbone_sha256" if field.name == "sha256" else field.name: (
            getattr(setting, field.name),
            field.default,
        )
        for setting in settings
        for field in dataclasses.fields(setting)
        if field.name not in ("source", "overrides")
    }
    given = [
        f"{name}={(str(value) if isinstance(value, Path) else value)!r}"
        for name, (value, default) in named.items()
        if value != default
    ]
    given += [] if thumbnails is None else [f"{thumbnails=}"]
    return f"pomona.run({', '.join([repr(source), repr(out), *given])})"
