from __future__ import annotations

import numpy as np
import pytest

from pomona.backbones.quantization.rounding import LARGEST, round_weights


@pytest.mark.parametrize("shape", [(40, 3, 3, 3), (40, 1, 5, 5), (40, 24, 1, 1)])
def test_no_weight_errs_by_more_than_a_step(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).normal(size=shape)
    weights[0] = 0
    rounded, scales = round_weights(weights, np.zeros(len(weights)))
    assert rounded.dtype == np.int8
    assert np.abs(rounded.astype(int)).max() <= LARGEST
    steps = scales.astype(np.float64).reshape(-1, 1, 1, 1)
    assert (np.abs(rounded * steps - weights) <= 1.5 * steps + 1e-12).all()
    assert not rounded[0].any()


def test_spatial_filters_keep_their_sums() -> None:
    weights = np.random.default_rng(0).normal(size=(200, 1, 3, 3))
    rounded, scales = round_weights(weights, np.zeros(len(weights)))
    plain = np.abs(weights).max((1, 2, 3)) / LARGEST
    sums = rounded.sum((1, 2, 3)) * scales.astype(np.float64)
    errors = np.abs(sums - weights.sum((1, 2, 3))) / plain
    nearest = np.rint(weights / plain[:, None, None, None]).sum((1, 2, 3))
    assert errors.max() < 0.6
    assert errors.mean() < 0.2 * np.abs(nearest - weights.sum((1, 2, 3)) / plain).mean()


def test_a_scale_is_never_below_the_least() -> None:
    weights = np.full((1, 1, 1, 1), 1e-9)
    rounded, scales = round_weights(weights, np.array([0.5]))
    assert scales[0] == 0.5
    assert rounded[0, 0, 0, 0] == 0
