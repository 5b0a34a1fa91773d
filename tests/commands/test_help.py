"""Help, usage and shell completion of every command."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
import typer

import pomona
from conftest import Ended
from in_process import run_in_process
from pomona.commands import registry
from pomona.commands.main import app
from pomona.transfer.pack import SIZE_BYTES

GROUP: Any = typer.main.get_command(app)
PANEL = re.compile(r"╭─ (.+?) ─")
SUBCOMMANDS = (
    "aws doctor",
    "aws down",
    "aws plan",
    "aws cancel",
    "aws cost",
    "aws fetch",
    "aws logs",
    "aws run",
    "aws status",
    "aws sweep",
    "aws up",
    "backbones add",
    "backbones export",
    "backbones quantize",
)
EVERY_HELP = ("", *GROUP.commands, *SUBCOMMANDS)


@functools.cache
def help_of(command: str, columns: int = 80) -> str:
    ended = run_in_process(*command.split(), "--help", columns=columns)
    assert (ended.status, ended.stderr) == (0, "")
    return ended.stdout


def complete(words: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that bash is offered after these."""
    monkeypatch.setenv("_POMONA_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    return run_in_process().stdout.split()


@pytest.mark.parametrize("command", [*GROUP.commands, *SUBCOMMANDS])
def test_help_shows_an_example(command: str) -> None:
    assert f"Example: pomona {command}" in help_of(command)


def test_help_lists_every_command_in_its_panel() -> None:
    text = help_of("")
    panels = list(dict.fromkeys(entry.panel for entry in registry.COMMANDS))
    assert PANEL.findall(text) == ["Options", *panels]
    for entry in registry.COMMANDS:
        [panel] = re.findall(rf"╭─ {entry.panel} ─(.*?)╰─", text, re.S)
        assert f"│ {entry.name} " in panel
    assert run_in_process() == Ended(0, text, "")


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", EVERY_HELP)
def test_help_shows_what_a_user_types(command: str, columns: int) -> None:
    text = help_of(command, columns)
    assert not re.search(r"<\w+>|[{}]", text), "a type of Python, or a brace of Typer"
    assert all(len(line) <= columns for line in text.splitlines())


@pytest.mark.parametrize("command", [*GROUP.commands, *SUBCOMMANDS])
def test_every_option_has_a_metavar_and_a_help(command: str) -> None:
    group, _, name = command.partition(" ")
    found = GROUP.commands[group]
    found = found.commands[name] if name else found
    for param in found.get_params(typer.Context(found)):
        assert param.help, param.name
        if param.param_type_name == "argument" or not param.is_flag:
            assert param.metavar, param.name
            assert param.metavar in help_of(command)


def test_help_words_name_embeddings() -> None:
    assert "embeddings" in help_of("").partition("Start with")[0]


def test_version() -> None:
    assert run_in_process("--version") == Ended(0, f"pomona {pomona.__version__}\n", "")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ("rum", "No such command 'rum'. Did you mean 'run'?; see `pomona --help`"),
        ("run photos", "Missing argument 'OUT'; see `pomona run --help`"),
        ("run photos out --limits 3", "No such option: --limits"),
        ("run photos out --limit many", "Invalid value for '--limit'"),
        ("verify out --retry-errors", "No such option: --retry-errors; see `pomona verify --help`"),
        ("pack photos out --size large", "'large' is not a size"),
        ("run photos out --max-pixels -1", "'-1' is not a number of pixels"),
    ],
)
def test_wrong_usage_is_one_line(args: str, complaint: str) -> None:
    ended = run_in_process(*args.split())
    assert (ended.status, ended.stdout) == (2, "")
    assert complaint in ended.complaint
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pomona ", [entry.name for entry in registry.COMMANDS]),
        ("pomona re", ["reduce", "report"]),
        ("pomona run --fi", ["--fit"]),
        ("pomona run --fit ", ["stretch", "crop"]),
        ("pomona run --runtime o", ["onnxruntime", "openvino"]),
        ("pomona extract --engine ", ["local", "spark"]),
        ("pomona upload --sse a", ["aws:kms"]),
        ("pomona report --format ", ["png", "svg"]),
        ("pomona backbones ", ["add", "export", "quantize"]),
        ("pomona backbones export --layout ", ["nchw", "nhwc"]),
    ],
)
def test_shells_complete_commands_options_and_values(
    words: str, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complete(words, monkeypatch) == offered


def test_completion_offers_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "efficientnet_lite0" in complete("pomona run --backbone ", monkeypatch)


def test_completion_can_be_installed() -> None:
    script = run_in_process("--show-completion", "bash")
    assert "_POMONA_COMPLETE=complete_bash" in script.stdout


def test_the_size_of_a_pack_is_the_default_of_the_library() -> None:
    """It stands twice, for the library's module is slow to import, and once in the help."""
    params = {param.name: param for param in GROUP.commands["pack"].params}
    assert params["size_bytes"].default == SIZE_BYTES
    assert f"(default: {SIZE_BYTES // 10**6}MB)" in " ".join(help_of("pack", 200).split())
