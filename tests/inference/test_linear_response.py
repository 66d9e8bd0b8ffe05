"""The linear response at rest against differences, and the coordinates that it makes round."""

import numpy as np
import pytest

from src.fast_np import NeuronBins, drive_of, expected_activity, neuron_potentials, rows_of, step_ages
from src.inference.linear_response import Whitening, activity_response, potential_response
from src.model.containers import Recording
from src.model.scheme import SCHEMES
from tests.cases import EXACT, random_case

LAGS = 25
SCHEME = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))


def at_rest(scheme, M=2):
    case = random_case(M=M, d=1, r=2, A=30, T=1, seed=3, scheme=scheme)
    rates, given = np.linspace(9.0, 20.0, M), np.linspace(-20, 30, M)
    silent = np.zeros((1, M, 30 + LAGS + 1, 0), np.uint8)
    rest = Recording(silent, np.repeat(given[None, :, None], LAGS + 1, axis=-1), rates[None])
    return case.parameters, case.model, rates, given, rest


def expected_rows(parameters, activity, rest, model):
    rows = rows_of(drive_of(parameters, activity, rest, model), parameters, activity, rest, model, EXACT)
    *_, sums = step_ages(rows, model, np.empty((5, model.window_bins, *rows.drive.shape)))
    return expected_activity(sums)[0][np.argsort(rows.place)]


@SCHEME
def test_the_response_of_the_activity_is_that_of_differences(scheme):
    parameters, model, rates, given, rest = at_rest(scheme)
    K = activity_response(parameters, rates, given, model, LAGS)
    activity = np.repeat(rates[None, :, None] * model.dt, LAGS + 1, axis=-1)
    for j, lag in ((0, 1), (1, 1), (0, 2), (1, 7), (0, LAGS)):
        ends = []
        for h in (1e-6, -1e-6):
            moved = activity.copy()
            moved[0, j, LAGS - lag] += h
            ends.append(expected_rows(parameters, moved, rest, model)[:, -1])
        np.testing.assert_allclose(K[:, j, lag - 1], (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7)
    assert np.abs(K).max() > 0.005


@SCHEME
def test_the_response_of_the_potential_is_that_of_a_neuron_that_forgets_faster(scheme):
    parameters, model, rates, _, rest = at_rest(scheme)
    R = potential_response(parameters, rates * 0, model, LAGS)  # with no firing, no resets
    free = NeuronBins(np.zeros((1, 2, 1, LAGS + 1)), np.full((1, 2, 1, LAGS + 1), -31), None)
    activity = np.repeat(rates[None, :, None] * model.dt, LAGS + 1, axis=-1)
    for j, lag in ((0, 1), (0, 2), (1, 3), (1, 20)):
        moved = activity.copy()
        moved[0, j, LAGS - lag] += 1
        V = [
            neuron_potentials(drive_of(parameters, n, rest, model), free, model).V[0, :, 0, -1]
            for n in (moved, activity)
        ]
        np.testing.assert_allclose(R[:, j, lag - 1], V[0] - V[1], rtol=1e-9, atol=1e-12)
    faster = potential_response(parameters, np.array([50.0, 0.0]), model, LAGS)
    np.testing.assert_allclose(faster[1], R[1])
    assert (np.abs(faster[0, :, -1]) < np.abs(R[0, :, -1])).all()


def filters(spikes=(0.0, 0.0)):
    rng, lags = np.random.default_rng(0), 30
    fading = 0.7 ** np.arange(lags)
    K, R = rng.normal(0, 0.15, (2, 2, 1)) * fading, rng.normal(0, 3, (2, 2, 1)) * fading
    return K, R, np.array([[0.1], [0.3]]), np.array(spikes)


def through(kernel, n):
    """Convolve activities (M, T) with a kernel (M, M, lags) from one bin on."""
    out = np.zeros_like(n)
    for lag in range(kernel.shape[-1]):
        out[:, lag + 1 :] += kernel[..., lag] @ n[:, : n.shape[1] - lag - 1]
    return out


@pytest.mark.parametrize("spikes", [(0.0, 0.0), (0.4, 2.0)])
def test_in_the_new_coordinates_the_curvature_is_one(spikes):
    K, R, sd, n_spikes = filters(spikes)
    T, rng = 600, np.random.default_rng(1)
    whitening = Whitening(K, sd, R, n_spikes, T)
    for _ in range(5):
        z = np.zeros((2, T))
        z[:, 250:300] = rng.normal(size=(2, 50))
        n = whitening(z)
        xi, V = (n - through(K, n)) / sd, through(R, n)
        curvature = (xi**2).sum() + (n_spikes[:, None] * V**2).sum()
        assert curvature == pytest.approx((z**2).sum(), rel=1e-4)


def test_the_adjoint_is_the_transpose():
    K, R, sd, n_spikes = filters((0.4, 2.0))
    whitening, rng = Whitening(K, sd, R, n_spikes, 101), np.random.default_rng(2)
    z, n_bar = rng.normal(size=(2, 3, 2, 101))
    assert (whitening(z) * n_bar).sum() == pytest.approx((z * whitening.adjoint(n_bar)).sum(), rel=1e-10)
