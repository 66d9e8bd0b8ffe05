"""Switches of a winner-take-all circuit: which of two populations is winning, when that changes, and at what rates."""

from dataclasses import dataclass

import numpy as np
import scipy

from src.statistics.smoothing import smooth
from src.utils.exceptions import InputError


@dataclass(frozen=True)
class Switching:
    """Switches between two competing populations.

    Parameters
    ----------
    state : array of int8, (n_bins,)
        1 where the first population is winning, -1 where the second is, 0 before either has won.
    times : array, (n_switches,), s
        When the state changes (from 1 to -1 or back), counted from the start of the recording.
    to_first, to_second : int
        Number of switches in each direction.
    dwell_times : array, (max(n_switches - 1, 0),), s
        Time between switches; the first and the last stay, which the recording cuts off, are left out.
    winner_rate, loser_rate : float, Hz
        Mean rate of the population that is winning and of the one that is losing; NaN when neither ever wins.
    length : float, s
        Of the recording.
    """

    state: np.ndarray
    times: np.ndarray
    to_first: int
    to_second: int
    dwell_times: np.ndarray
    winner_rate: float
    loser_rate: float
    length: float

    @property
    def per_100_s(self) -> float:
        """Switches in 100 s."""
        return 100 * len(self.times) / self.length


@dataclass(frozen=True)
class Estimate:
    """A number and its confidence interval, from `low` to `high`; NaN where the recording does not tell."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it as ``12 [8.2, 17]``, a dash for what is unknown."""
        if not np.isfinite(self.value):
            return "-"
        ends = [f"{end:.0f}" if end >= 99.5 else f"{end:.2g}" for end in (self.low, self.high) if np.isfinite(end)]
        return f"{self.value:.3g}" + (f" [{', '.join(ends)}]" if ends else "")


@dataclass(frozen=True)
class SwitchingStatistics:
    """How often switches happen and how long a winner stays.

    Parameters
    ----------
    per_100_s : Estimate
        Switches in 100 s.
    mean_dwell, median_dwell : Estimate, s
        Of the time between switches.
    """

    per_100_s: Estimate
    mean_dwell: Estimate
    median_dwell: Estimate


def winning(difference: np.ndarray, dt: float, *, width: float = 0.08, bound: float = 6.0) -> np.ndarray:
    """Return who wins in each bin, for the difference of two rates, (..., n_bins) in Hz; as `find_switches` says.

    Returns
    -------
    array of int8, (..., n_bins)
        1 where the first population is winning, -1 where the second is, 0 before either has won.
    """
    smoothed = smooth(difference, dt, width)
    decided = np.where(smoothed > bound, 1, np.where(smoothed < -bound, -1, 0))
    last = np.maximum.accumulate(np.where(decided != 0, np.arange(decided.shape[-1]), 0), axis=-1)
    return np.take_along_axis(decided, last, axis=-1).astype(np.int8)


def find_switches(
    rate: np.ndarray, dt: float, *, pair: tuple[int, int] = (0, 1), width: float = 0.08, bound: float = 6.0
) -> Switching:
    """Find the switches between two populations.

    The difference of the two rates, smoothed with a Gaussian, must exceed `bound` for the first population to win and
    fall below minus `bound` for the second; in between, the last winner stays.

    Parameters
    ----------
    rate : array, (M, n_bins), Hz
        Population activities.
    dt : float, s
        Bin width.
    pair : two ints
        Which populations are compared.
    width : float, s
        Standard deviation of the Gaussian.
    bound : float, Hz
        Half the width of the hysteresis.

    Returns
    -------
    Switching
        Its rates are means of the unsmoothed `rate`.

    Raises
    ------
    InputError
        The pair does not name two of the populations, or `dt`, `width` or `bound` is out of its range.
    """
    rate = np.asarray(rate, float)
    if rate.ndim != 2 or len(set(pair)) != 2 or not all(0 <= m < len(rate) for m in pair):
        raise InputError(f"pair: expected two of the populations of a rate (M, bins), got {pair}, shape {rate.shape}")
    if not bound >= 0:
        raise InputError(f"bound: expected at least 0 Hz, got {bound}")
    first, second = rate[pair[0]], rate[pair[1]]
    state = winning(first - second, dt, width=width, bound=bound)
    at = 1 + np.flatnonzero(state[1:] * state[:-1] < 0)
    won = [np.where(state == 1, first, second)[state != 0], np.where(state == 1, second, first)[state != 0]]
    return Switching(
        state=state,
        times=at * dt,
        to_first=int((state[at] == 1).sum()),
        to_second=int((state[at] == -1).sum()),
        dwell_times=np.diff(at) * dt,
        winner_rate=float(won[0].mean()) if won[0].size else float("nan"),
        loser_rate=float(won[1].mean()) if won[1].size else float("nan"),
        length=rate.shape[1] * dt,
    )


def switching_statistics(
    found: Switching, rng: np.random.Generator, *, level: float = 0.95, n_resamples: int = 2000
) -> SwitchingStatistics:
    """Return the rate of switches and their dwell times, with confidence intervals.

    The interval of the rate is the exact one of a Poisson count k (Garwood 1936), from chi2_{2k}(1 - level, halved) / 2
    to chi2_{2k+2} / 2. Those of the dwell times are percentiles over resampled dwell times (bootstrap): nothing is
    assumed about their distribution, and below two of them there is no interval.

    Parameters
    ----------
    found : Switching
    rng : Generator
        Of the resampling.
    level : float
        Probability that an interval covers the truth.
    n_resamples : int

    Raises
    ------
    InputError
        `level` is not between 0 and 1, or `n_resamples` is not positive.
    """
    if not 0 < level < 1 or n_resamples < 1:
        raise InputError(f"expected 0 < level < 1 and n_resamples >= 1, got {level} and {n_resamples}")
    k, tail = len(found.times), (1 - level) / 2
    low = scipy.stats.chi2.ppf(tail, 2 * k) / 2 if k else 0.0
    rate = np.array([k, low, scipy.stats.chi2.ppf(1 - tail, 2 * k + 2) / 2]) * 100 / found.length
    dwell, intervals = found.dwell_times, np.full((2, 2), np.nan)
    if len(dwell) > 1:
        resampled = rng.choice(dwell, (n_resamples, len(dwell)))
        means_and_medians = [resampled.mean(axis=1), np.median(resampled, axis=1)]
        intervals = np.quantile(means_and_medians, [tail, 1 - tail], axis=1).T
    values = (dwell.mean(), np.median(dwell)) if len(dwell) else (np.nan, np.nan)
    dwells = (Estimate(*map(float, (value, *ends))) for value, ends in zip(values, intervals, strict=True))
    return SwitchingStatistics(Estimate(*map(float, rate)), *dwells)


def measure_switches(
    activity: np.ndarray, dt: float, pair: tuple[int, int], rng: np.random.Generator
) -> tuple[Estimate, str]:
    """Return the switches in 100 s of an activity (M, T) on bins of `dt` s, and its rates of winner and loser."""
    found = find_switches(activity / dt, dt, pair=pair)
    return switching_statistics(found, rng).per_100_s, f"{found.winner_rate:.1f}/{found.loser_rate:.1f} Hz"
