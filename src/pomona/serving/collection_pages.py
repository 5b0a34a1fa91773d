"""Collection pages: the images of a store in a browser, their labels and the suspects among them.

HTML alone: links and forms, without a script. Each page is bounded, whatever the store's size.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pomona.report.sections.map import Map
from pomona.report.thumbnails import to_base64
from pomona.serving.asking import Asking
from pomona.serving.bodies import MOST_TEXT_BYTES, Share, read_form
from pomona.serving.collection import Collection, Details, Stored
from pomona.serving.collection_html import Html, map_styles
from pomona.serving.model import Model
from pomona.serving.pictures import Pictures, Shown
from pomona.serving.problems import RefusedError
from pomona.serving.sessions import Sessions

Show = Callable[[Request, Share], Awaitable[Response]]
Result = TypeVar("Result")

LABELS_SHOWN, IMAGES_SHOWN, LABELS_OFFERED = 200, 36, 1_000
# Pictures are asked for some at a time, so that photographs find room between them.
DRAWN_TOGETHER, DRAWING_S = 12, 4.0
MOST_SAID = 50_000
SHA256, NUMBER = re.compile("[0-9a-f]{64}"), re.compile("[1-9][0-9]{0,8}|0")


class CollectionPages:
    """The pages of a store's images.

    Parameters
    ----------
    asking : Asking
        Has the model, and keeps what is said.
    sessions : Sessions
        Who may look.
    pictures : Pictures
        What draws the images.
    """

    def __init__(self, asking: Asking, sessions: Sessions, pictures: Pictures) -> None:
        self._asking, self._sessions, self._pictures = asking, sessions, pictures
        self._html = Html(sessions.are_needed)
        self._looking = asyncio.Lock()
        # The label that was last said to be right, by the SHA-256 of the file.
        self._said: OrderedDict[str | None, str] | None = None

    def handlers(self) -> list[tuple[str, str, Show]]:
        """Returns method, address and what answers there: nothing of the store without a right."""
        return [
            ("GET", "/collection", self._guarded(self._show_collection)),
            ("GET", "/collection/labels", self._guarded(self._show_label)),
            ("GET", "/collection/images/{id}", self._guarded(self._show_image)),
            ("POST", "/collection/images/{id}", self._guarded(self._judge)),
            ("GET", "/collection/suspects/{id}", self._guarded(self._show_suspect)),
            ("POST", "/collection/session", self._said_as_page(self._sign_in)),
            ("POST", "/collection/session/end", self._said_as_page(self._sign_out)),
        ]

    def _guarded(self, show: Show) -> Show:
        """A page for those alone who may look."""

        async def checked(request: Request, share: Share) -> Response:
            self._sessions.check(request.headers, request.cookies)
            return await show(request, share)

        return self._said_as_page(checked)

    def _said_as_page(self, show: Show) -> Show:
        """A page that says itself what is refused."""

        async def answer(request: Request, share: Share) -> Response:
            try:
                return await show(request, share)
            except RefusedError as exc:
                return self._html.refuse(exc)

        return answer

    async def _show_collection(self, request: Request, share: Share) -> Response:
        model, collection = self._read()
        start = _number(request.query_params, "from")
        labels = await self._look(lambda: collection.labels)
        drawn = await self._look(lambda: collection.map)
        shown = list(labels.items())[start : start + LABELS_SHOWN]
        if start and not shown:
            raise RefusedError(404, f"there are {len(labels):,} labels")
        said = await self._read_said()
        done = [each in said for each in await self._look(lambda: collection.suspect_files)]
        pictures = {} if drawn is None else await self._draw(_images(drawn), model)
        return self._html.page(
            "collection",
            model,
            map_styles(drawn),
            map=drawn,
            pictures=pictures,
            images=len(collection),
            labels=shown,
            total=len(labels),
            others=collection.others,
            numbers={} if drawn is None else {each.label: each for each in drawn.labels},
            pages=_pages(
                "/collection", {}, start, LABELS_SHOWN, start + LABELS_SHOWN < len(labels)
            ),
            suspects=collection.suspects,
            done=sum(done),
            next=done.index(False) + 1 if False in done else 1,
        )

    async def _show_label(self, request: Request, share: Share) -> Response:
        model, collection = self._read()
        label, start = request.query_params.get("label"), _number(request.query_params, "from")
        labels = await self._look(lambda: collection.labels)
        found = await self._look(collection.of_label, label, start, IMAGES_SHOWN + 1)
        if not found:
            raise RefusedError(404, "no image of the store is there: begin with the collection")
        shown = found[:IMAGES_SHOWN]
        return self._html.page(
            "label",
            model,
            label=label,
            total=labels.get(label),
            first=start + 1,
            images=shown,
            said=await self._read_said(),
            pictures=await self._draw(shown, model),
            pages=_pages(
                "/collection/labels",
                {} if label is None else {"label": label},
                start,
                IMAGES_SHOWN,
                len(found) > len(shown),
            ),
        )

    async def _show_image(self, request: Request, share: Share) -> Response:
        model, collection = self._read()
        copies = await self._find_copies(request.path_params["id"], collection)
        return self._html.page("image", model, **await self._describe(copies, model, collection))

    async def _show_suspect(self, request: Request, share: Share) -> Response:
        model, collection = self._read()
        if not collection.suspects:
            raise RefusedError(404, "there are no suspects")
        number, count = request.path_params["id"], len(collection.suspects)
        if not NUMBER.fullmatch(number) or not 0 < int(number) <= count:
            raise RefusedError(404, f"there are {count:,} suspects: give a number from 1 on")
        suspect = collection.suspects[int(number) - 1]
        image = await self._look(collection.find_path, suspect.path)
        told: dict[str, Any] = {"image": None}
        files, said = await self._look(lambda: collection.suspect_files), await self._read_said()
        if image is not None and image.sha256 is not None:
            copies = await self._look(collection.find_copies, image.sha256)
            copies.sort(key=lambda each: each.path != suspect.path)
            told = await self._describe(copies, model, collection)
        return self._html.page(
            "suspect",
            model,
            **told,
            suspect=suspect,
            number=int(number),
            count=count,
            before=said.get(files[int(number) - 2]) if int(number) > 1 else None,
        )

    async def _find_copies(self, sha256: str, collection: Collection) -> list[Stored]:
        """The images of a SHA-256. Raises RefusedError where there is none."""
        copies: list[Stored] = []
        if SHA256.fullmatch(sha256):
            copies = await self._look(collection.find_copies, sha256)
        if not copies:
            raise RefusedError(404, "the store has no image whose file has this SHA-256")
        return copies

    async def _describe(
        self, copies: list[Stored], model: Model, collection: Collection
    ) -> dict[str, Any]:
        """What a page shows of an image: the first one of copies."""
        details: Details = await self._look(collection.describe, copies)
        answer = None
        if model.facts is not None and details.features is not None:
            answer = await self._asking.label_features(details.features, model)
        labels = await self._look(lambda: collection.labels)
        offered = dict.fromkeys([*model.labels, *(each for each in labels if each is not None)])
        return {
            "image": copies[0],
            "details": details,
            "answer": answer,
            "offered": list(offered)[:LABELS_OFFERED],
            "said": (await self._read_said()).get(copies[0].sha256),
            "keeps_feedback": self._asking.feedback is not None,
            "pictures": await self._draw([copies[0], *details.nearest], model),
        }

    async def _judge(self, request: Request, share: Share) -> Response:
        """Keeps the label of an image, and goes on to the next suspect, or back to the image."""
        _, collection = self._read()
        fields = await self._read_fields(request, share)
        copies = await self._find_copies(request.path_params["id"], collection)
        label = fields.get("label") or fields.get("typed", "").strip()
        said = await self._read_said()
        await self._asking.judge_stored(str(copies[0].sha256), copies[0].label, label)
        said[copies[0].sha256] = label
        said.move_to_end(copies[0].sha256)
        if len(said) > MOST_SAID:
            said.popitem(last=False)
        number = fields.get("suspect", "")
        if not NUMBER.fullmatch(number):
            return _see(f"/collection/images/{copies[0].sha256}")
        is_last = int(number) >= len(collection.suspects or ())
        return _see("/collection" if is_last else f"/collection/suspects/{int(number) + 1}")

    async def _read_said(self) -> OrderedDict[str | None, str]:
        """What was said of images, at most `MOST_SAID`: read once, and kept up to date then."""
        if self._said is None:
            read = await self._look(self._asking.read_stored)
            if self._said is None:
                self._said = OrderedDict(list(read.items())[-MOST_SAID:])
        return self._said

    async def _sign_in(self, request: Request, share: Share) -> Response:
        fields = await self._read_fields(request, share)
        is_secure = request.headers.get("origin", "").startswith("https:")
        cookie = self._sessions.begin(fields.get("token", ""), is_secure=is_secure)
        return _see("/collection", cookie)

    async def _sign_out(self, request: Request, share: Share) -> Response:
        return _see("/collection", self._sessions.end(request.cookies))

    async def _read_fields(self, request: Request, share: Share) -> dict[str, str]:
        settings = replace(self._asking.settings, max_bytes=MOST_TEXT_BYTES)
        return (await read_form(request, settings, share))[1]

    def _read(self) -> tuple[Model, Collection]:
        """The model of the moment, and its collection. Raises RefusedError where there is none."""
        model = self._asking.model
        if model.collection is None:
            raise RefusedError(
                404,
                "the store has no components yet, which the collection is made of: "
                "`pomona reduce` makes them",
            )
        return model, model.collection

    async def _look(self, look: Callable[..., Result], *args: Any) -> Result:
        """Looks into the store on a thread: one look at a time, so that answers find others."""
        async with self._looking:
            return await asyncio.to_thread(look, *args)

    async def _draw(self, images: Sequence[Shown], model: Model) -> dict[str, str]:
        """Pictures in Base64 by SHA-256: those of a few seconds, the others are there later."""
        drawn: dict[str, bytes] = {}
        end = time.monotonic() + DRAWING_S
        for first in range(0, len(images), DRAWN_TOGETHER):
            if time.monotonic() < end:
                some = images[first : first + DRAWN_TOGETHER]
                drawn |= await self._pictures.draw(some, model.loaded)
        return to_base64(drawn)


def _images(drawn: Map) -> list[Shown]:
    return [point.image for point in drawn.pictured]


def _number(query: QueryParams, name: str) -> int:
    """A number from 0 on of an address. Raises RefusedError for anything else."""
    text = query.get(name, "0")
    if not NUMBER.fullmatch(text):
        raise RefusedError(404, f"`{name}` is not a number from 0 on")
    return int(text)


def _pages(
    path: str, query: dict[str, str], start: int, count: int, has_more: bool
) -> dict[str, str | None]:
    """The addresses of the page before and of the next one."""

    def address(first: int) -> str:
        return f"{path}?{urlencode({**query, 'from': str(first)})}"

    return {
        "before": address(max(0, start - count)) if start else None,
        "next": address(start + count) if has_more else None,
    }


def _see(address: str, cookie: str | None = None) -> Response:
    """Has the browser load a page: to load it again sends no form again."""
    headers = {} if cookie is None else {"Set-Cookie": cookie}
    return RedirectResponse(address, 303, headers)
