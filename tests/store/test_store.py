"""The store: its tables as a whole, its PCA and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_stores import RECIPE, empty, rows

from pomona.errors import StoreBusyError, StoreDamagedError, StoreError
from pomona.pca.projection import Projection
from pomona.store import schemas
from pomona.store.folders.local import LocalFolder
from pomona.store.layout import FOLDERS, LOCK, PLAN, PROJECTION, TEMPORARIES, part_name
from pomona.store.locks.lease import find_holder
from pomona.store.store import PREFETCHED, Store
from pomona.store.tables import matrix

__all__ = ["empty"]


def test_read_all_joins_the_parts_in_their_order(empty: Store) -> None:
    for part in (2, 10, 0):
        empty.write_table(part_name("features", part), rows(part * 10, 10))
    empty.files.write("features/notes.txt", b"")
    assert empty.part_numbers("features") == [0, 2, 10]
    assert empty.part_names("features") == [part_name("features", part) for part in (0, 2, 10)]
    together = empty.read_all("features", schemas.features(5))
    assert together.equals(pa.concat_tables([rows(0, 10), rows(20, 10), rows(100, 10)]))
    assert empty.read_all("errors", schemas.ERRORS).equals(schemas.ERRORS.empty_table())


def test_rows_are_counted_from_the_footers(empty: Store) -> None:
    empty.write_table(part_name("features", 0), rows(0, 7))
    empty.write_table(part_name("features", 2), rows(0, 0))
    plan = pa.table({"part": pa.array([0, 0, 1, 2], pa.int32())})
    assert empty.rows_by_part("features", plan) == {0: 7, 2: 0}


def test_an_open_store_gives_what_was_written(empty: Store) -> None:
    projection = Projection(np.zeros(5), np.eye(2, 5), np.arange(5.0, 0, -1), 10, ("components", 2))
    empty.begin("/data/fruit é", RECIPE)
    empty.write_table(part_name("features", 0), rows(0, 10))
    numbers = projection.apply(matrix(rows(0, 10), "features"))
    identity = rows(0, 10).select(["path", "label", "split"])
    pca = identity.append_column("pca", pa.FixedSizeListArray.from_arrays(numbers.ravel(), 2))
    empty.write_table(part_name("pca", 0), pca.cast(schemas.pca(2)))
    empty.files.write(PROJECTION, projection.to_bytes())

    store = Store(str(empty.files))
    assert store.manifest["source"] == "/data/fruit é"
    assert store.manifest["recipe"] == RECIPE.to_dict()
    assert store.recipe == RECIPE
    assert store.projection.id == projection.id
    assert np.array_equal(store.features().array, matrix(rows(0, 10), "features"))
    assert np.array_equal(store.pca().array, numbers)
    assert np.array_equal(store.project(store.features().array), store.pca().array)
    assert store.metadata().num_rows == store.errors().num_rows == 0
    assert store.plan().equals(schemas.PLAN.empty_table())
    assert str(empty.files) in repr(store)


def test_a_store_without_pca_says_how_to_make_it(empty: Store) -> None:
    empty.begin("/data", RECIPE)
    assert empty.find_projection() is None
    with pytest.raises(StoreError, match=r"has no PCA: .*`pomona reduce"):
        _ = empty.projection


@pytest.mark.parametrize("content", [b"", b"words", b"PK", b"PK\x03\x04" + bytes(40)])
def test_a_damaged_projection_is_reported(empty: Store, content: bytes) -> None:
    empty.files.write(PROJECTION, content)
    with pytest.raises(StoreDamagedError, match=r"projection.npz is damaged: restore it"):
        empty.find_projection()


def test_a_projection_that_lacks_an_array_is_reported(empty: Store) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, mean=np.zeros(5))
    empty.files.write(PROJECTION, buffer.getvalue())
    with pytest.raises(StoreDamagedError, match=r"projection.npz is damaged: restore it"):
        empty.find_projection()


# In this time threads come together that are there at all.
MEETING_S = 30


class SlowFolder(LocalFolder):
    """A folder that is asked for several things at once."""

    requests = 4


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 20])
@pytest.mark.parametrize("folder", [LocalFolder, SlowFolder])
def test_answers_come_in_the_order_of_the_items(
    folder: type[LocalFolder], count: int, tmp_path: Path
) -> None:
    store = Store(folder(tmp_path))
    expected = [str(item) for item in range(count)]
    assert store.map_concurrent(str, range(count)) == expected
    assert list(store.map_prefetched(str, range(count))) == expected


@pytest.mark.parametrize(("folder", "ahead"), [(LocalFolder, 0), (SlowFolder, PREFETCHED)])
def test_few_answers_are_prefetched(folder: type[LocalFolder], ahead: int, tmp_path: Path) -> None:
    asked: list[int] = []
    answers = Store(folder(tmp_path)).map_prefetched(asked.append, range(20))
    for taken, _ in enumerate(answers, start=1):
        assert len(asked) <= taken + ahead
    assert sorted(asked) == list(range(20))


def test_a_folder_that_answers_at_once_is_asked_by_no_other_thread(tmp_path: Path) -> None:
    store = Store(LocalFolder(tmp_path))
    threads = store.map_concurrent(lambda _: threading.get_ident(), range(8))
    threads += store.map_prefetched(lambda _: threading.get_ident(), range(8))
    assert threads == [threading.get_ident()] * 16


def test_a_slow_folder_is_asked_for_several_things_at_once(tmp_path: Path) -> None:
    store = Store(SlowFolder(tmp_path))
    few, many = threading.Barrier(PREFETCHED), threading.Barrier(SlowFolder.requests)
    assert len(list(store.map_prefetched(lambda _: few.wait(MEETING_S), range(6)))) == 6
    assert len(store.map_concurrent(lambda _: many.wait(MEETING_S), range(8))) == 8


def test_the_plan_is_read_from_metadata_where_its_file_is_damaged(empty: Store) -> None:
    for part in (3, 1):
        table = rows(part * 10, 4).select(["path", "label", "split"])
        images = pa.Table.from_pylist(table.to_pylist(), schemas.METADATA)
        empty.write_table(part_name("metadata", part), images)
    for damage in (None, b"PAR1", b""):
        if damage is not None:
            empty.files.write(PLAN, damage)
        plan = empty.plan()
        assert plan.schema == schemas.PLAN
        assert plan["part"].to_pylist() == [1] * 4 + [3] * 4
        assert plan["path"].to_pylist() == [
            path for part in (10, 30) for path in rows(part, 4)["path"].to_pylist()
        ]
        assert empty.plan(["part"]).column_names == ["part"]


def test_orphans_are_removed_from_every_folder_and_counted(empty: Store) -> None:
    kept, orphans = (
        [part_name(folder, part, suffix) for folder, suffix in FOLDERS.items()] for part in (1, 2)
    )
    for name in (*kept, *orphans, "features/notes.txt"):
        empty.files.write(name, b"")
    assert empty.parts_with_files() == {1, 2}
    plan = pa.table({"part": pa.array([1, 1], pa.int32())})
    assert empty.remove_orphans(plan) == len(FOLDERS)
    assert empty.parts_with_files() == {1}
    assert all(map(empty.files.exists, [*kept, "features/notes.txt"]))
    assert empty.remove_orphans(plan) == 0


HOLDER = """
import sys
from pomona.store.store import Store

with Store(sys.argv[1]).lock("pomona run of another"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_process_holds(store: Store) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the store's lock until its stdin is closed or it is killed."""
    command = [sys.executable, "-c", HOLDER, str(store.files)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
        finally:
            holder.kill()


def test_a_store_is_for_one_process_at_a_time(empty: Store) -> None:
    with another_process_holds(empty) as holder:
        with pytest.raises(StoreBusyError) as caught, empty.lock("pomona run"):
            pass
        words = f"is in use by pomona run of another (process {holder.pid} on "
        assert words in str(caught.value)
        assert "wait until it has ended, or choose another folder" in str(caught.value)
        holder.communicate("")
        assert holder.returncode == 0
    with empty.lock("pomona run"):
        told = str(find_holder(empty.files.path(LOCK)))
        assert told.startswith(f"pomona run (process {os.getpid()} on ")


def test_a_refused_run_leaves_the_name_of_the_holder(empty: Store) -> None:
    with another_process_holds(empty):
        said = set()
        for _ in range(3):
            with pytest.raises(StoreBusyError) as caught, empty.lock("pomona reduce"):
                pass
            said.add(str(caught.value))
        assert len(said) == 1


def test_the_lock_of_a_killed_process_is_free_and_its_leftovers_are_swept(empty: Store) -> None:
    with another_process_holds(empty) as holder:
        for name in ("half written", "folder/with/more"):
            empty.files.write(f"{TEMPORARIES}/{name}", b"1")
        empty.write_table(part_name("features", 0), rows(0, 3))
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with empty.lock("pomona run"):
        assert empty.files.names(TEMPORARIES) == []
        assert empty.read_table(part_name("features", 0)).equals(rows(0, 3))


def test_the_lock_is_free_after_an_error(empty: Store) -> None:
    with pytest.raises(ZeroDivisionError), empty.lock("first"):
        _ = 1 / 0
    with empty.lock("second"):
        pass


def test_a_locked_folder_is_still_new(empty: Store) -> None:
    with empty.lock("pomona run") as (locked, _):
        assert locked.is_new()
    assert empty.is_new()


def test_a_copy_of_a_store_is_not_locked(empty: Store, tmp_path: Path) -> None:
    with another_process_holds(empty):
        copy = Store(shutil.copytree(empty.files.root, tmp_path / "copy"))
        with copy.lock("pomona run"), copy.files.path(LOCK).open() as file:
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert f"(process {os.getpid()} on " in str(find_holder(copy.files.path(LOCK)))
