"""Effective samples and R-hat of chains about which both are known."""

import warnings

import numpy as np
import pytest

from src.posterior.diagnostics import acceptance, effective_samples, r_hat
from src.posterior.inference_data import has_arviz


def autoregressive(rho, sweeps, walkers, seed=0):
    """Chains of unit variance, (sweeps, walkers, numbers), one number for each rho."""
    rng, rho = np.random.default_rng(seed), np.asarray(rho, float)
    x = [rng.standard_normal((walkers, len(rho)))]
    for _ in range(sweeps - 1):
        x.append(rho * x[-1] + np.sqrt(1 - rho**2) * rng.standard_normal(x[0].shape))
    return np.array(x)


def test_effective_samples_of_autoregressive_chains():
    rho = np.array([0, 0.5, 0.9])
    found = effective_samples(autoregressive(rho, 400, 100))
    np.testing.assert_allclose(found, 40000 * (1 - rho) / (1 + rho), rtol=0.15)


@pytest.mark.parametrize("sweeps", [2, 5, 6])
def test_effective_samples_of_short_chains(sweeps):
    rho, walkers, lag = 0.8, 4000, np.arange(1, sweeps)
    tau = 1 + 2 * ((1 - lag / sweeps) * rho**lag).sum()  # exact for so many sweeps
    found = effective_samples(autoregressive([rho], sweeps, walkers))
    np.testing.assert_allclose(found, sweeps * walkers / tau, rtol=0.05)


def test_walkers_that_never_move_count_once_and_none_counts_more_than_once():
    still = np.repeat(np.random.default_rng(0).standard_normal((1, 50, 1)), 8, axis=0)
    np.testing.assert_allclose(effective_samples(still), 50, rtol=0.01)
    assert effective_samples(autoregressive([-0.9], 100, 20)) == 2000
    assert effective_samples(np.random.default_rng(0).standard_normal((1, 30, 1))) == 30
    assert np.isnan(effective_samples(np.ones((3, 4, 1)))).all()


def test_copies_count_once_until_they_move():
    still = np.repeat(np.random.default_rng(0).standard_normal((1, 50, 2)), 4, axis=0)
    np.testing.assert_allclose(effective_samples(np.repeat(still, 8, axis=1)), 50, rtol=0.01)
    few = np.repeat(np.repeat(still, 2, axis=1)[:, :54], [1] * 46 + [6] * 8, axis=1)  # 27 places, of 2 to 12 walkers
    expected = 94**2 / (46 * 2 + 4 * 12**2)
    assert effective_samples(few).mean() == pytest.approx(expected, rel=0.4)
    moved = autoregressive([0.5, 0.5], 6, 400)
    moved[0] = np.repeat(moved[0, :200], 2, axis=0)
    assert 0.7 < (effective_samples(moved) / effective_samples(moved[1:]) * 5 / 6).min() < 1.2


def test_walkers_that_stay_in_their_lobe_count_once():
    x = np.random.default_rng(0).standard_normal((20, 100, 1)) + 50 * (np.arange(100) % 2)[:, None]
    assert effective_samples(x) == pytest.approx(100, rel=0.05)


def test_r_hat_of_separated_origins():
    rng, shift = np.random.default_rng(0), np.array([0, 1.0, 0])
    origin = np.arange(300) % 3
    x = rng.standard_normal((50, 300, 2))
    x[:, :, 1] += shift[origin]
    found = r_hat(x, origin)
    assert found[0] == pytest.approx(1, abs=0.005)
    assert found[1] == pytest.approx(np.sqrt(1 + shift.var(ddof=1)), rel=0.02)


def test_r_hat_of_origins_of_other_sizes_and_names():
    rng = np.random.default_rng(0)
    origin = np.repeat([4, 7, 9], [10, 100, 390])
    x = rng.standard_normal((20, 500, 1)) + (origin == 7)[:, None]
    assert r_hat(x, origin) == pytest.approx(np.sqrt(1.24), rel=0.02)  # the shares of walkers weigh the means
    assert r_hat(x - (origin == 7)[:, None], origin) == pytest.approx(1, abs=0.01)


def test_r_hat_does_not_take_slow_walkers_for_lobes():
    found = [r_hat(autoregressive([0.99], 10, 120, seed), np.arange(120) % 4) for seed in range(20)]
    assert np.mean(found) == pytest.approx(1, abs=0.01)
    assert np.std(found) > 1e-3


def test_r_hat_where_there_is_nothing_to_compare():
    x = np.random.default_rng(0).standard_normal((5, 6, 1))
    assert np.isnan(r_hat(x, np.zeros(6, int))).all()
    assert np.isnan(r_hat(np.ones((5, 6, 1)), np.arange(6) % 2)).all()
    apart = np.tile(np.arange(6.0)[None, :, None] % 2, (5, 1, 1))
    assert r_hat(apart, np.arange(6) % 2) == np.inf


def test_acceptance_counts_moves():
    assert acceptance(np.array([[0, 1], [0, 2], [3, 2]])) == 0.5
    assert np.isnan(acceptance(np.array([[0, 1]])))


@pytest.mark.skipif(not has_arviz(), reason="ArviZ is not installed")
def test_both_agree_with_ArviZ():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    x = autoregressive([0, 0.6, 0.9], 500, 8)
    x[:, :, 0] += np.array([0, 0.5] * 4)
    ess = [float(arviz.ess(x[:, :, k].T, method="mean")) for k in range(3)]
    np.testing.assert_allclose(effective_samples(x)[1:], ess[1:], rtol=0.1)
    assert effective_samples(x)[0] < 500 and ess[0] < 500  # out of 4000
    hats = [float(arviz.rhat(x[:, :, k].T, method="identity")) for k in range(3)]
    np.testing.assert_allclose(r_hat(x, np.arange(8)), hats, atol=0.02)
    assert hats[0] > 1.02
