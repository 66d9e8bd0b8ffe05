"""The check of a fit against its data: it passes data of the model itself, and flags what is wrong, one at a time."""

from dataclasses import replace

import numpy as np
import pytest

from src.evaluation import check_fit as module
from src.evaluation.check_fit import _compare, check_fit, excerpt, in_pieces
from src.inference import fast_filter, free_simulation
from src.inference.fast_filter import has_numba, simulate_many
from src.inference.free_simulation import simulate_recording
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters, Recording, window_rate
from src.model.scheme import CONSISTENT, PUBLISHED
from src.statistics.recorded import Statistic

REFERENCE = reference_parameters()
MODEL = winner_take_all(scheme=CONSISTENT)
A = MODEL.window_bins
numba = pytest.mark.skipif(not has_numba(), reason="numba is not installed")


def alone(**more):
    """One population of a hundred neurons that excite themselves, and its parameters."""
    model = Model(np.array([100]), np.array([300.0]), np.ones((1, 1)), window_bins=A, scheme=CONSISTENT, **more)
    return Parameters(np.array([50.0]), np.array([[2.0]]), np.array([13.0]), np.array([4.0])), model


def made_by(parameters, model, seconds=8.0, seed=0, n_obs=3, trials=1):
    """A recording of the model itself, without input."""
    T, M = round(seconds / model.dt), model.n_populations
    _, spikes = simulate_many(parameters, model, np.zeros((M, 500 + A + T)), trials, (seed, 1), n_observed=n_obs)
    spikes = spikes[:, :, 500:].astype(np.uint8)
    return Recording(spikes, np.zeros((trials, M, T)), window_rate(spikes, None, model))


@pytest.fixture(scope="module")
def network():
    return made_by(REFERENCE, MODEL, 10.0, seed=3)


def outside(parameters, model, recording):
    check, _ = check_fit(parameters, model, recording, 1)
    return {(one.kind, one.about) for one in check.statistics if one.outside}, check


@numba
def test_data_of_the_model_itself_pass(network):
    found, check = outside(REFERENCE, MODEL, network)
    assert found == set() and check.p > 0.01
    assert check.seconds == check.of_seconds == 10.0
    for name, one in check.rates().items():
        assert one.low < one.median < one.high, name


@numba
def test_few_of_twenty_recordings_of_the_model_itself_are_flagged():
    parameters, model = alone()
    p = [check_fit(parameters, model, made_by(parameters, model, 2.0, seed), seed)[0].p for seed in range(20)]
    assert np.sum(np.array(p) <= 0.05) <= 4  # one in a hundred times it is more
    assert np.ptp(p) > 0.5


@numba
def test_a_wrong_rate_is_flagged(network):
    faster = replace(REFERENCE, resting_potential=1.1 * REFERENCE.resting_potential)
    found, _ = outside(faster, MODEL, network)
    assert ("rate", ("I",)) in found


@numba
@pytest.mark.parametrize("row", [0, 2])
def test_a_wrong_coupling_is_flagged(network, row):
    coupling = REFERENCE.coupling.copy()
    coupling[row] *= 0.6
    found, check = outside(replace(REFERENCE, coupling=coupling), MODEL, network)
    assert found and check.p <= 0.01


@numba
def test_a_coupling_whose_rate_is_right_is_flagged():
    """A population that oscillates against one of the same rate that does not."""
    parameters, model = alone(delay_bins=5)
    strong = replace(parameters, coupling=np.array([[-12.0]]), resting_potential=np.array([16.4]))
    weak = replace(parameters, coupling=np.array([[-1.0]]), resting_potential=np.array([13.4]))
    recording = made_by(strong, model, 20.0, n_obs=10)
    found, check = outside(weak, model, recording)
    rate = check.rates()["population 1"]
    assert 0.5 < rate.mean / rate.recording < 2
    assert found & {(kind, ("population 1",)) for kind in ("auto1", "auto3", "wander", "variation")}
    assert outside(strong, model, recording)[0] == set()


@numba
def test_bins_that_are_too_coarse_for_the_fit_are_told(network):
    """A population that inhibits itself after a delay fires in volleys; the circuit of the paper does not."""
    parameters, model = alone(delay_bins=2)
    volleys = replace(parameters, coupling=np.array([[-20.0]]), resting_potential=np.array([30.0]))
    check = check_fit(volleys, model, made_by(volleys, model), 1)[0]
    assert check.coarse_bins[0].kind == "volleys"
    assert check_fit(REFERENCE, MODEL, network, 1)[0].coarse_bins == ()


@numba
def test_a_refractory_time_that_is_too_long_is_flagged():
    """Spikes within the refractory time of the model: no simulation has any."""
    parameters, model = alone(refractory_bins=3)
    recording = made_by(parameters, model)
    assert ("refractory", ("population 1",)) not in outside(parameters, model, recording)[0]
    fired = np.argwhere(recording.observed_spikes[0, 0, A:-9])
    for share, flagged in ((0.003, False), (0.02, True)):
        spikes, some = recording.observed_spikes.copy(), fired[:: round(1 / share)]
        spikes[0, 0, A + some[:, 0] + 3, some[:, 1]] = 1
        found, check = outside(parameters, model, replace(recording, observed_spikes=spikes))
        assert (("refractory", ("population 1",)) in found) == flagged and (check.p <= 0.01 or not flagged)


@numba
def test_a_refractory_time_that_is_too_short_is_flagged():
    parameters, model = alone()
    slow = replace(model, refractory_bins=5)
    found, _ = outside(parameters, model, made_by(parameters, slow, 20.0))
    assert found & {("short", ("population 1",)), ("variation", ("population 1",))}


@numba
def test_neurons_that_are_not_alike_are_flagged():
    parameters, model = alone()
    recording = made_by(parameters, model, n_obs=6)
    spikes = recording.observed_spikes.copy()
    spikes[..., 3:] &= (np.random.default_rng(0).random(spikes[..., 3:].shape) < 0.3).astype(np.uint8)
    assert ("unequal", ("population 1",)) in outside(parameters, model, replace(recording, observed_spikes=spikes))[0]


@numba
def test_nothing_counts_that_is_not_scored():
    """Empty places, a population without units, burn-in, and what fills up a shorter trial."""
    recording = made_by(REFERENCE, MODEL, 3.0, trials=2)
    T = recording.n_bins
    recorded = np.array([[True, True, True], [True, False, False], [False] * 3])
    judged = np.array([np.arange(T) >= 50, (np.arange(T) >= 50) & (np.arange(T) < 500)])
    partly = replace(recording, judged=judged, recorded=recorded)
    scored = np.concatenate([np.ones((2, 3, A, 3), bool), np.broadcast_to(partly.scored, (2, 3, T, 3))], axis=2)
    other = replace(partly, observed_spikes=np.where(scored, partly.observed_spikes, 1 - partly.observed_spikes))
    check, example = check_fit(REFERENCE, MODEL, partly, 1)
    assert check == check_fit(REFERENCE, MODEL, other, 1)[0]
    assert set(check.rates()) == {"E1", "E2"} and check.p > 0.01
    assert ("unequal", ("E2",)) not in {(one.kind, one.about) for one in check.statistics}
    assert check.seconds == pytest.approx((T - 50 + 450) * MODEL.dt)
    assert example.watched[0].any() and not example.watched[2].any()


@numba
def test_the_input_of_the_recording_drives_the_simulations():
    parameters, model = alone()
    recording = made_by(parameters, model, 4.0)
    pulses = np.zeros((1, 1, 1000))
    pulses[..., 500:] = 600.0
    driven = replace(recording, external_input=pulses)
    trains = np.array([*simulate_recording(parameters, model, driven, 20, 0)])
    rates = trains.reshape(20, 2, 500, 3).mean(axis=(0, 2, 3)) / model.dt
    quiet = np.array([*simulate_recording(parameters, model, recording, 20, 0)]).mean() / model.dt
    assert rates[1] > 1.3 * quiet and trains.shape == (20, 1, 1, 1000, 3)


@numba
def test_simulations_depend_on_the_seed_alone(network, monkeypatch):
    once = [*simulate_recording(REFERENCE, MODEL, network, 3, 5)]
    np.testing.assert_array_equal(once, [*simulate_recording(REFERENCE, MODEL, network, 3, 5)])
    assert (np.array(once[0]) != once[1]).any()
    assert (np.array(once) != [*simulate_recording(REFERENCE, MODEL, network, 3, 6)]).any()
    monkeypatch.setattr(free_simulation, "MOST_VALUES", 1)  # one copy at a time
    apart = [*simulate_recording(REFERENCE, MODEL, network, 3, 5)]
    assert len(apart) == 3 and (apart[0] != apart[1]).any() and (apart[1] != apart[2]).any()


@numba
def test_TensorFlow_simulates_the_same_circuit(monkeypatch):
    """Trials with rates of their own, one shorter; and no noise is used twice."""
    recording = made_by(REFERENCE, MODEL, 1.0, trials=2)
    recording = replace(recording, judged=np.arange(250) < np.array([[250], [150]]))
    fast = np.array([*simulate_recording(REFERENCE, MODEL, recording, 60, 1)])
    monkeypatch.setattr(fast_filter, "has_numba", lambda: False)
    monkeypatch.setattr(free_simulation, "MOST_VALUES", 25 * 2 * 375 * 3 * 7)  # in three parts, the last smaller
    slow = np.array([*simulate_recording(REFERENCE, MODEL, recording, 60, 1)])
    assert slow.shape == fast.shape == (60, 2, 3, 250, 3)
    assert not slow[:, 1, :, 150:].any() and not fast[:, 1, :, 150:].any()
    means = [each[:, 0].mean(axis=(0, 2, 3)) / MODEL.dt for each in (fast, slow)]
    np.testing.assert_allclose(*means, rtol=0.15)
    flat = slow.reshape(60, -1)
    assert len(np.unique(flat, axis=0)) == 60


def test_without_numba_or_with_the_published_scheme_the_check_is_the_same(monkeypatch):
    monkeypatch.setattr(module, "SIMULATIONS", {True: 199, False: 99})
    model = winner_take_all(window=0.1, scheme=PUBLISHED)
    rng = np.random.default_rng(0)
    spikes = (rng.random((1, 3, model.window_bins + 250, 2)) < 0.05).astype(np.uint8)
    recording = Recording(spikes, np.zeros((1, 3, 250)), np.full((1, 3), 12.0))
    check, _ = check_fit(REFERENCE, model, recording, 2)
    assert check.simulations == 99 and check.p <= 0.02  # Poisson spikes, some of them within the refractory time
    assert check == check_fit(REFERENCE, model, recording, 2)[0]


def test_silent_recordings_can_be_checked(monkeypatch):
    monkeypatch.setattr(module, "SIMULATIONS", {True: 99, False: 99})
    parameters, model = alone()
    recording = Recording(np.zeros((1, 1, A + 250, 2), np.uint8), np.zeros((1, 1, 250)), np.zeros((1, 1)))
    check, _ = check_fit(parameters, model, recording, 0)
    assert check.rates()["population 1"].outside
    dead = replace(parameters, resting_potential=np.array([-50.0]), threshold=np.array([9.0]))
    check, _ = check_fit(dead, model, recording, 0)
    assert check.p == 1 and [one.kind for one in check.statistics if one.outside] == []


# --- what of a long recording is checked -----------------------------------------------------------------------------


def numbered(trials, bins):
    """A recording whose input says where each bin comes from."""
    spikes = (np.random.default_rng(0).random((trials, 3, A + bins, 2)) < 0.1).astype(np.uint8)
    where = np.arange(trials * bins, dtype=float).reshape(trials, 1, bins).repeat(3, axis=1)
    return Recording(spikes, where, window_rate(spikes, None, MODEL))


def test_short_recordings_are_checked_as_they_are():
    recording = numbered(3, 200)
    assert excerpt(recording, MODEL, fast=True) is recording


def test_of_many_trials_some_are_checked_from_the_first_to_the_last(monkeypatch):
    monkeypatch.setattr(module, "MOST_BINS", {True: 1000, False: 1000})
    recording = numbered(20, 200)
    part = excerpt(recording, MODEL, fast=True)
    assert part.n_trials == 5
    np.testing.assert_array_equal(part.external_input[[0, -1]], recording.external_input[[0, -1]])


def test_long_trials_are_checked_in_pieces(monkeypatch):
    monkeypatch.setattr(module, "MOST_BINS", {True: 1000, False: 1000})
    monkeypatch.setattr(module, "PIECE", 300)
    recording = replace(numbered(1, 2500), judged=(np.arange(2500) >= 40)[None])
    part = excerpt(recording, MODEL, fast=True)
    assert part.external_input.shape == (3, 3, 300)
    starts = part.external_input[:, 0, 0].astype(int)
    assert starts.tolist() == [0, 1200, 2100]
    for b, start in enumerate(starts):
        np.testing.assert_array_equal(part.observed_spikes[b], recording.observed_spikes[0, :, start : start + A + 300])
    assert part.judged.sum() == 900 - 40
    np.testing.assert_allclose(part.initial_rate, window_rate(part.observed_spikes, None, MODEL))


def test_pieces_that_are_not_judged_at_all_are_left_out():
    recording = replace(numbered(1, 900), judged=(np.arange(900) >= 650)[None])
    part = in_pieces(recording, MODEL, 300, 900)
    assert part.external_input[:, 0, 0].tolist() == [600]


def test_intervals_end_where_a_statistic_can_be():
    """A tail that is fitted to a few simulations at 120 Hz goes on beyond what neurons can do."""
    rng, K = np.random.default_rng(0), 299
    explodes = (np.arange(K) % 7 == 0)[:, None]
    simulated = np.where(explodes, [120.0, 0.9], [5.0, 0.0]) + rng.uniform(-0.1, 0.1, (K, 2))
    recording = {Statistic("rate", ("P",)): 5.4, Statistic("auto1", ("P",)): 0.02}
    (rate, auto), _ = _compare(recording, simulated, 125.0)
    assert (rate.high, auto.high) == (125.0, 1.0) and not rate.outside and auto.low >= -1
    (rate, _), _ = _compare(recording, simulated, np.inf)
    assert rate.high > 125  # so the fastest rate has an effect
