"""Draws docs/images/map.png: the demo's images where the first two components put them.

make demo && .venv/bin/python docs/images/draw_map.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import pomona

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT, SIDE = 1280, 800, 72

rows = pomona.open(ROOT / "demo/out").pca()
# Ranks halfway towards values spread a crowd without moving who is next to whom.
points = rows.array[:, :2]
ranks = points.argsort(axis=0).argsort(axis=0) / len(points)
values = (points - points.min(axis=0)) / np.ptp(points, axis=0)
places = (ranks + values) / 2 * (WIDTH - SIDE, HEIGHT - SIDE)

canvas = Image.new("RGB", (WIDTH, HEIGHT), "white")
for path, (left, top) in zip(rows.paths, places.astype(int), strict=True):
    fruit = Image.open(ROOT / "demo/photos" / path).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    mask = fruit.convert("L").point(lambda grey: 255 if grey < 245 else 0)
    canvas.paste(fruit, (int(left), int(top)), mask)
canvas.quantize(128).save(Path(__file__).with_name("map.png"), optimize=True)
