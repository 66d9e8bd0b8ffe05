"""The test of many statistics at once: the rate of its false alarms, its power, and intervals that agree with it."""

import numpy as np
import pytest

from src.statistics.envelope import envelope_test
from src.utils.exceptions import InputError


def draw(n, rng):
    """n draws of statistics that depend on each other, are skewed, discrete, rare, constant, or often unknown."""
    z = rng.standard_normal((n, 12))
    z[:, 1:4] += 2 * z[:, :1]
    z[:, 4] = np.exp(z[:, 4])
    z[:, 5] = rng.poisson(0.5, n)
    z[:, 6] = rng.random(n) < 0.01
    z[:, 7] = 3.0
    z[:, 8] = np.where(rng.random(n) < 0.7, np.nan, z[:, 8])
    z[:, 9] = rng.random(n)
    z[:, 10] = rng.standard_t(3, n)
    return z


@pytest.mark.parametrize("level", [0.01, 0.05])
def test_false_alarms_are_as_rare_as_asked_for(level):
    rng = np.random.default_rng(3)
    p = []
    for _ in range(400):
        recording, *simulations = draw(100, rng)
        found = envelope_test(recording, np.array(simulations), level)
        assert found.outside.any() == (found.p <= level)
        p.append(found.p)
    # four standard errors of a binomial count about the level; and no less than half of it: no power is given away
    error = np.sqrt(level * (1 - level) / len(p))
    assert np.mean(np.array(p) <= level) <= level + 4 * error
    assert 0.35 < np.mean(np.array(p) <= 0.5) < 0.65


@pytest.mark.parametrize("which", [0, 4, 7, 9])
def test_one_statistic_far_out_is_enough(which):
    rng, hits = np.random.default_rng(4), 0
    for _ in range(20):
        recording, *simulations = draw(300, rng)
        recording[which] = {0: 7.0, 4: np.exp(7.0), 7: 3.01, 9: 2.5}[which]
        found = envelope_test(recording, np.array(simulations), 0.01)
        hits += bool(found.outside[which])
        assert found.outside.sum() <= 1 + (found.outside[:4].sum())
    assert hits >= 18


def test_the_interval_says_what_the_test_says():
    rng = np.random.default_rng(5)
    recording, *simulations = draw(200, rng)
    for which in (0, 4, 9, 10):
        for value in np.linspace(-8, 30, 77):
            recording[which] = value
            found = envelope_test(recording, np.array(simulations), 0.01)
            outside = not found.low[which] <= value <= found.high[which]
            assert outside == found.outside[which], (which, value)


def test_a_copy_of_a_simulation_is_no_farther_out_than_it():
    simulations = draw(199, np.random.default_rng(8))
    for recording in simulations:
        found = envelope_test(recording, simulations, 0.01)
        assert found.outside.any() == (found.p <= 0.01)


def test_what_is_not_known_is_not_far_out():
    rng = np.random.default_rng(6)
    simulations = rng.standard_normal((199, 3))
    found = envelope_test(np.full(3, np.nan), simulations, 0.01)
    assert found.p == 1 and not found.outside.any()
    simulations[:, 0] = np.nan
    found = envelope_test(np.array([9.0, 0, 0]), simulations, 0.01)
    assert not found.outside[0] and np.isnan(found.high[0])


def test_constant_statistics_flag_nothing():
    found = envelope_test(np.ones(2), np.ones((99, 2)), 0.01)
    assert found.p == 1 and not found.outside.any()
    assert found.low.tolist() == found.high.tolist() == [1, 1]


def test_no_statistics_flag_nothing():
    assert envelope_test(np.zeros(0), np.zeros((99, 0)), 0.01).p == 1


def test_too_few_simulations_for_the_level():
    with pytest.raises(InputError, match="simulations: expected at least 99 for a level of 0.01, got 98"):
        envelope_test(np.zeros(1), np.zeros((98, 1)), 0.01)
