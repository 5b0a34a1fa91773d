"""Page: what a person opens to ask about a photograph, and to say whether the answer is right."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from pomona import __version__
from pomona.progress import count
from pomona.report.formatting import percent
from pomona.report.thumbnails import SIDE, to_base64
from pomona.serving.asking import Asking, Said
from pomona.serving.bodies import Share, read_form
from pomona.serving.gate import Facts, check_token
from pomona.serving.model import Model
from pomona.serving.pictures import Pictures
from pomona.serving.problems import RefusedError, unusable
from pomona.serving.tokens import Tokens

FRAME = "serve.html.j2"
# So many labels are offered while one is typed.
LABELS_OFFERED = 1_000


class Page:
    """The page of a server: a form for a photograph, and one for what is said of its answer.

    Parameters
    ----------
    asking : Asking
        What answers.
    tokens : Tokens, optional
        Who may ask. None: anybody.
    pictures : Pictures
        What draws the nearest images.
    """

    def __init__(self, asking: Asking, tokens: Tokens | None, pictures: Pictures) -> None:
        self._asking, self._tokens, self._pictures = asking, tokens, pictures

    async def show(self, request: Request, share: Share) -> Response:
        """Shows the empty page."""
        return self._render(200)

    async def answer(self, request: Request, share: Share) -> Response:
        """Shows the page with the answer to a photograph."""
        try:
            files, fields = await read_form(request, self._asking.settings, share)
            self._check(request, fields)
            if not files:
                raise RefusedError(400, "choose a photograph first")
            model, facts = self._asking.model, request.scope["pomona"]
            said = await self._ask(files[:1], model, facts)
            if said.answer.error is not None:
                raise unusable(said.answer.error)
            pictures = await self._pictures.draw(said.nearest or (), model.loaded)
        except RefusedError as exc:
            return self._render(exc.status, problem=exc)
        return self._render(200, said=said, model=model, pictures=to_base64(pictures))

    async def _ask(self, files: list[Any], model: Model, facts: Facts) -> Said:
        facts.images, facts.model = len(files), model.id
        [said] = await self._asking.find_nearest(await self._asking.ask(files, model), model)
        return said

    async def judge(self, request: Request, share: Share) -> Response:
        """Keeps what a person says of an answer, and shows that it is kept."""
        try:
            _, fields = await read_form(request, self._asking.settings, share)
            self._check(request, fields)
            right, label = fields.get("confirmed"), fields.get("label", "").strip() or None
            confirmed = right == "true" if right in ("true", "false") else None
            judgement = await self._asking.judge(fields.get("id", ""), confirmed, label)
        except RefusedError as exc:
            return self._render(exc.status, problem=exc)
        return self._render(200, judgement=judgement)

    def _check(self, request: Request, fields: dict[str, str]) -> None:
        """Raises RefusedError without a token that may ask, in a header or a field of the form."""
        header = request.headers.get("authorization")
        token = fields.get("token", "")
        check_token(self._tokens, header or f"Bearer {token}")

    def _render(self, status: int, *, model: Model | None = None, **shown: Any) -> Response:
        model = model or self._asking.model
        template, style, script, policy = _compile()
        html = template.render(
            **{"said": None, "judgement": None, "problem": None, "pictures": {}, **shown},
            model=model,
            labels=model.labels[:LABELS_OFFERED],
            keeps_photographs=self._asking.photographs is not None,
            keeps_feedback=self._asking.feedback is not None,
            needs_token=self._tokens is not None,
            side=SIDE,
            style=style,
            script=script,
            version=__version__,
        )
        headers = {"Content-Security-Policy": policy, "X-Frame-Options": "DENY"}
        return Response(html.encode("utf-8", "replace"), status, headers, "text/html")


@cache
def _compile() -> tuple[Any, Markup, Markup, str]:
    """The template, its style and its script, and the policy that allows these and no others."""
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
    environment.filters.update(count=count, percent=percent)

    def read(*names: str) -> str:
        return "\n".join(loader.get_source(environment, name)[0] for name in names)

    style, script = read("page.css", "serve.css"), read("serve.js")
    policy = (
        f"default-src 'none'; img-src data: blob:; style-src 'sha256-{_hash(style)}'; "
        f"script-src 'sha256-{_hash(script)}'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    # Both are the project's own.
    own = Markup(style), Markup(script)  # noqa: S704
    return environment.get_template(FRAME), *own, policy


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
