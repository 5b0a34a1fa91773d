"""What a page names must exist: commands, options, make targets, files, links and pictures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from docs.generate.commands import commands, parameters
from docs.generate.pages import fill

ROOT = Path(__file__).parents[2]
# Options of other programs that pages name on their own, outside a command.
FOREIGN_OPTIONS = {"--archives", "--no-deps", "--help", "--version", "--install-completion"}
# Folders in which a file that a page names may be.
_HOMES = (ROOT, ROOT / "src" / "pomona", ROOT / "docs")

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_LINK = re.compile(r"\[[^\]]*\]\(<?([^)>\s]+)>?\)")
_SEPARATORS = {"&&", "||", "|", ";"}
_FILE = re.compile(r"[\w./-]*/[\w.-]+\.(?:py|toml|ipynb|json|md|js|txt)")
# Files of a user or of a store, and those that a reader is to name.
_NOT_OURS = re.compile(r"^(?:_pomona|csv|out|photos|features|model_info)/|(?:/|_)[A-Z]{3,}\b")


def problems(text: str) -> list[str]:
    """Returns what a page names that does not exist, but for its links.

    Parameters
    ----------
    text : str
        Markdown.
    """
    blocks = [code for language, code in _FENCE.findall(text) if language == "sh"]
    spans = [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [problem for line in lines + spans for problem in _of_line(line)]
    found += [problem for span in spans for problem in _of_span(span)]
    return list(dict.fromkeys(found))


def broken_links(file: Path) -> list[str]:
    """Returns the relative links and pictures of a file that lead nowhere, anchors included."""
    text = _FENCE.sub("", file.read_text(encoding="utf-8"))
    broken = []
    for link in _LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = file.parent / path if path else file
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists():
            broken.append(f"{link}: there is no {path}")
        elif anchor and target.suffix == ".md" and anchor not in _anchors(target):
            broken.append(f"{link}: {target.name} has no heading {anchor}")
    return broken


def _anchors(file: Path) -> set[str]:
    text = fill(file.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[\s-]+", "-", heading) for heading in words}


def _of_line(line: str) -> Iterator[str]:
    """The problems of a line of shell: each of its commands that is pomona or make."""
    for words in _commands_of(line):
        program, *arguments = words
        if Path(program).name == "pomona" and not program.endswith("/"):
            yield from _of_pomona(arguments)
        elif program == "make":
            yield from _of_make(arguments)


def _commands_of(line: str) -> Iterator[list[str]]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return
    command: list[str] = []
    for word in [*words, ";"]:
        if word not in _SEPARATORS:
            command.append(word)
            continue
        while command and re.fullmatch(r"\w+=.*|\$|export", command[0]):
            command.pop(0)
        # python -m pomona, and pomona behind spark-submit's own options
        if command[1:3] == ["-m", "pomona"]:
            command = command[2:]
        if command:
            yield command
        command = []


def _of_pomona(arguments: list[str]) -> Iterator[str]:
    known, name = commands(), "pomona"
    while arguments and f"{name} {arguments[0]}" in known:
        name = f"{name} {arguments.pop(0)}"
    first = arguments[0] if arguments else ""
    if getattr(known[name], "commands", None) and re.fullmatch(r"[a-z][a-z-]*", first):
        yield f"there is no command `{name} {first}`"
        return
    for word in arguments:
        flag = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][\w-]*", flag) and flag not in _options(name):
            yield f"`{name}` has no option `{flag}`"


def _of_make(arguments: list[str]) -> Iterator[str]:
    targets = _targets()
    for word in arguments:
        if re.fullmatch(r"[a-z][\w-]*", word) and word not in targets:
            yield f"there is no target `make {word}`"


def _of_span(span: str) -> Iterator[str]:
    """The problems of inline code: an option on its own, or a file of the repository."""
    flag = re.split(r"[ =]", span)[0]
    if re.fullmatch(r"--[a-z][\w-]*", flag) and flag not in _all_options() | FOREIGN_OPTIONS:
        yield f"no command has the option `{flag}`"
    if _FILE.fullmatch(span) and not _NOT_OURS.search(span) and not _exists(span):
        yield f"there is no file `{span}`"


def _exists(file: str) -> bool:
    return any((home / file).exists() for home in _HOMES)


@cache
def _options(name: str) -> frozenset[str]:
    command = commands()[name]
    flags = {flag for each in parameters(command) for flag in each.opts + each.secondary_opts}
    completion = {"--install-completion", "--show-completion"} if name == "pomona" else set()
    return frozenset(flags | completion | {"--help", "-h"})


@cache
def _all_options() -> frozenset[str]:
    return frozenset(flag for name in commands() for flag in _options(name))


@cache
def _targets() -> frozenset[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
