"""A storage is added by one entry in the registry of storages, from outside of pomona."""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pytest

import pomona
from conftest import contents
from pomona.engines.local import LocalEngine
from pomona.errors import StoreBusyError, UsageError
from pomona.maintenance.forget import forget
from pomona.maintenance.verify import verify
from pomona.pipeline.context import RunSettings
from pomona.s3.address import Access
from pomona.store.folders.local import LocalFolder
from pomona.store.folders.registry import STORAGES, Storage, place
from pomona.store.store import Store

SHELF = "shelf://"
TABLES = ("features", "pca", "metadata", "errors", "csv", "model_info")


class ShelfFolder(LocalFolder):
    """A folder of compressed files, so that none can be read but through its methods."""

    def __str__(self) -> str:
        return f"{SHELF}{self.root.name}"

    def read(self, name: str) -> bytes:
        return zlib.decompress(super().read(name))

    @contextlib.contextmanager
    def open(self, name: str, *, footer: bool = False) -> Iterator[pa.NativeFile]:
        yield pa.BufferReader(self.read(name))

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        with super().create(name) as file:
            content = io.BytesIO()
            yield content
            file.write(zlib.compress(content.getvalue()))
        (self.root.parent / f"writer-{os.getpid()}").touch()


def open_shelf(address: str, access: Access | None) -> ShelfFolder:
    return ShelfFolder(Path(os.environ["SHELVES"], address.removeprefix(SHELF)))


@pytest.fixture
def shelves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder in which shelf://NAME is NAME, while shelves are known."""
    folder = tmp_path / "shelves"
    folder.mkdir()
    monkeypatch.setenv("SHELVES", str(folder))
    monkeypatch.setitem(STORAGES, "shelf", Storage("shelf://NAME", open_shelf))
    return folder


def test_a_store_lies_in_a_storage_that_was_added(
    shelves: Path, photos: Path, tmp_path: Path
) -> None:
    shelf = pomona.run(photos, f"{SHELF}fruit", workers=2, progress=False)
    disk = pomona.run(photos, tmp_path / "disk", workers=2, progress=False)
    assert repr(shelf) == f"<pomona store {SHELF}fruit>"
    files = {name: data for name, data in contents(tmp_path / "disk").items() if data is not None}
    tables = [name for name in files if name.partition("/")[0] in TABLES]
    assert [name for name in tables if shelf.files.read(name) != files[name]] == []
    assert shelf.files.names("features") == disk.files.names("features")
    written = {path.name for path in shelves.glob("writer-*")}
    assert len(written - {f"writer-{os.getpid()}"}) == 2  # both workers wrote through it

    settings = RunSettings(LocalEngine(2))
    assert verify(f"{SHELF}fruit", settings, photos).in_words().startswith("OK: 40 images")
    victim = shelf.features().paths[0]
    assert forget(f"{SHELF}fruit", [victim], settings).images == 39
    assert victim not in pomona.open(f"{SHELF}fruit").metadata()["path"].to_pylist()
    assert verify(f"{SHELF}fruit", settings).in_words().startswith("OK: 39 images")


def test_an_added_storage_is_locked_as_any_other(shelves: Path) -> None:
    store = Store(f"{SHELF}fruit")
    with store.lock("pomona run") as (locked, _):
        assert isinstance(locked.files, ShelfFolder)
        with pytest.raises(StoreBusyError, match=f"{SHELF}fruit is in use by pomona run"):
            store.lock("pomona reduce").__enter__()


def test_an_unknown_scheme_is_refused_with_the_known_ones(shelves: Path) -> None:
    assert place(f"{SHELF}fruit") == f"{SHELF}fruit"
    with pytest.raises(UsageError, match="give a folder, or s3://BUCKET/PREFIX, or shelf://NAME"):
        place("box://fruit")
