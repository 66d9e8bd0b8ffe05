"""Time in which a neuron was not watched: it counts for nothing, and is not taken for silence."""

from dataclasses import replace

import numpy as np
import pytest

from src.fast_np import fast_lossy
from src.inference.innovations import common_share
from src.LIFmesoCell import simulate
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Recording, age_known, mean_of_recorded, window_rate
from src.model.scheme import CONSISTENT
from tests import oracle
from tests.cases import random_case, with_masks

MODEL = winner_take_all(scheme=CONSISTENT, window=0.2)
A = MODEL.window_bins


def test_age_is_known_after_a_spike_or_a_silent_window():
    spikes, observed = np.zeros((1, 1, 20, 3), int), np.ones((1, 1, 20, 3), bool)
    observed[0, 0, 2:6] = False
    spikes[0, 0, 8, 1] = 1
    observed[0, 0, 2:6, 2] = True
    found = age_known(spikes, observed, 5)[0, 0].T
    np.testing.assert_array_equal(np.flatnonzero(~found[0]), range(3, 11))  # silent in the bins 6 to 10
    np.testing.assert_array_equal(np.flatnonzero(~found[1]), range(3, 9))
    assert found[2].all()


@pytest.mark.parametrize("seed", range(3))
def test_what_counts_is_what_a_watcher_would_count(seed):
    recording = with_masks(random_case(M=2, B=2, T=60, A=12, n_obs=3, seed=seed), seed).recording
    seen = oracle.watched(recording.observed_spikes, recording.observed, 12)
    np.testing.assert_array_equal(recording.watched, seen & recording.recorded[:, None])
    np.testing.assert_array_equal(recording.scored, recording.judged[:, None, :, None] & recording.watched)
    last = recording.trials(slice(1, 2))
    np.testing.assert_array_equal(last.scored, recording.scored[1:])


def test_bins_that_are_left_out_stay_history():
    recording = with_masks(random_case(M=2, B=2, T=60, A=12, n_obs=3)).recording
    left_out = np.random.default_rng(0).random((2, 2, 60, 3)) < 0.2
    fewer = replace(recording, left_out=left_out)
    np.testing.assert_array_equal(fewer.scored, recording.scored & ~left_out)
    alone = replace(recording, judged=None, recorded=None, observed=None)
    assert alone.scored is None
    np.testing.assert_array_equal(replace(alone, left_out=left_out).scored, ~left_out)
    np.testing.assert_array_equal(fewer.trials(slice(1, 2)).scored, fewer.scored[1:])


def test_means_are_those_of_watched_time():
    rng = np.random.default_rng(0)
    spikes, observed = rng.random((2, 3, A + 40, 4)) < 0.1, rng.random((2, 3, A + 40, 4)) < 0.5
    observed[0, 1, 7] = False
    recorded = np.array([[True] * 4, [True, True, False, False], [False] * 4])
    found = mean_of_recorded(spikes, recorded, observed)
    assert found[1, 0, 5] == pytest.approx(spikes[1, 0, 5][observed[1, 0, 5]].mean())
    there = observed[0, 1, :, :2]
    watched = there.any(axis=1)
    by_bin = (spikes[0, 1, :, :2] & there).sum(axis=1)[watched] / there.sum(axis=1)[watched]
    assert found[0, 1, 7] == pytest.approx(by_bin.mean())
    np.testing.assert_allclose(found[:, 2], found[:, :2].mean(axis=1))
    rate = window_rate(spikes, recorded, MODEL, observed)
    assert rate[1, 0] == pytest.approx(spikes[1, 0, :A][observed[1, 0, :A]].mean() / MODEL.dt)


@pytest.fixture(scope="module")
def watched_by_turns():
    """A minute of the paper's circuit, of whose neurons each is watched for three quarters of the time, in pieces."""
    parameters, rng = reference_parameters(), np.random.default_rng(1)
    activity, spikes = simulate(parameters, MODEL, 15000 + A, 3, n_observed=4)
    pieces = rng.random((3, -(-(15000 + A) // 100), 4)) < 0.75
    observed = np.repeat(pieces, 100, axis=1)[None, :, : 15000 + A]
    recording = Recording(
        (spikes[None] * observed).astype(np.uint8),
        np.zeros((1, 3, 15000)),
        window_rate(spikes[None], None, MODEL),
        observed=observed,
    )
    return parameters, activity[None, :, A:], recording


def test_unwatched_time_is_not_silence(watched_by_turns):
    parameters, activity, recording = watched_by_turns
    silent = replace(recording, observed=None)
    gradients = [fast_lossy(parameters, activity, each, MODEL, "parameters").parameters for each in (recording, silent)]
    # At the truth the gradient is nothing but noise, whose variance is the curvature: lambda dt per counted bin.
    spikes, size = recording.observed_spikes.sum(axis=(0, 2, 3)), 3 * 15000
    errors = np.sqrt(spikes) / size
    theta = slice(-3, None)
    assert (np.abs(gradients[0][theta]) < 4 * errors).all()
    assert (np.abs(gradients[1][theta]) > 8 * errors).all()


def test_changes_that_neurons_share_are_not_those_of_watching(watched_by_turns):
    _, _, recording = watched_by_turns
    rng = np.random.default_rng(2)
    alone = (rng.random(recording.observed_spikes.shape) < 0.08).astype(np.uint8)
    observed = np.repeat(recording.observed[..., :1], 4, axis=-1)  # all of a population at the same times
    given = {"external_input": np.zeros((1, 3, 15000)), "initial_rate": np.full((1, 3), 20.0)}
    shares = [
        common_share(Recording(alone * observed, **given, observed=mask), MODEL, 0.1) for mask in (observed, None)
    ]
    assert (shares[0] < 0.3).all() and (shares[1] > 0.6).all()
