"""The README: its Python runs, and its pictures are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pomona.samples.sample import draw_sample

README = Path(__file__).parents[2] / "README.md"


def test_the_python_examples_of_the_readme_run(tmp_path: Path) -> None:
    drawn = draw_sample(tmp_path / "photos", varieties=3, per_variety=10)
    new = next(drawn.folder.rglob("*.jpg"))
    (tmp_path / "new.jpg").write_bytes(new.read_bytes())
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    script = "\n".join(blocks)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == f"{new.parent.name}\n"


def test_the_pictures_of_the_readme_exist() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert pictures
    assert all((README.parent / picture).is_file() for picture in pictures)


def test_the_readme_fits_on_two_screens() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 120
