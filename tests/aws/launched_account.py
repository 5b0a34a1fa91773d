"""Fixtures: a perimeter with images, in which the tests submit jobs.

A test module takes them by `pytest_plugins = ("aws_account", "launched_account")`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from launched import IMAGES, Launched, make_perimeter, make_store
from moto_server import MotoServer
from serverless import patched

from conftest import draw_photos
from s3_server import fresh_connections


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Some images."""
    folder = draw_photos(tmp_path_factory.mktemp("small"), IMAGES)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


@pytest.fixture(scope="session")
def kept() -> dict[str, bytes]:
    """The store of them, which the first test makes."""
    return {}


@pytest.fixture
def launched(
    aws: MotoServer,
    small: dict[str, bytes],
    kept: dict[str, bytes],
) -> Iterator[Launched]:
    """A perimeter with images, and no job yet."""
    with fresh_connections(), patched() as serverless:
        found = make_perimeter(aws)
        for name, data in small.items():
            aws.client("s3").put_object(Bucket=found.images, Key=f"photos/{name}", Body=data)
        mine = Launched(aws, found, serverless, kept)
        if not kept:
            make_store(mine)
            kept.update(mine.stored())
            for name in kept:
                aws.client("s3").delete_object(Bucket=found.results, Key=f"stores/out/{name}")
        yield mine
