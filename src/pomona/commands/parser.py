"""Commands and groups as Typer parses and shows them, in the words of pomona's users.

A command's family is imported, and its options are built, when the command is asked for.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from pomona.commands import flags, registry
from pomona.commands.grouping import grouped
from pomona.commands.options.images import IMPLIED_VALUES


class PomonaCommand(TyperCommand):
    """A command whose help shows no Python types, and whose messages name its flags."""

    def __init__(self, name: str | None, *, help: str | None = None, **attrs: Any) -> None:
        # Typer keeps the line breaks of a docstring, but for those of its first paragraph.
        paragraphs = [" ".join(text.split()) for text in (help or "").split("\n\n")]
        super().__init__(name, help="\n\n".join(paragraphs), **attrs)

    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        flags.use_flags_of(self.params)
        return super().parse_args(ctx, self._with_implied_values(args))

    def _with_implied_values(self, args: list[str]) -> list[str]:
        own = {flag for param in self.params for flag in param.opts}
        end = args.index("--") if "--" in args else len(args)
        options = [
            f"{arg}={IMPLIED_VALUES[arg]}" if arg in IMPLIED_VALUES.keys() & own else arg
            for arg in args[:end]
        ]
        return [*options, *args[end:]]


class PomonaGroup(TyperGroup):
    """A group of commands whose help shows no Python types."""

    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))


class RegisteredGroup(PomonaGroup):
    """The group of the commands in `registry.COMMANDS`."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = cast(Any, _Registered())

    def format_help(self, ctx: Any, formatter: Any) -> None:
        # The list needs no options, which take most of the time to build.
        self.commands = {entry.name: _list(entry) for entry in registry.COMMANDS}
        super().format_help(ctx, formatter)


class _Registered(Mapping[str, Any]):
    """The registered commands by name, each built when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        for entry in registry.COMMANDS:
            if entry.name == name:
                return _build(entry)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in registry.COMMANDS)

    def __len__(self) -> int:
        return len(registry.COMMANDS)


def _build(entry: registry.Command) -> Any:
    """The Click command of an entry: of a function, or of a Typer app with commands of its own."""
    app = _import(entry)
    if not isinstance(app, typer.Typer):
        function, app = app, typer.Typer(add_completion=False)
        app.command(cls=PomonaCommand)(grouped(function))
    command = typer.main.get_command(app)
    command.name = entry.name
    command.epilog = f"Example: {entry.example}"
    cast(Any, command).rich_help_panel = entry.panel
    return command


def _list(entry: registry.Command) -> PomonaCommand:
    """As much of a command as its line in a list shows."""
    target = _import(entry)
    text = target.info.help if isinstance(target, typer.Typer) else inspect.getdoc(target)
    return PomonaCommand(entry.name, help=text, rich_help_panel=entry.panel)


def _import(entry: registry.Command) -> Any:
    module, _, name = entry.home.partition(":")
    return getattr(import_module(module), name)


def _without_types(params: list[Any]) -> list[Any]:
    """Has parameters show no type of Python: flags take no value, and arguments name themselves."""
    for param in params:
        if param.param_type_name == "argument":
            param.display_type_rich = _show_no_type
        elif param.is_flag and param.metavar is None:
            param.metavar = ""
    return params


def _show_no_type(ctx: Any) -> None:
    """In place of Typer's method, which shows the type of an argument in any case."""
