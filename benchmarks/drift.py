"""Drift: false alarms and power of the test of `pomona drift`, beside another statistic.

    make bench-drift

Photographs of known varieties are divided at random into those that a projection is fitted on and
those that come later, either frame by frame or by whole series (chains of near-duplicates). Batches
are drawn of what comes later: as it is, photographed by another camera, or a fifth of it of a
variety that the projection has not seen. Takes the photographs of POMONA_DATA (or
../shared/data), else drawn ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageFilter

import pomona
from benchmarks.measuring import find_photos
from pomona.learning.groups import find_near_duplicates
from pomona.learning.rows import LabelledRows
from pomona.operations import two_samples
from pomona.pca.moments import measure, solve

SIZES = (20, 50, 100, 200)
# So many lose little power at these levels, and take a fifth of the time.
PERMUTATIONS = 199
SPLITS, KNOWN_ROWS = 5, 500
# The other statistic is measured in every so many draws.
OTHER_EVERY = 4
LEVELS = (0.01, 0.05)
KNOWN_SHARE, NEW_VARIETIES, NEW_SHARE, VARIANCE = 0.6, 10, 0.2, 0.95
AS_BEFORE = "as before"
UNITS = ("frames", "series")
EVERY = 3

Pictures = npt.NDArray[np.float32]


def colour(picture: Image.Image) -> Image.Image:
    """A warmer white balance: 12 % more red, 15 % less blue."""
    rows = np.asarray(picture, np.float32) * [1.12, 1.0, 0.85]
    return Image.fromarray(np.clip(rows, 0, 255).astype(np.uint8))


def blur(picture: Image.Image) -> Image.Image:
    """Out of focus: a Gaussian of 1.2 pixels, of 100."""
    return picture.filter(ImageFilter.GaussianBlur(1.2))


def background(picture: Image.Image) -> Image.Image:
    """Grey paper where it was white."""
    rows = np.asarray(picture, np.float32)
    is_white = (rows.min(axis=2) > 235)[..., None]
    return Image.fromarray(np.where(is_white, [205, 200, 190], rows).astype(np.uint8))


CAMERAS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "colour": colour,
    "blur": blur,
    "background": background,
}


@dataclass(frozen=True)
class Photographs:
    """Features float32[n, width] of photographs, with their labels and digests."""

    features: Pictures
    labels: npt.NDArray[np.str_]
    paths: list[str]
    chains: npt.NDArray[np.int64]


def extract(photos: Path, out: Path) -> Photographs:
    """What `pomona run` makes of a folder."""
    store = pomona.run(photos, out, variance=VARIANCE, thumbnails=False, csv=False)
    vectors, reduced = store.features(), store.pca().array
    images = pa.table({"digest": pa.array(vectors.paths)})
    chains = find_near_duplicates(LabelledRows(reduced, images, [], np.zeros(len(reduced), int)), 0)
    return Photographs(vectors.array, np.array(vectors.labels), vectors.paths, chains)


def take_again(photos: Path, out: Path) -> None:
    """Every third test photograph, by each of the other cameras."""
    for variety in sorted((photos / "Test").iterdir()):
        for name, camera in CAMERAS.items():
            folder = out / name / "Test" / variety.name
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(variety.iterdir())[::EVERY]:
                with Image.open(path) as picture:
                    camera(picture.convert("RGB")).save(folder / f"{path.stem}.png")


def draws(
    base: Photographs, changed: dict[str, Photographs], unit: str, number: int
) -> Iterator[tuple[str, int, bool, Pictures, Pictures]]:
    """Yields a batch: name, size, whether both statistics are wanted, known rows, its own rows."""
    labels = np.unique(base.labels)
    unseen = labels[:: len(labels) // NEW_VARIETIES][:NEW_VARIETIES]
    old = np.flatnonzero(~np.isin(base.labels, unseen))
    for split in range(SPLITS):
        rng = np.random.default_rng(split)
        units = base.chains if unit == "series" else np.arange(len(base.labels))
        known_units = rng.permutation(np.unique(units[old]))
        sizes = np.bincount(units[old], minlength=len(units))[known_units]
        known_units = known_units[np.cumsum(sizes) <= KNOWN_SHARE * len(old)]
        is_known = np.isin(units[old], known_units)
        known, future = old[is_known], old[~is_known]
        projection = solve(measure(base.features[known]), ("variance", VARIANCE))
        kept = projection.apply(base.features[rng.permutation(known)[:KNOWN_ROWS]])
        later = {Path(base.paths[row]).stem + base.labels[row] for row in future}
        batches = {AS_BEFORE: base.features[future]}
        for name, photographs in changed.items():
            marks = [
                Path(path).stem + label in later
                for path, label in zip(photographs.paths, photographs.labels, strict=True)
            ]
            batches[name] = photographs.features[np.array(marks)]
        for draw in range(number // SPLITS):
            both = draw % OTHER_EVERY == 0
            variety = base.features[base.labels == rng.choice(unseen)]
            for size in SIZES:
                for name, features in batches.items():
                    rows = rng.permutation(len(features))[:size]
                    yield name, size, both, kept, projection.apply(features[rows])
                mixed = max(1, round(NEW_SHARE * size))
                rows = rng.permutation(len(future))[: size - mixed]
                new = variety[rng.permutation(len(variety))[:mixed]]
                batch = np.concatenate([batches[AS_BEFORE][rows], new])
                yield "new variety", size, both, kept, projection.apply(batch)


def p_values(known: Pictures, new: Pictures, seed: int, *, both: bool) -> dict[str, float]:
    """The p-value by each statistic, of the same rows."""
    rows = np.concatenate([known, new])
    is_new = np.arange(len(rows)) >= len(known)
    kept = two_samples.representatives(rows, [str(row) for row in range(len(rows))], seed)
    rows, is_new = rows[kept], is_new[kept]
    apart = two_samples.distances(rows)
    kernels = {"energy distance": -apart}
    if both:
        kernels["nearest neighbours"] = link_nearest(apart)
    if not is_new.any():
        return dict.fromkeys(kernels, 1.0)
    return {
        name: two_samples.permute(kernel, is_new, seed, PERMUTATIONS)[1]
        for name, kernel in kernels.items()
    }


def link_nearest(apart: Pictures) -> Pictures:
    """How often one of two rows is among the five nearest of the other: 0, 1 or 2.

    Schilling, "Multivariate two-sample tests based on nearest neighbors", 1986.
    """
    linked = apart.copy()
    np.fill_diagonal(linked, np.inf)
    nearest = np.argpartition(linked, 5, axis=1)[:, :5]
    linked[:] = 0
    np.put_along_axis(linked, nearest, 1, axis=1)
    return linked + linked.T


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.drift", description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--units", nargs="+", choices=UNITS, default=UNITS)
    parser.add_argument("--work", type=Path, help="a folder that keeps the stores")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("drift.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pomona-bench-") as temporary:
        work = args.work or Path(temporary)
        photos, _ = find_photos(work)
        if not (work / "changed").exists():
            take_again(photos, work / "changed")
        base = extract(photos, work / "base")
        changed = {name: extract(work / "changed" / name, work / name) for name in CAMERAS}
    rates = {}
    for unit in args.units:
        found: dict[tuple[str, int, str], list[float]] = defaultdict(list)
        for seed, (name, size, both, known, new) in enumerate(
            draws(base, changed, unit, args.draws)
        ):
            for statistic, p in p_values(known, new, seed, both=both).items():
                found[name, size, statistic].append(p)
        rates[unit] = [
            {
                "batch": name,
                "images": size,
                "statistic": statistic,
                "draws": len(values),
                **{str(level): float(np.mean(np.array(values) <= level)) for level in LEVELS},
            }
            for (name, size, statistic), values in found.items()
        ]
        args.results.write_text(json.dumps(rates, indent=1) + "\n")
        for row in rates[unit]:
            print(unit, *row.values(), sep="\t")


if __name__ == "__main__":
    main()
