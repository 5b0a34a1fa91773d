"""Page for a data protection officer: records of processing, and the findings that prove them."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pomona import __version__
from pomona.aws.doctor.examine import Examination
from pomona.aws.doctor.record import PLACES, records
from pomona.progress import count


def render(examined: Examination) -> str:
    """Renders an examination as HTML that loads nothing.

    Parameters
    ----------
    examined : Examination
        What was found.
    """
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("pomona", "aws/doctor"), PackageLoader("pomona", "report")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, code=_code)
    return environment.get_template("record.html.j2").render(
        examined=examined,
        place=PLACES[examined.region],
        records=records(examined.scene) if examined.scene else (),
        day=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
    )


def _code(text: str) -> Markup:
    """What stands in backticks, as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped
