"""The particle filter against a sum over all activities, against a population without noise, and its parts."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from src.fast_np import fast_lossy
from src.inference import particle_filter
from src.inference.particle_filter import filter_spikes, systematic
from src.LIFmesoCell import LIFmesoCell
from src.model.scheme import CONSISTENT, PUBLISHED
from src.utils.exceptions import InputError
from tests.cases import random_case, with_masks
from tests.tiny import all_activities, two_neurons


def test_likelihood_and_predictions_are_those_of_all_activities():
    parameters, model, recording = two_neurons()
    found = filter_spikes(parameters, model, recording, n_particles=8000)
    last = recording.n_bins - 1
    assert (found.effective[:, :last].min(axis=1) < 4000).all()  # otherwise nothing was resampled
    for b in range(2):
        trial = recording.trials(slice(b, b + 1))
        ln_p_n, ln_p_y, activities = all_activities(parameters, model, trial)
        assert np.exp(ln_p_n).sum() == pytest.approx(1, abs=1e-9)
        assert found.ln_p[b].sum() == pytest.approx(np.log(np.exp(ln_p_n + ln_p_y).sum()), abs=0.03)

        before = replace(trial, judged=np.arange(last + 1)[None] < last)  # the last bin, from the spikes before it
        _, ln_p_before, _ = all_activities(parameters, model, before)
        weights = np.exp(ln_p_n + ln_p_before * last / (last + 1))  # a mean over judged bins, one less than all
        expected = weights @ activities[:, last] / weights.sum()
        assert found.rate[b, 0, last] == pytest.approx(expected, rel=0.02)
        assert abs(np.exp(ln_p_n) @ activities[:, last] / expected - 1) > 0.05  # the spikes do say something


def test_probability_of_a_spike_is_that_of_the_next_bin():
    parameters, model, recording = two_neurons(n_obs=1)
    recording = recording.trials(slice(1))
    found = filter_spikes(parameters, model, recording, n_particles=8000).probability[0, 0, -1, 0]
    with_and_without = []
    for spike in (0, 1):
        recording.observed_spikes[..., -1, :] = spike
        ln_p_n, ln_p_y, _ = all_activities(parameters, model, recording)
        with_and_without.append(np.exp(ln_p_n + ln_p_y).sum())
    assert found == pytest.approx(with_and_without[1] / sum(with_and_without), rel=0.02)


@pytest.mark.parametrize(
    ("M", "d", "r", "masked", "scheme"),
    [(1, 0, 1, False, PUBLISHED), (2, 2, 2, True, CONSISTENT), (3, 1, 1, True, PUBLISHED)],
)
def test_without_noise_it_is_the_likelihood_of_the_expected_activity(M, d, r, masked, scheme):
    case = random_case(M=M, B=2, d=d, r=r, T=30, A=15, n_obs=3, scheme=replace(scheme, noise="gaussian"))
    case = with_masks(case) if masked else case
    model = replace(case.model, population_size=np.full(M, 1e24))
    found = filter_spikes(case.parameters, model, case.recording, n_particles=3, spread_start=False)
    loss = fast_lossy(case.parameters, found.rate, case.recording, model).value
    assert found.ln_p.sum() == pytest.approx(-loss * M * case.recording.n_judged, rel=1e-8)
    assert (found.ln_p[~case.recording.is_judged] == 0).all()
    ends = np.arange(30) < case.recording.lengths[:, None]
    np.testing.assert_allclose(found.effective[ends], 3)


@pytest.mark.parametrize("scheme", [pytest.param(PUBLISHED, marks=pytest.mark.slow), CONSISTENT])
def test_particles_begin_at_moments_that_are_spread_over_a_free_run(scheme):
    case = random_case(M=2, B=1, d=1, r=1, T=30, A=15, n_obs=1, scheme=replace(scheme, noise="gaussian"))
    model = replace(case.model, population_size=np.full(2, 1e24))
    silent = replace(
        case.recording,
        external_input=np.tile([[[5.0], [0.0]]], 30),
        recorded=np.zeros((2, 1), bool),
    )
    run = filter_spikes(case.parameters, model, silent, n_particles=2).rate[0]
    spread = filter_spikes(case.parameters, model, silent.judged_from(9), n_particles=10).rate[0]  # one for each moment
    assert np.ptp(run[:, :10], axis=1).min() > 0.01 * run.max()
    moments = np.array([run[:, begin : begin + 20] for begin in range(10)])
    np.testing.assert_allclose(spread[:, :20], moments.mean(axis=0), rtol=1e-6)


def noisy():
    case = random_case(M=2, B=3, T=40, A=20, scheme=CONSISTENT)
    return case.parameters, replace(case.model, population_size=np.array([20, 30])), case.recording


@pytest.fixture(scope="module")
def filtered():
    return filter_spikes(*noisy(), n_particles=50, seed=1)


def test_a_seed_gives_the_same_again_and_trials_have_noise_of_their_own(filtered):
    parameters, model, recording = noisy()
    for seed, same in ((1, True), (2, False)):
        other = filter_spikes(parameters, model, recording.trials(np.array([0, 1, 1])), n_particles=50, seed=seed)
        for name, array in vars(filtered).items():
            assert (array[:2] == getattr(other, name)[:2]).all() == same
    assert (other.ln_p[1] != other.ln_p[2]).any()


def test_noise_of_the_free_run_is_not_that_of_the_trial(monkeypatch):
    parameters, model, recording = noisy()
    draw, clocks = LIFmesoCell.draw, []

    def noted(cell, nbar, H, clock):
        clocks.append(int(clock[0, 0]))
        return draw(cell, nbar, H, clock)

    monkeypatch.setattr(LIFmesoCell, "draw", noted)
    tf.config.run_functions_eagerly(True)
    try:
        filter_spikes(parameters, model, recording.judged_from(5), n_particles=2)
    finally:
        tf.config.run_functions_eagerly(False)
    assert clocks == list(range(5 + 40))


def test_trials_are_filtered_in_parts_where_memory_is_short(filtered, monkeypatch):
    parameters, model, recording = noisy()
    monkeypatch.setattr(particle_filter, "MOST_AT_ONCE", 2 * 50 * 2 * 20)
    parts = filter_spikes(parameters, model, recording, n_particles=50, seed=1, forecast_from=np.array([40, 40, 7]))
    for name, array in vars(filtered).items():
        np.testing.assert_array_equal(array[:2], getattr(parts, name)[:2])
    np.testing.assert_allclose(parts.ln_p[2, :7], filtered.ln_p[2, :7], atol=1)
    assert (parts.ln_p[2, 7:] == 0).all()


def test_a_forecast_sees_no_spike_after_its_beginning(filtered):
    parameters, model, recording = noisy()
    spikes = recording.observed_spikes.copy()
    spikes[:, :, 20 + 25 :] = 1 - spikes[:, :, 20 + 25 :]
    forecasts = [
        filter_spikes(parameters, model, seen, n_particles=50, seed=1, forecast_from=25)
        for seen in (recording, replace(recording, observed_spikes=spikes))
    ]
    for name in ("probability", "rate", "effective"):
        np.testing.assert_array_equal(*(getattr(forecast, name) for forecast in forecasts))
    np.testing.assert_array_equal(forecasts[0].ln_p[:, :25], filtered.ln_p[:, :25])
    assert (forecasts[0].ln_p[:, 25:] == 0).all()
    assert (forecasts[0].rate[..., 26:] != filtered.rate[..., 26:]).all()


def test_in_a_forecast_units_fire_as_often_as_their_population():
    case = random_case(M=2, T=400, A=60, n_obs=4, scheme=CONSISTENT)
    recording = replace(case.recording, external_input=np.zeros((1, 2, 400)))
    found = filter_spikes(case.parameters, case.model, recording, n_particles=400, forecast_from=0)
    units, population = found.probability[0, :, 100:].mean(axis=1), found.rate[0, :, 100:].mean(axis=-1)
    np.testing.assert_allclose(units.mean(axis=1), population, rtol=0.03)


def test_resampling_keeps_each_as_often_as_its_weight_says():
    rng = np.random.default_rng(0)
    w = rng.dirichlet(np.full(50, 0.3), 8)
    kept = systematic(tf.constant(w), tf.constant(rng.random((8, 1)))).numpy()
    for row, weights in zip(kept, w, strict=True):
        times = np.bincount(row, minlength=50)
        assert (np.abs(times - 50 * weights) < 1).all()
    equal = systematic(tf.fill((1, 50), tf.constant(1 / 50, tf.float64)), tf.constant([[0.5]], tf.float64))
    np.testing.assert_array_equal(equal[0], np.arange(50))


def test_one_particle_is_refused():
    with pytest.raises(InputError, match="n_particles: expected at least 2, got 1"):
        filter_spikes(*noisy(), n_particles=1)


def test_a_population_that_is_silent_in_the_window_is_not_dead():
    parameters, model, recording = noisy()
    ln_p = {}
    for rate in (0.0, 0.5, 3.0):
        silent = replace(recording.trials(slice(1)), initial_rate=np.array([[rate, 20.0]]))
        ln_p[rate] = filter_spikes(parameters, model, silent, n_particles=200, seed=1).ln_p.sum()
    assert ln_p[0.0] == ln_p[0.5] and ln_p[0.0] == pytest.approx(ln_p[3.0], abs=2)
