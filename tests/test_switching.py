"""Switch counts on activities whose switches are known, and the smoothing they rest on."""

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from src.files import load_arrays
from src.settings import InputError
from src.switching import find_switches, smooth

DATASET = Path(__file__).parents[1] / "dataset" / "3pop_noinput_small"
DT = 0.004


def blocks(*levels, seconds=2.0):
    """Return rates (2, n_bins) that stay at pairs of levels for some seconds each."""
    return np.repeat(np.array(levels, float).T, round(seconds / DT), axis=1)


@pytest.mark.parametrize("width", [0.02, 0.08])
@pytest.mark.parametrize("shape", [(300,), (3, 300), (2, 3, 50)])
def test_smooth_is_a_gaussian_filter_along_time(shape, width):
    rate = np.random.default_rng(0).poisson(5, shape).astype(float)
    before = rate.copy()
    expected = gaussian_filter1d(rate, width / DT, axis=-1, mode="reflect")
    np.testing.assert_allclose(smooth(rate, DT, width), expected, rtol=1e-10)
    np.testing.assert_array_equal(rate, before)


def test_smooth_by_nothing_and_of_a_constant():
    rate = np.random.default_rng(0).random((2, 20))
    np.testing.assert_array_equal(smooth(rate, DT, 0.0), rate)
    np.testing.assert_allclose(smooth(np.full((2, 50), 7.0), DT, 0.1), 7.0, rtol=1e-12)


def test_switches_dwell_times_and_rates():
    rate = blocks((20, 5), (4, 19), (20, 5), (20, 5), (4, 19))
    found = find_switches(rate, DT)
    assert (found.to_first, found.to_second) == (1, 2)
    # A smoothed step from +15 to -15 (or back) is an error function that passes 6 Hz beyond zero at the quantile 21/30.
    after = 0.08 * NormalDist().inv_cdf(0.7)
    np.testing.assert_allclose(found.times, np.array([2, 4, 8]) + after, atol=DT)
    np.testing.assert_allclose(found.dwell_times, [2, 4], atol=1.5 * DT)
    assert found.winner_rate == pytest.approx(19.6, abs=0.3)
    assert found.loser_rate == pytest.approx(4.6, abs=0.3)
    assert found.state.shape == (2500,)
    assert found.state[[0, 750, 1250, 1750, -1]].tolist() == [1, -1, 1, 1, -1]


def test_hysteresis_ignores_differences_within_the_bound():
    rate = blocks((10, 10), (20, 10), (8, 13), (14, 9), (5, 9), (10, 17), (10, 10))
    found = find_switches(rate, DT)
    assert (found.to_first, found.to_second) == (0, 1)
    assert found.state[[0, 250, 750, 1250, 1750, 2250, 2750, -1]].tolist() == [0, 0, 1, 1, 1, 1, -1, -1]
    assert len(found.dwell_times) == 0
    assert find_switches(rate, DT, bound=4.5).to_first == 1


@pytest.mark.parametrize(("seconds", "switches"), [(0.02, 0), (0.3, 2)])
def test_a_blip_shorter_than_the_gaussian_is_no_switch(seconds, switches):
    rate = blocks((18, 6), (18, 6))
    rate[:, 400 : 400 + round(seconds / DT)] = [[6], [18]]
    assert len(find_switches(rate, DT).times) == switches


def test_pair_says_who_competes():
    a, b = blocks((20, 5), (5, 20), (20, 5))
    rate = np.stack([np.zeros_like(a), b, np.zeros_like(a), a])
    found = find_switches(rate, DT, pair=(3, 1))
    assert (found.to_first, found.to_second) == (1, 1)
    swapped = find_switches(rate, DT, pair=(1, 3))
    np.testing.assert_array_equal(swapped.state, -found.state)
    np.testing.assert_array_equal(swapped.times, found.times)
    assert (swapped.winner_rate, swapped.loser_rate) == (found.winner_rate, found.loser_rate)
    assert len(find_switches(rate, DT).times) == 0


def test_without_a_winner():
    found = find_switches(np.full((2, 500), 10.0), DT)
    assert (found.to_first, found.to_second, len(found.times), len(found.dwell_times)) == (0, 0, 0, 0)
    assert not found.state.any()
    assert np.isnan([found.winner_rate, found.loser_rate]).all()


def test_shipped_recording_switches_both_ways_in_the_fitted_ten_seconds():
    arrays = load_arrays(DATASET, ("A_t_pop", "dt"))
    rate, dt = arrays["A_t_pop"].T, float(arrays["dt"])
    found = find_switches(rate[:2], dt)
    states = found.state[np.rint(found.times / dt).astype(int)]
    inside = (found.times > 1) & (found.times < 11)
    assert set(states[inside]) == {-1, 1}
    # The figures of SPEC section 2; ten seconds know them to about 1 Hz.
    assert found.winner_rate == pytest.approx(19, abs=1.5)
    assert found.loser_rate == pytest.approx(6, abs=1.5)
    assert rate[2].mean() == pytest.approx(24.5, abs=0.2)


@pytest.mark.parametrize(
    ("rate", "options", "message"),
    [
        (np.ones((2, 9)), {"pair": (0, 2)}, r"pair: expected two of the populations.*got \(0, 2\), shape \(2, 9\)"),
        (np.ones((2, 9)), {"pair": (1, 1)}, "pair: expected two"),
        (np.ones((2, 9)), {"pair": (-1, 0)}, "pair: expected two"),
        (np.ones(9), {}, "pair: expected two"),
        (np.ones((2, 9)), {"bound": -1.0}, "bound: expected at least 0 Hz, got -1"),
        (np.ones((2, 9)), {"width": -0.1}, "width >= 0 in s, got 0.004 and -0.1"),
        (np.ones((2, 9)), {"dt": 0.0}, "dt > 0"),
    ],
)
def test_bad_input(rate, options, message):
    with pytest.raises(InputError, match=message) as caught:
        find_switches(rate, **({"dt": DT} | options))
    assert "\n" not in str(caught.value)
