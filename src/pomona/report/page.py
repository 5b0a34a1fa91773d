"""Page: the data of all sections, and the page that shows them.

Each section's template makes its part, `page.html.j2` the frame, `page.css` the looks. What comes
from outside (labels, paths, details) is escaped by Jinja2, and reaches a script as JSON alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pomona.progress import count, duration
from pomona.report import registry
from pomona.report.context import Totals, read_context
from pomona.report.formatting import in_bytes, percent
from pomona.report.registry import Section
from pomona.report.thumbnails import SIDE, to_base64
from pomona.store.store import Store

FRAME, MACROS = "page.html.j2", "macros.html.j2"


@dataclass(frozen=True)
class Page:
    """What a report shows.

    Attributes
    ----------
    name : str
        The page's title.
    source : str
        Where the images come from.
    store : str
        The store's path or address.
    version : str or None
        The version of pomona that did the last run.
    totals : Totals
        How many images, labels and errors there are.
    most_pixels : int
        Width times height of the largest image.
    sections : mapping of str to object
        The data of each section by its name. None: the section has none.
    sentences : list of str
        What stands out.
    """

    name: str
    source: str
    store: str
    version: str | None
    totals: Totals
    most_pixels: int
    sections: Mapping[str, Any]
    sentences: list[str]


@dataclass(frozen=True)
class Pictures:
    """The pictures of a page.

    Attributes
    ----------
    encoded : mapping of str to str
        WebP files in Base64, by the image's path.
    are_shown : bool
        Whether the page shows any.
    missing : int
        How many could not be made.
    side : int
        Their width and height in pixels.
    """

    encoded: Mapping[str, str]
    are_shown: bool
    missing: int
    side: int = SIDE


def gather(store: Store, manifest: Mapping[str, Any], threads: int = 1) -> Page:
    """Gathers the data of all sections.

    Parameters
    ----------
    store : Store
        The store to read.
    manifest : mapping
        What its pomona.json says, or is about to say.
    threads : int
        How many threads may compute.

    Raises
    ------
    StoreError
        If a table cannot be read.
    """
    context = read_context(store, manifest, threads)
    sections = {section.name: section.gather(context) for section in registry.SECTIONS}
    return Page(
        name=PurePath(manifest["source"]).name or manifest["source"],
        source=manifest["source"],
        store=str(store.files),
        version=context.runs[0]["pomona_version"] if context.runs else None,
        totals=context.totals,
        most_pixels=context.files.most_pixels,
        sections=sections,
        sentences=[
            sentence
            for section in _by_rank()
            if section.sentences and sections[section.name] is not None
            for sentence in section.sentences(sections[section.name])
        ],
    )


def find_pictures(page: Page) -> dict[str, str]:
    """Lists the pictures that the sections show.

    Returns
    -------
    dict
        The SHA-256 of each image's file by its path, the most important first.
    """
    return {
        image.path: image.sha256
        for section in _by_rank()
        if section.pictures and page.sections[section.name] is not None
        for image in section.pictures(page.sections[section.name])
        if image.sha256 is not None
    }


def _by_rank() -> list[Section]:
    return sorted(registry.SECTIONS, key=lambda section: section.rank)


def render(page: Page, images: Mapping[str, bytes] | None = None) -> str:
    """Renders the page as HTML that loads nothing.

    Parameters
    ----------
    page : Page
        What it shows.
    images : mapping of str to bytes, optional
        The pictures of `find_pictures`, WebP by path. None: the page is to show none.
    """
    environment = compile_templates(registry.SECTIONS)
    missing = 0 if images is None else len(find_pictures(page)) - len(images)
    pictures = Pictures(to_base64(images or {}), images is not None, missing)
    shown = []
    for section in registry.SECTIONS:
        content = page.sections[section.name]
        template = environment.get_template(section.template)
        html = template.render({section.name: content}, page=page, pictures=pictures)
        shown.append((section, Markup(html)))  # noqa: S704 - its template has escaped it
    scripts = [
        Markup(_read(environment, section.script))  # noqa: S704 - not from the store
        for section in registry.SECTIONS
        if section.script and page.sections[section.name] is not None
    ]
    return environment.get_template(FRAME).render(
        page=page, shown=shown, scripts=scripts, script_hashes=list(map(_hash, scripts))
    )


@cache
def compile_templates(sections: tuple[Section, ...]) -> Environment:
    """Compiles the templates of sections, which takes longer than to render them.

    Parameters
    ----------
    sections : tuple of Section
        The sections of the page.
    """
    loaders = dict.fromkeys(section.loader for section in sections)
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("pomona", "report"), *loaders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bytes=in_bytes, count=count, duration=duration, percent=percent, whole="{:,}".format
    )
    for name in (FRAME, MACROS, *(section.template for section in sections)):
        environment.get_template(name)
    return environment


def _read(environment: Environment, name: str) -> str:
    assert environment.loader is not None  # noqa: S101
    return environment.loader.get_source(environment, name)[0]


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
