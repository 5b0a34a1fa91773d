"""The plan's estimate beside the bill of a run: prices x what a real YARN and an S3 server saw.

    make bench-aws

Photographs are run by the job that EMR Serverless gets, with one executor of one core. The bill
takes each container from its start to its end, as Spark's event log has them, and each request, as
a proxy before the S3 server counts them. It is scaled to `--scaled` images: the stage that reads
the images takes as many times longer, each image costs a request, and the others grow with the
parts of the store; all else stays. The estimate is that of `pomona aws plan` for the same workers,
given what `pomona doctor --speed` measures here, but for the waits and starts of EMR Serverless,
which no YARN shows: both have YARN's. Takes the photographs of POMONA_DATA (or ../shared/data),
else drawn ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emr_serverless import Job
from yarn import Yarn

from conftest import unpack_fruits, write_java_home
from machine import DATA
from pomona.aws import environment, outcome
from pomona.aws.estimate import HOUR_S, LEAST_BILLED_S, estimate, request_items
from pomona.aws.fleet import EMR_SERVERLESS, ON_DEMAND, Fleet, Machine
from pomona.aws.prices import packaged, serverless
from pomona.aws.speeds import time_of, with_measured
from pomona.aws.submit import Sizes, Worker, spark_submit_parameters
from pomona.aws.target import Target
from pomona.aws.workload import Requests, Workload
from pomona.backbones import cache, registry
from pomona.backbones.timing import images_per_second
from pomona.s3.address import Address
from pomona.s3.bucket import open_bucket
from pomona.samples.sample import draw_sample
from pomona.store.plan import TAIL_SHARD_FACTOR, shard_size
from s3_server import REGION, Place, Proxy, Server, fresh_connections, proxy, serve

ARCHITECTURE, PRICES_OF = "x86_64", "eu-west-1"
DRIVER, EXECUTOR = Machine(1, 2), Machine(1, 2)
SPEED_S = 8.0


@dataclass(frozen=True)
class Events:
    """What an event log says, in seconds.

    Attributes
    ----------
    driver, executors : float
        From the start of the application, and of each executor, to the end; the executors' sum.
    extracting : float
        In the stages that read images.
    """

    driver: float
    executors: float
    extracting: float


def read_events(path: Path) -> Events:
    """Reads a log; the stage that reads the images is the longest."""
    events = [json.loads(line) for line in path.read_text().splitlines()]

    def of(kind: str) -> Iterator[dict[str, Any]]:
        return (event for event in events if event["Event"] == f"SparkListener{kind}")

    (start,) = (event["Timestamp"] for event in of("ApplicationStart"))
    (end,) = (event["Timestamp"] for event in of("ApplicationEnd"))
    begun = [event["Timestamp"] for event in of("ExecutorAdded")]
    stages = [event["Stage Info"] for event in of("StageCompleted")]
    return Events(
        driver=(end - start) / 1e3,
        executors=sum(end - each for each in begun) / 1e3,
        extracting=max(each["Completion Time"] - each["Submission Time"] for each in stages) / 1e3,
    )


def bill(events: Events, made: Requests, images: int, scaled: int) -> dict[str, float]:
    """Returns the US dollars by item of a run of so many images, as if it were of `scaled`."""
    table = packaged(PRICES_OF)
    longer = events.extracting * (scaled / images - 1)
    vcpu = table[serverless(ARCHITECTURE, "vcpu_hour")].usd
    memory = table[serverless(ARCHITECTURE, "gb_hour")].usd
    compute = sum(
        max(LEAST_BILLED_S, seconds + longer)
        / HOUR_S
        * (each.vcpus * vcpu + each.memory_gb * memory)
        for seconds, each in ((events.driver, DRIVER), (events.executors, EXECUTOR))
    )
    more = parts(scaled) / parts(images)
    requests = Requests(scaled + round((made.gets - images) * more), round(made.puts * more))
    return {"compute": compute, **request_items(requests, table)}


def parts(images: int) -> float:
    """Returns about how many parts a store of so many images has."""
    return math.ceil(images * TAIL_SHARD_FACTOR / shard_size(images))


def expect(
    images_per_s: float, events: Events, images: int, image_bytes: float
) -> dict[str, float]:
    """Returns the estimate by item, with the start and the end that the log has."""
    (speed,) = (
        each for each in with_measured(images_per_s) if each.machine == f"serverless.{ARCHITECTURE}"
    )
    one_core = dataclasses.replace(speed, cores_per_vcpu=1)
    fleet = Fleet(EMR_SERVERLESS, ARCHITECTURE, ON_DEMAND, one_core, DRIVER, EXECUTOR, 1)
    found = estimate(fleet, Workload(images, image_bytes, packed=False), packaged(PRICES_OF))
    inferred = sum(time_of("serverless", name).value for name in ("start_s", "finish_s"))
    seconds = found.billed_s - inferred + events.driver - events.extracting
    return {**found.items, "compute": found.items["compute"] * seconds / found.billed_s}


def run(folder: Path, photos: Path, server: Server, before: Proxy) -> tuple[Events, Requests]:
    """Runs the job once, and returns what it took."""
    place = Place(server)
    server.client().create_bucket(Bucket=place.name)
    source = place.upload(photos, "photos")
    target = Target(
        platform.machine(),
        f"{sys.version_info.major}.{sys.version_info.minor}",
        os.path.realpath(sys.executable),
    )
    uploaded = environment.upload(environment.build(target), open_bucket(Address(place.name)))
    driver, executor = (Worker(each.vcpus, each.memory_gb * 1024) for each in (DRIVER, EXECUTOR))
    log = folder / "events"
    log.mkdir()
    parameters = spark_submit_parameters(Sizes(driver, executor, 1), uploaded.archive, REGION)
    yarn = Yarn(folder / "yarn")
    try:
        yarn.wait()
        before.set()
        job = Job(
            {
                "sparkSubmit": {
                    "entryPoint": uploaded.job,
                    "entryPointArguments": [source, place.at("out")],
                    "sparkSubmitParameters": f"{parameters} --conf spark.eventLog.enabled=true "
                    f"--conf spark.eventLog.rolling.enabled=false "
                    f"--conf spark.eventLog.compress=false --conf spark.eventLog.dir=file://{log}",
                }
            },
            {},
            yarn=yarn,
            s3=Server(before.endpoint, None),
            application_id="application",
            job_run_id="job",
        )
        ended = job.wait()
    finally:
        yarn.stop()
    if ended.state != "SUCCESS":
        found = outcome.read(ended.driver.read("stdout"), ended.driver.read("stderr"))
        raise SystemExit(f"the job has failed: {found.reason or ended.details}")
    methods = before.counts["Methods"]
    puts = sum(methods.get(name, 0) for name in ("PUT", "POST"))
    (events,) = log.iterdir()
    return read_events(events), Requests(sum(methods.values()) - puts, puts)


def main() -> None:
    """Prints both, by item."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=3, help="of how many photographs one is taken")
    parser.add_argument("--scaled", type=int, default=67_692, help="images of both figures")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["JAVA_HOME"] = str(write_java_home(folder / "java"))
        os.environ["POMONA_CACHE"] = str(folder / "cache")
        photos = folder / "photos"
        if DATA.exists():
            photos = unpack_fruits(photos, given.every)
        else:
            draw_sample(photos, per_variety=250)
        files = list(photos.rglob("*.jp*g"))
        size = sum(path.stat().st_size for path in files) / len(files)
        network = cache.load(registry.get(registry.DEFAULT))
        speed = images_per_second(network, SPEED_S)
        (folder / "buckets").mkdir()
        with serve(folder / "buckets") as server, proxy(server) as before, fresh_connections():
            os.environ.update(server.env())
            events, made = run(folder, photos, server, before)
        speed = (speed + images_per_second(network, SPEED_S)) / 2
    billed = bill(events, made, len(files), given.scaled)
    expected = expect(speed, events, given.scaled, size)
    print(
        f"{len(files):,} photographs: {events.extracting:.1f} s of {events.driver:.1f} s extract, "
    )
    print(f"{speed:.1f} images/s measured; scaled to {given.scaled:,}, US dollars:")
    print(f"{'item':10} {'bill':>9} {'estimate':>9}")
    for item, usd in billed.items():
        print(f"{item:10} {usd:9.4f} {expected[item]:9.4f}")
    total, hoped = sum(billed.values()), sum(expected.values())
    print(f"{'all':10} {total:9.4f} {hoped:9.4f}   estimate / bill {hoped / total:.2f}")


if __name__ == "__main__":
    main()
