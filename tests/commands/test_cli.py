"""The commands, as processes on real files: what they say, write and leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image

import pomona as api
from conftest import TABLES, Ended, Pomona, contents, draw_photos, tables, wait_for
from pomona.commands.main import app

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def manifest(store: Path) -> dict[str, Any]:
    return api.open(store).manifest


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.sort_by("path").to_pylist()  # type: ignore[no-any-return]


def events(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log file, each one JSON object."""
    text = log.read_text() if log.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


# Help and versions


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(pomona: Pomona, command: str) -> None:
    assert f"Example: pomona {command}" in pomona.done(command, "--help").stdout


def test_help_names_every_command(pomona: Pomona) -> None:
    asked = pomona.done("--help")
    for command in COMMANDS:
        assert command in asked.stdout
    assert pomona.done() == asked


def test_version(pomona: Pomona) -> None:
    assert pomona.done("--version") == Ended(0, f"pomona {api.__version__}\n", "")


def test_backbones(pomona: Pomona, finished: Path) -> None:
    known, *others = json.loads(pomona.done("backbones", "--json").stdout)
    assert [one["name"] for one in others] == ["mobilenet_v2", "resnet50", "efficientnet_b0"]
    assert {one["state"] for one in others} == {"to be added"}
    assert (known["name"], known["width"], known["cached"]) == ("efficientnet_lite0", 1280, True)
    told = pomona.done("backbones").stdout
    assert "efficientnet_lite0" in told
    assert "75.1 %" in told


def test_doctor(pomona: Pomona) -> None:
    findings = json.loads(pomona.done("doctor", "--json").stdout)
    assert {"pomona", "cores", "memory", "onnxruntime", "cache"} <= {
        one["what"] for one in findings
    }
    assert all(one["ok"] in (True, None) for one in findings)
    assert "onnxruntime" in pomona.done("doctor").stdout


def test_doctor_measures_the_network(pomona: Pomona) -> None:
    findings = json.loads(pomona.done("doctor", "--speed", "--json").stdout)
    rates = {
        each["what"]: each["images_per_second"] for each in findings if "speed" in each["what"]
    }
    assert {"speed, onnxruntime float32", "speed, openvino float32"} <= rates.keys()
    assert rates["speed, onnxruntime float32"] > 0
    assert sum(each["images_per_second"] is not None for each in findings) >= 2


@pytest.mark.parametrize("command", ["--help", "--version", "backbones --json", "doctor"])
def test_a_reader_who_has_left_is_no_error(pomona: Pomona, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = pomona.start(*command.split(), stdout=writing)
    os.close(writing)
    assert pomona.end(process).stderr == ""


def test_a_closed_stdout_is_no_error(pomona: Pomona) -> None:
    shell = ["sh", "-c", '"$@" >&-', "sh", *pomona.python, "-m", "pomona", "doctor"]
    done = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_closed_stderr_is_no_error(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    command = [*pomona.python, "-m", "pomona", "extract", str(photos), out, "--limit", "2"]
    subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *command], stdout=subprocess.PIPE, check=True)
    assert len(api.open(out).features()) == 2


# How a run speaks


def test_the_result_is_told_in_words(pomona: Pomona, photos: Path, store: Path) -> None:
    ended = pomona.done("run", photos, store)
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[:4] == [
        f"Nothing to do: {store} is up to date",
        "  images    40 of 4 labels",
        "  features  40",
        "  errors    0",
    ]


def test_json_is_one_object_alone(pomona: Pomona, photos: Path, store: Path) -> None:
    told = json.loads(pomona.done("run", photos, store, "--json").stdout)
    assert told["store"] == str(store)
    assert (told["worked"], told["ran"]) == (False, 0)
    assert (told["images"], told["features"], told["errors"], told["error_rate"]) == (40, 40, 0, 0)


def test_quiet_prints_nothing_and_the_log_tells_all(
    pomona: Pomona, photos: Path, tmp_path: Path
) -> None:
    # No home either: what the libraries would keep there is none of the user's business.
    silent = replace(pomona, env={"HOME": str(tmp_path / "photos"), "XDG_CACHE_HOME": "/proc/none"})
    (tmp_path / "photos").symlink_to("/proc/none")
    log = tmp_path / "log"
    command = ["run", photos, tmp_path / "out", "--quiet", "--workers", "1", "--log-file", log]
    assert silent.done(*command) == Ended(0, "", "")
    told = events(log)
    assert [line["stage"] for line in told if line["event"] == "begin"] == [
        "extract",
        "pca",
        "project",
    ]
    assert {**told[-1], "time": ""} == {"time": "", "event": "over", "status": 0, "message": None}

    refused = silent(*command, "--fit", "crop")
    assert refused.status == 1
    assert events(log)[: len(told)] == told
    last = events(log)[-1]
    assert (last["event"], last["status"]) == ("over", 1)
    assert f"pomona: {last['message']}" == refused.complaint


def test_a_terminal_shows_a_bar(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    terminal = replace(pomona, env={"TERM": "xterm", "COLUMNS": "80"})
    command = ["run", photos, tmp_path / "out", "--workers", "1"]
    process = terminal.start(*command, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # so ends, on Linux, what a terminal shows
        pass
    finally:
        os.close(ours)
    assert terminal.end(process).status == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"extract +━+ 40/40", text)
    assert "  features  40\r\n" in text
    assert f"  report    {tmp_path}/out/report.html" in text
    assert "\x1b[?25h" in shown.decode(), "the cursor is there again"


# What a run would do


def test_an_image_too_large_is_told_and_taken_once_it_may_be(
    pomona: Pomona, photos: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pomona.done("run", photos, out, "--max-pixels", "2400", "--max-error-rate", "1", "--quiet")
    errors = api.open(out).errors().to_pylist()
    assert [row["reason"] for row in errors] == ["too_large"] * 13
    assert all(row["detail"].endswith(" pixels, more than 2,400") for row in errors)
    flags = ("--max-pixels", "1MP", "--retry-errors=all", "--refit", "--quiet")
    pomona.done("run", photos, out, *flags)
    assert tables(out) == tables(finished)
    store = api.run(photos, tmp_path / "other", max_pixels=2400, progress=False)
    assert len(store.errors()) == 13


def test_dry_run_says_what_would_be_done(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = pomona.done("run", photos, out, "--dry-run").stdout
    assert f"40 images of 4 labels in {photos}, 40 to do" in told
    assert re.search(r"time +about .+ s ", told)
    assert re.search(r"disk +about \d+ MB in ", told)
    assert "Nothing was written." in told
    assert not out.exists()


def test_dry_run_on_a_finished_store(pomona: Pomona, photos: Path, finished: Path) -> None:
    before = contents(finished)
    told = json.loads(pomona.done("run", photos, finished, "--dry-run", "--json").stdout)
    assert (told["images"], told["to_do"], told["seconds"], told["disk_bytes"]) == (40, 0, 0, 0)
    assert contents(finished) == before


# New, changed, touched and removed images


def test_nothing_to_do_changes_nothing(pomona: Pomona, photos: Path, store: Path) -> None:
    before = contents(store)
    assert "Nothing to do" in pomona.done("run", photos, store).stdout
    assert contents(store) == before


def test_a_source_that_changes(pomona: Pomona, photos: Path, store: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(photos, source)
    for folder in source.rglob("*"):
        folder.chmod(0o755)
    source.chmod(0o755)
    run = ["run", source, store, "--workers", "2"]

    draw_photos(source, 3, seed=1)
    pomona.done(*run)
    assert [entry["images"] for entry in manifest(store)["runs"]] == [40, 3]

    changed = sorted(source.rglob("*.jpg"))[5]
    Image.effect_noise((30, 30), 60).save(changed)
    pomona.done(*run)
    assert manifest(store)["runs"][-1]["images"] == 1

    for path in source.rglob("*.*"):
        os.utime(path, (1, 1))
    pomona.done(*run, "--refit")
    assert manifest(store)["runs"][-1]["images"] == 0

    fresh = tmp_path / "fresh"
    pomona.done("run", source, fresh, "--workers", "2")
    mine, theirs = api.open(store), api.open(fresh)
    for table in ("metadata", "errors"):
        assert rows(getattr(mine, table)()) == rows(getattr(theirs, table)())
    assert rows(mine.features().table) == rows(theirs.features().table)
    own, other = mine.pca().table.sort_by("path"), theirs.pca().table.sort_by("path")
    assert own.drop_columns("pca").equals(other.drop_columns("pca"))
    np.testing.assert_allclose(
        np.array(own["pca"].to_pylist()), np.array(other["pca"].to_pylist()), atol=1e-3
    )

    before = contents(store)
    for path in sorted(source.rglob("*.png"))[:2]:
        path.unlink()
    ended = pomona.done(*run)
    assert "2 images of the store are not in the source now: they are kept; --sync" in ended.stderr
    assert contents(store) == before


# The halves, and other numbers of components


def test_extract_then_reduce(pomona: Pomona, photos: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pomona.done("extract", photos, out, "--workers", "2")
    assert not (out / "pca").exists()
    pomona.done("reduce", out, "--components", "5", "--workers", "1")
    assert api.open(out).pca().array.shape == (40, 5)
    assert manifest(out)["pca"]["requested"] == {"components": 5}
    pomona.done("reduce", out, "--variance", "0.9", "--workers", "1")
    assert tables(out) == tables(finished)


def test_less_variance_without_csv_then_with_it(pomona: Pomona, store: Path) -> None:
    before = manifest(store)["pca"]
    csv = contents(store / "csv")
    assert set(csv) >= {"pca/part-00000.csv", "metadata/part-00000.csv", "errors/part-00000.csv"}
    reduce = ["reduce", store, "--workers", "1"]
    told = json.loads(pomona.done(*reduce, "--no-csv", "--variance", "0.5", "--json").stdout)
    after = manifest(store)["pca"]
    assert (told["worked"], told["components"]) == (True, after["components"])
    assert after["components"] < before["components"]
    assert 0.5 <= after["variance_explained"] < before["variance_explained"]
    assert not (store / "csv").exists()
    assert "Nothing to do" in pomona.done(*reduce).stdout, "csv/ stays away until it is asked for"

    pomona.done(*reduce, "--csv")
    assert set(contents(store / "csv")) == set(csv)
    first = pd.read_csv(store / "csv" / "pca" / "part-00000.csv")
    assert list(first.columns[:4]) == ["path", "label", "split", "pc_1"]
    assert len(first.columns) == 3 + after["components"]
    assert contents(store / "csv" / "metadata") == {
        name.removeprefix("metadata/"): data
        for name, data in csv.items()
        if name.startswith("metadata/")
    }


def test_report(pomona: Pomona, store: Path) -> None:
    before = contents(store)
    page = store / "report.html"
    page.unlink()
    assert json.loads(pomona.done("report", store, "--json").stdout) == {"report": str(page)}
    assert {**contents(store), "report.html": b""} == {**before, "report.html": b""}
    assert page.read_bytes().startswith(b"<!doctype html>")


def test_labels_from_a_file(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("photo*"))
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\n" + "".join(f'"{path}","é, {path[-5]}"\n' for path in paths[1:]))
    command = ["extract", photos, tmp_path / "out", "--labels", labels, "--workers", "1"]
    ended = pomona.done(*command)
    assert "1 images are not in labels.csv" in ended.stderr
    assert ended.stdout.startswith("40 images done in ")
    assert "\x1b" not in ended.stdout + ended.stderr, "only a terminal gets colours and bars"
    found = api.open(tmp_path / "out").features()
    assert dict(zip(found.paths, found.labels, strict=True)) == {
        paths[0]: None,
        **{path: f"é, {path[-5]}" for path in paths[1:]},
    }


def test_import_features(pomona: Pomona, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["import-features", finished / "features", out]
    pomona.done(*command)
    assert "Nothing to do" in pomona.done(*command).stdout
    pomona.done("reduce", out, "--components", "7", "--workers", "1")
    mine, theirs = api.open(out), api.open(finished)
    assert np.array_equal(mine.features().array, theirs.features().array)
    assert mine.features().labels == theirs.features().labels
    assert mine.pca().array.shape == (40, 7)


def test_sample_then_run(pomona: Pomona, tmp_path: Path) -> None:
    ended = pomona.done("sample", tmp_path / "fruit", "--varieties", "3", "--per-variety", "4")
    assert ended.stdout.startswith("12 images of 3 varieties in ")
    assert f"next: pomona run {tmp_path / 'fruit'} out" in ended.stdout
    told = pomona.done("run", tmp_path / "fruit", tmp_path / "out", "--dry-run").stdout
    assert "12 images of 3 labels" in told


# Stopped and killed


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many images that a run of them can be caught at work."""
    return draw_photos(tmp_path_factory.mktemp("many"), 160)


@pytest.fixture(scope="module")
def undisturbed(
    pomona: Pomona, many: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes | None]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    pomona.done("run", many, out, "--workers", "2")
    return tables(out)


class Caught:
    """A run that is at work, in a process group of its own."""

    def __init__(self, pomona: Pomona, many: Path, folder: Path) -> None:
        self.command = ["run", many, folder / "out", "--workers", "2"]
        self.out = folder / "out"
        self.log = folder / "log"
        self._mark = str(folder)
        self._pomona = replace(pomona, env={"POMONA_TEST": self._mark})
        self.process = self._pomona.start(*self.command, "--log-file", self.log)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for the condition, which must come before the run's end."""
        wait_for(lambda: condition() or self.process.poll() is not None)
        assert self.process.poll() is None

    def has_progress(self) -> bool:
        return any(line["event"] == "progress" for line in events(self.log))

    def is_importing(self) -> bool:
        """It has started its workers, and imports what it needs itself."""
        return bool(psutil.Process(self.process.pid).children())

    def has_lock(self) -> bool:
        return (self.out / "_pomona" / "lock").exists()

    def processes(self) -> list[psutil.Process]:
        """All processes that the run started, itself included."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("POMONA_TEST") == self._mark:
                    found.append(process)
        return found

    def end(self) -> Ended:
        return self._pomona.end(self.process)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_stopped_before_it_began(
    pomona: Pomona, many: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    caught = Caught(pomona, many, tmp_path)
    caught.wait_until(caught.is_importing)
    caught.process.send_signal(number)
    ended = caught.end()
    assert (ended.status, ended.stdout) == (status, "")
    assert "Traceback" not in ended.stderr
    assert f"go on with: pomona run {many} {caught.out} --workers 2" in ended.stderr
    wait_for(lambda: caught.processes() == [])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", [Caught.has_lock, Caught.has_progress])
def test_a_stopped_run(
    pomona: Pomona,
    many: Path,
    undisturbed: dict[str, bytes | None],
    tmp_path: Path,
    moment: Callable[[Caught], bool],
    number: signal.Signals,
    status: int,
) -> None:
    caught = Caught(pomona, many, tmp_path)
    caught.wait_until(lambda: moment(caught))
    os.killpg(caught.process.pid, number)
    ended = caught.end()
    assert (ended.status, ended.stdout) == (status, "")
    assert "Traceback" not in ended.stderr
    assert f"go on with: pomona run {many} {caught.out} --workers 2" in ended.stderr
    assert caught.processes() == []
    last = events(caught.log)[-1]
    assert (last["event"], last["status"]) == ("over", status)

    pomona.done(*caught.command)
    assert tables(caught.out) == undisturbed


def test_a_killed_run(
    pomona: Pomona, many: Path, undisturbed: dict[str, bytes | None], tmp_path: Path
) -> None:
    caught = Caught(pomona, many, tmp_path)
    caught.wait_until(caught.has_progress)
    workers = [process for process in caught.processes() if process.pid != caught.process.pid]
    assert len(workers) == 2
    caught.process.kill()
    assert caught.end().status == -signal.SIGKILL
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []

    pomona.done(*caught.command)
    assert tables(caught.out) == undisturbed
    assert list((caught.out / "_pomona" / "tmp").iterdir()) == []


def test_a_killed_worker_does_not_end_the_run(
    pomona: Pomona, many: Path, undisturbed: dict[str, bytes | None], tmp_path: Path
) -> None:
    caught = Caught(pomona, many, tmp_path)
    caught.wait_until(caught.has_progress)
    victim = psutil.Process(caught.process.pid).children()[0]
    victim.kill()
    ended = caught.end()
    assert ended.status == 0, ended
    assert tables(caught.out) == undisturbed


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_no_byte(
    pomona: Pomona,
    many: Path,
    undisturbed: dict[str, bytes | None],
    tmp_path: Path,
    workers: int,
) -> None:
    pomona.done("run", many, tmp_path / "out", "--workers", workers)
    assert tables(tmp_path / "out") == undisturbed


# From Python


def test_a_script_without_a_main_guard(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, pomona\n"
        "store = pomona.run(sys.argv[1], sys.argv[2], components=4, workers=2, limit=9)\n"
        "print(store.pca().array.shape)\n"
    )
    command = [sys.executable, str(script), str(photos), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "(9, 4)\n"
    assert "Error" not in done.stderr  # progress, on a slow machine


def test_featurize_gives_what_the_store_holds(photos: Path, finished: Path) -> None:
    store = api.open(finished)
    held = store.features()
    paths = [photos / path for path in held.paths]
    assert np.array_equal(api.featurize(paths, store.recipe), held.array)
    for at in (0, 17):
        with Image.open(paths[at]) as image:
            image.load()
        data, array = paths[at].read_bytes(), np.asarray(image.convert("RGB"))
        alike = api.featurize([str(paths[at]), data, image, array])
        assert np.array_equal(alike, held.array[[at] * 4])
        assert np.array_equal(api.featurize([data]), held.array[at : at + 1])


def test_project_gives_what_the_store_holds(finished: Path) -> None:
    store = api.open(finished)
    features, pca = store.features().array, store.pca().array
    assert np.array_equal(store.project(features), pca)
    for at in range(len(features)):
        assert np.array_equal(store.project(features[at : at + 1]), pca[at : at + 1])


@pytest.mark.parametrize("table", TABLES)
def test_other_programs_open_the_tables(finished: Path, table: str) -> None:
    folder = finished / table
    expected = rows(pq.read_table(folder))
    assert len(expected) == (0 if table == "errors" else 40)
    frame = pd.read_parquet(folder)
    assert (len(frame), list(frame["path"])) == (len(expected), [row["path"] for row in expected])
    assert pl.read_parquet(folder / "*.parquet").sort("path").to_dicts() == expected
    with duckdb.connect() as database:
        found = database.sql(f"from read_parquet('{folder}/*.parquet') order by path")
        assert found.columns == list(frame.columns)
        assert len(found.fetchall()) == len(expected)
