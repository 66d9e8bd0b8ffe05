"""A cheap stand-in for ln p(spikes | X): a robust regression on all evaluations of the filter so far.

A polynomial of second or third degree in whitened coordinates. Its errors cost nothing but rejected moves: what it
proposes is accepted or not by a call of the filter.

A posterior can pile up at a wall: a step further, a population explodes, and ln p is thousands of nats lower. A
polynomial that is right before the wall is wrong behind it. So a second one is fitted to all evaluations, with deep
falls compressed to their logarithm, and the first counts only as far as it does not exceed that.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy

FARTHEST = 6.0
"""Whitened coordinates beyond this count as this: a cubic is never trusted beyond the cloud that it was fitted to."""
RIDGE = (0.0, 1e-3, 1e-2, 0.3)
"""Penalty on coefficients of each degree, in units of one evaluation's weight."""
ROBUST = 3.0
"""Residuals of so many standard deviations count half."""
DEEP, BEND, SLACK = 12.0, 5.0, 2.0
"""Nats at the temperature 1: falls beyond `DEEP` are compressed, the more, the smaller `BEND`; the polynomial of what
is near the top may exceed that of all by `SLACK`."""
MOST_POINTS = 4000
"""That a surrogate is fitted to if nothing else is said: those that weigh most."""
PER_COEFFICIENT = 3.0
"""Evaluations that a cubic needs for each of its coefficients."""
MOST_COEFFICIENTS = 2000
"""Of a cubic, as of 20 coordinates. Beyond, a surrogate is of the second degree: the matrices would fill the memory."""


class Whitening:
    """Makes a cloud round: (p - mean) @ matrix has unit variance in all directions."""

    def __init__(self, p: np.ndarray, w: np.ndarray | None = None) -> None:
        self.mean = np.average(p, axis=0, weights=w)
        centred = p - self.mean
        weighted = centred if w is None else centred * (w / w.mean())[:, None]
        self.covariance = centred.T @ weighted / len(p)
        variance, axes = np.linalg.eigh(self.covariance)
        deviation = np.sqrt(np.maximum(variance, 1e-12))
        self.matrix, self.root = axes / deviation, (axes * deviation).T

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Return whitened coordinates, (k, n)."""
        return (p - self.mean) @ self.matrix


@lru_cache
def _factors(n: int) -> tuple[np.ndarray, ...]:
    """Return which coordinates make the pairs, and which coordinate and pair make the triples."""
    i, j = np.triu_indices(n)
    triples = [(a, pair) for a in range(n) for pair in range(len(i)) if i[pair] >= a]
    return (i, j, *np.array(triples).T)


def monomials(z: np.ndarray, degree: int) -> np.ndarray:
    """Return all monomials of z, (k, n), up to a degree of 2 or 3: (k, number)."""
    i, j, first, pair = _factors(z.shape[1])
    columns = [np.ones((len(z), 1)), z, z[:, i] * z[:, j]]
    if degree == 3:
        columns.append(z[:, first] * columns[2][:, pair])
    return np.concatenate(columns, axis=1)


def number_of_monomials(n: int, degree: int) -> list[int]:
    """Return how many monomials of n coordinates there are of each degree, from 0 on."""
    return [scipy.special.comb(n + d - 1, d, exact=True) for d in range(degree + 1)]


@dataclass(frozen=True)
class Evaluations:
    """Calls of the filter: coordinates (k, n), ln p (k,), and the variance of ln p that goes with their particles."""

    p: np.ndarray
    ln_p: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True)
class Surrogate:
    """A polynomial in whitened coordinates.

    Parameters
    ----------
    whitening : Whitening
    degree : int
    coefficients : array, (number of monomials,)
    offset : float
    most : float
        It promises no more than this: about the highest value seen.
    error : float
        Root mean square of the residuals in the core of the cloud, each with its own point left out, in nats.
    n_points : int
    wall : array, (number of monomials,), or None
        Coefficients of the polynomial that it must not exceed.
    """

    whitening: Whitening
    degree: int
    coefficients: np.ndarray
    offset: float
    error: float
    most: float
    n_points: int
    wall: np.ndarray | None = None

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Return ln p at coordinates (k, n): (k,)."""
        features = monomials(np.clip(self.whitening(p), -FARTHEST, FARTHEST), self.degree)
        found = np.minimum(self.offset + features @ self.coefficients, self.most)
        return found if self.wall is None else np.minimum(found, self.offset + features @ self.wall)


def fit_surrogate(
    known: Evaluations,
    cloud: Whitening,
    typical: float,
    temperature: float,
    *,
    degrees: tuple[int, ...] = (2, 3),
    most: int = MOST_POINTS,
) -> Surrogate:
    """Fit polynomials to the evaluations near a cloud; return the one with the smaller error.

    Parameters
    ----------
    known : Evaluations
    cloud : Whitening
        Of the tempered posterior that is to be approximated.
    typical : float
        ln p of its members, about.
    temperature : float
        The power of p in the tempered posterior, 0 to 1: differences of ln p below 1 / temperature hardly matter.
    degrees : tuple of int
        To be tried, as far as there are enough evaluations.
    most : int
        Evaluations that are used.
    """
    n = known.p.shape[1]
    far = (cloud(known.p) ** 2).sum(axis=1)
    near = far < 5 * n
    every = Evaluations(known.p[near], known.ln_p[near], known.variance[near])
    top = every.ln_p > typical - max(15 / temperature, 25)
    p, ln_p, variance, far = every.p[top], every.ln_p[top], every.variance[top], far[near][top]
    weight = np.exp(-0.5 * np.maximum(far - n, 0) / n) / (variance + (0.3 / temperature) ** 2)
    if len(p) > most:
        heaviest = np.sort(np.argsort(weight, kind="stable")[-most:])
        p, ln_p, weight, far = (array[heaviest] for array in (p, ln_p, weight, far))
    core = (far < 1.7 * n) & (ln_p > typical - 5 / temperature - 5)
    z, highest = np.clip(cloud(p), -FARTHEST, FARTHEST), float(np.quantile(ln_p, 0.999))
    found: list[Surrogate] = []
    for degree in degrees:
        numbers = number_of_monomials(n, degree)
        if not found or (len(p) >= PER_COEFFICIENT * sum(numbers) and sum(numbers) <= MOST_COEFFICIENTS):
            penalty = np.repeat(RIDGE[: degree + 1], numbers)
            fitted = _regress(monomials(z, degree), ln_p, weight, penalty, core)
            found.append(Surrogate(cloud, degree, *fitted, highest, len(p)))
    best = min(found, key=lambda one: one.error)
    return best if top.all() else replace(best, wall=_wall(best, every, typical, temperature, most))


def _wall(best: Surrogate, known: Evaluations, typical: float, temperature: float, most: int) -> np.ndarray:
    """Return the coefficients of a polynomial that falls where evaluations do, less the offset of the best one."""
    deep, bend, n = DEEP / temperature, BEND / temperature, known.p.shape[1]
    fall = typical - known.ln_p
    beyond = np.maximum(fall - deep, 0) / bend
    compressed = np.where(beyond > 0, deep + bend * np.log1p(beyond), fall)
    far = (best.whitening(known.p) ** 2).sum(axis=1)
    weight = np.exp(-0.5 * np.maximum(far - n, 0) / n)
    some = np.sort(np.argsort(weight, kind="stable")[-most:])
    features = monomials(np.clip(best.whitening(known.p[some]), -FARTHEST, FARTHEST), best.degree)
    weighted = features * weight[some, None]
    penalty = np.repeat(RIDGE[: best.degree + 1], number_of_monomials(n, best.degree))
    normal = features.T @ weighted + np.diag(penalty + 1e-9)
    found = scipy.linalg.solve(normal, weighted.T @ (typical - compressed[some] - best.offset), assume_a="pos")
    found[0] += SLACK / temperature
    return np.asarray(found)


def _regress(
    features: np.ndarray, ln_p: np.ndarray, weight: np.ndarray, penalty: np.ndarray, core: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Return coefficients, offset and error: a ridge regression, in which points far off the surface count less."""
    offset, now = float(np.average(ln_p, weights=weight)), weight
    for _ in range(3):
        weighted = features * now[:, None]
        root = scipy.linalg.cho_factor(features.T @ weighted + np.diag(penalty + 1e-9), lower=True)
        coefficients = scipy.linalg.cho_solve(root, weighted.T @ (ln_p - offset))
        half = scipy.linalg.solve_triangular(root[0], features.T, lower=True)
        leverage = (half**2).sum(axis=0) * now
        left_out = (ln_p - offset - features @ coefficients) / np.maximum(1 - leverage, 0.1)
        scale = ROBUST * max(1.48 * float(np.median(np.abs(left_out[core]))) if core.any() else np.inf, 0.3)
        now = weight / (1 + (left_out / scale) ** 2)
    error = float(np.sqrt(np.mean(left_out[core] ** 2))) if core.sum() > 20 else np.inf
    return coefficients, offset, error
