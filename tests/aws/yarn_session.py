"""The YARN that the tests of a session share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from yarn import Yarn

from machine import need


@pytest.fixture(scope="session")
def yarn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yarn]:
    """One YARN for all tests; each leaves it with all of its nodes."""
    need("yarn")
    started = Yarn(tmp_path_factory.mktemp("yarn"))
    try:
        started.wait()
        yield started
    finally:
        started.stop()
