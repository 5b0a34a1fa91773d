"""Transparency: colours that stand for it, and alpha that says nothing."""

from __future__ import annotations

from PIL import Image


def scale_key(image: Image.Image) -> None:
    """Scales a PNG's transparent colour from the depth of the file to that of the pixels.

    Parameters
    ----------
    image : PIL.Image.Image
        Of any format, opened and not yet loaded.
    """
    key, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if key is None or image.format != "PNG" or not tiles:
        return
    raw_mode = tiles[0][3]
    if raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if raw_mode == "L;2" else 17)
    elif raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def hides_a_picture(image: Image.Image) -> bool:
    """Whether the alpha of a loaded image is 0 everywhere, and its colours are a picture.

    Some programs leave a mask empty that they do not use. An image without colours is transparent.
    """
    if image.mode not in ("RGBA", "LA") or image.getbbox() is not None:
        return False
    bands = image.getextrema()[:-1]
    return any(low != high for low, high in bands)  # type: ignore[misc]
