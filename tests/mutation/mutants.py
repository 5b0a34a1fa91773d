"""Mutants: copies of a module, each with one small fault planted by an operator of cosmic-ray.

A mutant's rank depends on the seed, the operator and the text of its line alone, so that a sample
holds the same faults after code has moved to other files.
"""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

Position = tuple[int, int]

# They take arguments: which variables to replace or insert.
_CONFIGURED = {"VariableReplacer", "VariableInserter"}
# Identity and equality agree on what the code compares by `is`: None, True and False.
_IDENTITY = re.compile(r"ReplaceComparisonOperator_(Is(Not)?_(Not)?Eq|(Not)?Eq_Is(Not)?)")


class RemoveStatement:
    """Operator: a call, a raise or an augmented assignment becomes `pass`."""

    TYPES = ("atom_expr", "raise_stmt")

    def mutation_positions(self, node: Any) -> Iterator[tuple[Position, Position]]:
        """Where it can mutate the node."""
        if node.type == "simple_stmt" and self._is_removable(node.children[0]):
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The node, mutated."""
        prefix = node.get_first_leaf().prefix
        node.children[0] = get_ast(f"{prefix}pass")
        return node

    def _is_removable(self, statement: Any) -> bool:
        if statement.type == "expr_stmt":
            return getattr(statement.children[1], "value", "=") != "="
        return statement.type in self.TYPES


@dataclass(frozen=True)
class Mutant:
    """One fault: in which file, made by which occurrence of which operator; rank: its place."""

    path: str
    line: int
    operator: str
    occurrence: int
    site: tuple[object, ...]
    rank: str

    def mutate(self, code: str) -> str | None:
        """The module's code with the fault; None where that does not compile or is no change."""
        mutated = mutate_code(code, _operators()[self.operator], self.occurrence)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                same = ast.dump(ast.parse(mutated)) == ast.dump(ast.parse(code))
                compile(mutated, self.path, "exec")
        except SyntaxError:
            return None
        return None if same else str(mutated)


def sample(
    root: Path, patterns: Iterable[str], count: int, seed: int, tuning: Iterable[str] = ()
) -> list[Mutant]:
    """At most `count` mutants of the files, each at another place; tuning: constants left out."""
    paths = [path for pattern in patterns for path in sorted(root.glob(pattern))]
    twins: Counter[tuple[object, ...]] = Counter()
    codes = {path.relative_to(root).as_posix(): path.read_text() for path in paths}
    found = [
        mutant
        for path, code in codes.items()
        for mutant in _all_mutants(path, code, seed, twins, frozenset(tuning))
    ]
    chosen: dict[tuple[object, ...], Mutant] = {}
    for mutant in sorted(found, key=lambda mutant: mutant.rank):
        if len(chosen) == count:
            break
        if mutant.site not in chosen and mutant.mutate(codes[mutant.path]) is not None:
            chosen[mutant.site] = mutant
    return list(chosen.values())


def diff(mutant: Mutant, code: str, mutated: str) -> str:
    """The fault as a unified diff."""
    lines = difflib.unified_diff(
        code.splitlines(), mutated.splitlines(), mutant.path, mutant.path, lineterm="", n=2
    )
    return "\n".join(lines)


@functools.cache
def _operators() -> dict[str, Any]:
    provider = OperatorProvider()
    names = [name for name in provider if name not in _CONFIGURED and not _IDENTITY.match(name)]
    return {"RemoveStatement": RemoveStatement(), **{name: provider[name]() for name in names}}


def _all_mutants(
    path: str,
    code: str,
    seed: int,
    twins: Counter[tuple[object, ...]],
    tuning: frozenset[str],
) -> Iterator[Mutant]:
    lines = code.splitlines()
    nodes = list(ast_nodes(get_ast(code)))
    skipped = list(_equivalent(code, tuning))
    for name, operator in _operators().items():
        found = ((node, place) for node in nodes for place in operator.mutation_positions(node))
        for occurrence, (_, (start, end)) in enumerate(found):
            text = lines[start[0] - 1]
            # Two faults of one operator at one place, or on two lines of the same text
            twin = (name, text.strip(), start[1] - len(text) + len(text.lstrip()))
            twins[twin] += 1
            if any(first <= start and end <= last for first, last in skipped):
                continue
            rank = hashlib.sha256(repr((seed, *twin, twins[twin])).encode()).hexdigest()
            site = (path, start, name.partition("_")[0])
            yield Mutant(path, start[0], name, occurrence, site, rank)


def _equivalent(code: str, tuning: frozenset[str]) -> Iterator[tuple[Position, Position]]:
    """Where a fault changes no behaviour that is promised: from where to where.

    Annotations, what type checkers alone read, arguments of decorators, the wording of messages,
    and constants that trade time for memory.
    """
    lines = code.splitlines()

    def span(node: Any) -> tuple[Position, Position]:
        ends = ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
        first, last = (
            (line, len(lines[line - 1].encode()[:column].decode())) for line, column in ends
        )
        return first, last

    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.FunctionDef(returns=returns, decorator_list=decorators):
                yield from map(span, filter(None, [returns]))
                yield from (span(arg) for each in decorators for arg in _arguments(each))
            case ast.ClassDef(decorator_list=decorators):
                yield from (span(arg) for each in decorators for arg in _arguments(each))
            case ast.arg(annotation=annotation) | ast.AnnAssign(annotation=annotation):
                yield from map(span, filter(None, [annotation]))
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield span(node)
            case ast.Raise():
                texts = (each for each in ast.walk(node) if isinstance(each, ast.JoinedStr))
                yield from map(span, texts)
            case ast.Assign(targets=[target]) if _names(target) & tuning:
                yield span(node)


def _arguments(decorator: ast.expr) -> list[ast.AST]:
    if not isinstance(decorator, ast.Call):
        return []
    return [*decorator.args, *(keyword.value for keyword in decorator.keywords)]


def _names(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
