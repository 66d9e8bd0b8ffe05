"""The microscopic network against a naive loop, against renewal theory, and its promises on memory and input."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from src import LIFmicroPop
from src.LIFmicroPop import factors, simulate_network
from src.model.containers import Model, Parameters
from src.utils.exceptions import InputError


def small_circuit(M, *, dt=0.001, refractory_bins=3, delay_bins=2, size=6):
    """Return a circuit of M unequal populations that fires a lot."""
    rng = np.random.default_rng(M)
    model = Model(
        population_size=size + np.arange(M),
        synaptic_rate=rng.uniform(100, 400, M),
        connectivity=np.ones((M, M)),
        dt=dt,
        window_bins=100,
        refractory_bins=refractory_bins,
        delay_bins=delay_bins,
    )
    parameters = Parameters(
        membrane_rate=rng.uniform(30, 80, M),
        coupling=rng.normal(0, 3, (M, M)),
        resting_potential=rng.uniform(4, 6, M),
        threshold=rng.uniform(0, 2, M),
    )
    return parameters, model


def uncoupled(size, *, dt, refractory_bins, mu=4.0, theta=2.5, alpha=50.0):
    """Return one population without connections."""
    model = Model(np.array([size]), np.array([100.0]), np.zeros((1, 1)), dt, 100, refractory_bins)
    return Parameters(np.array([alpha]), np.zeros((1, 1)), np.array([mu]), np.array([theta])), model


def naive_loop(parameters, model, n_steps, rng, external_input, heterogeneity=0.0):
    """Simulate neuron by neuron, straight from section 2 of the specification: spikes of all, (n_steps, neurons)."""
    dt, M = model.dt, model.n_populations
    population = [m for m in range(M) for _ in range(int(model.population_size[m]))]
    V = [u * parameters.threshold[m] for u, m in zip(rng.random(len(population)), population, strict=True)]
    of_rest, of_inputs = factors(heterogeneity, (2, len(population)), rng)
    exponential = rng.standard_exponential((n_steps, len(population)))
    silent_until = [0] * len(population)
    x = np.zeros(M)
    spikes = np.zeros((n_steps, len(population)), int)
    for t in range(n_steps):
        for j in range(M):
            past = t - 1 - model.delay_bins
            of_j = [i for i, m in enumerate(population) if m == j]
            A = spikes[past, of_j].mean() / dt if past >= 0 else 0.0
            g = np.exp(-model.synaptic_rate[j] * dt)
            x[j] = g * x[j] + (1 - g) * A
        for i, m in enumerate(population):
            if t < silent_until[i]:
                V[i] = 0.0
                continue
            g = np.exp(-parameters.membrane_rate[m] * dt)
            inputs = of_inputs[i] * sum(parameters.coupling[j, m] * x[j] for j in range(M))
            rest = of_rest[i] * parameters.resting_potential[m]
            V[i] = g * V[i] + (1 - g) * rest + dt * (inputs + external_input[t, m])
            # The probability of E < dt e^(V - theta), E exponential, is 1 - exp(-dt e^(V - theta)).
            if exponential[t, i] < dt * np.exp(V[i] - parameters.threshold[m]):
                spikes[t, i], V[i] = 1, 0.0
                silent_until[i] = t + 1 + model.refractory_bins
    return spikes


@pytest.mark.parametrize("heterogeneity", [0.0, 0.4])
@pytest.mark.parametrize(("M", "refractory_bins", "delay_bins"), [(1, 1, 0), (2, 3, 2), (3, 4, 0), (4, 1, 5)])
def test_equals_a_naive_loop_over_neurons(M, refractory_bins, delay_bins, heterogeneity):
    parameters, model = small_circuit(M, refractory_bins=refractory_bins, delay_bins=delay_bins)
    external_input = np.random.default_rng(9).normal(0, 40, (400, M))
    expected = naive_loop(parameters, model, 400, np.random.default_rng(5), external_input, heterogeneity)
    given = {"external_input": external_input, "n_sampled": 6, "heterogeneity": heterogeneity}
    came = simulate_network(parameters, model, 400, np.random.default_rng(5), **given)
    first = np.cumsum(model.population_size.astype(int)) - model.population_size.astype(int)
    parts = np.split(expected, first[1:], axis=1)
    assert min(part.sum() for part in parts) > 10
    for m, part in enumerate(parts):
        np.testing.assert_array_equal(came.sampled_spikes[m], part[:, :6])
        np.testing.assert_allclose(came.rate[:, m], part.mean(axis=1) / model.dt, rtol=1e-12)


# At 4 ms steps, leak and probability differ by a fifth from their first-order forms, so those would be found out.
@pytest.mark.parametrize(("dt", "refractory_bins"), [(0.0002, 20), (0.004, 1), (0.004, 3)])
def test_uncoupled_neurons_follow_the_survivor_function(dt, refractory_bins):
    N, current, seconds = 2000, 50.0, 1.5
    parameters, model = uncoupled(N, dt=dt, refractory_bins=refractory_bins)
    n_steps = round(seconds / dt)
    k = np.arange(1, n_steps)  # steps since the end of the refractory time; V in closed form, not by steps
    V = (4.0 + dt * current / -np.expm1(-50.0 * dt)) * -np.expm1(-50.0 * dt * k)
    survivor = np.concatenate([[1.0], np.exp(-np.cumsum(dt * np.exp(V - 2.5)))])
    interval = (refractory_bins + k) * dt
    mean = (interval * -np.diff(survivor)).sum()
    variance = (interval**2 * -np.diff(survivor)).sum() - mean**2

    external_input = np.full((n_steps, 1), current)
    came = simulate_network(
        parameters, model, n_steps, np.random.default_rng(1), external_input=external_input, n_sampled=N
    )
    settled = came.rate[round(0.5 / dt) :, 0].mean()
    # The spikes that N renewal processes fire in a time D have variance N D variance / mean^3; here D = 1 s.
    error = np.sqrt(variance / mean**3 / N)
    assert error < 0.01 / mean
    assert settled == pytest.approx(1 / mean, abs=4 * error)
    # Intervals that begin in the first half end before the recording does, so none is missed for being long.
    trains = [np.flatnonzero(spikes) for spikes in came.sampled_spikes[0].T]
    seen = np.concatenate([np.diff(train)[train[:-1] < n_steps / 2] for train in trains])
    for quantile in (0.2, 0.5, 0.8):
        middle = np.flatnonzero(survivor < 1 - quantile)[0]
        expected = 1 - survivor[middle]
        assert (seen <= refractory_bins + middle).mean() == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(len(seen)))


@pytest.mark.parametrize("refractory_bins", [1, 4, 20])
def test_refractory_time_is_respected_and_not_exceeded(refractory_bins):
    parameters, model = uncoupled(50, dt=0.001, refractory_bins=refractory_bins, mu=100.0)
    came = simulate_network(parameters, model, 600, np.random.default_rng(2), n_sampled=50)
    intervals = np.concatenate([np.diff(np.flatnonzero(s)) for s in came.sampled_spikes[0].T])
    assert intervals.min() == refractory_bins + 1
    assert came.sampled_spikes.sum(axis=1).min() > 5


@pytest.mark.parametrize("delay_bins", [0, 1, 7])
def test_a_volley_arrives_one_step_and_the_delay_later(delay_bins):
    coupling = np.array([[0.0, 1e3], [0.0, 0.0]])
    model = Model(np.array([20, 20]), np.array([1e4, 1e4]), np.sign(coupling), 0.001, 100, 5, delay_bins)
    parameters = Parameters(np.array([50.0, 50.0]), coupling, np.zeros(2), np.array([30.0, 30.0]))
    external_input = np.zeros((40, 2))
    external_input[10, 0] = 1e5
    came = simulate_network(parameters, model, 40, np.random.default_rng(3), external_input=external_input, n_sampled=0)
    np.testing.assert_array_equal(np.flatnonzero(came.rate[:, 0]), [10])
    np.testing.assert_array_equal(np.flatnonzero(came.rate[:, 1]), [11 + delay_bins])
    assert came.rate[10, 0] == pytest.approx(1000.0)


@pytest.mark.parametrize("M", [1, 2, 4])
def test_rate_counts_all_neurons(M):
    parameters, model = small_circuit(M)
    model = replace(model, population_size=np.full(M, 9))
    came = simulate_network(parameters, model, 300, np.random.default_rng(0), n_sampled=9)
    assert came.rate.shape == (300, M)
    assert came.sampled_spikes.shape == (M, 300, 9)
    assert came.sampled_spikes.dtype == np.uint8
    np.testing.assert_allclose(came.rate, came.sampled_spikes.mean(axis=2).T / model.dt, rtol=1e-12)
    assert came.sampled_spikes.max() == 1


def test_same_seed_same_result_whatever_the_length_the_blocks_and_the_sample(monkeypatch):
    parameters, model = small_circuit(3)
    whole = simulate_network(parameters, model, 500, np.random.default_rng(7), n_sampled=5)
    monkeypatch.setattr(LIFmicroPop, "_BLOCK_VALUES", 100)
    steps_done = []
    other = simulate_network(parameters, model, 300, np.random.default_rng(7), n_sampled=3, progress=steps_done.append)
    np.testing.assert_array_equal(other.rate, whole.rate[:300])
    np.testing.assert_array_equal(other.sampled_spikes, whole.sampled_spikes[:, :300, :3])
    assert sum(steps_done) == 300
    assert len(steps_done) > 10
    different = simulate_network(parameters, model, 300, np.random.default_rng(8), n_sampled=3)
    assert (different.rate != other.rate).any()


def test_warmup_is_the_dropped_beginning():
    parameters, model = small_circuit(2)
    external_input = np.random.default_rng(1).normal(0, 50, (200, 2))
    padded = np.concatenate([np.zeros((130, 2)), external_input])
    whole = simulate_network(parameters, model, 330, np.random.default_rng(4), external_input=padded, n_sampled=4)
    came = simulate_network(
        parameters, model, 200, np.random.default_rng(4), external_input=external_input, n_sampled=4, warmup_steps=130
    )
    np.testing.assert_array_equal(came.rate, whole.rate[130:])
    np.testing.assert_array_equal(came.sampled_spikes, whole.sampled_spikes[:, 130:])


def test_memory_does_not_grow_with_neurons_times_steps():
    def peak(size):
        parameters, model = uncoupled(size, dt=0.0002, refractory_bins=20)
        tracemalloc.start()
        simulate_network(parameters, model, 1000, np.random.default_rng(0), n_sampled=3)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    more = peak(20_000) - peak(100)
    assert more < 60 * 20_000 + 2**21  # a few numbers per neuron; neurons x steps would be 20 MB even as bytes


def test_a_strong_loop_saturates_without_overflow():
    parameters, model = small_circuit(1)
    strong = Parameters(parameters.membrane_rate, np.array([[1e6]]), np.array([1e4]), parameters.threshold)
    came = simulate_network(strong, model, 400, np.random.default_rng(0), n_sampled=1)
    assert came.rate.mean() == pytest.approx(1 / (4 * model.dt), rel=0.05)


CIRCUIT = small_circuit(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 0}, "n_steps >= 1"),
        ({"warmup_steps": -1}, "warmup_steps >= 0"),
        ({"n_sampled": 7}, r"n_sampled: expected 0 to 6 \(the smallest population\), got 7"),
        ({"n_sampled": -1}, "n_sampled"),
        ({"external_input": np.zeros((2, 10))}, r"external_input: expected \(10, 2\).*got shape \(2, 10\)"),
        ({"external_input": np.full((10, 2), np.nan)}, "external_input: expected .* finite"),
        ({"parameters": Parameters(np.ones(3), np.ones((2, 2)), np.ones(2), np.ones(2))}, r"membrane_rate.*\(3,\)"),
        ({"parameters": Parameters(np.ones(2), np.ones(2), np.ones(2), np.ones(2))}, r"coupling: expected \(2, 2\)"),
        ({"parameters": Parameters(-np.ones(2), np.ones((2, 2)), np.ones(2), np.ones(2))}, "membrane_rate.*positive"),
        ({"parameters": Parameters(np.ones(2), np.ones((2, 2)), np.ones(2), np.full(2, np.inf))}, "threshold.*finite"),
        ({"model": Model(np.array([10.5, 9]), np.ones(2), np.ones((2, 2)))}, "population_size: expected whole"),
    ],
)
def test_bad_input(changes, message):
    arguments = {"parameters": CIRCUIT[0], "model": CIRCUIT[1], "n_steps": 10, "n_sampled": 3} | changes
    with pytest.raises(InputError, match=message) as caught:
        simulate_network(rng=np.random.default_rng(0), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variation", [0.0, 0.5])
def test_factors_have_mean_one_and_the_variation_asked_for(variation):
    drawn = factors(variation, (100_000,), np.random.default_rng(1))
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [1, variation], atol=0.01)
    assert drawn.min() > 0


def test_a_negative_variation_is_refused():
    parameters, model = small_circuit(1)
    with pytest.raises(InputError, match="^heterogeneity: expected at least 0, got -0.1"):
        simulate_network(parameters, model, 10, np.random.default_rng(0), n_sampled=2, heterogeneity=-0.1)
