"""Layout: the names of a store's files and folders, the same for ever."""

from __future__ import annotations

import re

MANIFEST = "pomona.json"
REPORT = "report.html"
PLAN = "_pomona/plan.parquet"
LOCK = "_pomona/lock"
TEMPORARIES = "_pomona/tmp"
FORGETTING = "_pomona/forgetting.json"
THUMBNAILS = "_pomona/thumbnails.parquet"
EVALUATION_THUMBNAILS = "_pomona/evaluation_thumbnails.parquet"
PROJECTION = "model_info/projection.npz"
CLASSIFIER_FOLDER = "classifier"
CLASSIFIER = "classifier/classifier.json"
CLASSIFIER_NEXT = "classifier/next"
CLASSIFIER_MODEL = "classifier/model.onnx"
CLASSIFIER_SEEN = "classifier/seen.npz"
EVALUATION = "classifier/evaluation.json"
EVALUATION_PAGE = "classifier/evaluation.html"
TEST_PREDICTIONS = "classifier/predictions.parquet"
SUSPECTS = "classifier/suspects.csv"
CORRECTIONS = "classifier/corrections.csv"
MODELS_FOLDER = "models"
FEEDBACK_FOLDER = "feedback"
FEEDBACK_LOCK = "_pomona/feedback_lock"
WATCH_LOCK = "_pomona/watch_lock"
SEARCH_FOLDER = "search"
SEARCH = "search/search.json"

# The folders of a store's parts, each with the suffix of its files. metadata/ comes first, since a
# lost plan is made again from it: what it lacks is not known.
FOLDERS = {
    "metadata": "parquet",
    "errors": "parquet",
    "features": "parquet",
    "pca": "parquet",
    "predictions": "parquet",
    "csv/metadata": "csv",
    "csv/errors": "csv",
    "csv/pca": "csv",
}
CSV_TABLES = ("metadata", "errors", "pca")

# Files that may be so large that a bucket takes them in pieces: those of a store and of a pack
LARGE_FILES = re.compile(r"(_pomona|search)/[^/]+|[a-z]+/([a-z]+/)?part-[0-9]{5,}[^/]*")

_PART = re.compile(r".*/part-([0-9]+)\.(?:parquet|csv)")


def part_name(table: str, part: int, suffix: str = "parquet") -> str:
    """Names the file of a part.

    Parameters
    ----------
    table : str
        The folder of a table, one of `FOLDERS`.
    part : int
        The part's number.
    suffix : str
        "parquet" or "csv".

    Returns
    -------
    str
        The name, relative to the store.
    """
    return f"{table}/part-{part:05d}.{suffix}"


def part_number(name: str) -> int | None:
    """Returns the number of the part that a file belongs to; None for a file of no part."""
    match = _PART.fullmatch(name)
    return None if match is None else int(match[1])


def derived_files(part: int) -> list[str]:
    """Returns the names of the files that are made from a part's metadata/, errors/ and features/.

    Parameters
    ----------
    part : int
        The part's number.
    """
    csv = [part_name(f"csv/{table}", part, "csv") for table in CSV_TABLES]
    return [part_name("pca", part), part_name("predictions", part), *csv]


def provenance(footer: dict[str, str] | None) -> dict[str, str]:
    """Returns what a footer says its file was made from: the generation and the recipe.

    Parameters
    ----------
    footer : dict, optional
        The key-value metadata that pomona put into the file; None for a file without one.

    Returns
    -------
    dict
        "generation" and "recipe", each empty where the footer does not say.
    """
    return {key: (footer or {}).get(key, "") for key in ("generation", "recipe")}
