"""What a server needs of a room beside its own: where feedback goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Judgement:
    """What a user says of a prediction.

    Attributes
    ----------
    id : str
        The prediction's.
    sha256 : str
        Of the image's file.
    predicted : str
        The label that was given.
    probability : float
        Its probability.
    model : str
        The id of the classifier.
    label : str, optional
        The right label. None: the user only said that the predicted one is wrong.
    photograph : str, optional
        Where the photograph is kept, if it is.
    """

    id: str
    sha256: str
    predicted: str
    probability: float
    model: str
    label: str | None
    photograph: str | None = None


class Feedback(Protocol):
    """Keeps what users say."""

    def append(self, judgement: Judgement, /) -> None:
        """Keeps a judgement; it is durable once this returns. A later one of the same id counts.

        Raises
        ------
        PomonaError
            If it cannot be kept.
        """
        ...

    def read_stored(self) -> dict[str, str]:
        """Returns the labels last said to be right of images of the store, by SHA-256 of the file.

        Raises
        ------
        PomonaError
            If they cannot be read.
        """
        ...
