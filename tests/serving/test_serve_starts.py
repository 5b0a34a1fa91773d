"""Bad starts: one line, what is wrong and the way out."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

from conftest import Pomona
from pomona.errors import UsageError
from pomona.serving.settings import ServeSettings

pytest_plugins = ("served_stores",)


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["--host", "0.0.0.0"], 2, "--host 0.0.0.0 is open to other machines: give a --token-file"),  # noqa: S104
        (["--host", "::"], 2, "--token-file, or --no-auth"),
        (["--port", "70000"], 2, "--port 70000"),
        (["--cors", "*"], 2, "--cors *: give an origin"),
        (["--max-images", "100"], 2, "--max-waiting 64"),
        (["--image-timeout", "0"], 2, "--image-timeout 0"),
        (["--workers", "0"], 2, "--workers 0"),
        (["--top", "0"], 2, "--top 0"),
        (["--token-file", "nowhere"], 1, "--token-file nowhere cannot be read: No such file"),
        (
            ["--keep-photographs", "short"],
            2,
            "--keep-photographs short cannot be made: File exists",
        ),
        (["--token-file", "short"], 2, "fewer than 16 characters"),
        (["--token-file", "empty"], 2, "has no token"),
        (["--token-file", "short", "--no-auth"], 2, "contradict each other"),
        (["--host", "no.such.host.invalid", "--no-auth"], 2, "is no address"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    taught: Path, tmp_path: Path, flags: list[str], status: int, words: str
) -> None:
    (tmp_path / "short").write_text("secret\n")
    (tmp_path / "empty").write_text("# none\n")
    ended = Pomona(cwd=tmp_path)("serve", taught, *flags)
    assert ended.status == status
    assert words in ended.complaint
    assert "secret" not in ended.complaint


def test_a_port_that_is_taken_is_named(pomona: Pomona, taught: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = pomona("serve", taught, "--port", port)
    assert ended.status == 1
    assert f"port {port} of 127.0.0.1: Address already in use; choose another --port" in (
        ended.complaint
    )


def spoil(store: Path, how: str) -> None:
    classifier, manifest = store / "classifier" / "classifier.json", store / "pomona.json"
    if how == "no store":
        shutil.rmtree(store)
    elif how == "damaged classifier":
        (store / "classifier" / "model.onnx").write_bytes(b"no model")
    elif how == "later classifier":
        classifier.write_text(json.dumps({**json.loads(classifier.read_text()), "format": 99}))
    elif how == "later store":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 99}))
    else:
        classifier.write_text("{")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no store", "is not a pomona store"),
        ("damaged classifier", "model.onnx is missing or damaged: `pomona train"),
        ("later classifier", "is of a later version of pomona (format 99)"),
        ("later store", "has format 99"),
        ("damaged facts", "classifier.json is missing or damaged"),
    ],
)
def test_a_store_that_cannot_be_served_says_why(
    pomona: Pomona, taught: Path, tmp_path: Path, how: str, words: str
) -> None:
    store = shutil.copytree(taught, tmp_path / "store")
    spoil(store, how)
    ended = pomona("serve", store, "--port", 0)
    assert ended.status == 1
    assert words in ended.complaint
    assert ended.stdout == ""


def test_a_store_that_may_not_be_read_says_so(nobody: Pomona, taught: Path, commons: Path) -> None:
    store = shutil.copytree(taught, commons / "store")
    (store / "classifier" / "classifier.json").chmod(0)
    ended = nobody("serve", store, "--port", 0)
    assert ended.status == 1
    assert "cannot read" in ended.complaint
    assert "Permission denied" in ended.complaint


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    assert ServeSettings(host=host).is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "", "localhost.example"])  # noqa: S104
def test_other_machines_need_one(host: str) -> None:
    with pytest.raises(UsageError, match="open to other machines"):
        ServeSettings(host=host)
    assert ServeSettings(host=host, no_auth=True).no_auth
