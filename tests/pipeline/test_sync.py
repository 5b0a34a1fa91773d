"""Images that leave the source: kept, or with --sync dropped, whatever stops the run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

import pomona as api
from conftest import Pomona, contents, draw_photos, wait_for
from pomona.errors import SourceError, UsageError
from pomona.images.scan import scan
from pomona.store.layout import FOLDERS
from unprivileged import unprivileged


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 images; not to be changed."""
    return draw_photos(tmp_path_factory.mktemp("many"), 160)


@pytest.fixture(scope="module")
def made(many: Path, pomona: Pomona, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `many`, not to be changed."""
    out = tmp_path_factory.mktemp("made") / "out"
    pomona.done("run", many, out, "--workers", "2", "--quiet")
    return out


@pytest.fixture
def source(many: Path, tmp_path: Path) -> Path:
    return shutil.copytree(many, tmp_path / "source")


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "store")


def sync(source: Path, store: Path, **settings: Any) -> api.Store:
    return api.run(source, store, sync=True, progress=False, workers=1, **settings)


def images_of(store: Path, part: int) -> list[str]:
    plan = api.open(store).plan()
    return plan.filter(pc.field("part") == part)["path"].to_pylist()  # type: ignore[no-any-return]


def files_of(store: Path, part: int) -> dict[str, bytes | None]:
    return {name: data for name, data in contents(store).items() if f"part-{part:05d}." in name}


def assert_same_rows(store: Path, other: Path) -> None:
    """As a fresh one, whatever part a row is in; pca but for the last bits."""
    mine, theirs = api.open(store), api.open(other)
    for table in ("metadata", "errors"):
        rows = [getattr(one, table)().sort_by("path").to_pylist() for one in (mine, theirs)]
        assert rows[0] == rows[1]
    assert mine.features().table.sort_by("path").equals(theirs.features().table.sort_by("path"))
    own, others = (one.pca().table.sort_by("path") for one in (mine, theirs))
    assert own.drop_columns("pca").equals(others.drop_columns("pca"))
    np.testing.assert_allclose(
        np.array(own["pca"].to_pylist()), np.array(others["pca"].to_pylist()), atol=1e-4
    )
    assert mine.manifest["totals"] == theirs.manifest["totals"]


def test_sync_rewrites_only_the_parts_that_lost_images(source: Path, store: Path) -> None:
    gone = images_of(store, 1)[3:6]
    for path in gone:
        (source / path).unlink()
    others = {part: files_of(store, part) for part in (0, 2, 3, 4)}
    sync(source, store)
    assert {part: files_of(store, part) for part in others} == others
    held = api.open(store)
    assert held.manifest["totals"] == {"images": 157, "features": 157, "errors": 0, "labels": 4}
    assert held.manifest["runs"][-1]["images"] == 0
    for table in (held.features().table, held.pca().table, held.metadata(), held.plan()):
        assert len(table) == 157
        assert not set(gone) & set(table["path"].to_pylist())
    for table in ("metadata", "pca"):
        text = (store / "csv" / table / "part-00001.csv").read_text()
        assert not [path for path in gone if path in text]


def test_an_emptied_part_loses_all_its_files(source: Path, store: Path) -> None:
    for path in images_of(store, 4):
        (source / path).unlink()
    sync(source, store)
    assert files_of(store, 4) == {}
    assert len(api.open(store).features()) == 128
    (store / "_pomona" / "plan.parquet").unlink()
    before = contents(store)
    assert sync(source, store).manifest["totals"]["images"] == 128
    assert {**before, "_pomona/plan.parquet": b""} == {
        **contents(store),
        "_pomona/plan.parquet": b"",
    }

    draw_photos(source, 20, seed=1)
    sync(source, store, refit=True)
    api.run(source, store.parent / "fresh", progress=False)
    assert_same_rows(store, store.parent / "fresh")


def test_files_of_parts_unknown_to_the_plan_are_removed(source: Path, store: Path) -> None:
    """As a run leaves them that was stopped before it had removed them all."""
    for folder, suffix in FOLDERS.items():
        # Of predictions/, which a run does not make, a file as good as any.
        held = folder if (store / folder).exists() else "features"
        (store / folder).mkdir(exist_ok=True)
        part = store / held / f"part-00004.{suffix}"
        shutil.copy(part, store / folder / f"part-00077.{suffix}")
    assert len(files_of(store, 77)) == 8
    api.run(source, store, progress=False)
    assert files_of(store, 77) == {}
    assert len(api.open(store).features()) == 160


def test_sync_refuses_a_partial_source(source: Path, store: Path) -> None:
    before = contents(store)
    for settings in ({"limit": 100}, {"include": ["*.jpg"]}):
        with pytest.raises(UsageError, match="`sync` needs the whole source"):
            sync(source, store, **settings)
    for path in images_of(store, 0) + images_of(store, 1) + images_of(store, 2):
        (source / path).unlink()
    with pytest.raises(SourceError, match=r"lacks 96 of the 160 images .*add `yes` to remove"):
        sync(source, store)
    assert contents(store) == before
    sync(source, store, yes=True)
    assert api.open(store).manifest["totals"]["images"] == 64


def test_sync_refuses_a_source_with_an_unreadable_folder(
    nobody: Pomona, photos: Path, finished: Path, commons: Path
) -> None:
    source = shutil.copytree(photos, commons / "source")
    store = shutil.copytree(finished, commons / "store")
    for folder in (source, store, *source.rglob("*/"), *store.rglob("*/")):
        folder.chmod(0o777)
    locked = source / "Test" / "Pear"
    locked.chmod(0)
    before = contents(store)
    refused = nobody("run", source, store, "--sync")
    assert refused.status == 1
    assert f"cannot list {locked}: --sync needs the whole source" in refused.complaint
    assert contents(store) == before
    locked.chmod(0o755)


def test_a_link_to_an_unreadable_folder_is_not_a_missing_folder(commons: Path) -> None:
    draw_photos(commons / "source", 2)
    (commons / "locked" / "inner").mkdir(parents=True)
    (commons / "source" / "linked").symlink_to(commons / "locked" / "inner")
    (commons / "locked").chmod(0)
    with unprivileged():
        found = scan(commons / "source")
    (commons / "locked").chmod(0o755)
    assert found.unlisted == [str(commons / "source" / "linked")]


def test_dry_run_counts_the_images_to_drop(source: Path, store: Path, pomona: Pomona) -> None:
    for path in images_of(store, 2)[:5]:
        (source / path).unlink()
    before = contents(store)
    told = pomona.done("run", source, store, "--dry-run", "--sync").stdout
    assert "155 images of 4 labels" in told
    assert "0 to do, 5 to remove" in told
    assert contents(store) == before


def change(source: Path, store: Path) -> set[str]:
    """Changes, breaks, adds and removes images; returns the removed ones."""
    changed = images_of(store, 0)
    for seed, path in enumerate(changed[:4]):
        Image.effect_noise((30, 30), 40 + seed).save(source / path)
    (source / changed[5]).write_bytes(b"no image any more")
    draw_photos(source, 40, seed=3)
    removed = {*images_of(store, 4), *images_of(store, 1)[10:20], changed[6]}
    for path in removed:
        (source / path).unlink()
    return removed


@pytest.mark.parametrize("flags", [(), ("--sync",)])
def test_randomly_interrupted_updates_end_equal_to_a_fresh_store(
    source: Path, store: Path, tmp_path: Path, pomona: Pomona, flags: tuple[str, ...]
) -> None:
    removed = change(source, store)
    fresh = tmp_path / "fresh"
    pomona.done("run", source, fresh, "--workers", "2")
    run = ("run", source, store, "--workers", "2", *flags)
    rng = np.random.default_rng(6)
    for written in rng.integers(1, 24, 4):
        before = state(store)
        process = pomona.start(*run)
        wait_for(
            lambda before=before, process=process, written=written: (  # type: ignore[misc]
                len(state(store) ^ before) >= written or process.poll() is not None
            )
        )
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        pomona.end(process)
    pomona.done(*run)
    pomona.done(*run, "--refit")
    if not flags:
        kept = set(api.open(store).metadata()["path"].to_pylist())
        assert removed <= kept
        assert len(kept) == 200
        pomona.done(*run, "--sync", "--refit")
    assert_same_rows(store, fresh)


def state(store: Path) -> set[tuple[str, int]]:
    """Changes with every write into a store."""
    found = set()
    for path in store.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found.add((str(path), path.stat().st_mtime_ns))
    return found


def test_the_number_of_an_emptied_part_is_never_reused(source: Path, store: Path) -> None:
    last = api.open(store).projection.last_part
    assert last == 4
    for path in images_of(store, last):
        (source / path).unlink()
    sync(source, store)
    draw_photos(source, 4, seed=9)
    sync(source, store)
    assert set(api.open(store).plan()["part"].to_pylist()) == {0, 1, 2, 3, last + 1}
    assert "images added since" in (store / "report.html").read_text("utf-8")
