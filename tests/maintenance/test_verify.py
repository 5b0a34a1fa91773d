"""A store that is whole is proved so; each kind of damage is found and told with a way out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import pomona as api
from conftest import Here, Pomona, contents, draw_photos
from pomona.errors import StoreBusyError, StoreError
from pomona.maintenance.verify import Verdict, verify
from pomona.pipeline.context import RunSettings
from pomona.reduction.model import VARIANCE, save
from pomona.store.layout import PLAN, PROJECTION, REPORT, THUMBNAILS
from pomona.store.store import Store

FEATURES, METADATA = "features/part-00000.parquet", "metadata/part-00000.parquet"
PCA, ERRORS = "pca/part-00000.parquet", "errors/part-00000.parquet"


def verdict(store: Path, source: Path | None = None) -> Verdict:
    return verify(store, RunSettings(Here()), source)


def change(store: Store, name: str, how: Callable[[pa.Table], pa.Table], **footer: str) -> None:
    """Writes a table changed, with its footer."""
    own = store.footer(name) or {}
    own.pop("rows", None)
    store.write_table(name, how(store.read_table(name)), {**own, **footer})


def column(name: str, how: Callable[[list[Any]], list[Any]]) -> Callable[[pa.Table], pa.Table]:
    """Changes a table's column."""

    def changed(table: pa.Table) -> pa.Table:
        at, field = table.schema.get_field_index(name), table.schema.field(name)
        return table.set_column(at, field, pa.array(how(table[name].to_pylist()), field.type))

    return changed


def last(value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [*values[:-1], value]


def same(table: pa.Table) -> pa.Table:
    return table


def lacking(table: pa.Table) -> pa.Table:
    return table.slice(1)


def twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table])


def flip(store: Store, name: str) -> None:
    data = bytearray(store.files.read(name))
    data[len(data) // 3] ^= 4
    store.files.write(name, bytes(data))


def cut(store: Store, name: str) -> None:
    data = store.files.read(name)
    store.files.write(name, data[: len(data) // 2])


def swap(store: Store, *folders: str) -> None:
    for folder in folders:
        one, other = (store.files.path(f"{folder}/part-0000{part}.parquet") for part in (0, 1))
        one.rename(one.with_name("aside"))
        other.rename(one)
        one.with_name("aside").rename(other)


def tell(store: Store, section: str, **facts: Any) -> None:
    manifest = store.manifest
    manifest[section].update(facts)
    store.write_json("pomona.json", manifest)


def replace_projection(store: Store) -> None:
    projection = store.projection
    store.files.write(PROJECTION, replace(projection, mean=projection.mean + 1).to_bytes())


def lie_about_projection(store: Store) -> None:
    """Other components under the id of the old ones."""
    path = store.files.path(PROJECTION)
    with np.load(path) as file:
        arrays = {**file, "mean": file["mean"] + 1}
    np.savez(path, **arrays)


def lose_plan_and_metadata(store: Store) -> None:
    for name in (PLAN, "metadata/part-00001.parquet", "errors/part-00001.parquet"):
        store.files.delete(name)


def shorten_csv(store: Store) -> None:
    lines = store.files.read("csv/pca/part-00000.csv").splitlines(keepends=True)
    store.files.write("csv/pca/part-00000.csv", b"".join(lines[:-1]))


def alter(store: Store, name: str) -> None:
    """Changes the last number of the second line."""
    head, line, *rest = store.files.read(name).splitlines(keepends=True)
    store.files.write(name, b"".join([head, line.rpartition(b",")[0], b",0.125\n", *rest]))


def copy(store: Store, name: str, to: str) -> None:
    store.files.write(to, store.files.read(name))


# What is done to a store, and some of what must be said of it
DAMAGES: dict[str, tuple[Callable[[Store], object], str]] = {
    "a flipped byte": (lambda s: flip(s, FEATURES), f"{FEATURES}: is damaged; delete it and"),
    "a flipped byte of pca": (lambda s: flip(s, PCA), f"{PCA}: "),
    "a file cut short": (lambda s: cut(s, METADATA), f"{METADATA}: is damaged"),
    "no features": (lambda s: s.files.delete(FEATURES), f"{FEATURES}: is missing"),
    "no metadata": (lambda s: s.files.delete(METADATA), f"{METADATA}: is missing"),
    "no errors": (lambda s: s.files.delete(ERRORS), f"{ERRORS}: is missing"),
    "no pca": (lambda s: s.files.delete(PCA), f"{PCA}: is missing; `pomona reduce`"),
    "no csv": (lambda s: s.files.delete("csv"), "csv/pca/part-00000.csv: is missing"),
    "a number of csv changed": (
        lambda s: alter(s, "csv/pca/part-00000.csv"),
        "csv/pca/part-00000.csv: differs from pca/: 20 rows here, 20 there",
    ),
    "a share of variance changed": (lambda s: alter(s, VARIANCE), f"{VARIANCE}: does not tell"),
    "a page cut short": (lambda s: cut(s, REPORT), f"{REPORT}: is cut off; `pomona report`"),
    "damaged pictures": (lambda s: cut(s, THUMBNAILS), f"{THUMBNAILS}: is damaged"),
    "a row of csv lost": (
        shorten_csv,
        "csv/pca/part-00000.csv: differs from pca/: 19 rows here, 20 there",
    ),
    "a row twice": (
        lambda s: change(s, FEATURES, twice),
        "has, with errors/, more than one row for 1 image",
    ),
    "a row lost": (
        lambda s: change(s, FEATURES, lacking),
        "has, with errors/, no row for 1 image of metadata/",
    ),
    "a row without its image": (
        lambda s: change(s, METADATA, lacking),
        f"{FEATURES}: has 1 row of no image of metadata/",
    ),
    "another recipe": (lambda s: change(s, FEATURES, same, recipe="0"), "the recipe, that the"),
    "another generation": (lambda s: change(s, ERRORS, same, generation="0"), f"{ERRORS}: was not"),
    "swapped features": (lambda s: swap(s, "features"), f"{FEATURES}: was not made of the images"),
    "swapped parts": (lambda s: swap(s, "features", "metadata", "errors"), "20 others"),
    "swapped pca": (lambda s: swap(s, "pca"), f"{PCA}: was made of other features"),
    "another label": (
        lambda s: change(s, FEATURES, column("label", last("x"))),
        f"{FEATURES}: label is not what metadata/ says",
    ),
    "another content": (
        lambda s: change(s, FEATURES, column("sha256", last("0"))),
        f"{FEATURES}: sha256 is not what metadata/ says",
    ),
    "another size": (
        lambda s: change(s, METADATA, column("size_bytes", last(1))),
        f"{METADATA}: size_bytes is not what the plan says",
    ),
    "not a number": (
        lambda s: change(s, FEATURES, column("features", last([np.nan] * 1280))),
        f"{FEATURES}: has 1 row with numbers that are not finite",
    ),
    "other numbers": (
        lambda s: change(s, PCA, lambda t: column("pca", lambda rows: [rows[1], *rows[1:]])(t)),
        f"{PCA}: has 1 row other than the projection of their features",
    ),
    "stale pca": (lambda s: change(s, PCA, same, projection="0"), "made by another projection"),
    "another column": (lambda s: change(s, ERRORS, lambda t: t.drop(["detail"])), "other columns"),
    "totals": (lambda s: tell(s, "totals", features=41), "pomona.json: its totals do not match"),
    "a recipe": (lambda s: tell(s, "recipe", fit="crop"), "pomona.json: its recipe is not"),
    "a projection cut short": (lambda s: cut(s, PROJECTION), f"{PROJECTION}: is damaged"),
    "a projection that lies": (lie_about_projection, f"{PROJECTION}: is damaged"),
    "a projection replaced": (replace_projection, f"{PROJECTION}: is not the one that pomona.json"),
    "no projection": (lambda s: save(s, None), f"{PROJECTION}: is missing"),
    "variances lost": (lambda s: s.files.delete("model_info/variance.csv"), "does not tell of the"),
    "a plan lost": (lambda s: s.files.delete(PLAN), f"{PLAN}: is missing"),
    "a plan damaged": (lambda s: cut(s, PLAN), f"{PLAN}: is damaged"),
    "an image planned twice": (lambda s: change(s, PLAN, twice), f"{PLAN}: lists 1 image twice"),
    "a plan and metadata lost": (lose_plan_and_metadata, "features/part-00001.parquet: is of no"),
    "a stray part": (lambda s: copy(s, PCA, "pca/part-00077.parquet"), "part-00077.parquet: is of"),
    "a stray file": (lambda s: copy(s, PCA, "pca/old.parquet"), "pca/old.parquet: is of no part"),
    "a temporary": (lambda s: s.files.write("_pomona/tmp/1", b""), "_pomona/tmp/1: is left of a"),
    "no report": (lambda s: s.files.delete("report.html"), "report.html: is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_finds_each_kind_of_damage(store: Path, damage: str) -> None:
    plant, words = DAMAGES[damage]
    plant(Store(store))
    told = verdict(store).in_words()
    assert words in told
    assert all("; " in line and ": " in line for line in told.splitlines())


def test_a_whole_store_verifies_and_stays_unchanged(
    pomona: Pomona, photos: Path, store: Path
) -> None:
    for path in [store, *store.rglob("*/")]:
        path.chmod(0o555)
    before = contents(store)
    told = pomona.done("verify", store, "--source", photos).stdout
    k = api.open(store).projection.k
    assert told == f"OK: 40 images, 40 features, 0 errors, 2 parts, {k} components\n"
    assert json.loads(pomona.done("verify", store, "--json").stdout)["findings"] == []
    assert contents(store) == before
    for path in [store, *store.rglob("*/")]:
        path.chmod(0o755)


def test_every_kind_of_store_verifies(source: Path, tmp_path: Path) -> None:
    (source / "broken.jpg").write_bytes(b"no image")
    (source / "gone.jpg").symlink_to(tmp_path / "nowhere")
    out = tmp_path / "out"
    store = api.run(source, out, csv=False, progress=False)
    assert verdict(out, source).findings == []
    assert (verdict(out).images, verdict(out).errors) == (42, 2)
    store.files.delete(METADATA)
    api.run(source, out, csv=True, progress=False)
    assert verdict(out, source).findings == []


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return draw_photos(tmp_path / "photos", 40)


def test_a_store_without_pca_verifies(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    pomona.done("extract", photos, tmp_path / "out", "--limit", "5")
    assert verdict(tmp_path / "out").findings == []


def test_findings_are_printed_line_by_line_with_status_1(pomona: Pomona, store: Path) -> None:
    Store(store).files.delete(FEATURES)
    failed = pomona("verify", store)
    assert failed.status == 1
    assert failed.complaint == f"pomona: {store} has 2 faults"
    first, second = failed.stdout.splitlines()
    assert first == f"{FEATURES}: is missing; run the store's `pomona run` again"
    assert second.startswith("pomona.json: its totals")
    told = json.loads(pomona("verify", store, "--json").stdout)
    assert [finding["where"] for finding in told["findings"]] == [FEATURES, "pomona.json"]


def test_differences_from_the_source_are_found(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    api.run(source, out, progress=False)
    one, other, *_ = sorted(source.rglob("*.jpg"))
    times = one.stat()
    one.write_bytes(one.read_bytes()[:-1] + b"\0")
    os.utime(one, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.copy(other, source / "new.jpg")
    other.unlink()
    found = verdict(out, source)
    assert found.gone == 1
    told = found.in_words()
    assert f"1 image with other content now, such as {one.relative_to(source)}; touch" in told
    assert f"{PLAN}: lacks 1 image of {source}; run" in told
    assert len(found.findings) == 2


def test_verify_refuses_a_busy_store_and_writes_nothing(
    pomona: Pomona, photos: Path, store: Path
) -> None:
    script = "import sys; from pomona.store.store import Store\nwith Store(sys.argv[1])"
    script += ".lock('another'): print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    holder.stdout.readline()
    with pytest.raises(StoreBusyError, match="is in use by another"):
        verdict(store)
    holder.communicate("\n")
    with Store(store).shared_lock():
        assert verdict(store).findings == []
        refused = pomona("run", photos, store)
        assert f"{store} is in use by another command: wait" in refused.complaint


def test_a_folder_that_is_not_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a pomona store"):
        verdict(tmp_path)
    assert list(tmp_path.iterdir()) == []
