"""A known input, shown again and again: the mean response, and how well a circuit predicts that of the network."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.circuits import STEPS, Source, network
from benchmarks.known_activity import NETWORK_DT
from benchmarks.pulses import DT
from src.model.external_input import Pulse, ou_input, pulse_input, random_input
from src.statistics.smoothing import correlation, smooth

KINDS = ("ou", "steps", "pulses")
SIGMA, MODULATION = 80.0, 0.5  # of the ou input, as in the recording that was fitted
LEVELS, HOLD = 20.0, 0.5  # 1/s and s, of the steps
PULSE, PULSE_LENGTH, PULSE_EVERY = 60.0, 0.05, 0.5  # 1/s, s, s
PRESENTATIONS = 10
"""How often the input is shown in a simulation, after a first time that is dropped."""
SMOOTHED = 0.02  # s, standard deviation of the Gaussian
EXCERPT = (4.0, 6.0)  # s that figures show
PER_POINT = 2
"""Bins in a point of what figures show."""


@dataclass(frozen=True)
class Shown:
    """How much of an input is shown, and how often.

    Parameters
    ----------
    length : float, s
        Of the input.
    network, model : int
        Simulations of the network, and of any other circuit, each with `PRESENTATIONS` of it.
    """

    length: float
    network: int
    model: int


@cache
def fine_input(kind: str, length: float, M: int = 3) -> np.ndarray:
    """Return an input that no circuit was fitted to, (steps of the network, M) in 1/s."""
    rng = np.random.default_rng(np.random.SeedSequence([7, KINDS.index(kind)]))
    steps = round(length / NETWORK_DT)
    if kind == "ou":
        return ou_input(steps, NETWORK_DT, M, rng, mean=0.0, sigma=SIGMA, modulation=MODULATION)
    if kind == "steps":
        return random_input(steps, NETWORK_DT, M, rng, mean=0.0, sigma=LEVELS, hold=HOLD)
    onsets = np.arange(PULSE_EVERY / 2, length - PULSE_LENGTH, PULSE_EVERY)
    pulses = [Pulse(int(rng.integers(M)), PULSE, onset, PULSE_LENGTH) for onset in onsets.tolist()]
    return pulse_input(steps, NETWORK_DT, M, pulses)


def repeated(once: np.ndarray) -> np.ndarray:
    """Return an input (bins, M) as it is shown, (M, all bins)."""
    return np.ascontiguousarray(np.tile(once, (PRESENTATIONS + 1, 1)).T)


def mean_response(rate: np.ndarray) -> np.ndarray:
    """Return the mean over presentations: rates (copies, M, all bins) to (copies, M, bins)."""
    copies, M, _ = rate.shape
    return rate.reshape(copies, M, PRESENTATIONS + 1, -1)[:, :, 1:].mean(axis=2)


@cache
def network_responses(kind: str, shown: Shown, folder: Path) -> np.ndarray:
    """Return mean responses of the network, (simulations, M, bins) in Hz."""
    source = network(folder, NETWORK_DT)
    return mean_response(source.simulate(repeated(fine_input(kind, shown.length)), shown.network, KINDS.index(kind)))


def predicted(source: Source, kind: str, shown: Shown, seed: int) -> np.ndarray:
    """Return the mean response of another circuit, (M, bins) in Hz."""
    fine = fine_input(kind, shown.length)
    once = fine.reshape(-1, STEPS, fine.shape[1]).mean(axis=1)
    return mean_response(source.simulate(repeated(once), shown.model, seed)).mean(axis=0)


def compare(kind: str, shown: Shown, folder: Path, source: Source | None, seed: int) -> tuple[dict[str, Any], Any]:
    """Compare a circuit's mean response with that of the network; without a circuit, the network with itself.

    Returns
    -------
    found : dict
        For every population the correlation of the two after smoothing, ``r 0``, ``r 1``, ..., with the ends of its
        95 % interval over resampled simulations of the network (``low``, ``high``), and the root mean square of their
        difference in Hz (``rms``). Of the network, ``r`` is how well its mean response correlates with what infinitely
        many presentations would give, which nothing can surpass; and ``rms`` is the spread of its mean response.
    response : array, (M, points)
        Mean response in Hz, during `EXCERPT`.
    """
    each = network_responses(kind, shown, folder)
    mine = each.mean(axis=0) if source is None else predicted(source, kind, shown, seed)
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for m, other in enumerate(mine):
        trials = smooth(each[:, m], DT, SMOOTHED)
        if source is None:
            r, ends, rms = ceiling(trials, rng), (np.nan, np.nan), float(trials.mean(axis=0).std())
        else:
            smoothed = smooth(other, DT, SMOOTHED)
            r, ends = correlation(trials.mean(axis=0), smoothed), interval_of_correlation(trials, smoothed, rng)
            rms = float(np.sqrt(np.mean((trials.mean(axis=0) - smoothed) ** 2)))
        found |= {f"r {m}": r, f"low {m}": ends[0], f"high {m}": ends[1], f"rms {m}": rms}
    part = mine[:, slice(*(round(edge / DT) for edge in EXCERPT))]
    return found, part.reshape(len(part), -1, PER_POINT).mean(axis=-1)


def ceiling(trials: np.ndarray, rng: np.random.Generator, n: int = 200) -> float:
    """Return how well the mean of trials, (n, bins), correlates with the mean of infinitely many: from random halves.

    Halves that correlate with r make a whole whose reliability is 2 r / (1 + r) (Spearman & Brown 1910), which is the
    square of what is asked for.
    """
    found = []
    for _ in range(n):
        order = rng.permutation(len(trials))
        half = len(trials) // 2
        r = correlation(trials[order[:half]].mean(axis=0), trials[order[half : 2 * half]].mean(axis=0))
        found.append(2 * r / (1 + r))
    return float(np.sqrt(max(0.0, float(np.mean(found)))))


def interval_of_correlation(trials: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % interval, over resampled trials (n, bins), of the correlation of their mean with a series."""
    chosen = rng.integers(0, len(trials), (500, len(trials)))
    r = [correlation(trials[rows].mean(axis=0), other) for rows in chosen]
    low, high = np.quantile(r, [0.025, 0.975])
    return float(low), float(high)
