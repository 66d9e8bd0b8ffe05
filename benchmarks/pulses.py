"""Pulses of input to one of two competing populations: when they come, and what they do.

Pulses come at random times, to either population, of random strength. Nobody knows beforehand who will be losing. So a
pulse counts only if its population had been losing for a while when it came. Whether it had is read off the activity
before the pulse alone: what the pulse does has no say in whether it counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from src.statistics.switching import winning

DT = 0.004  # s; every activity is brought to these bins
STRENGTHS = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 30.0, 50.0, 100.0, 200.0, 400.0)  # 1/s
DURATION = 0.1  # s, of a pulse
GAPS = (1.2, 2.0)  # s from one pulse to the next
FIRST = 2.0  # s before the first pulse
BEFORE = 1.0  # s before a pulse from which the state is read
LOSING = 0.5  # s for which a population must have been losing
WITHIN = 0.3  # s after the onset, when the state is read again
AFTER = 0.64  # s after the onset that the smoothed state at `WITHIN` depends on
SHOWN = (-0.104, 0.504)  # s about the onset of which the response is kept
PER_POINT = 2
"""Bins of the activity in a point of the response."""
RESPONSES = (2, 5, 8)
"""Places in `STRENGTHS` of those whose mean response is kept."""


@dataclass(frozen=True)
class Pulses:
    """Step pulses, one after the other.

    Parameters
    ----------
    onset : array of int, (n,)
        First bin.
    target : array of int, (n,)
        Which of the two competing populations gets it, 0 or 1.
    strength : array of int, (n,)
        Place in `STRENGTHS`.
    """

    onset: np.ndarray
    target: np.ndarray
    strength: np.ndarray

    def input(self, n_bins: int, n_populations: int, pair: tuple[int, int]) -> np.ndarray:
        """Return the external input, (M, n_bins) in 1/s."""
        values = np.zeros((n_populations, n_bins))
        for onset, target, strength in zip(self.onset, self.target, self.strength, strict=True):
            values[pair[target], onset : onset + round(DURATION / DT)] = STRENGTHS[strength]
        return values


def schedule(length: float, rng: np.random.Generator) -> Pulses:
    """Return pulses that fit into `length` s: strengths in equal numbers, in random order, targets at random."""
    gaps = rng.uniform(*GAPS, int(length / GAPS[0]) + 1)
    times = FIRST + np.cumsum(gaps) - gaps[0]
    onset = np.rint(times[times + AFTER < length] / DT).astype(int)
    rounds = [rng.permutation(len(STRENGTHS)) for _ in range(len(onset) // len(STRENGTHS) + 1)]
    return Pulses(onset, rng.integers(0, 2, len(onset)), np.concatenate(rounds)[: len(onset)])


@dataclass(frozen=True)
class Responses:
    """What pulses did that came to the loser.

    Parameters
    ----------
    counted, switched : array of int, (strengths,)
        How many counted, and after how many their population was winning.
    total : array, (strengths, M, points), Hz
        Sum of the rates about the onsets: of the population that got the pulse, of its rival, and of the others.
    """

    counted: np.ndarray
    switched: np.ndarray
    total: np.ndarray


def read_responses(rate: np.ndarray, pulses: Pulses, pair: tuple[int, int]) -> Responses:
    """Read off what pulses did in copies of a circuit that all got them.

    Parameters
    ----------
    rate : array, (copies, M, n_bins), Hz
    pulses : Pulses
    pair : two ints
        The competing populations.
    """
    others = [m for m in range(rate.shape[1]) if m not in pair]
    first, last = (round(edge / DT) for edge in SHOWN)
    counted, switched = np.zeros((2, len(STRENGTHS)), int)
    total = np.zeros((len(STRENGTHS), rate.shape[1], (last - first) // PER_POINT))
    for target in (0, 1):
        order = [pair[target], pair[1 - target], *others]
        difference = np.asarray(rate[:, order[0]] - rate[:, order[1]], float)
        for strength in range(len(STRENGTHS)):
            onsets = pulses.onset[(pulses.target == target) & (pulses.strength == strength)]
            if not len(onsets):
                continue
            losing = was_losing(pieces(difference, onsets, -BEFORE, 0))
            switched[strength] += (losing & now_winning(pieces(difference, onsets, -BEFORE, AFTER))).sum()
            counted[strength] += losing.sum()
            shown = pieces(rate[:, order], onsets, *SHOWN)[losing]
            total[strength] += shown.sum(axis=0).reshape(*total.shape[1:], PER_POINT).mean(axis=-1)
    return Responses(counted, switched, total)


def pieces(values: np.ndarray, onsets: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Cut out what lies from `start` to `stop` s about each onset: (copies, ..., n_bins) to (copies, n, ..., bins)."""
    bins = onsets[:, None] + np.arange(round(start / DT), round(stop / DT))
    return np.moveaxis(values[..., bins], -2, 1)


def was_losing(difference: np.ndarray) -> np.ndarray:
    """Tell whether a population was losing throughout the last `LOSING`, from its rate less its rival's before a pulse.

    Parameters
    ----------
    difference : array, (..., bins), Hz
        The last bin is the one before the pulse.
    """
    return np.asarray((winning(difference, DT)[..., -round(LOSING / DT) :] == -1).all(axis=-1))


def now_winning(difference: np.ndarray) -> np.ndarray:
    """Tell whether a population is winning `WITHIN` after a pulse; (..., bins) in Hz from `BEFORE` to `AFTER` it."""
    return np.asarray(winning(difference, DT)[..., round((BEFORE + WITHIN) / DT)] == 1)


# --- statistics ------------------------------------------------------------------------------------------------------


def binomial_interval(k: np.ndarray, n: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the exact interval of a probability (Clopper & Pearson 1934), (2, ...), for k successes of n."""
    k, n, tail = np.asarray(k, float), np.asarray(n, float), (1 - level) / 2
    low = np.where(k > 0, beta.ppf(tail, np.maximum(k, 1), n - k + 1), 0.0)
    return np.stack([low, np.where(k < n, beta.ppf(1 - tail, k + 1, np.maximum(n - k, 1)), 1.0)])


def resampled(values: np.ndarray, rng: np.random.Generator, n: int = 1000) -> np.ndarray:
    """Return sums over n random choices, with replacement, of the pieces (pieces, ...): (n, ...)."""
    weights = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), n)
    return np.tensordot(weights, values, 1)


def half_strength(probability: np.ndarray, strengths: Sequence[float] = STRENGTHS) -> np.ndarray:
    """Return the strength at which a probability, (..., strengths), first reaches one half; inf where it never does.

    Between two strengths it is interpolated; NaN, where nothing was counted, is bridged.
    """
    found = [_half(curve, np.asarray(strengths)) for curve in probability.reshape(-1, len(strengths))]
    return np.array(found).reshape(probability.shape[:-1])


def _half(curve: np.ndarray, strengths: np.ndarray) -> float:
    known = np.isfinite(curve)
    curve, strengths = curve[known], strengths[known]
    above = np.flatnonzero(curve >= 0.5)
    if not len(above):
        return np.inf
    k = above[0]
    if k == 0:
        return float(strengths[0])
    share = (0.5 - curve[k - 1]) / (curve[k] - curve[k - 1])
    return float(strengths[k - 1] + share * (strengths[k] - strengths[k - 1]))
