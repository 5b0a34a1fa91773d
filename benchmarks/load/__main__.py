"""Measures `pomona serve` with two workers under the load of wrk, and prints a table.

    make load                                          # half an hour on two quiet cores
    python -m benchmarks.load --input-size 64 --seconds 10 --flat 60 --explore 0

Server, workers and generator share the same two cores. What is compared is measured in turn, round
after round; the table has medians, and of ratios those within a round.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.load.servers import Server, first_server, pomona_server
from benchmarks.measuring import WORKERS, Setting, Sizes, children, command, find_photos
from pomona.extraction.featurize import load_network
from pomona.images.decode import decode
from pomona.images.resize import resize
from pomona.store.store import Store

# So many at a time keep two workers busy; so many users ask now and then.
BUSY, USERS, CROWD = 48, 32, 200
TAUGHT, ASKED, SQUARES = 1_200, 2_000, 400


def main() -> int:
    args = _parser().parse_args()
    if shutil.which("wrk") is None:
        print("no wrk: apt-get install wrk, or see https://github.com/wg/wrk", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="pomona-load-") as temporary:
        folder = Path(temporary)
        photos, drawn = find_photos(folder)
        setting = Setting(folder, photos, drawn, Sizes())
        taught, asked = setting.copies(TAUGHT), sorted(photos.rglob("*.jpg"))
        store, model, listed = folder / "store", folder / "model.onnx", folder / "photographs"
        listed.write_text("".join(f"{path}\n" for path in asked[:: max(1, len(asked) // ASKED)]))
        size = ["--input-size", args.input_size] if args.input_size else []
        command("-m", "pomona", "run", taught, store, "--quiet", *size)
        command("-m", "pomona", "train", store, "--quiet")
        command("-m", "pomona", "export", store, model, "--quiet")
        with pomona_server(store, listed) as server, first_server(model, listed) as first:
            bare = Bare(folder, store, asked)
            rows = measure(server, first, bare, args.rounds, args.seconds)
            rows += stay_flat(server, args.flat)
            if args.explore:
                rows += explore(server, args.explore)
    print("| | median | range | goal |\n|---|---|---|---|")
    for name, values, goal in rows:
        low, middle, high = (f(values) for f in (min, statistics.median, max))
        print(f"| {name} | {middle:.3g} | {low:.3g} to {high:.3g} | {goal} |")
    return 0


Row = tuple[str, list[float], str]


class Bare:
    """The bare network of a store: its graph on squares in memory, in a process for each worker."""

    def __init__(self, folder: Path, store: Path, photos: list[Path]) -> None:
        recipe = Store(store).recipe
        network = load_network(recipe)
        self._folder, self._batch = folder, network.batch_size
        self._model = folder / "network.onnx"
        self._model.write_bytes(network.model)
        self._squares = folder / "squares.npy"
        side = network.input_size
        squares = np.empty((SQUARES, side, side, 3), np.uint8)
        for square, photo in zip(squares, photos, strict=False):
            pixels = decode(photo.read_bytes()).pixels
            resize(pixels, square, fit=recipe.fit, crop_fraction=recipe.crop_fraction)
        np.save(self._squares, squares)

    def speed(self, seconds: float) -> float:
        """Images/s of all processes together."""
        edges = pairwise(np.linspace(0, SQUARES, WORKERS + 1).astype(int))
        each = [(self._squares, *edge, self._model, "onnxruntime") for edge in edges]
        images = spent = 0.0
        with children("bare", each, folder=self._folder, one_thread=True) as processes:
            while spent < seconds:
                for process in processes:
                    process.give(batch=self._batch)
                found = [process.answer() for process in processes]
                images += sum(one["images"] for one in found)
                spent += max(one["seconds"] for one in found)
        return images / spent


def measure(server: Server, first: Server, bare: Bare, rounds: int, seconds: float) -> list[Row]:
    """Answers a second beside the limit and what one writes first; answers at other loads."""
    found: dict[str, list[float]] = {}

    def keep(name: str, value: float) -> float:
        found.setdefault(name, []).append(value)
        return value

    for each in (server, first):
        each.load(2, BUSY)
    for number in range(rounds):
        speeds: dict[str, float] = {}
        ways: list[tuple[str, Callable[[], float]]] = [
            ("bare", lambda: bare.speed(seconds)),
            ("pomona", lambda: _busy(server, seconds, keep)),
            ("first", lambda: first.load(seconds, BUSY).speed),
        ]
        for name, way in ways if number % 2 == 0 else ways[::-1]:
            speeds[name] = keep(name, way())
        keep("of bare", speeds["pomona"] / speeds["bare"])
        keep("of first", speeds["pomona"] / speeds["first"])
        most = speeds["pomona"]
        alone = server.load(seconds / 2, 1)
        keep("alone", alone.p50_ms)
        pause_ms = 1e3 * USERS / (0.7 * most) - alone.p50_ms
        some = server.load(seconds, USERS, pause_ms)
        keep("70 %", some.speed / most)
        keep("p99", some.p99_ms / alone.p50_ms)
        # Half are refused at once, half are answered after all that wait.
        crowd = server.load(seconds, CROWD, 1e3 * (CROWD / 2 - 64) / most)
        keep("200 %", crowd.requests / crowd.seconds / most)
        keep("answered", crowd.speed / most)
        keep("lost", float(crowd.lost + some.lost + alone.lost))
    return [
        ("the bare network, images/s", found["bare"], ""),
        ("`pomona serve`, answers/s", found["pomona"], ""),
        ("FastAPI as one writes it first, answers/s", found["first"], ""),
        ("`pomona serve` / the bare network", found["of bare"], "≥ 0.85"),
        ("`pomona serve` / FastAPI", found["of first"], ""),
        ("wrk's share of the two cores", found["share"], ""),
        ("one image alone, ms", found["alone"], ""),
        ("load meant to be 70 % / the most", found["70 %"], ""),
        ("p99 then / one image alone", found["p99"], "≤ 4"),
        ("load meant to be 200 % / the most", found["200 %"], ""),
        ("answers then / the most; the others have status 503", found["answered"], "≥ 0.9"),
        ("connections lost or late", found["lost"], "0"),
    ]


def _busy(server: Server, seconds: float, keep: Callable[[str, float], float]) -> float:
    told = server.load(seconds, BUSY)
    assert told.refused == told.lost == 0
    keep("share", told.cpu_share)
    return told.speed


def stay_flat(server: Server, seconds: float) -> list[Row]:
    """Its memory after so long, as a share of that at a tenth of the time."""
    server.load(seconds / 10, BUSY)
    before = server.memory_mb()
    server.load(seconds * 0.9, BUSY)
    after = server.memory_mb()
    return [
        (f"memory after {seconds:g} s, MB", [after], ""),
        ("memory / that at a tenth of it", [after / before], "≤ 1.05"),
    ]


def explore(server: Server, seconds: float) -> list[Row]:
    """Has schemathesis ask all that the description allows, and more. Raises for what it finds."""
    before = server.memory_mb()
    words: list[object] = [Path(sys.executable).with_name("schemathesis"), "run"]
    checks = "not_a_server_error,response_schema_conformance,content_type_conformance"
    words += [f"{server.address}/openapi.json", "--checks", checks]
    words += ["--max-time", round(seconds), "--no-color", "--generation-database", "none"]
    done = subprocess.run([*map(str, words)], env=os.environ, text=True, capture_output=True)
    print(done.stdout[-3000:], file=sys.stderr)
    if done.returncode:
        raise SystemExit("schemathesis has found what is not as described")
    return [(f"memory after schemathesis, {seconds:g} s", [server.memory_mb() / before], "")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input-size", type=int, help="of the network; otherwise its own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--flat", type=float, default=600, help="seconds to watch the memory")
    parser.add_argument("--explore", type=float, default=600, help="seconds of schemathesis")
    return parser


if __name__ == "__main__":
    sys.exit(main())
