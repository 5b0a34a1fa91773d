"""What was measured: kept case by case as JSON, told as a table and as a chart."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.arithmetic import core_hours
from benchmarks.cases import CASES
from benchmarks.measuring import ROOT, Measure

RESULTS = ROOT / "benchmarks" / "results" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "images" / "performance.svg"
# What is between these, the first with a name, is written by `make bench`.
BEGIN, END = "<!-- make bench: {name} -->", "<!-- /make bench -->"
# The chart's bars beside that of `pomona run`, which is 1: label, case, measure; in the second half
# the measures tell how many times faster `pomona run` is.
AS_FAST = (
    ("pomona run, bfloat16", "speed", "bfloat16 / float32, all in"),
    ("pomona run --engine spark", "speed", "`spark`, steady / `local`, steady"),
)
SLOWER = (
    ("the network alone, in memory", "speed", "`local`, all in / bare limit"),
    ("Daft, the same network, tuned", "speed", "`local` / Daft, tuned, all in"),
    ("Daft, the same network", "speed", "`local` / Daft, with its defaults, all in"),
    ("Keras on Spark, batches", "original", "`local` / Keras on Spark, batches"),
    ("Keras on Spark, one by one", "original", "`local` / Keras on Spark, one image at a time"),
)

Results = dict[str, dict[str, Any]]


def load(file: Path) -> Results:
    """By case; empty where nothing was measured yet."""
    results: Results = json.loads(file.read_text()) if file.exists() else {}
    return results


def save(file: Path, case: str, about: dict[str, Any], measures: list[Measure]) -> None:
    """Puts a case in the place of what it was before."""
    results = load(file)
    told = [
        {**asdict(each), "values": [_rounded(value) for value in each.values]} for each in measures
    ]
    results[case] = {**about, "measures": told}
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_suffix(".new")
    whole.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    whole.replace(file)


def _rounded(value: float) -> float:
    """Four digits, which is more than anything here repeats to."""
    return float(f"{value:.4g}")


def measures(results: Results, case: str) -> dict[str, Measure]:
    """Those of a case, by name."""
    return {each["name"]: Measure(**each) for each in results[case]["measures"]}


def table(results: Results) -> str:
    """Markdown: of each case what is to be shown; behind it on what it was measured."""
    told, where = [], []
    for case in (case for case in CASES if case in results):
        rows = [_row(each) for each in measures(results, case).values() if each.shown]
        told += [f"| {CASES[case]} | median | spread | rounds | goal |", "|---|---|---|---|---|"]
        told += [*rows, ""]
        where.append(_where(results[case]))
    return "\n".join([*told, *(f"*{each}*" for each in dict.fromkeys(where))])


def _where(about: dict[str, Any]) -> str:
    machine = about["machine"]
    return (
        f"{about['when'][:10]}: {machine['processor']}, {machine['cores']} cores, "
        f"{about['workers']} workers; photographs: {about['photographs']}."
    )


def _row(each: Measure) -> str:
    unit = f" {each.unit}" if each.unit else ""
    spread = f"{_short(min(each.values))} to {_short(max(each.values))}"
    count = len(each.values)
    return (
        f"| {each.name} | {_short(each.median)}{unit} | {spread if count > 1 else ''} | {count} "
        f"| {each.goal} |"
    )


def _short(value: float) -> str:
    if value != 0 and abs(value) < 0.001:
        return f"{value:.0e}"
    return f"{value:.3f}" if 0.9 < abs(value) < 1.1 else f"{value:.3g}"


def blocks(results: Results) -> dict[str, str]:
    """What the page holds of the results, by name."""
    of = {case: measures(results, case) if case in results else {} for case in CASES}
    return {"table": table(results), "core-hours": core_hours(of["speed"], of["pca"])}


def update_page(page: Path, results: Results) -> None:
    """Puts each block between its marks on the page. Raises ValueError where it has none."""
    text = page.read_text(encoding="utf-8")
    for name, block in blocks(results).items():
        before, begin, rest = text.partition(BEGIN.format(name=name))
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise ValueError(f"{page} has no {BEGIN.format(name=name)} with {END} behind it")
        text = f"{before}{begin}\n\n{block}\n\n{end}{after}"
    page.write_text(text, encoding="utf-8")


def draw_chart(file: Path, results: Results) -> None:
    """Speeds of extraction beside that of `pomona run`, as SVG; the same results, the same bytes.

    Draws what was measured; nothing where that is no comparison, or without matplotlib.
    """
    bars = [("pomona run", 1.0)]
    for label, case, name in (*AS_FAST, *SLOWER):
        found = measures(results, case).get(name) if case in results else None
        if found:
            slower = (label, case, name) in SLOWER
            bars.append((label, 1 / found.median if slower else found.median))
    bars.sort(key=lambda bar: -bar[1])
    if len(bars) == 1 or importlib.util.find_spec("matplotlib") is None:
        return
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "pomona", "font.size": 11}):
        drawn = Figure(figsize=(8, 0.5 * len(bars) + 0.6), layout="constrained")
        axes = drawn.add_subplot()
        labels, values = zip(*bars[::-1], strict=True)
        colours = ["#b3541e" if label.startswith("pomona") else "#9a9a9a" for label in labels]
        shown = axes.barh(labels, values, color=colours)
        axes.bar_label(shown, [f"{value:.2f}" for value in values], padding=4)
        axes.set_xticks([])
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        drawn.suptitle("Speed of extraction (pomona run = 1)", x=0.02, ha="left")
        file.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(file, metadata={"Date": None})
