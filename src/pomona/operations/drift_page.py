"""The page of a comparison: what has changed, with pictures of the images farthest off."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from pomona import __version__
from pomona.errors import UsageError
from pomona.operations.drift import Drift
from pomona.operations.sides import Side
from pomona.progress import count
from pomona.report import thumbnails
from pomona.report.formatting import percent
from pomona.report.page import Pictures
from pomona.report.thumbnails import MapHere, to_base64
from pomona.store.folders.base import encode_text

FRAME = "drift.html.j2"
LABELS_SHOWN = 12
PICTURES_S = 30.0


def write(drift: Drift, new: Side, file: Path, map_here: MapHere) -> None:
    """Writes a comparison as a page.

    Parameters
    ----------
    drift : Drift
        What was found.
    new : Side
        The new images.
    file : Path
        The file to write.
    map_here : MapHere
        Runs a task in worker processes on this machine.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    wanted = {far.path: far.sha256 for far in drift.farthest if far.sha256 is not None}
    pictures = thumbnails.provide(
        new.store,
        new.store.manifest["source"],
        new.store.recipe,
        wanted,
        limit_s=PICTURES_S,
        map_here=map_here,
        keep=False,
    )
    try:
        file.write_bytes(encode_text(render(drift, pictures)))
    except OSError as exc:
        raise UsageError(f"cannot write {file}: {exc.strerror}; check `page`") from exc


def render(drift: Drift, pictures: Mapping[str, bytes]) -> str:
    """Renders a comparison as HTML that loads nothing.

    Parameters
    ----------
    drift : Drift
        What was found.
    pictures : mapping of str to bytes
        Pictures of the farthest images, WebP by path.
    """
    return (
        _templates()
        .get_template(FRAME)
        .render(
            drift=drift,
            labels=list(drift.labels.items())[:LABELS_SHOWN],
            pictures=Pictures(to_base64(pictures), True, 0),
            version=__version__,
        )
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("pomona", "operations/templates"), PackageLoader("pomona", "report")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, percent=percent, whole="{:,}".format)
    return environment
