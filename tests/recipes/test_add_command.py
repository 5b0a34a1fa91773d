"""The recipe "to add a command": one entry in the registry, and a function."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer

from in_process import run_in_process
from pomona.commands import registry
from pomona.commands.options.places import StoreFolder
from pomona.commands.output import OutputOptions
from pomona.commands.registry import Command
from pomona.errors import UsageError


def count(
    store: StoreFolder,
    output: OutputOptions,
    at_least: Annotated[int, typer.Option(metavar="N", help="Count from N.")] = 1,
) -> None:
    """Count what a store holds."""
    if at_least < 1:
        raise UsageError(f"`at_least` {at_least}: count from 1, or leave it out")
    output.result({"count": at_least}, f"{store}: {at_least} or more")


COUNT = Command("count", "Count things", "test_add_command:count", "pomona count out --at-least 2")


@pytest.fixture(autouse=True)
def _with_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "COMMANDS", (*registry.COMMANDS, COUNT))


def test_help_lists_it_in_its_panel() -> None:
    text = run_in_process("--help").stdout
    panel = text[text.index("╭─ Count things ─") :]
    assert "│ count " in panel
    assert "Count what a store holds." in panel


def test_its_help_shows_its_options_and_its_example() -> None:
    text = run_in_process("count", "--help").stdout
    assert "Usage: pomona count [OPTIONS] STORE" in text
    assert "--at-least" in text
    assert "╭─ Output ─" in text
    assert "Example: pomona count out --at-least 2" in text


def test_it_runs() -> None:
    assert run_in_process("count", "out", "--at-least", "2").stdout == "out: 2 or more\n"
    assert run_in_process("count", "out", "--json").stdout == '{"count": 1}\n'


def test_its_errors_name_its_flags() -> None:
    ended = run_in_process("count", "out", "--at-least", "0")
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.complaint == "pomona: --at-least 0: count from 1, or leave it out"


def test_a_wrong_word_suggests_it() -> None:
    assert "Did you mean 'count'?" in run_in_process("coumt").complaint
