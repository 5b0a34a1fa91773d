"""Containers as webdataset and Hugging Face's datasets write them: `make test-tools`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pomona.errors import SourceError
from pomona.images.catalog import find_images
from pomona.images.folders import FolderRules
from pomona.images.sources.base import Source
from pomona.images.sources.registry import open_source
from pomona.progress import Progress

webdataset = pytest.importorskip("webdataset")
datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore")

COUNT = 6


@pytest.fixture(scope="session")
def files() -> list[bytes]:
    made = []
    for seed in range(COUNT):
        pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG")
        made.append(file.getvalue())
    return made


def rows_of(source: Source) -> list[tuple[str, str | None, str | None]]:
    catalog = find_images(source, Progress(), folders=FolderRules())
    return [(row["path"], row["label"], row["split"]) for row in catalog.to_pylist()]


def write_shards(pattern: Path, samples: list[dict[str, Any]]) -> None:
    pattern.parent.mkdir(parents=True)
    with webdataset.ShardWriter(str(pattern), maxcount=3, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)


def test_shards_of_webdataset(files: list[bytes], tmp_path: Path) -> None:
    write_shards(
        tmp_path / "shards" / "train-%06d.tar",
        [
            {
                "__key__": f"folder/{at:06d}",
                "left.jpg": data,
                "right.jpg": data,
                "cls": at % 2,
                "json": {"caption": "x", "label": "other"},
                "txt": "a pear",
            }
            for at, data in enumerate(files)
        ],
    )
    source = open_source(tmp_path)
    rows = rows_of(source)
    assert len(rows) == 2 * COUNT
    assert rows[0] == ("shards/train-000000.tar/folder/000000.left.jpg", "0", "train")
    assert rows[-1] == ("shards/train-000001.tar/folder/000005.right.jpg", "1", "train")
    assert [source.fetch(row[0]) for row in rows] == [data for data in files for _ in range(2)]


def table(files: list[bytes]) -> Any:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    columns = {
        "image": [{"bytes": data, "path": f"{at}.jpg"} for at, data in enumerate(files)],
        "label": [at % 2 for at in range(COUNT)],
    }
    return datasets.Dataset.from_dict(columns, features=features)


def test_a_repository_of_datasets(files: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("---\n---\n")
    for split in ("train", "validation"):
        for shard in range(2):
            name = f"{split}-{shard:05d}-of-00002.parquet"
            table(files).shard(2, shard).to_parquet(tmp_path / "data" / name)
    source = open_source(tmp_path)
    rows = rows_of(source)
    assert [row[0].rpartition("/")[2] for row in rows] == [f"{at}.jpg" for at in range(COUNT)] * 2
    assert [row[1] for row in rows] == ["cat", "dog", "cat", "dog", "cat", "dog"] * 2
    assert [row[2] for row in rows] == ["train"] * COUNT + ["validation"] * COUNT
    assert [source.fetch(row[0]) for row in rows] == files * 2


def test_what_datasets_writes_without_images_is_refused(files: list[bytes], tmp_path: Path) -> None:
    table(files).save_to_disk(str(tmp_path / "disk"))
    with pytest.raises(SourceError, match="is an Arrow file"):
        open_source(tmp_path / "disk")
    for at, data in enumerate(files):
        folder = tmp_path / "photos" / ("cat", "dog")[at % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{at}.jpg").write_bytes(data)
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "photos"), cache_dir=str(tmp_path / "cache")
    )
    loaded["train"].to_parquet(tmp_path / "paths.parquet")
    with pytest.raises(SourceError, match="paths alone, without bytes"):
        open_source(tmp_path / "paths.parquet").scan()
