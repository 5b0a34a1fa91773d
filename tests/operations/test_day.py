"""A day in minutes: what comes to a collection, and what happens to those who keep it up to date.

`make day` has 200 images in each place; without it, a fifth of them.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from watched import Watching, rows, watching

from conftest import Pomona, draw_photos
from s3_server import Place, bucket, proxy, s3_server

__all__ = ["bucket", "s3_server"]
IMAGES = 200 if os.environ.get("POMONA_FAULTS") == "long" else 20
BURSTS = 4


@dataclass
class Kept:
    """A source that a watcher keeps up with, through kills.

    put: writes an image; read: how many images the watchers of the day have read.
    """

    pomona: Pomona
    source: Path | str
    out: Path | str
    put: Callable[[str, bytes], None]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def watch(self, number: int) -> contextlib.AbstractContextManager[Watching]:
        more = ("--every", "3s", "--metrics-file", self.folder / "pomona.prom")
        log = self.folder / f"log-{number}"
        return watching(self.pomona, log, self.source, self.out, *more, env=self.env)

    def has(self, images: int) -> Callable[[], bool]:
        """Whether the store is at work on so many images, or has them."""
        name = f'pomona_store_images{{command="watch",store="{self.out}"}} {images}\n'
        return lambda: name in (self.folder / "pomona.prom").read_text()


def day(kept: Kept, pictures: list[bytes], away: Callable[[Watching], None]) -> None:
    """Images come in bursts, some corrupt, some replaced; watchers and a worker are killed."""
    size = len(pictures) // BURSTS
    for burst in range(BURSTS):
        with kept.watch(burst) as it:
            for number in range(burst * size, (burst + 1) * size):
                name = f"Training/Pear/{number:03d}.jpg"
                kept.put(name, b"no image" if number % 10 == 3 else pictures[number])
            if burst == 0:
                # A killed worker costs an attempt, and the watcher lives.
                it.wait_for(lambda: bool(psutil.Process(it.process.pid).children()))
                for worker in psutil.Process(it.process.pid).children():
                    with contextlib.suppress(psutil.Error):
                        worker.kill()
            if burst == 1:
                it.wait_for(lambda: len(it.told("begin", stage="extract")) > 0)
                it.stop(signal.SIGKILL)
                continue
            if burst == 2:
                away(it)
            it.wait_for(kept.has((burst + 1) * size))
            for number in range(0, size, 10):
                kept.put(f"Training/Pear/{number:03d}.jpg", pictures[-1 - number])
            if burst == BURSTS - 1:
                it.wait_for_listings(2)
                assert it.stop().status == 143
            else:
                it.stop(signal.SIGKILL)


def ends_as_a_fresh_run(kept: Kept, fresh: Path) -> None:
    there = Pomona(env={**kept.pomona.env, **kept.env})
    there.done("extract", kept.source, fresh, "--workers", "1", "--max-error-rate", "1")
    assert rows(kept.out) == rows(fresh)
    there.done("verify", kept.out)
    text = (kept.folder / "pomona.prom").read_text()
    corrupt = sum(number % 10 == 3 for number in range(IMAGES))
    counts = re.findall(r'pomona_store_errors\{.*,reason="\w+"\} (\d+)', text)
    assert sum(map(int, counts)) == corrupt


def test_a_day_of_a_folder(pomona: Pomona, tmp_path: Path) -> None:
    pictures = [path.read_bytes() for path in draw_photos(tmp_path / "p", IMAGES).rglob("*.*g")]
    source = tmp_path / "photos"

    def put(name: str, data: bytes) -> None:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)

    def away(it: Watching) -> None:
        it.wait_for(lambda: len(it.told("round")) > 0)
        source.rename(tmp_path / "away")
        it.wait_for(lambda: len(it.told("failure", reason="SourceError")) > 0)
        (tmp_path / "away").rename(source)

    source.mkdir()
    kept = Kept(pomona, source, tmp_path / "out", put, tmp_path)
    day(kept, pictures, away)
    ends_as_a_fresh_run(kept, tmp_path / "fresh")


@pytest.mark.needs("s3 server")
def test_a_day_of_a_bucket(pomona: Pomona, bucket: Place, tmp_path: Path) -> None:
    pictures = [path.read_bytes() for path in draw_photos(tmp_path / "p", IMAGES).rglob("*.*g")]
    client = bucket.server.client()

    def put(name: str, data: bytes) -> None:
        client.put_object(Bucket=bucket.name, Key=f"photos/{name}", Body=data)

    with proxy(bucket.server) as between:

        def away(it: Watching) -> None:
            it.wait_for(lambda: len(it.told("round")) > 0)
            between.set(Reset=1.0)
            it.wait_for(lambda: len(it.told("failure")) > 0)
            between.set()

        env = bucket.server.env(between.endpoint)
        kept = Kept(pomona, bucket.at("photos"), bucket.at("out"), put, tmp_path, env)
        day(kept, pictures, away)
        ends_as_a_fresh_run(kept, tmp_path / "fresh")
