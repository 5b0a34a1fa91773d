"""Decode: bytes of any of the usual formats → RGB pixels → the network's square."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from pomona.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 100_000_000
# How a file of one of these formats begins, and how one begins whose width or height is 0.
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|BM|GIF8[79]a|II[*+]\0|MM\0[*+]", re.DOTALL
)
_ZERO_SIZE = re.compile(
    rb"(\x89PNG\r\n\x1a\n.{8}|BM.{16})(\0{4}|.{4}\0{4})|GIF8[79]a(\0\0|..\0\0)", re.DOTALL
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Decoded:
    """pixels: uint8[height, width, 3], RGB, as a viewer shows them; format: Pillow's name of it."""

    pixels: Pixels
    format: str

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


@contextmanager
def _image_errors() -> Iterator[None]:
    """Translates what Pillow raises into ImageError (stage "decode")."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as exc:
        raise ImageError("decode", "out_of_memory") from exc
    except Image.DecompressionBombError as exc:
        raise ImageError("decode", "too_large", f"more than {MAX_PIXELS:,} pixels") from exc
    except Exception as exc:  # Pillow's decoders raise of every kind on damaged files
        detail = re.sub(r"0x[0-9a-f]+", "0x…", " ".join(str(exc).split()))[:200]
        raise ImageError("decode", _reason(detail), detail) from exc


@_image_errors()
def decode(data: bytes) -> Decoded:
    """The first frame of an image file as RGB. Raises ImageError (stage "decode")."""
    if not data:
        raise ImageError("decode", "empty")
    with warnings.catch_warnings():
        # Pillow warns of what is an error row here: sizes near its own limit, odd metadata.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image_format = image.format or "?"
                return Decoded(to_rgb(image), "JPEG" if image_format == "MPO" else image_format)
        except UnidentifiedImageError as exc:
            raise _unidentified(data) from exc


def _unidentified(data: bytes) -> ImageError:
    """Why Pillow can open none of the formats, which it does not say."""
    if _ZERO_SIZE.match(data):
        return ImageError("decode", "zero_size")
    if _MAGIC.match(data):
        return ImageError("decode", "corrupt", "its header is cut off, damaged or of a rare kind")
    return ImageError("decode", "not_an_image")


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError("decode", "zero_size", f"{width} × {height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(
            "decode", "too_large", f"{width} × {height} pixels, more than {MAX_PIXELS:,}"
        )


def _reason(detail: str) -> str:
    lowered = detail.lower()
    if "truncated" in lowered or "unexpected end" in lowered:
        return "truncated"
    if "unsupported" in lowered or "conversion from" in lowered:
        return "unsupported"
    return "corrupt"


@_image_errors()
def to_rgb(image: Image.Image) -> Pixels:
    """A Pillow image of any mode → uint8[h, w, 3].

    EXIF orientation applied, alpha composited on white, 16 bits scaled to 8.
    Raises ImageError (stage "decode").
    """
    _check_size(image.width, image.height)
    image.load()  # here, because NumPy would swallow what a broken file raises
    image = _upright(image)
    if image.mode.startswith("I"):
        # 16-bit grey; Pillow's own conversion would clip at 255.
        grey = np.clip(np.asarray(image, dtype=np.int32), 0, 65_535)
        image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise ImageError("decode", "unsupported", "floating-point pixels")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """Turned as EXIF says. (Pillow's own `exif_transpose` fails where other tags are damaged.)"""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, ValueError, struct.error):  # EXIF data of no known kind says nothing
        return image
    return image if turn is None else image.transpose(turn)


def array_to_rgb(array: npt.NDArray[np.generic]) -> Pixels:
    """uint8 [h, w], [h, w, 1], [h, w, 3] or [h, w, 4] (RGB order) → uint8[h, w, 3].

    Raises ImageError (stage "decode").
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (3,), (4,))
    ):
        raise ImageError(
            "decode", "unsupported", f"{array.dtype}{list(array.shape)}: uint8[h, w, 3] wanted"
        )
    return to_rgb(Image.fromarray(np.ascontiguousarray(array)))


def resize(pixels: Pixels, out: Pixels, *, fit: str, crop_fraction: float | None) -> None:
    """Brings uint8[h, w, 3] to the square `out`, uint8[s, s, 3].

    By area where it shrinks, linearly where it grows, each side for itself. `fit` "crop" first
    cuts out the central square of `crop_fraction` of the short side.
    """
    if fit == "crop":
        height, width = pixels.shape[:2]
        side = max(1, round(min(height, width) * (crop_fraction or 1.0)))
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
    size = out.shape[0]
    height, width = min(pixels.shape[0], size), min(pixels.shape[1], size)
    if pixels.shape[:2] != (height, width):
        pixels = np.asarray(
            cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    if (height, width) == (size, size):
        out[:] = pixels
    else:
        cv2.resize(pixels, (size, size), dst=out, interpolation=cv2.INTER_LINEAR)
