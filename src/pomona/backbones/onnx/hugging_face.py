"""preprocessor_config.json: what Hugging Face's networks expect of images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomona.backbones.preprocessing import Preprocessing
from pomona.errors import UsageError

NAME = "preprocessor_config.json"
_MOST_BYTES = 2**20
# What changes pixels in a way that `Preprocessing` cannot say.
_UNKNOWN = ("include_top", "do_grayscale", "do_color_quantize")


@dataclass(frozen=True)
class Config:
    """What a file says.

    Parameters
    ----------
    preprocessing : Preprocessing
        The pixels that the network takes.
    side : int, optional
        Of its input. None: the file does not say it.
    crop_fraction : float
        The part of the short side that is left after resizing and cropping.
    """

    preprocessing: Preprocessing
    side: int | None
    crop_fraction: float


def find(model: Path) -> Config | None:
    """Reads the file beside a model, or beside its folder if that is called onnx.

    Parameters
    ----------
    model : Path
        The model's file.

    Returns
    -------
    Config or None
        None if there is no such file.

    Raises
    ------
    UsageError
        If it says nothing that can be used.
    """
    folder = model.absolute().parent
    for place in [folder, folder.parent] if folder.name == "onnx" else [folder]:
        file = place / NAME
        if not file.is_file():
            continue
        try:
            with file.open("rb") as opened:
                config = json.loads(opened.read(_MOST_BYTES))
            return _read(config)
        except (OSError, ValueError, TypeError, ArithmeticError, RecursionError, UsageError) as exc:
            why = str(exc) if type(exc) is ValueError else "it is no such file as they are"
            raise UsageError(f"{file} cannot be used ({why}): say `preprocessing`") from exc
    return None


def _read(config: Any) -> Config:
    """Reads the settings of an image processor; what is left out is as in most of them."""
    if not isinstance(config, dict):
        raise TypeError("no object")
    for name in _UNKNOWN:
        if config.get(name):
            raise ValueError(f"it says {name}")
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1
    shift = 1 if config.get("rescale_offset") else 0
    mean, std = 0, 1
    if config.get("do_normalize", True):
        if "image_mean" not in config or "image_std" not in config:
            raise ValueError("it says neither image_mean and image_std nor do_normalize false")
        mean, std = config["image_mean"], config["image_std"]
    means = [(each + shift) / factor for each in _channels(mean)]
    stds = [each / factor for each in _channels(std)]
    pixels = Preprocessing.parse(f"{','.join(map(str, means))}/{','.join(map(str, stds))}")
    bgr = bool(config.get("do_flip_channel_order"))
    side, crop_fraction = _sizes(config)
    return Config(Preprocessing(pixels.mean, pixels.std, bgr), side, crop_fraction)


def _channels(value: Any) -> list[float]:
    values: list[Any] = value if isinstance(value, list) else [value] * 3
    if len(values) != 3:
        raise ValueError(f"it is for {len(values)} channels")
    return [float(each) for each in values]


def _sizes(config: dict[str, Any]) -> tuple[int | None, float]:
    """The side of the input, and the part of the short side that it shows."""
    size = _side(config.get("size"))
    crop = _side(config.get("crop_size"))
    if crop and config.get("do_center_crop", True):
        return crop, min(1.0, crop / size) if size else 1.0
    share = config.get("crop_pct")
    return size, min(1.0, float(share)) if share and size and size < 384 else 1.0


def _side(size: object) -> int | None:
    """The side of a square, or the short side that an image is resized to."""
    if isinstance(size, dict):
        sides = {size[name] for name in ("shortest_edge", "height", "width") if size.get(name)}
        if len(sides) > 1:
            raise ValueError("it is for images that are not square")
        size = sides.pop() if sides else None
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ValueError(f"its size is {size!r}")
    return size
