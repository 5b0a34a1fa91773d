"""What the project promises of itself: light imports, documented commands, pinned names."""

from __future__ import annotations

import ast
import graphlib
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


def test_workers_start_before_their_command_imports_what_takes_long() -> None:
    heavy = {*HEAVY, "numpy", "pyarrow", "PIL", "jinja2"}
    assert imported("import pomona.commands.main, pomona.commands.make") & heavy == set()


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
        "train",
    ]
    assert all(hasattr(pomona, name) for name in pomona.__all__)
    assert dir(pomona) == sorted(pomona.__all__)


def test_the_readme_names_every_command() -> None:
    commands: set[str] = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"pomona ([a-z-]+)", README.read_text(encoding="utf-8")))
    assert commands - named == set()


SOURCE = Path(pomona.__file__).parent
MOST_LINES, MOST_FUNCTION_LINES = 400, 60


def test_modules_and_functions_stay_short() -> None:
    long = []
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > MOST_LINES:
            long.append(str(path))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                if (node.end_lineno or first) - first >= MOST_FUNCTION_LINES:
                    long.append(f"{path}: {node.name}")
    assert long == []


def imports_of(path: Path, modules: set[str]) -> set[str]:
    """The modules of pomona that a module names in its imports, at its top or within functions."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
    return named & modules


def test_no_module_imports_itself_through_others() -> None:
    """Lazy imports count too. An __init__ file is left out: each module of its folder runs it."""
    paths = {
        ".".join(["pomona", *path.relative_to(SOURCE).with_suffix("").parts]): path
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: imports_of(path, set(paths)) for name, path in paths.items()}
    list(graphlib.TopologicalSorter(graph).static_order())
