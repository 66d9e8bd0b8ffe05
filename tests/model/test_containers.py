"""Rates in the window, and recordings cut into batches."""

from dataclasses import replace

import numpy as np
import pytest

from src.model.circuit_file import winner_take_all
from src.model.containers import Recording, window_rate

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
