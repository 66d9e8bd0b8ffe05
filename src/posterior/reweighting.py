"""What the same spikes would say under another prior: the draws, weighted by the ratio of the two."""

from dataclasses import dataclass, replace

import numpy as np

from src.model.free_parameters import FreeParameters
from src.model.priors import LogNormal, Prior, Uniform
from src.posterior.diagnostics import effective_samples
from src.posterior.prior import ln_prior, to_logs
from src.posterior.result import Posterior

SIGMA = 0.5
"""Of the log-normal priors, which are centred between the bounds of the logarithm."""
KINDS = ("log-uniform", "log-normal", "uniform")


@dataclass(frozen=True)
class Reweighted:
    """The posterior under another prior.

    Parameters
    ----------
    kind : str
        Of `KINDS`.
    changed : array of bool, (n,)
        Numbers that have another prior.
    weights : array, (draws,)
        Of all draws; their sum is 1.
    medians : array, (n,)
    effective : float
        Effective samples that are left; with few of them, the medians mean nothing.
    """

    kind: str
    changed: np.ndarray
    weights: np.ndarray
    medians: np.ndarray
    effective: float


def other_priors(free: FreeParameters) -> dict[str, FreeParameters]:
    """Return the same numbers with other priors, by their kind.

    They go to all numbers at once that have a flat prior between positive bounds; a number whose own prior is Gaussian
    or log-normal keeps it. A kind that changes nothing is left out.
    """
    found = {}
    for kind in KINDS:
        priors = tuple(map(_other, free.priors, free.lower, free.upper, [kind] * len(free.names)))
        if priors != free.priors:
            found[kind] = replace(free, priors=priors)
    return found


def _other(prior: Prior | None, lower: float, upper: float, kind: str) -> Prior | None:
    """Return a number's prior of another kind; its own where that is not flat between positive bounds."""
    low, high = (max(lower, prior.low), min(upper, prior.high)) if isinstance(prior, Uniform) else (lower, upper)
    if not isinstance(prior, Uniform | None) or not (0 < low < high < np.inf):
        return prior
    if kind == "log-normal":
        return LogNormal(float(np.sqrt(low * high)), SIGMA)
    # Without a prior of its own, a number is log-uniform between its bounds.
    return Uniform(float(low), float(high)) if kind == "uniform" else None


def reweighted(posterior: Posterior) -> list[Reweighted]:
    """Return the posterior under each of `other_priors`.

    Raises
    ------
    InputError
        A number has neither a prior nor finite bounds.
    """
    free, draws = posterior.model.fitted, posterior.draws
    before = ln_prior(free, draws)
    mixing = np.nanmin(effective_samples(to_logs(free, posterior.X))) / len(draws)
    found = []
    for kind, other in other_priors(free).items():
        ln_w = ln_prior(other, draws) - before
        w = np.exp(ln_w - ln_w.max())
        w /= w.sum()
        changed = np.array([a != b for a, b in zip(free.priors, other.priors, strict=True)])
        found.append(Reweighted(kind, changed, w, weighted_median(draws, w), float(mixing / (w**2).sum())))
    return found


def weighted_median(X: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the median of each column of X, (k, n), with weights w, (k,), whose sum is 1: (n,)."""
    order = np.argsort(X, axis=0)
    half = (np.cumsum(w[order], axis=0) >= 0.5).argmax(axis=0)
    columns = np.arange(X.shape[1])
    return np.asarray(X[order[half, columns], columns])
