"""The curvature of the loss at a fit: what spikes and a given activity leave open of each fitted number.

The curvature is the expected Fisher matrix, which costs two gradients (`src.inference.fisher`). It is that of a *given*
activity. The activity is not known, and other activities go with other parameters. So what this says is a lower bound
of what the data leave open, often by a wide margin.
"""

import numpy as np

from src.inference.fisher import fisher
from src.model.containers import Model, Recording
from src.model.free_parameters import bound_reached


def conditional_errors(X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model) -> np.ndarray:
    """Return the standard error of each fitted number, (n,), in its unit, given the activity.

    These are the roots of the diagonal of (F + 1 / sd^2)^-1, with F the Fisher matrix in nats and sd the standard
    deviations of the priors. It is NaN for a number at a bound, which that holds, and inf for one that neither data nor
    prior say anything about.

    Parameters
    ----------
    X : array, (n,)
        Fitted numbers.
    activity : array, (B, M, T)
    recording : Recording
    model : Model
    """
    moves, information = _information(X, activity, recording, model)
    information = information + np.diag(model.fitted.prior_curvature(X)[moves])
    alone, errors = np.sqrt(np.diag(information)), np.full(len(X), np.nan)
    errors[moves], said = np.inf, alone > 0
    unit = alone[said]
    values, axes = np.linalg.eigh(information[np.ix_(said, said)] / np.outer(unit, unit))
    known = values > 1e-12
    variances = (axes[:, known] ** 2 / values[known]).sum(axis=1)
    lost = (axes[:, ~known] ** 2).sum(axis=1) > 1e-6
    errors[moves[said]] = np.where(lost, np.inf, np.sqrt(variances) / unit)
    return errors


def shares(X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model) -> np.ndarray:
    """Return how much of its prior variance the data leave to each fitted number, (n,), from 0 to 1.

    With sd the prior's standard deviations at X (of a uniform prior, and of bounds, those of a uniform distribution
    between them; without bounds, the scale) and F the Fisher matrix in nats at a given activity, this is the diagonal
    of (1 + sd F sd)^-1. It is NaN for a number at a bound, which that holds; the others are judged with it in place.
    Parameters as in `conditional_errors`.
    """
    free = model.fitted
    between = np.where(np.isfinite(free.upper - free.lower), (free.upper - free.lower) / np.sqrt(12), free.scale)
    width = np.array(
        [
            flat if prior is None else prior.width(float(number))
            for prior, number, flat in zip(free.informed, X, between, strict=True)
        ]
    )
    moves, information = _information(X, activity, recording, model)
    curvature, directions = np.linalg.eigh(width[moves, None] * information * width[moves])
    left = np.full(len(X), np.nan)
    left[moves] = (directions**2 / (1 + np.maximum(curvature, 0))).sum(axis=1)
    return left


def _information(
    X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model
) -> tuple[np.ndarray, np.ndarray]:
    """Return which numbers are at no bound, and their Fisher matrix in nats."""
    moves = np.flatnonzero([not at for at in bound_reached(X, model.fitted.lower, model.fitted.upper)])
    size = model.n_populations * recording.n_judged
    matrix = fisher(X, activity, recording, model, weights="expected").matrix
    return moves, size * matrix[np.ix_(moves, moves)]
