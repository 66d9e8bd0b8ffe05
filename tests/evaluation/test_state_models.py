"""Hidden Markov models of units: likelihood by hand, EM, recovery from simulated spikes, masks and trials."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from src.data.holdout import units_of
from src.evaluation import state_models
from src.evaluation.state_models import (
    age_edges,
    ages_of,
    cells_of,
    fit_states,
    forecast_states,
    infer_states,
    mean_rates,
)
from src.model.containers import Model, Recording
from tests.cases import random_case, with_masks

A = 50


def model_of(M):
    return Model(np.full(M, 100), np.full(M, 200.0), np.ones((M, M)), window_bins=A)


def simulated(rates, leave, T, refractory=0, trials=1, seed=0):
    """Spikes (B, M, A+T, n) of units that share a state, and the state (B, A+T); rates (K, M, n) in a bin."""
    rng = np.random.default_rng(seed)
    K, M, n = rates.shape
    spikes, states = np.zeros((trials, M, A + T, n), np.uint8), np.zeros((trials, A + T), int)
    for b in range(trials):
        state, ages = 0, np.full((M, n), 99)
        for t in range(A + T):
            state = rng.integers(K) if rng.random() < leave else state
            fired = rng.random((M, n)) < -np.expm1(-rates[state] * (ages > refractory))
            spikes[b, :, t], states[b, t] = fired, state
            ages = np.where(fired, 1, ages + 1)
    return spikes, states


def recording_of(spikes, **more):
    B, M, bins, _ = spikes.shape
    return Recording(spikes, np.zeros((B, M, bins - A)), np.full((B, M), 10.0), **more)


def test_ages_against_a_loop():
    spikes = np.random.default_rng(0).random((3, 200)) < 0.03
    for train, found in zip(spikes, ages_of(spikes, 25), strict=True):
        for t, age in enumerate(found):
            before = np.flatnonzero(train[:t])
            assert age == (min(t - before[-1], 25) if len(before) else 25)


@pytest.mark.parametrize("window", [2, 10, 250])
def test_classes_of_ages_begin_at_one_bin_and_grow(window):
    edges = age_edges(window)
    assert edges[0] == 1 and edges[-1] == window and len(edges) <= state_models.AGES
    assert (np.diff(edges) >= 1).all() and (np.diff(edges, 2) >= -1).all()


@pytest.mark.parametrize("history", [False, True])
def test_likelihood_is_that_of_all_paths_with_masks_and_trials(history):
    """Every bin, unit and path by hand: units that are not there, and bins that are not judged, count for nothing."""
    case = with_masks(random_case(M=3, B=2, T=9, A=25, n_obs=2))  # 1, 2 and 0 units; one trial of 9 bins, one of 6
    recording, model = case.recording, case.model
    fitted = fit_states(recording, model, 2, history, seed=1)
    cells = cells_of(recording, model, history, recording.is_scored)
    ln_p = infer_states(fitted, cells).ln_p
    edges, units = age_edges(25) if history else np.ones(1, int), [(0, 0), (1, 0), (1, 1)]
    assert fitted.units == tuple(units)
    for b in range(2):
        total = 0.0
        for path in itertools.product(range(2), repeat=9):
            p = fitted.start[path[0]] * np.prod([fitted.transition[i, j] for i, j in itertools.pairwise(path)])
            for t in range(9):
                for u, (m, i) in enumerate(units):
                    if not recording.scored[b, m, t, i]:
                        continue
                    y = recording.observed_spikes[b, m, :, i]
                    before = np.flatnonzero(y[: 25 + t])
                    age = min(25 + t - before[-1], 25) if len(before) else 25
                    h = fitted.history[m, np.searchsorted(edges, age, side="right") - 1]
                    silent = np.exp(-fitted.rates[path[t], u] * h)
                    p *= 1 - silent if y[25 + t] else silent
            total += p
        assert ln_p[b].sum() == pytest.approx(np.log(total), rel=1e-10)


def test_without_history_what_is_not_scored_does_not_matter():
    case = with_masks(random_case(M=3, B=2, T=40, A=25, n_obs=2), gaps=False)
    recording, model = case.recording, case.model
    spikes = recording.observed_spikes.copy()
    hidden = ~recording.is_scored
    spikes[:, :, 25:][hidden] ^= 1
    one, other = (fit_states(each, model, 2, False) for each in (recording, replace(recording, observed_spikes=spikes)))
    np.testing.assert_array_equal(one.rates, other.rates)
    np.testing.assert_array_equal(one.transition, other.transition)


@pytest.mark.parametrize(("states", "history"), [(1, True), (2, False), (3, True)])
def test_em_never_loses(states, history):
    rates = np.array([[[0.15, 0.1], [0.02, 0.05]], [[0.02, 0.03], [0.1, 0.2]]])
    recording, model = recording_of(simulated(rates, 0.02, 300, refractory=3, trials=2)[0]), model_of(2)
    cells = cells_of(recording, model, history, recording.is_scored)
    rng = np.random.default_rng(3)
    fitted = state_models._start(model, cells, units_of(recording), states, rng)
    found = []
    for _ in range(12):
        chain = infer_states(fitted, cells)
        found.append(chain.ln_p.sum(axis=(1, 2)) + state_models._ln_prior(fitted, mean_rates(cells)))
        fitted = state_models._maximise(fitted, chain, cells, mean_rates(cells))
    assert (np.diff(found, axis=0) > -1e-8).all()
    assert (found[-1] > found[0] + 1).all()


def test_one_state_without_history_is_the_mean_rate():
    recording, model = recording_of(simulated(np.full((1, 1, 3), 0.1), 0.0, 500)[0]), model_of(1)
    fitted = fit_states(recording, model, 1, False)
    share = recording.observed_spikes[:, :, A:].mean(axis=(0, 1, 2))
    np.testing.assert_allclose(-np.expm1(-fitted.rates[0]), share, rtol=0.02)  # but for one spike's worth of prior


def test_two_states_with_a_refractory_time_are_found_again():
    rates = np.array([[[0.12, 0.08, 0.1], [0.02, 0.02, 0.03]], [[0.02, 0.03, 0.02], [0.1, 0.12, 0.15]]])
    spikes, states = simulated(rates, 0.01, 6000, refractory=4)
    recording, model = recording_of(spikes), model_of(2)
    fitted = fit_states(recording, model, 2, True)
    chain = infer_states(fitted, cells_of(recording, model, True, recording.is_scored))
    order = np.argsort(-fitted.rates[:, 0])
    right = chain.smoothed[0].argmax(axis=1) == order[states[0, A:]]
    assert right.mean() > 0.95
    old = age_edges(A).searchsorted(10)
    h = fitted.history
    assert (h[:, :3] < 0.1 * h[:, [old]]).all()  # ages of 1, 2 and 3 bins
    np.testing.assert_allclose(fitted.rates[order] * h[[0, 0, 0, 1, 1, 1], old], rates.reshape(2, 6), rtol=0.35)
    np.testing.assert_allclose(1 - np.diag(fitted.transition), 0.005, rtol=0.5)


def test_states_begin_anew_in_every_trial():
    """All trials begin in state 0, long before which the trial before has ended in another."""
    rates = np.array([[[0.3, 0.3]], [[0.02, 0.02]]])
    spikes, _ = simulated(rates, 0.05, 60, trials=12)
    spikes[:, :, A : A + 15] = np.random.default_rng(2).random((12, 1, 15, 2)) < 0.3
    spikes[:, :, A + 15 :] = np.random.default_rng(3).random((12, 1, 45, 2)) < 0.02
    recording, model = recording_of(spikes), model_of(1)
    fitted = fit_states(recording, model, 2, False)
    high = int(fitted.rates[:, 0].argmax())
    assert fitted.start[high] > 0.8
    chain = infer_states(fitted, cells_of(recording, model, False, recording.is_scored))
    swapped = infer_states(fitted, cells_of(recording.trials(np.arange(12)[::-1]), model, False, recording.is_scored))
    np.testing.assert_allclose(chain.smoothed[::-1], swapped.smoothed, rtol=1e-10)


def test_a_unit_that_was_not_fitted_gets_the_rates_of_its_population():
    recording, model = recording_of(simulated(np.full((2, 2, 2), 0.1), 0.02, 200)[0]), model_of(2)
    fitted = fit_states(recording, model, 2, False)
    other = fitted.with_units([(0, 5), (1, 1), (0, 0)])
    np.testing.assert_allclose(other.rates[:, 0], fitted.rates[:, :2].mean(axis=1))
    np.testing.assert_array_equal(other.rates[:, 1:], fitted.rates[:, [3, 0]])
    alone = replace(fitted, units=fitted.units[:2], rates=fitted.rates[:, :2])
    np.testing.assert_allclose(alone.with_units([(1, 0)]).rates[:, 0], fitted.rates[:, :2].mean(axis=1))


def test_forecast_and_left_out_units_know_nothing_of_what_is_kept_from_them():
    rates = np.array([[[0.2, 0.2], [0.02, 0.02]], [[0.02, 0.02], [0.2, 0.2]]])
    recording, model = recording_of(simulated(rates, 0.02, 200)[0]), model_of(2)
    fitted = fit_states(recording, model, 2, True)
    spikes = recording.observed_spikes.copy()
    spikes[:, :, A + 150 :] ^= 1
    cells, changed = (
        cells_of(each, model, True, recording.is_scored)
        for each in (recording, replace(recording, observed_spikes=spikes))
    )
    one, other = (forecast_states(fitted, each, 150).predicted for each in (cells, changed))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one[0, 160], one[0, 150] @ np.linalg.matrix_power(fitted.transition, 10), rtol=1e-10)
    assert not np.allclose(infer_states(fitted, cells).predicted, infer_states(fitted, changed).predicted)
    spikes = recording.observed_spikes.copy()
    spikes[:, 1, :, 0] ^= 1
    changed = cells_of(replace(recording, observed_spikes=spikes), model, True, recording.is_scored)
    one, other = (infer_states(fitted, each, [2]).smoothed for each in (cells, changed))
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(infer_states(fitted, cells).smoothed, infer_states(fitted, changed).smoothed)


def test_of_a_long_recording_the_beginning_chooses_the_start_and_all_of_it_counts(monkeypatch):
    rates = np.array([[[0.2, 0.1]], [[0.02, 0.02]]])
    recording, model = recording_of(simulated(rates, 0.02, 100, trials=6)[0]), model_of(1)
    later = recording.observed_spikes.copy()
    later[4:] = 0
    seen, whole = [], state_models.cells_of

    def cells(given, *others):
        seen.append((given.n_trials, given.n_bins))
        return whole(given, *others)

    monkeypatch.setattr(state_models, "cells_of", cells)
    monkeypatch.setattr(state_models, "MOST", 0.8)
    one = fit_states(recording, model, 2, False)
    other = fit_states(replace(recording, observed_spikes=later), model, 2, False)
    assert seen == [(2, 100), (6, 100)] * 2
    assert not np.allclose(one.rates, other.rates)
    monkeypatch.setattr(state_models, "MOST", 0.2)
    fit_states(recording, model, 2, False)
    assert seen[-2:] == [(1, 50), (6, 100)]
