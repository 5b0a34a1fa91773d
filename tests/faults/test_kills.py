"""Killed anywhere and given again, a command leaves the bytes of one that nothing disturbed.

The short way takes some of the kills, drawn by seed; `make faults` takes all of them.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from killing import (
    LONG,
    Kill,
    Story,
    finish,
    killed_at,
    killed_in_between,
    quick_folder,
    quick_pomona,
    tell,
)
from PIL import Image

from conftest import draw_photos
from means import teach

SEED = 0
AT_ONCE = 2
# How many of the kills at an operation the short way takes of each story.
STORIES = {
    "new": 3,
    "grown": 1,
    "synced": 1,
    "retried": 1,
    "refitted": 1,
    "forgotten": 1,
    "predicted": 1,
}
MOMENTS = 100 if LONG else 3
GONE = ("Training/Pear/photo 0-002.jpg", "Test/Plum 2/photo 0-019.jpg")

Attempt = Callable[[int, Path], None]


class Stories:
    """The stories, each told once when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pomona = folder, quick_pomona(folder)
        self.source = draw_photos(folder / "source", 40)
        (self.source / "Training/Pear/cut.jpg").write_bytes(_some_image(self.source)[:300])
        self.grown_source = shutil.copytree(self.source, folder / "grown source")
        draw_photos(self.grown_source, 34, seed=1)
        Image.new("RGB", (20, 30), "green").save(self.grown_source / "Training/Pear/cut.jpg")
        for name in GONE:
            (self.grown_source / name).unlink()
        self.taught = folder / "taught"
        self._told: dict[str, Story] = {}

    def __getitem__(self, name: str) -> Story:
        if name not in self._told:
            before = None if name in ("new", "predicted") else self["new"].after
            source, command = self._commands()[name]
            if name == "predicted":
                teach(shutil.copytree(self["new"].after, self.taught))
            words = (*command, "--workers", "2", "--quiet")
            self._told[name] = tell(name, words, source, before, self.folder, self.pomona)
        return self._told[name]

    def _commands(self) -> dict[str, tuple[Path, tuple[object, ...]]]:
        source, grown = self.source, self.grown_source
        return {
            "new": (source, ("run", source, "OUT")),
            "grown": (grown, ("run", grown, "OUT")),
            "synced": (grown, ("run", grown, "OUT", "--sync")),
            "retried": (source, ("run", source, "OUT", "--retry-errors=all")),
            "refitted": (source, ("reduce", "OUT", "--refit", "--components", "5")),
            "forgotten": (source, ("forget", "OUT", *GONE)),
            "predicted": (grown, ("predict", self.taught, grown, "OUT")),
        }


def _some_image(folder: Path) -> bytes:
    return min(folder.rglob("*.jpg")).read_bytes()


@pytest.fixture(scope="module")
def stories() -> Iterator[Stories]:
    with quick_folder() as folder:
        yield Stories(folder)


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """What was killed and finished, told in a table at the end."""
    counter: Counter[str] = Counter()
    yield counter
    for what, count in counter.items():
        print(f"\n{count:>6,}  {what}", end="", flush=True)


def kills_of(story: Story) -> list[Kill]:
    """Before each operation all processes, after each the one that did it; some of them by seed."""
    kills = [
        Kill(at, when, whole)
        for at in range(1, story.operations + 1)
        for when, whole in (("before", True), ("after", False))
    ]
    if LONG:
        return kills[:: int(os.environ.get("POMONA_FAULTS_EVERY", "1"))]
    return random.Random(f"{SEED} {story.name}").sample(kills, STORIES[story.name])  # noqa: S311


def try_all(what: str, count: int, attempt: Attempt, folder: Path) -> list[str]:
    """Makes all attempts, two at once, and tells how far it is; returns what was wrong."""
    wrong: list[str] = []

    def try_one(index: int) -> None:
        place = folder / f"{what} {index}"
        place.mkdir()
        try:
            attempt(index, place)
        except Exception as exc:  # every kill is tried, and each that fails is told
            wrong.append(f"{what} {index}: {exc!r}")
        finally:
            shutil.rmtree(place)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for index, _ in enumerate(pool.map(try_one, range(count)), start=1):
            if index % 20 == 0 or index == count:
                print(f"{what}: {index} of {count}, {len(wrong)} wrong", flush=True)
    return wrong


@pytest.mark.parametrize("name", STORIES)
def test_recovery_from_a_kill_at_any_store_operation(
    name: str, stories: Stories, tally: Counter[str]
) -> None:
    story = stories[name]
    kills = kills_of(story)
    reached: Counter[bool] = Counter()

    def attempt(index: int, folder: Path) -> None:
        out, kill = folder / "out", kills[index]
        reached[killed_at(story, kill, stories.pomona, out, folder / "record")] += 1
        try:
            finish(story, out, stories.pomona)
        except Exception as exc:
            raise AssertionError(f"{kill}: {exc}") from exc

    assert try_all(name, len(kills), attempt, stories.folder) == []
    # Two workers do now and then one operation less, as when both find a folder missing.
    assert reached[False] <= 0.02 * len(kills)
    tally[f"{name}: kills at one of its {story.operations} operations, all finished"] += reached[
        True
    ]


def test_recovery_from_kills_at_random_moments(stories: Stories, tally: Counter[str]) -> None:
    names = list(STORIES) if LONG else ["new"]

    def attempt(index: int, folder: Path) -> None:
        rng = random.Random(f"{SEED} moment {index}")  # noqa: S311
        story = stories[names[index % len(names)] if index % 2 else "new"]
        how = killed_in_between(story, rng, stories.pomona, folder / "out")
        try:
            finish(story, folder / "out", stories.pomona)
        except Exception as exc:
            raise AssertionError(f"{story.name}, {how}: {exc}") from exc
        tally[f"kills of {how.split()[0]} at random moments, all finished"] += 1

    for name in names:
        _ = stories[name]
    assert try_all("moment", MOMENTS, attempt, stories.folder) == []
