"""The simplest prediction of a unit from others: the smoothed mean of the other recorded units of its population.

The width of the kernel is chosen where the model is trained: a width for each population, with which its units are
predicted best from each other. The kernel is a Gaussian; where earlier bins alone are known, an exponential that
looks back, and the unit's own spikes belong to what is known.
"""

from dataclasses import dataclass

import numpy as np
import scipy

from src.data.holdout import beginning, units_of
from src.evaluation.scores import ln_p_bins
from src.model.containers import ACTIVITY_RANGE, Model, Recording
from src.statistics.smoothing import smooth

WIDTHS = np.geomspace(0.01, 3.0, 12)
"""Of the kernels that are tried, in s: standard deviation of the Gaussian, time constant of the exponential."""
MOST = 120.0
"""Seconds of a recording, from its beginning, from which the widths are chosen."""
LEAST = 1e-9
"""Weight of bins below which they count as none."""


@dataclass(frozen=True)
class SmoothedMean:
    """A chosen kernel.

    Parameters
    ----------
    widths : array, (M,), s
    earlier : bool
        Whether earlier bins alone are used, also those of the unit itself.
    """

    widths: np.ndarray
    earlier: bool

    def predict(self, recording: Recording, model: Model, seen: np.ndarray) -> np.ndarray:
        """Return the smoothed mean that is to predict each unit, (B, M, T, n_obs): of the others, or of all before.

        Parameters
        ----------
        recording : Recording
            A place without a recorded unit gets the mean of all units of its population.
        model : Model
        seen : array of bool, (B, M, T, n_obs)
            Where spikes count as observed.
        """
        found = np.empty(seen.shape)
        for width in np.unique(self.widths):
            here = self.widths == width
            found[:, here] = _means(recording, model, seen, float(width), self.earlier)[:, here]
        return found


def choose_width(recording: Recording, model: Model, seen: np.ndarray, earlier: bool) -> SmoothedMean:
    """Return the kernel with which units of a recording are predicted best from each other, where they are `seen`.

    A population with a single unit, or none, gets the width that is best for the others together; without any other,
    the largest one.
    """
    recording = beginning(recording, model, MOST)  # more takes long, and says the same
    seen = seen[: recording.n_trials, :, : recording.n_bins]
    units = units_of(recording)
    found = np.zeros((len(WIDTHS), model.n_populations))
    for k, width in enumerate(WIDTHS):
        means = _means(recording, model, seen, float(width), earlier)
        for m, i in units:
            if earlier or sum(other == m for other, _ in units) > 1:
                there = seen[:, m, :, i]
                y = recording.observed_spikes[:, m, model.window_bins :, i][there].astype(int)
                found[k, m] += ln_p_bins(y, uncertain(means[:, m, :, i][there]))
    known = found.any(axis=0)
    best = np.argmax(found, axis=0)
    best[~known] = np.argmax(found.sum(axis=1)) if known.any() else len(WIDTHS) - 1
    return SmoothedMean(WIDTHS[best], earlier)


def uncertain(probability: np.ndarray) -> np.ndarray:
    """Return a probability of a spike of which nothing is certain."""
    return np.clip(probability, ACTIVITY_RANGE[0], 1 - ACTIVITY_RANGE[0])


def _means(recording: Recording, model: Model, seen: np.ndarray, width: float, earlier: bool) -> np.ndarray:
    """Return the smoothed mean for each unit, (B, M, T, n_obs).

    What looks back begins in the history window, where it sees all recorded units.
    """
    T, spikes = recording.n_bins, recording.observed_spikes
    if earlier:
        window = np.broadcast_to(
            recording.is_recorded[:, None], (len(seen), *spikes.shape[1:2], model.window_bins, seen.shape[3])
        )
        seen = np.concatenate([window, seen], axis=2)
    by_time = [np.moveaxis(array.astype(float), 2, -1) for array in (spikes[:, :, -seen.shape[2] :] * seen, seen)]
    kernel = _look_back if earlier else smooth
    parts = [np.moveaxis(kernel(array, model.dt, width)[..., -T:], -1, 2) for array in by_time]
    own = [0.0, 0.0] if earlier else parts
    same = [part.sum(axis=3, keepdims=True) for part in parts]  # of the population
    all_units = [part.sum(axis=1, keepdims=True) for part in same]
    (sums, weights), (other_sums, other_weights) = (
        [whole - part for whole, part in zip(wholes, own, strict=True)] for wholes in (same, all_units)
    )
    enough = weights > LEAST
    mean = np.where(enough, sums, other_sums) / np.maximum(np.where(enough, weights, other_weights), LEAST)
    return np.broadcast_to(mean, (*mean.shape[:3], seen.shape[3]))


def _look_back(values: np.ndarray, dt: float, width: float) -> np.ndarray:
    """Return the sum over earlier bins on the last axis, with weights that fall off by e in `width` s."""
    return scipy.signal.lfilter([0.0, 1.0], [1.0, -np.exp(-dt / width)], values, axis=-1)
