"""Predictions: those of the classifier, whoever asks, however it is stopped; or a line why not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

import pomona as api
from conftest import Here, Pomona, contents, draw_photos, wait_for
from means import teach
from pomona.backbones.overrides import ModelOverrides
from pomona.engines.registry import open_engine
from pomona.errors import BackboneError, PomonaError, SourceError, StoreError, UsageError
from pomona.learning.ask import Prediction, predict_here, predict_images
from pomona.learning.predict import Tally, predict_into
from pomona.learning.predictions import Predictor
from pomona.learning.seen import MOST_NUMBERS, Seen
from pomona.maintenance.forget import forget
from pomona.maintenance.import_features import import_features
from pomona.maintenance.verify import verify
from pomona.pipeline import run as pipeline
from pomona.pipeline.context import RunSettings
from pomona.pipeline.finish import Summary
from pomona.pipeline.settings import ExtractSettings, ReduceSettings
from pomona.report.predicted import read_predicted
from pomona.store import schemas
from pomona.store.store import Store
from pomona.transfer.pack import PackSettings, make_pack

SMALL = ModelOverrides(input_size=32)
NEW = 70  # images: three parts
HELD = ("features", "metadata", "errors", "predictions")


def here() -> RunSettings:
    return RunSettings(Here())


def make(source: Path, out: Path, **extracting: Any) -> Path:
    """A store of small squares."""
    settings = ExtractSettings(source=source, overrides=SMALL, **extracting)
    pipeline.run(out, settings, ReduceSettings(components=6), here())
    return out


def held(store: Path) -> dict[str, bytes | None]:
    """What makes two stores of predictions the same."""
    return {name: data for name, data in contents(store).items() if name.partition("/")[0] in HELD}


@pytest.fixture(scope="module")
def taught(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a classifier, not to be changed."""
    out = make(photos, tmp_path_factory.mktemp("taught") / "store")
    teach(out)
    return out


@pytest.fixture
def trained(taught: Path, tmp_path: Path) -> Path:
    """A store with a classifier."""
    return shutil.copytree(taught, tmp_path / "trained")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that no classifier has seen, two of them bad; not to be changed."""
    folder = draw_photos(tmp_path_factory.mktemp("new"), NEW, seed=5)
    images = sorted(folder.rglob("*.jpg"))
    images[3].write_bytes(b"no image at all")
    images[9].write_bytes(images[9].read_bytes()[:200])
    return folder


@pytest.fixture(scope="module")
def predicted(taught: Path, new: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `new` with predictions, not to be changed."""
    out = tmp_path_factory.mktemp("predicted") / "out"
    into(taught, out, new)
    return out


def into(store: Path, out: Path, images: Path, **settings: Any) -> tuple[Summary, Tally]:
    chosen = {name: settings.pop(name) for name in ("top", "unsure") if name in settings}
    return predict_into(store, out, ExtractSettings(source=images, **settings), here(), **chosen)


def test_a_store_of_predictions_is_that_of_extract_and_one_table(
    taught: Path, new: Path, predicted: Path, tmp_path: Path
) -> None:
    extracted = tmp_path / "extracted"
    pipeline.extract(extracted, ExtractSettings(source=new, overrides=SMALL), here())
    without = {k: v for k, v in held(predicted).items() if not k.startswith("predictions")}
    assert without == held(extracted)
    store = api.open(predicted)
    table, features = store.predictions(), store.features()
    assert table.num_rows == len(features) == NEW - 2
    assert table["path"].to_pylist() == features.paths
    assert table["sha256"].equals(features.table["sha256"])
    trained = api.open(taught)
    predictor = Predictor.read(trained)
    probabilities = predictor.classifier.probabilities(trained.project(features.array))
    names = np.array(predictor.classifier.labels)
    assert table["label"].to_pylist() == names[probabilities.argmax(axis=1)].tolist()
    assert np.array_equal(table["probability"].to_numpy(), probabilities.max(axis=1))
    assert table["unsure"].to_pylist() == (probabilities.max(axis=1) < np.float32(0.9)).tolist()
    for row, own in zip(table["top"].to_pylist(), probabilities, strict=True):
        told = {each["label"]: each["probability"] for each in row}
        assert told == dict(zip(names.tolist(), own.tolist(), strict=True))
        assert list(told.values()) == sorted(told.values(), reverse=True)
    assert verify(predicted, here()).findings == []


def test_the_tally_counts_what_the_table_says(taught: Path, new: Path, tmp_path: Path) -> None:
    summary, tally = into(taught, tmp_path / "out", new, unsure=0.95)
    table = api.open(tmp_path / "out").predictions()
    assert (summary.images, summary.features, summary.errors) == (NEW, NEW - 2, 2)
    assert tally.unsure == pc.sum(table["unsure"]).as_py() > 0
    assert sum(tally.labels.values()) == table.num_rows
    assert all(table["label"].to_pylist().count(name) == n for name, n in tally.labels.items())
    again, same = into(taught, tmp_path / "out", new, unsure=0.95)
    assert (again.worked, again.ran, same) == (False, 0, tally)


def test_the_report_counts_predictions_and_shows_the_least_sure(predicted: Path) -> None:
    table = api.open(predicted).predictions()
    read = read_predicted(Store(predicted), 0.9)
    assert read is not None
    assert (read.images, read.unsure) == (table.num_rows, pc.sum(table["unsure"]).as_py())
    assert dict(read.labels) == dict(Counter(table["label"].to_pylist()))
    assert [number for _, number in read.labels] == sorted(dict(read.labels).values())[::-1]
    rows = sorted((row["probability"], row["path"], row["label"]) for row in table.to_pylist())
    shown = [(each.probability, each.image.path, each.image.label) for each in read.least_sure]
    assert shown == rows[:12]
    page = (predicted / "report.html").read_text()
    assert f"A classifier labelled {read.images} images, and is unsure of {read.unsure}." in page
    assert all(f"{label}</th>" in page for label, _ in read.labels)
    section = page[page.index("Least sure predictions") :]
    pictures = section[: section.index("</section>")].count("data:image/webp")
    assert pictures == len(read.least_sure)


def test_folders_are_no_labels(taught: Path, new: Path, predicted: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in new.rglob("*.*"):
        shutil.copy2(path, flat / path.name)
    into(taught, tmp_path / "out", flat)
    tables = [api.open(out).predictions() for out in (predicted, tmp_path / "out")]
    rows = [
        sorted((each.pop("path").rpartition("/")[2], str(each)) for each in table.to_pylist())
        for table in tables
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_every_engine_predicts_the_same_bytes(
    engine: str, taught: Path, new: Path, predicted: Path, tmp_path: Path
) -> None:
    for workers in (1, 2) if engine == "local" else (2,):
        out = tmp_path / f"out{workers}"
        settings = RunSettings(open_engine(engine, workers))
        predict_into(taught, out, ExtractSettings(source=new), settings)
        assert held(out) == held(predicted)
    told = predict_images(taught, [new], RunSettings(open_engine(engine, 2)))
    check_told(told, predicted)


def check_told(told: list[Prediction], predicted: Path) -> None:
    """The answers are the rows of the store."""
    store = api.open(predicted)
    rows = {row.pop("path"): row for row in store.predictions().to_pylist()}
    errors = {row["path"]: row for row in store.errors().to_pylist()}
    assert [each.path for each in told] == sorted([*rows, *errors])
    for each in told:
        row = rows.get(str(each.path))
        if row is None:
            failed = errors[str(each.path)]
            assert each.error == {key: failed[key] for key in ("stage", "reason", "detail")}
            assert (each.label, each.top, each.distance) == (None, [], None)
        else:
            assert each.top == [tuple(pair.values()) for pair in row["top"]]
            assert each.error is None
            assert {name: getattr(each, name) for name in ("label", "probability", "unsure")} == {
                name: row[name] for name in ("label", "probability", "unsure")
            }
            assert each.distance == row["distance"]


SCRIPT = """
import sys
from pathlib import Path
from pomona.engines.registry import open_engine
from pomona.learning.predict import predict_into
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings

store, out, source = map(Path, sys.argv[1:])
predict_into(store, out, ExtractSettings(source=source), RunSettings(open_engine("local", 2)))
"""


@pytest.mark.parametrize("folder", ["features", "predictions"])
def test_a_killed_run_is_finished_by_the_same_command(
    folder: str, taught: Path, new: Path, predicted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, str(taught), str(out), str(new)]
    with subprocess.Popen(command, start_new_session=True) as process:
        wait_for(lambda: any((out / folder).glob("part-*")) or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
    into(taught, out, new)
    assert held(out) == held(predicted)
    assert verify(out, here()).findings == []


def test_another_classifier_needs_no_network(trained: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    into(trained, out, new)
    before = held(out)
    teach(trained, temperature=3.0)
    summary, _ = into(trained, out, new)
    after = held(out)
    assert (summary.ran, summary.worked) == (0, True)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if name.startswith("predictions/")}
    for settings in ({"top": 2}, {"unsure": 0.5}):
        into(trained, out, new, **settings)
        assert held(out) != after
    rows = api.open(out).predictions()
    assert pc.list_value_length(rows["top"]).unique().to_pylist() == [4]
    assert verify(out, here()).findings == []


def test_a_classifier_of_features(taught: Path, new: Path, tmp_path: Path) -> None:
    store = shutil.copytree(taught, tmp_path / "store")
    teach(store, on="features", temperature=100.0)
    shutil.rmtree(store / "model_info")  # it needs no PCA
    into(store, tmp_path / "out", new)
    check_told(predict_images(store, [new], here()), tmp_path / "out")


def test_images_in_memory_are_answered_as_files(
    taught: Path, new: Path, predicted: Path, tmp_path: Path
) -> None:
    path = sorted(new.rglob("*.png"))[0]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
        given: list[Any] = [path, path.read_bytes(), image.copy(), pixels, b"nothing"]
    told = predict_here(api.open(taught), given)
    assert [each.path for each in told] == [str(path), *[None] * 4]
    assert told[4].error == {"stage": "decode", "reason": "not_an_image", "detail": None}
    rows = {row["path"]: row for row in api.open(predicted).predictions().to_pylist()}
    row = rows[path.relative_to(new).as_posix()]
    for each in told[:4]:
        assert (each.label, each.probability, each.distance) == (
            row["label"],
            row["probability"],
            row["distance"],
        )
    for single in (str(path), path, b"", pixels):
        with pytest.raises(UsageError, match="put the image in brackets"):
            predict_here(api.open(taught), single)  # type: ignore[arg-type]
    assert json.loads(json.dumps(told[0].to_dict()))["top"][0] == list(told[0].top[0])
    assert "error" not in told[0].to_dict()


def test_files_folders_and_packs_are_places_of_images(
    taught: Path, new: Path, predicted: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "pack"
    make_pack(packed, PackSettings(source=new), here())
    check_told(predict_images(taught, [packed], here()), predicted)
    single = sorted(new.rglob("*.jpg"))[0]
    told = predict_images(taught, [single, new, single], here())
    assert len(told) == NEW + 2
    assert told[0] == told[-1]
    assert told[0].path == str(single)
    assert replace(told[1], path="") == replace(told[0], path="")
    assert told[1].path == str(single)


def test_images_are_taken_by_the_options_of_run(
    pomona: Pomona, taught: Path, new: Path, tmp_path: Path
) -> None:
    images, out = Path(shutil.copytree(new, tmp_path / "images")), tmp_path / "out"
    first = ("predict", taught, images, out, "--quiet", "--workers", "1")
    ended = pomona(*first, "--max-pixels", "1000", "--limit", "12")
    assert ended.status == 3  # too many of the images failed
    assert len(Store(out).predictions()) == 0
    gone = min(Store(out).plan(["path"])["path"].to_pylist())
    (images / gone).unlink()
    pomona.done(*first, "--retry-errors=all", "--sync", "--max-error-rate", "0.5")
    found = {path.relative_to(images).as_posix() for path in images.rglob("*.*")}
    assert set(Store(out).plan(["path"])["path"].to_pylist()) == found
    predicted = set(Store(out).predictions()["path"].to_pylist())
    assert len(found - predicted) <= 2  # those that are bad
    names = ("--include", "*.png", "--include", "*.jpg", "--exclude", "*.jpg")
    told = pomona.done("predict", taught, images, *names, "--json")
    paths = [each["path"] for each in json.loads(told.stdout)["predictions"]]
    assert sorted(paths) == sorted(
        path.relative_to(images).as_posix() for path in images.rglob("*.png")
    )
    ended = pomona("predict", taught, images, "--sync")
    assert ended.status == 2
    assert "--sync is for predictions that are kept: give OUT after IMAGES" in ended.complaint


def test_bounds_hold_for_each_image(taught: Path, new: Path, tmp_path: Path) -> None:
    """An image that takes too long ends its worker; the next one reads it in a process apart."""
    images = sorted(new.rglob("*.jpg"))
    settings = RunSettings(open_engine("local", 1))
    told = predict_images(taught, images[:2], settings, image_timeout=1e-6)
    assert [each.error and each.error["reason"] for each in told] == ["timed_out"] * 2
    told = predict_images(taught, images, here(), max_pixels=2_000)
    reasons = {each.error["reason"] for each in told if each.error}
    assert reasons == {"too_large", "not_an_image", "truncated"}
    half = tmp_path / "half.jpg"
    half.write_bytes(images[0].read_bytes()[:-200])
    assert predict_images(taught, [half], here())[0].error
    assert not predict_images(taught, [half], here(), allow_damaged=True)[0].error
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SourceError, match="no images in"):
        predict_images(taught, [empty], here())


def refused(kind: type[PomonaError], act: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_cannot_predict_says_so_in_a_line(
    trained: Path, new: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    other = make(photos, tmp_path / "other", fit="crop")
    message = refused(StoreError, lambda: into(other, out, new))
    assert message == f"{other} has no classifier: run `pomona train {other}`"
    message = refused(StoreError, lambda: into(trained, other, new))
    assert "was made by another recipe (fit: crop, not stretch" in message
    (tmp_path / "link").symlink_to(trained)
    for same in (trained, tmp_path / "link", trained / ".." / trained.name):
        message = refused(UsageError, lambda same=same: into(trained, same, new))  # type: ignore[misc]
        assert "is the store that has the classifier: choose another folder for" in message
    single = next(new.rglob("*.jpg"))
    assert "give the folder" in refused(UsageError, lambda: into(trained, out, single))
    assert "`top` 0" in refused(UsageError, lambda: into(trained, out, new, top=0))
    assert "`unsure` 2" in refused(UsageError, lambda: into(trained, out, new, unsure=2))
    gone = tmp_path / "gone"
    for place in (gone, gone / "photo.jpg"):
        asked = refused(SourceError, lambda place=place: predict_images(trained, [place], here()))  # type: ignore[misc]
        assert asked == f"{place} does not exist: check the path"
    assert not out.exists()


def test_a_classifier_that_is_not_as_it_was_says_so_in_a_line(
    trained: Path, new: Path, tmp_path: Path
) -> None:
    file = trained / "classifier" / "classifier.json"
    whole = file.read_bytes()
    file.write_text(json.dumps({**json.loads(whole), "format": 99}))
    asked = lambda: predict_images(trained, [new], here())  # noqa: E731
    assert "later version of pomona (format 99)" in refused(StoreError, asked)
    file.write_bytes(whole)
    for name in ("model.onnx", "seen.npz"):
        damaged = trained / "classifier" / name
        content = damaged.read_bytes()
        damaged.write_bytes(content[:-1] + b"?")
        message = refused(StoreError, asked)
        assert message.endswith(f"{name} is missing or damaged: `pomona train {trained}` again")
        damaged.write_bytes(content)
    pipeline.reduce(trained, ReduceSettings(components=4), here())
    assert "has changed since its classifier was trained" in refused(StoreError, asked)
    with pytest.raises(StoreError, match="has changed since its classifier was trained"):
        into(trained, tmp_path / "out", new)


def test_imported_features_have_no_network(photos: Path, finished: Path, tmp_path: Path) -> None:
    store = tmp_path / "imported"
    table = api.open(finished).features().table.select(["path", "label", "split", "features"])
    pq.write_table(table, tmp_path / "features.parquet")
    import_features(tmp_path / "features.parquet", store, here())
    teach(store, on="features")
    for act in (
        lambda: predict_images(store, [photos], here()),
        lambda: into(store, tmp_path / "out", photos),
    ):
        assert "these features were imported" in refused(BackboneError, act)


def test_verify_finds_what_is_wrong_with_predictions(predicted: Path, tmp_path: Path) -> None:
    out = shutil.copytree(predicted, tmp_path / "out")
    store = Store(out)
    names = store.part_names("predictions")
    assert len(names) == 3

    def found() -> list[str]:
        findings = verify(out, here()).findings
        assert {each.where for each in findings} <= set(names) | {extra}
        return [each.what for each in findings]

    def change(column: str, values: list[Any]) -> None:
        at, field = table.schema.get_field_index(column), table.schema.field(column)
        store.write_table(names[2], table.set_column(at, field, pa.array(values, field.type)), own)

    extra = "predictions/part-00009.parquet"
    shutil.copy(out / names[0], out / extra)
    (out / names[0]).unlink()
    os.truncate(out / names[1], 100)
    table, own = store.read_with_footer(names[2])
    change("label", ["Quince", *table["label"].to_pylist()[1:]])
    assert sorted(found()) == [
        "has 1 row that contradict themselves",
        "is damaged",
        "is missing",
        "is of no part that the store has",
    ]
    change("sha256", ["0" * 64, *table["sha256"].to_pylist()[1:]])
    assert "has other rows than features/" in found()
    store.write_table(names[2], table, {**own, "classifier": "0" * 16})
    assert "was made of other features, or by another classifier" in found()


def test_a_run_that_changes_a_part_takes_its_predictions_along(
    taught: Path, tmp_path: Path
) -> None:
    source = draw_photos(tmp_path / "source", NEW, seed=5)
    out = tmp_path / "out"
    into(taught, out, source)
    Image.new("RGB", (50, 50), "orange").save(min(source.rglob("*.jpg")))
    pipeline.extract(out, ExtractSettings(source=source, overrides=SMALL), here())
    [finding] = verify(out, here()).findings
    assert finding.what == "is missing"
    assert finding.remedy == "run the `pomona predict` that made it again"
    summary, _ = into(taught, out, source)
    assert (summary.ran, verify(out, here()).findings) == (0, [])


def test_forget_leaves_the_predictions_of_the_others(
    predicted: Path, taught: Path, new: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(predicted, tmp_path / "out")
    before = api.open(out).predictions()
    gone = before["path"][5].as_py()
    forget(out, [gone], here())
    after = api.open(out).predictions()
    assert after.equals(before.filter(pc.not_equal(before["path"], gone)))
    assert verify(out, here()).findings == []
    assert not any(gone.encode() in (data or b"") for data in contents(out).values())
    damaged = out / Store(out).part_names("predictions")[0]
    os.truncate(damaged, 100)
    forget(out, [after["path"][0].as_py()], here())
    assert not damaged.exists()


def test_predictions_need_neither_scikit_learn_nor_pandas() -> None:
    script = "import sys, pomona.learning.ask, pomona.learning.predict; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"sklearn", "scipy", "pandas", "onnx", "pyspark"} == set()


def test_the_schema_is_what_the_reference_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "store.md"
    text = page.read_text(encoding="utf-8").partition("### predictions")[2].partition("###")[0]
    for field in schemas.PREDICTIONS:
        assert f"`{field.name}`" in text or field.name == "path"


def test_distances_are_to_the_nearest_image_of_others() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 50)
    x = (rng.normal(size=(4, 3))[y] * 20 + rng.normal(size=(200, 3))).astype(np.float32)
    folds = np.arange(200) % 5
    seen = Seen.of(x, y, folds)
    assert np.array_equal(seen.rows, x)
    others = np.where(folds[:, None] != folds, np.linalg.norm(x[:, None] - x, axis=2), np.inf)
    assert seen.unit == pytest.approx(np.quantile(others.min(axis=1), 0.95), rel=1e-3)
    asked = rng.normal(size=(150, 3)).astype(np.float32) * 20
    wanted = np.linalg.norm(asked[:, None] - x, axis=2).min(axis=1) / seen.unit
    distances = seen.distances(asked)
    assert np.allclose(distances, wanted, rtol=1e-5)
    alone = np.concatenate([seen.distances(row[None]) for row in asked])
    assert np.array_equal(distances, alone)
    assert np.allclose(seen.distances(x), 0, atol=1e-3)
    back = Seen.from_bytes(seen.to_bytes())
    assert np.array_equal(back.rows, seen.rows)
    assert back.unit == seen.unit
    for damaged in (b"no file at all", b"", seen.to_bytes()[:-30]):
        with pytest.raises(ValueError, match=r"pickle|not the rows"):
            Seen.from_bytes(damaged)
    assert Seen.of(x, y, np.zeros(200, np.int64)).unit == 1  # nobody to measure it by


def test_few_rows_of_many_are_kept_of_each_class() -> None:
    width = 2**12
    limit = MOST_NUMBERS // width
    y = np.repeat(np.arange(3), [limit, 20, 5])
    x = np.zeros((len(y), width), np.float32)
    x[:, 0] = np.arange(len(y))
    kept = y[Seen.of(x, y, np.arange(len(y)) % 5).rows[:, 0].astype(int)]
    assert np.bincount(kept).tolist() == [limit - 25, 20, 5]
