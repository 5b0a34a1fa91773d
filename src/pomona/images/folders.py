"""Folders: labels and splits of images, from the names of the folders that they are in."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pomona.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

PARENT, TOP = "parent", "top"
# Names that tools give to splits: train, Training, val2017, test_set, hold-out.
_BEHIND = r"(?:[-_ ]?(?:set|data|split|images|[12]\d{3}))?"
_SPLIT = re.compile(
    r"(?:train(?:ing)?|val(?:id(?:ation)?)?|dev|eval(?:uation)?|test(?:ing)?|hold[-_ ]?out)"
    + _BEHIND,
    re.IGNORECASE,
)
# The names of splits to test on, the first kind that there is.
_TESTS = tuple(
    re.compile(kind + _BEHIND, re.IGNORECASE)
    for kind in (r"(?:test(?:ing)?|hold[-_ ]?out)", r"eval(?:uation)?")
)
# So many letters tell the kinds of splits from each other.
_KIND = 3
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class FolderRules:
    """How folders become labels and splits.

    Parameters
    ----------
    label_from : str
        "parent": the innermost folder; "top": the topmost, below the split; a number N: the Nth
        from the top, the split not counted; or a regular expression, searched for in the path,
        whose group "label" is the label and whose group "split", if it has one, the split.
    splits : bool, optional
        Whether folders with names of splits are splits. None: where the tree looks like it.

    Raises
    ------
    UsageError
        For a `label_from` that is none of these.
    """

    label_from: str = PARENT
    splits: bool | None = None
    pattern: re.Pattern[str] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if self.label_from in (PARENT, TOP) or re.fullmatch("[1-9][0-9]?", self.label_from):
            return
        try:
            pattern = re.compile(self.label_from)
        except re.error as exc:
            raise UsageError(f"`label_from` {self.label_from!r} is no pattern: {exc}") from exc
        if "label" not in pattern.groupindex:
            raise UsageError(
                f"`label_from` {self.label_from!r}: give parent, top, the number of a folder, or a "
                r"pattern with a group label, such as '(?P<label>\w+)\.\d+\.jpg'"
            )
        object.__setattr__(self, "pattern", pattern)

    @property
    def is_default(self) -> bool:
        """Whether nothing else was asked for than labels and splits as a tree suggests them."""
        return self.label_from == PARENT and self.splits is None


def find_test_splits(splits: Iterable[str]) -> list[str]:
    """Returns those of some splits whose images a model is tested on.

    Parameters
    ----------
    splits : iterable of str
        Names of splits, such as train, valid and test.
    """
    names = sorted(set(splits))
    found = ([name for name in names if kind.fullmatch(name)] for kind in _TESTS)
    return next(filter(None, found), [])


def check_labelling(labels: Path | None, label_from: str) -> None:
    """Checks that labels have one origin. Raises UsageError."""
    if labels is not None and label_from != PARENT:
        raise UsageError("`labels` and `label_from` cannot be combined: give one")


def label_by_folders(
    catalog: pa.Table, rules: FolderRules, containers: frozenset[str] = frozenset()
) -> tuple[pa.Table, list[str]]:
    """Gives a catalog the labels and splits that its folders stand for.

    Parameters
    ----------
    catalog : pyarrow.Table
        Of schema `schemas.CATALOG`.
    rules : FolderRules
        How to read the folders.
    containers : frozenset of str
        What paths begin with that is no folder: of its name only the split counts, of the folders
        that it is in those that not all containers share.

    Returns
    -------
    catalog : pyarrow.Table
        With labels, in Unicode's composed form (NFC), and splits.
    notes : list of str
        How a name that may be a class or a split was taken.
    """
    # The command line needs this module before its workers are started.
    import pyarrow as pa
    import pyarrow.compute as pc

    # Each folder is read once, however many images it has.
    own = pc.replace_substring_regex(catalog["path"], "/?[^/]*$", "").combine_chunks()
    encoded = own.dictionary_encode()
    stands_for = _stand_for(containers)
    folder_of = [_folder(folder, stands_for) for folder in encoded.dictionary.to_pylist()]
    found, notes = find_splits(set(folder_of), rules.splits)
    pairs = [_read(folder, found, rules.label_from) for folder in folder_of]
    rows = encoded.indices
    if rules.pattern is not None:
        paths = zip(catalog["path"].to_pylist(), rows.to_pylist(), strict=True)
        pairs = [_by_pattern(rules.pattern, path, pairs[row]) for path, row in paths]
        rows = pa.array(range(len(pairs)))
    for name, values in zip(("label", "split"), zip(*pairs, strict=True), strict=True):
        index = catalog.schema.get_field_index(name)
        column = pa.array(values, pa.string()).take(rows)
        catalog = catalog.set_column(index, catalog.schema.field(index), column)
    return catalog, notes


def _folder(folder: str, stands_for: Mapping[str, str]) -> str:
    """What a folder stands for; data/train-0001.tar/apple is train/apple."""
    components = folder.split("/")
    for depth in range(1, len(components) + 1) if stands_for else ():
        found = stands_for.get("/".join(components[:depth]))
        if found is not None:
            return "/".join(filter(None, [found, *components[depth:]]))
    return folder


def _stand_for(containers: Iterable[str]) -> dict[str, str]:
    """The folders that containers stand for: data/train-0001.tar for train, cats/1.tar for cats.

    Folders that all of them are in say nothing, unless they are named as splits.
    """
    above = {name: name.split("/")[:-1] for name in containers}
    shared = os.path.commonprefix(list(above.values()))  # noqa: RUF071, of lists it is right
    splits = [name for name in shared if _SPLIT.fullmatch(name)]
    return {
        name: "/".join(filter(None, [*splits, *folders[len(shared) :], _split_of(name)]))
        for name, folders in above.items()
    }


def _split_of(container: str) -> str:
    """The split that a container's name says, such as train-0001.tar; else nothing."""
    stem = re.sub(r"[-_]?\d+([-_]of[-_]\d+)?$", "", container.rpartition("/")[2].partition(".")[0])
    split = re.split("[-_]", stem)[-1]
    return split if _SPLIT.fullmatch(split) else ""


def find_splits(folders: Iterable[str], wanted: bool | None) -> tuple[set[str], list[str]]:
    """Finds the folders that are splits.

    Parameters
    ----------
    folders : iterable of str
        The folders that hold images, relative to the source.
    wanted : bool, optional
        Whether the names alone decide. None: the names beside them, too.

    Returns
    -------
    splits : set of str
        These folders.
    notes : list of str
        How names that may be classes or splits were taken.
    """
    children: defaultdict[str, set[str]] = defaultdict(set)
    holding = set(folders)
    for folder in holding:
        at = folder
        while at:
            above, _, name = at.rpartition("/")
            if name in children[above]:
                break
            children[above].add(name)
            at = above
    splits: set[str] = set()
    notes: list[str] = []
    for above in sorted(children) if wanted is not False else []:
        named = sorted(name for name in children[above] if _SPLIT.fullmatch(name))
        others = sorted(children[above] - set(named))
        are_splits = bool(wanted) or not others or _look_like_splits(children, above, named, others)
        if are_splits:
            splits.update(_join(above, name) for name in named)
        if named and others and wanted is None:
            notes.append(_note(named, others, are_splits=are_splits))
    return splits, sorted(set(notes))


def _look_like_splits(
    children: dict[str, set[str]], above: str, named: list[str], others: list[str]
) -> bool:
    """Whether folders with names of splits are splits, though there are others beside them."""
    kinds = {name[:_KIND].lower() for name in named}
    if "tra" in kinds and len(kinds) > 1:
        return True
    inside = [children.get(_join(above, name), set()) for name in named]
    beside = [children.get(_join(above, name), set()) for name in others]
    has_labels = all(inside)
    shared = set().union(*inside) & set().union(*beside)
    return has_labels and (bool(shared) or not any(beside))


def _note(named: list[str], others: list[str], *, are_splits: bool) -> str:
    """How names that may be classes or splits were taken, in words."""
    names, beside = _in_words(named), _in_words(others)
    if are_splits:
        return f"taken as splits: {names}, beside {beside}; `no_splits` takes them as labels"
    return f"taken as labels: {names}, beside {beside}; `splits` takes them as splits"


def _in_words(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _join(above: str, name: str) -> str:
    return f"{above}/{name}" if above else name


def _read(folder: str, splits: set[str], label_from: str) -> tuple[str | None, str | None]:
    """The label and the split of the images in a folder; the topmost split counts."""
    components = folder.split("/") if folder else []
    at = next(
        (index for index in range(len(components)) if "/".join(components[: index + 1]) in splits),
        None,
    )
    split = None if at is None else components[at]
    if label_from == TOP:
        below = components if at is None else components[at + 1 :]
        label = below[0] if below else None
    elif label_from.isdecimal():
        others = [name for index, name in enumerate(components) if index != at]
        label = others[int(label_from) - 1] if int(label_from) <= len(others) else None
    else:
        label = components[-1] if components and at != len(components) - 1 else None
    return _composed(label), split


def _by_pattern(
    pattern: re.Pattern[str], path: str, pair: tuple[str | None, str | None]
) -> tuple[str | None, str | None]:
    """The label and the split by a pattern; pair: those by the folders."""
    match = pattern.search(path)
    if match is None:
        return None, pair[1]
    split = match["split"] if "split" in pattern.groupindex else pair[1]
    return _composed(match["label"]), split


def _composed(label: str | None) -> str | None:
    return label if label is None or label.isascii() else unicodedata.normalize("NFC", label)
