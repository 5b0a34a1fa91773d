"""What the project promises of itself: light imports, documented commands, pinned names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import pomona
from pomona.commands.main import app

README = Path(__file__).parents[1] / "README.md"
HEAVY = (
    *("pyspark", "torch", "tensorflow", "keras", "h5py"),
    *("pandas", "botocore", "onnxruntime", "cv2"),
)


def imported(statement: str) -> set[str]:
    """The top-level modules that a statement pulls in, in a process of its own."""
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("statement", ["import pomona", "import pomona.commands.main"])
def test_imports_are_light(statement: str) -> None:
    assert imported(statement) & set(HEAVY) == set()


def test_the_library_imports_no_other_framework() -> None:
    homes = ["maintenance.doctor", "maintenance.forget", "maintenance.import_features"]
    homes += ["maintenance.verify", "transfer.pack", "transfer.upload", "transfer.download"]
    statement = "import pomona.api, " + ", ".join(f"pomona.{home}" for home in homes)
    assert imported(statement) & {"pyspark", "torch", "tensorflow", "pandas", "botocore"} == set()


def test_public_names_are_pinned() -> None:
    assert sorted(pomona.__all__) == [
        "PomonaError",
        "Projection",
        "Recipe",
        "Store",
        "Vectors",
        "__version__",
        "featurize",
        "open",
        "run",
    ]
    assert all(hasattr(pomona, name) for name in pomona.__all__)
    assert dir(pomona) == sorted(pomona.__all__)


def test_the_readme_names_every_command() -> None:
    commands: set[str] = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"pomona ([a-z-]+)", README.read_text(encoding="utf-8")))
    assert commands - named == set()
