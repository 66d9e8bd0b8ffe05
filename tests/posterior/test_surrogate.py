"""The surrogate finds a cubic under noise, says how wrong it is, and promises nothing that was not seen."""

from collections import Counter
from itertools import combinations_with_replacement

import numpy as np
import pytest

from src.posterior import surrogate as module
from src.posterior.surrogate import FARTHEST, Evaluations, Whitening, fit_surrogate, monomials, number_of_monomials

N = 3


def cubic(z):
    """A hill about the origin that falls faster on one side, with its highest value, 0.6, near it."""
    return -0.5 * (z**2).sum(axis=1) + 0.1 * z[:, 0] ** 3 - 0.25 * z[:, 0] * z[:, 1] * z[:, 2] + 0.6


def scattered(number=1500, sd=0.5, seed=0, n=N):
    """Return coordinates of a cloud that is neither round nor centred, ln p of the cubic under noise, and the cloud."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.standard_normal((n, n)))[0] * np.geomspace(0.05, 2, n)
    z = rng.standard_normal((number, n))
    p = z @ mixing + 10 * rng.standard_normal(n)
    ln_p = cubic(z) - 4000 + sd * rng.standard_normal(number)
    return Evaluations(p, ln_p, np.full(number, sd**2 + 1e-3)), z


def error_of(surrogate, known, z, core=2.0):
    """Root mean square error inside the cloud."""
    inside = (z**2).sum(axis=1) < core * z.shape[1]
    return np.sqrt(np.mean((surrogate(known.p[inside]) - cubic(z[inside]) + 4000) ** 2))


def fitted(known, *, temperature=1.0, typical=-4001.0, **more):
    return fit_surrogate(known, Whitening(known.p), typical, temperature, **more)


# --- monomials --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("degree", [2, 3])
def test_every_monomial_is_there_once(n, degree):
    z = np.random.default_rng(0).uniform(1, 2, (1, n))
    expected = [
        np.prod(z[0, list(which)]) for d in range(degree + 1) for which in combinations_with_replacement(range(n), d)
    ]
    found = monomials(z, degree)[0]
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-12)
    scaled = np.round(np.log2(monomials(2 * z, degree)[0] / found)).astype(int)
    assert list(scaled) == sorted(scaled)  # lowest degrees first, as the penalties expect
    assert [Counter(scaled.tolist())[d] for d in range(degree + 1)] == number_of_monomials(n, degree)


# --- what it finds ----------------------------------------------------------------------------------------------------


def test_finds_a_noisy_cubic():
    known, z = scattered()
    found = fitted(known)
    assert found.degree == 3
    assert error_of(found, known, z) < 0.12
    assert found.error == pytest.approx(0.5, rel=0.1)
    assert error_of(fitted(known, degrees=(2,)), known, z) > 0.18


def test_few_evaluations_make_it_quadratic():
    known, _ = scattered(59)  # three for each of the 20 coefficients of a cubic, less one
    assert fitted(known).degree == 2
    assert fitted(known, degrees=(2,)).n_points == 59


def test_many_numbers_leave_it_quadratic(monkeypatch):
    known, _ = scattered()
    monkeypatch.setattr(module, "MOST_COEFFICIENTS", sum(number_of_monomials(N, 3)))
    assert fitted(known).degree == 3
    monkeypatch.setattr(module, "MOST_COEFFICIENTS", sum(number_of_monomials(N, 3)) - 1)
    assert fitted(known).degree == 2


def test_error_is_that_of_points_left_out():
    """Of pure noise, a regression with many coefficients leaves less than is there."""
    rng, left = np.random.default_rng(0), []
    for _ in range(20):
        p = rng.standard_normal((90, N))
        known = Evaluations(p, rng.standard_normal(90), np.ones(90))
        left.append(fitted(known, typical=0.0, degrees=(2,)).error)
    assert np.mean(left) > 1.0


def test_outliers_do_not_bend_it():
    known, z = scattered()
    rng = np.random.default_rng(1)
    wrong = rng.random(len(z)) < 0.08
    ln_p = known.ln_p - wrong * 15 * rng.random(len(z))
    assert error_of(fitted(Evaluations(known.p, ln_p, known.variance)), known, z) < 0.25


def test_noisier_evaluations_count_less():
    known, z = scattered()
    rng = np.random.default_rng(1)
    noisy = np.arange(len(z)) % 4 > 0
    ln_p = known.ln_p + noisy * 5 * rng.standard_normal(len(z))
    alike = fitted(Evaluations(known.p, ln_p, np.full(len(z), 25.0)))
    told = fitted(Evaluations(known.p, ln_p, np.where(noisy, 25.0, 0.25)))
    assert error_of(told, known, z) < 0.25 < error_of(alike, known, z)


def test_hopeless_and_far_evaluations_do_not_bend_it():
    known, _ = scattered()
    cloud = Whitening(known.p)
    found = fit_surrogate(known, cloud, -4001.0, 1.0)
    far = cloud.mean + 50 * cloud.root.sum(axis=0)
    bad = [(known.p[:5], np.full(5, -1e5)), (np.tile(far, (5, 1)), np.full(5, -4000.0))]
    p, ln_p = (
        np.concatenate([*parts, own]) for parts, own in zip(zip(*bad, strict=True), (known.p, known.ln_p), strict=True)
    )
    again = fit_surrogate(Evaluations(p, ln_p, np.full(len(p), known.variance[0])), cloud, -4001.0, 1.0)
    np.testing.assert_array_equal(again.coefficients, found.coefficients)
    assert again.n_points == found.n_points


def test_does_not_rise_behind_a_wall():
    """ln p rises towards a wall, as where a stronger coupling is better until a population explodes."""
    rng = np.random.default_rng(3)
    p = rng.standard_normal((3000, 3))
    rising = 3 * p[:, 0] - 0.5 * (p**2).sum(axis=1)
    behind = p[:, 0] > 1
    known = Evaluations(p, np.where(behind, -1e5, rising), np.full(len(p), 0.01))
    cloud = Whitening(p[~behind])
    found, free = (fit_surrogate(known, cloud, 0.0, 1.0), fit_surrogate(_some(known, ~behind), cloud, 0.0, 1.0))
    there = np.column_stack([np.full(200, 2.0), 0.5 * rng.standard_normal((200, 2))])
    assert (free(there) > 2).all()  # who does not know of the wall promises as much as anywhere
    assert (found(there) < -5).all()
    before = np.column_stack([np.zeros(200), 0.5 * rng.standard_normal((200, 2))])
    np.testing.assert_allclose(found(before), free(before), atol=0.5)


def _some(known, which):
    return Evaluations(known.p[which], known.ln_p[which], known.variance[which])


def test_at_a_low_temperature_worse_evaluations_count():
    known, _ = scattered(sd=0.0)
    steep = Evaluations(known.p, 20 * (known.ln_p + 4000), known.variance)
    numbers = [fit_surrogate(steep, Whitening(known.p), 0.0, temperature).n_points for temperature in (1.0, 0.1)]
    assert numbers[0] < 0.8 * numbers[1]


def test_where_there_are_too_many_the_heaviest_count():
    known, z = scattered()
    noisy = np.arange(len(z)) % 2 > 0
    ln_p, variance = known.ln_p + noisy * 3 * z[:, 0], np.where(noisy, 1.0, 0.25)
    found = fit_surrogate(Evaluations(known.p, ln_p, variance), Whitening(known.p), -4001.0, 1.0, most=600)
    assert found.n_points == 600
    assert error_of(found, known, z) < 0.2


# --- what it does not promise -----------------------------------------------------------------------------------------


def test_never_promises_more_than_was_seen():
    known, _ = scattered()
    found = fitted(known)
    rng = np.random.default_rng(2)
    anywhere = found.whitening.mean + 20 * rng.standard_normal((2000, N)) @ found.whitening.root
    assert found(anywhere).max() <= known.ln_p.max()
    steep = Evaluations(known.p, known.ln_p + 40 * known.p[:, 0], known.variance)
    assert fitted(steep, typical=np.median(steep.ln_p))(anywhere).max() <= steep.ln_p.max()


def test_is_flat_beyond_the_cloud():
    known, _ = scattered()
    found = fitted(known)
    z = np.zeros((4, N))
    z[:, 0] = [FARTHEST, FARTHEST + 1, 30, 1e6]
    values = found(found.whitening.mean + z @ found.whitening.root)
    np.testing.assert_allclose(values, values[0], rtol=1e-6)
    inside = found(found.whitening.mean + np.diag([FARTHEST - 1, 0, 0])[:1] @ found.whitening.root)
    assert abs(inside - values[0]) > 1


# --- whitening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_whitening_makes_a_cloud_round(weighted):
    known, _ = scattered(400)
    w = np.random.default_rng(3).random(400) ** 3 if weighted else None
    cloud = Whitening(known.p, w)
    np.testing.assert_allclose(cloud.mean, np.average(known.p, axis=0, weights=w), rtol=1e-12)
    covariance = np.cov(known.p.T, aweights=w, ddof=0)
    np.testing.assert_allclose(cloud.covariance, covariance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cloud.root.T @ cloud.root, covariance, rtol=1e-9, atol=1e-12)
    z = cloud(known.p)
    np.testing.assert_allclose(np.average(z, axis=0, weights=w), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(z.T, aweights=w, ddof=0), np.eye(N), atol=1e-9)
    np.testing.assert_allclose(cloud.mean + z @ cloud.root, known.p, rtol=1e-9)


def test_weights_are_like_repeated_points():
    p, times = np.random.default_rng(0).standard_normal((30, N)), np.arange(30) % 4
    one, other = Whitening(p, times / times.sum()), Whitening(np.repeat(p, times, axis=0))
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-12)
    np.testing.assert_allclose(one.covariance, other.covariance, atol=1e-12)


def test_a_flat_cloud_is_no_trouble():
    p = np.random.default_rng(0).standard_normal((50, N))
    p[:, 1] = 2.0
    cloud = Whitening(p)
    assert np.isfinite(cloud(p)).all() and np.isfinite(cloud.root).all()
