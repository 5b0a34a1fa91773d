"""Settings in messages, named as flags."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from pomona.commands.flags import flags_of, with_flags
from pomona.commands.main import app
from pomona.errors import ObjectStoreError, UsageError

GROUP: Any = typer.main.get_command(app)


def flags(command: str) -> dict[str, str]:
    return flags_of(GROUP.commands[command].params)


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("run", "`limit` 0: at least 1 image", "--limit 0: at least 1 image"),
        ("run", "leave out `limit` and `include`", "leave out --limit and --include"),
        ("run", "`retry_errors` some: choose all", "--retry-errors some: choose all"),
        ("run", "another `backbone_sha256`", "another --backbone-sha256"),
        ("run", "give `csv`, or `no_csv`", "give --csv, or --no-csv"),
        ("run", "look at `source` and `out`", "look at SOURCE and OUT"),
        ("reduce", "`store` is new", "STORE is new"),
        ("report", "`format` and `image_format` pdf", "--format and --format pdf"),
        ("report", "`open_page` wants a disk", "--open wants a disk"),
        ("pack", "`size_bytes` 0", "--size 0"),
        ("forget", "check `from_file`", "check --from"),
    ],
)
def test_a_setting_is_named_as_the_flag_of_the_command(
    command: str, message: str, expected: str
) -> None:
    assert with_flags(message, flags(command)) == expected


@pytest.mark.parametrize(
    "message",
    [
        "run `pomona reduce out` first",
        "`components` is no option of verify",
        "`Limit` and `LIMIT` and limit",
        "`limit",
        "a column `path`, and `s3://bucket`",
    ],
)
def test_all_else_in_backticks_stays(message: str) -> None:
    assert with_flags(message, flags("verify")) == message


def test_an_exception_is_rendered_as_its_message() -> None:
    names = flags("upload")
    assert with_flags(UsageError("`sse` x"), names) == "--sse x"
    assert with_flags(ObjectStoreError("needs `kms_key`", "denied"), names) == "needs --kms-key"


def test_every_parameter_of_every_command_has_a_name() -> None:
    for command in GROUP.commands.values():
        names = flags_of(command.params)
        assert {param.name for param in command.params} <= names.keys()
        assert all(name.startswith("--") or name.isupper() for name in names.values())
