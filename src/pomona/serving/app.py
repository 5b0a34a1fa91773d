"""App: the addresses of a server, and what each answers."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from pomona.serving.asking import Asking, Said, prediction
from pomona.serving.bodies import MULTIPART, Memory, Share, media_type, read_files, read_json
from pomona.serving.collection_pages import CollectionPages
from pomona.serving.gate import Door, Facts, Gate
from pomona.serving.model import Model
from pomona.serving.openapi import describe
from pomona.serving.page import Page
from pomona.serving.pictures import Pictures
from pomona.serving.problems import RefusedError, overloaded, unusable
from pomona.serving.sessions import Sessions
from pomona.serving.tokens import Tokens

Handler = Callable[[Request, Share], Awaitable[Response]]

SHA256 = re.compile("[0-9a-f]{64}")
# The picture of an id stays the same; who may ask for it does not.
KEPT_BY_CLIENTS = {"Cache-Control": "private, max-age=3600"}


def make_app(
    asking: Asking,
    tokens: Tokens | None,
    log: Callable[[str], None] | None,
    complain: Callable[[str], None],
) -> ASGIApp:
    """Makes the application of a server.

    Parameters
    ----------
    asking : Asking
        What answers.
    tokens : Tokens, optional
        Who may ask. None: anybody.
    log, complain
        As `Gate` takes them.
    """
    settings = asking.settings
    api = _Api(asking, tokens)
    app: ASGIApp = Door(api, settings, tokens)
    if settings.cors:
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return Gate(app, api.paths, settings, asking.metrics, log, complain)


class _Api:
    """The addresses, and what answers at each."""

    def __init__(self, asking: Asking, tokens: Tokens | None) -> None:
        self._asking, self._memory = asking, Memory(asking.settings)
        self._pictures = Pictures(asking.queue)
        page = Page(asking, tokens, self._pictures)
        collection = CollectionPages(asking, Sessions(tokens), self._pictures)
        handlers: list[tuple[str, str, Handler]] = [
            ("GET", "/", page.show),
            ("POST", "/", page.answer),
            ("POST", "/feedback", page.judge),
            *collection.handlers(),
            ("POST", "/v1/predict", self._predict),
            ("POST", "/invocations", self._predict),
            ("POST", "/v1/features", self._features),
            ("POST", "/v1/search", self._search),
            ("POST", "/v1/feedback", self._judge),
            ("GET", "/v1/images/{id}", self._show_image),
            ("GET", "/v1/model", self._show_model),
            ("GET", "/healthz", self._live),
            ("GET", "/ping", self._ready),
            ("GET", "/readyz", self._ready),
            ("GET", "/metrics", self._metrics),
            ("GET", "/openapi.json", self._openapi),
        ]
        self.paths = frozenset(path for _, path, _ in handlers)
        self._router = Router(
            [
                Route(path, self._bounded(handler), methods=[method])
                for method, path, handler in handlers
            ],
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # has the router raise what it refuses
        await self._router(scope, receive, send)

    def _bounded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """A handler that has its share of the memory as long as it works."""

        async def handle(request: Request) -> Response:
            with self._memory.request() as share:
                return await handler(request, share)

        return handle

    async def _ask(self, request: Request, share: Share) -> tuple[list[Said], Model]:
        """What is said of the files of a request, and the model that said it."""
        files = await read_files(request, self._asking.settings, share)
        facts: Facts = request.scope["pomona"]
        model = self._asking.model
        facts.images, facts.model = len(files), model.id
        return await self._asking.ask(files, model), model

    async def _predict(self, request: Request, share: Share) -> Response:
        if self._asking.model.facts is None:
            raise RefusedError(404, "the store has no classifier: this server gives features alone")
        said, model = await self._ask(request, share)
        said = await self._asking.find_nearest(said, model)
        return _one_or_all(request, said, "predictions", lambda one: prediction(one, model))

    async def _features(self, request: Request, share: Share) -> Response:
        said, model = await self._ask(request, share)
        return _one_or_all(request, said, "features", lambda one: _features(one, model))

    async def _search(self, request: Request, share: Share) -> Response:
        if self._asking.model.index is None:
            raise RefusedError(404, "this server does not search")
        said, model = await self._ask(request, share)
        said = await self._asking.find_nearest(said, model)
        return _one_or_all(request, said, "found", _nearest)

    async def _judge(self, request: Request, share: Share) -> Response:
        content = await read_json(request, share)
        name, confirmed, label = (content.get(key) for key in ("id", "confirmed", "label"))
        if not isinstance(name, str) or not isinstance(confirmed, bool | None):
            raise RefusedError(422, "give the `id` of a prediction, and `confirmed` or a `label`")
        if not isinstance(label, str | None):
            raise RefusedError(422, "`label` is not text")
        judgement = await self._asking.judge(name, confirmed, label)
        return _json({"id": judgement.id, "label": judgement.label})

    async def _show_image(self, request: Request, share: Share) -> Response:
        model, sha256, picture = self._asking.model, request.path_params["id"], None
        if model.index is None:
            raise RefusedError(404, "this server does not search")
        if SHA256.fullmatch(sha256):
            picture = await self._pictures.find(sha256, model.index, model.loaded)
        if picture is None:
            raise RefusedError(
                404, "no such image, or its file is not there: give the `sha256` of a nearest one"
            )
        return Response(picture, headers=KEPT_BY_CLIENTS, media_type="image/webp")

    async def _show_model(self, request: Request, share: Share) -> Response:
        return _json(self._asking.model.to_dict())

    async def _live(self, request: Request, share: Share) -> Response:
        return _json({"status": "ok"})

    async def _ready(self, request: Request, share: Share) -> Response:
        if not self._asking.queue.ready:
            raise overloaded("no worker is ready: ask again later")
        return _json({"status": "ok"})

    async def _metrics(self, request: Request, share: Share) -> Response:
        metrics = self._asking.metrics
        return Response(metrics.text(), headers={"Content-Type": metrics.media_type})

    async def _openapi(self, request: Request, share: Share) -> Response:
        return _json(describe(self._asking.settings))


def _one_or_all(
    request: Request, said: Sequence[Said], name: str, show: Callable[[Said], dict[str, Any]]
) -> Response:
    """One object for an image that was a body; a list of them for those of a multipart body."""
    if media_type(request) == MULTIPART:
        return _json({name: [show(one) for one in said]})
    [one] = said
    if one.answer.error is not None:
        raise unusable(one.answer.error)
    return _json(show(one))


def _features(said: Said, model: Model) -> dict[str, Any]:
    content = _named(said)
    if said.answer.features is not None:
        content |= {"recipe": model.recipe.digest, "features": said.answer.features.tolist()}
    return content


def _nearest(said: Said) -> dict[str, Any]:
    content = _named(said)
    if said.nearest is not None:
        content["nearest"] = [one.to_dict() for one in said.nearest]
    return content


def _named(said: Said) -> dict[str, Any]:
    """The file's name, if it has one, and its error, if it has one."""
    content: dict[str, Any] = {} if said.name is None else {"name": said.name}
    if said.answer.error is not None:
        content["error"] = said.error
    return content


def _json(content: dict[str, Any]) -> Response:
    # A name that was no Unicode is no longer what it was, and stops nothing.
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(data, media_type="application/json")
