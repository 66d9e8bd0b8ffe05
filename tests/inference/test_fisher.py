"""Fisher matrices of the M-step: tangents against the reverse gradient, matrices against differences of gradients."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.optimize._numdiff import approx_derivative

from src import fast_np
from src.fast_np import drive_of, expected_activity, fast_lossM, neuron_bins, neuron_potentials, rows_of, step_ages
from src.helper import from_X, to_X
from src.inference.fisher import count_curvature, fisher, spike_curvature
from src.model.old_neurons import TAIL
from src.model.scheme import CONSISTENT, PUBLISHED, SCHEMES
from tests.cases import EXACT, random_case, with_masks

SCHEME = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
COUNTS = pytest.mark.parametrize("counts", ["gaussian", "binomial"])
SHAPES = [
    dict(M=1, n_obs=3, A=80, T=30),
    dict(M=2, B=2, r=2, d=1),
    dict(M=3, A=80, T=100),
    dict(M=4, B=3, d=2, n_obs=1),
]


def positive(case, rates=None):
    """The case with couplings that X can stand for, and perhaps other membrane rates; and its X."""
    by_column = np.abs(case.parameters.coupling[:, :1]) * case.model.connectivity
    rates = case.parameters.membrane_rate if rates is None else np.resize(rates, case.model.n_populations)
    parameters = dataclasses.replace(case.parameters, coupling=by_column, membrane_rate=rates)
    return case._replace(parameters=parameters), to_X(parameters, case.model)


@SCHEME
@COUNTS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("rates", "tolerance"), [(None, TAIL), ([160.0, 30.0, 130.0], TAIL), ([160.0], EXACT)])
@pytest.mark.parametrize("masked", [False, True])
def test_value_and_gradient_are_those_of_the_reverse_sweep(shape, scheme, counts, rates, tolerance, masked):
    case = random_case(**shape, scheme=scheme, counts=counts)
    case, X = positive(with_masks(case) if masked else case, rates)
    for spikes_only in (True, False):
        came = fisher(X, *case[1:], spikes_only=spikes_only, tolerance=tolerance)
        value, gradient = fast_lossM(X, *case[1:], spikes_only=spikes_only)
        np.testing.assert_allclose(came.value, value, rtol=1e-10)
        atol = 1e-9 if tolerance == TAIL else 1e-7
        np.testing.assert_allclose(came.gradient, gradient, rtol=0, atol=atol * np.abs(gradient).max())
        assert np.linalg.eigvalsh(came.matrix).min() > -1e-12 * np.trace(came.matrix)


def expected_of(case):
    drive = drive_of(case.parameters, case.activity, case.recording, case.model)
    rows = rows_of(drive, case.parameters, case.activity, case.recording, case.model, EXACT)
    *_, sums = step_ages(rows, case.model, np.empty((5, case.model.window_bins, *rows.drive.shape)))
    return expected_activity(sums)[0][np.argsort(rows.place)].reshape(case.activity.shape)


def most_likely(case):
    """The case with the activity whose every bin is as likely as it can be, given those before: no slope anywhere."""
    for _ in range(case.recording.n_bins):
        nbar, N = np.clip(expected_of(case), 0, 1), case.model.population_size[:, None]
        q = (nbar + 0.1 * case.model.dt) / N
        n = nbar if case.model.counts == "binomial" else nbar - N * q + np.sqrt((N * q) ** 2 + q)
        case = case._replace(activity=n)
    return case


@SCHEME
@COUNTS
@pytest.mark.parametrize("shape", [dict(M=1, A=80, T=40), dict(M=3, B=2, d=1, T=30)], ids=str)
def test_the_observed_matrix_is_the_hessian_where_no_bin_has_a_slope(shape, scheme, counts):
    for seed in range(99):
        case, X = positive(random_case(**shape, seed=seed, scheme=scheme, counts=counts), [70.0, 160.0, 60.0])
        nobody = dataclasses.replace(case.recording, observed_spikes=case.recording.observed_spikes[..., :0])
        case = most_likely(case._replace(recording=nobody))
        if 0.002 < expected_of(case).min() and expected_of(case).max() < 0.98:
            break
    else:
        raise AssertionError("no unclipped case")
    came = fisher(X, *case[1:], tolerance=EXACT)
    assert np.abs(came.gradient).max() < 1e-9 * np.sqrt(np.diag(came.matrix)).max()
    hessian = approx_derivative(lambda X: fast_lossM(X, *case[1:])[1], X, rel_step=1e-6)
    scale = np.sqrt(np.diag(came.matrix))
    np.testing.assert_allclose(hessian / np.outer(scale, scale), came.matrix / np.outer(scale, scale), atol=1e-4)


def test_the_expected_matrix_of_spikes_is_the_hessian_of_what_is_expected():
    """Of -P ln P(X) - (1 - P) ln (1 - P(X)) in every bin, given the spikes before, at the P that X gives."""
    case, X = positive(random_case(M=2, B=2, T=60, n_obs=4, scheme=CONSISTENT))
    known = neuron_bins(case.recording, case.model)

    def ln_H(X):
        parameters = from_X(X, case.model)
        at = neuron_potentials(drive_of(parameters, *case[1:]), known, case.model)
        return at.V - parameters.threshold[:, None, None] + np.log(case.model.dt), at.free

    H, free = np.exp(ln_H(X)[0]), ln_H(X)[1]
    P = -np.expm1(-H)

    def loss(X):
        H = np.exp(ln_H(X)[0])
        return np.where(free, -P * np.log(-np.expm1(-H)) + (1 - P) * H, 0).sum() / (2 * case.recording.n_judged)

    came = fisher(X, *case[1:], spikes_only=True, weights="expected").matrix
    steps = 3e-4 * X * np.eye(len(X))
    hessian = np.array(
        [
            [sum(a * b * loss(X + a * one + b * two) for a, b in itertools.product((1, -1), repeat=2)) for two in steps]
            for one in steps
        ]
    ) / np.outer(np.diag(steps), np.diag(steps)) / 4  # fmt: skip
    scale = np.sqrt(np.diag(came))
    np.testing.assert_allclose(hessian / np.outer(scale, scale), came / np.outer(scale, scale), atol=1e-4)


@COUNTS
def test_curvature_of_counts(counts):
    model = dataclasses.replace(random_case(M=1).model, counts=counts)
    N, expected = np.array([[37.0]]), np.array([[0.03, 0.2, 0.7]])
    q = (expected + 0.1 * model.dt) / N
    z, weight = np.polynomial.hermite_e.hermegauss(20)
    grid = stats.binom.pmf(np.arange(38)[:, None], 37, expected) if counts == "binomial" else weight[:, None]
    drawn = np.arange(38)[:, None] / 37 * np.ones(3) if counts == "binomial" else expected + np.sqrt(q) * z[:, None]
    observed = []
    for n in drawn:
        slopes = [fast_np.bin_loss(n[None], expected + h, N, model)[2] for h in (1e-6, -1e-6)]
        observed.append((slopes[0] - slopes[1]) / 2e-6)
        kept = np.maximum(observed[-1], 0)
        np.testing.assert_allclose(count_curvature(n[None], expected, N, model, "observed"), kept, rtol=1e-5, atol=1e-3)
    mean = (grid * np.concatenate(observed)).sum(axis=0) / grid.sum(axis=0)
    np.testing.assert_allclose(count_curvature(drawn[:1], expected, N, model, "expected")[0], mean, rtol=1e-5)


@SCHEME
def test_curvature_of_spikes(scheme):
    model = dataclasses.replace(random_case(M=1).model, scheme=scheme)
    ln_H, free, fired = np.linspace(-9, 3, 25), np.ones(25, bool), np.arange(25) % 2 == 0
    ends = [spike_curvature(ln_H + h, fired, free, model, "observed") for h in (1e-6, -1e-6)]
    _, slope, w = spike_curvature(ln_H, fired, free, model, "observed")
    np.testing.assert_allclose(slope, (ends[0][0] - ends[1][0]) / 2e-6, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(w, (ends[0][1] - ends[1][1]) / 2e-6, rtol=1e-5, atol=1e-8)
    both = [spike_curvature(ln_H, np.full(25, y), free, model, "observed")[2] for y in (True, False)]
    H = np.exp(ln_H)
    P = np.where(H < scheme.small_hazard, H, -np.expm1(-H))
    expected = spike_curvature(ln_H, fired, free, model, "expected")[2]
    np.testing.assert_allclose(expected, P * both[0] + (1 - P) * both[1], rtol=1e-12)
    assert scheme is PUBLISHED or np.allclose(expected, H**2 * np.exp(-H) / P)
    _, slope, w = spike_curvature(ln_H, fired, ~free, model, "observed")
    assert not w.any() and not slope[~fired].any()
    assert (slope[fired] == (-1 if scheme is PUBLISHED else 0)).all()  # a spike in the refractory time


def test_numbers_shared_by_populations_get_the_sum_of_their_blocks():
    case, X = positive(random_case(M=3))
    apart = dataclasses.replace(case.model, free=None)
    F = len(apart.fitted.fixed)
    every = dataclasses.replace(
        apart.fitted,
        names=tuple("x" * F),
        units=("",) * F,
        matrix=np.eye(F),
        **{key: np.full(F, value) for key, value in dict(lower=-np.inf, upper=np.inf, scale=1.0).items()},
        **{key: np.full(F, np.nan) for key in ("start_lower", "start_upper")},
        priors=(),
    )
    whole = fisher(from_X(X, case.model).flat(), *case[1:3], dataclasses.replace(case.model, free=every))
    shares = case.model.fitted.matrix
    came = fisher(X, *case[1:])
    np.testing.assert_allclose(came.matrix, shares @ whole.matrix @ shares.T, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(came.gradient, shares @ whole.gradient, rtol=1e-10, atol=1e-12)
