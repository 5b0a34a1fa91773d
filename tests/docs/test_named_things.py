"""The documentation names only commands, options, targets, files and pages that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import check
from docs.generate.commands import commands, parameters

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = sorted((ROOT / "src" / "pomona").rglob("*.py"))


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_page_names_only_what_exists(page: Path) -> None:
    assert check.problems(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert check.broken_links(page) == []


@pytest.mark.parametrize("name", commands())
def test_the_help_of_a_command_names_only_what_exists(name: str) -> None:
    command = commands()[name]
    example = (command.epilog or "").removeprefix("Example: ")
    options = "\n\n".join(each.help or "" for each in parameters(command))
    text = f"{command.help}\n\n```sh\n{example}\n```\n\n{options}"
    assert check.problems(text) == []


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_the_commands_in_messages_and_docstrings_exist(module: Path) -> None:
    named = re.findall(r"`(pomona [a-z][^`]*)`", module.read_text(encoding="utf-8"))
    assert check.problems("\n".join(f"`{command}`" for command in named)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```sh\npomona frobnicate photos\n```", "there is no command `pomona frobnicate`"),
        ("```sh\nmake demo && pomona run a b --varianz 1\n```", "`pomona run` has no option"),
        ("```sh\nA=1 env/bin/pomona run a \\\n    --nope\n```", "`pomona run` has no option"),
        ("`pomona backbones remove x`", "there is no command `pomona backbones remove`"),
        ("`python -m pomona walk`", "there is no command `pomona walk`"),
        ("Give `--shout`.", "no command has the option `--shout`"),
        ("`make cake`", "there is no target `make cake`"),
        ("See `pipeline/kitchen.py`.", "there is no file `pipeline/kitchen.py`"),
    ],
)
def test_a_wrong_name_is_found(text: str, problem: str) -> None:
    assert [found for found in check.problems(text) if found.startswith(problem)]


@pytest.mark.parametrize("link", ["no.md", "page.md#nowhere", "../picture.png", "#nowhere"])
def test_a_broken_link_is_found(tmp_path: Path, link: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Somewhere\n\n![it]({link})\n[well](page.md#somewhere)\n", "utf-8")
    assert [found.partition(":")[0] for found in check.broken_links(page)] == [link]
