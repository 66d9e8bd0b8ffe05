"""Fitted numbers and what follows from them: the published choice to the last bit, ties, fixed parameters, priors."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import Bounds, OptimizeResult, minimize

from src.fast_np import fast_lossM, fast_lossy, fast_lossZ
from src.helper import from_X, gradient_to_X, init_model, to_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters
from src.model.free_parameters import FreeParameters, one_per_presynaptic
from src.model.priors import PRIORS, Gaussian, LogNormal, Uniform, prior_as_dict, prior_from_dict
from src.utils.exceptions import InputError
from tests.cases import random_case
from tests.training import MODEL, SETTINGS, X_REF, A, load, load_start
from train_meso import scipy_Mstep

REFERENCE = reference_parameters()

# --- the published choice, as it was before it became one of many -----------------------------------------------------


def published_from_X(X, model):
    alpha, J, mu, theta = np.reshape(X, (4, model.n_populations))
    return Parameters(alpha, J[:, None] * model.connectivity, mu, theta)


def published_lossM(X, activity, recording, model):
    parameters = published_from_X(X, model)
    y = fast_lossy(parameters, activity, recording, model, "parameters")
    Z = fast_lossZ(parameters, activity, recording, model, "parameters")
    g = Parameters.from_flat(y.parameters + Z.parameters)
    dJ = (g.coupling * model.connectivity).sum(axis=1)
    return y.value + Z.value, np.concatenate([g.membrane_rate, dJ, g.resting_potential, g.threshold])


@pytest.mark.parametrize(("lb", "ub"), [(0.4, 2.0), (0.95, 1.0)])
def test_the_published_fit_to_the_last_bit(lb, ub):
    recording, model = load(), winner_take_all(window=SETTINGS.a_cutoff, lb=lb, ub=ub)
    seed = np.random.SeedSequence(SETTINGS.train_Noinit)
    X, activity = init_model(recording, model, np.random.default_rng(seed))
    np.testing.assert_array_equal(X, np.random.default_rng(seed).uniform(lb, ub, 12) * X_REF)
    n, best = activity[..., A:], [np.inf, None]

    def loss(scaled):
        value, gradient = published_lossM(scaled * X_REF, n, recording, model)
        if value < best[0]:
            best[:] = value, scaled * X_REF
        return value, gradient * X_REF

    bounds = Bounds(np.full(12, lb), np.full(12, ub))
    start, options = np.clip(X / X_REF, lb, ub), {"maxiter": SETTINGS.Mmaxiters}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    came = scipy_Mstep(X, n, recording, model, SETTINGS)
    assert (came.fun, came.nit) == (best[0], found.nit)
    np.testing.assert_array_equal(came.x, best[1])
    assert ub > 1 or ((best[1] == lb * X_REF) | (best[1] == ub * X_REF)).any()  # and so the bounds are the same, too


@pytest.mark.parametrize("M", [1, 2, 3, 4, 8])
def test_the_published_choice(M):
    rng = np.random.default_rng(M)
    sign = rng.integers(-1, 2, (M, M))
    model = Model(np.full(M, 100), np.full(M, 100), sign)
    X = rng.uniform(1, 9, 4 * M)
    for came, expected in zip(vars(from_X(X, model)).values(), vars(published_from_X(X, model)).values(), strict=True):
        np.testing.assert_array_equal(came, expected)
    sending = np.concatenate([np.ones(M, bool), (sign != 0).any(axis=1), np.ones(2 * M, bool)])
    np.testing.assert_array_equal(to_X(from_X(X, model), model), np.where(sending, X, 0))
    g = rng.normal(size=3 * M + M * M)
    J = g[M : M + M * M].reshape(M, M)
    expected = np.concatenate([g[:M], (J * sign).sum(axis=1), g[M + M * M :]])
    np.testing.assert_allclose(gradient_to_X(g, model), expected, rtol=1e-13, atol=1e-14)


# --- ties, fixed parameters and priors --------------------------------------------------------------------------------


def tied(M, scale=1.0):
    """One membrane rate for all; each coupling onto the first population and one for all others; mu fixed; theta free.

    The second coupling reaches its populations with uneven strengths.
    """
    F, rng = 3 * M + M * M, np.random.default_rng(M)
    J = np.arange(M, M + M * M).reshape(M, M)
    rows, names = [], []

    def number(name, entries, factors=1.0):
        row = np.zeros(F)
        row[entries] = factors
        rows.append(row)
        names.append(name)

    number("membrane_rate all", np.arange(M))
    for m in range(M):
        number(f"coupling {m}->0", J[m, 0], (-1) ** m)
    if M > 1:
        number(
            "coupling rest", J[:, 1:].ravel(), rng.uniform(0.2, 1, M * (M - 1)) * np.sign(rng.normal(size=M * (M - 1)))
        )
    for m in range(M):
        number(f"threshold {m}", 2 * M + M * M + m)
    fixed = np.zeros(F)
    fixed[M + M * M : 2 * M + M * M] = rng.uniform(4, 8, M)
    n = len(rows)
    priors = [LogNormal(60, 0.3), *[Gaussian(2.1, 0.5)] * (n - 1)]
    priors[-1] = Uniform(-100, 100)
    return FreeParameters(tuple(names), ("",) * n, fixed, np.array(rows), scale=np.full(n, scale), priors=tuple(priors))


@pytest.mark.parametrize("M", [1, 2, 4, 8])
def test_gradient_with_ties_and_priors_against_differences(M):
    _, activity, recording, model = random_case(M=M, T=30, A=20)
    free = tied(M)
    model = replace(model, free=free)
    X = np.concatenate([[41.0], np.linspace(1, 3, len(free.names) - 1 - M), np.linspace(3, 4, M)])

    def loss(X):
        value, gradient = fast_lossM(X, activity, recording, model)
        prior, slope = free.prior_loss(X)
        return value + prior / activity.size, gradient + slope / activity.size

    gradient = loss(X)[1]
    assert (np.abs(free.prior_loss(X)[1][:-1]) > 0.01).all()
    for k, step in enumerate(1e-5 * np.abs(X)):
        h = step * (np.arange(len(X)) == k)
        numeric = (loss(X + h)[0] - loss(X - h)[0]) / (2 * step)
        assert gradient[k] == pytest.approx(numeric, rel=2e-5, abs=1e-8)


def test_tied_and_fixed_parameters():
    free, X = tied(2), np.array([41.0, 2, 3, 5, 3, 4])
    _, _, _, model = random_case(M=2)
    found = from_X(X, replace(model, free=free))
    np.testing.assert_array_equal(found.membrane_rate, [41, 41])
    np.testing.assert_array_equal(found.coupling[:, 0], [2, -3])
    np.testing.assert_allclose(found.coupling[:, 1], 5 * free.matrix[3, [3, 5]], rtol=1e-15)
    np.testing.assert_array_equal(found.resting_potential, free.fixed[6:8])
    np.testing.assert_array_equal(found.threshold, [3, 4])
    np.testing.assert_allclose(to_X(found, replace(model, free=free)), X, rtol=1e-14)


def start_of_fit():
    recording = load()
    return recording, load_start(recording)[1][..., A:]


@pytest.mark.parametrize("prior", [Gaussian(80, 0.01), Gaussian(80, 1e5), LogNormal(40, 0.3), Uniform(20, 100)])
def test_the_M_step_takes_the_priors(prior, monkeypatch):
    """The optimiser gets minus ln prior / (B M T) with its slope, and the fit reports it: all at the same numbers."""
    recording, n = start_of_fit()
    X = 1.2 * X_REF

    def at_X(prior):
        """Return the loss that the M-step reports, and loss and gradient that its optimiser sees."""
        seen = []

        def look(loss, x0, **_):
            seen.extend(loss(x0))
            return OptimizeResult(nit=0, message="")

        monkeypatch.setattr("scipy.optimize.minimize", look)
        model = replace(MODEL, free=replace(MODEL.free, priors=(prior, *[None] * 11)))
        found = scipy_Mstep(X, n, recording, model, SETTINGS)
        np.testing.assert_allclose(found.x, X, rtol=1e-15)
        return found.fun, *seen

    (fun_without, without, gradient_without), (fun, value, gradient) = at_X(None), at_X(prior)
    assert fun_without == without == pytest.approx(fast_lossM(X, n, recording, MODEL)[0], rel=1e-12)
    assert fun == value == pytest.approx(without + prior.loss(X[0])[0] / n.size, rel=1e-13)
    slope = prior.loss(X[0])[1] * X_REF[0] / n.size  # of the optimiser's numbers, which are of order one
    assert gradient[0] == pytest.approx(gradient_without[0] + slope, rel=1e-13)
    np.testing.assert_array_equal(gradient[1:], gradient_without[1:])


def test_a_narrow_prior_holds_its_number_and_a_wide_one_leaves_it_alone():
    """All other numbers are known: the optimiser finds the one minimum that there is, on any machine."""
    recording, n = start_of_fit()
    free = MODEL.free
    fixed, bounds = X_REF[1:] @ free.matrix[1:], {"lower": [20.0], "upper": [100.0]}

    def fit(prior):
        one = FreeParameters(
            free.names[:1], free.units[:1], fixed, free.matrix[:1], **bounds, scale=X_REF[:1], priors=(prior,)
        )
        model = replace(MODEL, free=one)
        return scipy_Mstep(np.array([60.0]), n, recording, model, SETTINGS).x[0]

    alone = fit(None)
    assert abs(alone - 80) > 20
    assert fit(Gaussian(80, 0.01)) == pytest.approx(80, abs=0.1)
    assert fit(Gaussian(80, 1e5)) == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize(
    ("prior", "density"),
    [
        (Gaussian(3, 0.7), stats.norm(3, 0.7)),
        (LogNormal(3, 0.7), stats.lognorm(0.7, scale=3)),
        (Uniform(0.5, 4), stats.uniform(0.5, 3.5)),
    ],
)
def test_priors_are_the_distributions_of_their_names(prior, density):
    for x in (0.6, 2.0, 3.5):
        value, slope = prior.loss(x)
        assert value == pytest.approx(-density.logpdf(x), rel=1e-13)
        assert slope == pytest.approx((prior.loss(x + 1e-6)[0] - prior.loss(x - 1e-6)[0]) / 2e-6, rel=1e-6, abs=1e-9)
    assert prior_from_dict(json.loads(json.dumps(prior_as_dict(prior)))) == prior
    assert PRIORS[prior.kind] is type(prior)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(1, 0), "gaussian prior: sd: expected a positive number, got 0"),
        (lambda: Gaussian(np.nan, 1), "gaussian prior: mean: expected a finite number, got nan"),
        (lambda: LogNormal(-1, 1), "log-normal prior: median: expected a positive number, got -1"),
        (lambda: LogNormal(1, np.inf), "log-normal prior: sigma: expected a finite number, got inf"),
        (lambda: Uniform(2, 1), "uniform prior: expected finite low < high, got 2 and 1"),
    ],
)
def test_priors_that_are_none(make, message):
    with pytest.raises(InputError, match=message):
        make()


# --- the container ----------------------------------------------------------------------------------------------------


def test_it_goes_through_JSON():
    free = replace(tied(3), lower=np.array([1.0, *[-np.inf] * 7]))
    for one in (free, MODEL.free, one_per_presynaptic(np.eye(2), "ab")):
        again = FreeParameters.from_dict(json.loads(json.dumps(one.as_dict(), allow_nan=False)))
        for key, value in vars(one).items():
            np.testing.assert_array_equal(getattr(again, key), value)
    model = Model.from_dict(json.loads(json.dumps(MODEL.as_dict())))
    np.testing.assert_array_equal(from_X(X_REF, model).flat(), REFERENCE.flat())
    old = {key: value for key, value in MODEL.as_dict().items() if key != "free"}  # a run.json of an earlier version
    np.testing.assert_array_equal(from_X(X_REF, Model.from_dict(old)).flat(), REFERENCE.flat())


def test_bounds_around_a_negative_number():
    free = one_per_presynaptic(np.ones((1, 1)), "a").around(np.array([1.0, 2.0, -5.0, 3.0]), 0.5, 2)
    assert (free.lower[2], free.upper[2], free.scale[2]) == (-10, -2.5, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MODEL.free.around(0 * X_REF, 0.4, 2), "membrane_rate E1, .*: expected a value other than 0"),
        (lambda: replace(MODEL.free, lower=MODEL.free.upper), "expected a lower bound below the upper one"),
        (lambda: replace(MODEL.free, scale=-X_REF), "scale: expected positive numbers"),
        (lambda: replace(MODEL.free, lower=np.zeros(3)), "free parameters: expected 12 of each"),
        (lambda: replace(MODEL, free=tied(2)), "free: expected the parameters of 3 populations"),
        (lambda: replace(MODEL, connectivity=np.zeros((3, 3))), "and couplings where they are connected"),
    ],
)
def test_what_does_not_fit_together(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_start_needs_a_range():
    model = replace(winner_take_all(), free=None)
    with pytest.raises(InputError, match="start: expected a range for membrane_rate E1, .*, got none"):
        init_model(load(), model, np.random.default_rng(0))
