"""The curvature of the loss at a fit (Laplace): what the data leave of each prior."""

import numpy as np

from src.fast_np import fast_lossM
from src.model.containers import Model, Recording
from src.model.free_parameters import bound_reached
from src.model.priors import Uniform


def shares(X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model) -> np.ndarray:
    """Return how much of its prior variance the data leave to each fitted number, (n,), from 0 to 1.

    With s the prior's standard deviations at X (of a uniform prior, and of bounds, those of a uniform distribution
    between them; without bounds, the scale) and H the Hessian of minus the log-likelihood at a given activity, this is
    the diagonal of (1 + s H s)^-1, in which directions of negative curvature, as the likelihood's steps can make them,
    count as flat. H is made of differences of the exact gradient. It is NaN for a number at a bound, which
    that holds; the others are judged with it in place.
    """
    free, size = model.fitted, model.n_populations * recording.n_judged
    between = np.where(np.isfinite(free.upper - free.lower), (free.upper - free.lower) / np.sqrt(12), free.scale)
    width = np.array(
        [
            flat if prior is None or isinstance(prior, Uniform) else prior.width(float(number))
            for prior, number, flat in zip(free.priors, X, between, strict=True)
        ]
    )
    moves = np.flatnonzero([not at for at in bound_reached(X, free.lower, free.upper)])
    slopes = np.zeros((len(moves), len(moves)))
    for row, k in enumerate(moves):
        room = min(X[k] - free.lower[k], free.upper[k] - X[k])
        step = min(1e-3 * width[k], room) * (np.arange(len(X)) == k)
        ends = [fast_lossM(X + sign * step, activity, recording, model)[1][moves] for sign in (1, -1)]
        slopes[row] = size * (ends[0] - ends[1]) / (2 * step[k])
    scaled = width[moves, None] * (slopes + slopes.T) / 2 * width[moves]
    curvature, directions = np.linalg.eigh(scaled)
    left = np.full(len(X), np.nan)
    left[moves] = (directions**2 / (1 + np.maximum(curvature, 0))).sum(axis=1)
    return left
