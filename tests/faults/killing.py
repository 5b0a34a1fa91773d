"""Commands that are killed, and what must hold after that and after the command given again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow.csv
import pyarrow.parquet as pq
import recorder

from conftest import Here, Pomona, contents, wait_for
from pomona.maintenance.verify import verify
from pomona.pipeline.context import RunSettings

LONG = os.environ.get("POMONA_FAULTS") == "long"
TOLD = ("pomona.json", "report.html")  # what carries times and is no part of sameness


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one: SIGKILL leaves the same there as on a disk."""
    memory = "/dev/shm"  # noqa: S108 - a fresh folder in it
    with tempfile.TemporaryDirectory(
        prefix="pomona-faults-", dir=memory if os.access(memory, os.W_OK) else None
    ) as folder:
        yield Path(folder)


def quick_pomona(folder: Path) -> Pomona:
    """`pomona` as a process that compiles what it imports only once."""
    env = {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    return Pomona(env=env)


@dataclass(frozen=True)
class Story:
    """A command on a store, and what the store is after it if nothing disturbs it.

    command: OUT stands for the store; before: a store to begin with; operations: how many the
    undisturbed command did, seconds: how long it took.
    """

    name: str
    command: tuple[object, ...]
    source: Path
    before: Path | None
    after: Path
    operations: int
    seconds: float

    def begin(self, out: Path) -> None:
        if self.before is not None:
            shutil.copytree(self.before, out)

    def given(self, out: Path) -> list[object]:
        return [out if word == "OUT" else word for word in self.command]


@dataclass(frozen=True)
class Kill:
    """at: the operation's number; when: "before" or "after" it; whole: all processes, or one."""

    at: int
    when: str
    whole: bool

    def __str__(self) -> str:
        return f"{'all' if self.whole else 'one'} {self.when} operation {self.at}"


@dataclass(frozen=True)
class Recording:
    """What a planted recorder is told, and what it leaves in `folder`."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, folder: Path, store: Path, kill: Kill | None = None) -> Recording:
        folder.mkdir()
        (folder / "count").touch()
        (folder / "sitecustomize.py").write_text("import recorder\n")
        settings = {"folder": str(folder), "store": str(store), **(vars(kill) if kill else {})}
        found = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        python_path = os.pathsep.join(filter(None, found))
        return cls(folder, {"PYTHONPATH": python_path, recorder.SETTINGS: json.dumps(settings)})

    @property
    def operations(self) -> int:
        return int((self.folder / "count").read_text() or 0)

    @property
    def events(self) -> list[list[str]]:
        """[process, kind, path, target] of each operation, in the order in which they ended."""
        lines = (self.folder / recorder.EVENTS).read_text().splitlines()
        return [json.loads(line) for line in lines]

    @property
    def reached(self) -> int | None:
        """The process that stands at the operation, if it waits to be killed."""
        with contextlib.suppress(FileNotFoundError):
            return int((self.folder / recorder.REACHED).read_text())
        return None


def tell(
    name: str,
    command: tuple[object, ...],
    source: Path,
    before: Path | None,
    folder: Path,
    pomona: Pomona,
) -> Story:
    """Does the command once undisturbed, in `folder`."""
    after = folder / name
    story = Story(name, command, source, before, after, 0, 0.0)
    story.begin(after)
    recording = Recording.begin(folder / f"{name}.record", after)
    start = time.monotonic()
    given = story.given(after)
    replace(pomona, env={**pomona.env, **recording.env}).done(*given)
    seconds = time.monotonic() - start
    return replace(story, operations=recording.operations, seconds=seconds)


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A process that still runs, and all that it started."""
    try:
        driver = psutil.Process(process.pid)
        return [driver, *driver.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_all(process: subprocess.Popen[str], last: int | None = None) -> None:
    """Kills a process and all that it started, as a power cut; `last`: which of them last.

    The process itself has not been waited for, so that its number is still its own.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        if process.poll() is None and last is None:
            psutil.Process(process.pid).suspend()  # it starts no more of them meanwhile
    for member in sorted(family(process), key=lambda member: member.pid == last):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
            wait_for(lambda member=member: _is_over(member))  # type: ignore[misc]


def _is_over(member: psutil.Process) -> bool:
    try:
        return not member.is_running() or bool(member.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def started(pomona: Pomona, command: list[object]) -> Iterator[subprocess.Popen[str]]:
    """A command at work; nothing of it is left behind, even where the test fails."""
    process = pomona.start(*command)
    try:
        yield process
    finally:
        if process.returncode is None:
            kill_all(process)
            pomona.end(process)


def killed_at(story: Story, kill: Kill, pomona: Pomona, out: Path, folder: Path) -> bool:
    """Does the story's command and kills it; whether the operation was reached at all."""
    story.begin(out)
    recording = Recording.begin(folder, out, kill)
    planted = replace(pomona, env={**pomona.env, **recording.env})
    with started(planted, story.given(out)) as process:
        wait_for(lambda: process.poll() is not None or recording.reached is not None)
        if recording.reached is not None:
            kill_all(process, recording.reached)
        ended = pomona.end(process)
    # Where it is a worker that died, the command has another one do its work.
    assert ended.status in (0, -signal.SIGKILL), ended
    return recording.operations >= kill.at


def killed_in_between(story: Story, rng: random.Random, pomona: Pomona, out: Path) -> str:
    """Does the story's command and kills somebody at some moment; returns whom, and when."""
    story.begin(out)
    moment, whom = rng.uniform(0, story.seconds), rng.choice(["all", "driver", "worker"])
    with started(pomona, story.given(out)) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        members = family(process)
        if whom == "worker" and len(members) > 1:
            with contextlib.suppress(psutil.NoSuchProcess):
                rng.choice(members[1:]).kill()
        elif whom == "driver" or not members:
            process.kill()
        else:
            kill_all(process)
        pomona.end(process)
    return f"{whom} after {moment:.2f} s"


def finish(story: Story, out: Path, pomona: Pomona) -> None:
    """Gives the command again and holds the store against the undisturbed one."""
    check_whole_files(out)
    # What is forgotten cannot be forgotten again: then any command sweeps what the dead one left.
    is_over = story.name == "forgotten" and is_forgotten(out, story.after)
    pomona.done(*(["reduce", out] if is_over else story.given(out)))
    check_same(out, story)


def check_same(out: Path, story: Story) -> None:
    """All bytes but those that carry times are the undisturbed store's, and it is whole."""
    found, expected = kept(out), kept(story.after)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    temporaries = out / "_pomona" / "tmp"
    assert not temporaries.exists() or list(temporaries.iterdir()) == []
    told, expected_told = (
        json.loads((at / "pomona.json").read_text()) for at in (out, story.after)
    )
    for what in ("recipe", "totals", "pca", "csv", "source"):
        assert told[what] == expected_told[what]
    assert verify(out, RunSettings(Here())).findings == []


def kept(store: Path) -> dict[str, bytes | None]:
    """All that a store holds but what carries times."""
    return {name: data for name, data in contents(store).items() if name not in TOLD}


def is_forgotten(out: Path, after: Path) -> bool:
    plans = [store / "_pomona" / "plan.parquet" for store in (out, after)]
    return (
        not (out / "_pomona" / "forgetting.json").exists()
        and plans[0].read_bytes() == plans[1].read_bytes()
    )


def check_whole_files(out: Path) -> None:
    """Any reader can read all of each file that has a name of its own."""
    for path in out.rglob("*") if out.exists() else ():
        if path.parent == out / "_pomona" / "tmp" or not path.is_file():
            continue
        if path.suffix == ".parquet":
            pq.read_table(path, page_checksum_verification=True)
        elif path.suffix == ".csv":
            pyarrow.csv.read_csv(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert all(arrays[name].size for name in arrays.files)
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        else:
            assert path.name == "lock", path
