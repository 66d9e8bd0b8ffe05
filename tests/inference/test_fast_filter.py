"""The fast filter against all activities, a population without noise, and the filter and the cell in TensorFlow."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from src.fast_np import fast_lossy, fast_lossZ
from src.helper import from_X
from src.inference import fast_filter
from src.inference.fast_filter import FastFilter, look_ahead_of, random_bits, simulate_many
from src.inference.particle_filter import filter_spikes
from src.LIFmesoCell import simulate
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Parameters, Recording
from src.model.escape_noise import REFRACTORY_HAZARD
from src.model.scheme import CONSISTENT, PUBLISHED
from src.model.stationary import LEAST_RATE
from src.statistics.switching import find_switches
from src.utils.exceptions import FitError, InputError
from tests.cases import random_case, with_masks
from tests.tiny import all_activities, two_neurons

pytest.importorskip("numba")
from src.inference import filter_kernels  # noqa: E402 - it cannot be imported without numba

ALL_AGES = 1e9
GAUSSIAN = replace(CONSISTENT, noise="gaussian")
ENDLESS = 1e24
"""Neurons of a population without noise."""


def ln_mean_exp(ln_p):
    """The logarithm of the mean of p, and its standard error."""
    p = np.exp(ln_p - np.max(ln_p))
    return np.max(ln_p) + np.log(p.mean()), p.std(ddof=1) / p.mean() / np.sqrt(len(p))


def estimates(known, parameters, repeats, n_particles, seed=0):
    """ln p of a recording, from as many seeds, (repeats,)."""
    return np.array([known.ln_p(parameters, (seed, k), n_particles) for k in range(repeats)])


def noisy(scheme=CONSISTENT, T=40, **size):
    """Two small populations that drive each other, whose activity is far from what is expected of it."""
    case = random_case(M=2, T=T, A=40, scheme=scheme, **size)
    parameters = Parameters(
        np.array([50.0, 40.0]), np.array([[5.0, 6.0], [-8.0, -4.0]]), np.array([8.0, 6.0]), np.array([4.0, 3.5])
    )
    return parameters, replace(case.model, population_size=np.array([20, 30])), case.recording


class Given:
    """Stands in for a generator: the same numbers for each bin, however many are drawn at a time."""

    def __init__(self, T, M, K):
        rng = np.random.default_rng(5)
        self.bits, self.uniform = iter(rng.integers(2**64, size=T * M * K // 2, dtype=np.uint64)), iter(rng.random(T))

    def integers(self, high, size, dtype):
        return np.array([next(self.bits) for _ in range(size)], dtype)

    def random(self, bins):
        return np.array([next(self.uniform) for _ in range(bins)])


@pytest.mark.parametrize("delay", [0, 2])
def test_particles_go_on_from_where_the_random_numbers_before_ended(delay, monkeypatch):
    parameters, model, recording = noisy(T=50, r=2, d=delay)
    known, found = FastFilter(model, recording), []
    for at_once in (2**26, 7 * 2 * 30, 1):
        monkeypatch.setattr(fast_filter, "NOISE", at_once)
        monkeypatch.setattr(np.random, "Generator", lambda _: Given(50, 2, 30))
        found.append(known.ln_p_bins(parameters, 0, 30))
        monkeypatch.undo()
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    assert np.ptp(found[0]) > 1


# --- the likelihood --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look_ahead", [True, False])
def test_it_is_the_sum_over_all_activities(look_ahead):
    parameters, model, recording = two_neurons()
    known = FastFilter(model, recording, followed=ALL_AGES, look_ahead=look_ahead)
    found = np.array([known.ln_p_bins(parameters, seed, 10000).sum(axis=1) for seed in range(40)])
    for b in range(2):
        ln_p_n, ln_p_y, _ = all_activities(parameters, model, recording.trials(slice(b, b + 1)))
        expected = np.log(np.exp(ln_p_n + ln_p_y).sum())
        mean, error = ln_mean_exp(found[:, b])
        assert mean == pytest.approx(expected, abs=4 * error) and error < 0.01
        assert np.exp(ln_p_n) @ ln_p_y < expected - 0.1  # the activity does matter


def without_noise(M, B, d, r, masked, scheme=GAUSSIAN, dt=0.004):
    """A circuit of endless populations, and the activity that they have then, (B, M, T)."""
    case = random_case(M=M, B=B, d=d, r=r, T=60, A=150, n_obs=3, scheme=scheme, dt=dt)
    case = with_masks(case) if masked else case
    model = replace(case.model, population_size=np.full(M, ENDLESS))
    return case.parameters, model, case.recording


@pytest.mark.parametrize(
    ("M", "B", "d", "r", "masked"),
    [(1, 1, 0, 1, False), (2, 3, 2, 2, True), (3, 2, 1, 1, True), (4, 2, 0, 3, False)],
)
def test_without_noise_it_is_the_likelihood_of_the_expected_activity(M, B, d, r, masked):
    parameters, model, recording = without_noise(M, B, d, r, masked)
    known = FastFilter(model, recording, followed=ALL_AGES, look_ahead=False, spread_start=False)
    (n,) = known.activity(parameters, 0, 2).astype(float)
    counted = recording.n_judged * M
    loss = fast_lossy(parameters, n, recording, model).value
    ln_p = known.ln_p_bins(parameters, 0, 2)
    assert ln_p.sum() == pytest.approx(-loss * counted, rel=2e-6)
    assert (ln_p[~recording.is_judged] == 0).all() and (ln_p[recording.is_judged] != 0).all()

    # Of (n - nbar)^2 / 2q + ln q / 2, with q in proportion to 1/N, two values of N tell the first term.
    few, many = (replace(model, population_size=np.full(M, N)) for N in (1.0, 1e8))
    losses = [fast_lossZ(parameters, n, recording, size).value for size in (few, many)]
    squared = (losses[1] - losses[0] + np.log(1e8) / 2) / 1e8  # mean of (n - nbar)^2 / 2 (nbar + 0.1 dt)
    relative = np.sqrt(max(2 * squared / n[n > 0].mean(), 0))
    assert relative < 2e-5


def test_a_pool_at_the_mean_potential_of_its_neurons_stands_for_the_ages_that_are_not_followed():
    parameters, model, recording = without_noise(3, 1, 1, 1, False)
    exact, usual, short = (
        FastFilter(model, recording, followed=ages).activity(parameters, 0, 2)[0, 0] for ages in (ALL_AGES, 2.5, 1.0)
    )
    np.testing.assert_allclose(usual, exact, rtol=0.01)
    assert np.abs(short / exact - 1).max() > 0.02  # so the pool is at work


@pytest.mark.parametrize(("scheme", "burn_in"), [(CONSISTENT, 0), (GAUSSIAN, 0), (CONSISTENT, 10)])
def test_it_is_the_likelihood_of_the_filter_in_tensorflow(scheme, burn_in):
    parameters, model, recording = noisy(scheme)
    recording = recording.judged_from(burn_in)
    repeated = recording.trials(np.zeros(40, int))
    slow = ln_mean_exp(filter_spikes(parameters, model, repeated, n_particles=200, seed=1).ln_p.sum(axis=1))
    fast = ln_mean_exp(estimates(FastFilter(model, recording, look_ahead=False), parameters, 400, 200))
    error = np.hypot(fast[1], slow[1])
    assert fast[0] == pytest.approx(slow[0], abs=4 * error) and error < 0.03


def test_few_particles_are_wrong_but_not_on_average():
    parameters, model, recording = noisy()
    exact, error = ln_mean_exp(estimates(FastFilter(model, recording, look_ahead=False), parameters, 30, 5000, seed=9))
    assert error < 0.005
    for look_ahead in (False, True):
        found = estimates(FastFilter(model, recording, look_ahead=look_ahead), parameters, 6000, 8)
        mean, error = ln_mean_exp(found)
        assert mean == pytest.approx(exact, abs=4 * error) and error < 0.03
        assert found.mean() < exact - 0.1


def test_the_look_ahead_lowers_the_scatter():
    model = winner_take_all(scheme=CONSISTENT, window=0.3)
    _, spikes = simulate_many(reference_parameters(), model, np.zeros((3, 575)), 1, 4, n_observed=3)
    recording = Recording(spikes.astype(np.uint8), np.zeros((1, 3, 500)), np.array([[19.0, 6.0, 24.0]]))
    scatter = [
        estimates(FastFilter(model, recording, look_ahead=ahead), reference_parameters(), 150, 40).std()
        for ahead in (False, True)
    ]
    assert scatter[1] < 0.9 * scatter[0]


def test_spikes_to_come_are_forgotten_exponentially():
    rng = np.random.default_rng(0)
    spikes, weighed = rng.random((2, 3, 50)) < 0.2, np.zeros((2, 3, 50), bool)
    weighed[0, :2], weighed[0, 0, 30:35] = True, False
    to_come, exposure = look_ahead_of(spikes, weighed, 0.004)
    counts, neurons = (spikes & weighed)[0].sum(axis=0), weighed[0].sum(axis=0)
    for t in (0, 20, 49):
        later = np.arange(t + 1, 50)
        kept = np.exp(-0.004 * (later - t) / 0.2)
        np.testing.assert_allclose(to_come[t], [kept @ counts[later], 0], rtol=1e-12)
        np.testing.assert_allclose(exposure[t], [kept @ neurons[later] * 0.004, 0], rtol=1e-12)


# --- the start -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("followed", [ALL_AGES, 1.0])
@pytest.mark.parametrize("particles", [7, 21, 100])
def test_particles_begin_at_moments_that_are_spread_over_a_free_run(followed, particles):
    parameters, model, recording = noisy(GAUSSIAN, T=80, d=2, r=2)
    model = replace(model, population_size=np.full(2, ENDLESS))
    silent = replace(
        recording,
        observed_spikes=np.zeros_like(recording.observed_spikes),
        external_input=np.broadcast_to(recording.external_input[:, :, :1], (1, 2, 80)),
        recorded=np.zeros((2, recording.observed_spikes.shape[-1]), bool),
    )
    known = FastFilter(model, silent.judged_from(20), followed=followed)
    (run,) = FastFilter(model, silent, followed=followed).activity(parameters, 0, 2)[0]
    assert np.ptp(run[:, :20], axis=1).min() > 0.01 * run.max()
    counts = np.zeros(21)
    for seed in range(40):
        paths = known.activity(parameters, seed, particles, 50)[:, 0]
        begins = np.array([np.argmin(np.abs(run[0, :21] - path[0, 0])) for path in paths])
        for path, begin in zip(paths[:5], begins, strict=False):
            np.testing.assert_allclose(path[:, : 80 - begin], run[:, begin:], rtol=2e-5)
        assert len(set(begins)) <= min(particles, 21)
        counts += np.bincount(begins, minlength=21)
    assert stats.chisquare(counts / 50 * 7).pvalue > 1e-3  # as if from 7 independent paths, and not 50


def test_the_free_run_is_as_long_as_the_burn_in_and_at_most_half_a_second():
    parameters, model, recording = noisy(T=200)
    found = [
        FastFilter(model, recording.judged_from(bins)).ln_p_bins(parameters, 1)[0, 160:] for bins in (0, 124, 125, 160)
    ]
    np.testing.assert_array_equal(found[2], found[3])
    assert (found[0] != found[1]).all() and (found[1] != found[2]).all()


def test_a_trial_has_a_free_run_of_its_own():
    parameters, model, recording = noisy(B=2)
    judged = np.ones((2, 40), bool)
    judged[0, :7] = False
    recording = replace(recording, judged=judged)
    found = FastFilter(model, recording).ln_p_bins(parameters, 1)
    stationary = FastFilter(model, recording, spread_start=False).ln_p_bins(parameters, 1)
    np.testing.assert_array_equal(found[1], stationary[1])
    assert (found[0, 7:] != stationary[0, 7:]).all()
    alone = FastFilter(model, recording.trials(slice(0, 1))).ln_p_bins(parameters, 1)
    np.testing.assert_array_equal(found[0], alone[0])


def test_the_free_run_is_under_the_mean_input_of_as_many_bins():
    parameters, model, recording = noisy(GAUSSIAN, T=200)
    model = replace(model, population_size=np.full(2, ENDLESS))
    inputs = np.zeros((3, 1, 2, 200))
    inputs[0, 0, :, 1:125], inputs[1, 0, :, 4:125:5], inputs[2, 0, :, 10:135] = 20 * 125 / 124, 100, 20
    silent = replace(recording, recorded=np.zeros((2, recording.observed_spikes.shape[-1]), bool)).judged_from(150)
    steady, pulses, later = (
        FastFilter(model, replace(silent, external_input=each)).activity(parameters, 1, 2)[0, 0, :, 0]
        for each in inputs
    )
    np.testing.assert_allclose(pulses, steady, rtol=1e-5)
    assert (later != steady).all()


def test_where_populations_oscillate_particles_find_the_phase():
    model = winner_take_all(scheme=CONSISTENT, window=0.3)
    volleys = from_X(np.array([63.6, 62.8, 38.4, 7.3, 12.7, 28.5, 16.3, 19.8, 11.4, 4.4, 3.5, 3.9]), model)
    n, spikes = simulate_many(volleys, model, np.zeros((3, 587)), 4, 4, n_observed=3)
    assert n[:, :, 200:].max() > 0.9
    missed = {True: [], False: []}
    for k, begin in itertools.product(range(4), (125, 137)):
        shown = spikes[k : k + 1, :, begin : begin + 450].astype(np.uint8)
        rates = n[k, :, begin : begin + 75].mean(axis=1)[None] / model.dt
        recording = Recording(shown, np.zeros((1, 3, 375)), rates).judged_from(125)
        found = {each: estimates(FastFilter(model, recording, spread_start=each), volleys, 8, 200) for each in missed}
        for each in missed:
            missed[each].append(np.mean(found[each] < found[True].max() - 20))
    assert np.mean(missed[True]) < 0.1 and np.mean(missed[False]) > 0.4


@pytest.mark.parametrize(("r", "d"), [(1, 2), (2, 0)])
def test_the_filter_in_tensorflow_begins_as_this_one(r, d):
    parameters, model, recording = noisy(GAUSSIAN, T=30, B=2, r=r, d=d, n_obs=1)
    model = replace(model, population_size=np.full(2, ENDLESS))
    recording.external_input[:] += np.array([[[5.0], [0.0]], [[0.0], [20.0]]])
    recording.observed_spikes[:, :, model.window_bins :] = 0  # so that the particles stay about as likely
    recording.observed_spikes[:, 1, :, 0] = 0  # older than the window
    recording = replace(recording, judged=np.arange(30) >= np.array([[6], [0]]))
    slow = filter_spikes(parameters, model, recording, n_particles=7)  # one for each moment
    assert (slow.effective[:, :9] > 3.5).all()
    fast, stationary = (
        FastFilter(model, recording, followed=ALL_AGES, look_ahead=False, spread_start=spread).ln_p_bins(
            parameters, 0, 7
        )
        for spread in (True, False)
    )
    np.testing.assert_allclose(fast[:, :9], slow.ln_p[:, :9], atol=1e-3)
    assert np.abs(fast - stationary)[0, 6:9].max() > 0.02


@pytest.mark.parametrize("r", [0, 2])
def test_recorded_neurons_begin_with_what_the_reset_has_left_behind(r):
    one, ages, rate = np.array([1.0]), np.array([10]), np.array([20.0])
    circuit = filter_kernels.Circuit(50 * one, np.zeros((1, 1)), 6 * one, 3 * one, 50 * one, 400 * one, 0.004, r, 0)
    state = filter_kernels.new_state(1, 10, 0, 5, 2)
    (free,) = filter_kernels.start(circuit, rate, ages, state)
    state.pool[0, 0, 1] += 1  # the free potential of a particle is another one by now
    state.cohorts[0, 0, :, 1] += 1
    age = np.array([[-1, 0, r, 9, 15]])
    filter_kernels.start_recorded(circuit, np.array([free]), ages, state, age)
    expected = 6 * (1 - np.exp(-50 * 0.004 * np.array([np.inf, 0, 0, 9 - r, 15 - r])))
    np.testing.assert_allclose(state.V_obs[0, :, 0], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state.V_obs[0, :, 1], expected + 1, rtol=1e-5, atol=1e-5)
    assert age.tolist() == [[r, 0, r, 9, 15]]


def test_the_free_run_has_new_noise_in_every_bin_and_running_rates():
    M, ages, d, K, bins, dt = 1, 10, 2, 400, 20, 0.004
    one = np.array([1.0])
    circuit = filter_kernels.Circuit(50 * one, np.zeros((1, 1)), 6 * one, 3 * one, 50 * one, 400 * one, dt, 0, d)
    state, spare = (filter_kernels.new_state(M, ages, d, 1, K) for _ in range(2))
    particles = filter_kernels.Particles(state, spare, np.array([3]), np.array([[-1]]))
    bits = random_bits(np.random.default_rng(0), (bins, M, 2, K // 2))
    filter_kernels.begin(circuit, 20 * one, 0 * one, np.array([ages]), bits, 0.5, 0.01, True, particles)
    n = state.waiting[0, :, -300:]  # of the three bins before the trial
    assert n.std() > 0.01
    assert np.abs(np.corrcoef(n) - np.eye(3)).max() < 0.3
    assert particles.head.tolist() == [0]
    np.testing.assert_allclose(state.rate[0, -300:], [0.0099, 0.99] @ n[1:] / dt, atol=0.01)


# --- trials, masks, seeds --------------------------------------------------------------------------------------------


def test_burn_in_informs_and_the_end_of_a_shorter_trial_does_not():
    parameters, model, recording = noisy(B=2)
    judged = np.ones((2, 40), bool)
    judged[:, :5], judged[1, 30:] = False, False
    shorter = replace(
        recording.trials(slice(1, 2)),
        observed_spikes=recording.observed_spikes[1:, :, :-10],
        external_input=recording.external_input[1:, :, :-10],
    )
    whole, masked = (
        FastFilter(model, each, spread_start=False) for each in (recording, replace(recording, judged=judged))
    )
    np.testing.assert_array_equal(masked.ln_p_bins(parameters, 1)[0, 5:], whole.ln_p_bins(parameters, 1)[0, 5:])
    assert (masked.ln_p_bins(parameters, 1)[~judged] == 0).all()
    np.testing.assert_array_equal(masked.activity(parameters, 1)[0, 0], whole.activity(parameters, 1)[0, 0])
    activity = masked.activity(parameters, 1)[0, 1]
    assert (activity[:, 30:] == 0).all() and (activity[:, :30].sum(axis=1) > 0).all()

    found = masked.ln_p(parameters, 1) - masked.ln_p_bins(parameters, 1)[0].sum()
    alone = [FastFilter(model, shorter).ln_p_bins(parameters, seed)[0, 5:].sum() for seed in range(20)]
    assert found == pytest.approx(np.mean(alone), abs=5 * np.std(alone))


def test_units_that_are_not_recorded_do_not_count():
    parameters, model, recording = noisy()
    spikes, recorded = recording.observed_spikes.copy(), np.array([[True, False], [False, False]])
    spikes *= recorded[:, None]
    masked = replace(recording, recorded=recorded)
    other = spikes.copy()
    other[:, 1] = 1 - other[:, 1]
    found = FastFilter(model, masked).ln_p(parameters, 1)
    assert found == FastFilter(model, replace(masked, observed_spikes=other)).ln_p(parameters, 1)
    assert found != FastFilter(model, recording).ln_p(parameters, 1)


def test_a_seed_gives_the_same_again_in_any_thread():
    parameters, model, recording = noisy(B=2)
    known, seeds = FastFilter(model, recording, n_particles=100), [*range(8), (1, 2), (2, 1)]
    one_by_one = [known.ln_p(parameters, seed) for seed in seeds]
    assert len(set(one_by_one)) == len(seeds)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: known.ln_p(parameters, seed), seeds * 5)) == one_by_one * 5
    assert FastFilter(model, recording).ln_p(parameters, 3, 100) == one_by_one[3]
    assert known.ln_p(parameters, 3, 101) != one_by_one[3]


def test_an_interrupt_while_a_kernel_runs_is_an_exception_after_it():
    """A crash would end the tests, so another process is interrupted. Few moments of it are outside a kernel."""
    interrupted = """
import os, signal, threading
from src.inference.fast_filter import FastFilter, simulate_many
from src.model.scheme import CONSISTENT
from tests.cases import random_case
parameters, _, recording, model = random_case(T=400, A=40, scheme=CONSISTENT)
known, free = FastFilter(model, recording), recording.external_input[0]
for run in (lambda: known.ln_p(parameters, 0, 4000), lambda: simulate_many(parameters, model, free, 4000, 0)):
    run()
    for seconds in (0.02, 0.05):
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            while True:
                run()
        except KeyboardInterrupt:
            print("heard")
"""
    found = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True)
    assert (found.returncode, found.stdout.split()) == (0, 4 * ["heard"]), found.stderr


def test_trials_have_noise_of_their_own():
    parameters, model, recording = noisy(B=2)
    twice = recording.trials(np.array([0, 0]))
    first, second = FastFilter(model, twice).ln_p_bins(parameters, 1)
    assert (first != second).any()
    np.testing.assert_array_equal(FastFilter(model, recording).ln_p_bins(parameters, 1)[0], first)


# --- the activity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look_ahead", [True, False])
def test_paths_are_draws_of_the_activity_given_the_spikes(look_ahead):
    parameters, model, recording = two_neurons()
    known = FastFilter(model, recording, followed=ALL_AGES, look_ahead=look_ahead)
    paths = np.concatenate([known.activity(parameters, seed, 2000, 500) for seed in range(40)])
    for b in range(2):
        ln_p_n, ln_p_y, activities = all_activities(parameters, model, recording.trials(slice(b, b + 1)))
        w, n = np.exp(ln_p_n + ln_p_y), paths[:, b, 0]
        w /= w.sum()
        for t in range(recording.n_bins):
            for level in (0, 0.5, 1):
                expected = w @ (activities[:, t] == level)
                assert (n[:, t] == level).mean() == pytest.approx(expected, abs=0.015)
        for t in range(recording.n_bins - 1):
            expected = w @ (activities[:, t] * activities[:, t + 1])
            assert (n[:, t] * n[:, t + 1]).mean() == pytest.approx(expected, abs=0.01)
        prior = np.exp(ln_p_n) @ activities
        assert np.abs(w @ activities - prior).max() > 0.05  # the spikes do say something


def test_paths_have_the_shape_of_the_recording():
    parameters, model, recording = noisy(B=2)
    paths = FastFilter(model, recording).activity(parameters, 1, 50, 7)
    assert paths.shape == (7, 2, 2, 40) and paths.dtype == np.float32
    assert (paths[:, :, :, -1].std(axis=0) > 0).any()
    counts = paths * model.population_size[:, None]
    few = counts * (1 - paths) < filter_kernels.FEW / 2
    assert few.any() and (np.abs(counts - np.round(counts))[few] < 1e-5).mean() > 0.8


# --- counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "N"), [(0.003, 100), (0.3, 10), (0.5, 7), (0.7, 10), (0.98, 50), (0.0, 5), (1.0, 5)])
def test_a_few_are_counted_exactly(p, N):
    quantile = (np.arange(2000) + 0.5) / 2000
    nbar, counts = np.full(2000, p, np.float32), np.empty(2000, np.float32)
    filter_kernels.exact_counts(nbar, float(N), stats.norm.ppf(quantile).astype(np.float32), counts)
    expected = stats.binom.ppf(quantile if p <= 0.5 else 1 - quantile, N, p)
    np.testing.assert_allclose(counts * N, expected if p <= 0.5 else expected[::-1], atol=1e-5)


def test_rare_spikes_are_as_frequent_as_they_should_be():
    N = 1000
    for expected in (1e-2, 1e-4):
        normal = stats.norm.isf(np.array([0.3, 0.999, 1.001, 3]) * expected).astype(np.float32)
        counts, nbar = np.empty(4, np.float32), -np.expm1(np.log1p(-expected) / N)
        filter_kernels.exact_counts(np.full(4, nbar, np.float32), float(N), normal, counts)
        assert np.round(counts * N).tolist() == [1, 1, 0, 0]


def test_rounding_leaves_no_count_out_of_all_proportion():
    N, nbar, counts = 1000, np.linspace(1e-5, 2.9e-3, 1000, dtype=np.float32), np.empty(1000, np.float32)
    filter_kernels.exact_counts(nbar, float(N), np.full(1000, 5.7, np.float32), counts)
    expected = stats.binom.isf(stats.norm.sf(5.7), N, nbar)  # 1 to 17
    np.testing.assert_allclose(counts * N, expected, atol=5.01)


def test_upper_tail():
    x = np.linspace(-5.8, 5.8, 2001, dtype=np.float32)
    found = np.array([filter_kernels.upper_tail(each) for each in x], float)
    np.testing.assert_allclose(found, stats.norm.sf(x.astype(float)), rtol=2e-5)
    assert filter_kernels.upper_tail(np.float32(9)) == filter_kernels.upper_tail(np.float32(5.8))


def drawn(p, N, binomial=True):
    """Counts at evenly spaced quantiles of the normal number, (20000,)."""
    normal = stats.norm.ppf((np.arange(20000) + 0.5) / 20000).astype(np.float32)
    n = np.empty(20000, np.float32)
    filter_kernels.draw(np.full(20000, p, np.float32), float(N), normal, binomial, n)
    return n.astype(float) * N


@pytest.mark.parametrize(("p", "N"), [(0.01, 400), (0.04, 200), (0.1, 400), (0.5, 30), (0.9, 100), (0.02, 100)])
def test_counts_have_the_moments_of_a_binomial(p, N):
    counts, exact = drawn(p, N), stats.binom(N, p)
    mean, variance, skewness = exact.stats("mvs")
    assert counts.mean() == pytest.approx(mean, rel=2e-3)
    assert counts.var() == pytest.approx(variance, rel=0.02)
    assert stats.skew(counts) == pytest.approx(skewness, abs=0.04)
    assert np.allclose(counts, np.round(counts), atol=1e-4) == (exact.var() < filter_kernels.FEW)


def test_gaussian_activities_are_cut_at_0_only():
    counts = drawn(0.1, 10, binomial=False)
    assert counts.min() == 0 and counts.max() == pytest.approx(1 + stats.norm.ppf(1 - 1 / 40000), rel=1e-4)
    assert np.median(counts) == pytest.approx(1, rel=1e-3)


def test_exponential():
    x = np.concatenate([np.linspace(-12, 12, 1001), np.linspace(-1e-3, 1e-3, 101), np.linspace(-79, 79, 201)])
    x = x.astype(np.float32)
    found = np.array([filter_kernels.exp(each) for each in x], float)
    np.testing.assert_array_less(np.abs(found / np.exp(x.astype(float)) - 1), np.maximum(4e-7, 1e-7 * np.abs(x)))
    assert filter_kernels.exp(np.float32(-1e9)) == pytest.approx(np.exp(-80), rel=1e-4)
    assert filter_kernels.exp(np.float32(1e9)) == pytest.approx(np.exp(80), rel=1e-4)


def test_survival():
    ln_H = np.linspace(-30, 3.4, 2001, dtype=np.float32)
    found, H = np.array([filter_kernels.survival(each) for each in ln_H], float), np.exp(ln_H.astype(float))
    np.testing.assert_array_less(np.abs(found / np.exp(-H) - 1), 4e-7 + 5e-7 * H)
    assert filter_kernels.survival(np.float32(1e9)) == pytest.approx(np.exp(-30), rel=1e-4)
    assert filter_kernels.survival(np.float32(-1e9)) == pytest.approx(1, abs=2e-7)


def test_logarithm():
    x = np.concatenate([np.geomspace(1e-30, 1e30, 2001), np.linspace(0.5, 2, 2001)]).astype(np.float32)
    found, exact = np.array([filter_kernels.log(each) for each in x], float), np.log(x.astype(float))
    np.testing.assert_array_less(np.abs(found - exact), 1e-9 + 3e-7 * np.abs(exact))


@pytest.mark.parametrize("n", [1, 100, 4099])
def test_normal_numbers_are_those_of_box_and_muller(n):
    bits = np.random.default_rng(n).integers(2**32, size=(2, n), dtype=np.uint32)
    bits[:, 0] = 0, 2**32 - 1
    normal = np.empty(2 * n, np.float32)
    filter_kernels.normal_numbers(bits, normal)
    u, v = (bits >> 9) / 2**23
    radius, angle = np.sqrt(-2 * np.log(1 - u)), 2 * np.pi * (v - 0.5)
    np.testing.assert_allclose(normal[:n], radius * np.cos(angle), atol=5e-6)
    np.testing.assert_allclose(normal[n:], radius * np.sin(angle), atol=5e-6)


def test_normal_numbers_are_normal_and_independent():
    bits = random_bits(np.random.Generator(np.random.SFC64(1)), (2, 200_000))
    normal = np.empty(400_000, np.float32)
    filter_kernels.normal_numbers(bits, normal)
    assert stats.kstest(normal, "norm").pvalue > 0.001
    for power, first in ((1, 1), (1, 2), (2, 2)):
        assert stats.pearsonr(normal[:200_000] ** power, normal[200_000:] ** first).pvalue > 0.001
        assert stats.pearsonr(normal[:-1] ** power, normal[1:] ** first).pvalue > 0.001


# --- free simulation -------------------------------------------------------------------------------------------------


def test_copies_run_as_the_cell_does():
    parameters, model, _ = noisy(d=1, r=2)
    step = np.where(np.arange(20000) % 200 < 100, 60.0, -60.0) * np.array([[1.0], [-1.0]])
    slow, _ = simulate(parameters, model, 20000, 1, external_input=step)
    fast, _ = simulate_many(parameters, model, step[:, :4000], 20, 1)
    assert fast.shape == (20, 2, 4000)
    response = slow[:, 200:].reshape(2, -1, 200)
    expected, error = response.mean(axis=1), response.std(axis=1) / np.sqrt(response.shape[1])
    found = fast[:, :, 200:].mean(axis=0).reshape(2, -1, 200).mean(axis=1)
    z = (found - expected) / np.hypot(error, error / 2)  # four times as many
    assert np.abs(z).max() < 5 and 0.8 < z.std() < 1.2
    np.testing.assert_allclose(found.mean(axis=1), expected.mean(axis=1), rtol=0.01)
    assert np.ptp(expected, axis=1).min() > 10 * error.mean()  # the step matters
    for m in range(2):
        deviations = [(runs - np.resize(expected[m], runs.shape))[..., 200:] for runs in (slow[m], fast[:, m])]
        for lag in (0, 1, 2, 5):
            of_slow, of_fast = (np.mean(x[..., lag:] * x[..., : x.shape[-1] - lag]) for x in deviations)
            assert of_fast == pytest.approx(of_slow, abs=0.1 * np.var(deviations[0]))


def test_copies_take_turns_in_winning_as_often_as_the_cell_does():
    parameters, model, rates = reference_parameters(), winner_take_all(scheme=CONSISTENT), np.array([19.0, 6.0, 24.0])
    slow, _ = simulate(parameters, model, 50000, 1, initial_rate=rates)
    fast, _ = simulate_many(parameters, model, np.zeros((3, 2500)), 40, 1, initial_rate=rates)
    one, many = find_switches(slow / model.dt, model.dt), [find_switches(run / model.dt, model.dt) for run in fast]
    assert np.mean([run.winner_rate for run in many]) == pytest.approx(one.winner_rate, rel=0.02)
    assert np.mean([run.loser_rate for run in many]) == pytest.approx(one.loser_rate, rel=0.05)
    number, expected = sum(len(run.times) for run in many), len(one.times) * 2  # of 400 s and 200 s
    assert abs(number - expected) < 4 * np.sqrt(number + 2 * expected) and number > 20
    np.testing.assert_allclose(fast.mean(axis=(0, 2))[2], slow.mean(axis=1)[2], rtol=0.01)


def test_own_neurons_fire_as_often_as_their_population():
    parameters, model, recording = noisy(T=400, r=3)
    activity, spikes = simulate_many(parameters, model, recording.external_input[0], 200, 1, n_observed=4)
    assert spikes.shape == (200, 2, 400, 4) and spikes.dtype == bool
    expected = activity[:, :, 20:].mean(axis=(0, 2))
    np.testing.assert_allclose(spikes[:, :, 20:].mean(axis=(0, 2, 3)), expected, rtol=0.03)
    again = [np.mean(spikes[:, :, lag:] & spikes[:, :, :-lag]) for lag in (1, 2, 3, 4)]
    assert again[:3] == [0, 0, 0] and again[3] > 0
    assert (spikes[..., 0] != spikes[..., 1]).any()
    together = [np.corrcoef(spikes[:, m].mean(axis=-1).ravel(), activity[:, m].ravel())[0, 1] for m in range(2)]
    assert min(together) > 0.07  # they share their input


def test_own_neurons_leave_the_activity_as_it_is_and_copies_have_noise_of_their_own():
    parameters, model, recording = noisy()
    given = (parameters, model, recording.external_input[0], 5)
    activity, _ = simulate_many(*given, 1)
    np.testing.assert_array_equal(simulate_many(*given, 1, n_observed=3)[0], activity)
    np.testing.assert_array_equal(simulate_many(*given, (1,), initial_rate=np.full(2, 10.0))[0], activity)
    for other in (simulate_many(*given, 2)[0], simulate_many(*given, 1, initial_rate=np.full(2, 30.0))[0]):
        assert (other != activity).any()
    assert (activity[0] != activity[1]).any()


# --- what could go wrong ---------------------------------------------------------------------------------------------


def test_what_is_left_of_a_volley_is_no_denormal_number():
    K, ages = 8, 20
    state, nbar, normal = filter_kernels.new_state(1, ages, 0, 1, K), np.empty(K, np.float32), np.zeros(K, np.float32)
    state.cohorts[:], state.pool[:] = 0, 0
    state.cohorts[1, 0, 0] = 1
    for t in range(4 * ages):
        drive = np.linspace(0, 40, K, dtype=np.float32) * (t % 5 == 0)
        given = (0, np.float32(0.9), np.float32(4), 1, ages, t % ages, state.cohorts, state.pool, drive, nbar)
        filter_kernels.expect(*given)
        filter_kernels.draw(nbar, 400.0, normal, True, nbar)
        filter_kernels.give_birth(0, nbar, t % ages, state.cohorts)
        masses = np.abs(np.concatenate([state.cohorts[1:].ravel(), state.pool[:, 1:].ravel()]))
        assert masses[masses > 0].min() >= filter_kernels.NOTHING
        assert state.cohorts[1].sum(axis=1) + state.pool[1] == pytest.approx(1, abs=0.3)


def test_spikes_in_refractoriness_are_nearly_impossible():
    parameters, model, recording = noisy(r=2)
    spikes = np.zeros_like(recording.observed_spikes)
    spikes[:, 0, 50:52, 0] = 1  # the window is 40 bins
    known = FastFilter(model, replace(recording, observed_spikes=spikes, recorded=np.array([[True, False]] * 2)))
    ln_p = known.ln_p_bins(parameters, 1)[0]
    assert ln_p[11] == pytest.approx(np.log(REFRACTORY_HAZARD * model.dt), abs=0.3)
    assert np.isfinite(ln_p).all() and np.sort(ln_p)[1] > -10


def test_where_no_particle_explains_the_spikes_it_is_minus_infinity():
    parameters, model, recording = noisy(B=2)
    too_high = replace(parameters, resting_potential=np.array([500.0, 5.0]))
    known = FastFilter(model, recording)
    assert known.ln_p(too_high, 1) == -np.inf
    assert (known.ln_p_bins(too_high, 1) == -np.inf).sum(axis=1).tolist() == [1, 1]
    in_burn_in = FastFilter(model, replace(recording, judged=np.tile(np.arange(40) >= 30, (2, 1))))
    assert in_burn_in.ln_p(too_high, 1) == -np.inf
    with pytest.raises(FitError, match="activity: expected particles that explain the recorded spikes, found none"):
        known.activity(too_high, 1)


@pytest.mark.parametrize("shift", [-60.0, -10.0, 20.0, 60.0])
def test_extreme_circuits_give_numbers(shift):
    parameters, model, recording = noisy()
    known = FastFilter(model, recording)
    ln_p = known.ln_p(replace(parameters, resting_potential=parameters.resting_potential + shift), 1)
    assert not np.isnan(ln_p) and ln_p < known.ln_p(parameters, 1) - 10


def test_a_particle_is_chosen_that_there_is_whatever_the_weights():
    for w, promise in ((np.nan, 0.0), (0.0, 0.0), (0.1, np.nan), (0.1, np.inf)):
        chosen, ln_w = np.full(16, 99, np.uint32), np.zeros(16, np.float32)
        given = np.full(16, w, np.float32), np.full(16, promise, np.float32)
        given[0][-1] = 1
        if filter_kernels.choose(*given, 0.5, chosen, ln_w):
            assert (chosen < 16).all()


def test_a_population_that_cannot_fire_starts_with_masses_that_do_not_overflow():
    parameters, model, recording = noisy()
    resting = parameters.resting_potential - 60
    circuit = fast_filter._circuit_of(replace(parameters, resting_potential=resting), model)
    state = filter_kernels.new_state(2, 10, 0, 1, 4)
    filter_kernels.start(circuit, np.array([5.0, 5.0]), np.array([10, 10]), state)
    drive, nbar = np.zeros(4, np.float32), np.empty(4, np.float32)
    filter_kernels.expect(0, np.float32(0.8), np.float32(9), 0, 10, 0, state.cohorts, state.pool, drive, nbar)
    assert (np.abs(state.pool.astype(float)) ** 3 < np.finfo(np.float32).max).all() and (nbar == 0).all()


def test_many_units_firing_in_one_bin_do_not_underflow():
    parameters, model, recording = without_noise(1, 1, 0, 1, False)
    spikes = np.zeros((1, 1, 210, 26), np.uint8)
    spikes[:, :, 180] = 1
    crowd = replace(recording, observed_spikes=spikes)
    known = FastFilter(model, crowd, followed=ALL_AGES)
    quiet = replace(parameters, threshold=parameters.threshold + 6)
    (n,) = known.activity(quiet, 0, 2).astype(float)
    assert known.ln_p_bins(quiet, 0, 2)[0, 30] < -200
    assert known.ln_p(quiet, 0, 2) == pytest.approx(-60 * fast_lossy(quiet, n, crowd, model).value, rel=1e-5)


def test_a_population_that_is_silent_in_the_window_is_not_dead():
    parameters, model, recording = noisy()
    found = {}
    for rate in (0.0, LEAST_RATE, 3.0):
        silent = replace(recording, initial_rate=np.array([[rate, 20.0]]))
        found[rate] = FastFilter(model, silent).ln_p(parameters, 1)
    assert found[0.0] == found[LEAST_RATE] and found[0.0] == pytest.approx(found[3.0], abs=2)
    started = [
        simulate_many(parameters, model, np.zeros((2, 30)), 3, 1, initial_rate=np.array([rate, 20.0]))[0]
        for rate in (0.0, LEAST_RATE)
    ]
    np.testing.assert_array_equal(*started)


def test_what_cannot_be_used(monkeypatch):
    parameters, model, recording = noisy()
    with pytest.raises(InputError, match="n_particles: expected at least 2, got 1"):
        FastFilter(model, recording).ln_p(parameters, 1, 1)
    with pytest.raises(InputError, match="n_particles: expected at least 2, got 0"):
        FastFilter(model, recording, n_particles=0)
    published = replace(model, scheme=PUBLISHED)
    I = recording.external_input[0]
    for start in (lambda m: FastFilter(m, recording), lambda m: simulate_many(parameters, m, I, 1, 1)):
        with pytest.raises(InputError, match="scheme: expected the consistent one, got published"):
            start(published)
    monkeypatch.setattr(fast_filter, "has_numba", lambda: False)
    for start in (lambda m: FastFilter(m, recording), lambda m: simulate_many(parameters, m, I, 1, 1)):
        with pytest.raises(InputError, match="fast filter: expected numba, found none: python -m pip install numba"):
            start(model)
