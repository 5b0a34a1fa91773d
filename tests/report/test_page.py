from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from page_stores import Page, error, fit, image, needed, run, write_report, write_store

from pomona.backbones import registry
from pomona.extraction.error_rows import drop_errors, find_errors
from pomona.pca.moments import measure, solve
from pomona.report import page as pages
from pomona.report.formatting import percent
from pomona.report.page import gather
from pomona.report.sections.variance import SHARES
from pomona.store import schemas
from pomona.store.layout import PLAN, REPORT
from pomona.store.recipe import Recipe
from pomona.store.store import Store

NBSP = "\N{NO-BREAK SPACE}"
NASTY = "<img src=x onerror=alert(1)> \"Ünï\" & '😀'"

MakeStore = Callable[..., tuple[Store, dict[str, Any]]]


def render(store: Store, manifest: dict[str, Any]) -> str:
    return pages.render(gather(store, manifest))


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    return functools.partial(write_store, tmp_path / "out")


def test_a_real_store(finished: Path) -> None:
    store = Store(finished)
    html = store.files.read(REPORT).decode()
    page = Page(html)
    manifest = store.manifest
    assert "Every image has features. Each of the 4 labels has 10 images." in page.text
    k, held = manifest["pca"]["components"], percent(manifest["pca"]["variance_explained"])
    assert f"Components {k} explain {held.replace(NBSP, ' ')} of the variance" in page.text
    assert page.table("Label") == [
        ["Apple Red 1", "", "8", "2", "10"],
        ["Crème brûlée", "", "8", "2", "10"],
        ["Pear", "", "8", "2", "10"],
        ["Plum 2", "", "8", "2", "10"],
    ]
    assert manifest["runs"][0]["command"] in page.text
    assert manifest["recipe"]["digest"] in page.text
    assert manifest["pca"]["projection_id"] in page.text
    backbone = registry.get(manifest["recipe"]["backbone"])
    assert backbone.licence in page.text
    assert backbone.origin in page.text
    formats = Counter(store.metadata()["format"].to_pylist())
    assert page.table("Format") == [[name, str(n)] for name, n in formats.most_common()]
    sizes = page.table("Width × height (pixels)")
    assert {name for name, _ in sizes} == {"40 × 48", "48 × 48", "56 × 48"}
    assert sum(int(n) for _, n in sizes) == 40
    write_report(store, manifest)
    again = Page(store.files.read(REPORT).decode())
    # Only now is it known how long the page took.
    assert again.table("Stage")[-1][0] == "write this page"
    assert again.tables[:6] == page.tables[:6]


def test_a_missing_package_fails_only_where_ci_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(ModuleNotFoundError):
        needed("no_such_package_at_all")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        needed("no_such_package_at_all")


def test_counts_per_label_and_split(make_store: MakeStore) -> None:
    wanted = {
        ("Apple 2", "Training"): 1200,
        ("Apple 2", "Test"): 7,
        ("Apple 10", "Training"): 3,
        ("Apple 10", "Test"): 3,
        ("banana", None): 2,
        (None, "Test"): 1,
    }
    images = [
        image(f"{label}/{split}/{i}.jpg", label, split)
        for (label, split), n in wanted.items()
        for i in range(n)
    ]
    page = Page(render(*make_store(images)))
    assert page.table("Label") == [
        ["Apple 2", "", "1,200", "7", "0", "1,207"],
        ["Apple 10", "", "3", "3", "0", "6"],
        ["banana", "", "0", "0", "2", "2"],
        ["(no label)", "", "0", "1", "0", "1"],
    ]
    headings = next(table[0] for table in page.tables if table[0][0] == "Label")
    assert headings == ["Label", "Images", "Training", "Test", "(no split)", "Total"]
    bars = [attrs for tag, attrs in page.tags if tag == "i"]
    assert [bar["class"] for bar in bars] == ["c0", "c1", "c0", "c1", "c2", "c1"]
    assert "The 3 labels have between 2 and 1,207 images each." in page.text


def test_of_many_splits_the_rarest_share_a_column(make_store: MakeStore) -> None:
    images = [image(f"{i}", "one", f"fold {i % 9}") for i in range(90)]
    (row,) = Page(render(*make_store(images))).table("Label")
    assert row == ["one", "", "10", "10", "10", "10", "10", "40", "90"]


def test_without_splits_there_are_no_split_columns(make_store: MakeStore) -> None:
    page = Page(render(*make_store([image("a", "one"), image("b", "one")])))
    assert page.table("Label") == [["one", "", "2"]]
    assert "The only label has 2 images." in page.text


@pytest.mark.parametrize(("labels", "listed"), [(1_000, 1_000), (2_500, 2_030)])
def test_many_labels(make_store: MakeStore, labels: int, listed: int) -> None:
    page = Page(render(*make_store([image(f"{i}", f"label {i}") for i in range(labels)])))
    assert page.table("Label") == [[f"label {i}", "", "1"] for i in range(listed)]
    tables = [table for table in page.tables if table[0][0] == "Label"]
    assert len(tables[0]) == 31
    assert f"{labels - 30:,} more" in page.text
    assert ("more are not listed here" in page.text) == (labels > listed)
    assert f"Each of the {labels:,} labels has 1 image." in page.text


@pytest.mark.parametrize("requested", [("variance", 0.9), ("components", 3), ("components", 19)])
def test_components_needed_are_those_of_numpy(
    make_store: MakeStore, requested: tuple[str, float]
) -> None:
    projection = fit(requested)
    images = [image(f"{i}", "one") for i in range(60)]
    store, manifest = make_store(images, projection=projection)
    page = Page(render(store, manifest))
    cumulative = np.cumsum(projection.variances) / projection.variances.sum()
    needed = [str(int(np.argmax(cumulative >= share)) + 1) for share in SHARES]
    assert page.table("To explain") == [["components needed", *needed]]
    component = page.table("Component")
    assert len(component) == projection.k
    assert component[-1] == [str(projection.k), *component[-1][1:]]
    assert component[-1][2] == f"{100 * cumulative[projection.k - 1]:.2f}\xa0%"
    variance = gather(store, manifest).sections["variance"]
    curve = dict(variance.curve)
    assert curve[projection.k] == pytest.approx(projection.variance_explained)
    assert list(curve) == sorted(curve)
    assert variance.last == max(projection.k, int(needed[-1]))


def test_the_variance_chart_stays_within_its_frame(make_store: MakeStore) -> None:
    store, manifest = make_store([image(f"{i}") for i in range(60)], projection=fit())
    page = Page(render(store, manifest))
    (svg,) = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert svg["role"] == "img"
    assert "preserveaspectratio" not in svg
    labelled = str(svg["aria-labelledby"]).split()
    assert labelled == [attrs["id"] for tag, attrs in page.tags if tag == "title" and attrs] + [
        attrs["id"] for tag, attrs in page.tags if tag == "desc"
    ]
    (line,) = [attrs["points"] for tag, attrs in page.tags if tag == "polyline"]
    points = [tuple(map(float, point.split(","))) for point in str(line).split()]
    assert all(0 <= x <= 560 and 0 <= y <= 316 for x, y in points)
    assert all(
        before[0] <= after[0] and before[1] >= after[1]
        for before, after in itertools.pairwise(points)
    )


def test_two_images_have_one_component(make_store: MakeStore) -> None:
    page = Page(render(*make_store([image("a"), image("b")], projection=fit(n=2))))
    assert page.table("To explain") == [["components needed", "1", "1", "1", "1"]]
    assert "Components 1 explains 100.0 % of the variance" in page.text
    assert "the 1 kept component explains 100.0 % of the variance" in page.text
    assert "No image has a label." in page.text


def test_images_that_are_all_the_same_have_no_variance(make_store: MakeStore) -> None:
    projection = solve(measure(np.ones((3, 5), np.float32)), ("variance", 0.9))
    page = Page(render(*make_store([image("a"), image("b"), image("c")], projection=projection)))
    assert "there is no variance to explain" in page.text
    assert not page.table("To explain")


def test_an_empty_store(make_store: MakeStore) -> None:
    page = Page(render(*make_store()))
    assert "The store holds no images." in page.text
    assert "No run has finished yet." in page.text
    assert "Last run" not in page.text


def test_one_image_has_no_components(make_store: MakeStore) -> None:
    page = Page(render(*make_store([image("a", "one")], runs=[run(1)])))
    assert "a PCA needs the features of at least two images, the store holds 1." in page.text
    assert "The only label has 1 image." in page.text


def test_features_that_are_not_reduced_name_the_command(make_store: MakeStore) -> None:
    store, manifest = make_store([image("a"), image("b")])
    assert f"run pomona reduce {store.files}." in Page(render(store, manifest)).text


def test_a_stopped_run_is_reported(make_store: MakeStore) -> None:
    store, manifest = make_store([image("a"), image("b")])
    manifest["totals"] = dict.fromkeys(manifest["totals"], 0)
    assert "A run of this store was stopped" in Page(render(store, manifest)).text


def test_errors_that_a_stopped_run_was_retrying_count_as_missing(make_store: MakeStore) -> None:
    images = [image(f"{i}", "one") for i in range(12)]
    store, manifest = make_store(images, [error("3"), error("7")])
    plan = store.plan()
    drop_errors(store, plan, find_errors(store, plan, plan, "all"))
    page = Page(render(store, manifest))
    assert "A run of this store was stopped, 2 of 12 images are missing: run the same" in page.text
    assert "Every image has features" not in page.text
    assert "Images12 10 with features" in page.text


def test_a_run_killed_before_its_first_part_shows_the_planned_images(
    make_store: MakeStore,
) -> None:
    store, manifest = make_store()
    rows = [{**image(str(i), f"label {i % 4}"), "part": i // 100} for i in range(400)]
    store.write_table(PLAN, pa.Table.from_pylist(rows, schemas.PLAN))
    page = Page(render(store, manifest))
    assert "A run of this store was stopped, 400 of 400 images are missing" in page.text
    assert "The store holds no images" not in page.text
    assert [row[-1] for row in page.table("Label")] == ["100"] * 4


def test_a_fit_on_fewer_images_is_reported(make_store: MakeStore) -> None:
    images = [image(f"{i}") for i in range(1070)]
    page = Page(render(*make_store(images, projection=fit())))
    assert "fitted on 60 images, the store holds features of 1,070 now." in page.text


def test_errors_are_grouped_by_reason_with_advice(make_store: MakeStore) -> None:
    kinds = ["empty"] * 2 + ["truncated"] * 150 + ["not_found"]
    unread = {"width": None, "height": None, "format": None}
    images = [image(f"{i}.jpg", "one", **unread) for i in range(len(kinds))]
    images += [image(f"good {i}.jpg", "one") for i in range(2000)]
    errors = [
        error(f"{i}.jpg", kind, "unexpected end", "fetch" if kind == "not_found" else "decode")
        for i, kind in enumerate(kinds)
    ]
    page = Page(render(*make_store(images, errors)))
    assert "153 of 2,153 images failed, a high error rate: see Errors below." in page.text
    heads = [
        "150 images: truncated (decode)",
        "2 images: empty (decode)",
        "1 image: not found (fetch)",
    ]
    assert sorted(heads, key=page.text.index) == heads
    for kind in set(kinds):
        assert schemas.REASONS[kind].advice in page.text
    assert "The first 100 paths" in page.text
    assert [f"{i}.jpg unexpected end" in page.text for i in (0, 2, 101, 102, 152)] == [
        True,
        True,
        True,
        False,
        True,
    ]
    assert page.table("Format") == [["JPEG", "2,000"], ["not known", "153"]]


def test_a_store_of_errors_alone(make_store: MakeStore) -> None:
    page = Page(render(*make_store([image("a"), image("b")], [error("a"), error("b")])))
    assert "No image has features: see Errors below." in page.text
    assert "the store holds 0." in page.text


def test_dimensions_beyond_ten_are_counted_as_others(make_store: MakeStore) -> None:
    images = [image(f"{i}", width=i % 14 + 1) for i in range(28 + 3)]
    rows = Page(render(*make_store(images))).table("Width × height (pixels)")
    assert rows[:3] == [["1 × 100", "3"], ["2 × 100", "3"], ["3 × 100", "3"]]
    assert rows[-1] == ["4 others", "8"]
    assert len(rows) == 11
    rows = Page(render(*make_store(images[:11]))).table("Width × height (pixels)")
    assert rows[-1] == ["1 other", "1"]


def test_labels_paths_and_details_are_escaped(make_store: MakeStore) -> None:
    path = rf"{NASTY}/bell\x07 \\.jpg"
    images = [image(path, NASTY, NASTY, format=NASTY), image("b", "x", "train")]
    recipe = Recipe(NASTY, None, None, None, 5, fit=NASTY)
    store, manifest = make_store(
        images,
        [error(path, "corrupt", NASTY)],
        runs=[run(1, f"pomona run {NASTY}")],
        recipe=recipe,
        source=f"/data/{NASTY}",
    )
    html = render(store, manifest)
    page = Page(html)
    assert "<img" not in html
    assert not [tag for tag, _ in page.tags if tag in ("img", "script")]
    assert path in page.text
    assert NASTY in [row[0] for row in page.table("Label")]
    assert NASTY in [row[0] for row in page.table("Format")]
    assert f"pomona run {NASTY}" in page.text
    assert page.text.count(NASTY) >= 10


def test_the_page_loads_nothing(finished: Path) -> None:
    html = Store(finished).files.read(REPORT).decode()
    page = Page(html)
    assert {"link", "iframe", "object"}.isdisjoint(tag for tag, _ in page.tags)
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert len(sources) > 40
    assert all(str(source).startswith("data:image/webp;base64,") for source in sources)
    assert all(tag == "a" for tag, attrs in page.tags if "href" in attrs)
    assert not [attrs for _, attrs in page.tags if any(key.startswith("on") for key in attrs)]
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = [attrs for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs]
    script = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert policy["content"] == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_imported_features_have_no_weights(make_store: MakeStore) -> None:
    recipe = Recipe("imported", None, "c" * 64, None, 8, "imported", None, None, None, None, None)
    unread = {"width": None, "height": None, "format": None}
    images = [image("a", **unread), image("b", **unread)]
    page = Page(render(*make_store(images, runs=[run(0)], recipe=recipe)))
    assert "licence" not in page.text
    assert "None" not in [cell for table in page.tables for row in table for cell in row]
    assert page.table("Format") == [["not known", "2"]]


def test_runs_are_listed_newest_first_with_the_command_to_repeat(make_store: MakeStore) -> None:
    runs = [run(3, "pomona run a out"), run(9, "pomona run b out"), run(0, "pomona reduce out")]
    page = Page(render(*make_store([image("a")], runs=runs)))
    assert [row[1] for row in page.table("Started (UTC)")] == [
        "pomona reduce out",
        "pomona run b out",
        "pomona run a out",
    ]
    cells = [
        "2026-11-21 01:44",
        "pomona run b out",
        "local × 2",
        "9",
        "51.4",
        "75.0",
        "265 + 1,290",
    ]
    assert page.table("Started (UTC)")[1] == cells
    assert "To repeat the run pomona run b out Runs" in page.text
    assert "1 min 15 s 9 images, extracted at 51.4/s; before this page" in page.text
    runs[1]["seconds"]["report"] = 0.4
    page = Page(render(*make_store([image("a")], runs=runs)))
    assert "51.4/s Backbone" in page.text


def test_only_the_last_runs_are_shown(make_store: MakeStore) -> None:
    page = Page(render(*make_store([image("a")], runs=[run()] * 25)))
    assert len(page.table("Started (UTC)")) == 20
    assert "5 earlier runs: see pomona.json." in page.text
