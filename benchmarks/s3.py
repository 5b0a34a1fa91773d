"""Buckets: runs on an S3 server of this machine, and on one 30 ms away, beside runs on the disk.

    make bench-s3

Measured interleaved, as medians of rounds; ratios within a round are what counts, for a shared
machine's seconds drift. The server has no cores of its own, nor has the proxy that makes the way
long: they share those of the workers, so that the proxy without a delay is a row of its own. Last,
once, a server that refuses, resets and stalls. Takes the photographs of POMONA_DATA (or
../shared/data), else drawn ones.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pomona
from conftest import unpack_fruits
from machine import DATA
from pomona.s3.address import Address
from pomona.s3.bucket import open_bucket
from pomona.s3.connection import connect
from pomona.samples.sample import draw_sample
from s3_server import Place, Proxy, fresh_connections, proxy, serve

LATENCY_MS = 30.0
FAILING = {"Refuse": 0.02, "Reset": 0.01, "Stall": 0.005, "StallS": 120.0}


def speed(source: str | Path, out: str | Path, limit: int | None) -> tuple[float, float]:
    """images/s of the extraction, and of all the run from outside."""
    start = time.perf_counter()
    store = pomona.run(source, out, limit=limit, progress=False)
    seconds = time.perf_counter() - start
    images = store.manifest["totals"]["features"]
    return store.manifest["runs"][-1]["images_per_second"], images / seconds


def cpu_ms_per_get(place: Place, keys: list[str]) -> dict[str, float]:
    """CPU of this process for a GET by 16 threads, by lane."""
    bucket = open_bucket(Address.parse(place.at()))
    lane = connect(bucket).signed_get
    found = {}
    for name in ("fast lane", "botocore"):
        lane.is_open = name == "fast lane"
        before = time.process_time()
        with ThreadPoolExecutor(16) as threads:
            sum(len(got.data) for got in threads.map(bucket.get, keys))
        found[name] = (time.process_time() - before) * 1e3 / len(keys)
    lane.is_open = True
    return found


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="images of each run")
    parser.add_argument("--no-failing", action="store_true", help="leave out the failing server")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "buckets").mkdir()
        with serve(folder / "buckets") as server, proxy(server) as before, fresh_connections():
            os.environ.update(server.env())
            measure(
                folder, Place(server), before, given.rounds, given.limit, fail=not given.no_failing
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the driver: {peak:,.0f} MiB")


def measure(
    folder: Path, place: Place, before: Proxy, rounds: int, limit: int | None, *, fail: bool
) -> None:
    """before: the proxy before the server of the place; fail: whether it is to fail, last."""
    photos = unpack_fruits(folder) if DATA.is_dir() else draw_sample(folder / "photos").folder
    place.server.client().create_bucket(Bucket=place.name)
    place.upload(photos, "photos")
    keys = [f"photos/{path.relative_to(photos)}" for path in sorted(photos.rglob("*.jpg"))[:1000]]
    for lane, ms in cpu_ms_per_get(place, keys).items():
        print(f"{lane}: {ms:.2f} ms of CPU a GET")
    away = f"bucket, {LATENCY_MS:.0f} ms away"
    ways = {
        "disk": (place.server.endpoint, {}),
        "bucket": (place.server.endpoint, {}),
        "bucket behind the proxy": (before.endpoint, {}),
        away: (before.endpoint, {"LatencyMs": LATENCY_MS}),
        "bucket, failing": (before.endpoint, {**FAILING, "LatencyMs": LATENCY_MS}),
    }

    def measured(way: str, number: int) -> tuple[float, float]:
        os.environ["AWS_ENDPOINT_URL"], settings = ways[way]
        before.set(**settings)
        with fresh_connections():
            is_disk = way == "disk"
            source = photos if is_disk else place.at("photos")
            out = folder / f"out {number}" if is_disk else place.at(f"{way} {number}")
            return speed(source, out, limit)

    steady = list(ways)[:-1]
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in steady}
    for number in range(rounds):
        for way in steady if number % 2 == 0 else reversed(steady):
            found[way].append(measured(way, number))
    print(f"{'images/s, medians':26}{'extraction':>12}{'whole run':>12}")
    for way, runs in found.items():
        extract, whole = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{way:26}{extract:>12.1f}{whole:>12.1f}")
    for way, other in (("bucket", "disk"), (away, "bucket"), (away, "bucket behind the proxy")):
        ratios = [
            [one / two for one, two in zip(mine, theirs, strict=True)]
            for mine, theirs in zip(found[way], found[other], strict=True)
        ]
        extract, whole = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"{f'{way} / {other}':50}{extract:>6.3f}{whole:>9.3f}")
    if fail:
        extract, whole = measured("bucket, failing", 0)
        print(f"{'bucket, failing':26}{extract:>12.1f}{whole:>12.1f}   {before.counts}")


if __name__ == "__main__":
    main()
