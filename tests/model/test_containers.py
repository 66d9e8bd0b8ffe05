"""Rates in the window, and recordings cut into batches."""

from dataclasses import replace

import numpy as np
import pytest

from src.model.circuit_file import winner_take_all
from src.model.containers import Recording, age_known, mean_of_recorded, window_rate
from tests.cases import random_case, with_masks

MODEL = replace(winner_take_all(), window_bins=10)


def test_A0_is_the_mean_rate_of_the_recorded_neurons_in_the_window_alone():
    spikes = np.zeros((2, 3, 15, 4), np.uint8)
    spikes[0, 1, :10, 0], spikes[:, :, 10:] = 1, 1  # what comes after the window does not count
    expected = np.zeros((2, 3))
    expected[0, 1] = 10 / (10 * 4 * MODEL.dt)
    np.testing.assert_allclose(window_rate(spikes, None, MODEL), expected, rtol=1e-15)
    recorded = np.ones((3, 4), bool)
    np.testing.assert_allclose(window_rate(spikes, recorded, MODEL), expected, rtol=1e-12)
    recorded[1, 2:] = False  # half of the places are empty
    np.testing.assert_allclose(window_rate(spikes, recorded, MODEL)[0, 1], 2 * expected[0, 1], rtol=1e-12)
    recorded[0] = False  # nobody there: the mean over the others
    np.testing.assert_allclose(window_rate(spikes, recorded, MODEL)[0], [expected[0, 1], 2 * expected[0, 1], 0])


@pytest.mark.parametrize(("seconds", "sizes"), [(None, [5]), (0.001, [1] * 5), (0.3, [3, 2]), (9, [5])])
def test_batches_hold_whole_trials(seconds, sizes):
    recording = Recording(np.zeros((5, 3, 35, 2), np.uint8), np.zeros((5, 3, 25)), np.ones((5, 3)))
    batches = recording.in_batches(seconds, 0.004)
    assert [batch.n_trials for batch in batches] == sizes


def test_means_and_rates_are_those_of_watched_bins():
    rng = np.random.default_rng(0)
    spikes = (rng.random((2, 3, 15, 4)) < 0.3).astype(np.uint8)
    observed = rng.random(spikes.shape) < 0.6
    recorded = np.array([[True] * 4, [True, True, False, False], [False] * 4])
    observed[0, 0, :7], observed[1, 0, :10] = False, False  # no unit in some bins; none in the whole window
    mean, rate = mean_of_recorded(spikes, recorded, observed), window_rate(spikes, recorded, MODEL, observed)
    for b in range(2):
        by_hand = np.full((3, 15), np.nan)
        rates = np.full(3, np.nan)
        for m in range(2):
            seen = observed[b, m] & recorded[m]
            for t in range(15):
                by_hand[m, t] = spikes[b, m, t][seen[t]].mean() if seen[t].any() else np.nan
            by_hand[m][np.isnan(by_hand[m])] = np.nanmean(by_hand[m])
            part = slice(10) if seen[:10].any() else slice(None)
            rates[m] = spikes[b, m, part][seen[part]].mean() / MODEL.dt
        by_hand[2], rates[2] = by_hand[:2].mean(0), rates[:2].mean()
        np.testing.assert_allclose(mean[b], by_hand, rtol=1e-12)
        np.testing.assert_allclose(rate[b], rates, rtol=1e-12)
    everything = np.ones(spikes.shape, bool)
    np.testing.assert_allclose(mean_of_recorded(spikes, None, everything), mean_of_recorded(spikes), rtol=1e-12)
    np.testing.assert_allclose(
        window_rate(spikes, recorded, MODEL, everything), window_rate(spikes, recorded, MODEL), rtol=1e-12
    )


def test_what_is_scored():
    rng = np.random.default_rng(1)
    judged, recorded = rng.random((2, 25)) < 0.7, np.array([[True, False], [True, True], [False, True]])
    observed, left_out = rng.random((2, 3, 35, 2)) < 0.7, rng.random((2, 3, 25, 2)) < 0.2
    usual = Recording(np.zeros((2, 3, 35, 2), np.uint8), np.zeros((2, 3, 25)), np.ones((2, 3)))
    assert usual.scored is None
    known = (observed & age_known(usual.observed_spikes, observed, 10))[:, :, 10:]
    np.testing.assert_array_equal(replace(usual, observed=observed).scored, known)
    np.testing.assert_array_equal(replace(usual, left_out=left_out).scored, ~left_out)
    every = replace(usual, judged=judged, recorded=recorded, observed=observed, left_out=left_out)
    expected = judged[:, None, :, None] & recorded[:, None] & known & ~left_out
    np.testing.assert_array_equal(every.scored, expected)
    np.testing.assert_array_equal(every.trials(slice(1, 2)).scored, expected[1:])


def test_the_first_bins_of_a_recording():
    case = with_masks(random_case(M=3, B=2, T=60, A=20))
    left_out = np.random.default_rng(0).random((2, 3, 60, 2)) < 0.1
    whole = replace(case.recording, true_activity=case.activity, left_out=left_out)
    part = whole.first_bins(25)
    assert (part.n_bins, part.window_bins) == (25, 20)
    for name in ("observed_spikes", "observed"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:, :, :45])
    for name in ("external_input", "true_activity"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[..., :25])
    np.testing.assert_array_equal(part.judged, whole.judged[:, :25])
    np.testing.assert_array_equal(part.scored, whole.scored[:, :, :25])
    assert case.recording.first_bins(5).left_out is None
