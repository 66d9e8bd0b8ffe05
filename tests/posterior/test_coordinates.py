"""The sampler's coordinates: an exact map, there and back, whose Jacobian is known, and whose eta is about rates."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import cumulative_simpson, simpson

from src.helper import to_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Recording
from src.model.flat_order import INPUT_GAIN, number_of, places, slices
from src.model.free_parameters import FreeParameters
from src.model.scheme import CONSISTENT
from src.posterior.coordinates import LEAST_OBSERVED, Coordinates, stationary_rate, visited_states
from tests.fake_target import one_population, recording_of

REFERENCE = reference_parameters()
MODEL = winner_take_all(scheme=CONSISTENT)
WHOLE = MODEL.fitted.around(to_X(REFERENCE, MODEL), 0.4, 2)
A, M = MODEL.window_bins, 3
WINNER, LOSER, INHIBITION = 20.0, 5.0, 25.0


def switching(share=0.5, *, T=2000, n_obs=20, driven=0.0, trials=1, seed=0):
    """Return a recording in which E1 wins for a share of the time and E2 for the rest."""
    rng = np.random.default_rng(seed)
    first = np.arange(A + T) < A + share * T
    rate = np.stack([np.where(first, WINNER, LOSER), np.where(first, LOSER, WINNER), np.full(A + T, INHIBITION)])
    spikes = rng.random((trials, M, A + T, n_obs)) < rate[:, :, None] * MODEL.dt
    given = np.where(first[A:], driven, -driven) * np.array([1.0, 0.5, 0.0])[:, None]
    return Recording(spikes.astype(np.uint8), np.tile(given, (trials, 1, 1)), np.full((trials, M), 10.0))


def tied(rows, lower, upper, **fixed):
    """Return numbers of given parameters: each row a dictionary of factors, by kind and population."""
    matrix, rest = np.zeros((len(rows), len(WHOLE.fixed))), REFERENCE.flat()
    for row, factors in zip(matrix, rows, strict=True):
        for (kind, place), factor in factors.items():
            row[places(kind, M)[place]] = factor
    rest = np.where((matrix != 0).any(axis=0), 0, rest)
    names = tuple(f"number {k}" for k in range(len(rows)))
    ends = {"lower": np.array(lower, float), "upper": np.array(upper, float)}
    return replace(MODEL, free=FreeParameters(names, ("",) * len(rows), rest, matrix, **ends, **fixed))


MU, THETA, ALPHA, J = "resting_potential", "threshold", "membrane_rate", "coupling"


def with_gains(lower, upper):
    """Return the circuit with all its numbers and an input gain for each population."""
    free = FreeParameters.from_dict(WHOLE.as_dict())
    matrix = np.zeros((len(free.names) + M, number_of(M, gains=True)))
    matrix[: len(free.names), : number_of(M)] = free.matrix
    matrix[np.arange(-M, 0), places(INPUT_GAIN, M)] = 1
    names = (*free.names, *(f"{INPUT_GAIN} {name}" for name in MODEL.names))
    ends = {"lower": np.append(free.lower, lower), "upper": np.append(free.upper, upper)}
    scale = np.append(free.scale, np.ones(M))
    fixed = np.zeros(matrix.shape[1])
    return replace(MODEL, free=FreeParameters(names, ("",) * len(names), fixed, matrix, **ends, scale=scale))


CIRCUITS = {
    "all": replace(MODEL, free=WHOLE),
    "tied resting potentials": tied(
        [{(MU, 0): 1, (MU, 1): 1.2}, {(MU, 2): 1}, {(J, (2, 0)): -1, (J, (2, 1)): -0.5}], [4, 4, 5], [30, 30, 40]
    ),
    "no resting potential": tied([{(ALPHA, 0): 1, (ALPHA, 1): 1}, {(THETA, 2): 1}], [20, -1], [100, 5]),
    "one number for two kinds": tied([{(MU, 0): 1, (THETA, 0): 0.3}, {(MU, 1): 1}], [5, 5], [30, 30]),
    "without bounds": tied(
        [{(MU, 0): 1}, {(MU, 1): 1}, {(J, (0, 0)): 1}],
        [-np.inf, 0, -np.inf],
        [np.inf, np.inf, np.inf],
        scale=np.array([10.0, 2.0, 5.0]),
    ),
    "one population": one_population(),
    "gains of either sign": with_gains([-3.0, 0.1, -2.0], [4.0, 3.0, 0.5]),
}


def recording(name):
    return recording_of(CIRCUITS[name]) if name == "one population" else switching(0.4, driven=30.0)


def some_places(name, number=40, seed=0):
    """Return coordinates and numbers scattered about the reference."""
    model, rng = CIRCUITS[name], np.random.default_rng(seed)
    free = model.fitted
    low, high = (np.where(np.isfinite(end), end, other) for end, other in ((free.lower, 5), (free.upper, 25)))
    return Coordinates(model, recording(name)), rng.uniform(low, high, (number, len(low)))


# --- the map ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CIRCUITS)
def test_there_and_back(name):
    coordinates, X = some_places(name)
    place = coordinates.of(X)
    assert np.isfinite(place.p).all() and np.isfinite(place.ln_stretch).all()
    for near in (None, X[::-1]):
        again = coordinates.back(place.p, near)
        np.testing.assert_allclose(again.X, X, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(again.ln_stretch, place.ln_stretch, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(again.p, place.p)
        assert again.p is not place.p


@pytest.mark.parametrize("name", CIRCUITS)
def test_stretch_is_the_jacobian(name):
    coordinates, X = some_places(name, 5)
    place, n, step = coordinates.of(X), X.shape[1], 1e-4
    forward, back = (
        np.stack([coordinates.back(place.p + sign * step * np.eye(n)[k], X).X for k in range(n)], axis=-1)
        for sign in (1, -1)
    )
    jacobian = (forward - back) / (2 * step)  # (places, number, coordinate)
    each = np.log(np.abs(np.diagonal(jacobian, axis1=1, axis2=2)))
    np.testing.assert_allclose(place.ln_stretch, each, atol=1e-5)
    sign, whole = np.linalg.slogdet(jacobian)
    assert (sign > 0).all()
    np.testing.assert_allclose(place.ln_stretch.sum(axis=1), whole, atol=1e-4)


def test_which_numbers_have_a_rate_or_a_logarithm():
    def kinds(name):
        coordinates = some_places(name, 1)[0]
        return "".join(
            "r" if r else "l" if log else "-" for r, log in zip(coordinates.is_rate, coordinates.is_log, strict=True)
        )

    assert kinds("all") == "llllllrrrlll"
    assert kinds("tied resting potentials") == "rrl"
    assert kinds("no resting potential") == "l-"
    assert kinds("one number for two kinds") == "lr"
    assert kinds("without bounds") == "rr-"


def test_a_rate_out_of_reach_ends_beyond_the_bounds():
    coordinates, X = some_places("all", 3)
    p = coordinates.of(X).p
    for eta in (-60.0, 60.0):
        p[:, coordinates.is_rate] = eta
        found = coordinates.back(p, X).X[:, coordinates.is_rate]
        free = coordinates.free
        outside = (found < free.lower[coordinates.is_rate]) | (found > free.upper[coordinates.is_rate])
        assert outside.all() and np.isfinite(found).all()


def test_places_are_chosen_row_by_row():
    coordinates, X = some_places("all", 4)
    one, other, taken = coordinates.of(X), coordinates.of(X[::-1]), np.array([True, False, False, True])
    mixed = one.where(taken, other)
    for key in ("X", "p", "ln_stretch"):
        np.testing.assert_array_equal(getattr(mixed, key)[taken], getattr(other, key)[taken])
        np.testing.assert_array_equal(getattr(mixed, key)[~taken], getattr(one, key)[~taken])
        np.testing.assert_array_equal(getattr(mixed[taken], key), getattr(other, key)[taken])


# --- what eta means ---------------------------------------------------------------------------------------------------


def rate_by_integration(alpha, h, theta, refractory):
    """One over the mean interval, on a grid of 1e-5 s."""
    t = np.linspace(0, 1.5, 150_001)
    hazard = np.exp(h * -np.expm1(-alpha * t) - theta)
    S = np.exp(-cumulative_simpson(hazard, x=t, initial=0))
    return 1 / (refractory + simpson(S, x=t) + S[-1] / hazard[-1])


@pytest.mark.parametrize("h, theta", [(3.0, 3.7), (6.0, 3.7), (12.0, 6.0), (0.5, 1.0)])
def test_stationary_rate(h, theta):
    alpha = np.array([50.0])
    exact = rate_by_integration(alpha[0], h, theta, 0.004)
    found, slope = stationary_rate(alpha, np.array([h]), np.array([theta]), 0.004)
    assert found[0] == pytest.approx(exact, rel=0.03)
    up, down = (stationary_rate(alpha, np.array([h + d]), np.array([theta]), 0.004)[0][0] for d in (1e-5, -1e-5))
    assert slope[0] == pytest.approx((up - down) / 2e-5, rel=1e-6)


def eta_by_integration(model, X, states, observed):
    """From the definition: mean rate over the states, each at the rates and the input that it has."""
    flat, at = model.fitted.flat(X), slices(model.n_populations)
    alpha, mu, theta = (flat[at[word]] for word in (ALPHA, MU, THETA))
    coupling = flat[at[J]].reshape(model.n_populations, -1)
    mean = np.zeros(model.n_populations)
    for share, rate, given in zip(*states, strict=True):
        for m in range(model.n_populations):
            h = mu[m] + (sum(coupling[j, m] * rate[j] for j in range(model.n_populations)) + given[m]) / alpha[m]
            mean[m] += share * rate_by_integration(alpha[m], h, theta[m], model.refractory_bins * model.dt)
    return mean / observed


def test_eta_is_the_logarithm_of_the_rate_over_the_observed_one():
    model = CIRCUITS["all"]
    coordinates = Coordinates(model, recording("all"))
    X = to_X(REFERENCE, MODEL) * np.exp(0.1 * np.random.default_rng(1).standard_normal((2, 12)))
    p = coordinates.of(X).p
    for k in range(2):
        ratio = eta_by_integration(model, X[k], coordinates.states, coordinates.observed)
        np.testing.assert_allclose(p[k, coordinates.is_rate], np.log(ratio), atol=0.04)


def test_of_tied_resting_potentials_it_is_that_of_their_mean():
    model = CIRCUITS["tied resting potentials"]
    coordinates = Coordinates(model, recording("tied resting potentials"))
    X = np.array([[14.4, 14.4, 20.0]])
    ratio = eta_by_integration(model, X[0], coordinates.states, coordinates.observed)
    p = coordinates.of(X).p[0, :2]
    np.testing.assert_allclose(p, np.log([ratio[:2].mean(), ratio[2]]), atol=0.04)


# --- the states of a recording ----------------------------------------------------------------------------------------


def sorted_states(found):
    order = np.argsort(found.rate[:, 0])
    return [part[order] for part in found]


def test_two_states_are_told_apart():
    share, rate, given = sorted_states(visited_states(switching(0.3, T=6000, n_obs=50, driven=40.0), MODEL))
    np.testing.assert_allclose(share, [0.7, 0.3], atol=0.02)
    np.testing.assert_allclose(rate, [[LOSER, WINNER, INHIBITION], [WINNER, LOSER, INHIBITION]], rtol=0.1)
    np.testing.assert_allclose(given, [[-40, -20, 0], [40, 20, 0]], atol=4)


def test_a_state_that_hardly_ever_comes_does_not_count():
    share, rate, _ = visited_states(switching(0.05, T=6000, n_obs=200), MODEL)
    assert share.tolist() == [1.0]
    np.testing.assert_allclose(rate, [[5.75, 19.25, INHIBITION]], rtol=0.1)


def test_one_population_has_one_state():
    model = one_population()
    found = visited_states(recording_of(model, rate=14.0, seconds=20, n_obs=20), model)
    assert found.share.tolist() == [1.0] and found.rate.shape == (1, 1)
    assert found.rate[0, 0] == pytest.approx(14.0, rel=0.1)


def test_bins_that_are_not_judged_do_not_count():
    whole = switching(0.5, trials=2)
    second_half = np.arange(whole.n_bins) >= whole.n_bins / 2
    found = visited_states(replace(whole, judged=np.tile(second_half, (2, 1))), MODEL)
    np.testing.assert_allclose(found.share @ found.rate, [LOSER, WINNER, INHIBITION], rtol=0.1)


def test_silence_counts_as_a_low_rate():
    silent = switching()
    spikes = silent.observed_spikes.copy()
    spikes[:, 2] = 0
    coordinates = Coordinates(CIRCUITS["all"], replace(silent, observed_spikes=spikes))
    assert coordinates.observed[2] == LEAST_OBSERVED
    np.testing.assert_allclose(coordinates.observed[:2], (WINNER + LOSER) / 2, rtol=0.1)


def test_a_population_without_recorded_neurons_counts_as_the_mean_of_the_others():
    recorded = np.ones((M, 20), bool)
    recorded[2] = False
    known = Coordinates(CIRCUITS["all"], replace(switching(), recorded=recorded))
    np.testing.assert_allclose(known.observed[2], known.observed[:2].mean(), rtol=1e-12)
    X = WHOLE.lower + 0.3 * (WHOLE.upper - WHOLE.lower)
    place = known.of(X[None])
    np.testing.assert_allclose(known.back(place.p).X[0], X, rtol=1e-8)


def test_a_gain_weighs_the_input_of_a_state_and_may_be_negative():
    model, given = CIRCUITS["gains of either sign"], switching(0.4, driven=30.0)
    at, X = Coordinates(model, given), to_X(replace(REFERENCE, input_gain=np.array([-2.0, 1.5, -1.0])), model)
    place = at.of(X[None])
    np.testing.assert_array_equal(at.is_log[-M:], [False, True, False])
    np.testing.assert_allclose(place.p[0, -M:], [-2.0, np.log(1.5), -1.0])
    weighed = replace(given, external_input=np.array([-2.0, 1.5, -1.0])[:, None] * given.external_input)
    plain = Coordinates(CIRCUITS["all"], weighed).of(X[None, :-M])
    np.testing.assert_allclose(place.p[:, :-M], plain.p, rtol=1e-12)
