"""The pages of reference that are written by hand agree with the program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pomona.commands import exit_status
from pomona.store import manifest, schemas
from pomona.store.recipe import Recipe

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
STORE = (REFERENCE / "store.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text of store.md below a heading of its third level."""
    return re.split(r"^##+ ", STORE.split(f"### {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(
    ("table", "schema"),
    [
        ("features", schemas.features(4)),
        ("pca", schemas.pca(2)),
        ("metadata", schemas.METADATA),
        ("errors", schemas.ERRORS),
    ],
)
def test_the_store_format_has_the_columns_of_a_table(table: str, schema: Any) -> None:
    rows = [line.split("|")[1] for line in section(table).splitlines() if line.startswith("| `")]
    told = re.findall(r"`(\w+)`", " ".join(rows))
    assert told == schema.names[len(schemas.IDENTITY) :]


def test_the_store_format_has_the_fields_of_the_manifest() -> None:
    recipe = Recipe("name", None, None, 224, 4)
    fields = manifest.new_manifest("photos", recipe)
    assert [name for name in fields if f"`{name}`" not in STORE] == []


def test_the_exit_statuses_are_those_of_the_command_line() -> None:
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert told == {value for value in vars(exit_status).values() if isinstance(value, int)}
