from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from pomona.errors import UsageError
from pomona.samples.sample import MAX_PER_VARIETY, SampleSummary, Variety, _shots, draw, draw_sample
from pomona.samples.varieties import MAX_VARIETIES, VARIETIES, varieties_of

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def orchard(tmp_path_factory: pytest.TempPathFactory) -> SampleSummary:
    return draw_sample(tmp_path_factory.mktemp("sample") / "fruit")


def images(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.jpg"))
    }


def test_the_summary_counts_what_is_on_disk(orchard: SampleSummary) -> None:
    assert orchard == SampleSummary(orchard.folder, 300, 12, training=240, test=60)
    for split, per_variety in (("Training", 20), ("Test", 5)):
        counts = {
            folder.name: len(list(folder.glob("*_100.jpg")))
            for folder in (orchard.folder / split).iterdir()
        }
        assert counts == {variety.name: per_variety for variety in varieties_of(12)}
    assert len(images(orchard.folder)) == 300


def test_images_are_small_jpegs_of_one_fruit_on_white(orchard: SampleSummary) -> None:
    for path in orchard.folder.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (100, 100))
            pixels = np.asarray(image)
        assert pixels[[0, 0, -1, -1], [0, -1, 0, -1]].min() >= 240
        assert 0.05 < (pixels.min(axis=-1) < 245).mean() < 0.9


def test_training_and_test_share_no_angle(orchard: SampleSummary) -> None:
    for variety in varieties_of(12):
        training, test = (
            {path.name for path in (orchard.folder / split / variety.name).iterdir()}
            for split in ("Training", "Test")
        )
        assert not training & test


@pytest.mark.parametrize(("count", "test"), [(1, 0), (2, 1), (4, 1), (5, 1), (9, 1), (10, 2)])
def test_one_in_five_is_for_testing(tmp_path: Path, count: int, test: int) -> None:
    summary = draw_sample(tmp_path, varieties=1, per_variety=count)
    assert (summary.images, summary.training, summary.test) == (count, count - test, test)
    assert len(list(tmp_path.glob("Test/*/*.jpg"))) == test


def test_the_same_arguments_draw_the_same_files(tmp_path: Path) -> None:
    counts: list[int] = []
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        draw_sample(tmp_path / name, varieties=2, per_variety=3, seed=seed, progress=counts.append)
    first, again, other = (images(tmp_path / name) for name in ("first", "again", "other"))
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[path] != other[path] for path in first)
    assert sum(counts) == 18


def test_an_image_depends_on_its_own_generator_only() -> None:
    pear, apple = varieties_of(7)[6], varieties_of(1)[0]
    alone = draw(pear, 30, np.random.default_rng(1))
    draw(apple, 200, np.random.default_rng(2))
    assert np.array_equal(alone, draw(pear, 30, np.random.default_rng(1)))


@pytest.mark.parametrize("variety", VARIETIES[:4], ids=lambda variety: variety.name)
def test_neighbouring_angles_look_alike(variety: Variety) -> None:
    here, near, far = (
        draw(variety, angle, np.random.default_rng(0), spit="across").astype(float)
        for angle in (0, 6, 90)
    )
    assert 0 < np.abs(here - near).mean() < 0.6 * np.abs(here - far).mean()


def test_a_larger_photograph_is_the_same_fruit_without_holes() -> None:
    variety = varieties_of(1)[0]
    small = draw(variety, 40, np.random.default_rng(0))
    large = draw(variety, 40, np.random.default_rng(0), size=200)
    halved = np.asarray(Image.fromarray(large).resize((100, 100), Image.Resampling.BOX))
    assert np.abs(halved.astype(float) - small).mean() < 6
    assert (large[60:140, 60:140].min(axis=-1) < 250).mean() > 0.98


def test_a_classifier_tells_varieties_apart_but_not_by_mean_colour(orchard: SampleSummary) -> None:
    assert accuracy(orchard.folder, mean_colour) < 0.75
    assert accuracy(orchard.folder, edges_and_hue) > 0.9


def accuracy(folder: Path, feature: Callable[[Image.Image], Array]) -> float:
    """Share of the Test images whose nearest Training image is of the same variety."""

    def read(split: str) -> tuple[Array, list[str]]:
        paths = sorted(folder.glob(f"{split}/*/*.jpg"))
        return np.array([feature(Image.open(path)) for path in paths]), [
            path.parent.name for path in paths
        ]

    return float(KNeighborsClassifier(1).fit(*read("Training")).score(*read("Test")))


def mean_colour(image: Image.Image) -> Array:
    pixels = np.asarray(image, float)
    return np.asarray(pixels[pixels.min(axis=-1) < 245].mean(axis=0))


def edges_and_hue(image: Image.Image) -> Array:
    """Histograms of 8 edge directions in 6 × 6 cells, and the mean colour without its strength."""
    down, right = np.gradient(np.asarray(image.convert("L").resize((96, 96)), float))
    strength = np.hypot(down, right)
    direction = ((np.arctan2(down, right) / np.pi + 1) * 4).astype(int) % 8
    cells = [(strength * (direction == d)).reshape(6, 16, 6, 16).sum((1, 3)) for d in range(8)]
    edges, colour = np.sqrt(np.ravel(cells)), mean_colour(image)
    return np.concatenate([edges / np.linalg.norm(edges), 3 * colour / colour.sum()])


def test_every_variety_has_its_own_name_and_look() -> None:
    assert len(VARIETIES) >= 24
    everything = varieties_of(MAX_VARIETIES)
    assert len({variety.name for variety in everything}) == MAX_VARIETIES
    assert everything[: len(VARIETIES)] == varieties_of(len(VARIETIES))
    first, second = everything[0], everything[len(VARIETIES)]
    assert (first.name, second.name) == ("Apple Red 1", "Apple Red 2")
    one, other = (draw(variety, 0, np.random.default_rng(0)) for variety in (first, second))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"varieties": 0}, "`varieties` 0 is out of range: give 1 to 200"),
        ({"varieties": 201}, "`varieties` 201 is out of range: give 1 to 200"),
        ({"per_variety": 0}, "`per_variety` 0 is out of range: give 1 to 720"),
        ({"per_variety": 721}, "`per_variety` 721 is out of range: give 1 to 720"),
        ({"seed": -1}, "`seed` -1 is negative: give 0 or more"),
    ],
)
def test_a_number_out_of_range_is_refused(
    tmp_path: Path, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        draw_sample(tmp_path / "new", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    with pytest.raises(UsageError, match=r"is not empty.*choose another folder, or empty this one"):
        draw_sample(tmp_path)
    with pytest.raises(UsageError, match=r"kept\.txt is a file: choose a folder"):
        draw_sample(kept)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_all_angles_of_the_largest_variety_have_different_names() -> None:
    assert len({shot.file_name for shot in _shots(MAX_PER_VARIETY)}) == MAX_PER_VARIETY
