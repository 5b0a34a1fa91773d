"""An environment as one file: a folder with a Python and packages, as a tar.gz of fixed bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from pomona.aws.distributions import Package
from pomona.aws.target import ELF_MACHINES, Target
from pomona.errors import CloudError

PYTHON = "bin/python"
# The fastest: what takes room is code, which higher levels shrink by a few percent.
_LEVEL = 1
# 1980: tools that make zips of unpacked files know no earlier time.
_TIME = 315532800
_MAX_TEXT_BYTES = 2**20
_MAGIC = b"\x7fELF"


def write(file: IO[bytes], packages: list[Package], target: Target) -> None:
    """Writes an environment; the same packages and target give the same bytes.

    Parameters
    ----------
    file : binary file
        Where it goes.
    packages : list of Package
        What it holds.
    target : Target
        The nodes it is for.
    """
    home = PurePosixPath(target.interpreter).parent
    site = f"lib/python{target.python}/site-packages"
    settings = (
        f"home = {home}\ninclude-system-site-packages = false\nversion = {target.python}\n"
        f"executable = {target.interpreter}\n"
    )
    content = {f"{site}/{name}": path for each in packages for name, path in each.files.items()}
    with (
        gzip.GzipFile(
            filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0
        ) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name in (PYTHON, f"{PYTHON}3", f"bin/python{target.python}"):
            link = _member(name, 0)
            link.type, link.linkname = tarfile.SYMTYPE, target.interpreter
            archive.addfile(link)
        for name, path in sorted(content.items()):
            data = path.read_bytes()
            archive.addfile(_member(name, len(data)), io.BytesIO(data))
        archive.addfile(_member("pyvenv.cfg", len(settings)), io.BytesIO(settings.encode()))


def check(path: Path, target: Target) -> None:
    """Checks that an environment is whole and runs on the nodes.

    Its interpreter's version, the glibc that its wheels ask for and the processor of each shared
    library are looked at; nothing of it is run or unpacked.

    Parameters
    ----------
    path : Path
        The archive.
    target : Target
        The nodes.

    Raises
    ------
    CloudError
        If it does not.
    """
    remedy = "remove it and run the same command again"
    python = interpreter = None
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name == PYTHON and member.issym():
                    interpreter = member.linkname
                elif member.name == "pyvenv.cfg":
                    python = _setting(_text(archive, member), "version")
                elif member.name.endswith(".dist-info/WHEEL"):
                    _check_wheel(path, member.name, _text(archive, member), target)
                elif ".so" in PurePosixPath(member.name).suffixes and member.isfile():
                    _check_library(path, archive, member, target)
    except FileNotFoundError as exc:
        raise CloudError(f"{path} does not exist: check the path") from exc
    except (tarfile.TarError, OSError, EOFError, zlib.error) as exc:
        raise CloudError(f"the environment {path} is damaged ({exc}): {remedy}") from exc
    if python is None or interpreter is None:
        raise CloudError(f"{path} is not an environment (it has no {PYTHON}): {remedy}")
    if (python, interpreter) != (target.python, target.interpreter):
        raise CloudError(
            f"{path} was built for Python {python} at {interpreter}, and the nodes have Python "
            f"{target.python} at {target.interpreter}: {remedy}"
        )


def _check_wheel(path: Path, name: str, text: str, target: Target) -> None:
    tags = [line.removeprefix("Tag: ") for line in text.splitlines() if line.startswith("Tag: ")]
    reason = target.refuse_wheel(tags)
    if reason in ELF_MACHINES.values():
        _refuse_architecture(path, reason, target)
    if reason is not None:
        package = PurePosixPath(name).parent.name.removesuffix(".dist-info")
        raise CloudError(
            f"{path} does not run on the nodes: {package} is for {reason}, and they have "
            f"{target.words}; remove it and run the same command again"
        )


def _check_library(
    path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, target: Target
) -> None:
    content = archive.extractfile(member)
    header = content.read(20) if content else b""
    if not header.startswith(_MAGIC):
        return  # a script of the linker, or a list
    machine = int.from_bytes(header[18:20], "big" if header[5] == 2 else "little")
    architecture = ELF_MACHINES.get(machine, f"ELF machine {machine}")
    if architecture != target.architecture:
        _refuse_architecture(path, architecture, target)


def _refuse_architecture(path: Path, architecture: str | None, target: Target) -> None:
    raise CloudError(
        f"archive built for the other architecture: {path} is for {architecture}, the nodes are "
        f"{target.architecture}; remove it and run the same command again",
        "architecture",
    )


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    content = archive.extractfile(member)
    return content.read(_MAX_TEXT_BYTES).decode(errors="replace") if content else ""


def _setting(text: str, name: str) -> str | None:
    """The value of a setting in pyvenv.cfg."""
    settings = (line.partition("=") for line in text.splitlines())
    return next((value.strip() for key, _, value in settings if key.strip() == name), None)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """An entry that says nothing of when, where and by whom it was made."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, _TIME, 0o755 if ".so" in name else 0o644
    return member
