"""The prior of the fitted numbers as a density to draw from, and not only as a penalty.

A number without a prior of its own is log-uniform between its bounds where both are positive, and uniform otherwise. A
Gaussian or log-normal prior is cut off at the bounds.
"""

from dataclasses import dataclass

import numpy as np
import scipy

from src.model.free_parameters import FreeParameters
from src.model.priors import Gaussian, LogNormal, Prior, Uniform
from src.utils.exceptions import InputError

LN_2PI = np.log(2 * np.pi)
ENDS = (0.05, 0.95)
"""Where the 90 % intervals of priors and posteriors end."""


@dataclass(frozen=True)
class _Marginal:
    """The prior of one number x: flat or normal in t = ln x (`log`) or t = x, for t from `low` to `high`."""

    log: bool
    low: float
    high: float
    normal: bool = False
    centre: float = 0.0
    sd: float = 1.0

    def _log_mass(self) -> tuple[float, float, bool]:
        """Return ln Phi at both ends of a normal one, mirrored if more than half of the mass lies below them."""
        a, b = (self.low - self.centre) / self.sd, (self.high - self.centre) / self.sd
        mirrored = a > 0
        a, b = (-b, -a) if mirrored else (a, b)
        return float(scipy.special.log_ndtr(a)), float(scipy.special.log_ndtr(b)), mirrored

    def quantile(self, u: np.ndarray) -> np.ndarray:
        """Return x below which the shares u of the mass lie."""
        if self.normal:
            a, b, mirrored = self._log_mass()
            u = 1 - u if mirrored else u
            with np.errstate(divide="ignore"):
                z = scipy.special.ndtri_exp(np.minimum(np.logaddexp(np.log1p(-u) + a, np.log(u) + b), 0))
            t = self.centre + self.sd * (-z if mirrored else z)
        else:
            t = self.low + u * (self.high - self.low)
        t = np.clip(t, self.low, self.high)
        return np.exp(t) if self.log else t

    def ln_density(self, x: np.ndarray) -> np.ndarray:
        """Return the logarithm of the density of x, -inf outside the bounds."""
        x = np.asarray(x, float)
        inside = x > 0 if self.log else np.ones(x.shape, bool)
        t = np.log(np.where(inside, x, 1)) if self.log else x
        slack = 1e-12 * max(1.0, abs(self.low), abs(self.high)) if np.isfinite(self.high - self.low) else 0.0
        inside &= (t >= self.low - slack) & (t <= self.high + slack)  # a bound itself is inside, rounding or not
        if self.normal:
            a, b, _ = self._log_mass()
            mass = b + np.log1p(-np.exp(a - b))
            ln_p = -(((t - self.centre) / self.sd) ** 2 + LN_2PI) / 2 - np.log(self.sd) - mass
        else:
            ln_p = np.full(x.shape, -np.log(self.high - self.low))
        return np.where(inside, ln_p - t if self.log else ln_p, -np.inf)


def _marginal(prior: Prior | None, lower: float, upper: float) -> _Marginal | None:
    """Return the prior of one number; None if neither a prior nor finite bounds say what it can be."""
    if isinstance(prior, LogNormal):
        low, high = (np.log(bound) if bound > 0 else -np.inf for bound in (lower, upper))
        return _Marginal(True, float(low), float(high), True, float(np.log(prior.median)), prior.sigma)
    if isinstance(prior, Gaussian):
        return _Marginal(False, lower, upper, True, prior.mean, prior.sd)
    if isinstance(prior, Uniform):
        return _Marginal(False, max(lower, prior.low), min(upper, prior.high))
    if not np.isfinite(upper - lower):
        return None
    if lower > 0:
        return _Marginal(True, float(np.log(lower)), float(np.log(upper)))
    return _Marginal(False, lower, upper)


def _marginals(free: FreeParameters) -> list[_Marginal]:
    """Return the prior of each number; InputError names those that have none, or nothing left between their bounds."""
    found = [
        _marginal(prior, float(low), float(high))
        for prior, low, high in zip(free.priors, free.lower, free.upper, strict=True)
    ]
    missing = [name for name, each in zip(free.names, found, strict=True) if each is None]
    if missing:
        raise InputError(f"{', '.join(missing)}: expected a prior or finite bounds, got neither")
    known = [each for each in found if each is not None]
    empty = [name for name, each in zip(free.names, known, strict=True) if not each.low < each.high]
    if empty:
        raise InputError(f"{', '.join(empty)}: expected a prior with mass between the bounds, got none there")
    return known


def sample_prior(free: FreeParameters, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw fitted numbers from their prior, (n, d).

    Raises
    ------
    InputError
        A number has neither a prior nor finite bounds, or no room between them.
    """
    return prior_quantiles(free, rng.random((n, len(free.names))))


def prior_quantiles(free: FreeParameters, q: np.ndarray) -> np.ndarray:
    """Return quantiles of the prior of each number.

    Parameters
    ----------
    free : FreeParameters
        d numbers.
    q : array, (k,) or (k, d)
        Shares of the mass below: the same for all numbers, or one for each.

    Returns
    -------
    array, (k, d)

    Raises
    ------
    InputError
        As `sample_prior`.
    """
    q, marginals = np.asarray(q, float), _marginals(free)
    q = np.broadcast_to(q[:, None], (len(q), len(marginals))) if q.ndim == 1 else q
    return np.stack([each.quantile(q[:, k]) for k, each in enumerate(marginals)], axis=-1)


def ln_prior_of_each(free: FreeParameters, X: np.ndarray) -> np.ndarray:
    """Return the log-density of each number by itself at X, (k, d): (k, d), -inf outside the bounds.

    Raises
    ------
    InputError
        As `sample_prior`.
    """
    X = np.asarray(X, float)
    return np.stack([each.ln_density(X[:, k]) for k, each in enumerate(_marginals(free))], axis=-1)


def ln_prior(free: FreeParameters, X: np.ndarray) -> np.ndarray:
    """Return the log-density of the prior at X, (k, d): (k,), -inf outside the bounds. Normalised, in X.

    Raises
    ------
    InputError
        As `sample_prior`.
    """
    return np.asarray(ln_prior_of_each(free, X).sum(axis=-1))


def in_logs(free: FreeParameters) -> np.ndarray:
    """Tell which numbers can only be positive, and are compared by their natural logarithm: bool, (d,)."""
    return (free.lower > 0) | np.array([isinstance(prior, LogNormal) for prior in free.priors], bool)


def to_logs(free: FreeParameters, X: np.ndarray) -> np.ndarray:
    """Return X, (..., d), with natural logarithms of the numbers that can only be positive, see `in_logs`."""
    positive = in_logs(free)
    with np.errstate(divide="ignore"):  # 0 is the end of a log-normal prior
        return np.where(positive, np.log(np.where(positive, X, 1)), X)


def prior_width(free: FreeParameters) -> np.ndarray:
    """Return the widths of the priors' 90 % intervals, (d,), of logarithms as `to_logs` takes them.

    Raises
    ------
    InputError
        As `sample_prior`.
    """
    low, high = to_logs(free, prior_quantiles(free, np.array(ENDS)))
    return np.asarray(high - low)
