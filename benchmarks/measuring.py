"""What all cases share: how much is measured, on what, by which processes, and what was found."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pomona.engines.workers import ONE_THREAD
from pomona.samples.sample import draw_sample

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("POMONA_DATA", ROOT.parent / "shared" / "data"))
WORKERS = 2


@dataclass(frozen=True)
class Sizes:
    """How much is measured; images, where nothing else is said.

    limit: of the bare limit; plain: of Daft with its defaults; batched, single: of the original
    way; worker: of each worker's tasks; started: of Spark's start, 0 to leave it out; rows, width:
    of the features for PCA; planned: catalog rows; searched: rows to search; learned: rows to
    train on and to test with; compared: rows that the report compares.
    """

    pairs: int = 5
    images: int = 8_710
    limit: int = 1_000
    spark: int = 4_000
    plain: int = 1_500
    batched: int = 300
    single: int = 100
    worker: int = 1_100
    fixed: int = 300
    started: int = 4
    growth: tuple[int, ...] = (1_000, 4_000, 16_000, 64_000)
    rows: int = 67_692
    width: int = 1_280
    planned: int = 10_000_000
    searched: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    learned: int = 1_000_000
    compared: tuple[int, ...] = (50_000, 100_000)


# Only to see that all of it works.
QUICK = Sizes(
    *(1, 96, 32, 96, 96, 8, 4, 32, 12, 0, (96, 128), 600, 64, 20_000, (3_000,), 3_000),
    compared=(3_000, 6_000),
)


@dataclass(frozen=True)
class Measure:
    """What was found: a value for each round. A unit of "" is a ratio.

    goal: what it is to be; shown: whether it stands in the table, or is kept beside it only.
    """

    name: str
    values: list[float]
    unit: str = ""
    goal: str = ""
    shown: bool = True

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def ratio(name: str, above: list[float], below: list[float], goal: str = "") -> Measure:
    """Round by round, for both were measured within minutes of each other."""
    values = [one / other for one, other in zip(above, below, strict=True)]
    return Measure(name, values, goal=goal)


def figure(name: str, values: list[float], unit: str) -> Measure:
    """An absolute one, true for this machine on that day."""
    return Measure(name, values, unit, shown=False)


class MissingError(Exception):
    """A case, or a way, needs something that is not here; the message says what."""


def need(*modules: str) -> None:
    """Raises MissingError where one of these packages is missing, or pyspark's Java."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if "pyspark" in modules and not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        missing.append("Java")
    if missing:
        raise MissingError(f"no {', '.join(missing)}: make bench sets it up")


def available(*modules: str) -> bool:
    """Whether `need` is content."""
    try:
        need(*modules)
    except MissingError:
        return False
    return True


@dataclass(frozen=True)
class Setting:
    """Where a case works: a folder for what it makes, photographs (not to be changed), sizes."""

    folder: Path
    photos: Path
    drawn: bool
    sizes: Sizes
    _made: dict[int, Path] = field(default_factory=dict)

    def copies(self, count: int) -> Path:
        """A folder of so many of the photographs, evenly taken, under new names.

        Where there are fewer of them they come again, made distinct by two bytes behind each file.
        """
        if count not in self._made:
            there = sorted(path for path in self.photos.rglob("*.jpg"))
            self._made[count] = folder = self.folder / f"photos-{count}"
            step = max(1, len(there) / count)
            for index in range(count):
                again, at = divmod(int(index * step), len(there))
                photo = there[at]
                copy = folder / photo.relative_to(self.photos).parent / f"{again}-{photo.name}"
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(photo.read_bytes() + again.to_bytes(2, "big"))
        return self._made[count]

    @contextmanager
    def emptied(self, name: str) -> Iterator[Path]:
        """A folder for one measurement, that is gone afterwards."""
        folder = self.folder / name
        folder.mkdir()
        yield folder
        shutil.rmtree(folder)


def find_photos(folder: Path, *, quick: bool = False) -> tuple[Path, bool]:
    """Real photographs of fruit, unpacked, where POMONA_DATA has them, else drawn ones.

    Returns where they are, and whether they are drawn.
    """
    archive = DATA / "fruits360-subset.tar"
    if quick or not archive.exists():
        draw_sample(folder / "drawn", varieties=4 if quick else 12)
        return folder / "drawn", True
    with tarfile.open(archive) as opened:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in 3.11.2
        opened.extractall(folder, **safely)  # type: ignore[arg-type]  # noqa: S202 - our own
    return folder / "fruits-360", False


class Child:
    """A process of `benchmarks.ways`, ready. Its order is a round; several may be at work at once.

    Raises RuntimeError, with the end of what it said on stderr, when it dies.
    """

    def __init__(self, way: str, *args: object, folder: Path, one_thread: bool = False) -> None:
        self._way = way
        self._said = folder / f"{way}-{time.monotonic_ns()}.log"
        with self._said.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"benchmarks.ways.{way}", *map(str, args)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=ROOT,
                env=environment(ONE_THREAD if one_thread else {}),
            )

    def answer(self) -> dict[str, Any]:
        """What it says next: that it is ready, or what it took to obey an order."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._way}: {self._said.read_text()[-3000:]}")
        found: dict[str, Any] = json.loads(line)
        return found

    def give(self, **order: object) -> None:
        """Tells it to do a round of its work."""
        assert self._process.stdin
        print(json.dumps(order), file=self._process.stdin, flush=True)

    def measure(self, **order: object) -> dict[str, Any]:
        self.give(**order)
        return self.answer()

    def close(self) -> None:
        with self._process as process:
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def children(way: str, each: Iterable[tuple[object, ...]], **how: Any) -> Iterator[list[Child]]:
    """A process for each of these arguments, started together, ready."""
    started: list[Child] = []
    try:
        for args in each:
            started.append(Child(way, *args, **how))
        for child in started:
            child.answer()
        yield started
    finally:
        for child in started:
            child.close()


def environment(besides: dict[str, str]) -> dict[str, str]:
    """That of a process: Spark's workers run by this very Python, and nobody reports home."""
    own = {"PYSPARK_PYTHON": sys.executable, "ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    # Where that is set, each process compiles pomona anew; what pip installs is compiled.
    own["PYTHONDONTWRITEBYTECODE"] = ""
    return {**os.environ, **own, **besides}


def command(*args: object) -> float:
    """Runs `python ARGS`; returns its seconds, all in."""
    words = [sys.executable, *map(str, args)]
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment({}))
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stderr[-3000:]}")
    return seconds


@dataclass(frozen=True)
class Ran:
    """A run of pomona. seconds: of the whole command; speeds in images/s; entry: pomona.json's.

    all_in: of the extraction with its workers' start; steady: of the time from each worker's first
    result to the last one's; busy: had the workers done nothing but what they time.
    """

    seconds: float
    all_in: float
    steady: float
    busy: float
    entry: dict[str, Any]


def pomona(verb: str, *places: Path, flags: Sequence[object] = ()) -> Ran:
    """`pomona run`, `extract` or `predict` as a command with two workers. places: the last: OUT."""
    out = places[-1]
    log = out.parent / "log"
    seconds = command(
        *("-m", "pomona", verb, *places, "--workers", WORKERS, "--quiet", "--log-file", log),
        *flags,
    )
    entry = json.loads((out / "pomona.json").read_text())["runs"][-1]
    events = [json.loads(line) for line in log.read_text().splitlines()]
    log.unlink()
    back = [
        (datetime.fromisoformat(event["time"]).timestamp(), event["done"])
        for event in events
        if event["event"] == "progress" and event["stage"] == "extract"
    ]
    firsts, (end, after) = back[:WORKERS], back[-1]
    # As many first results as workers: one each. With its own, a worker begins the next one.
    before, spent = firsts[-1][1], sum(end - start for start, _ in firsts)
    all_in = entry["images"] / entry["seconds"]["extract"]
    steady = (after - before) * WORKERS / spent if spent and after > before else all_in
    busy = entry["images"] * WORKERS / sum(entry["worker_seconds"].values())
    return Ran(seconds, all_in, steady, busy, entry)


def processor() -> str:
    """Its name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


PACKAGES = (
    *("pomona", "numpy", "onnxruntime", "openvino", "pyspark", "daft", "keras"),
    *("tensorflow-cpu", "scikit-learn", "faiss-cpu"),
)


def describe(setting: Setting) -> dict[str, Any]:
    """When, on what and of how much a case was measured."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "when": datetime.now().astimezone().isoformat(timespec="minutes"),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            **versions,
        },
        "photographs": "drawn" if setting.drawn else "Fruits-360, 100 × 100",
        "workers": WORKERS,
        "sizes": asdict(setting.sizes),
    }
