"""What recorded neurons of a population do together: their mean rate in windows, how it varies and correlates."""

import numpy as np

from src.statistics.smoothing import correlation


def mean_rates(spikes: np.ndarray, watched: np.ndarray, dt: float) -> np.ndarray:
    """Return the mean rate of each population's recorded neurons while they are watched, (M,), Hz; NaN without any.

    Parameters
    ----------
    spikes : array, (B, M, T, n), 0/1
    watched : array of bool, (B, M, T, n)
    dt : float, s
    """
    count, bins = (spikes.astype(bool) & watched).sum(axis=(0, 2, 3)), watched.sum(axis=(0, 2, 3))
    with np.errstate(invalid="ignore"):
        return np.asarray(count / (bins * dt))


def unit_rates(spikes: np.ndarray, watched: np.ndarray, dt: float) -> np.ndarray:
    """Return the rates of the units of a population that are ever watched, (units,), Hz; both (B, T, n)."""
    count, bins = (spikes.astype(bool) & watched).sum(axis=(0, 1)), watched.sum(axis=(0, 1))
    return np.asarray(count[bins > 0] / (bins[bins > 0] * dt))


def mean_train(spikes: np.ndarray, watched: np.ndarray) -> np.ndarray:
    """Return the fraction of a population's watched units that fire in each bin, (B, T), from (B, T, n) of both.

    It is NaN where no unit is watched.
    """
    number = watched.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray((spikes.astype(bool) & watched).sum(axis=-1) / np.where(number > 0, number, np.nan))


def in_windows(train: np.ndarray, bins: int) -> np.ndarray:
    """Return the means of a series (B, T) in windows of so many bins, (B, windows).

    What is left at the end of a trial is dropped. A window with NaN in it is NaN.
    """
    whole = train.shape[1] // bins
    return np.asarray(train[:, : whole * bins].reshape(len(train), whole, bins).mean(axis=-1))


def variation(windows: np.ndarray) -> float:
    """Return standard deviation over mean of a series (B, windows); NaN where it is silent."""
    known = windows[np.isfinite(windows)]
    return float(known.std() / known.mean()) if known.size > 1 and known.mean() > 0 else np.nan


def correlation_at(one: np.ndarray, other: np.ndarray, lag: int = 0) -> float:
    """Return the correlation of a series with another one that is `lag` windows later, both (B, windows).

    Windows of different trials do not meet. NaN with fewer than three pairs, or where a series is constant.
    """
    first, second = one[:, : max(one.shape[1] - lag, 0)], other[:, lag:]
    known = np.isfinite(first) & np.isfinite(second)
    return correlation(first[known], second[known]) if known.sum() > 2 else np.nan
