"""Files that say something of images, as tools write them: CSV, JSON lines, COCO, FiftyOne."""

from __future__ import annotations

import codecs
import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from pomona.errors import SourceError

# Names that tools give to a column, in lower case: the first that a file has is taken.
NAMES: dict[str, Sequence[str]] = {
    "path": (
        "path", "filepath", "file_path", "file", "filename", "file_name", "image", "image_path",
        "image_file", "image_name", "img", "img_path", "image_id", "id",
    ),
    "label": ("label", "labels", "class", "class_name", "classname", "category", "target", "tag"),
    "split": ("split", "subset", "set", "partition"),
}  # fmt: skip
DELIMITERS = (",", ";", "\t", "|")
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_columns(
    file: Path, needed: Sequence[str], optional: Sequence[str] = (), *, setting: str = "labels"
) -> tuple[pa.Table, list[str]]:
    """Reads a file that says something of images, one line or object for each path.

    Parameters
    ----------
    file : Path
        A CSV whose columns are separated by a comma, a semicolon, a tab or a bar; JSON lines, or a
        JSON list of objects; a COCO or FiftyOne export. In UTF-8, or in UTF-16 with its mark.
    needed, optional : sequence of str
        Its columns, "path" among them, under one of their `NAMES`. Others are ignored.
    setting : str
        The setting that named the file.

    Returns
    -------
    table : pyarrow.Table
        These columns, as strings without the blanks around them; an empty one is null.
    notes : list of str
        Which columns were taken for others.

    Raises
    ------
    SourceError
        If the file cannot be read, lacks a column, or names a path twice.
    """
    text = _read_text(file, setting)
    try:
        table = _from_json(text) if text.lstrip()[:1] in ("{", "[") else _from_csv(text, needed)
    except (ValueError, TypeError, KeyError, AttributeError) as exc:  # Arrow's, JSON's, of a shape
        reason = str(exc).partition("\n")[0]
        raise SourceError(
            f"cannot read the {setting} in {file}: {reason}; it must be a CSV with the columns "
            f"{','.join(needed)} in UTF-8"
        ) from exc
    table, notes = _choose(table, file, needed, optional)
    trimmed = [pc.utf8_trim_whitespace(column) for column in table.columns]
    table = pa.table([pc.if_else(pc.equal(c, ""), None, c) for c in trimmed], table.column_names)
    counts = table["path"].combine_chunks().value_counts()
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(twice):
        raise SourceError(
            f"{file} names a path twice ({twice[0].as_py()!r}): keep one line for each path"
        )
    return table, notes


def _read_text(file: Path, setting: str) -> str:
    try:
        data = file.read_bytes()
        return data.decode(_MARKS.get(data[:2], "utf-8-sig"))
    except FileNotFoundError as exc:
        raise SourceError(f"{file} does not exist: check `{setting}`") from exc
    except OSError as exc:
        reason = f"cannot read the {setting} in {file}: {exc.strerror}; check `{setting}`"
        raise SourceError(reason) from exc
    except UnicodeDecodeError as exc:
        raise SourceError(
            f"cannot read the {setting} in {file}: it is neither in UTF-8 nor in UTF-16"
        ) from exc


def _from_csv(text: str, needed: Sequence[str]) -> pa.Table:
    """A CSV, with the delimiter that gives the most of the needed columns."""
    head = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")

    def names_by(delimiter: str) -> int:
        names = {name.strip().lower() for name in next(csv.reader([head], delimiter=delimiter), [])}
        return sum(bool(names & {*NAMES.get(name, ()), name}) for name in needed)

    delimiter = max(DELIMITERS, key=names_by)
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    # Arrow's reading threads can outlive an error, and abort the process when it exits.
    read = pyarrow.csv.ReadOptions(use_threads=False)
    names = next(csv.reader([head], delimiter=delimiter), [])
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    return pyarrow.csv.read_csv(
        pa.BufferReader(text.encode()),
        read_options=read,
        parse_options=parse,
        convert_options=convert,
    )


def _from_json(text: str) -> pa.Table:
    """JSON lines, a list of objects, or one object as COCO and FiftyOne write them."""
    try:
        content = json.loads(text)
    except ValueError:
        content = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(content, dict):
        if "annotations" in content:
            content = _coco(content)
        elif "classes" in content and "labels" in content:
            content = _fiftyone(content)
        else:
            content = [content]
    names = list(dict.fromkeys(name for row in content for name in row))
    return pa.table(
        {name: pa.array([_text(row.get(name)) for row in content], pa.string()) for name in names}
    )


def _text(value: Any) -> str | None:
    """A value of JSON as text; a list or an object is none that a column could have."""
    if value is None or isinstance(value, (list, dict)):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _coco(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The category of each image of a COCO file, of which all its annotations must be."""
    names = {each["id"]: each["name"] for each in content["categories"]}
    found: defaultdict[Any, set[str]] = defaultdict(set)
    for each in content["annotations"]:
        found[each["image_id"]].add(names[each["category_id"]])
    rows = [
        {"path": image["file_name"], "label": sorted(found[image["id"]])}
        for image in content["images"]
    ]
    for row in rows:
        if len(row["label"]) > 1:
            raise ValueError(
                f"{row['path']!r} has several labels ({', '.join(row['label'][:3])}), and an image "
                "has one here"
            )
    return [{**row, "label": next(iter(row["label"]), None)} for row in rows]


def _fiftyone(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The labels of FiftyOne's classification export: by name, or by place among the classes."""
    classes = content["classes"]
    return [
        {"path": path, "label": classes[label] if isinstance(label, int) else label}
        for path, label in content["labels"].items()
    ]


def _choose(
    table: pa.Table, file: Path, needed: Sequence[str], optional: Sequence[str]
) -> tuple[pa.Table, list[str]]:
    """The columns that are wanted, under their own names, and notes of those that had others."""
    names = [name.strip() for name in table.column_names]
    if len(set(names)) != len(names):
        raise SourceError(f"{file} names a column twice: keep one of them")
    places = {name.lower(): place for place, name in reversed([*enumerate(names)])}
    taken: dict[str, int] = {}
    for wanted in (*needed, *optional):
        known = next((name for name in NAMES.get(wanted, (wanted,)) if name in places), None)
        if known is not None:
            taken[wanted] = places[known]
    missing = [name for name in needed if name not in taken]
    left = sorted(set(range(len(names))) - set(taken.values()))
    if len(missing) == len(left) == 1 and len(needed) > 1 and "path" in taken:
        taken[missing.pop()] = left[0]
    if missing:
        lines_of = [",".join(needed), *([",".join([*needed, *optional])] if optional else [])]
        raise SourceError(
            f"{file} has no column {' and no column '.join(sorted(missing))}: "
            f"its first line must name {' or '.join(lines_of)}"
        )
    notes = [
        f"{file.name}: the column {names[place]} is taken for {wanted}"
        for wanted, place in taken.items()
        if names[place].lower() != wanted
    ]
    return pa.table({wanted: table.column(place) for wanted, place in taken.items()}), notes
