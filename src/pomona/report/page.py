"""Page: the numbers of a store, and the page that shows them.

`numbers` gathers all that is said; the templates say it, `page.css` dresses it and `page.js` lets
the map be looked into. What comes from outside (labels, paths, details) is escaped by Jinja2, and
reaches the script as JSON alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import PurePath
from typing import Any

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pomona.backbones import registry
from pomona.backbones.spec import Backbone
from pomona.engines.workers import release_memory
from pomona.progress import duration
from pomona.report import counts, neighbours, projected, scatter, variance
from pomona.report.judgement import count, percent, sentences
from pomona.report.thumbnails import SIDE, to_base64
from pomona.store import schemas
from pomona.store.plan import label_count
from pomona.store.store import Store

RUNS_SHOWN = 20
LEGEND_SHOWN = 24
TIMES_SHOWN = 5
STAGES = {
    "scan": "find the images",
    "extract": "make the features",
    "pca": "fit the PCA",
    "project": "project and write",
    "report": "write this page",
}
WORKER_STAGES = {
    "fetch": "read the file",
    "decode": "decode and resize",
    "network": "network",
    "write": "write the tables",
}


def render(found: Mapping[str, Any], images: Mapping[str, bytes] | None = None) -> str:
    """The whole page: HTML that loads nothing, with a script for the map if there is one.

    images: what `pictures` asks for, WebP by path; None: the page is to show none.
    """
    environment = templates()
    encoded = to_base64(images or {})
    script = Markup(_source(environment, "page.js"))  # noqa: S704 - pomona's own file
    drawn = found["map"]
    return environment.get_template("template.html.j2").render(
        **found,
        images=encoded,
        has_images=images is not None,
        missing=0 if images is None else len(pictures(found)) - len(images),
        side=SIDE,
        legend_shown=LEGEND_SHOWN,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        map_json=Markup(scatter.to_json(drawn, encoded)) if drawn else None,  # noqa: S704 - has no <
    )


@cache
def templates() -> Environment:
    """The page's templates, compiled, which takes longer than to fill them."""
    environment = Environment(
        loader=PackageLoader("pomona", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bytes=in_bytes, count=count, duration=duration, percent=percent, whole="{:,}".format
    )
    for name in environment.list_templates(extensions=["j2"]):
        environment.get_template(name)
    return environment


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None  # noqa: S101
    return environment.loader.get_source(environment, name)[0]


def numbers(store: Store, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the page shows, by section, from a store's tables and this manifest."""
    release_memory()
    errors = store.errors()
    projection = store.find_projection() if manifest["pca"] else None
    of_plan = _of_plan(store, errors.num_rows)
    of_files, beginnings = _of_files(store)
    release_memory()
    images = schemas.METADATA.empty_table()
    if projection or len(beginnings):
        images = store.metadata(["path", "label", "split", "sha256"])
    copies = neighbours.copies(images, beginnings)
    rows = projected.load(store, projection, images) if projection else None
    del images
    runs = manifest["runs"][::-1]
    extracting = [run for run in runs if run["images"]]
    totals = of_plan["totals"]
    found = {
        "name": PurePath(manifest["source"]).name or manifest["source"],
        "source": manifest["source"],
        "store": str(store.files),
        **of_plan,
        "variance": variance.curve(projection) if projection else None,
        "added": variance.added_since(store, projection) if projection else None,
        "map": scatter.draw(rows, projection) if rows and projection else None,
        "ends": scatter.find_ends(rows, projection) if rows and projection else [],
        "copies": copies,
        "neighbours": neighbours.compare(rows) if rows else None,
        **of_files,
        "errors": counts.by_reason(errors),
        "recipe": {name: value for name, value in manifest["recipe"].items() if value is not None},
        "backbone": _backbone(manifest["recipe"]["backbone"]),
        "pca": manifest["pca"],
        "runs": runs[:RUNS_SHOWN],
        "runs_hidden": len(runs[RUNS_SHOWN:]),
        "last_run": extracting[0] if extracting else None,
        "times": [_times(run) for run in extracting[:TIMES_SHOWN]],
    }
    done = totals["features"] + totals["errors"]
    is_stopped = not totals["images"] == done == manifest["totals"]["images"]
    return {**found, "judgements": sentences(found, is_stopped)}


def _of_plan(store: Store, errors: int) -> dict[str, Any]:
    """The sections that count what was planned; errors: how many images have one."""
    plan = store.plan(["label", "split", "part"])
    totals = {
        "images": plan.num_rows,
        "errors": errors,
        "features": sum(store.rows_by_part("features", plan).values()),
        "labels": label_count(plan),
    }
    return {
        "totals": totals,
        "unlabelled": plan["label"].null_count,
        "labels": counts.by_label(plan),
    }


def _of_files(store: Store) -> tuple[dict[str, Any], pa.Array]:
    """The sections that count the images' files, and what `neighbours.repeated` says of these."""
    files = store.metadata(["size_bytes", "width", "height", "format", "sha256"])
    sections = {
        "formats": counts.by_kind(files["format"]),
        "sizes": counts.by_kind(counts.sizes(files)),
        "file_sizes": counts.file_sizes(files),
        "most_pixels": counts.most_pixels(files),
    }
    return sections, neighbours.repeated(files["sha256"])


def pictures(found: Mapping[str, Any]) -> dict[str, str]:
    """path → SHA-256 of the images whose pictures the page wants, the most important first."""
    listed = list(_shown(found))
    return {image["path"]: image["sha256"] for image in listed if image["sha256"] is not None}


def _shown(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    near = found["neighbours"]
    if near:
        for pair in (*near["label_pairs"], *near["pairs"]):
            yield from pair["images"]
        yield from near["odd"]
        yield from near["lonely"]
    for end in found["ends"]:
        yield from (*end["low"], *end["high"])
    if found["map"]:
        yield from found["map"]["images"]


def _times(run: dict[str, Any]) -> dict[str, Any]:
    """Where a run's time went: on the driver by stage, in the workers by what they did."""
    seconds, worker = run["seconds"], run.get("worker_seconds", {})
    return {
        **run,
        "stages": [(text, seconds[name]) for name, text in STAGES.items() if seconds.get(name)],
        "inside": [(text, worker[name]) for name, text in WORKER_STAGES.items() if name in worker],
    }


def _backbone(name: str) -> Backbone | None:
    """What is known of a backbone; None of one that is not pomona's, as with imported features."""
    return registry.find(name)


def in_bytes(size: int) -> str:
    """A size in the largest unit that it reaches: 4.9 kB."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f}\N{NO-BREAK SPACE}{unit}"
    return f"{size}\N{NO-BREAK SPACE}bytes"
