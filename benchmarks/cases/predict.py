"""Predictions kept in a store, beside the extraction that they stand on."""

from __future__ import annotations

from benchmarks.measuring import Measure, Setting, command, figure, need, pomona, ratio


def measure(setting: Setting) -> list[Measure]:
    need("sklearn")
    photos = setting.copies(setting.sizes.images)
    trained = setting.folder / "trained"
    pomona("run", photos, trained)
    command("-m", "pomona", "train", trained, "--model", "lda", "--quiet")
    extraction, prediction = [], []
    for pair in range(setting.sizes.pairs):
        for verb in ("run", "predict")[:: -1 if pair % 2 else 1]:
            with setting.emptied(verb) as folder:
                if verb == "run":
                    seconds = pomona("run", photos, folder / "out").entry["seconds"]
                    extraction.append(setting.sizes.images / seconds["extract"])
                else:
                    entry = pomona("predict", trained, photos, folder / "out").entry
                    spent = entry["seconds"]["extract"] + entry["seconds"]["predict"]
                    prediction.append(setting.sizes.images / spent)
    return [
        ratio(
            "`pomona predict`, all in / `pomona run`'s extraction", prediction, extraction, "≥ 0.95"
        ),
        figure("`pomona predict`, all in", prediction, "images/s"),
    ]
