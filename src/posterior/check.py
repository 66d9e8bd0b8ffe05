"""Is the truth, are the fits, among the circuits that the posterior holds? Their ln p beside fresh ones of draws."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from src.helper import from_X
from src.inference.fast_filter import FastFilter
from src.posterior.coordinates import Coordinates
from src.posterior.result import Posterior
from src.utils.processes import cores, side_by_side
from src.utils.text import align

DRAWS, REPEATS, PARTICLES = 100, 8, 512


@dataclass(frozen=True)
class OfPoint:
    """A point beside the posterior.

    Parameters
    ----------
    name : str
    ln_p, error : float
        Mean of fresh estimates of ln p(spikes), and its standard error, in nats.
    share_below : float
        Of the draws whose fresh ln p is lower.
    distance : float
        Mahalanobis distance from the mean of the draws, in the coordinates of the sampler. Its square is about the
        number of fitted numbers for a draw.
    """

    name: str
    ln_p: float
    error: float
    share_below: float
    distance: float


@dataclass(frozen=True)
class LnPCheck:
    """Fresh ln p of draws, each with the noise of one estimate, and of the truth and the fits.

    Parameters
    ----------
    quantiles : tuple of float
        5, 50 and 95 % of the draws, in nats.
    noise : float
        Standard deviation of ln p at a draw, in nats.
    points : tuple of OfPoint
    """

    quantiles: tuple[float, ...]
    noise: float
    points: tuple[OfPoint, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    def in_words(self) -> str:
        """Return a table."""
        low, median, high = self.quantiles
        rows = [["ln p(spikes)", "", "draws below", "distance"]]
        rows.append(["draws", f"{median:.1f} [{low:.1f}, {high:.1f}]", "", ""])
        for point in self.points:
            value = f"{point.ln_p:.1f} +- {point.error:.1f}"
            rows.append([point.name, value, f"{point.share_below:.0%}", f"{point.distance:.1f}"])
        return align(rows)


def mahalanobis(posterior: Posterior, X: np.ndarray) -> np.ndarray:
    """Return Mahalanobis distances of X, (k, n), from the mean of the draws, in the sampler's coordinates: (k,)."""
    coordinates = Coordinates(posterior.model, posterior.recording)
    p = coordinates.of(posterior.draws).p
    inverse = np.linalg.pinv(np.cov(p.T).reshape(p.shape[1], -1))
    away = coordinates.of(X).p - p.mean(axis=0)
    return np.sqrt(np.einsum("ki,ij,kj->k", away, inverse, away))


def check_ln_p(
    posterior: Posterior, fits: Mapping[str, np.ndarray], rng: np.random.Generator, *, threads: int | None = None
) -> LnPCheck:
    """Evaluate draws, the truth where it is known, and fits, with random numbers that no draw was chosen by.

    The ln p that a draw was accepted with is too high: high ones are accepted.
    """
    model, known = posterior.model, FastFilter(posterior.model, posterior.recording)
    places = {"truth": posterior.true} if posterior.true is not None and np.isfinite(posterior.true).all() else {}
    places |= fits
    some = posterior.some(DRAWS, rng)
    X = [posterior.draws[k] for k in some] + [at for at in places.values() for _ in range(REPEATS)]
    X += [posterior.draws[some[0]]] * REPEATS
    seeds = rng.integers(2**31, size=len(X)).tolist()

    def one(k: int) -> float:
        return known.ln_p(from_X(X[k], model), seeds[k], PARTICLES)

    found = np.array(side_by_side(one, range(len(X)), threads or cores()))
    of_draws, *others, repeated = np.split(found, len(some) + REPEATS * np.arange(len(places) + 1))
    distances = mahalanobis(posterior, np.array([*places.values()]).reshape(-1, posterior.X.shape[-1]))
    points = []
    for name, values, distance in zip(places, others, distances, strict=True):
        mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(REPEATS))
        points.append(OfPoint(name, mean, error, float((of_draws < mean).mean()), float(distance)))
    low, median, high = np.quantile(of_draws, [0.05, 0.5, 0.95]).tolist()
    return LnPCheck((low, median, high), float(repeated.std(ddof=1)), tuple(points))
