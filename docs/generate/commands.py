"""The command line as Markdown, from the Typer app."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import Any

import typer

from pomona.commands.main import app

_PANELS = {"argument": "Arguments", "option": "Options"}


@cache
def commands() -> dict[str, Any]:
    """Returns every command by its full name, such as "pomona backbones add"."""
    return dict(_walk("pomona", typer.main.get_command(app)))


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child, subcommand in (getattr(command, "commands", None) or {}).items():
        yield from _walk(f"{name} {child}", subcommand)


def parameters(command: Any) -> list[Any]:
    """Returns the arguments and options of a command, as its help shows them."""
    context = command.make_context("", [], resilient_parsing=True)
    return [each for each in command.get_params(context) if not each.hidden]


def page() -> str:
    """Returns a section for each panel of commands, with a subsection for each command."""
    found = {name: command for name, command in commands().items() if name != "pomona"}
    panel = {
        name: _panel(command) or _panel(found[name.rpartition(" ")[0]])
        for name, command in found.items()
    }
    sections = []
    for title in dict.fromkeys(panel.values()):
        sections.append(f"## {title}\n")
        sections += [_section(name, found[name]) for name in found if panel[name] == title]
    return "\n".join(sections)


def _panel(command: Any) -> str | None:
    panel = getattr(command, "rich_help_panel", None)
    return panel if isinstance(panel, str) else None


def _section(name: str, command: Any) -> str:
    shown = parameters(command)
    arguments = [_argument(each) for each in shown if each.param_type_name == "argument"]
    if getattr(command, "commands", None):
        arguments.append("COMMAND")
    usage = " ".join([name, "[OPTIONS]", *arguments])
    lines = [f"### {name}\n", f"{command.help}\n", f"```\n{usage}\n```\n"]
    if example := (command.epilog or "").removeprefix("Example: "):
        lines.append(f"Example:\n\n```sh\n{example}\n```\n")
    for title, group in groupby(sorted(shown, key=_order(shown)), _heading):
        lines.append(f"**{title}**\n")
        lines += [_entry(each) for each in group]
    return "\n".join(lines)


def _heading(parameter: Any) -> str:
    return parameter.rich_help_panel or _PANELS[parameter.param_type_name]


def _order(shown: list[Any]) -> Any:
    """A sort key that keeps the headings in the order of their first parameter."""
    headings = list(dict.fromkeys(map(_heading, shown)))
    return lambda parameter: headings.index(_heading(parameter))


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _entry(parameter: Any) -> str:
    """A parameter as an item of a definition list: its name and type, then what it does."""
    if parameter.param_type_name == "argument":
        term = f"`{_argument(parameter)}`"
    else:
        value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
        term = ", ".join(f"`{flag}{value}`" for flag in parameter.opts + parameter.secondary_opts)
    return f"{term}\n:   {prose(parameter.help or '')}{_default(parameter)}\n"


def prose(text: str) -> str:
    """Help as Markdown: options and addresses in it are code."""
    return re.sub(r"(?<![`\w])(--?[a-z][\w-]*|(?:s3|k8s|spark|http)://[^\s,;.]*)", r"`\1`", text)


def _default(parameter: Any) -> str:
    """The default, where the text of the option does not state it."""
    value = parameter.default
    if not parameter.show_default or value is None or callable(value) or value in ((), [], ""):
        return ""
    if parameter.param_type_name == "argument" or "(default:" in (parameter.help or ""):
        return ""
    if parameter.is_flag:
        value = parameter.opts[0] if value else None
    return "" if value is None else f" Default: `{value}`."
