"""Watchers of folders, as real processes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from watched import rows, watching

from conftest import Pomona, draw_photos


def test_a_watched_folder_ends_as_a_fresh_run_of_it(pomona: Pomona, tmp_path: Path) -> None:
    source, out, fresh = (tmp_path / name for name in ("photos", "out", "fresh"))
    ready, away = draw_photos(tmp_path / "ready", 24) / "Training", tmp_path / "away"
    (source / "Training").mkdir(parents=True)
    with watching(pomona, tmp_path / "log", source, out, "--sync", "--every", "1h") as it:

        def read() -> int:
            return sum(line["images"] for line in it.told("round"))

        it.wait_for(lambda: any("waiting for the first" in each for each in it.notes()))
        shutil.copytree(ready / "Pear", source / "Training" / "Pear")
        it.wait_for(lambda: read() == 5)
        # A folder that is moved in whole, a corrupt file, one that is replaced, one that goes
        (ready / "Plum 2").rename(source / "Training" / "Plum 2")
        (source / "Training" / "corrupt.jpg").write_bytes(b"no image")
        pears = sorted((source / "Training" / "Pear").iterdir())
        shutil.copy(min((ready / "Apple Red 1").iterdir()), pears[0])
        pears[1].unlink()
        it.wait_for(lambda: read() == 5 + 5 + 1 + 1)
        # The folder is away for a while, and the watch goes on when it is back.
        source.rename(away)
        it.wait_for(lambda: len(it.told("failure", reason="SourceError")) > 0)
        away.rename(source)
        it.wait_for(lambda: len(it.told("round", kind="listing")) == 1)
        (source / "Training" / "Plum 2").rename(source / "Training" / "Plum 3")
        it.wait_for(lambda: read() == 5 + 5 + 1 + 1 + 5)
        ended = it.stop()
    assert (ended.status, ended.stdout) == (143, "")
    assert "continue with: pomona watch" in ended.stderr
    pomona.done("extract", source, fresh, "--workers", "1", "--max-error-rate", "1")
    assert rows(out) == rows(fresh)
    pomona.done("verify", out)


def test_a_second_watcher_is_refused(pomona: Pomona, store: Path, photos: Path) -> None:
    before = rows(store)
    with watching(pomona, store.parent / "log", photos, store, "--every", "1h") as it:
        it.wait_for(lambda: len(it.told("round", kind="listing", images=0)) == 1)
        second = pomona("watch", photos, store, "--once")
    assert second.status == 1
    assert "in use by pomona watch" in second.complaint
    done = pomona.done("watch", photos, store, "--once", "--workers", "1")
    assert "Nothing to do" in done.stdout
    assert rows(store) == before


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (("nowhere", "out"), 1, "nowhere does not exist"),
        ((".", "out", "--every", "soon"), 2, "'soon' is not a time: give 90s, 10m, 6h or 1d"),
        ((".", "out", "--every", "0s"), 2, "--every 0s: give 1s or more"),
        ((".", "out", "--limit", "3"), 2, "--limit draws from a whole source"),
        ((".", "out", "--queue", "photos"), 2, "--queue tells of a bucket, and . is none"),
        ((".", "out", "--predict", "store", "--fit", "crop"), 2, "--fit and --predict cannot be"),
        ((".", "."), 1, "is not a pomona store and not empty"),
    ],
)
def test_what_cannot_be_watched(
    pomona: Pomona, tmp_path: Path, args: tuple[str, ...], status: int, says: str
) -> None:
    (tmp_path / "text").write_text("no image")
    there = Pomona(cwd=tmp_path, env=pomona.env)
    ended = there("watch", *args)
    assert (ended.status, ended.stdout) == (status, "")
    assert says in ended.complaint


def test_a_store_of_another_version_is_not_watched(
    pomona: Pomona, store: Path, photos: Path
) -> None:
    manifest = store / "pomona.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 1', '"format_version": 9'))
    ended = pomona("watch", photos, store)
    assert ended.status == 1
    assert "has format 9, but this pomona reads format 1" in ended.complaint
    assert not (store / "_pomona" / "watch_lock").exists()
