"""Recent: the predictions that feedback may still be given to."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

MOST = 50_000


@dataclass(frozen=True)
class Given:
    """A prediction that was given.

    Attributes
    ----------
    sha256 : str
        Of the image's file.
    label, probability
        What was predicted.
    model : str
        The id of the classifier.
    photograph : str, optional
        The name of the file under which the photograph is kept.
    """

    sha256: str
    label: str
    probability: float
    model: str
    photograph: str | None = None


class Recent:
    """The last predictions by their id."""

    def __init__(self) -> None:
        self._given: OrderedDict[str, Given] = OrderedDict()

    def add(self, name: str, given: Given) -> None:
        """Adds one, and forgets the oldest beyond `MOST`."""
        self._given[name] = given
        if len(self._given) > MOST:
            self._given.popitem(last=False)

    def find(self, name: str) -> Given | None:
        """Returns one by its id."""
        return self._given.get(name)
