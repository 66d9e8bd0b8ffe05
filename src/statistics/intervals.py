"""Intervals between the spikes of recorded neurons: how regular they are, how short, and whether one tells the next."""

from dataclasses import dataclass

import numpy as np

SHORTEST = 0.1
"""Share of the intervals whose mean says how short the short ones are."""


@dataclass(frozen=True)
class Intervals:
    """Intervals between successive spikes of a unit, of several units.

    Parameters
    ----------
    bins : array of int, (k,)
        Their lengths.
    unit : array of int, (k,)
        To which unit each belongs.
    goes_on : array of bool, (k - 1,)
        Whether an interval begins with the spike that ends the one before it in the list.
    """

    bins: np.ndarray
    unit: np.ndarray
    goes_on: np.ndarray

    @property
    def relative(self) -> np.ndarray:
        """Lengths in units of the mean interval of the unit, (k,): unequal rates of units do not count."""
        number = np.bincount(self.unit)
        mean = np.bincount(self.unit, self.bins) / np.maximum(number, 1)
        return np.asarray(self.bins / mean[self.unit])

    @property
    def variation(self) -> float:
        """Coefficient of variation, pooled over units of two intervals and more; NaN without any."""
        some = np.bincount(self.unit)[self.unit] > 1 if len(self.unit) else np.zeros(0, bool)
        return float(self.relative[some].std()) if some.any() else np.nan

    @property
    def serial(self) -> float:
        """Correlation of an interval with the next one of the same unit; NaN with fewer than three such pairs.

        Adaptation makes it negative, a rate that wanders makes it positive.
        """
        if self.goes_on.sum() < 3:
            return np.nan
        away = self.relative - 1
        first, second = away[:-1][self.goes_on], away[1:][self.goes_on]
        norm = np.sqrt(np.sum(first**2) * np.sum(second**2))
        return float(np.sum(first * second) / norm) if norm > 0 else np.nan

    def short(self, dt: float) -> float:
        """Return the mean of the shortest tenth of the intervals, in s, for bins of `dt` s; NaN without any."""
        few = int(np.ceil(SHORTEST * len(self.bins)))
        return float(np.sort(self.bins)[:few].mean() * dt) if few else np.nan

    def within(self, bins: int) -> float:
        """Return the share of intervals of at most so many bins; NaN without any."""
        return float(np.mean(self.bins <= bins)) if len(self.bins) else np.nan


def intervals_of(spikes: np.ndarray, watched: np.ndarray) -> Intervals:
    """Return the intervals between successive spikes of each unit, where it was watched all the time between them.

    Parameters
    ----------
    spikes : array, (B, T, n), 0/1
        Of n units in B trials.
    watched : array of bool, (B, T, n)
        What is False ends an interval, as the end of a trial does, and its spikes do not count.
    """
    T, n = spikes.shape[1:]
    seen = np.moveaxis((spikes > 0) & watched, 2, 1).reshape(-1, T)  # a row for each unit of each trial
    missed = np.moveaxis(np.cumsum(~watched, axis=1), 2, 1).reshape(-1, T)
    row, at = np.nonzero(seen)
    whole = (np.diff(row) == 0) & (np.diff(missed[row, at]) == 0)
    first = np.flatnonzero(whole)
    return Intervals(np.diff(at)[first], row[first] % max(n, 1), np.diff(first) == 1)
