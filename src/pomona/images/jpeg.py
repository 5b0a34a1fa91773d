"""JPEG, the format of most photographs: read by the shortest way, and at a fraction of its size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import simplejpeg

# The least size of a reduced JPEG, as a multiple of the network's input. With 2, the cosine to the
# features of all pixels fell to 0.991; with 4 it was 0.9994 or more.
DETAIL = 4
REDUCTIONS = (8, 4, 2)
# The marker of EXIF and XMP, which may hold an orientation and are Pillow's to read (APP1: ITU-T
# T.81, B.1.1.3). It never occurs in entropy-coded data.
_METADATA = b"\xff\xe1"
_PLAIN = ("YCbCr", "Gray")
_END = b"\xff\xd9"
_PROGRESSIVE = b"\xff\xc2"
_MAX_SEGMENTS = 10_000
# A coefficient of which no bit came, and the lowest bits whose lack no feature shows.
_ALL_BITS, _FINEST_BITS = 16, 1
# Marker of a frame → the kind of JPEG that its codecs rarely know, if it is one.
_FRAMES = {
    **dict.fromkeys([0xC0, 0xC1, 0xC2]),
    **dict.fromkeys([0xC9, 0xCA], "arithmetic-coded JPEG"),
    **dict.fromkeys([0xC3, 0xCB], "lossless JPEG"),
    **dict.fromkeys([0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF], "hierarchical JPEG"),
}


def reduction(width: int, height: int, side: int | None) -> int:
    """How far a JPEG may be reduced while it is decoded.

    A block of 8 × 8 pixels is decoded to 4, 2 or 1 pixels a side, for a fraction of the work
    (ITU-T T.81; libjpeg's scale_denom).

    Parameters
    ----------
    width, height : int
        Of the image, in pixels.
    side : int or None
        The pixels that the network needs of each side. None: all of them.

    Returns
    -------
    int
        1, 2, 4 or 8: the greatest divisor that leaves both sides `DETAIL` × `side` or more.
    """
    if side is None:
        return 1
    fits = (by for by in REDUCTIONS if min(width, height) >= by * DETAIL * side)
    return next(fits, 1)


def size(data: bytes) -> tuple[int, int] | None:
    """The width and height of a JPEG that `read` may be able to read; None: Pillow must read it."""
    if not data.startswith(b"\xff\xd8\xff") or _METADATA in data:
        return None
    found = _header(data)
    return found[:2] if found and found[2] in _PLAIN else None


def is_plain(data: bytes) -> bool:
    """Whether a JPEG has colours that `read` knows, and a sound header."""
    found = _header(data)
    return found is not None and found[2] in _PLAIN


def _header(data: bytes, *, strict: bool = True) -> tuple[int, int, str] | None:
    """Width, height and colours of a JPEG; None where its header cannot be read."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=strict)
    except ValueError:
        return None
    return width, height, colours


def read(
    data: bytes, width: int, height: int, by: int, *, strict: bool = True
) -> npt.NDArray[np.uint8] | None:
    """Decodes a JPEG to the same pixels as Pillow, which uses the same library.

    Parameters
    ----------
    data : bytes
        The file.
    width, height : int
        Of the image, in pixels, as `size` returned them.
    by : int
        The divisor of both, as `reduction` returned it.
    strict : bool
        Whether a file that `examine` would complain of gives no pixels. Else any JPEG may be
        given, not only one that `size` or `is_plain` knows.

    Returns
    -------
    uint8[⌈height / by⌉, ⌈width / by⌉, 3] or None
        RGB; None for a damaged file, and for colours that Pillow must convert.
    """
    if strict:
        if _lacks_scans(data):
            return None
    elif (found := _header(data, strict=False)) is None or found[2] not in _PLAIN:
        return None
    least_height, least_width = -(-height // by), -(-width // by)
    try:
        pixels = simplejpeg.decode_jpeg(
            data, min_height=least_height, min_width=least_width, strict=strict
        )
    except ValueError:
        return None
    return np.asarray(pixels, np.uint8)


def examine(data: bytes) -> tuple[bytes, str | None]:
    """Finds out whether all pixels of a JPEG are there and sound, as far as its codec can tell.

    libjpeg fills with grey what it misses, goes on after a code that cannot be, and only warns.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    data : bytes
        The file; with its end marker (EOI) where nothing else is missing.
    complaint : str or None
        What is wrong with its pixels; None: nothing.
    """
    complaint = _complaint(data)
    if complaint is None:
        return data, None
    # Not every program writes the end marker, and some put zeros before it, or in its place.
    scan = data[: data.rfind(_END)] if _END in data else data
    ended = scan.rstrip(b"\0") + _END
    return (ended, None) if _complaint(ended) is None else (data, complaint)


def _complaint(data: bytes) -> str | None:
    """What libjpeg warns of in a JPEG, or that it never notices; None: nothing."""
    found = _header(data, strict=False)
    if found is None:  # cut off, or sampled in a rare way: Pillow knows
        return None
    colours = "CMYK" if found[2] in ("CMYK", "YCCK") else "RGB"
    try:  # at an eighth of the size, which costs little and reads every code
        simplejpeg.decode_jpeg(data, colours, min_height=1, min_width=1, min_factor=8)
    except ValueError as exc:
        return str(exc)
    return "some of its scans are missing" if _lacks_scans(data) else None


def _lacks_scans(data: bytes) -> bool:
    """Whether a progressive JPEG ends before it has told all coefficients (ITU-T T.81, G.1)."""
    frame = _find_frame(data) if _PROGRESSIVE in data else None
    if frame is None or not data.startswith(_PROGRESSIVE, frame):
        return False
    components = data[frame + 10 : frame + 10 + 3 * data[frame + 9] : 3]
    # Of each component, how many of the lowest bits of each coefficient are still to come.
    left = {component: [_ALL_BITS] * 64 for component in components}
    array = np.frombuffer(data, np.uint8)
    markers = frame + np.flatnonzero(array[frame:-1] == 0xFF)
    codes = array[markers + 1]
    for at in markers[(codes == 0xD9) | (codes == 0xDA)].tolist():
        if data.startswith(_END, at):
            break
        count = data[at + 4] if at + 4 < len(data) else 255
        if at + 8 + 2 * count > len(data):
            return True
        first, last, bits = data[at + 5 + 2 * count : at + 8 + 2 * count]
        for component in data[at + 5 : at + 5 + 2 * count : 2]:
            if component in left:
                left[component][first : last + 1] = [bits & 15] * (last + 1 - first)
    return any(bits > _FINEST_BITS for coefficients in left.values() for bits in coefficients)


def _find_frame(data: bytes) -> int | None:
    """Where the frame's marker is (ITU-T T.81, B.2.2); None where there is none."""
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 10 > len(data):
            return None
        marker = data[at + 1]
        if marker in _FRAMES:
            return at
        if marker == 0xDA:  # the pixels begin
            return None
        alone = marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9
        at += 1 if alone else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def unsupported_kind(data: bytes) -> str | None:
    """The rare kind of JPEG that a file is, by its frame's header, if any."""
    frame = _find_frame(data)
    if frame is None:
        return None
    marker, bits = data[frame + 1], data[frame + 4]
    return f"{bits}-bit JPEG" if bits != 8 else _FRAMES[marker]
