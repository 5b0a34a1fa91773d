"""Sentences: what stands out in an evaluation, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pomona.progress import count
from pomona.report.formatting import percent

MOST_DIGITS = 4
# Folds that keep groups together differ from random ones by so much that it is to be said.
FOLDS_APART = 0.01


def exact(share: float) -> str:
    """A share near 1 as a percentage, with so many digits that what is missing can be read.

    97.2 %, 99.95 %, 100 %.
    """
    missing = 100 * (1 - share)
    if not 0 < missing < 100:
        return percent(share, 0)
    digits = min(max(1, math.ceil(-math.log10(missing))), MOST_DIGITS)
    return percent(share, digits)


def between(figure: Mapping[str, Any]) -> str:
    """The interval of a figure: 96.3 to 97.8 %."""
    low, high = exact(figure["low"]), exact(figure["high"])
    return f"{low.rpartition(NO_BREAK)[0]} to {high}"


NO_BREAK = "\N{NO-BREAK SPACE}"


def leak(evaluation: Mapping[str, Any]) -> str | None:
    """Says how many test images are training images, and what they would do to the figure."""
    found = evaluation["leak"]
    if not found["copied"]:
        return None
    files = f"{found['copied']:,} of {count(found['files'], 'test image')}"
    others = found["other_label"]
    said = f"{files} {'is' if found['copied'] == 1 else 'are'} byte for byte among the training"
    said += " images"
    if others:
        said += f", {'all' if others == found['copied'] else f'{others:,}'} under another label"
    if not evaluation["figures"]:
        return f"{said}. No other test image is left to measure the accuracy with."
    accuracy = exact(evaluation["figures"]["accuracy"]["value"])
    return (
        f"{said}. The accuracy leaves them out: {accuracy}. With them: {exact(found['accuracy'])}."
    )


def sentences(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Says how good the classifier is, by itself and beside others, and what to look at."""
    figures = evaluation["figures"]
    if figures:
        yield from _accuracy(evaluation, figures["accuracy"])
    elif not evaluation["leak"]["copied"]:
        yield "There is no test image, so nothing is known of the accuracy on others."
    yield from _folds(evaluation)
    yield from _threshold(evaluation)
    growth = growth_of(evaluation)
    if growth:
        yield growth
    yield suspects(evaluation)


def _accuracy(evaluation: Mapping[str, Any], accuracy: Mapping[str, Any]) -> Iterator[str]:
    tested = count(evaluation["rows"]["test"], "test image")
    said = f"{exact(accuracy['value'])} of {tested} get their label"
    if accuracy["low"] is not None:
        said += f" (95 % interval: {between(accuracy)})"
    yield f"{said}."
    baselines = [
        f"{one['name']}, {exact(one['accuracy'])}"
        + (", which is better" if one["accuracy"] > accuracy["value"] else "")
        for one in evaluation["baselines"]
    ]
    if baselines:
        yield f"To compare: {'; '.join(baselines)}."


def _folds(evaluation: Mapping[str, Any]) -> Iterator[str]:
    for one in evaluation["comparison"]:
        random = one["random_accuracy"]
        if one["is_chosen"] and random is not None and random - one["accuracy"] > FOLDS_APART:
            yield (
                f"Cross-validation says {exact(one['accuracy'])} if groups are kept together, "
                f"{exact(random)} if they are torn apart: images of new groups are harder than "
                "more of the same."
            )


def _threshold(evaluation: Mapping[str, Any]) -> Iterator[str]:
    promised = [one for one in evaluation["thresholds"] if one["threshold"] is not None]
    if promised and promised[-1]["test"]:
        best = promised[-1]
        test = best["test"]
        yield (
            f"At a probability of {cut(best['threshold'])} or more, {exact(best['wanted'])} of the "
            f"answers are right. So sure it is of {percent(test['answered'], 0)} of the test "
            f"images, and right on {test['right']:,} of these {test['rows']:,}."
        )


def cut(threshold: float) -> str:
    """A threshold, rounded up so that it keeps its promise: 0.909, 0.9989."""
    digits = min(max(3, math.ceil(-math.log10(max(1 - threshold, 1e-12))) + 1), 12)
    return f"{math.ceil(threshold * 10**digits) / 10**digits:.{digits}f}"


def growth_of(evaluation: Mapping[str, Any]) -> str | None:
    """Says whether more training images would help."""
    curve = evaluation["learning_curve"]
    if not curve:
        return None
    (half, whole), gain = curve["points"][-2:], curve["gain"]
    said = (
        f"From {half['rows']:,} to {whole['rows']:,} training images the accuracy went from "
        f"{exact(half['accuracy']['value'])} to {exact(whole['accuracy']['value'])}"
    )
    if gain["low"] > 0:
        return f"{said}: more images would help."
    return f"{said}, no more than chance would do: more images of the same kind would hardly help."


def suspects(evaluation: Mapping[str, Any]) -> str:
    """Says how many labels are probably wrong, and how sure that is."""
    found = evaluation["suspects"]
    if not found["listed"]:
        return "No training image looks mislabelled."
    certain = ""
    if found["conflicts"]:
        certain = (
            f"{count(found['conflicts'], 'training image')} "
            f"{'has' if found['conflicts'] == 1 else 'have'} the bytes of another one under "
            "another label"
        )
    others = found["listed"] - found["conflicts"]
    if not others:
        return f"{certain}. No other looks mislabelled."
    listed = f"{count(others, 'training image')} {'looks' if others == 1 else 'look'} mislabelled"
    if certain:
        listed = f"{listed}, and {certain}"
    return (
        f"{listed}: about {found['expected']:,.0f} of these {found['listed']:,} labels are wrong."
    )
