"""The environment of a job: all that nodes need beyond Python and Spark, in one archive.

It is made on any machine for nodes of either architecture, and needs no Docker. Its bytes depend on
the packages and the nodes alone, so its digest names it: it is uploaded once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pomona.aws import archive, distributions
from pomona.aws.target import Target
from pomona.backbones.cache import cache_folder, sha256, temporary_folder
from pomona.errors import CloudError
from pomona.s3.bucket import Bucket

logger = logging.getLogger(__name__)

PREFIX = "environments"
EXTRAS = ("s3",)
_FORMAT = 1
_JOB = Path(__file__).with_name("job.py")


@dataclass(frozen=True)
class Environment:
    """An archive on this machine.

    Parameters
    ----------
    path : Path
        Where it lies.
    digest : str
        Its SHA-256, in hexadecimal.
    target : Target
        The nodes it is for.
    """

    path: Path
    digest: str
    target: Target


@dataclass(frozen=True)
class Uploaded:
    """What a job is started from: addresses, s3://BUCKET/KEY, of the archive and the script."""

    archive: str
    job: str


def build(target: Target, extras: Sequence[str] = EXTRAS) -> Environment:
    """Returns the environment of pomona as it is installed here, from the cache or built.

    Packages that run on the nodes as they are here are copied; the others are fetched, in the same
    versions, by uv or pip. Those that the cache holds of other versions of pomona are removed.

    Parameters
    ----------
    target : Target
        The nodes.
    extras : sequence of str
        The extras of pomona that the job needs.

    Raises
    ------
    CloudError
        If a package cannot be had for the nodes, or the archive cannot be written.
    """
    says = "\n".join([str(_FORMAT), repr(target), *distributions.wanted(target, extras)])
    key = sha256(says.encode())[:16]
    folder = cache_folder() / PREFIX
    if kept := _find(folder, f"{target.architecture}-{key}", target):
        return kept
    logger.info("building the environment for %s", target.words)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder() as work:
            (work / "fetched").mkdir()
            packages = distributions.collect(target, extras, work / "fetched")
            whole = work / "environment.tar.gz"
            with whole.open("wb") as file:
                archive.write(file, packages, target)
            digest = _digest(whole)
            for stale in folder.glob(f"{target.architecture}-*.tar.gz"):
                stale.unlink(missing_ok=True)
            path = folder / f"{target.architecture}-{key}-{digest}.tar.gz"
            whole.replace(path)
    except OSError as exc:
        raise CloudError(
            f"the environment cannot be kept in {folder} ({exc.strerror}): set POMONA_CACHE to a "
            "folder with room for it"
        ) from exc
    return Environment(path, digest, target)


def upload(environment: Environment, bucket: Bucket) -> Uploaded:
    """Puts an environment, and the script that runs in it, into a bucket, once.

    Parameters
    ----------
    environment : Environment
        What `build` gave.
    bucket : Bucket
        The bucket of results.

    Returns
    -------
    Uploaded
        Where they are: each in environments/, under its own digest.

    Raises
    ------
    CloudError
        If the archive is damaged, or made for other nodes than it says.
    ObjectStoreError
        If the bucket cannot be used.
    """
    job = _JOB.read_bytes()
    keys = f"{PREFIX}/{environment.digest}.tar.gz", f"{PREFIX}/{sha256(job)}.py"
    if not _is_there(bucket, keys[0]):
        archive.check(environment.path, environment.target)
        if _digest(environment.path) != environment.digest:
            raise CloudError(f"{environment.path} has changed: remove it and try again")
        bucket.put(keys[0], environment.path.read_bytes())
    if not _is_there(bucket, keys[1]):
        bucket.put(keys[1], job)
    return Uploaded(*(f"{bucket}/{key}" for key in keys))


def _find(folder: Path, stem: str, target: Target) -> Environment | None:
    """The environment in the cache that is whole: its name ends in its digest."""
    for path in sorted(folder.glob(f"{stem}-*.tar.gz")):
        with contextlib.suppress(OSError):
            digest = _digest(path)
            if path.name == f"{stem}-{digest}.tar.gz":
                return Environment(path, digest, target)
            logger.warning("the environment %s is damaged and is built again", path)
    return None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _is_there(bucket: Bucket, key: str) -> bool:
    try:
        bucket.head(key)
    except FileNotFoundError:
        return False
    return True
