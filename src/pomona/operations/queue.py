"""A queue of SQS with the events of a bucket, as EventBridge sends them.

Messages are deleted once the store has what they tell of. One that tells of no object of this
bucket is left to the queue's own rules (its dead-letter queue): it may be meant for somebody else.
"""

from __future__ import annotations

import json
import re
import time
from typing import TypeGuard
from urllib.parse import urlsplit

from pomona.aws.account import Account
from pomona.errors import CloudError, UsageError
from pomona.operations.events import LONGEST_BURST_S, MOST_NAMES
from pomona.progress import Progress
from pomona.s3.address import Address

# What SQS allows: the messages of one request, and the seconds that it may wait for them.
BATCH, LONGEST_POLL_S = 10, 20
# The longest key of S3.
MOST_KEY_BYTES = 1_024
_MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
CREATED, DELETED = "Object Created", "Object Deleted"
_REGION = re.compile(r"sqs\.([a-z0-9-]+)\.amazonaws\.(?:com|com\.cn|eu)|queue\.amazonaws\.com")


class ForeignEventError(ValueError):
    """A message that tells of no object of the bucket; the message says of what."""


class QueueEvents:
    """What a queue tells of a prefix of a bucket.

    Parameters
    ----------
    url : str
        The queue's URL.
    address : Address
        The bucket and the prefix.
    progress : Progress
        Who is told of messages that cannot be used.

    Raises
    ------
    UsageError
        If the URL is none.
    CloudError
        If the queue cannot be read.
    """

    def __init__(self, url: str, address: Address, progress: Progress) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.netloc or len(parts.path) < 2:
            raise UsageError(
                f"`queue` {url}: give the URL of an SQS queue, such as "
                "https://sqs.eu-west-1.amazonaws.com/111122223333/photos"
            )
        found = _REGION.fullmatch(parts.hostname or "")
        self._url, self._address, self._progress = url, address, progress
        self._account = Account(found[1] if found else None)
        self._handles: dict[str, str] = {}  # by the message's id: each receipt has another handle
        self._names: set[str] = set()
        self._refused: set[str] = set()
        self._check()

    def _check(self) -> None:
        """Finds out at once whether the queue is there and may be read."""
        try:
            self._account.call(
                "sqs", "get_queue_attributes", QueueUrl=self._url, AttributeNames=["QueueArn"]
            )
        except CloudError as exc:
            if exc.reason not in _MISSING:
                raise
            raise CloudError(
                f"there is no queue {self._url}: check its name, region and account", exc.reason
            ) from None

    def wait(self, timeout_s: float) -> None:
        """Waits for messages, and takes those that are there, a bounded number of them."""
        end = time.monotonic() + LONGEST_BURST_S
        more = self._receive(min(LONGEST_POLL_S, int(timeout_s)))
        # A burst comes in batches.
        while more and time.monotonic() < end and len(self._handles) < MOST_NAMES:
            more = self._receive(1)

    def take(self) -> frozenset[str]:
        """Returns the names that may have changed and are not settled."""
        return frozenset(self._names)

    def settle(self) -> None:
        """Deletes the messages whose names were taken."""
        handles = list(self._handles.values())
        for at in range(0, len(handles), BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": handle}
                for number, handle in enumerate(handles[at : at + BATCH])
            ]
            # One that is not deleted comes again, and changes nothing.
            self._account.call("sqs", "delete_message_batch", QueueUrl=self._url, Entries=entries)
        self._handles.clear()
        self._names.clear()

    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def _receive(self, wait_s: int) -> bool:
        """Takes a batch of messages, and returns whether there were any."""
        answer = self._account.call(
            "sqs",
            "receive_message",
            QueueUrl=self._url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=wait_s,
        )
        messages = answer.get("Messages", [])
        for message in messages:
            self._see(message["MessageId"], message["ReceiptHandle"], message["Body"])
        return bool(messages)

    def _see(self, message_id: str, handle: str, body: str) -> None:
        try:
            key = object_key(body, self._address.bucket)
        except ForeignEventError as exc:
            if message_id not in self._refused:
                if len(self._refused) >= MOST_NAMES:
                    self._refused.clear()
                self._refused.add(message_id)
                self._progress.warn(f"message {message_id} of {self._url} is left there: {exc}")
                self._progress.tell("event", outcome="refused")
            return
        self._handles[message_id] = handle
        self._progress.tell("event", outcome="taken")
        folder = self._address.folder
        if key.startswith(folder) and key != folder:
            self._names.add(key[len(folder) :])


def object_key(body: str, bucket: str) -> str:
    """Returns the key of the object that a message tells of.

    Parameters
    ----------
    body : str
        The message, as EventBridge sends it: the event whole, its keys as they are.
    bucket : str
        The bucket that it must tell of.

    Raises
    ------
    ForeignEventError
        If it tells of nothing of that bucket.
    """
    try:
        event = json.loads(body)
        kind, source = event["detail-type"], event["source"]
        named, key = event["detail"]["bucket"]["name"], event["detail"]["object"]["key"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ForeignEventError("it is no event of S3 as EventBridge sends it") from None
    if source != "aws.s3" or kind not in (CREATED, DELETED) or not _is_key(key):
        raise ForeignEventError("it is no event of S3 that an object was made or deleted")
    if named != bucket:
        raise ForeignEventError(f"it is an event of another bucket than s3://{bucket}")
    return key


def _is_key(key: object) -> TypeGuard[str]:
    """Whether S3 may have an object of this key."""
    try:
        return isinstance(key, str) and 0 < len(key.encode()) <= MOST_KEY_BYTES
    except UnicodeEncodeError:
        return False
