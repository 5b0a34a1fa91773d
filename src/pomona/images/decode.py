"""Decode: bytes of any of the usual formats → RGB pixels → the network's square."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from pomona.errors import ImageError
from pomona.images import jpeg
from pomona.images.limits import MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# What decoding takes at most, of all formats and modes: tests/sources/test_memory.py measures it.
BYTES_PER_PIXEL = 17
STRIP_PIXELS = 2**18
MAX_DETAIL = 200
# How a file of one of these formats begins, and how one begins whose width or height is 0.
_MAGIC = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<WEBP>RIFF....WEBP)|(?P<BMP>BM)"
    rb"|(?P<GIF>GIF8[79]a)|(?P<TIFF>II[*+]\0|MM\0[*+])",
    re.DOTALL,
)
_ZERO_SIZE = re.compile(
    rb"(\x89PNG\r\n\x1a\n.{8}|BM.{16})(\0{4}|.{4}\0{4})|GIF8[79]a(\0\0|..\0\0)", re.DOTALL
)

Pixels = npt.NDArray[np.uint8]

SIDEWAYS = 5

# EXIF's orientation (EXIF 2.3, tag 0x0112) → the upright picture, seen as it is stored.
_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@dataclass(frozen=True)
class Decoded:
    """pixels: uint8[h, w, 3], RGB, as a viewer shows them; width, height: of the image.

    A JPEG's pixels may be fewer than that (`jpeg.reduction`). format: Pillow's name of it.
    """

    pixels: Pixels
    format: str
    width: int
    height: int


@contextmanager
def _image_errors(max_pixels: int) -> Iterator[None]:
    """Translates what Pillow raises into ImageError (stage "decode")."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as exc:
        raise ImageError("decode", "out_of_memory") from exc
    except Image.DecompressionBombError as exc:
        size = re.search(r"\d+", str(exc))
        raise _too_large(f"{int(size[0]):,}" if size else "too many", max_pixels) from exc
    except Exception as exc:  # Pillow's decoders raise of every kind on damaged files
        # A KeyError says no more than the key.
        detail = in_words(f"{type(exc).__name__}: {exc}" if isinstance(exc, KeyError) else str(exc))
        raise ImageError("decode", _reason(detail), detail) from exc


def in_words(text: str) -> str:
    """A library's message as an error's detail: one line, without addresses, paths and quotations.

    What it quotes may be of the image's metadata, such as where it was taken.
    """
    text = re.sub(r"0x[0-9a-fA-F]+", "0x…", " ".join(text.split()))
    text = re.sub(
        r"""(?<!\w)b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*"|(?:/[\w.+-]+){2,}""", "…", text
    )
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:MAX_DETAIL]


def _too_large(pixels: str, max_pixels: int) -> ImageError:
    return ImageError("decode", "too_large", f"{pixels} pixels, more than {max_pixels:,}")


def _reason(detail: str) -> str:
    lowered = detail.lower()
    if "truncated" in lowered or "unexpected end" in lowered:
        return "truncated"
    if any(word in lowered for word in ("unsupported", "conversion from", "unknown pixel mode")):
        return "unsupported"
    return "corrupt"


def decode(data: bytes, max_pixels: int = MAX_PIXELS, side: int | None = None) -> Decoded:
    """The first frame of an image file as RGB. Raises ImageError (stage "decode").

    More than max_pixels are refused by the header, before they take memory; else it takes up to
    `BYTES_PER_PIXEL` for each, and the file's size a few times. side: what the network needs of
    it, for `jpeg.reduction`; None: all pixels.
    """
    if not data:
        raise ImageError("decode", "empty")
    try:
        with _image_errors(max_pixels):
            return decode_plain_jpeg(data, max_pixels, side) or _read(data, max_pixels, side)
    except ImageError as exc:
        kind = jpeg.unsupported_kind(data) if exc.reason in ("corrupt", "truncated") else None
        if kind is None:
            raise
        raise ImageError("decode", "unsupported", kind) from exc


def decode_plain_jpeg(data: bytes, max_pixels: int, side: int | None) -> Decoded | None:
    """What `decode` gives of a JPEG with nothing special about it; None of anything else.

    Raises ImageError as `decode` does, for more than max_pixels or too little memory.
    """
    size = jpeg.size(data)
    if size is None:
        return None
    _check_size(*size, max_pixels)
    try:
        pixels = jpeg.read(data, *size, jpeg.reduction(*size, side))
    except MemoryError as exc:
        raise ImageError("decode", "out_of_memory") from exc
    return None if pixels is None else Decoded(pixels, "JPEG", *size)


def _read(data: bytes, max_pixels: int, side: int | None) -> Decoded:
    # Pillow warns of what is an error row here: sizes near its own limit, odd metadata.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                image_format = "JPEG" if image.format == "MPO" else image.format or "?"
                width, height = image.size
                orientation = _load(image, max_pixels, side)
        except UnidentifiedImageError:
            _explain(data)
            raise
        # Here, where the file is closed, whose pixels some formats hold a second time.
        pixels = _compose(image, orientation)
    if orientation >= SIDEWAYS:
        width, height = height, width
    return Decoded(pixels, image_format, width, height)


def _explain(data: bytes) -> None:
    """Raises why Pillow can open a file as none of the formats, which it does not say."""
    if _ZERO_SIZE.match(data):
        raise ImageError("decode", "zero_size")
    magic = _MAGIC.match(data)
    if magic is None:
        raise ImageError("decode", "not_an_image")
    if data.startswith(b"MM\0+"):
        raise ImageError("decode", "unsupported", "big-endian BigTIFF")
    reader, _ = Image.OPEN[magic.lastgroup or ""]
    try:
        reader(io.BytesIO(data), "").close()
    except SyntaxError as exc:
        if str(exc) and not isinstance(exc.__cause__, (IndexError, struct.error)):
            raise
    raise ImageError("decode", "corrupt", "its header is cut off or damaged")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError("decode", "zero_size", f"{width} × {height} pixels")
    if width * height > max_pixels:
        raise _too_large(f"{width:,} × {height:,}", max_pixels)


def to_rgb(image: Image.Image, max_pixels: int = MAX_PIXELS) -> Pixels:
    """A Pillow image of any mode → uint8[h, w, 3].

    EXIF orientation applied, alpha composited on white, 16 bits scaled to 8.
    Raises ImageError (stage "decode").
    """
    with _image_errors(max_pixels):
        return _compose(image, _load(image, max_pixels))


def _load(image: Image.Image, max_pixels: int, side: int | None = None) -> int:
    """Reads the pixels; the orientation that EXIF says they have."""
    _check_size(image.width, image.height, max_pixels)
    if jpeg.reduction(image.width, image.height, side) > 1:
        # For JPEGs alone, and by the same rule.
        image.draft(None, (jpeg.DETAIL * side, jpeg.DETAIL * side))  # type: ignore[operator]
    if image.mode == "F":
        raise ImageError("decode", "unsupported", "floating-point pixels")
    tile = getattr(image, "tag_v2", {}).get
    tile_width, tile_height = tile(TiffImagePlugin.TILEWIDTH), tile(TiffImagePlugin.TILELENGTH)
    if isinstance(tile_width, int) and isinstance(tile_height, int):
        # Of a TIFF, which may be far larger than the picture.
        _check_size(tile_width, tile_height, max_pixels)
    if image.mode == "I;16" and tile(TiffImagePlugin.BITSPERSAMPLE) == (12,):
        raise ImageError("decode", "unsupported", "12-bit TIFF")
    _scale_key(image)
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, struct.error):  # EXIF data of no known kind says nothing
        return 1
    return orientation if orientation in _STORED else 1


def _scale_key(image: Image.Image) -> None:
    """Brings a PNG's transparent colour from the depth of the file to that of the pixels."""
    key, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    if key is None or image.format != "PNG" or not tiles:
        return
    raw_mode = tiles[0][3]
    if raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if raw_mode == "L;2" else 17)
    elif raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _compose(image: Image.Image, orientation: int) -> Pixels:
    """Strip by strip, for the copies on the way from one mode to another take much memory."""
    width, height = image.size
    pixels = np.empty(
        (width, height, 3) if orientation >= SIDEWAYS else (height, width, 3), np.uint8
    )
    stored = _STORED[orientation](pixels) if orientation != 1 else pixels
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        stored[top : top + rows] = _opaque_rgb(strip)
    return pixels


def _opaque_rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):
        # 16-bit grey; Pillow's own conversion would clip at 255.
        wide = np.asarray(image, dtype=np.int32)
        grey = ((np.clip(wide, 0, 65_535) + 128) // 257).astype(np.uint8)
        if isinstance(key := image.info.get("transparency"), int):
            grey[wide == key] = 255
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


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
    with _resizing_by_intel():
        if pixels.shape[:2] != (height, width):
            pixels = np.asarray(
                cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8
            )
        if (height, width) == (size, size):
            out[:] = pixels
        elif cv2.ipp.useIPP():
            cv2.resize(pixels, (size, size), dst=out, interpolation=cv2.INTER_LINEAR)
        else:  # of bytes, OpenCV's own code errs by up to 0.78 of a level
            numbers = pixels.astype(np.float32)
            exact = cv2.resize(numbers, (size, size), interpolation=cv2.INTER_LINEAR)
            cv2.convertScaleAbs(exact, dst=out)


@contextmanager
def _resizing_by_intel() -> Iterator[None]:
    """Has OpenCV resize by Intel's library in this thread, where it is part of it (not on ARM).

    It is left out by default for having other bits. They are as good, or better, and there sooner.
    """
    before = cv2.ipp.useIPP_NotExact()
    cv2.ipp.setUseIPP_NotExact(True)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP_NotExact(before)
