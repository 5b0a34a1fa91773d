"""The packages of an environment: what pomona needs on a node, and the files of each.

What is installed here is taken as it is where it runs on the nodes too: the nodes then have the
very versions that local runs have. pip or uv fetches the rest, in these versions.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

import pomona
from pomona.aws.target import Target
from pomona.errors import CloudError

FETCH_TIMEOUT_S = 1800
_MAX_WORDS = 300  # characters of what an installer says
_OWN = "pomona"
# What says how a package came here, and not what it is.
_OF_INSTALLERS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
# Folders and files that nothing imports, a third of all: nodes would unpack them for nothing.
_UNUSED_FOLDERS = ("__pycache__", "test", "tests")
_UNUSED_SUFFIXES = (".pyi", ".pyc", ".pyx", ".pxd", ".h", ".hpp", ".c", ".cc", ".cpp", ".cmake")
# pomona's jobs speak to these services alone, among hundreds that botocore describes.
_MODELS = ("s3", "sso", "sso-oidc", "sts")


@dataclass(frozen=True)
class Package:
    """A package: its name and version, and the files of it that an environment gets.

    files: where each lies here, by its path in site-packages.
    """

    name: str
    version: str
    files: dict[str, Path]


def collect(target: Target, extras: Sequence[str], folder: Path) -> list[Package]:
    """Returns pomona and all that it needs on a node, but for PySpark, which is the cluster's.

    Parameters
    ----------
    target : Target
        The nodes.
    extras : sequence of str
        The extras of pomona that the job needs.
    folder : Path
        An empty folder for what is fetched.

    Raises
    ------
    CloudError
        If a package cannot be had for the nodes.
    """
    found: dict[str, metadata.Distribution] = {}
    while missing := _walk(target, extras, found, is_whole=_is_whole):
        fetched = folder / str(len(list(folder.iterdir())))
        fetch(sorted(missing), target, fetched)
        found |= {_normal(each.name): each for each in metadata.distributions(path=[str(fetched)])}
        if lost := sorted(name for name in missing if _normal(_name(name)) not in found):
            raise CloudError(f"{lost[0]} cannot be had for {target.words}: install pomona anew")
    return [_package(found[name]) for name in sorted(found)]


def wanted(target: Target, extras: Sequence[str]) -> list[str]:
    """Returns what identifies the packages that `collect` would give, without fetching any.

    Parameters
    ----------
    target, extras
        As for `collect`.
    """
    found: dict[str, metadata.Distribution] = {}
    missing = _walk(target, extras, found)
    installed = [
        f"{name} {hashlib.sha256('|'.join(_digests(each)).encode()).hexdigest()}"
        for name, each in sorted(found.items())
    ]
    return installed + sorted(missing)


def fetch(requirements: list[str], target: Target, folder: Path) -> None:
    """Installs wheels for the nodes into a folder, by uv or else by pip.

    Parameters
    ----------
    requirements : list of str
        What to install, such as "numpy==2.4.6"; nothing that these need in turn.
    target : Target
        The nodes.
    folder : Path
        The folder, which is made.

    Raises
    ------
    CloudError
        If there is neither, or one of the wheels cannot be had.
    """
    said = "neither uv nor pip is installed here: pip install pip"
    for installer in (_uv(target), _pip(target)):
        if installer is None:
            continue
        try:
            done = subprocess.run(  # noqa: S603 - the user's own installer, with our arguments
                [*installer, "--target", str(folder), *requirements],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=FETCH_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            said = f"{Path(installer[0]).name} does not end by itself ({type(exc).__name__})"
        else:
            if done.returncode == 0:
                return
            said = _end_of(done.stderr)
        shutil.rmtree(folder, ignore_errors=True)
    raise CloudError(
        f"the wheels for {target.words} cannot be fetched: {said} "
        f"(check the network, or install pomona with Python {target.python} and try again)"
    )


def _end_of(text: str) -> str:
    """The last words of what an installer says, in one line."""
    words = " ".join(text.split()) or "it says nothing"
    if len(words) <= _MAX_WORDS:
        return words
    return f"… {words[-_MAX_WORDS:].partition(' ')[2]}"


def _uv(target: Target) -> list[str] | None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        return None
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python", sys.executable]
    platform = f"{target.architecture}-manylinux_2_28"
    return [uv, "pip", "install", *options, "--python-platform", platform,
            "--python-version", target.python]  # fmt: skip


def _pip(target: Target) -> list[str] | None:
    if importlib.util.find_spec("pip") is None:
        return None
    options = ["--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    platforms = [f"--platform={platform}" for platform in target.platforms]
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options,
            "--implementation=cp", f"--python-version={target.python}", *platforms]  # fmt: skip


def _walk(
    target: Target,
    extras: Sequence[str],
    found: dict[str, metadata.Distribution],
    is_whole: Callable[[metadata.Distribution], bool] = lambda distribution: True,
) -> set[str]:
    """Adds to `found` what can be taken from here; returns what has to be fetched."""
    from packaging.requirements import Requirement

    missing: set[str] = set()
    seen: set[tuple[str, str]] = set()
    todo = [(_OWN, extra) for extra in ("", *extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        distribution = found.get(name) or _installed(name)
        if distribution is None:
            if name == _OWN:
                raise CloudError("pomona itself is not installed: run pip install on its folder")
            continue
        if name not in found:
            if name == _OWN or (_runs_on(target, distribution) and is_whole(distribution)):
                found[name] = distribution
            else:
                missing.add(f"{distribution.name}=={distribution.version}")
        for text in distribution.requires or ():
            needed = Requirement(text)
            if needed.marker and not needed.marker.evaluate({**target.markers, "extra": extra}):
                continue
            below = _normal(needed.name)
            todo += [(below, each) for each in ("", *needed.extras)]
            if below not in found and _installed(below) is None:
                missing.add(f"{needed.name}{needed.specifier}")
    return missing


def _runs_on(target: Target, distribution: metadata.Distribution) -> bool:
    """Whether an installed package came as a wheel that runs on the nodes."""
    wheel = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ") for line in wheel if line.startswith("Tag: ")]
    return target.refuse_wheel(tags) is None


def _is_whole(distribution: metadata.Distribution) -> bool:
    """Whether the files of an installed package are still its wheel's."""
    return all(_is_as_recorded(file) for file in distribution.files or ())


def _is_as_recorded(file: metadata.PackagePath) -> bool:
    """Whether an installed file is the wheel's, or belongs to the installer."""
    if file.hash is None or file.name in _OF_INSTALLERS or ".." in file.parts:
        return True
    try:
        digest = hashlib.new(file.hash.mode, Path(str(file.locate())).read_bytes()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value


def _installed(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def _package(distribution: metadata.Distribution) -> Package:
    return Package(_normal(distribution.name), distribution.version, dict(_files(distribution)))


def _files(distribution: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    is_own = _normal(distribution.name) == _OWN
    for file in distribution.files or ():
        in_information = file.parts[0].endswith(".dist-info")
        if file.hash and _is_wanted(file) and (in_information or not is_own):
            yield str(file), Path(str(file.locate()))
    if is_own:
        # A checkout's package lies elsewhere; an installed one is the same folder.
        package = Path(pomona.__file__).parent
        for path in sorted(package.rglob("*")):
            name = PurePosixPath(_OWN) / path.relative_to(package).as_posix()
            if path.is_file() and _is_wanted(name) and not path.name.startswith("."):
                yield str(name), path


def _is_wanted(file: PurePosixPath) -> bool:
    if ".." in file.parts or file.is_absolute() or file.suffix in _UNUSED_SUFFIXES:
        return False
    folders = file.parts[:-1]
    if folders and folders[0].endswith(".dist-info"):
        return file.name not in _OF_INSTALLERS
    if folders[:2] == ("botocore", "data") and len(folders) > 2:
        return folders[2] in _MODELS
    return not set(folders) & set(_UNUSED_FOLDERS)


def _digests(distribution: metadata.Distribution) -> Iterator[str]:
    """What tells the files of a package apart from those of another build or version."""
    yield distribution.version
    for name, path in _files(distribution):
        if _normal(distribution.name) == _OWN:
            yield f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        else:
            yield name
    yield from (str(file.hash.value) for file in distribution.files or () if file.hash)


def _name(requirement: str) -> str:
    from packaging.requirements import Requirement

    return Requirement(requirement).name


def _normal(name: str) -> str:
    from packaging.utils import canonicalize_name

    return str(canonicalize_name(name))
