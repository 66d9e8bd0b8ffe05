"""Intervals between spikes: against a loop over bins, with gaps, trials and units that nobody watched."""

import numpy as np
import pytest

from src.statistics.intervals import Intervals, intervals_of


def trains(rows, T=12):
    """Spikes (1, T, n) of units that fire in these bins."""
    spikes = np.zeros((1, T, len(rows)), np.uint8)
    for i, row in enumerate(rows):
        spikes[0, row, i] = 1
    return spikes


def in_a_loop(spikes, watched):
    """Every interval, unit by unit and spike by spike."""
    B, T, n = spikes.shape
    found = []
    for b in range(B):
        for i in range(n):
            last = None
            for t in range(T):
                if not watched[b, t, i]:
                    last = None
                elif spikes[b, t, i]:
                    if last is not None:
                        found.append((t - last, i))
                    last = t
    return found


def test_intervals_are_those_of_a_loop_over_time():
    rng = np.random.default_rng(0)
    for share in (0.0, 0.05, 0.5):
        spikes = rng.random((3, 80, 4)) < 0.3
        watched = rng.random((3, 80, 4)) >= share
        watched[:, :, 2] = False  # a place without a unit
        found = intervals_of(spikes, watched)
        assert sorted(zip(found.bins.tolist(), found.unit.tolist(), strict=True)) == sorted(in_a_loop(spikes, watched))


def test_a_gap_and_the_end_of_a_trial_end_an_interval():
    spikes = np.concatenate([trains([[1, 4, 9]]), trains([[2]])])
    watched = np.ones(spikes.shape, bool)
    assert intervals_of(spikes, watched).bins.tolist() == [3, 5]
    watched[0, 6] = False
    assert intervals_of(spikes, watched).bins.tolist() == [3]
    watched[0, 4] = False  # the spike in it does not count
    assert intervals_of(spikes, watched).bins.tolist() == []


def test_unequal_rates_of_units_do_not_count_as_irregularity():
    found = intervals_of(trains([[0, 2, 4, 6, 8], [0, 5, 10]]), np.ones((1, 12, 2), bool))
    assert found.variation == 0
    assert found.bins.std() > 0


def test_coefficient_of_variation_of_a_poisson_process_is_one():
    spikes = np.random.default_rng(1).random((1, 200_000, 2)) < 0.01
    found = intervals_of(spikes, np.ones(spikes.shape, bool))
    assert found.variation == pytest.approx(1, rel=0.03)
    assert found.serial == pytest.approx(0, abs=0.05)


def test_long_and_short_intervals_in_turn_are_anticorrelated():
    found = intervals_of(trains([np.cumsum([1, 5] * 6)], 40), np.ones((1, 40, 1), bool))
    assert found.serial == pytest.approx(-1, abs=0.02)
    cut = np.ones((1, 40, 1), bool)
    cut[0, 3::6] = False  # no two intervals that follow each other are left
    assert np.isnan(intervals_of(trains([np.cumsum([1, 5] * 6)], 40), cut).serial)


def test_intervals_on_both_sides_of_a_gap_do_not_follow_each_other():
    watched = np.ones((1, 20, 2), bool)
    watched[0, 6] = False
    found = intervals_of(trains([[0, 2, 5, 8, 11, 15], [1, 4]], 20), watched)
    assert found.bins.tolist() == [2, 3, 3, 4, 3] and found.goes_on.tolist() == [True, False, True, False]


def test_short_intervals():
    found = Intervals(np.array([3, 9, 1, *[20] * 17]), np.zeros(20, int), np.ones(19, bool))
    assert found.short(0.004) == pytest.approx(0.004 * 2)  # the mean of 1 and 3
    assert found.within(1) == 1 / 20 and found.within(3) == 2 / 20


def test_without_intervals_nothing_is_known():
    found = intervals_of(np.zeros((2, 10, 0)), np.ones((2, 10, 0), bool))
    assert all(np.isnan(value) for value in (found.variation, found.serial, found.short(0.004), found.within(1)))
