"""A dry run: what a run would do, without writing anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pomona.backbones.timing import images_per_second
from pomona.engines.base import usable_cores
from pomona.extraction.known_rows import count_unknown
from pomona.extraction.parts import is_extracted
from pomona.pca.moments import are_few
from pomona.pipeline.context import RunSettings
from pomona.pipeline.extract import find_retries, next_plan
from pomona.pipeline.prepare import prepare
from pomona.pipeline.settings import ExtractSettings
from pomona.progress import count, duration
from pomona.reduction.measure import groups
from pomona.store.plan import label_count, shards

# How long the network is tried out.
TRIAL_S = 0.1
# Bytes per image of everything but the features, measured on 8,710 photographs.
OTHER_BYTES = 2_000


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes
    ----------
    images, labels : int
        Those found in the source.
    to_do : int
        Images that the network would run on, at most.
    to_drop : int
        Images of the store that `sync` would remove.
    images_per_second : float
        Of all workers together, from a trial of the network on this machine.
    disk_bytes : int
        With CSV files and about a hundred components.
    """

    source: str
    store: str
    images: int
    labels: int
    to_do: int
    to_drop: int
    workers: int
    images_per_second: float
    seconds: float
    disk_bytes: int

    def in_words(self) -> str:
        """The text for a person."""
        return (
            f"{count(self.images, 'image')} of {count(self.labels, 'label')} in {self.source}, "
            f"{self.to_do:,} to do{f', {self.to_drop:,} to remove' if self.to_drop else ''}\n"
            f"  time  about {duration(self.seconds)} for the network "
            f"({self.images_per_second:,.0f} images/s with {count(self.workers, 'worker')})\n"
            f"  disk  about {self.disk_bytes / 1e6:,.0f} MB in {self.store}\n"
            "Nothing was written."
        )


def _moments_bytes(rows: int, width: int) -> int:
    """The size of a group's moments: its scatter, or its rows where they are few."""
    return 8 * width * (rows if are_few(rows, width) else width)


def dry_run(out: str | Path, extracting: ExtractSettings, settings: RunSettings) -> DryRun:
    """Finds out what `pipeline.run` would do; raises what it would raise before its first task."""
    job = prepare(out, extracting, settings)
    _, plan, gone = next_plan(job)
    again = find_retries(job, plan)
    to_do = len(again) + sum(
        count_unknown(job.store, shard, job.recipe, besides=again)
        for shard in shards(plan)
        if not is_extracted(job.store, shard, job.recipe)
    )
    width = job.recipe.width
    measured = groups(Counter(plan["part"].to_pylist())) if to_do else []
    # More workers than cores are no faster.
    rate = images_per_second(job.network, TRIAL_S) * min(settings.engine.workers, usable_cores())
    return DryRun(
        source=job.source,
        store=str(job.store.files),
        images=job.catalog.num_rows,
        labels=label_count(job.catalog),
        to_do=to_do,
        to_drop=gone if extracting.sync else 0,
        workers=settings.engine.workers,
        images_per_second=round(rate, 1),
        seconds=round(to_do / rate, 1),
        disk_bytes=to_do * (4 * width + OTHER_BYTES)
        + sum(_moments_bytes(group.rows, width) for group in measured),
    )
