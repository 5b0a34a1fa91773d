from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from page_stores import fit, image, needed, run, write_store
from PIL import Image

from conftest import Pomona
from pomona.report import draw

needed("matplotlib")

NAMES = ["variance", "map", "labels", "times"]


@pytest.mark.parametrize("image_format", ["png", "svg"])
def test_figures_are_drawn(
    pomona: Pomona, finished: Path, tmp_path: Path, image_format: str
) -> None:
    folder = tmp_path / "slides" / "figures"
    done = pomona.done("report", finished, "--figures", folder, "--format", image_format, "--json")
    files = [folder / f"{name}.{image_format}" for name in NAMES]
    assert json.loads(done.stdout)["figures"] == [str(file) for file in files]
    for file in files:
        if image_format == "svg":
            assert "</svg>" in file.read_text()
        else:
            drawn = np.asarray(Image.open(file).convert("L"))
            assert drawn.shape == (1000, 1600)
            assert drawn.std() > 5


def test_a_figure_without_data_is_not_drawn(tmp_path: Path) -> None:
    store, manifest = write_store(tmp_path / "out", [image("a", "$x$ {y} 😀")], runs=[run(1)])
    assert [file.stem for file in draw(store, manifest, tmp_path, "png")] == ["labels", "times"]
    many = [image(str(i), f"label {i}") for i in range(60)]
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    store, manifest = write_store(
        tmp_path / "many", many, projection=fit(("components", 3)), projected=points
    )
    assert [file.stem for file in draw(store, manifest, tmp_path, "svg")] == NAMES[:3]


def test_an_empty_store_has_no_figures(tmp_path: Path) -> None:
    write_store(tmp_path / "out")
    # No folder for its cache: of that matplotlib speaks when it is imported.
    pomona = Pomona(env={"MPLCONFIGDIR": os.devnull + "/none"})
    done = pomona.done("report", tmp_path / "out", "--figures", tmp_path / "figures", "--json")
    assert json.loads(done.stdout)["figures"] == []
    assert done.stderr == ""


def test_unusual_labels_are_drawn_without_warnings_and_leave_room_for_the_dots(
    pomona: Pomona, tmp_path: Path
) -> None:
    names = ["_underscore", "long " * 100, "😀 \n two lines", "_" * 60]
    rows = [image(str(i), names[i % 4]) for i in range(24)]
    points = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    write_store(tmp_path / "out", rows, projection=fit(("components", 3)), projected=points)
    for image_format in ("png", "svg"):
        done = pomona.done(
            "report", tmp_path / "out", "--figures", tmp_path, "--format", image_format
        )
        assert done.stderr == ""
    said = re.findall("<!-- (.*?) -->", (tmp_path / "map.svg").read_text())
    assert {"_underscore", f"{' '.join(['long'] * 8)}…"} <= set(said), said
    # The dots still have most of the figure's width.
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)
    coloured = np.flatnonzero((np.ptp(pixels, axis=2) > 60).any(axis=0))
    assert np.ptp(coloured) > 0.5 * pixels.shape[1]


def test_wrong_usage_is_reported(pomona: Pomona, finished: Path, tmp_path: Path) -> None:
    refused = pomona("report", finished, "--figures", tmp_path, "--format", "gif")
    assert (refused.status, "choose png or svg" in refused.complaint) == (2, True)
    (tmp_path / "file").touch()
    refused = pomona("report", finished, "--figures", tmp_path / "file")
    assert (refused.status, "cannot write" in refused.complaint) == (1, True)


def test_without_matplotlib_the_message_names_the_extra(finished: Path, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None; "
        f"sys.argv[1:] = ['report', {str(finished)!r}, '--figures', {str(tmp_path)!r}]; "
        "from pomona.commands.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == 'pomona: matplotlib is not installed: pip install "pomona[figures]"\n'
