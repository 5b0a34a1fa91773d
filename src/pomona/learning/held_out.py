"""Held out: the answers of a classifier on the images that it was tested on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pomona.store.classifier import damaged, read_file
from pomona.store.folders.base import Folder
from pomona.store.layout import TEST_PREDICTIONS


def read_held_out(files: Folder, facts: Mapping[str, Any]) -> pa.Table | None:
    """Reads path, label, predicted and probability of a classifier's held-out images.

    Parameters
    ----------
    files : Folder
        The folder of the store.
    facts : mapping
        What the classifier's JSON file says.

    Returns
    -------
    pyarrow.Table or None
        None: the classifier was not tested.

    Raises
    ------
    StoreDamagedError
        If the file is missing, or is not what was written.
    """
    if TEST_PREDICTIONS not in facts["files"]:
        return None
    return parse_held_out(files, read_file(files, facts, TEST_PREDICTIONS))


def parse_held_out(files: Folder, data: bytes) -> pa.Table:
    """Returns the same from the bytes of its file."""
    try:
        return pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as exc:
        raise damaged(files, TEST_PREDICTIONS) from exc
