"""The rows of a store that a classifier learns from and is tested on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pomona.errors import StoreError, UsageError
from pomona.images.label_files import read_columns
from pomona.images.labels import match_paths, tell_unknown
from pomona.progress import Progress, count
from pomona.store.layout import part_name
from pomona.store.store import Store
from pomona.store.tables import matrix

LABELS_NAMED = 3


@dataclass(frozen=True)
class LabelledRows:
    """Rows with a label, sorted by path.

    Attributes
    ----------
    x : float32[n, width]
        The components, or the features.
    images : pyarrow.Table
        path, label, split and digest of each; part and place: where the store has its row. Images
        with the same digest are the same.
    names : list of str
        The labels, sorted.
    y : int64[n]
        The label of each row, as its place in `names`.
    """

    x: npt.NDArray[np.float32]
    images: pa.Table
    names: list[str]
    y: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: npt.NDArray[np.int64]) -> LabelledRows:
        """Returns some of the rows, with the same names."""
        return LabelledRows(self.x[rows], self.images.take(rows), self.names, self.y[rows])

    @property
    def digests(self) -> npt.NDArray[np.int64]:
        """A number for each row, the same for those with the same digest: int64[n]."""
        encoded = self.images["digest"].combine_chunks().dictionary_encode()
        numbers: npt.NDArray[np.int64] = encoded.indices.cast(pa.int64()).to_numpy()
        return numbers


def read_rows(store: Store, on: str, labels: Path | None, progress: Progress) -> LabelledRows:
    """Reads the rows of a store that have a label.

    Parameters
    ----------
    store : Store
        A store, complete.
    on : str
        "pca" or "features".
    labels : Path, optional
        A CSV file whose labels, and splits, win over the store's.
    progress : Progress
        Who is told of what is left out.

    Raises
    ------
    UsageError
        If `on` is neither.
    StoreError
        If the store is not complete, or its labels allow no classifier.
    SourceError
        If the file cannot be used.
    """
    if on not in ("pca", "features"):
        raise UsageError(f"`on` {on}: choose pca or features")
    if on == "pca":
        _ = store.projection  # raises where there is none
    parts = store.map_concurrent(lambda part: _read_part(store, part, on), _parts(store))
    if not parts:
        raise StoreError(f"{store.files} has no features: run its `pomona run` first")
    images = pa.concat_tables([images for images, _ in parts])
    x = np.concatenate([rows for _, rows in parts])
    del parts
    order = pc.sort_indices(images, [("path", "ascending")])
    if labels is not None:
        images = _relabel(images, labels, progress)
    keep = order.filter(pc.is_valid(images["label"]).take(order))
    unlabelled = images.num_rows - len(keep)
    if unlabelled and len(keep):
        progress.note(f"{count(unlabelled, 'image')} without a label: left out")
    images = images.take(keep)
    names = sorted(images["label"].unique().to_pylist())
    y = pc.index_in(images["label"], value_set=pa.array(names, pa.string()))
    codes = y.combine_chunks().to_numpy().astype(np.int64)
    rows = LabelledRows(x[keep.to_numpy()], images, names, codes)
    return _check_labels(rows, store, progress)


def _parts(store: Store) -> list[int]:
    """The parts of the plan, all of which must have features."""
    plan = store.plan(["part"])["part"]
    parts: list[int] = sorted(plan.unique().to_pylist())
    if set(parts) - set(store.part_numbers("features")):
        raise _incomplete(store)
    return parts


def _read_part(store: Store, part: int, on: str) -> tuple[pa.Table, npt.NDArray[np.float32]]:
    """What `LabelledRows.images` says of a part's images, and their rows."""
    columns = ["path", "label", "split", "sha256", *(["features"] if on == "features" else [])]
    try:
        images = store.read_table(part_name("features", part), columns)
        table = images
        if on == "pca":
            table, footer = store.read_with_footer(part_name("pca", part))
            if footer.get("projection") != store.projection.id:
                raise _incomplete(store)
    except FileNotFoundError as exc:
        raise _incomplete(store) from exc
    if table["path"] != images["path"]:
        raise _incomplete(store)
    x, digests = matrix(table, on), images["sha256"]
    if digests.null_count:  # imported features: the numbers are all that is known of an image
        own = [hashlib.sha256(row.tobytes()).hexdigest() for row in x]
        digests = pc.coalesce(digests, pa.array(own, pa.string()))
    identity = images.select(["path", "label", "split"])
    places = pa.array(np.arange(len(x), dtype=np.int32))
    for name, column in (
        ("digest", digests),
        ("part", pa.repeat(np.int32(part), len(x))),
        ("place", places),
    ):
        identity = identity.append_column(name, column)
    return identity, x


def _incomplete(store: Store) -> StoreError:
    return StoreError(
        f"{store.files} is not complete, its run was stopped: run the store's `pomona run` again"
    )


def _relabel(images: pa.Table, file: Path, progress: Progress) -> pa.Table:
    """Gives images the labels and splits of a file; those that it does not name keep theirs."""
    given, notes = read_columns(file, ("path", "label"), ("split",))
    at, how = match_paths(images["path"], given["path"])
    for note in [*notes, *([f"{file.name} names images {how}"] if how else [])]:
        progress.note(note)
    named = pc.is_valid(at)
    known = pc.sum(named).as_py() or 0
    if not known:
        raise StoreError(
            f"{file} names none of the images: its paths must be those of the store, such as "
            f"{images['path'][0].as_py()!r}"
        )
    if unknown := tell_unknown(given["path"], at):
        progress.warn(f"{unknown} of {file.name} not among the images")
    if known < images.num_rows:
        kept = count(images.num_rows - known, "image")
        progress.note(f"{kept} not in {file.name}: they keep the labels of the store")
    for name in given.column_names[1:]:
        index = images.schema.get_field_index(name)
        column = pc.if_else(named, given[name].take(at), images[name])
        images = images.set_column(index, name, column)
    return images


def _check_labels(rows: LabelledRows, store: Store, progress: Progress) -> LabelledRows:
    """Leaves out the labels of a single image: nothing can be learned and tested of them.

    Raises
    ------
    StoreError
        If fewer than two labels are left.
    """
    way_out = "give them with `labels`, or sort the images into a folder for each label"
    if not rows.names:
        raise StoreError(f"no image of {store.files} has a label: {way_out}")
    digests = rows.digests
    distinct = np.unique(np.stack([rows.y, digests]), axis=1)[0]
    single = np.bincount(distinct, minlength=len(rows.names)) < 2
    if len(rows.names) - single.sum() < 2:
        what = (
            f"only the label {rows.names[0]!r}"
            if len(rows.names) == 1
            else "fewer than two labels with more than one image"
        )
        raise StoreError(f"{store.files} has {what}, a classifier needs two: {way_out}")
    if not single.any():
        return rows
    left = [name for name, is_single in zip(rows.names, single, strict=True) if is_single]
    named = ", ".join(map(repr, left[:LABELS_NAMED])) + (", …" if len(left) > LABELS_NAMED else "")
    progress.warn(
        f"{count(len(left), 'label')} with one image only left out ({named}): add images of "
        f"{'it' if len(left) == 1 else 'them'}"
    )
    kept = rows.take(np.flatnonzero(~single[rows.y]))
    names = [name for name, is_single in zip(rows.names, single, strict=True) if not is_single]
    codes = (np.cumsum(~single) - 1)[kept.y]
    return LabelledRows(kept.x, kept.images, names, codes)
