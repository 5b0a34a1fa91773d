"""Logs of a job: the last lines of the driver and of executors, and the probable cause of an end.

They lie in the bucket of logs, gzipped, some minutes after they were written. They are read in
pieces, and of each only its last lines are kept.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from pomona.aws import outcome
from pomona.errors import ObjectStoreError
from pomona.s3.address import Address
from pomona.s3.bucket import Bucket, open_bucket
from pomona.s3.objects import Listed

LINES = 40
PIECE_BYTES = 2**20
# A line is cut at this length, and a file at this size when it is unpacked.
LINE_CHARACTERS, FILE_BYTES = 2_000, 2**30
# How many executors are looked at, the last to write first
EXECUTORS = 50
OWN = "pomona: "
# What AWS says of a job's end, and what it means; the first that is found is taken.
SAID_BY_AWS = (
    (
        r"(?i)max(?:imum)? ?capacity",
        "the application's maximum capacity is too small for the job, or in use by another: wait "
        "for that, give fewer `vcpus`, or raise it with `pomona aws up`",
    ),
    (
        r"(?i)quota",
        "the account's quota of vCPUs for EMR Serverless is in use or too small: give fewer "
        "`vcpus`, or ask AWS for more (Service Quotas)",
    ),
    (
        r"(?i)timed? ?-?out",
        "it came to the end of its time, which its budget sets: raise `budget` to go on",
    ),
)
# What Spark says in its logs, and what it means.
SAID_BY_SPARK = (
    (r"(?i)exit(?:ed with)? ?(?:code|status):? 137|OutOfMemoryError", outcome.OUT_OF_MEMORY),
    (
        r"(?i)exec format error|cannot run program .*error=8\b",
        "the environment was packed for the other architecture",
    ),
    (r"GLIBC_[\d.]+' not found", "the environment needs a newer C library than workers have"),
    (
        r"AccessDenied|Access Denied|[Ss]tatus [Cc]ode:? 403",
        "the role of jobs has no right to what was asked for: it reads images, and writes below "
        "stores/ alone",
    ),
    (
        r"SlowDown|Please reduce your request rate",
        "S3 was asked too often: run the same command again, or `pomona pack` the images",
    ),
)


@dataclass(frozen=True)
class LogFile:
    """The end of a file of logs.

    Parameters
    ----------
    name : str
        Whose it is: "driver stderr", "executor 3 stdout".
    own : list of str
        pomona's own lines, the last of them.
    lines : list of str
        The last lines.
    """

    name: str
    own: list[str]
    lines: list[str]


@dataclass(frozen=True)
class JobLogs:
    """What is known of how a job ended.

    Parameters
    ----------
    address : str
        Where the logs are.
    cause : str, optional
        The probable cause of its end, in one line; None: nothing of the kind was found.
    files : list of LogFile
        The driver's, then an executor's that failed.
    """

    address: str
    cause: str | None
    files: list[LogFile]

    def in_words(self) -> str:
        """The text for a person: pomona's own lines first."""
        own = [line for file in self.files for line in file.own]
        parts = [*dict.fromkeys(own)]
        if self.cause:
            parts.append(f"probable cause: {self.cause}")
        for file in self.files:
            if file.lines:
                parts += [f"--- {file.name}", *file.lines]
        if not self.files:
            parts.append("there are no logs yet: they come some minutes after they were written")
        return "\n".join([*parts, f"all of them: {self.address}"])


def address_of(logs: str, application_id: str, job_id: str) -> Address:
    """Returns where EMR Serverless puts the logs of a job.

    Parameters
    ----------
    logs : str
        The address that the job was given for them.
    application_id, job_id : str
        Their ids.
    """
    root = Address.parse(logs)
    return Address(root.bucket, root.key(f"applications/{application_id}/jobs/{job_id}"))


def read(
    address: Address, details: str = "", lines: int = LINES, *, failed: bool = True
) -> JobLogs:
    """Reads the ends of a job's logs.

    Parameters
    ----------
    address : Address
        Where they are.
    details : str
        What AWS says of the job's state.
    lines : int
        How many lines of each file.
    failed : bool
        Whether the job has failed, so that there is a cause to find.

    Raises
    ------
    ObjectStoreError
        If the bucket cannot be read.
    """
    bucket = open_bucket(address)
    found = sorted(bucket.list_all(address.folder), key=lambda each: each.key)
    drivers = [each for each in found if "DRIVER" in each.key and _is_output(each.key)]
    # A file that fails is the last to be written.
    executors = sorted(
        (each for each in found if "EXECUTOR" in each.key and _is_output(each.key)),
        key=lambda each: each.modified,
        reverse=True,
    )
    files = [_end(bucket, address, each, lines) for each in drivers]
    for each in executors[:EXECUTORS]:
        file = _end(bucket, address, each, lines)
        if file.own or any(_meaning(line, SAID_BY_SPARK) for line in file.lines):
            files.append(file)
            break
    return JobLogs(str(address), find_cause(details, files) if failed else None, files)


def find_cause(details: str, files: list[LogFile]) -> str | None:
    """Returns the probable cause of a job's end, in one line; None if none is known.

    Parameters
    ----------
    details : str
        What AWS says of the job's state.
    files : list of LogFile
        The ends of its logs.
    """
    stdout, stderr = (
        "\n".join(
            line
            for file in files
            if "driver" in file.name and file.name.endswith(stream)
            for line in (*file.own, *file.lines)
        )
        for stream in ("stdout", "stderr")
    )
    said = [line for file in files for line in reversed(file.lines)]
    return (
        outcome.read(stdout, stderr).reason
        or _meaning(details, SAID_BY_AWS)
        or next(filter(None, (_meaning(line, SAID_BY_SPARK) for line in said)), None)
        or _meaning(details, SAID_BY_SPARK)
    )


def _meaning(text: str, table: tuple[tuple[str, str], ...]) -> str | None:
    return next((meaning for pattern, meaning in table if re.search(pattern, text)), None)


def _is_output(key: str) -> bool:
    return re.search(r"/std(?:out|err)(?:\.gz)?$", key) is not None


def _end(bucket: Bucket, address: Address, each: Listed, lines: int) -> LogFile:
    """The last lines of a file."""
    own: deque[str] = deque(maxlen=lines)
    last: deque[str] = deque(maxlen=lines)
    for line in _lines(bucket, each):
        last.append(line)
        if line.startswith(OWN):
            own.append(line)
    words = each.key[len(address.folder) :].removesuffix(".gz").lower().split("/")
    whose = [word.removeprefix("spark_") for word in words]
    return LogFile(" ".join(whose), list(own), list(last))


def _lines(bucket: Bucket, each: Listed) -> Iterator[str]:
    rest = b""
    for piece in _unpacked(bucket, each):
        *whole, rest = (rest + piece).split(b"\n")
        rest = rest[:LINE_CHARACTERS]
        for line in whole:
            yield line[:LINE_CHARACTERS].decode("utf-8", "replace").rstrip()
    if rest:
        yield rest.decode("utf-8", "replace").rstrip()


def _unpacked(bucket: Bucket, each: Listed) -> Iterator[bytes]:
    """A file's content in pieces; what is no gzip comes as it is, and damage ends it."""
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if each.key.endswith(".gz") else None
    left = FILE_BYTES
    for start in range(0, each.size_bytes, PIECE_BYTES):
        size = min(PIECE_BYTES, each.size_bytes - start)
        try:
            data = bucket.get(each.key, if_match=each.etag, start=start, size=size).data
        except FileNotFoundError:
            return
        except ObjectStoreError as exc:
            if exc.reason == "changed":
                return
            raise
        while data and left > 0:
            piece = data if unpack is None else b""
            if unpack is not None:
                try:
                    piece = unpack.decompress(data, PIECE_BYTES)
                except zlib.error:
                    return
            data = b"" if unpack is None else unpack.unconsumed_tail
            left -= len(piece)
            yield piece
            if unpack is not None and unpack.eof:  # gzip files may be joined
                data = unpack.unused_data
                unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
        if left <= 0:
            return
