"""LZW, of GIF and TIFF: whether a stream holds what its image needs, which no decoder checks."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

_MOST_BITS = 12
_TABLE = 1 << _MOST_BITS
_CHUNK = 1 << 16
_MOST_TABLES = 2_000

_Numbers = npt.NDArray[np.int64]


def is_damaged(stream: bytes, bits: int, wanted: Collection[int], *, is_tiff: bool) -> bool:
    """Whether a stream of LZW codes has one that cannot be, or another length than is wanted.

    Parameters
    ----------
    stream : bytes
        The codes (GIF89a, appendix F; TIFF 6.0, section 13).
    bits : int
        Of a value: GIF's minimum code size; 8 for TIFF.
    wanted : collection of int
        How many values it may stand for, up to its end code or its end.
    is_tiff : bool
        Whether the highest bit of a byte comes first, and codes grow one earlier.

    Returns
    -------
    bool
        False, too, for a stream of more than `_MOST_TABLES` tables, which would take long.
    """
    # A code has 12 bits at most, and stands for a value at least unless it clears the table.
    stream = stream[: 2 * max(wanted, default=0) + 4 * _MOST_TABLES]
    array = np.frombuffer(stream + bytes(3), np.uint8)
    clear, first, limit = 1 << bits, (1 << bits) + 2, 8 * len(stream)
    steps = np.maximum(np.arange(_TABLE - first + 1) - 1, 0) + first + is_tiff
    growing = np.minimum(np.ceil(np.log2(steps + 1)).astype(np.int64), _MOST_BITS)
    at = total = 0
    for _ in range(_MOST_TABLES):
        codes, at, is_over = _until_mark(array, at, limit, growing, clear, is_tiff)
        lengths = _lengths(codes, clear, first)
        if lengths is None:
            return True
        total += int(lengths.sum())
        if is_over:
            return total not in wanted
    return False


def _until_mark(
    array: npt.NDArray[np.uint8],
    at: int,
    limit: int,
    growing: _Numbers,
    clear: int,
    is_tiff: bool,
) -> tuple[_Numbers, int, bool]:
    """The codes up to the next clear code, where these end, and whether it was the end instead."""
    found: list[_Numbers] = []
    widths = growing
    while True:
        ends = at + np.cumsum(widths)
        is_last = bool(ends[-1] > limit)
        ends = ends[ends <= limit] if is_last else ends
        width = widths[: len(ends)]
        start = ends - width
        byte, shift = start >> 3, start & 7
        left, middle, right = (array[byte + step].astype(np.int64) for step in range(3))
        if is_tiff:
            codes = (left << 16 | middle << 8 | right) >> (24 - shift - width)
        else:
            codes = (left | middle << 8 | right << 16) >> shift
        codes &= (1 << width) - 1
        marks = np.flatnonzero((codes == clear) | (codes == clear + 1))
        if len(marks):
            mark = int(marks[0])
            found.append(codes[:mark])
            return np.concatenate(found), int(ends[mark]), bool(codes[mark] == clear + 1)
        found.append(codes)
        if is_last:
            return np.concatenate(found), limit, True
        at = int(ends[-1])
        # The table is full, and stays so until it is cleared.
        widths = np.full(_CHUNK, _MOST_BITS)


def _lengths(codes: _Numbers, clear: int, first: int) -> _Numbers | None:
    """How many values each code stands for; None for a code that cannot be.

    A code of the table is the string of an earlier code and one value more, so that its length is
    that of the way to a single value.
    """
    number = np.arange(len(codes))
    is_string = codes >= clear
    before = np.where(is_string, codes - first, number)
    if ((before >= number) & is_string).any():
        return None
    lengths = is_string.astype(np.int64)
    while True:
        lengths += lengths[before]
        further = before[before]
        if np.array_equal(further, before):
            return lengths + 1
        before = further
