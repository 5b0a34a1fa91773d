"""Watchers that are told by a queue of SQS, which moto serves."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from watched import Watching, rows, watching

from conftest import Pomona, draw_photos, wait_for
from pomona.operations.queue import ForeignEventError, object_key
from s3_server import ACCESS_KEY, SECRET_KEY, Place, answers, bucket, free_port, s3_server

__all__ = ["bucket", "s3_server"]
pytestmark = pytest.mark.needs("s3 server")
REGION = "eu-west-1"


@pytest.fixture(scope="module")
def sqs() -> Iterator[Any]:
    """A client of a service of queues on loopback."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: answers(port))
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AWS_ENDPOINT_URL_SQS", f"http://127.0.0.1:{port}")
                patch.setenv("AWS_MAX_ATTEMPTS", "1")
                yield botocore.session.get_session().create_client(
                    "sqs",
                    region_name=REGION,
                    endpoint_url=f"http://127.0.0.1:{port}",
                    aws_access_key_id=ACCESS_KEY,
                    aws_secret_access_key=SECRET_KEY,
                )
        finally:
            process.kill()


def event(place: Place, key: str, kind: str = "Object Created") -> str:
    """An event of a bucket as EventBridge sends it to a queue."""
    return json.dumps(
        {
            "version": "0",
            "id": "17793124-05d4-b198-2fde-7ededc63b103",
            "detail-type": kind,
            "source": "aws.s3",
            "account": "111122223333",
            "time": "2026-11-12T00:00:00Z",
            "region": REGION,
            "resources": [f"arn:aws:s3:::{place.name}"],
            "detail": {
                "version": "0",
                "bucket": {"name": place.name},
                "object": {"key": key, "sequencer": "617f08299329d189"},
                "request-id": "N4N7GDK58NMKJ12R",
                "requester": "123456789012",
                "reason": "PutObject",
            },
        }
    )


def waiting(sqs: Any, url: str, *, is_visible: bool = False) -> int:
    """How many messages a queue holds, with those that somebody has received or without."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    names = names[:1] if is_visible else names
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)


def test_events_late_doubled_and_reordered_change_nothing(
    pomona: Pomona,
    bucket: Place,
    sqs: Any,
    tmp_path: Path,
) -> None:
    client = bucket.server.client()
    # The server goes on with a poll of a watcher that has been stopped: what that takes comes back.
    brief = {"VisibilityTimeout": "10"}
    url = sqs.create_queue(QueueName="photos", Attributes=brief)["QueueUrl"]
    photos = draw_photos(tmp_path / "photos", 16)
    source, out, fresh = bucket.upload(photos, "photos"), bucket.at("out"), bucket.at("fresh")
    messages: list[str] = []

    def put(name: str, body: bytes) -> None:
        client.put_object(Bucket=bucket.name, Key=f"photos/{name}", Body=body)
        messages.append(event(bucket, f"photos/{name}"))

    def delete(name: str) -> None:
        client.delete_object(Bucket=bucket.name, Key=f"photos/{name}")
        messages.append(event(bucket, f"photos/{name}", "Object Deleted"))

    env = {"AWS_REGION": REGION}
    args = (source, out, "--sync", "--every", "1h", "--queue", url)
    with watching(pomona, tmp_path / "log", *args, env=env) as it:
        it.wait_for(lambda: len(it.told("round", kind="listing", images=16)) == 1)
        pictures = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))]
        for number in range(6):
            put(f"New/{number} ü.jpg", pictures[number])
        put("New/0 ü.jpg", pictures[7])
        put("New/corrupt.jpg", b"no image")
        put("New/short-lived.jpg", pictures[8])
        delete("New/short-lived.jpg")
        delete("New/1 ü.jpg")
        foreign = ["{", "[" * 5000, "null", json.dumps({"Records": []}),
                   event(Place(bucket.server, "another"), "photos/New/1.jpg")]  # fmt: skip
        told = [*messages, *messages, event(bucket, "elsewhere/1.jpg"), *foreign]
        random.Random(0).shuffle(told)  # noqa: S311
        for message in told:
            sqs.send_message(QueueUrl=url, MessageBody=message)
        it.wait_for(lambda: waiting(sqs, url) == len(foreign))
        it.wait_for(lambda: len(it.told("event", outcome="refused")) == len(foreign))
        check_log(it)
        assert it.stop().status == 143
    pomona.done("extract", source, fresh, "--workers", "1", "--max-error-rate", "1")
    assert rows(out) == rows(fresh)
    assert len(rows(out)) == 16 + 5 + 1
    # One round takes what the queue tells of, and lists nothing.
    put("New/last.jpg", pictures[9])
    client.put_object(Bucket=bucket.name, Key="photos/New/untold.jpg", Body=pictures[10])
    sqs.send_message(QueueUrl=url, MessageBody=messages[-1])
    wait_for(lambda: waiting(sqs, url, is_visible=True) == len(foreign) + 1)
    once = Pomona(env={**pomona.env, **env})(
        "watch", *args, "--once", "--workers", "1", "--max-error-rate", "1"
    )
    assert once.status == 0, once
    assert rows(out).keys() - rows(fresh).keys() == {"New/last.jpg"}
    assert waiting(sqs, url) == len(foreign)


def check_log(it: Watching) -> None:
    """Each foreign message is named once, and no key of the account's is said."""
    left = [note for note in it.notes() if "is left there: " in note]
    assert sum("no event of S3" in note for note in left) == 4
    assert sum("an event of another bucket than s3://" in note for note in left) == 1
    assert SECRET_KEY not in it.log.read_text()


def test_a_queue_that_is_not_there(
    pomona: Pomona,
    bucket: Place,
    sqs: Any,
    photos: Path,
    tmp_path: Path,
) -> None:
    url = f"{sqs.meta.endpoint_url}/123456789012/missing"
    source = bucket.upload(photos / "Test", "few")
    there = Pomona(env={**pomona.env, "AWS_REGION": REGION})
    ended = there("watch", source, tmp_path / "out", "--queue", url)
    assert ended.status == 1
    assert "there is no queue" in ended.complaint
    ended = there("watch", source, tmp_path / "out", "--queue", "photos")
    assert (ended.status, ended.stdout) == (2, "")
    assert "--queue photos: give the URL of an SQS queue" in ended.complaint
    ended = there("watch", photos, tmp_path / "out", "--queue", url)
    assert ended.status == 2
    assert f"--queue tells of a bucket, and {photos} is none" in ended.complaint


@pytest.mark.parametrize("key", [None, 3, "", ["a"], {"key": "a"}, "a\ud800", "a" * 1025])
def test_a_key_that_is_none(key: object) -> None:
    message = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "photos"}, "object": {"key": key}},
    }
    with pytest.raises(ForeignEventError):
        object_key(json.dumps(message), "photos")
