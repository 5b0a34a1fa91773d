"""A network that fails and processes that are killed: nothing is lost, nothing is there twice."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from killing import LONG, kill_all, started

from conftest import Here, Pomona, draw_photos, wait_for
from pomona.errors import ImageError
from pomona.images.sources.registry import open_source
from pomona.maintenance.verify import verify
from pomona.pipeline.context import RunSettings
from s3_server import Place, Proxy, bucket, fresh_connections, proxy, s3_server

__all__ = ["bucket", "s3_server"]

VARYING = ("pomona.json", "report.html", "_pomona/lock")  # they hold times, or who is at work
# How many of the kills the short way takes of each story.
STORIES = {"new": 3, "grown": 1, "refitted": 1}


class World:
    """Sources and stores in a bucket behind a proxy, and the commands on them."""

    def __init__(self, bucket: Place, proxy: Proxy, folder: Path) -> None:
        self.bucket, self.proxy = bucket, proxy
        self.pomona = Pomona(env=bucket.server.env(proxy.endpoint))
        # Enough that a task takes several shards.
        source = draw_photos(folder / "source", 150)
        (source / "Training/Pear/cut.jpg").write_bytes(b"\xff\xd8\xff no image")
        bucket.upload(source, "source")
        grown = shutil.copytree(source, folder / "grown")
        draw_photos(grown, 34, seed=1)
        bucket.upload(grown, "grown source")
        self._after: dict[str, tuple[dict[str, bytes], int]] = {}

    def command(self, name: str, out: str) -> list[object]:
        where = self.bucket.at(out)
        commands: dict[str, list[object]] = {
            "new": ["run", self.bucket.at("source"), where],
            "grown": ["run", self.bucket.at("grown source"), where],
            "refitted": ["reduce", where, "--refit", "--components", "5"],
        }
        return [*commands[name], "--workers", "2", "--quiet"]

    def begin(self, name: str, out: str) -> None:
        """What a command finds: nothing, or the store that "new" left."""
        if name != "new":
            client = self.bucket.server.client()
            self.after("new")
            for key, data in self.bucket.contents("after new").items():
                client.put_object(Bucket=self.bucket.name, Key=f"{out}/{key}", Body=data)

    def after(self, name: str) -> tuple[dict[str, bytes], int]:
        """What an undisturbed command leaves, and how many writing requests that took."""
        if name not in self._after:
            out = f"after {name}"
            self.begin(name, out)
            self.proxy.set()
            self.pomona.done(*self.command(name, out))
            self._after[name] = self.kept(out), self.proxy.counts["Writes"]
        return self._after[name]

    def kept(self, out: str) -> dict[str, bytes]:
        """All that a store holds, but for times."""
        found = self.bucket.contents(out)
        return {name: data for name, data in found.items() if name not in VARYING}

    def verify(self, out: str) -> None:
        assert verify(self.bucket.at(out), RunSettings(Here())).findings == []


@pytest.fixture(scope="module")
def world(bucket: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with proxy(bucket.server) as before:
        yield World(bucket, before, tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize("name", STORIES)
def test_a_run_killed_at_any_request_is_completed_by_the_next(world: World, name: str) -> None:
    expected, writes = world.after(name)
    kills = [(at, when) for at in range(1, writes + 1) for when in ("before", "after")]
    if not LONG:
        kills = random.Random(f"0 {name}").sample(kills, STORIES[name])  # noqa: S311
    for at, when in kills:
        out = f"{name} {at} {when}"
        world.begin(name, out)
        world.proxy.set(Hold=at, When=when)
        command = world.command(name, out)
        with started(world.pomona, command) as process:
            wait_for(lambda process=process: is_reached(world) or process.poll() is not None)  # type: ignore[misc]
            assert is_reached(world), f"{out}: the request was never made"
            kill_all(process)
            world.pomona.end(process)
        world.proxy.set()
        world.pomona.done(*command)
        found = world.kept(out)
        assert found.keys() == expected.keys(), out
        assert [each for each in found if found[each] != expected[each]] == [], out
        world.verify(out)
    assert world.bucket.unfinished() == 0


def is_reached(world: World) -> bool:
    return bool(world.proxy.counts["Reached"])


def test_a_network_that_fails_loses_nothing(world: World) -> None:
    expected, _ = world.after("new")
    out = "failing"
    # Who waits for a request that stalls gives it up after ten seconds: two are enough.
    stalls = {"Stall": 0.02, "MostStalls": 2, "StallS": 120}
    world.proxy.set(Refuse=0.06, Reset=0.04, **stalls, Seed=1, LatencyMs=5)
    world.pomona.done(*world.command("new", out))
    counts = world.proxy.counts
    assert min(counts["Refused"], counts["Resets"]) > 3
    assert counts["Stalls"] == 2
    world.proxy.set()
    # The run had five seconds for pictures, of which one that stalls takes ten.
    world.pomona.done("report", world.bucket.at(out))
    assert world.kept(out) == expected
    world.verify(out)


def test_an_unreachable_server_is_an_error_of_the_image(world: World) -> None:
    with pytest.MonkeyPatch.context() as patch, fresh_connections():
        patch.setenv("AWS_ENDPOINT_URL", world.proxy.endpoint)
        world.proxy.set()
        source = open_source(world.bucket.at("source"))
        row = source.scan().catalog.slice(0, 1).to_pylist()[0]
        world.proxy.set(Refuse=1.0)
        with pytest.raises(ImageError, match="unreachable"):
            source.fetch(row["path"], row["fingerprint"])
        world.proxy.set()
        assert len(source.fetch(row["path"], row["fingerprint"])) == row["size_bytes"]
