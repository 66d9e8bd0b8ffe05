"""Does a recording lie among simulations? One test for many statistics at once, with the intervals that go with it.

It is a global envelope test (Myllymäki et al. 2017, J. R. Stat. Soc. B 79: 381-404) with continuous ranks. For each
statistic, a recording or simulation has the share of all of them that lies at least as far out. Of two hundred, the
outermost has one half of a percent, whether it is just the outermost or far away; so a rank is refined by how far out
it is, by an exponential tail fitted to the others. The smallest share over all statistics is ranked in turn. If the
recording is one more simulation, all these ranks are equally likely, however the statistics depend on each other.
"""

from dataclasses import dataclass

import numpy as np

from src.utils.exceptions import InputError

TAIL = 0.3
"""Share of the values on each side to which the tail is fitted."""


@dataclass(frozen=True)
class Envelope:
    """Result of the test; S statistics.

    Parameters
    ----------
    p : float
        Probability to lie so far out, were the recording one of the simulations.
    outside : array of bool, (S,)
        Which statistics of the recording lie outside of their intervals: any if and only if p <= level.
    low, high : array, (S,)
        Ends of the intervals. All statistics together lie inside with probability 1 - level. NaN where nothing is
        known.
    """

    p: float
    outside: np.ndarray
    low: np.ndarray
    high: np.ndarray


def envelope_test(recording: np.ndarray, simulations: np.ndarray, level: float) -> Envelope:
    """Rank a recording among simulations.

    Parameters
    ----------
    recording : array, (S,)
        Statistics. A NaN says nothing: it counts as no farther out than any other, in a simulation, too.
    simulations : array, (K, S)
    level : float
        With which probability a simulation would be called different.

    Raises
    ------
    InputError
        There are too few simulations for the level.
    """
    K = len(simulations)
    most = int(level * (K + 1) * (1 + 1e-9))  # so many of all K + 1 may lie outside
    if most < 1:
        raise InputError(f"simulations: expected at least {round(1 / level) - 1} for a level of {level:g}, got {K}")
    values = np.vstack([recording, simulations])
    share = np.minimum(_shares_above(values), _shares_above(-values))
    smallest = share.min(axis=1, initial=1.0)
    limit = np.sort(smallest[1:])[most - 1]
    p = (1 + np.sum(smallest[1:] <= smallest[0])) / (K + 1)
    return Envelope(
        float(p), share[0] < limit, -_end_above(-simulations, float(limit)), _end_above(simulations, float(limit))
    )


def _tail_of(n: int) -> int:
    return max(2, round(TAIL * n))


def _shares_above(values: np.ndarray) -> np.ndarray:
    """Return which share of the values, (n, S), lies at least as high as each: in the tail, as that of the others says.

    It is no less than the share of the others that do. What is far out is farther out than all others only once.
    """
    n, known = len(values), np.isfinite(values)
    c = min(_tail_of(n), n - 1)
    ranks, gap = np.full(values.shape, float(n)), np.zeros(values.shape)
    for s, column in enumerate(values.T):
        there = known[:, s]
        ordered = np.sort(column[there])
        at = np.searchsorted(ordered, column[there], side="left")
        ranks[there, s] = n - at
        gap[there, s] = column[there] - ordered[np.maximum(at - 1, 0)] if at.size else 0.0
    filled = np.where(known, values, -np.inf)
    begin = -np.sort(-filled, axis=0)[c]
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.where(filled > begin, filled - begin, 0.0)
        of_others = (excess.sum(axis=0) - excess) / (c - 1)
        far, apart = (np.where(excess > 0, part / of_others, 0.0) for part in (excess, gap))
    in_tail = (excess > 0) & np.isfinite(begin)
    others = ranks - 1
    tail = np.where(in_tail, c / n * np.exp(-far), ranks / n)
    return np.asarray(np.where(tail < others / n, (others + np.exp(-apart)) / n, tail))


def _end_above(simulations: np.ndarray, limit: float) -> np.ndarray:
    """Return from where on a recording would have a share below the limit, (S,); simulations (K, S)."""
    K, S = simulations.shape
    n, ends = K + 1, np.full(S, np.nan)
    c, outer = _tail_of(n), min(int(limit * n), K - 1)
    for s, column in enumerate(simulations.T):
        ordered = -np.sort(-np.where(np.isfinite(column), column, -np.inf))
        if not np.isfinite(ordered[c - 1]):
            continue
        excess = (ordered[: c - 1] - ordered[c - 1]).sum() / (c - 1)
        ends[s] = max(ordered[outer], ordered[c - 1] + excess * np.log(c / n / limit) if limit > 0 else np.inf)
    return ends
