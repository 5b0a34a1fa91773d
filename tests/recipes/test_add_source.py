"""The recipe "to add a source": a zip archive, added from here, is taken as any other source."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import pomona
from conftest import draw_photos
from pomona.errors import ImageError
from pomona.images.prefetch import ImageRequest
from pomona.images.scan import Row, Scan, folder_label, to_catalog
from pomona.images.select import NameFilter
from pomona.images.sources import registry
from pomona.images.sources.base import Source
from pomona.images.sources.local import LocalSource
from pomona.s3.address import Access


@dataclass(frozen=True)
class ZipSource:
    """The files of a zip archive. An image's fingerprint is its checksum."""

    archive: str
    ahead: int = 1

    def __str__(self) -> str:
        return self.archive

    def absolute(self) -> ZipSource:
        return ZipSource(str(Path(self.archive).resolve()))

    def scan(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Scan:
        result = Scan()
        result.catalog = to_catalog(self._rows(NameFilter(include, exclude), result))
        return result

    def _rows(self, wanted: NameFilter, result: Scan) -> Iterator[Row]:
        with zipfile.ZipFile(self.archive) as archive:
            for info in archive.infolist():
                if (why_not := wanted.why_not(info.filename)) is not None:
                    result.skipped[why_not] += 1
                    continue
                label, split = folder_label(info.filename.rpartition("/")[0])
                yield info.filename, label, split, info.file_size, f"{info.CRC:x}"

    def expect(self, wanted: Iterable[ImageRequest]) -> None:
        pass

    def fetch(self, path: str, expected: str | None = None) -> bytes:
        with zipfile.ZipFile(self.archive) as archive:
            try:
                info = archive.getinfo(path)
            except KeyError:
                raise ImageError("fetch", "not_found") from None
            if expected not in (None, f"{info.CRC:x}"):
                raise ImageError("fetch", "changed")
            return archive.read(info)

    def find_problem(self, path: str, expected: str | None) -> str | None:
        return None if Path(self.archive).exists() else f"cannot read {self.archive}"


def open_zip(where: str | Path, access: Access | None) -> Source | None:
    return ZipSource(str(where)) if zipfile.is_zipfile(where) else None


@pytest.fixture
def _zip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "OPENERS", [open_zip, *registry.OPENERS])


@pytest.fixture
def archive(photos: Path, tmp_path: Path) -> Path:
    """`photos`, and a file that is not an image."""
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for photo in sorted(photos.rglob("*.*")):
            archive.write(photo, photo.relative_to(photos).as_posix())
        archive.writestr("notes.txt", "not an image")
    return path


@pytest.mark.usefixtures("_zip")
def test_it_is_opened_and_other_places_are_as_before(archive: Path, photos: Path) -> None:
    assert isinstance(registry.open_source(archive), ZipSource)
    assert isinstance(registry.open_source(photos), LocalSource)


@pytest.mark.usefixtures("_zip")
def test_its_catalog_is_that_of_the_folder(archive: Path, photos: Path) -> None:
    scan = registry.open_source(archive).scan()
    columns = ["path", "label", "split", "size_bytes"]
    catalog = registry.open_source(photos).scan().catalog
    assert scan.catalog.select(columns).equals(catalog.select(columns))
    assert scan.skipped == {"named *.txt": 1}


@pytest.mark.usefixtures("_zip")
def test_it_runs_through_worker_processes_and_takes_in_new_images(
    archive: Path, photos: Path, finished: Path, tmp_path: Path
) -> None:
    store = pomona.run(archive, tmp_path / "store", workers=2)
    expected = pomona.open(finished)
    assert store.features().paths == expected.features().paths
    assert np.array_equal(store.features().array, expected.features().array)
    assert not len(store.errors())
    [new] = draw_photos(tmp_path / "more", 1, seed=1).rglob("*.jpg")
    with zipfile.ZipFile(archive, "a") as more:
        more.write(new, "new.jpg")
    again = pomona.run(archive, tmp_path / "store", workers=1)
    assert len(again.features()) == len(expected.features()) + 1
    assert again.manifest["source"] == str(archive)
