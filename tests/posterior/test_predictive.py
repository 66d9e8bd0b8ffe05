"""What the posterior predicts: at the true parameters the recording is as predicted, at others it is not."""

from dataclasses import replace

import numpy as np
import pytest

from src.inference import fast_filter
from src.inference.fast_filter import has_numba
from src.model.containers import Recording
from src.model.scheme import PUBLISHED
from src.posterior.findings import rates_not_predicted
from src.posterior.predictive import (
    ARCHIVE,
    load_predictive,
    observed_rates,
    predict,
    save_predictive,
)
from src.runs.switches import switches_of
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from tests.ridge_posterior import at_the_truth, of_numbers, simulated

pytestmark = pytest.mark.skipif(not has_numba(), reason="numba is not installed")


@pytest.fixture(scope="module")
def truth():
    """A posterior at the true parameters of 6 s, and its prediction by 20 draws."""
    posterior = at_the_truth(*simulated())
    return posterior, predict(posterior, 5, np.random.default_rng(0), n_draws=20, seconds=60)


def test_the_recording_is_as_predicted(truth):
    posterior, found = truth
    assert found.rates.shape == (20, 3) and found.recorded_rates.shape == (200, 3)
    assert rates_not_predicted(found, posterior) == []
    np.testing.assert_allclose(found.rates.mean(axis=0), [12, 12, 24.6], rtol=0.15)
    np.testing.assert_allclose(found.recorded_rates.mean(axis=0), found.rates.mean(axis=0), rtol=0.03)
    # SPEC section 3.3: 36 switches in 200 s, winner and loser at 18.5 and 6.4 Hz
    assert 8 < found.switches.mean() < 28
    assert found.winner_rate.mean() == pytest.approx(18.5, rel=0.1)
    assert found.loser_rate.mean() == pytest.approx(6.5, rel=0.15)
    assert len(found.dwell_times) > 50 and (found.dwell_times > 0).all()


def test_other_circuits_are_not():
    model, recording = simulated()
    posterior = at_the_truth(model, recording, number=10)
    X = posterior.X.copy()
    X[..., 6:9] *= 1.3  # resting potentials
    found = predict(replace(posterior, X=X), 5, np.random.default_rng(0), n_draws=10, seconds=20)
    assert "I" in [each.subject for each in rates_not_predicted(found, posterior)]


def test_observed_rates_are_those_of_the_fitted_bins(truth):
    posterior, found = truth
    model, recording = posterior.model, posterior.recording
    expected = recording.observed_spikes[0, :, model.window_bins :].mean(axis=(1, 2)) / model.dt
    np.testing.assert_allclose(found.observed, expected, rtol=1e-12)
    judged = np.arange(recording.n_bins)[None] < 500
    recorded = np.array([[True, True, False, False], [True] * 4, [False] * 4])
    masked = replace(recording, judged=judged, recorded=recorded)
    spikes = recording.observed_spikes[0, :, model.window_bins : model.window_bins + 500]
    rates = observed_rates(masked, model)
    np.testing.assert_allclose(rates[:2], [spikes[0, :, :2].mean() / 0.004, spikes[1].mean() / 0.004], rtol=1e-12)
    assert np.isnan(rates[2])


def test_populations_without_recorded_neurons_and_windows_as_long_as_all_trials():
    model, recording = simulated(seconds=1, trials=2)
    recorded = np.array([[True, True, False, False], [False] * 4, [True] * 4])
    posterior = at_the_truth(model, replace(recording, recorded=recorded), number=10)
    found = predict(posterior, 5, np.random.default_rng(0), n_draws=3, seconds=7)
    assert found.recorded_rates.shape == (3 * 3, 3)  # 7 s hold three times 2 s
    assert np.isnan(found.recorded_rates[:, 1]).all() and np.isfinite(found.recorded_rates[:, [0, 2]]).all()
    step = 1 / (2 * 2)  # of a spike of one of two neurons in 2 s
    np.testing.assert_allclose(found.recorded_rates[:, 0] / step % 1, 0, atol=1e-9)
    longer = predict(posterior, 5, np.random.default_rng(0), n_draws=1, seconds=1)
    assert longer.seconds == pytest.approx(2) and longer.recorded_rates.shape == (1, 3)


def test_the_same_seed_gives_the_same_whatever_the_threads(truth):
    posterior, found = truth
    again = predict(posterior, 5, np.random.default_rng(0), n_draws=20, seconds=60, threads=1)
    for name, array in vars(found).items():
        np.testing.assert_array_equal(array, getattr(again, name))
    other = predict(posterior, 6, np.random.default_rng(0), n_draws=20, seconds=20)
    np.testing.assert_array_equal(other.draws, found.draws)
    assert (other.rates != found.rates).all(axis=1).any()


def test_simulations_are_driven_like_the_recording():
    model, recording = simulated(seconds=1, drive=60.0)
    posterior = at_the_truth(model, recording, number=10)
    driven = predict(posterior, 5, np.random.default_rng(0), n_draws=10, seconds=20)
    still = replace(recording, external_input=np.full_like(recording.external_input, 200.0))
    pushed = predict(replace(posterior, recording=still), 5, np.random.default_rng(0), n_draws=10, seconds=20)
    assert pushed.rates[:, 2].mean() > driven.rates[:, 2].mean() + 2


def test_no_switches_where_no_two_populations_compete():
    posterior = of_numbers(np.zeros((2, 2, 1)) + np.log(50), 1, 100)
    found = predict(posterior, 1, np.random.default_rng(0), n_draws=2, seconds=2)
    assert np.isnan(found.switches).all() and np.isnan(found.winner_rate).all() and len(found.dwell_times) == 0
    assert switches_of(np.zeros((1, 1, 100)), posterior.model, posterior.recording) is None


def test_switches_of_all_trials_count():
    model, recording = simulated(seconds=4, trials=2)
    T, first = recording.n_bins, np.array([True, False])
    turns = np.where(np.arange(T) < T // 2, first[:, None], ~first[:, None])
    one = 0.004 * np.stack([np.where(turns[0], 20, 5), np.where(turns[1], 20, 5), np.full(T, 25)])
    assert switches_of(np.stack([one, one]), model, recording) == 2
    short = replace(recording, judged=np.arange(T) < np.array([[T // 4], [T]]))
    assert switches_of(np.stack([one, one]), model, short) == 1


def test_files(truth, tmp_path):
    posterior, found = truth
    assert load_predictive(tmp_path, posterior) is None
    save_predictive(tmp_path, found)
    for name, value in vars(load_predictive(tmp_path, posterior)).items():
        np.testing.assert_array_equal(value, getattr(found, name))
    arrays = load_arrays(tmp_path / ARCHIVE)
    for name in ("rates", "recorded_rates", "seconds"):
        save_arrays(tmp_path / ARCHIVE, **{**arrays, name: arrays[name][..., None][:1]})
        with pytest.raises(InputError, match="predictive: expected free simulations of 3 populations"):
            load_predictive(tmp_path, posterior)


def test_without_numba_or_with_another_scheme_one_line_says_so(monkeypatch):
    model, recording = simulated(seconds=0.2)
    posterior = at_the_truth(replace(model, scheme=PUBLISHED), recording, number=10)
    with pytest.raises(InputError, match="scheme: expected the consistent one, got published"):
        predict(posterior, 1, np.random.default_rng(0))
    monkeypatch.setattr(fast_filter, "has_numba", lambda: False)
    with pytest.raises(InputError, match="expected numba, found none"):
        predict(posterior, 1, np.random.default_rng(0))


def test_silent_recordings_have_rates():
    model, recording = simulated(seconds=0.2)
    quiet = Recording(np.zeros_like(recording.observed_spikes), recording.external_input, recording.initial_rate)
    np.testing.assert_array_equal(observed_rates(quiet, model), 0)
