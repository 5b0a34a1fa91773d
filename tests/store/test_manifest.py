"""The manifest: what is read, what is refused, and which folders may become stores."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from small_stores import RECIPE, empty, rows

from pomona.errors import StoreError
from pomona.store import schemas
from pomona.store.layout import MANIFEST, PLAN, part_name
from pomona.store.store import Store
from unprivileged import unprivileged

__all__ = ["empty"]


def test_a_folder_without_a_manifest_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(
            StoreError,
            match=r"is not a pomona store: it has no pomona.json; check the path, or make a store",
        ):
            _ = Store(root).manifest


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'{"format_version"', b'"text"', b"7"],
)
def test_a_damaged_manifest_is_reported(empty: Store, content: bytes) -> None:
    empty.files.write(MANIFEST, content)
    with pytest.raises(StoreError, match=r"pomona.json is damaged: restore it from a copy"):
        _ = empty.manifest


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_a_manifest_of_another_version_is_reported(empty: Store, version: Any) -> None:
    empty.begin("/data", RECIPE)
    empty.write_json(MANIFEST, {**empty.manifest, "format_version": version})
    with pytest.raises(StoreError, match=rf"has format {version}, but this pomona reads format 1"):
        _ = empty.manifest


@pytest.mark.parametrize("key", ["format_version", "source", "recipe", "totals", "pca", "runs"])
def test_a_manifest_that_lacks_a_key_is_reported(empty: Store, key: str) -> None:
    empty.begin("/data", RECIPE)
    manifest = empty.manifest
    del manifest[key]
    empty.write_json(MANIFEST, manifest)
    with pytest.raises(StoreError, match=r"pomona.json is damaged: restore it from a copy"):
        _ = empty.manifest


@pytest.mark.parametrize("recipe", [None, 7, "text", [], {}, {"backbone": "x"}])
def test_a_manifest_without_a_whole_recipe_is_reported(empty: Store, recipe: Any) -> None:
    empty.begin("/data", RECIPE)
    empty.write_json(MANIFEST, {**empty.manifest, "recipe": recipe})
    with pytest.raises(StoreError, match=r"pomona.json is damaged: restore it from a copy"):
        _ = empty.manifest


def test_the_manifest_of_a_new_store_says_that_it_is_empty(empty: Store) -> None:
    empty.begin("/data/Crème brûlée", RECIPE)
    manifest = empty.manifest
    assert manifest["totals"] == {"images": 0, "features": 0, "errors": 0, "labels": 0}
    assert [manifest[key] for key in ("pca", "csv", "thumbnails", "runs")] == [None, None, None, []]
    # People read it, too.
    assert "/data/Crème brûlée".encode() in empty.files.read(MANIFEST)


def test_a_manifest_that_cannot_be_read_is_reported(commons: Path) -> None:
    store = Store(commons / "store")
    store.begin("/data", RECIPE)
    store.files.path(MANIFEST).chmod(0)
    with unprivileged(), pytest.raises(StoreError, match=r"cannot read .*: Permission denied"):
        _ = store.manifest


def test_a_recipe_of_a_later_version_has_another_digest(empty: Store) -> None:
    empty.begin("/data", RECIPE)
    later = {**RECIPE.to_dict(), "sharpen": 2, "digest": "x"}
    empty.write_json(MANIFEST, {**empty.manifest, "recipe": later})
    assert empty.recipe == RECIPE
    assert empty.recipe.digest != empty.manifest["recipe"]["digest"]
    assert dataclasses.replace(RECIPE, fit="crop") != empty.recipe


def test_an_absent_an_empty_and_a_barely_begun_folder_are_new(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun/_pomona/tmp").mkdir(parents=True)
    (tmp_path / "link").symlink_to("empty")
    for name in ("absent", "absent/deeper", "empty", "begun", "link"):
        assert Store(tmp_path / name).is_new()


def test_a_store_is_not_new_whatever_else_it_holds(empty: Store) -> None:
    empty.begin("/data", RECIPE)
    assert not empty.is_new()
    empty.files.write("notes.txt", b"")
    assert not empty.is_new()


def test_a_store_that_lost_its_manifest_is_refused(empty: Store) -> None:
    empty.begin("/data", RECIPE)
    empty.write_table(PLAN, schemas.PLAN.empty_table())
    empty.write_table(part_name("features", 0), rows(0, 1))
    empty.files.delete(MANIFEST)
    with pytest.raises(StoreError, match=r"is not a pomona store and not empty"):
        empty.is_new()


@pytest.mark.parametrize("name", ["photo.jpg", ".hidden", "features", "_pomona2"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "z").mkdir()
    with pytest.raises(StoreError, match=rf"not empty \(it holds '{name}'\): choose another"):
        Store(tmp_path).is_new()
    assert sorted(os.listdir(tmp_path)) == sorted([name, "z"])


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file is a file: give a folder for the store"):
        Store(tmp_path / "file").is_new()


def test_a_folder_that_cannot_be_read_is_refused(commons: Path) -> None:
    (commons / "locked").mkdir(mode=0)
    with unprivileged(), pytest.raises(StoreError, match=r"Permission denied; choose another"):
        Store(commons / "locked").is_new()
    (commons / "locked").rmdir()
