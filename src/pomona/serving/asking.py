"""Asking: from the files of a request to what is said of them."""

from __future__ import annotations

import asyncio
import hashlib
import queue
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pomona.engines.base import Failure
from pomona.engines.queue import BatchQueue
from pomona.errors import PomonaError, UsageError
from pomona.extraction.asked import error_facts
from pomona.search.index import Neighbour
from pomona.serving.answers import Answer, Label, to_error
from pomona.serving.arrivals import Arrivals
from pomona.serving.bodies import File
from pomona.serving.interfaces import Feedback, Judgement
from pomona.serving.metrics import Metrics
from pomona.serving.model import Model
from pomona.serving.photographs import Photographs
from pomona.serving.problems import RefusedError, overloaded
from pomona.serving.recent import Given, Recent
from pomona.serving.searching import Row, Searching
from pomona.serving.settings import ServeSettings
from pomona.store.feedback import NO_LABEL, STORED

NEAREST = 5
MOST_LABEL = 1_000


@dataclass(frozen=True)
class Said:
    """What is said of a file.

    Attributes
    ----------
    id : str
        The prediction's own, to which feedback is given.
    name : str, optional
        What the client calls the file.
    answer : Answer
        Its features and label, or its error.
    nearest : sequence of Neighbour, optional
        The nearest images of the store. None: they were not looked for.
    """

    id: str
    name: str | None
    answer: Answer
    nearest: Sequence[Neighbour] | None = None

    @property
    def error(self) -> dict[str, str | None] | None:
        """Why the file gives no features, as in errors/ of a store; None if it does."""
        return None if self.answer.error is None else error_facts(self.answer.error)


@dataclass
class Asking:
    """Answers files with the model of the moment.

    Parameters
    ----------
    settings : ServeSettings
        The bounds.
    queue : BatchQueue
        What gives files to workers.
    model : Model
        What answers; another one may take its place at any time.
    feedback : Feedback, optional
        What keeps feedback.
    metrics : Metrics
        What counts.
    photographs : Photographs, optional
        What keeps the photographs that are labelled. None: nothing does.
    """

    settings: ServeSettings
    queue: BatchQueue
    model: Model
    feedback: Feedback | None
    metrics: Metrics
    photographs: Photographs | None = None
    recent: Recent = field(default_factory=Recent)
    arrivals: Arrivals = field(default_factory=Arrivals)
    searching: Searching = field(default_factory=lambda: Searching(NEAREST))

    async def ask(self, files: Sequence[File], model: Model) -> list[Said]:
        """Answers files.

        Raises
        ------
        RefusedError
            If too many wait already.
        """
        futures: list[asyncio.Future[Any]] = []
        try:
            for file in files:
                futures.append(self.arrivals.expect(self.queue.submit(file.data, model.loaded)))
            answers = [self._checked(each) for each in await asyncio.gather(*futures)]
        except queue.Full:
            raise overloaded("too many images wait: ask again later") from None
        finally:
            for future in futures:
                future.cancel()
        names = [uuid.uuid4().hex for _ in files]
        for name, file, answer in zip(names, files, answers, strict=True):
            if answer.label is not None:
                self.recent.add(name, await self._given(file, answer.label, model))
        return [
            Said(name, file.name, answer)
            for name, file, answer in zip(names, files, answers, strict=True)
        ]

    def _checked(self, result: Answer | Failure) -> Answer:
        """The answer of a file, with the error of one that ended its worker."""
        answer = result
        if isinstance(answer, Failure):
            answer = Answer(error=to_error(answer, self.settings.image_timeout))
        self.metrics.image(None if answer.error is None else answer.error.reason)
        return answer

    async def _given(self, file: File, label: Label, model: Model) -> Given:
        """What feedback will need of a prediction; the photograph is kept, if any are."""
        digest = hashlib.sha256(file.data).hexdigest()
        photograph = None
        if self.photographs is not None:
            photograph = await asyncio.to_thread(self.photographs.keep, digest, file.data)
        return Given(digest, label.label, label.probability, str(model.id), photograph)

    async def find_nearest(self, said: Sequence[Said], model: Model) -> list[Said]:
        """Adds the nearest images of the store, where it can be searched."""
        return list(await asyncio.gather(*(self._with_nearest(each, model) for each in said)))

    async def _with_nearest(self, said: Said, model: Model) -> Said:
        if model.index is None or said.answer.components is None:
            return said
        return replace(said, nearest=await self.searching.find(model.index, said.answer.components))

    async def judge(self, name: str, confirmed: bool | None, label: str | None) -> Judgement:
        """Keeps what a user says of a prediction.

        Parameters
        ----------
        name : str
            The prediction's id.
        confirmed : bool, optional
            Whether its label is right.
        label : str, optional
            The right label.

        Raises
        ------
        RefusedError
            If that contradicts itself, or the prediction is not known.
        PomonaError
            If it cannot be kept.
        """
        if self.feedback is None:
            raise RefusedError(404, "this server keeps no feedback")
        given = self.recent.find(name)
        if given is None:
            raise RefusedError(404, "no such prediction, or one from before the server's start")
        if label is not None and not _is_label(label):
            raise RefusedError(422, f"`label` is not a text of 1 to {MOST_LABEL:,} characters")
        if confirmed is None and label is None:
            raise RefusedError(422, "give `confirmed`, true or false, or the right `label`")
        if confirmed and label not in (None, given.label):
            raise RefusedError(422, "`confirmed` and another `label` contradict each other")
        right = given.label if confirmed else label
        judgement = Judgement(
            name,
            given.sha256,
            given.label,
            given.probability,
            given.model,
            right,
            given.photograph,
        )
        await self._keep(judgement)
        return judgement

    async def judge_stored(self, sha256: str, stored: str | None, label: str) -> Judgement:
        """Keeps what a user says of the label of an image of the store; the last word counts.

        Parameters
        ----------
        sha256 : str
            Of the image's file.
        stored : str, optional
            The label that the store has.
        label : str
            The right label.

        Raises
        ------
        RefusedError
            If it is no label, or no feedback is kept.
        PomonaError
            If it cannot be kept.
        """
        if not _is_label(label):
            raise RefusedError(422, f"a label is a text of 1 to {MOST_LABEL:,} characters")
        name = f"{STORED}-{sha256}"
        judgement = Judgement(name, sha256, stored or NO_LABEL, 1.0, STORED, label)
        await self._keep(judgement)
        return judgement

    def read_stored(self) -> dict[str, str]:
        """Returns the labels last said to be right of images of the store, by SHA-256.

        Nothing, where they cannot be read: only how far somebody has come is not known then.
        """
        try:
            return {} if self.feedback is None else self.feedback.read_stored()
        except PomonaError:
            return {}

    async def _keep(self, judgement: Judgement) -> None:
        """Writes a judgement durably. Raises RefusedError for a text that no journal takes."""
        if self.feedback is None:
            raise RefusedError(404, "this server keeps no feedback")
        try:
            await asyncio.to_thread(self.feedback.append, judgement)
        except UsageError as exc:
            raise RefusedError(422, str(exc)) from exc
        self.metrics.judgement()

    async def label_features(self, features: Row, model: Model) -> Label | None:
        """Returns what the classifier says of features of the store, float32[width].

        None: it was not asked, since too many images wait, or the worker failed.
        """
        try:
            future = self.arrivals.expect(self.queue.submit(features, model.loaded))
        except queue.Full:
            return None
        answer = await future
        return answer.label if isinstance(answer, Answer) else None


def _is_label(text: str) -> bool:
    # JSON can say what is no Unicode.
    return 0 < len(text) <= MOST_LABEL and text == text.encode("utf-8", "replace").decode()


def prediction(said: Said, model: Model) -> dict[str, Any]:
    """Returns what the API says of a file: its label, or its error."""
    content: dict[str, Any] = {"id": said.id, "model": model.id}
    if said.name is not None:
        content["name"] = said.name
    if said.error is not None:
        return {**content, "error": said.error}
    if said.answer.label is not None:
        content |= vars(said.answer.label)
    if said.nearest is not None:
        content["nearest"] = [each.to_dict() for each in said.nearest]
    return content
