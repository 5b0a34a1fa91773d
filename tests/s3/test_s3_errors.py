"""What can be wrong with a bucket: one line that says so, and exit status 1."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import Pomona
from pomona.errors import ImageError, ObjectStoreError
from pomona.images.sources.bucket import BucketSource
from pomona.s3.address import Address
from pomona.s3.bucket import open_bucket
from pomona.store.schemas import REASONS
from s3_server import REGION, Place, bucket, fresh_connections, s3_server

__all__ = ["bucket", "s3_server"]

CASES: dict[str, tuple[dict[str, str], str]] = {
    "no credentials": (
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
        "no credentials for s3://",
    ),
    "wrong secret": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "does not accept the credentials"),
    "unknown key": ({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "does not accept the credentials"),
    "no such profile": ({"AWS_PROFILE": "nobody"}, "AWS's settings cannot be used"),
    "endpoint down": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached"),
    "endpoint in the clear": (
        {"AWS_ENDPOINT_URL": "http://192.0.2.1"},
        "is not encrypted",
    ),
    "no endpoint": ({"AWS_ENDPOINT_URL": "nowhere"}, "no http:// or https:// URL"),
}
# What a server must check.
REFUSED = ("wrong secret", "unknown key")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.needs("s3 credentials") if case in REFUSED else ())
        for case in CASES
    ],
)
def test_each_error_is_reported_in_one_line(case: str, bucket: Place, photos: Path) -> None:
    env, complaint = CASES[case]
    for args in (("run", photos, bucket.at("out")), ("run", bucket.at("in"), "unused")):
        ended = Pomona(env=env)(*args)
        assert ended.status == 1
        assert complaint in ended.complaint


@pytest.mark.needs("s3 credentials")
def test_renewed_credentials_are_found_in_the_same_session(
    bucket: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = Address.parse(bucket.at())
    with fresh_connections():
        with monkeypatch.context() as wrong:
            wrong.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
            with pytest.raises(ObjectStoreError, match="does not accept the credentials"):
                open_bucket(address)
        open_bucket(address).put("found", b"again")
        with monkeypatch.context() as wrong:
            wrong.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
            fresh = replace(open_bucket(address), kms_key="another")
            with pytest.raises(ObjectStoreError, match="does not accept the credentials"):
                fresh.get("found")
        assert fresh.get("found").data == b"again"


def test_missing_buckets_images_and_stores_are_reported(
    bucket: Place, photos: Path, pomona: Pomona
) -> None:
    complaints = {
        ("run", "s3://no-such-bucket/a", "unused"): "there is no bucket s3://no-such-bucket",
        ("verify", "s3://no-such-bucket/a"): "there is no bucket s3://no-such-bucket",
        ("run", bucket.at("empty"), "unused"): f"no images in {bucket.at('empty')}",
        ("verify", bucket.at("empty")): "is not a pomona store",
        ("reduce", bucket.at("empty")): "is not a pomona store",
    }
    for args, complaint in complaints.items():
        ended = pomona(*args)
        assert ended.status == 1
        assert complaint in ended.complaint


class Refusing(BaseHTTPRequestHandler):
    """An S3 server that accepts nothing, for one reason."""

    code = ""

    def do_GET(self) -> None:
        body = f"<Error><Code>{self.code}</Code><Message>AKIASECRET no</Message></Error>".encode()
        self.send_response(400 if self.code == "ExpiredToken" else 403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("ExpiredToken", "have expired: renew them"),
        ("AccessDenied", "no access to s3://any: ask for permission"),
        ("RequestTimeTooSkewed", "clock is wrong"),
        ("InvalidObjectState", "is archived: restore it"),
        ("AuthorizationHeaderMalformed", "another region"),
    ],
)
def test_a_servers_refusal_is_reported_with_its_reason(
    code: str, complaint: str, bucket: Place, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refusing, "code", code)
    ended = Pomona(env={"AWS_ENDPOINT_URL": refusing})("run", "s3://any/in", "unused")
    assert ended.status == 1
    assert complaint in ended.complaint
    assert "AKIASECRET" not in ended.stderr


def test_an_archived_image_has_a_reason_of_its_own(
    bucket: Place, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed as any other; a GET is refused with 403, as if there were no permission."""
    monkeypatch.setattr(Refusing, "code", "InvalidObjectState")
    with fresh_connections():
        found = open_bucket(Address.parse(bucket.at("in")))
        source = BucketSource(replace(found, endpoint=refusing), Address.parse(bucket.at("in")))
        with pytest.raises(ImageError) as caught:
            source.fetch("a.jpg")
    assert caught.value.reason == "archived"
    assert not REASONS["archived"].retryable


def test_a_bucket_is_found_in_its_own_region(
    bucket: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with fresh_connections():
        opened = open_bucket(Address.parse(bucket.at()))
        opened.put("here", b"1")
        assert (opened.region, opened.get("here").data) == (REGION, b"1")


def test_a_place_that_is_no_address_is_wrong_usage(pomona: Pomona) -> None:
    ended = pomona("run", "s3://", "unused")
    assert ended.status == 2
    assert "does not name a bucket" in ended.complaint
