"""What populations do together: means over units that are watched, windows, correlations at a lag."""

import numpy as np
import pytest

from src.statistics.counts import correlation_at, in_windows, mean_rates, mean_train, unit_rates, variation


def test_rates_are_those_of_the_time_that_was_watched():
    spikes = np.zeros((1, 2, 100, 2), np.uint8)
    spikes[0, 0, :50:5] = 1
    watched = np.ones(spikes.shape, bool)
    watched[:, 0, 50:] = False
    watched[:, 1] = False
    np.testing.assert_allclose(mean_rates(spikes, watched, 0.01), [20, np.nan])
    np.testing.assert_allclose(unit_rates(spikes[:, 0], watched[:, 0], 0.01), [20, 20])
    assert unit_rates(spikes[:, 1], watched[:, 1], 0.01).shape == (0,)


def test_spikes_that_nobody_watched_do_not_count():
    spikes, watched = np.ones((1, 1, 10, 2), np.uint8), np.zeros((1, 1, 10, 2), bool)
    watched[0, 0, :5, 0] = True
    assert mean_rates(spikes, watched, 0.1)[0] == pytest.approx(10)
    np.testing.assert_array_equal(mean_train(spikes[:, 0], watched[:, 0])[0], [1] * 5 + [np.nan] * 5)


def test_windows_with_time_that_was_not_watched_are_left_out():
    train = np.array([[1, 3, np.nan, 1, 2, 2, 9]])
    np.testing.assert_array_equal(in_windows(train, 2), [[2, np.nan, 2]])
    assert variation(in_windows(train, 2)) == 0
    assert np.isnan(variation(np.zeros((1, 5))))


def test_correlation_of_a_series_with_its_past():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4000))
    late = np.roll(x, 3, axis=1)
    assert correlation_at(x, late, 3) == pytest.approx(1, abs=0.01)
    assert abs(correlation_at(x, late, 0)) < 0.05
    assert abs(correlation_at(late, x, 3)) < 0.05


def test_trials_do_not_meet():
    first, second = np.array([[1.0, 2, 3, 1]]), np.array([[3.0, 1, 2, 2]])
    both = np.concatenate([first, second])
    pairs = [(1, 2), (2, 3), (3, 1), (3, 1), (1, 2), (2, 2)]
    assert correlation_at(both, both, 1) == pytest.approx(np.corrcoef(np.array(pairs).T)[0, 1])
    assert np.isnan(correlation_at(both, both, 9))
