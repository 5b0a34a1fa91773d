"""Images that are forgotten leave no trace, wherever the command is stopped."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import pomona as api
from conftest import Here, Pomona, contents, draw_photos, tables, wait_for
from pomona.errors import StoreError
from pomona.maintenance.verify import verify
from pomona.pipeline.context import RunSettings
from pomona.store.layout import THUMBNAILS
from pomona.store.schemas import decode_path
from pomona.store.store import Store


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 images, one of them broken, one under an odd name; not to be changed."""
    source = draw_photos(tmp_path_factory.mktemp("drawn"), 98)
    (source / "Training" / "Pear" / "broken one.jpg").write_bytes(b"no image")
    odd = source / "Training" / os.fsdecode(b"it's caf\xe9.png")
    shutil.copy(min(source.rglob("*.png")), odd)
    return source


@pytest.fixture(scope="module")
def made(drawn: Path, pomona: Pomona, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `drawn` whose runs name some of its images; not to be changed."""
    out = tmp_path_factory.mktemp("made") / "out"
    for include in sorted(drawn.rglob("*.png"))[:2]:
        name = include.relative_to(drawn)
        pomona.done("run", drawn, out, "--include", name, "--components", "3", "--quiet")
    pomona.done("run", drawn, out, "--quiet", "--variance", "0.9", "--workers", "2")
    return out


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "store")


@pytest.fixture
def source(drawn: Path, tmp_path: Path) -> Path:
    return shutil.copytree(drawn, tmp_path / "source")


@pytest.fixture(scope="module")
def chosen(made: Path) -> list[str]:
    """Images of several parts and of all kinds."""
    paths = api.open(made).metadata()["path"].to_pylist()
    odd = [path for path in paths if "broken" in path or "caf" in path]
    assert len(odd) == 2
    return sorted({*paths[3:6], paths[40], *odd, *api.open(made).plan()["path"].to_pylist()[:2]})


@pytest.fixture(scope="module")
def forgotten(
    pomona: Pomona, made: Path, chosen: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What an undisturbed forget leaves of `made`; not to be changed."""
    out = shutil.copytree(made, tmp_path_factory.mktemp("forgotten") / "store")
    pomona.done("forget", out, *chosen, "--quiet")
    return out


def traces(store: Path, needles: list[bytes]) -> list[str]:
    """The files of a store that have one of these bytes in them, compressed or not."""
    found = []
    for path in store.rglob("*"):
        if not path.is_file():
            continue
        text = path.read_bytes() + os.fsencode(path.name)
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            buffers = (b for c in table.columns for chunk in c.chunks for b in chunk.buffers() if b)
            text += b"\n".join(bytes(buffer) for buffer in buffers)
            text += json.dumps(pq.read_metadata(path).to_dict(), default=str).encode()
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                text += b"\n".join(arrays[name].tobytes() for name in arrays)
        if any(needle in text for needle in needles):
            found.append(path.name)
    return found


def is_whole(store: Path, source: Path | None = None) -> bool:
    return not verify(store, RunSettings(Here()), source).findings


def test_forget_leaves_no_trace_in_any_file(made: Path, forgotten: Path, chosen: list[str]) -> None:
    names = [path.encode() for path in chosen]
    copied = api.open(made).features()
    # The odd image is a copy of another one, whose row stays.
    unique = [path for path in chosen if "caf" not in path and path in copied.paths]
    rows = [copied.array[copied.paths.index(path)].tobytes() for path in unique]
    assert len(traces(made, names)) > 10
    assert traces(made, rows) != []
    assert traces(forgotten, [*names, *rows]) == []
    assert is_whole(forgotten)


def test_forget_removes_thumbnails(made: Path, forgotten: Path, chosen: list[str]) -> None:
    def pictures(store: Path) -> dict[str, bytes]:
        rows = pq.read_table(store / THUMBNAILS).to_pylist()
        return {row["path"]: row["image"] for row in rows}

    before, after = pictures(made), pictures(forgotten)
    gone = {path for path in chosen if path in before and "caf" not in path}
    assert gone
    assert not after.keys() & set(chosen)
    assert traces(forgotten, [before[path] for path in gone]) == []
    encoded = [base64.b64encode(before[path]) for path in gone]
    assert "report.html" in traces(made, encoded)
    assert traces(forgotten, encoded) == []


def test_the_manifest_records_how_many_but_not_which(made: Path, forgotten: Path) -> None:
    before, manifest = api.open(made).manifest, api.open(forgotten).manifest
    entry = manifest["runs"][-1]
    assert entry["forgot"] == 8
    assert entry["command"].startswith("pomona forget ")
    assert entry["command"].endswith(" (8 paths)")
    assert "(forgotten)" in json.dumps(manifest["runs"][:-1])
    assert len(manifest["runs"]) == len(before["runs"]) + 1
    assert manifest["totals"]["images"] == before["totals"]["images"] - 8


def test_pca_is_refitted_on_the_remaining_images(
    source: Path, forgotten: Path, chosen: list[str], tmp_path: Path
) -> None:
    for path in chosen:
        (source / decode_path(path)).unlink()
    fresh, left = api.run(source, tmp_path / "fresh", progress=False), api.open(forgotten)
    mine, theirs = left.projection, fresh.projection
    assert (mine.k, mine.n) == (theirs.k, theirs.n)
    for name in ("mean", "variances", "components"):
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), atol=1e-9)
    for table in ("metadata", "errors"):
        rows = [
            getattr(one, table)().sort_by("path").drop(["fingerprint"]) for one in (left, fresh)
        ]
        assert rows[0].equals(rows[1])
    features = [one.features().table.sort_by("path") for one in (left, fresh)]
    assert features[0].equals(features[1])


def test_keep_projection_keeps_the_projection(
    pomona: Pomona, store: Path, chosen: list[str]
) -> None:
    before = api.open(store)
    projection, rows = before.projection.id, before.pca().table
    (store.parent / "list").write_text("\n".join(chosen[2:]) + "\n")
    flags = ("--from", store.parent / "list", "--keep-projection")
    ended = pomona.done("forget", store, chosen[0], chosen[1], *flags)
    assert "Forgot 8 images. If they are still in" in ended.stderr
    held = api.open(store)
    assert held.projection.id == projection
    kept = rows.filter(pc.invert(pc.is_in(rows["path"], pa.array(chosen))))
    assert held.pca().table.equals(kept)
    assert traces(store, [path.encode() for path in chosen]) == []
    assert is_whole(store)


def test_an_unknown_path_changes_nothing(pomona: Pomona, store: Path, chosen: list[str]) -> None:
    before = contents(store)
    refused = pomona("forget", store, *chosen, "no such image", *"abcd")
    assert refused.status == 1
    assert "does not hold 'a', 'b', 'c' and 2 more: give paths as" in refused.complaint
    assert pomona("forget", store).status == 2
    assert pomona("forget", store, "--from", store / "nowhere").status == 2
    assert contents(store) == before


def test_forgotten_images_still_in_the_source_come_back(
    pomona: Pomona, source: Path, store: Path
) -> None:
    one, other = sorted(path for path in api.open(store).features().paths if "photo" in path)[:2]
    pomona.done("forget", store, one, other)
    (source / one).unlink()
    pomona.done("run", source, store)
    paths = api.open(store).metadata()["path"].to_pylist()
    assert (one in paths, other in paths) == (False, True)
    assert is_whole(store, source)


def test_all_of_a_part_and_all_of_a_store_can_be_forgotten(
    pomona: Pomona, source: Path, store: Path
) -> None:
    plan = api.open(store).plan()
    last = plan.filter(pc.field("part") == pc.max(plan["part"]))["path"]
    pomona.done("forget", store, *last.to_pylist())
    assert is_whole(store)
    (store.parent / "all").write_text("\n".join(api.open(store).plan()["path"].to_pylist()))
    pomona.done("forget", store, "--from", store.parent / "all")
    assert is_whole(store)
    assert api.open(store).manifest["totals"]["images"] == 0
    pomona.done("run", source, store)
    assert api.open(store).manifest["totals"]["images"] == 100
    assert is_whole(store, source)


def test_rows_left_by_a_stopped_sync_can_be_forgotten(
    pomona: Pomona, store: Path, chosen: list[str]
) -> None:
    """The plan has these images no more, but files of parts still have."""
    held = Store(store)
    plan = held.plan()
    held.write_table(
        "_pomona/plan.parquet",
        plan.filter(pc.invert(pc.is_in(plan["path"], pa.array(chosen)))),
    )
    pomona.done("forget", store, *chosen)
    assert traces(store, [path.encode() for path in chosen]) == []


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_forget_is_finished_by_the_same_command(
    pomona: Pomona, source: Path, store: Path, forgotten: Path, chosen: list[str], seed: int
) -> None:
    command = ("forget", store, *chosen, "--workers", "2")
    rng = np.random.default_rng(seed)
    for written in rng.integers(1, 20, 4):
        before = state(store)
        process = pomona.start(*command)
        wait_for(
            lambda before=before, process=process, written=written: (  # type: ignore[misc]
                len(state(store) ^ before) >= written or process.poll() is not None
            )
        )
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if pomona.end(process).status == 0:
            break  # forgotten, so that giving it again would name unknown paths
        if (store / "_pomona" / "forgetting.json").exists():
            refused = pomona("run", source, store)
            assert f"finish it first with `pomona forget {store}`" in refused.complaint
            assert not is_whole(store)
    else:
        pomona.done("forget", store)
    assert tables(store) == tables(forgotten)
    assert traces(store, [path.encode() for path in chosen]) == []
    assert is_whole(store)


def state(store: Path) -> set[tuple[str, int]]:
    """Changes with every write into a store."""
    found = set()
    for path in store.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found.add((str(path), path.stat().st_mtime_ns))
    return found


def test_a_damaged_forgetting_file_is_reported(
    pomona: Pomona, source: Path, store: Path, chosen: list[str]
) -> None:
    (store / "_pomona" / "forgetting.json").write_text("{")
    assert (
        "forgetting.json is damaged: delete it and" in pomona("forget", store, chosen[0]).complaint
    )
    with pytest.raises(StoreError, match="was stopped: finish it first"):
        api.run(source, store, progress=False)


def test_a_stopped_forget_remembers_keep_projection(
    pomona: Pomona, store: Path, chosen: list[str]
) -> None:
    kept = Store(store).projection.id
    process = pomona.start("forget", store, *chosen, "--keep-projection")
    wait_for((store / "_pomona" / "forgetting.json").exists)
    os.killpg(process.pid, signal.SIGKILL)
    pomona.end(process)
    assert "was stopped: finish it first" in pomona("report", store, "--thumbnails").complaint
    pomona.done("forget", store)
    assert Store(store).projection.id == kept
    assert is_whole(store)
