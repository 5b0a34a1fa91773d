"""Progress of a job, read from the store that it writes: the stages that `local` shows."""

from __future__ import annotations

from collections import Counter

from pomona.errors import ObjectStoreError, StoreError
from pomona.progress import Progress
from pomona.store.layout import PLAN
from pomona.store.store import Store

# The folder whose files tell how far a stage is
STAGES = {"extract": "features", "project": "pca"}


def count_done(store: Store) -> tuple[int, int]:
    """Returns how many images of a store have features, and how many there are in its plan.

    Parameters
    ----------
    store : Store
        The store; one that is not there yet has none.

    Raises
    ------
    StoreError, ObjectStoreError
        If it cannot be read.
    """
    try:
        images = _images_by_part(store)
    except FileNotFoundError:
        return 0, 0
    return sum(images[part] for part in store.part_numbers(STAGES["extract"])), images.total()


def _images_by_part(store: Store) -> Counter[int]:
    return Counter(store.read_table(PLAN, ["part"])["part"].to_pylist())


class JobProgress:
    """Tells a progress what the parts of a store say.

    Parameters
    ----------
    store : Store
        The store, perhaps not there yet.
    progress : Progress
        Who is told.
    """

    def __init__(self, store: Store, progress: Progress) -> None:
        self._store, self._progress = store, progress
        self._images: Counter[int] = Counter()
        self._stage = ""
        self._shown = 0

    def look(self) -> None:
        """Looks at the store once, and tells what is new; a store that cannot be read is left."""
        try:
            images = _images_by_part(self._store)
            done = {
                stage: sum(images[part] for part in self._store.part_numbers(folder))
                for stage, folder in STAGES.items()
            }
        except (StoreError, ObjectStoreError, FileNotFoundError):
            return  # written in this moment, or the network is away; the next look tells
        total = images.total()
        if not total:
            return
        stage = "extract" if done["extract"] < total else "project"
        if stage != self._stage or images != self._images:
            if self._stage == "extract" and images == self._images:
                self._progress.advance(total - self._shown)
            self.end()
            self._stage, self._images, self._shown = stage, images, 0
            self._progress.begin(stage, total)
        if done[stage] > self._shown:
            self._progress.advance(done[stage] - self._shown)
            self._shown = done[stage]

    def end(self) -> None:
        """Ends the stage that is shown."""
        if self._stage:
            self._progress.end()
            self._stage = ""
