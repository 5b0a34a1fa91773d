"""Results, progress and logs of commands, and streams that are closed."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import pomona as api
from conftest import Ended, Pomona
from log_events import log_events


@pytest.mark.parametrize("command", ["--help", "--version", "backbones --json", "doctor"])
def test_output_into_a_closed_pipe_is_not_an_error(pomona: Pomona, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = pomona.start(*command.split(), stdout=writing)
    os.close(writing)
    assert pomona.end(process).stderr == ""


def test_a_closed_stdout_is_not_an_error(pomona: Pomona) -> None:
    shell = ["sh", "-c", '"$@" >&-', "sh", *pomona.python, "-m", "pomona", "doctor"]
    done = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_closed_stderr_is_not_an_error(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    command = [*pomona.python, "-m", "pomona", "extract", str(photos), out, "--limit", "2"]
    subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *command], stdout=subprocess.PIPE, check=True)
    assert len(api.open(out).features()) == 2


def test_no_file_speaks_to_the_terminal(pomona: Pomona, photos: Path, tmp_path: Path) -> None:
    """Control characters that a file or a name holds are shown as escapes."""
    (tmp_path / "labels.csv").write_text("path,label\nno.jpg,x\n\x1b[31mred\x1b]0;title\x07\n")
    ended = pomona("run", photos, tmp_path / "out", "--labels", tmp_path / "labels.csv")
    assert "\\x1b[31mred\\x1b]0;title\\x07" in ended.complaint
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", ended.stderr)
    (tmp_path / "labels.csv").write_text("path,label\nPear/\x1b[31m.jpg,x\n", "utf-8")
    ended = pomona("run", photos, tmp_path / "out", "--labels", tmp_path / "labels.csv")
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", ended.stderr)
    assert ended.status == 1


def test_the_result_is_printed_in_words(pomona: Pomona, photos: Path, store: Path) -> None:
    ended = pomona.done("run", photos, store)
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[:4] == [
        f"Nothing to do: {store} is up to date",
        "  images    40 of 4 labels",
        "  features  40",
        "  errors    0",
    ]


def test_json_prints_one_object(pomona: Pomona, photos: Path, store: Path) -> None:
    result = json.loads(pomona.done("run", photos, store, "--json").stdout)
    assert result["store"] == str(store)
    assert (result["worked"], result["ran"]) == (False, 0)
    counts = [result[name] for name in ("images", "features", "errors", "error_rate")]
    assert counts == [40, 40, 0, 0]


def test_quiet_prints_nothing_and_the_log_has_every_event(
    pomona: Pomona, photos: Path, tmp_path: Path
) -> None:
    # No home either: what the libraries would keep there is none of the user's business.
    silent = replace(pomona, env={"HOME": str(tmp_path / "photos"), "XDG_CACHE_HOME": "/proc/none"})
    (tmp_path / "photos").symlink_to("/proc/none")
    log = tmp_path / "log"
    command = ["run", photos, tmp_path / "out", "--quiet", "--workers", "1", "--log-file", log]
    assert silent.done(*command) == Ended(0, "", "")
    logged = log_events(log)
    assert [line["stage"] for line in logged if line["event"] == "begin"] == [
        "extract",
        "pca",
        "project",
    ]
    assert {**logged[-1], "time": ""} == {"time": "", "event": "over", "status": 0, "message": None}

    refused = silent(*command, "--fit", "crop")
    assert refused.status == 1
    assert log_events(log)[: len(logged)] == logged
    last = log_events(log)[-1]
    assert (last["event"], last["status"]) == ("over", 1)
    assert f"pomona: {last['message']}" == refused.complaint


@pytest.mark.needs("terminals")
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
