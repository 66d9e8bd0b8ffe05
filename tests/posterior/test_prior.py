"""The prior as a density: normalised, drawn from as it says, cut off at the bounds, and never made up."""

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import kstest, lognorm, norm, truncnorm

from src.model.free_parameters import FreeParameters
from src.model.priors import Gaussian, LogNormal, Uniform
from src.posterior.prior import in_logs, ln_prior, ln_prior_of_each, prior_quantiles, prior_width, sample_prior, to_logs
from src.utils.exceptions import InputError

INF = np.inf
CASES = {
    "log-uniform": (None, 1, 10),
    "uniform": (None, -1, 3),
    "from zero": (None, 0, 3),
    "Gaussian": (Gaussian(2, 1), -INF, INF),
    "cut Gaussian": (Gaussian(2, 1), 2.5, 9),
    "far cut Gaussian": (Gaussian(0, 1), 40, 50),
    "far cut below": (Gaussian(0, 1), -50, -40),
    "log-normal": (LogNormal(3, 0.5), 0, INF),
    "cut log-normal": (LogNormal(3, 0.5), 2, 9),
    "given uniform": (Uniform(2, 5), 1, 4),
}


def numbers(*cases):
    n, (priors, lower, upper) = len(cases), zip(*cases, strict=True)
    names = tuple(f"number {k}" for k in range(n))
    return FreeParameters(names, ("",) * n, np.zeros(n), np.eye(n), np.array(lower), np.array(upper), priors=priors)


FREE = numbers(*CASES.values())


@pytest.mark.parametrize("k", range(len(CASES)), ids=list(CASES))
def test_density_and_quantiles_belong_together(k):
    q = np.array([1e-9, 0.05, 0.3, 0.9, 1 - 1e-9])
    x = prior_quantiles(FREE, q)[:, k]
    assert (np.diff(x) > 0).all()
    middle = prior_quantiles(FREE, np.array([0.5]))
    for share, first, last in zip(np.diff(q), x[:-1], x[1:], strict=True):
        grid = np.repeat(middle, 20001, axis=0)
        grid[:, k] = np.linspace(first, last, len(grid))
        assert trapezoid(np.exp(ln_prior_of_each(FREE, grid)[:, k]), grid[:, k]) == pytest.approx(share, rel=1e-4)


def test_quantiles_are_those_of_known_distributions():
    q = np.array([0.01, 0.2, 0.7])
    found = dict(zip(CASES, prior_quantiles(FREE, q).T, strict=True))
    np.testing.assert_allclose(found["log-uniform"], 10**q, rtol=1e-12)
    np.testing.assert_allclose(found["uniform"], -1 + 4 * q, rtol=1e-12)
    np.testing.assert_allclose(found["Gaussian"], norm(2, 1).ppf(q), rtol=1e-12)
    np.testing.assert_allclose(found["cut Gaussian"], truncnorm(0.5, 7, 2, 1).ppf(q), rtol=1e-9)
    np.testing.assert_allclose(found["far cut Gaussian"], truncnorm(40, 50).ppf(q), rtol=1e-9)
    np.testing.assert_allclose(found["far cut below"], -truncnorm(40, 50).ppf(1 - q), rtol=1e-9)
    np.testing.assert_allclose(found["log-normal"], lognorm(0.5, scale=3).ppf(q), rtol=1e-12)
    np.testing.assert_allclose(found["given uniform"], 2 + 2 * q, rtol=1e-12)


def test_draws_are_from_it():
    X = sample_prior(FREE, np.random.default_rng(0), 2000)
    assert X.shape == (2000, len(CASES)) and np.isfinite(ln_prior(FREE, X)).all()
    assert kstest(X[:, 3], norm(2, 1).cdf).pvalue > 1e-3 and kstest(np.log10(X[:, 0]), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(X.T) - np.eye(len(CASES))).max() < 0.1


def test_density_is_their_product_and_ends_at_the_bounds():
    X = sample_prior(FREE, np.random.default_rng(0), 5)
    np.testing.assert_allclose(ln_prior(FREE, X), ln_prior_of_each(FREE, X).sum(axis=1), rtol=1e-12)
    free = numbers((None, 1, 10), (LogNormal(3, 0.5), 2, 9))
    inside = np.array([[1, 2], [10, 9], [3, 3]], float)
    assert np.isfinite(ln_prior(free, inside)).all()
    outside = np.array([[0.99, 3], [10.1, 3], [3, 1.9], [3, 9.1], [-3, 3], [3, -3]])
    assert (ln_prior(free, outside) == -INF).all()


def test_a_number_that_nothing_is_known_of_is_named():
    free = numbers((None, 1, INF), (None, 1, 2), (None, -INF, INF))
    for ask in (lambda: sample_prior(free, np.random.default_rng(0), 1), lambda: ln_prior(free, np.ones((1, 3)))):
        with pytest.raises(InputError, match="^number 0, number 2: expected a prior or finite bounds, got neither$"):
            ask()
    with pytest.raises(InputError, match="^number 0: expected a prior with mass between the bounds"):
        prior_width(numbers((Uniform(2, 5), 6, 9)))


def test_logarithms_are_taken_of_positive_numbers_only():
    assert dict(zip(CASES, in_logs(FREE), strict=True)) == {
        name: name
        in ("log-uniform", "cut Gaussian", "far cut Gaussian", "log-normal", "cut log-normal", "given uniform")
        for name in CASES
    }
    free = numbers((None, 1, 10), (None, -1, 3))
    np.testing.assert_allclose(to_logs(free, np.array([[10, 3.0]])), [[np.log(10), 3]], rtol=1e-12)
    np.testing.assert_allclose(prior_width(free), [0.9 * np.log(10), 3.6], rtol=1e-12)
