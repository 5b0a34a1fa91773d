"""Extraction of real images through a network that is quick to run, in the tests' own process."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image

from conftest import contents, draw_photos
from pomona.backbones import registry
from pomona.backbones.network import Network
from pomona.errors import BackboneError
from pomona.extraction import batches
from pomona.extraction.batches import Batches
from pomona.extraction.error_rows import drop_errors, find_errors
from pomona.extraction.featurize import featurize
from pomona.extraction.known_rows import count_unknown
from pomona.extraction.parts import TABLES, is_extracted
from pomona.extraction.recipe import make_recipe
from pomona.extraction.task import ExtractResult, ExtractTask, extract
from pomona.images.decode import decode
from pomona.images.reader import Reader
from pomona.images.scan import scan
from pomona.images.sources.local import LocalSource
from pomona.stopwatch import Stopwatch
from pomona.store import schemas
from pomona.store.layout import derived_files, part_name
from pomona.store.plan import Shard, make_plan, shards
from pomona.store.recipe import Recipe
from pomona.store.store import Store

SIDE = 16


class MeanColour(Network):
    """In the place of a network: three features, the mean of each channel; black is no number."""

    def features(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        means: npt.NDArray[np.float32] = batch.mean(axis=(1, 2)).astype(np.float32)
        means[means.max(axis=1) == 0, 1] = np.nan
        return means


NETWORK = MeanColour("mean", b"", "d" * 64, SIDE, 3)
RECIPE = Recipe("mean", None, NETWORK.digest, SIDE, 3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return draw_photos(tmp_path / "photos", 80)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def plan_of(source: Path, store: Store) -> pa.Table:
    """The plan of the source as it is now, which keeps the parts of the store's plan."""
    return make_plan(scan(source).catalog, store.plan())


def run(source: Path, store: Store, recipe: Recipe = RECIPE, attempt: int = 1) -> ExtractResult:
    """Extracts what is not extracted yet, as a run does."""
    plan = plan_of(source, store)
    wanted = [shard for shard in shards(plan) if not is_extracted(store, shard, recipe)]
    task = ExtractTask(LocalSource(str(source)), store.files, recipe, NETWORK)
    done = extract(wanted, task, attempt)
    assert all(is_extracted(store, shard, recipe) for shard in shards(plan))
    store.write_table("_pomona/plan.parquet", plan)
    return done


def rows(store: Store, table: str) -> dict[str, dict[str, Any]]:
    found = [row for name in store.part_names(table) for row in store.read_table(name).to_pylist()]
    assert len({row["path"] for row in found}) == len(found)
    return {row["path"]: row for row in found}


def photos(source: Path) -> list[Path]:
    return sorted(source.rglob("photo*"))


def name_of(source: Path, photo: Path) -> str:
    return photo.relative_to(source).as_posix()


def expected(photo: Path) -> npt.NDArray[np.float32]:
    """The features of an image by itself."""
    alone = Batches(1, NETWORK, RECIPE, Stopwatch())
    alone.add(0, decode(photo.read_bytes(), side=RECIPE.side).pixels)
    alone.flush()
    features: npt.NDArray[np.float32] = alone.features[0]
    return features


# Batches


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 130])
def test_a_row_of_a_batch_is_that_of_its_image(count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 20, 24, 3), np.uint8)
    watch = Stopwatch()
    together = Batches(count, NETWORK, RECIPE, watch)
    for row in reversed(range(count)):
        together.add(row, pixels[row])
    together.flush()
    together.flush()
    for row in range(count):
        alone = Batches(1, NETWORK, RECIPE, watch)
        alone.add(0, pixels[row])
        alone.flush()
        assert np.array_equal(alone.features[0], together.features[row])
    assert set(watch.seconds) == {"decode", "network"}


@pytest.mark.parametrize(
    ("rows", "side", "size"), [(1000, 16, 64), (10, 16, 10), (1000, 1024, 10), (1000, 8192, 1)]
)
def test_a_batch_is_as_large_as_the_memory_meant_for_it(rows: int, side: int, size: int) -> None:
    sizes: list[int] = []

    class Watched(MeanColour):
        def features(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            sizes.append(len(batch))
            return np.zeros((len(batch), 3), np.float32)

    network = Watched("mean", b"", "d" * 64, side, 3)
    together = Batches(rows, network, RECIPE, Stopwatch())
    for row in range(min(rows, size + 1)):
        together.add(row, np.zeros((4, 4, 3), np.uint8))
    together.flush()
    assert sizes[0] == size
    assert sum(sizes) == min(rows, size + 1)
    assert 3 * side**2 * size <= max(batches.WAITING_BYTES, 3 * side**2)


# A first run


def test_every_image_is_a_row_of_features_or_of_errors(source: Path, store: Store) -> None:
    empty, black, *good = photos(source)
    empty.write_bytes(b"")
    Image.new("RGB", (20, 20)).save(black)
    done = run(source, store)
    assert (done.features, done.errors, done.ran, done.damaged) == (78, 2, 80, 0)
    assert set(done.seconds) == {"fetch", "decode", "network", "write"}
    assert rows(store, "errors").keys() == {name_of(source, photo) for photo in (empty, black)}
    told = {name: (row["stage"], row["reason"]) for name, row in rows(store, "errors").items()}
    assert told[name_of(source, empty)] == ("decode", "empty")
    assert told[name_of(source, black)] == ("network", "not_finite")
    held, metadata = rows(store, "features"), rows(store, "metadata")
    assert held.keys() == {name_of(source, photo) for photo in good}
    assert metadata.keys() == {name_of(source, photo) for photo in photos(source)}
    for photo in good:
        row, about = held[name_of(source, photo)], metadata[name_of(source, photo)]
        assert np.array_equal(np.float32(row["features"]), expected(photo))
        with Image.open(photo) as image:
            assert (row["width"], row["height"]) == image.size
            assert about["format"].lower() == (image.format or "").lower()
        assert row["sha256"] == about["sha256"] == hashlib.sha256(photo.read_bytes()).hexdigest()
        assert row["label"] == photo.parent.name


def test_tasks_and_attempts_change_no_byte(source: Path, store: Store, tmp_path: Path) -> None:
    photos(source)[3].write_bytes(b"no image")
    run(source, store)
    other = Store(tmp_path / "other")
    task = ExtractTask(LocalSource(str(source)), other.files, RECIPE, NETWORK)
    found = list(shards(plan_of(source, other)))
    assert len(found) > 1
    results = [extract([shard], task, attempt=2) for shard in found]
    assert sum(result.ran for result in results) == 80
    for table in TABLES:
        assert contents(store.files.path(table)) == contents(other.files.path(table))


def test_after_a_worker_died_images_are_read_in_another_process(
    source: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: list[bytes] = []
    monkeypatch.setattr(Reader, "decode", lambda _, data: here.append(data))
    assert run(source, store, attempt=2).features == 80
    assert not here


# Another run


def test_an_image_whose_fingerprint_or_content_is_known_does_not_run(
    source: Path, store: Store
) -> None:
    run(source, store)
    assert run(source, store).ran == 0
    touched, changed, *_ = photos(source)
    os.utime(touched, (1, 1))
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert run(source, store).ran == 1
    held = rows(store, "metadata")
    assert held[name_of(source, changed)]["sha256"] == (
        hashlib.sha256(changed.read_bytes()).hexdigest()
    )
    fingerprint = dict(
        zip(
            *(scan(source).catalog[name].to_pylist() for name in ("path", "fingerprint")),
            strict=True,
        )
    )
    assert {name: row["fingerprint"] for name, row in held.items()} == fingerprint


def test_features_of_another_recipe_are_made_anew(source: Path, store: Store) -> None:
    run(source, store)
    other = dataclasses.replace(RECIPE, enlarge="nearest")
    assert run(source, store, other).ran == 80
    assert run(source, store, other).ran == 0


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_a_file_that_is_lost_or_damaged_comes_back(
    source: Path, store: Store, table: str, damage: bytes | None
) -> None:
    photos(source)[0].write_bytes(b"no image")
    run(source, store)
    before = {name: contents(store.files.path(name)) for name in TABLES}
    name = store.part_names(table)[0]
    store.files.delete(name)
    if damage is not None:
        store.files.write(name, damage)
    run(source, store)
    assert {name: contents(store.files.path(name)) for name in TABLES} == before


def test_an_image_that_broke_and_one_that_was_mended(source: Path, store: Store) -> None:
    first, second, *_ = photos(source)
    good = first.read_bytes()
    first.write_bytes(b"no image")
    run(source, store)
    assert rows(store, "errors").keys() == {name_of(source, first)}
    first.write_bytes(good)
    second.write_bytes(b"no image any more")
    done = run(source, store)
    assert done.ran == 2
    assert rows(store, "errors").keys() == {name_of(source, second)}
    assert name_of(source, first) in rows(store, "features")
    assert name_of(source, second) not in rows(store, "features")
    row = rows(store, "metadata")[name_of(source, second)]
    assert (row["width"], row["height"], row["format"]) == (None, None, None)


def test_a_file_that_is_gone_is_read_once_it_is_back(source: Path, store: Store) -> None:
    photo = photos(source)[0]
    plan, data, times = plan_of(source, store), photo.read_bytes(), photo.stat()
    photo.unlink()
    task = ExtractTask(LocalSource(str(source)), store.files, RECIPE, NETWORK)
    found = list(shards(plan))
    assert extract(found, task).errors == 1
    error = rows(store, "errors")[name_of(source, photo)]
    assert (error["stage"], error["reason"], error["retryable"]) == ("fetch", "not_found", True)
    held = rows(store, "features")
    for other in photos(source):
        assert np.array_equal(np.float32(held[name_of(source, other)]["features"]), expected(other))
    assert all(is_extracted(store, shard, RECIPE) for shard in found)
    photo.write_bytes(data)
    os.utime(photo, ns=(times.st_atime_ns + 1, times.st_mtime_ns + 1_000_000))
    assert run(source, store).ran == 1
    assert rows(store, "errors") == {}


def test_what_is_made_from_a_part_goes_before_the_part_changes(source: Path, store: Store) -> None:
    run(source, store)
    derived = derived_files(0)
    for name in derived:
        store.files.write(name, b"made from the part")
    assert run(source, store).ran == 0
    assert all(store.files.exists(name) for name in derived)
    photos(source)[0].write_bytes(photos(source)[1].read_bytes())
    run(source, store)
    assert not any(store.files.exists(name) for name in derived)


# What features are made by


@pytest.mark.parametrize(("fit", "fraction"), [("stretch", None), ("crop", 0.875)])
def test_the_recipe_names_the_share_that_is_cropped_to(fit: str, fraction: float | None) -> None:
    backbone = dataclasses.replace(registry.get(registry.DEFAULT), crop_fraction=0.875)
    assert make_recipe(backbone, NETWORK, fit).crop_fraction == fraction


def test_imported_features_cannot_be_made_here() -> None:
    recipe = Recipe("elsewhere", None, "d" * 64, None, 3)
    with pytest.raises(BackboneError, match="imported"):
        featurize([b"image"], recipe)


# What is known, and what is dropped


def test_is_extracted_says_whether_the_files_are_those_of_the_plan(
    source: Path, store: Store
) -> None:
    run(source, store)
    shard = next(shards(plan_of(source, store)))
    assert is_extracted(store, shard, RECIPE)
    assert not is_extracted(store, shard, dataclasses.replace(RECIPE, fit="crop"))
    assert not is_extracted(store, dataclasses.replace(shard, generation="other"), RECIPE)
    assert not is_extracted(store, dataclasses.replace(shard, is_new=True), RECIPE)
    for table in TABLES:
        name = part_name(table, shard.part)
        held, footer = store.read_with_footer(name)
        for changed in (
            {"generation": "0"},
            {"generation": "zz"},
            {"recipe": "0"},
            {"recipe": "zz"},
        ):
            store.write_table(name, held, {**footer, **changed})
            assert not is_extracted(store, shard, RECIPE)
        store.files.delete(name)
        assert not is_extracted(store, shard, RECIPE)
        store.write_table(name, held, footer)
        assert is_extracted(store, shard, RECIPE)
    name = part_name("features", shard.part)
    held, footer = store.read_with_footer(name)
    for other in (held.slice(1), pa.concat_tables([held, held.slice(0, 1)])):
        store.write_table(name, other, footer)
        assert not is_extracted(store, shard, RECIPE)


def test_unknown_images_are_those_that_would_be_read(source: Path, store: Store) -> None:
    def unknown(besides: frozenset[str] = frozenset()) -> int:
        found: list[Shard] = list(shards(plan_of(source, store)))
        return sum(count_unknown(store, shard, RECIPE, besides) for shard in found)

    assert unknown() == 80
    photos(source)[0].write_bytes(b"no image")
    run(source, store)
    assert unknown() == 0
    for photo in photos(source)[2:5]:
        os.utime(photo, (1, 1))
    assert unknown() == 3
    assert unknown(frozenset([name_of(source, photos(source)[2])])) == 2


def test_errors_are_found_and_dropped(source: Path, store: Store) -> None:
    empty, broken, gone, *_ = photos(source)
    empty.write_bytes(b"")
    broken.write_bytes(b"no image")
    plan = plan_of(source, store)
    gone.unlink()
    task = ExtractTask(LocalSource(str(source)), store.files, RECIPE, NETWORK)
    extract(list(shards(plan)), task)
    names = [name_of(source, photo) for photo in (empty, broken, gone)]
    catalog = plan.drop_columns(["part"])
    assert find_errors(store, plan, catalog, "all") == set(names)
    assert find_errors(store, plan, catalog, "retryable") == {names[2]}
    assert find_errors(store, plan, catalog.slice(1), "all") == set(names) - {
        catalog["path"][0].as_py()
    }

    untouched = contents(store.files.path("errors"))
    drop_errors(store, plan, {"another.jpg"})
    assert contents(store.files.path("errors")) == untouched
    drop_errors(store, plan, {names[1]})
    assert rows(store, "errors").keys() == {names[0], names[2]}
    parts = {shard.part: is_extracted(store, shard, RECIPE) for shard in shards(plan)}
    assert list(parts.values()).count(False) == 1
    assert all(store.footer(name) for name in store.part_names("errors"))
    assert extract(list(shards(plan)), task).errors == 3
    assert all(is_extracted(store, shard, RECIPE) for shard in shards(plan))


def test_an_error_row_names_its_image(source: Path, store: Store) -> None:
    photo = photos(source)[7]
    photo.write_bytes(b"no image")
    run(source, store)
    (error,) = rows(store, "errors").values()
    catalog = {row["path"]: row for row in scan(source).catalog.to_pylist()}
    image = catalog[name_of(source, photo)]
    for key in ("path", "label", "split", "fingerprint"):
        assert error[key] == image[key]
    assert schemas.ERRORS.names == list(error)
