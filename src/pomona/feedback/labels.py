"""Labels: what users say of predictions, as a file that `pomona train` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import UsageError
from pomona.feedback.journal import Journal
from pomona.store.store import Store
from pomona.store.tables import encode_csv


@dataclass(frozen=True)
class LabelsFile:
    """What a file of labels holds, and what it could not take.

    Attributes
    ----------
    file : str
        Its path.
    images : int
        Its lines: images of the store.
    changed : int
        Those that have another label in the store, or none.
    conflicts : int
        Images of which different labels were said to be right: the last one counts.
    without_label : int
        Entries that only say that a label is wrong.
    not_in_store : int
        Entries of images that the store does not have.
    """

    file: str
    images: int
    changed: int
    conflicts: int
    without_label: int
    not_in_store: int


def read_statements(journal: Journal) -> pa.Table:
    """Returns what users say is right, in the order of their time: id, sha256 and label.

    Of several entries on one prediction, the last one counts. One without a label is none.
    """
    entries = journal.read()
    return entries.filter(pc.is_valid(entries["label"])).select(["id", "sha256", "label"])


def write_labels(store: Store, entries: pa.Table, file: Path) -> LabelsFile:
    """Writes the right labels of images of a store, with the columns path and label.

    Parameters
    ----------
    store : Store
        The store.
    entries : pyarrow.Table
        Of schema `schemas.FEEDBACK`, in the order of their time.
    file : Path
        The file to write, whole or not at all.

    Raises
    ------
    UsageError
        If the file cannot be written.
    StoreError
        If the store cannot be read.
    """
    labelled = entries.filter(pc.is_valid(entries["label"]))
    said = dict(zip(labelled["sha256"].to_pylist(), labelled["label"].to_pylist(), strict=True))
    images = store.metadata(["path", "label", "sha256"])
    images = images.filter(pc.is_in(images["sha256"], pa.array(said, pa.string())))
    images = images.sort_by("path")
    right = pa.array([said[digest] for digest in images["sha256"].to_pylist()], pa.string())
    same = pc.sum(pc.fill_null(pc.equal(images["label"], right), False)).as_py() or 0
    known = pc.is_in(labelled["sha256"], images["sha256"].combine_chunks())
    used = labelled.filter(known)
    pairs = used.group_by(["sha256", "label"], use_threads=False).aggregate([])
    conflicts = sum(each["counts"] > 1 for each in pc.value_counts(pairs["sha256"]).to_pylist())
    _write(file, encode_csv(pa.table({"path": images["path"], "label": right})))
    return LabelsFile(
        str(file),
        images.num_rows,
        images.num_rows - same,
        conflicts,
        entries.num_rows - labelled.num_rows,
        labelled.num_rows - used.num_rows,
    )


def _write(file: Path, data: memoryview) -> None:
    """Writes a file beside its place, and then puts it there."""
    temporary = file.with_name(f".{file.name}.new")
    try:
        try:
            temporary.write_bytes(data)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        raise UsageError(f"cannot write {file}: {exc.strerror}; check `labels_file`") from exc
