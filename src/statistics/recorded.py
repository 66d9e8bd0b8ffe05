"""What recorded spikes show, in numbers that a simulation of the same recording can be compared by."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from src.statistics.counts import correlation_at, in_windows, mean_rates, mean_train, unit_rates, variation
from src.statistics.intervals import intervals_of
from src.statistics.populations import competing_pair
from src.statistics.switching import winning

FINE = 0.02
"""Windows in s in which spikes are counted for correlations."""
COARSE = 0.1
"""Windows in s for the variation of the rate."""
LAGS = (1, 3, 10)
"""Of the autocorrelations, in fine windows."""
BINNED = 0.005
"""Share of refractory intervals up to which they count as none: an interval just longer than the refractory time can
come to as few bins, as the edges of the bins fall."""
KINDS = {
    "rate": ("rate", "Hz"),
    "unequal": ("spread of units' rates", ""),
    "variation": ("CV of intervals", ""),
    "serial": ("correlation of successive intervals", ""),
    "short": ("shortest tenth of intervals", "s"),
    "refractory": ("share of refractory intervals", ""),
    "wander": (f"variation of the rate in {COARSE:g} s", ""),
    **{f"auto{lag}": (f"autocorrelation at {lag * FINE:g} s", "") for lag in LAGS},
    "cross": ("correlation", ""),
    "switches": ("switches", ""),
    "dwell": ("mean time between switches", "s"),
    "dwell_variation": ("CV of times between switches", ""),
    "first_wins": ("share of time that the first wins", ""),
}
"""In words and with the unit, every kind of statistic."""
CORRELATIONS = ("serial", "cross", *(f"auto{lag}" for lag in LAGS))
SHARES = ("refractory", "first_wins")


def possible(kind: str, fastest: float) -> tuple[float, float]:
    """Return between which numbers a statistic can lie, where no neuron fires at a higher rate than `fastest`, Hz."""
    if kind in CORRELATIONS:
        return -1.0, 1.0
    return 0.0, {"rate": fastest, **dict.fromkeys(SHARES, 1.0)}.get(kind, np.inf)


class Statistic(NamedTuple):
    """What a number is: a key of `KINDS`, and the populations that it is about."""

    kind: str
    about: tuple[str, ...]


def recorded_statistics(
    spikes: np.ndarray, watched: np.ndarray, dt: float, refractory_bins: int, names: Sequence[str]
) -> dict[Statistic, float]:
    """Return the statistics of a recording; NaN where it does not tell.

    Parameters
    ----------
    spikes : array, (B, M, T, n), 0/1
        Of n recorded neurons of M populations in B trials.
    watched : array of bool, (B, M, T, n)
        Where they count, as `Recording.scored`: nothing is read off bins, nor across bins, where it is False.
        Populations may be without any.
    dt : float, s
    refractory_bins : int
        Bins after a spike in which the model has no other.
    names : sequence of str, (M,)

    Returns
    -------
    dict of Statistic to float
        The same statistics in the same order for any spikes with these names and this `watched`.
    """
    trains = [mean_train(spikes[:, m], watched[:, m]) for m in range(len(names))]
    fine = [in_windows(train, max(1, round(FINE / dt))) for train in trains]
    found: dict[Statistic, float] = {}
    for m, (name, rate) in enumerate(zip(names, mean_rates(spikes, watched, dt).tolist(), strict=True)):
        if not watched[:, m].any():
            continue
        of_units = unit_rates(spikes[:, m], watched[:, m], dt)
        intervals = intervals_of(spikes[:, m], watched[:, m])
        refractory = intervals.within(refractory_bins)
        values = {
            "rate": rate,
            "unequal": float(of_units.std() / of_units.mean()) if len(of_units) > 1 and rate > 0 else np.nan,
            "variation": intervals.variation,
            "serial": intervals.serial,
            "short": intervals.short(dt),
            "refractory": 0.0 if refractory <= BINNED else refractory,
            "wander": variation(in_windows(trains[m], max(1, round(COARSE / dt)))),
            **{f"auto{lag}": correlation_at(fine[m], fine[m], lag) for lag in LAGS},
        }
        found |= {Statistic(kind, (name,)): value for kind, value in values.items()}
    seen = [m for m in range(len(names)) if watched[:, m].any()]
    found |= {
        Statistic("cross", (names[m], names[j])): correlation_at(fine[m], fine[j]) for m, j in combinations(seen, 2)
    }
    pair = competing_pair(names)
    if pair is not None and set(pair) <= set(seen):
        first, second = (trains[m] / dt for m in pair)
        values = switch_statistics(first, second, dt)
        found |= {Statistic(kind, (names[pair[0]], names[pair[1]])): value for kind, value in values.items()}
    return found


def switch_statistics(first: np.ndarray, second: np.ndarray, dt: float) -> dict[str, float]:
    """Return what two rates (B, T) in Hz show of switches; where either is NaN, the last winner stays."""
    known = np.isfinite(first) & np.isfinite(second)
    state = winning(np.where(known, first - second, 0.0), dt)
    trial, at = np.nonzero(state[:, 1:] * state[:, :-1] < 0)
    times = np.diff(at)[np.diff(trial) == 0] * dt
    wins = state[(state != 0) & known] == 1
    return {
        "switches": float(len(at)),
        "dwell": float(times.mean()) if len(times) else np.nan,
        "dwell_variation": float(times.std() / times.mean()) if len(times) > 1 else np.nan,
        "first_wins": float(wins.mean()) if len(wins) else np.nan,
    }
