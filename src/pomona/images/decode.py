"""Decode: the bytes of an image file of any format → RGB pixels."""

from __future__ import annotations

import dataclasses
import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from pomona.errors import ImageError
from pomona.images import formats, grey, jpeg, tiff
from pomona.images.damage import find_damage, leniently, without_extras
from pomona.images.foreign import name_content
from pomona.images.limits import MAX_PIXELS
from pomona.images.orientation import SIDEWAYS, Pixels, canvas, orientation_of, turn_upright
from pomona.images.transparency import hides_a_picture, scale_key

# The most memory that decoding takes, of all formats and modes: tests/images/test_memory.py
# measures it.
BYTES_PER_PIXEL = 17
STRIP_PIXELS = 2**18
MAX_DETAIL = 200

# Reasons that may have a better one behind them.
_BROKEN = ("corrupt", "truncated", "damaged")


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes
    ----------
    pixels : uint8[h, w, 3]
        RGB, upright, as a viewer shows them. A JPEG may have fewer than the image
        (`jpeg.reduction`).
    format : str
        The `name` of its entry in `formats.FORMATS`.
    width, height : int
        Of the upright image, in pixels.
    damage : str or None
        What is wrong with the pixels, where the caller allows damage.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    damage: str | None = None


@contextmanager
def _image_errors(max_pixels: int) -> Iterator[None]:
    """Translates Pillow's exceptions into ImageError (stage "decode")."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as exc:
        raise ImageError("decode", "out_of_memory") from exc
    except Image.DecompressionBombError as exc:
        size = re.search(r"\d+", str(exc))
        raise _too_large(f"{int(size[0]):,}" if size else "too many", max_pixels) from exc
    except Exception as exc:  # on damaged files, Pillow's decoders raise any kind
        # The text of a KeyError is only the key.
        detail = to_detail(
            f"{type(exc).__name__}: {exc}" if isinstance(exc, KeyError) else str(exc)
        )
        raise ImageError("decode", _reason(detail), detail) from exc


def to_detail(text: str) -> str:
    """A library's message as the detail of an error.

    Parameters
    ----------
    text : str
        The message.

    Returns
    -------
    str
        One printable line of at most `MAX_DETAIL` characters, without memory addresses, paths and
        quotations, which may be of the image's metadata, such as where it was taken.
    """
    text = re.sub(r"0x[0-9a-fA-F]+", "0x…", " ".join(text.split()))
    text = re.sub(
        r"""(?<!\w)b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*"|(?:/[\w.+-]+){2,}""", "…", text
    )
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:MAX_DETAIL]


def _too_large(pixels: str, max_pixels: int) -> ImageError:
    return ImageError("decode", "too_large", f"{pixels} pixels, more than {max_pixels:,}")


def _reason(detail: str) -> str:
    """The reason, of `schemas.REASONS`, for a message of Pillow's."""
    lowered = detail.lower()
    if "truncated" in lowered or "unexpected end" in lowered:
        return "truncated"
    if any(word in lowered for word in ("unsupported", "conversion from", "unknown pixel mode")):
        return "unsupported"
    return "corrupt"


def decode(
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    side: int | None = None,
    *,
    allow_damaged: bool = False,
) -> Decoded:
    """Decodes the first frame of an image file.

    Parameters
    ----------
    data : bytes
        The file, of one of `formats.FORMATS`.
    max_pixels : int
        Larger images are refused by their header, before they take memory. Others take up to
        `BYTES_PER_PIXEL` for each pixel, and the file's size a few times.
    side : int or None
        The pixels that the network needs of each side, for `jpeg.reduction`. None: all of them.
    allow_damaged : bool
        Whether to decode a damaged file as far as its codec can, instead of refusing it.

    Returns
    -------
    Decoded
        The image, upright, with transparent pixels on white.

    Raises
    ------
    ImageError
        Stage "decode".
    """
    if not data:
        raise ImageError("decode", "empty")
    try:
        with _image_errors(max_pixels):
            plain = decode_plain_jpeg(data, max_pixels, side)
            return plain or _read_sound(data, max_pixels, side)
    except ImageError as exc:
        if exc.reason not in _BROKEN:
            raise
        if (kind := jpeg.unsupported_kind(data) or tiff.unsupported_kind(data)) is not None:
            raise ImageError("decode", "unsupported", kind) from exc
        if not allow_damaged:
            raise
        with _image_errors(max_pixels), leniently():
            decoded = _read(data, max_pixels, side, lenient=True)
        return dataclasses.replace(decoded, damage=exc.detail or exc.reason)


def decode_plain_jpeg(data: bytes, max_pixels: int, side: int | None) -> Decoded | None:
    """Decodes a JPEG that needs nothing of Pillow, as most photographs, by the shortest way.

    Parameters
    ----------
    data, max_pixels, side
        As for `decode`.

    Returns
    -------
    Decoded or None
        As of `decode`, to the bit; None for a file that `decode` must read with Pillow.

    Raises
    ------
    ImageError
        Stage "decode": for more than `max_pixels` or too little memory.
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


def _read_sound(data: bytes, max_pixels: int, side: int | None) -> Decoded:
    """Decodes a file, if need be once more without what Pillow need not have read."""
    try:
        with _image_errors(max_pixels):
            return _read(data, max_pixels, side)
    except ImageError as exc:
        pared = without_extras(data) if exc.reason in _BROKEN else None
        if pared is None:
            raise
        try:
            with _image_errors(max_pixels):
                return _read(pared, max_pixels, side)
        except ImageError:
            raise exc from None


def _read(data: bytes, max_pixels: int, side: int | None, *, lenient: bool = False) -> Decoded:
    """Decodes a file, with Pillow but for most JPEGs; lenient: as far as it can be."""
    found = formats.identify(data)
    if found is not None and (lacking := found.lacking()) is not None:
        raise ImageError("decode", "unsupported", lacking)
    names = formats.pillow_names(found)
    # Pillow warns of sizes near its own limit, and of odd metadata that costs no pixel.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=names) as image:
                image_format = formats.own_name(image.format)
                if image_format == "JPEG":
                    return _read_jpeg(image, data, max_pixels, side, lenient)
                width, height = image.size
                orientation = _load(image, max_pixels)
        except UnidentifiedImageError:
            _explain(data)
            raise
        # Only now: some formats hold the pixels twice until the file is closed.
        if not lenient:
            _refuse_damage(find_damage(data, image))
        pixels = _compose(image, orientation)
    if orientation >= SIDEWAYS:
        width, height = height, width
    return Decoded(pixels, image_format, width, height)


def _read_jpeg(
    image: Image.Image, data: bytes, max_pixels: int, side: int | None, lenient: bool
) -> Decoded:
    """Decodes a JPEG that Pillow has opened: damaged, turned, or of rare colours."""
    _check_size(image.width, image.height, max_pixels)
    width, height = image.size
    orientation = orientation_of(image)
    by = jpeg.reduction(width, height, side)
    stored = jpeg.read(data, width, height, by) if jpeg.is_plain(data) else None
    if stored is None:
        data, complaint = jpeg.examine(data)
        if not lenient:
            _refuse_damage(complaint)
        stored = jpeg.read(data, width, height, by, strict=False)
    if stored is None:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as whole:
            _load(whole, max_pixels, side)
        pixels = _compose(whole, orientation)
    else:
        pixels = turn_upright(stored, orientation)
    if orientation >= SIDEWAYS:
        width, height = height, width
    return Decoded(pixels, "JPEG", width, height)


def _refuse_damage(complaint: str | None) -> None:
    """Raises the error of a picture that a codec has made, and that is not the sound one."""
    if complaint is not None:
        lowered = complaint.lower()
        is_cut = "missing" in lowered or "premature end of jpeg file" in lowered
        raise ImageError("decode", "truncated" if is_cut else "damaged", to_detail(complaint))


def _explain(data: bytes) -> None:
    """Raises the reason why Pillow cannot open a file as any format, which it does not give."""
    image_format = formats.identify(data)
    if image_format is None:
        raise ImageError("decode", *name_content(data))
    if image_format.has_zero_size(data):
        raise ImageError("decode", "zero_size")
    if (variant := image_format.unsupported_variant(data)) is not None:
        raise ImageError("decode", "unsupported", variant)
    plugin, _ = Image.OPEN[image_format.name]
    try:
        plugin(io.BytesIO(data), "").close()
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
    """Converts a Pillow image of any mode to RGB.

    Applies the EXIF orientation, composites alpha on white, and scales 16 bits to 8.

    Parameters
    ----------
    image : PIL.Image.Image
        The image, which stays as it is.
    max_pixels : int
        Larger images are refused.

    Returns
    -------
    uint8[h, w, 3]
        RGB.

    Raises
    ------
    ImageError
        Stage "decode".
    """
    with _image_errors(max_pixels):
        return _compose(image, _load(image, max_pixels))


def _load(image: Image.Image, max_pixels: int, side: int | None = None) -> int:
    """Reads the pixels, and returns their EXIF orientation, 1 to 8."""
    _check_size(image.width, image.height, max_pixels)
    if jpeg.reduction(image.width, image.height, side) > 1:
        # Of effect for JPEGs alone, by the same rule as `jpeg.reduction`.
        image.draft(None, (jpeg.DETAIL * side, jpeg.DETAIL * side))  # type: ignore[operator]
    if image.mode == "F":
        raise ImageError("decode", "unsupported", "floating-point pixels")
    tile = getattr(image, "tag_v2", {}).get
    tile_width, tile_height = tile(TiffImagePlugin.TILEWIDTH), tile(TiffImagePlugin.TILELENGTH)
    if isinstance(tile_width, int) and isinstance(tile_height, int):
        # A TIFF's tiles may be far larger than its image.
        _check_size(tile_width, tile_height, max_pixels)
    if (kind := tiff.wrong_kind(image)) is not None:
        raise ImageError("decode", "unsupported", kind)
    has_deep_colours = grey.has_deep_colours(image)
    scale_key(image)
    image.load()
    if has_deep_colours:
        grey.check_depth(image)
    return orientation_of(image)


def _compose(image: Image.Image, orientation: int) -> Pixels:
    """Upright RGB, strip by strip: the copies between modes would take much memory at once."""
    width, height = image.size
    pixels, stored = canvas(width, height, orientation)
    rows = max(1, STRIP_PIXELS // width)
    depth = grey.measure(image, rows) if image.mode.startswith("I") else None
    is_hidden = hides_a_picture(image)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        stored[top : top + rows] = _opaque_rgb(strip.convert("RGB") if is_hidden else strip, depth)
    return pixels


def _opaque_rgb(image: Image.Image, depth: grey.Depth | None) -> Pixels:
    """RGB of a loaded image, its alpha composited on white; depth: of an image of integers."""
    if depth is not None:  # Pillow's own conversion would clip at 255
        image = Image.fromarray(depth.narrow(image))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def array_to_rgb(array: npt.NDArray[np.generic]) -> Pixels:
    """Converts an array of pixels to RGB.

    Parameters
    ----------
    array : uint8[h, w], uint8[h, w, 1], uint8[h, w, 3] or uint8[h, w, 4]
        Grey, RGB or RGBA.

    Returns
    -------
    uint8[h, w, 3]
        RGB, with alpha composited on white.

    Raises
    ------
    ImageError
        Stage "decode": for another dtype or shape, for no pixels and for too many.
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
