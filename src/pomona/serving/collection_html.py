"""Collection HTML: the templates of the collection's pages, and the policy that goes with each."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from pomona import __version__
from pomona.progress import count
from pomona.report.formatting import percent
from pomona.report.sections.map import Map
from pomona.report.thumbnails import SIDE
from pomona.serving.model import Model
from pomona.serving.problems import RefusedError
from pomona.store.feedback import NO_LABEL


class Html:
    """Renders the pages.

    Parameters
    ----------
    has_sessions : bool
        Whether a browser must sign in.
    """

    def __init__(self, has_sessions: bool) -> None:
        self._has_sessions = has_sessions

    def page(self, name: str, model: Model, styles: str = "", **shown: Any) -> Response:
        """Renders a page of the store.

        Parameters
        ----------
        name : str
            Of the template.
        model : Model
            Whose store it is.
        styles : str
            Styles of this page alone.
        **shown : any
            What the template shows.
        """
        return self._render(name, 200, styles, model=model, **shown)

    def refuse(self, problem: RefusedError) -> Response:
        """Renders what is refused, without anything of the store."""
        response = self._render("refused", problem.status, "", problem=problem)
        response.headers.update(problem.headers)
        return response

    def _render(self, name: str, status: int, styles: str, **shown: Any) -> Response:
        environment, style = _compile()
        style += styles
        html = environment.get_template(f"collection/{name}.html.j2").render(
            **shown,
            style=Markup(style),  # noqa: S704 - the project's own
            side=SIDE,
            no_label=NO_LABEL,
            has_sessions=self._has_sessions,
            version=__version__,
        )
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = (
            f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}
        return Response(html.encode("utf-8", "replace"), status, headers, "text/html")


def map_styles(drawn: Map | None) -> str:
    """Returns the colours and places of a map, which the policy lets no attribute say."""
    if drawn is None:
        return ""
    colours = [
        f".l{label.number}{{--hue:{label.hue:g};--chroma:{label.chroma:g}}}"
        for label in drawn.labels
    ]
    places = [
        f".f{number}{{left:{100 * point.x / drawn.width:.1f}%;"
        f"top:{100 * point.y / drawn.height:.1f}%}}"
        for number, point in enumerate(drawn.pictured)
    ]
    return "\n".join([*colours, *places])


@cache
def _compile() -> tuple[Environment, str]:
    """The templates, and the style of all pages."""
    loader = ChoiceLoader(
        [PackageLoader("pomona", "serving/templates"), PackageLoader("pomona", "report")]
    )
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, percent=percent, whole="{:,}".format)
    names = ("page.css", "serve.css", "collection/collection.css")
    return environment, "\n".join(loader.get_source(environment, name)[0] for name in names)
