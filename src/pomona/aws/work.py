"""What a run has left to do, found on this machine before anything costs."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from pomona.images.sources.bucket import BucketSource
from pomona.pipeline.context import RunSettings, check_forgotten
from pomona.pipeline.extract import are_extracted, next_plan
from pomona.pipeline.prepare import prepare
from pomona.pipeline.settings import ExtractSettings
from pomona.store.plan import shards


@dataclass(frozen=True)
class Work:
    """The images of a source, as the store knows them.

    Parameters
    ----------
    images : int
        How many the source has.
    to_do : int
        Those in parts of the store that are not done.
    image_bytes : float
        The mean size of their files.
    packed : bool
        Whether they are in packs or containers, where one request reads many.
    is_known : bool
        Whether the store's plan says of them what the source says.
    """

    images: int
    to_do: int
    image_bytes: float
    packed: bool
    is_known: bool


def find_work(out: str, extracting: ExtractSettings, settings: RunSettings) -> Work:
    """Finds what a run has left to do; raises what it would raise before its first task.

    Parameters
    ----------
    out : str
        The address of the store.
    extracting : ExtractSettings
        Which images to take, and how they become features.
    settings : RunSettings
        How the command runs.

    Raises
    ------
    UsageError, BackboneError, SourceError, StoreError, ObjectStoreError
        If one of them cannot be used, or does not fit the store.
    """
    job = prepare(out, extracting, settings)
    check_forgotten(job.store)
    before, plan, _ = next_plan(job)
    existing = job.store.parts_with_files()
    begun = [shard for shard in shards(plan) if shard.part in existing]
    done = are_extracted(job.store, begun, job.recipe)
    extracted = sum(
        shard.images.num_rows for shard, is_done in zip(begun, done, strict=True) if is_done
    )
    return Work(
        images=job.catalog.num_rows,
        to_do=plan.num_rows - extracted,
        image_bytes=pc.mean(job.catalog["size_bytes"]).as_py(),
        packed=not isinstance(job.images, BucketSource),
        is_known=plan.equals(before),
    )
