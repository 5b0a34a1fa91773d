"""Preprocessing: what a network does to the bytes of an image before its first layer."""

from __future__ import annotations

from dataclasses import dataclass

from pomona.errors import UsageError

LARGEST_NUMBER = 1e6  # of means and deviations, which are float32 in the graph
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Each channel of a pixel becomes (x − mean) / std, with x in 0…255.

    Parameters
    ----------
    mean, std : (float, float, float)
        In the network's own order of channels.
    bgr : bool
        Whether the network takes blue, green, red.
    """

    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)
    bgr: bool = False

    def in_words(self) -> str:
        """Returns it for people, such as "RGB, (x − 127.5) / 127.5"."""
        formula = "x"
        if any(self.mean):
            formula = f"x − {_numbers(self.mean)}"
        if self.std != (1.0, 1.0, 1.0):
            formula = f"({formula})" if any(self.mean) else formula
            formula += f" / {_numbers(self.std)}"
        return f"{'BGR' if self.bgr else 'RGB'}, {formula}"

    @classmethod
    def parse(cls, text: str) -> Preprocessing:
        """Reads a name of `NAMED`, or "M,M,M/S,S,S" in RGB and in 0…255. Raises UsageError."""
        if text in NAMED:
            return NAMED[text]
        try:
            mean, _, std = text.partition("/")
            one, two = _channels(mean), _channels(std or "1")
            small = all(-LARGEST_NUMBER <= each <= LARGEST_NUMBER for each in one)
            if not small or not all(1 / LARGEST_NUMBER <= each <= LARGEST_NUMBER for each in two):
                raise ValueError(text)
        except ValueError as exc:
            raise UsageError(
                f"`preprocessing` {text}: give {', '.join(NAMED)}, "
                "or means/deviations in 0…255, such as 123.7,116.3,103.5/58.4,57.1,57.4"
            ) from exc
        return cls(one, two)


def _channels(text: str) -> Channels:
    numbers = [float(number) for number in text.split(",")]
    if len(numbers) == 1:
        numbers *= 3
    red, green, blue = numbers
    return red, green, blue


def _numbers(channels: Channels) -> str:
    texts = [f"{number:.7g}" for number in channels]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _of_bytes(shares: Channels) -> Channels:
    red, green, blue = (255 * share for share in shares)
    return red, green, blue


NAMED = {
    "none": Preprocessing(),
    "unit": Preprocessing(std=(255.0, 255.0, 255.0)),
    "tf": Preprocessing((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "imagenet": Preprocessing(_of_bytes(IMAGENET_MEAN), _of_bytes(IMAGENET_STD)),
    "caffe": Preprocessing((103.939, 116.779, 123.68), bgr=True),
}
