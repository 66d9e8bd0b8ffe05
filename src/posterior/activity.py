"""The activity of every population given the spikes, with the parameters integrated out: its mean and 90 % band."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from src.inference.fast_filter import FastFilter
from src.model.containers import Model, Recording
from src.posterior.prior import ENDS
from src.posterior.result import Posterior
from src.statistics.smoothing import SMOOTHING, correlation, smooth
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from src.utils.processes import cores, side_by_side

ARCHIVE = "activity"
"""In ``posterior/`` of a folder."""


@dataclass(frozen=True)
class ActivityBands:
    """The activity given the spikes, bin by bin, as a fraction of each population that fired.

    Parameters
    ----------
    mean, low, high : float32 array, (B, M, T)
        Mean and ends of the 90 % interval over draws of parameters and activity; zeros beyond the end of a trial.
    smoothed_low, smoothed_high : float32 array, (B, M, T)
        Ends of the 90 % interval of activities that are smoothed with a Gaussian of 20 ms, as they are drawn.
    evaluations : array of int, (k,)
        Of the filter, each of which gave one activity.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    smoothed_low: np.ndarray
    smoothed_high: np.ndarray
    evaluations: np.ndarray


@dataclass(frozen=True)
class Agreement:
    """How an inferred activity agrees with the true one.

    Parameters
    ----------
    correlation, smoothed : array, (M,)
        Of mean and truth in bins, and after smoothing both with a Gaussian of 20 ms.
    coverage : array, (M,)
        Share of the bins whose true activity lies inside the 90 % band.
    """

    correlation: np.ndarray
    smoothed: np.ndarray
    coverage: np.ndarray


def infer_activity(
    posterior: Posterior, rng: np.random.Generator, *, n_draws: int = 300, threads: int | None = None
) -> ActivityBands:
    """Draw activities with the parameters of the posterior, each by the evaluation of the filter that was accepted.

    The path of a particle back through its ancestors is then a draw from p(parameters, activity | spikes) (Andrieu,
    Doucet & Holenstein 2010). Draws of the same evaluation share their path, which is worked out once.

    Parameters
    ----------
    posterior : Posterior
    rng : Generator
        Chooses the draws, where there are too many.
    n_draws : int
        At most so many evaluations.
    threads : int, optional
        That work side by side; as many as there are cores if not given.

    Raises
    ------
    InputError
        numba is not installed, or the scheme is not the consistent one.
    """
    which = np.arange(posterior.ln_p.size)
    if len(np.unique(posterior.evaluation)) > n_draws:
        which = posterior.some(n_draws, rng)
    evaluations, first, counts = np.unique(posterior.evaluation.ravel()[which], return_index=True, return_counts=True)
    run = FastFilter(posterior.model, posterior.recording, n_particles=posterior.n_particles)

    def path(pair: tuple[int, int]) -> np.ndarray:
        draw, evaluation = pair
        return run.activity(posterior.parameters(draw), (posterior.seed, evaluation))[0]

    pairs = zip(which[first].tolist(), evaluations.tolist(), strict=True)
    paths = np.stack(side_by_side(path, pairs, threads or cores()))
    parts = np.zeros((5, *paths.shape[1:]), np.float32)
    for b, T in enumerate(posterior.recording.lengths):
        for m in range(posterior.model.n_populations):
            of_one = paths[:, b, m, :T].astype(float)
            smoothed = smooth(of_one, posterior.model.dt, SMOOTHING)
            parts[0, b, m, :T] = np.average(of_one, axis=0, weights=counts)
            for k, series in ((1, of_one), (3, smoothed)):
                ends = np.quantile(series, ENDS, axis=0, weights=counts, method="inverted_cdf")
                parts[k : k + 2, b, m, :T] = ends
    mean, low, high, smoothed_low, smoothed_high = parts
    return ActivityBands(mean, low, high, smoothed_low, smoothed_high, evaluations)


def agreement(bands: ActivityBands, recording: Recording, model: Model) -> Agreement | None:
    """Compare bands with the true activity; None where the data set does not know it."""
    truth = recording.true_activity
    if truth is None:
        return None
    edge, parts = 1e-6, []  # single precision
    for b, T in enumerate(recording.lengths):
        true, mean, low, high = (np.asarray(x[b, :, :T], float) for x in (truth, bands.mean, bands.low, bands.high))
        smoothed = [smooth(x, model.dt, SMOOTHING) for x in (true, mean)]
        parts.append((true, mean, *smoothed, (true >= low - edge) & (true <= high + edge)))
    true, mean, true_20ms, mean_20ms, inside = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    return Agreement(_correlations(mean, true), _correlations(mean_20ms, true_20ms), inside.mean(axis=-1))


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([correlation(*pair) for pair in zip(a, b, strict=True)])


def save_bands(folder: Path, bands: ActivityBands) -> None:
    """Write the archive of the bands into the folder of the posterior."""
    save_arrays(folder / ARCHIVE, compress=True, **vars(bands))


def load_bands(folder: Path, posterior: Posterior) -> ActivityBands | None:
    """Read the bands from the folder of their posterior; None if there are none.

    Raises
    ------
    InputError
        The archive is broken, or not of this posterior.
    """
    if not (folder / ARCHIVE).exists():
        return None
    found = load_arrays(folder / ARCHIVE, [each.name for each in fields(ActivityBands)])
    bands = ActivityBands(**{each.name: found[each.name] for each in fields(ActivityBands)})
    shape = posterior.recording.external_input.shape
    wrong = [f"{name} {array.shape}" for name, array in vars(bands).items() if array.shape != shape]
    if wrong[:-1]:  # the last are the evaluations
        raise InputError(f"{folder / ARCHIVE}: expected arrays of shape {shape}, got {', '.join(wrong[:-1])}")
    if not np.isin(bands.evaluations, posterior.evaluation).all():
        raise InputError(f"{folder / ARCHIVE}: expected activity of the posterior beside it, got that of another one")
    return bands
