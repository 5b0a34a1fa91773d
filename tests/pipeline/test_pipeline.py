"""What a store holds after stops, losses and changes: every image once, and what is true of it.

A stop at a moment that cannot be caught from outside is made by putting back the files that
would still have been there.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import pomona
from conftest import contents, draw_photos, tables
from pomona.backbones import cache, registry
from pomona.errors import SourceError, StoreError, UsageError
from pomona.extraction import task as features
from pomona.extraction.task import ExtractTask
from pomona.images.decode import Decoded
from pomona.images.reader import Reader
from pomona.images.sources.local import LocalSource
from pomona.store import plan
from pomona.store.folders.local import LocalFolder
from pomona.store.layout import THUMBNAILS
from pomona.store.store import Store


def run(source: Path, out: Path, **settings: Any) -> Store:
    return pomona.run(source, out, workers=1, progress=False, **settings)


def paths(store: Store, table: str) -> list[str]:
    names = store.part_names(table)
    return [path for name in names for path in store.read_table(name)["path"].to_pylist()]


def rows(store: Store) -> dict[tuple[str, str], Any]:
    """Each image's row of features/, pca/ or errors/ and of metadata/, by path."""
    together: dict[tuple[str, str], Any] = {}
    for table in ("features", "pca", "errors", "metadata"):
        for name in store.part_names(table):
            for row in store.read_table(name).to_pylist():
                assert (table, row["path"]) not in together
                together[table, row["path"]] = row
    return together


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return draw_photos(tmp_path / "photos", 40)


@pytest.fixture
def store(source: Path, tmp_path: Path) -> Store:
    """A finished store of `source`."""
    return run(source, tmp_path / "out", components=5)


def first(source: Path) -> Path:
    return min(source.rglob("photo*"))


def test_a_lost_plan_is_rebuilt_from_metadata(store: Store, source: Path) -> None:
    for seed in (1, 2):
        draw_photos(source, 10, seed=seed)
        run(source, store.files.root)
    held = tables(store.files.root)
    (store.files.root / "_pomona/plan.parquet").write_bytes(b"PAR1")
    run(source, store.files.root)
    assert tables(store.files.root) == held
    shutil.rmtree(store.files.root / "_pomona")
    run(source, store.files.root)
    assert tables(store.files.root) == held
    assert len(paths(store, "features")) == 60


@pytest.mark.parametrize("last", ["metadata", "errors", "features"])
def test_a_stop_between_two_files_of_a_part_keeps_images_gone_from_the_source(
    store: Store, source: Path, tmp_path: Path, last: str
) -> None:
    """`last`: the last file that the stopped run wrote; those after it are of the run before."""
    before = shutil.copytree(store.files.root, tmp_path / "before")
    gone, *_, changed = sorted((source / "Training").rglob("*.jpg"))
    gone.unlink()
    changed.write_bytes(changed.read_bytes() + b"\0")
    run(source, store.files.root)
    undisturbed = tables(store.files.root)

    order = ["metadata", "errors", "features"]
    for table in order[order.index(last) + 1 :]:
        shutil.rmtree(store.files.root / table)
        shutil.copytree(before / table, store.files.root / table)
    run(source, store.files.root)
    assert tables(store.files.root) == undisturbed
    assert str(gone.relative_to(source)) in paths(store, "features")


@pytest.mark.parametrize(
    "table", ["features", "metadata", "errors", "pca", "csv/pca", "csv/errors"]
)
def test_a_missing_file_of_a_part_is_rewritten(store: Store, source: Path, table: str) -> None:
    held = {name: data for name, data in contents(store.files.root).items() if data is not None}
    min((store.files.root / table).iterdir()).unlink()
    run(source, store.files.root)
    again = contents(store.files.root)
    assert {name for name, data in again.items() if data is not None} == set(held)
    # Pictures are made while there is time: a later run may have more of them.
    compared = held.keys() - {"pomona.json", "report.html", THUMBNAILS}
    assert {name: again[name] for name in compared} == {name: held[name] for name in compared}


def test_the_message_about_a_damaged_file_names_a_remedy_that_works(
    store: Store, source: Path
) -> None:
    undisturbed = rows(store)
    name = store.part_names("features")[0]
    damaged = store.files.path(name)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(
        StoreError, match="is damaged: delete it and run the store's `pomona run` again"
    ):
        store.read_table(name)
    damaged.unlink()
    run(source, store.files.root)
    assert rows(store) == undisturbed


def test_a_stop_before_the_manifest_is_recovered_by_the_next_run(
    store: Store, source: Path
) -> None:
    old = (store.files.root / "pomona.json").read_bytes()
    draw_photos(source, 1, seed=9)
    run(source, store.files.root)
    (store.files.root / "pomona.json").write_bytes(old)
    run(source, store.files.root)
    manifest = store.manifest
    assert manifest["totals"]["images"] == 41
    run(source, store.files.root)
    assert store.manifest == manifest


def test_model_info_describes_the_projection_beside_it(store: Store, source: Path) -> None:
    shutil.rmtree(store.files.root / "model_info", ignore_errors=False)
    run(source, store.files.root)
    info = json.loads((store.files.root / "model_info/model_info.json").read_text())
    assert info["pca"]["projection_id"] == store.projection.id
    variance = (store.files.root / "model_info/variance.csv").read_text().splitlines()
    assert len(variance) == 1 + store.projection.k == 6


def test_a_damaged_projection_is_replaced_only_on_request(store: Store, source: Path) -> None:
    projection = store.projection
    (store.files.root / "model_info/projection.npz").write_bytes(b"PK")
    with pytest.raises(StoreError, match=r"projection.npz is damaged: .*--refit"):
        run(source, store.files.root)
    run(source, store.files.root, refit=True)
    assert (store.projection.id, store.projection.k) == (projection.id, 5)


def test_the_projection_is_refitted_once_the_store_has_doubled(store: Store, source: Path) -> None:
    projection = store.projection.id
    draw_photos(source, 40, seed=1)
    run(source, store.files.root)
    assert store.projection.id == projection
    draw_photos(source, 10, seed=2)
    run(source, store.files.root, keep_projection=True)
    assert store.projection.id == projection
    run(source, store.files.root)
    assert store.projection.id != projection
    assert store.projection.n == 90
    footers = [store.footer(name) or {} for name in store.part_names("pca")]
    assert {footer["projection"] for footer in footers} == {store.projection.id}


def test_an_image_that_became_bad_loses_its_features_and_components(
    store: Store, source: Path
) -> None:
    broken = first(source)
    broken.write_bytes(b"no image any more")
    run(source, store.files.root)
    path = str(broken.relative_to(source))
    assert path in paths(store, "errors")
    for table in ("features", "pca"):
        assert path not in paths(store, table)


def test_a_store_whose_images_all_became_bad_has_no_pca(store: Store, source: Path) -> None:
    for image in source.rglob("photo*"):
        image.write_bytes(b"no image any more")
    run(source, store.files.root, refit=True)
    assert store.manifest["totals"] == {"images": 40, "features": 0, "errors": 40, "labels": 4}
    assert store.manifest["pca"] is None
    assert store.part_names("pca") == []


def test_a_repaired_image_loses_its_error_row(store: Store, source: Path) -> None:
    whole, image = first(source).read_bytes(), first(source)
    undisturbed = rows(store)
    image.write_bytes(whole[:100])
    run(source, store.files.root)
    image.write_bytes(whole)
    os.utime(image, ns=(1, 1))
    run(source, store.files.root)
    again = rows(store)
    path = str(image.relative_to(source))
    assert again.keys() == undisturbed.keys()
    assert again["features", path] == undisturbed["features", path]


def test_a_missing_file_is_read_once_it_is_back(store: Store, source: Path, tmp_path: Path) -> None:
    link = source / "Training/Pear/link.jpg"
    link.symlink_to(tmp_path / "elsewhere.jpg")
    run(source, store.files.root)
    assert paths(store, "errors") == ["Training/Pear/link.jpg"]
    (tmp_path / "elsewhere.jpg").write_bytes(first(source).read_bytes())
    run(source, store.files.root)
    assert paths(store, "errors") == []
    assert "Training/Pear/link.jpg" in paths(store, "features")


@pytest.mark.parametrize(
    ("read_bytes", "waiting"), [(0, 64), (20_000, 64), (2**22, 3), (2**22, 64)]
)
def test_bytes_read_ahead_of_decoding_are_bounded(
    source: Path,
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    read_bytes: int,
    waiting: int,
) -> None:
    read: list[int] = []
    most = files = 0

    class Watched(Reader):
        def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
            nonlocal most, files
            read.append(len(data := super().fetch(path, fingerprint)))
            most, files = max(most, sum(read)), max(files, len(read))
            return data

        def decode(self, data: bytes) -> Decoded:
            read.remove(len(data))
            return super().decode(data)

    monkeypatch.setattr(features, "Reader", Watched)
    monkeypatch.setattr(features, "READ_BYTES", read_bytes)
    monkeypatch.setattr(features, "WAITING", waiting)
    sizes = [path.stat().st_size for path in source.rglob("photo*")]
    shards = list(plan.shards(store.plan()))
    network = cache.load(registry.get(registry.DEFAULT))
    again = LocalFolder(tmp_path / "again")
    features.extract(shards, ExtractTask(LocalSource(str(source)), again, store.recipe, network))
    assert most <= read_bytes + max(sizes)
    assert files <= waiting
    assert (most > max(sizes)) == (read_bytes > 0)
    assert not read
    for name in store.part_names("features"):
        assert again.read(name) == store.files.read(name)


def test_the_csv_setting_is_remembered(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(source, out, csv=False, limit=1)
    run(source, out, limit=1)
    run(source, out, components=3)
    assert not (out / "csv").exists()
    run(source, out, csv=True)
    assert len(list((out / "csv/pca").iterdir())) == len(list((out / "pca").iterdir()))


def test_a_source_with_the_same_names_but_other_images_is_refused(
    store: Store, tmp_path: Path
) -> None:
    other = draw_photos(tmp_path / "other", 40, seed=0)
    for image in other.rglob("photo*"):
        image.write_bytes(image.read_bytes() + b"other")
    with pytest.raises(StoreError, match="holds other images, those of"):
        run(other, store.files.root)
    stranger = draw_photos(tmp_path / "stranger", 10, seed=5)
    with pytest.raises(StoreError, match="holds other images, those of"):
        run(stranger, store.files.root)


def test_a_source_that_moved_is_recognised(store: Store, source: Path, tmp_path: Path) -> None:
    held = rows(store)
    run(Path(shutil.copytree(source, tmp_path / "moved")), store.files.root)
    assert store.manifest["runs"][-1]["images"] == 0
    again = rows(store)
    for (table, path), row in held.items():
        if table in ("features", "pca"):
            assert again[table, path] == row


def test_new_labels_reach_every_table_without_running_the_network(
    store: Store, source: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    names = sorted(str(path.relative_to(source)) for path in source.rglob("photo*"))
    labels.write_text("path,label\n" + "".join(f'"{name}",new\n' for name in names))
    run(source, store.files.root, labels=labels)
    assert store.manifest["runs"][-1]["images"] == 0
    assert set(store.features().labels) == set(store.pca().labels) == {"new"}
    assert set(store.metadata()["label"].to_pylist()) == {"new"}


def test_files_that_are_not_parts_are_ignored(store: Store) -> None:
    (store.files.root / "features/.DS_Store").write_bytes(b"Bud1")
    assert len(store.features()) == 40


def test_a_string_where_a_list_belongs_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="list of patterns"):
        run(source, tmp_path / "out", include="*.jpg")
    with pytest.raises(UsageError, match="list of images"):
        pomona.featurize(str(first(source)))
    with pytest.raises(SourceError):
        run(tmp_path / "nowhere", tmp_path / "out")
