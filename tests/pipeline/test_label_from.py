"""Labels from other folders: written anew without the network; stores of 0.1.0 keep their rule."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from conftest import Pomona, contents, draw_photos

QUIET = ("--workers", "1")


def labels(out: Path) -> set[tuple[str | None, str | None]]:
    rows = pq.read_table(out / "features").to_pylist()
    return {(row["label"], row["split"]) for row in rows}


def test_relabelling_runs_no_image_and_an_old_store_keeps_its_rule(
    pomona: Pomona, tmp_path: Path
) -> None:
    drawn = sorted(draw_photos(tmp_path / "drawn", 6).rglob("*.jpg"))
    photos = tmp_path / "photos"
    for number, path in enumerate(drawn):
        folder = photos / ("a/bus", "a/car", "a/train")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / f"{number}.jpg")
    out = tmp_path / "out"
    first = pomona.done("run", photos, out, *QUIET)
    assert "taken as labels: train, beside bus, car; --splits takes them as splits" in first.stderr
    assert labels(out) == {("bus", None), ("car", None), ("train", None)}

    pomona.done("run", photos, out, "--label-from", "top", *QUIET)
    assert labels(out) == {("a", None)}
    manifest = json.loads((out / "pomona.json").read_text())
    assert manifest["runs"][-1]["images"] == 0

    pomona.done("run", photos, out, "--splits", *QUIET)
    by_the_old_rule = {("bus", None), ("car", None), (None, "train")}
    assert labels(out) == by_the_old_rule
    manifest = json.loads((out / "pomona.json").read_text())
    del manifest["folders"]  # as 0.1.0 wrote it
    (out / "pomona.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    before = contents(out)
    pomona.done("run", photos, out, *QUIET)
    assert contents(out) == before
