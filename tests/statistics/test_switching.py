"""Switch counts on activities whose switches are known, and the smoothing they rest on."""

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from src.statistics.smoothing import smooth
from src.statistics.switching import Estimate, Switching, find_switches, switching_statistics
from src.utils.exceptions import InputError
from src.utils.files import load_arrays

DATASET = Path(__file__).parents[2] / "dataset" / "3pop_noinput_small"
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


def poisson(rng, per_second, length):
    """Return a recording that switches at the times of a Poisson process."""
    times = np.sort(rng.random(rng.poisson(per_second * length))) * length
    n = len(times)
    return Switching(np.ones(1, np.int8), times, n // 2, n - n // 2, np.diff(times), 20.0, 5.0, length)


def test_statistics_of_switches_at_known_times():
    # Garwood's interval of a count of 3 is 0.6187 to 8.7673, that of 0 is 0 to -ln 0.025.
    found = find_switches(blocks((20, 5), (4, 19), (20, 5), (20, 5), (4, 19)), DT)
    assert found.length == pytest.approx(10)
    known = switching_statistics(found, np.random.default_rng(0))
    rate = known.per_100_s
    np.testing.assert_allclose([rate.value, rate.low, rate.high], [30, 6.187, 87.673], rtol=1e-4)
    np.testing.assert_allclose([known.mean_dwell.value, known.median_dwell.value], 3, atol=0.01)
    np.testing.assert_allclose([known.mean_dwell.low, known.mean_dwell.high], [2, 4], atol=0.01)
    silent = switching_statistics(find_switches(np.full((2, 500), 10.0), DT), np.random.default_rng(0))
    rate = silent.per_100_s
    np.testing.assert_allclose([rate.value, rate.low, rate.high], [0, 0, -np.log(0.025) * 50], rtol=1e-12)
    assert str(silent.mean_dwell) == "-"


def test_intervals_cover_the_truth_of_poisson_switches():
    rng, length, per_second = np.random.default_rng(0), 200.0, 1 / 8
    covered = np.zeros(3)
    for _ in range(400):
        known = switching_statistics(poisson(rng, per_second, length), rng, n_resamples=300)
        truth = (100 * per_second, 1 / per_second, np.log(2) / per_second)
        parts = (known.per_100_s, known.mean_dwell, known.median_dwell)
        covered += [part.low <= true <= part.high for part, true in zip(parts, truth, strict=True)]
    rate, mean, median = covered / 400
    # The exact interval covers at least 95 % (here 3 standard errors of 400 trials are granted), the bootstrap of some
    # two dozen skewed numbers a few percent less.
    assert 0.94 - 0.02 <= rate <= 0.99
    assert 0.86 <= mean <= 0.97 and 0.86 <= median <= 0.99


def test_a_stricter_level_is_wider_and_the_generator_decides():
    found = poisson(np.random.default_rng(1), 0.1, 300.0)
    usual, same = (switching_statistics(found, np.random.default_rng(5)) for _ in range(2))
    strict = switching_statistics(found, np.random.default_rng(5), level=0.999)
    assert usual == same
    for name in ("per_100_s", "mean_dwell", "median_dwell"):
        narrow, wide = getattr(usual, name), getattr(strict, name)
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_switches_of_a_known_sequence_are_all_found():
    rng = np.random.default_rng(2)
    dwell = 0.6 + rng.exponential(4, 60)
    state = np.repeat(np.arange(60) % 2, np.rint(dwell / DT).astype(int))
    rate = rng.poisson(400 * DT * np.stack([np.where(state, 6, 19), np.where(state, 19, 6)])) / (400 * DT)
    known = switching_statistics(found := find_switches(rate, DT), rng)
    assert (found.to_first, found.to_second) == (29, 30)
    assert known.per_100_s.value == pytest.approx(100 * 59 / dwell.sum(), rel=1e-3)
    assert known.mean_dwell.value == pytest.approx(dwell[1:-1].mean(), rel=0.02)
    assert known.median_dwell.value == pytest.approx(np.median(dwell[1:-1]), rel=0.05)


def test_one_dwell_time_has_no_interval():
    known = switching_statistics(find_switches(blocks((20, 5), (4, 19), (20, 5)), DT), np.random.default_rng(0))
    assert str(known.mean_dwell) == "2" and np.isnan(known.mean_dwell.low)
    assert str(Estimate(12.34, 8.249, 17.2)) == "12.3 [8.2, 17]"


@pytest.mark.parametrize("options", [{"level": 0.0}, {"level": 1.0}, {"n_resamples": 0}])
def test_bad_statistics(options):
    found = find_switches(blocks((20, 5)), DT)
    with pytest.raises(InputError, match="expected 0 < level < 1 and n_resamples >= 1, got"):
        switching_statistics(found, np.random.default_rng(0), **options)


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
