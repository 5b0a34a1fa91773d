"""An account of AWS for tests: moto's server on this machine, empty at the start of each test.

A test module takes it by `pytest_plugins = ("aws_account",)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import botocore.loaders
import pytest
from moto_server import MotoServer
from strict import ASKED, SENT, strictly


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells which operations the tests of this process have covered."""
    if not ASKED:
        return
    services = sorted({each.partition(".")[0] for each in ASKED})
    terminalreporter.section("operations of AWS, each held against its model")
    for service in services:
        names = sorted(each.partition(".")[2] for each in ASKED if each.startswith(f"{service}."))
        terminalreporter.write_line(f"{service} ({len(names)}): {', '.join(names)}")
    stubbed = ", ".join(sorted(ASKED - SENT)) or "none"
    terminalreporter.write_line(f"{len(ASKED)} in all; answered by stubs alone: {stubbed}")


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    server = MotoServer()
    yield server
    server.stop()


@pytest.fixture
def aws(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> MotoServer:
    """An empty account, and settings of AWS's own tools that lead to it."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_server.url)
    moto_server.reset()
    return moto_server


@pytest.fixture(scope="session", autouse=True)
def _models() -> Iterator[None]:
    """AWS's models are read once: each session of botocore would read them anew."""
    loader = botocore.loaders.Loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda _=None: loader)
        yield


@pytest.fixture(autouse=True)
def _strict(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request of the tests in this folder is held against AWS's own model of it."""
    if request.path.parent == Path(__file__).parent:
        strictly(monkeypatch)
