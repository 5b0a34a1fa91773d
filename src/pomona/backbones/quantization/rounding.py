"""Rounds a convolution's weights to 8 bits, a scale for each of its outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST = 127
# Scales that are tried, in units of the one at which the largest weight is `LARGEST`.
_SCALES = np.linspace(1, 4 / 3, 32)


def round_weights(
    weights: NDArray[np.float64], least_scales: NDArray[np.float64]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rounds weights to whole numbers times a scale for each output.

    Of several scales, each output takes the one that errs least. The weights of a spatial filter
    (a kernel of more than one pixel) are rounded so that their sum is kept: where an image is flat,
    the error of the sum is the error of the output, and nothing makes up for it.

    Parameters
    ----------
    weights : ndarray of float64[outputs, inputs, *kernel]
        The weights.
    least_scales : ndarray of float64[outputs]
        The least scale that each output may have.

    Returns
    -------
    rounded : ndarray of int8, of the same shape
        Numbers of -127 to 127.
    scales : ndarray of float32[outputs]
        What they are multiplied by.
    """
    filters = weights.reshape(len(weights), weights.shape[1], -1)
    is_spatial = filters.shape[2] > 1
    unit = np.abs(filters).max((1, 2), initial=1e-12) / LARGEST
    least_error = np.full(len(filters), np.inf)
    rounded, scales = np.zeros_like(filters), np.zeros(len(filters))
    for factor in _SCALES:
        # As float32, for the products of the graph are made of these.
        tried = np.maximum(factor * unit, least_scales).astype(np.float32).astype(np.float64)
        exact = filters / tried[:, None, None]
        whole = _keep_sums(exact) if is_spatial else np.rint(exact)
        whole = whole.clip(-LARGEST, LARGEST)
        difference = whole * tried[:, None, None] - filters
        error = (difference**2).sum((1, 2))
        if is_spatial:
            error += filters.shape[2] * (difference.sum(2) ** 2).sum(1)
        better = error < least_error
        least_error[better], scales[better] = error[better], tried[better]
        rounded[better] = whole[better]
    return rounded.reshape(weights.shape).astype(np.int8), scales.astype(np.float32)


def _keep_sums(exact: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounds float64[outputs, inputs, n] along n, each number with the error of those before it.

    From the largest to the smallest, so that what is left is the error of the smallest.
    """
    order = np.argsort(-np.abs(exact), axis=2, kind="stable")
    rounded, error = np.empty_like(exact), np.zeros(exact.shape[:2])
    for rank in range(exact.shape[2]):
        place = order[:, :, rank, None]
        wanted = np.take_along_axis(exact, place, 2)[:, :, 0] + error
        whole = np.rint(wanted)
        np.put_along_axis(rounded, place, whole[:, :, None], 2)
        error = wanted - whole
    return rounded
