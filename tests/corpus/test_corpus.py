"""Three thousand bad images through `pomona run`: each is a row, and nothing else happens."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import pomona as api
from conftest import Ended, Pomona
from damage import damaged, seeds, special
from pomona.images.decode import BYTES_PER_PIXEL, decode
from pomona.images.scan import scan
from pomona.store import schemas
from pomona.store.store import Store

SEED, COUNT = 1, 3000
# What pydicom takes in a worker that has met DICOM.
PYDICOM_MB = 60
MAX_PIXELS = 4_000_000
FLAGS = ("--max-pixels", str(MAX_PIXELS), "--max-error-rate", "1", "--quiet", "--no-csv")
# What decoding can come to; the others are of files that cannot be read, and of the network.
DECODE_REASONS = {
    "empty", "not_an_image", "zero_size", "too_large", "truncated", "corrupt", "damaged",
    "unsupported",
}  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    """The images, how the run ended, and its store."""

    source: Path
    ended: Ended
    store: Store


@pytest.fixture(scope="module")
def corpus(pomona: Pomona, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    source = folder / "bad"
    images = [damaged(SEED, number) for number in range(COUNT)]
    images += [(f"special/{name}", data) for name, data in special().items()]
    images += [(f"{kind}/whole.{kind.split()[0]}", data) for kind, data in seeds().items()]
    for name, data in images:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (source / "special" / "gone.jpg").symlink_to("nowhere.jpg")
    ended = pomona("run", source, folder / "out", "--workers", "2", *FLAGS)
    return Corpus(source, ended, api.open(folder / "out"))


def test_the_run_ends_well_and_silently(corpus: Corpus) -> None:
    assert corpus.ended == Ended(0, "", "")


def test_every_image_is_one_row(corpus: Corpus) -> None:
    paths = [*corpus.store.features().table["path"].to_pylist()]
    paths += corpus.store.errors()["path"].to_pylist()
    assert len(paths) == COUNT + len(special()) + len(seeds()) + 1
    assert sorted(paths) == scan(corpus.source).catalog["path"].to_pylist()


def test_whole_images_have_features(corpus: Corpus) -> None:
    failed = corpus.store.errors()["path"].to_pylist()
    assert [path for path in failed if "/whole." in path] == []


def test_the_reasons_are_of_the_vocabulary_and_no_codec_crashed(corpus: Corpus) -> None:
    rows = corpus.store.errors().to_pylist()
    assert {row["reason"] for row in rows} == {*DECODE_REASONS, "not_found"}
    assert {row["reason"] for row in rows} <= set(schemas.REASONS)
    for row in rows:
        detail = row["detail"] or ""
        assert detail.isprintable()
        assert len(detail) <= 200
        assert str(corpus.source) not in detail
    [run] = corpus.store.manifest["runs"]
    assert run["retries"] == 0


def test_no_worker_took_more_than_its_bound(corpus: Corpus, finished: Path) -> None:
    [usual] = api.open(finished).manifest["runs"]
    [run] = corpus.store.manifest["runs"]
    bound = PYDICOM_MB + BYTES_PER_PIXEL * MAX_PIXELS / 1e6
    assert run["peak_memory_mb"]["worker"] <= usual["peak_memory_mb"]["worker"] + bound


def test_another_number_of_workers_gives_the_same_rows(
    corpus: Corpus, pomona: Pomona, tmp_path: Path
) -> None:
    catalog = scan(corpus.source).catalog["path"].to_pylist()
    for path in catalog[::40]:
        (tmp_path / "some" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(corpus.source / path, tmp_path / "some" / path, follow_symlinks=False)
    assert pomona("run", tmp_path / "some", tmp_path / "out", "--workers", "1", *FLAGS).status == 0
    some = api.open(tmp_path / "out")
    chosen = set(catalog[::40])
    columns = ["path", "label", "stage", "reason", "detail", "retryable"]
    rows = corpus.store.errors().select(columns).to_pylist()
    assert some.errors().select(columns).to_pylist() == [r for r in rows if r["path"] in chosen]
    features = corpus.store.features()
    at = [row for row, path in enumerate(features.table["path"].to_pylist()) if path in chosen]
    assert np.array_equal(some.features().array, features.array[at])
    assert len(at) + len(some.errors()) == len(chosen)


def test_the_images_come_from_the_seed_alone() -> None:
    assert damaged(SEED, 40) == damaged(SEED, 40)
    assert damaged(SEED, 40) != damaged(SEED + 1, 40)
    for data in seeds().values():
        assert decode(data).pixels.size
