"""The test of two samples, on numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pomona.operations.two_samples import compare, distances, permute, representatives


def rows(n: int, seed: int, shift: float = 0.0) -> npt.NDArray[np.float32]:
    return np.asarray(np.random.default_rng(seed).standard_normal((n, 8)) + shift, np.float32)


def names(n: int) -> list[str]:
    return [str(number) for number in range(n)]


def test_the_statistic_is_the_energy_distance() -> None:
    known, new = rows(30, 1), rows(20, 2, 0.5)
    both = np.concatenate([known, new])
    found = distances(both)
    wanted = np.linalg.norm(both[:, None] - both, axis=2)
    assert found == pytest.approx(wanted, abs=1e-5)
    inside = wanted[:30, :30].mean() + wanted[30:, 30:].mean()
    statistic, _ = permute(-found, np.arange(50) >= 30, seed=0)
    assert statistic == pytest.approx(2 * wanted[:30, 30:].mean() - inside, rel=1e-4)


def test_a_change_is_found_and_none_is_not() -> None:
    known = rows(300, 1)
    same, shifted = (compare(known, rows(60, 2, by), names(360)) for by in (0.0, 0.7))
    assert same
    assert shifted
    assert same.p > 0.05
    assert shifted.p == 1 / 1_000
    assert (shifted.known, shifted.new) == (300, 60)


def test_false_alarms_are_as_frequent_as_the_level_says() -> None:
    p = []
    for seed in range(200):
        both = rows(80, 1_000 + seed)
        p.append(permute(-distances(both), np.arange(80) >= 50, seed, permutations=99)[1])
    alarms = np.mean(np.array(p) <= 0.05)
    assert 0.005 <= alarms <= 0.1  # 5 % ± 3 standard errors


def test_frames_of_a_series_are_no_independent_draws() -> None:
    rng = np.random.default_rng(0)
    series = rows(12, 3)[np.arange(120) % 12]
    new = (series + rng.normal(0, 0.01, series.shape)).astype(np.float32)
    known = rows(200, 4)
    both = np.concatenate([known, new])
    alone = permute(-distances(both), np.arange(320) >= 200, seed=0)[1]
    thinned = compare(known, new, names(320))
    assert thinned
    assert thinned.new == 12
    assert alone <= 0.01 < thinned.p
    kept = representatives(both, names(320), seed=0)
    assert len(kept) == 212
    assert (kept == representatives(both, names(320), seed=0)).all()


def test_images_that_are_all_alike_are_one_observation() -> None:
    far = rows(20, 6) * 0.001 + 9
    found = compare(rows(200, 4), far.astype(np.float32), names(220))
    assert found
    assert found.new == 1
    assert found.p <= 0.02


def test_copies_of_known_images_leave_nothing_to_compare() -> None:
    known = rows(40, 5)
    digests = names(40)
    assert compare(known, known[:1], [*digests, digests[0]]) is None
