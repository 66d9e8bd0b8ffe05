"""Whether a circuit does in finer bins what it does in those of the fit.

In the model, no neuron fires twice in a bin, and none hears of a spike before the bin is over. Where a large part of a
population fires within a bin, this decides what happens next, and fitted numbers are those of a circuit in such bins.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from src.inference.fast_filter import simulate_many
from src.inference.free_simulation import input_again
from src.model.containers import Model, Parameters, Recording, whole_bins
from src.model.stationary import LEAST_RATE
from src.runs.record import Finding

FINER = 4
"""Finer bins in one of the fit."""
SECONDS, SETTLING = 10.0, 1.0
"""Simulated of each copy, and before that."""
VOLLEY = 0.5
"""Share of a population in one bin from which on it is said to fire in volleys."""
BURSTS = 0.999
"""Quantile of the activity of a bin that is taken for the largest; the largest of all would grow with the time."""
OTHERWISE, BEYOND = 0.1, 3.0
"""Relative difference of rates that is told, if it is as many of its standard errors."""

COARSE_WORDS = {
    "volleys": "{called} fires in volleys, up to {share:.0%} of its neurons in one bin of {dt:.3g} ms: the bins are "
    "too coarse for this circuit. A fit with a smaller --dt can give other numbers.",
    "coarse_bins": "{called} fires at {rate:.3g} Hz in bins of {dt:.3g} ms, and the same circuit at {finer:.3g} Hz in "
    "bins of {finer_dt:.3g} ms: the bins are too coarse for it. A fit with a smaller --dt can give other numbers.",
}
"""The findings of `coarse_bins` in words."""


class InFinerBins(NamedTuple):
    """What populations do in bins of the fit, and in finer ones.

    Parameters
    ----------
    rate, finer : array, (M,), Hz
        Mean rates in either.
    error : array, (M,), Hz
        Standard error of their difference.
    volley : array, (M,)
        The largest share of each population that fires in one bin of the fit.
    """

    rate: np.ndarray
    finer: np.ndarray
    error: np.ndarray
    volley: np.ndarray


def in_bins_of(model: Model, dt: float) -> Model:
    """Return the same circuit on other bins; times are rounded to whole bins, the refractory time to at least one."""
    refractory_time = model.refractory_bins * model.dt if model.refractory_time is None else model.refractory_time
    delay = model.delay_bins * model.dt if model.delay is None else model.delay
    refractory_bins, delay_bins = whole_bins(refractory_time, delay, dt)
    return replace(
        model,
        dt=dt,
        window_bins=max(round(model.window_bins * model.dt / dt), refractory_bins + 1),
        refractory_bins=refractory_bins,
        delay_bins=delay_bins,
    )


def in_finer_bins(
    parameters: Parameters, model: Model, recording: Recording, seed: int, n_copies: int = 32
) -> InFinerBins:
    """Let a circuit run freely in bins of both widths, driven like the recording over and over.

    Raises
    ------
    InputError
        numba is not installed, or the scheme is not the consistent one.
    """
    driven, A0 = input_again(recording, round((SETTLING + SECONDS) / model.dt)), recording.initial_rate.mean(axis=0)

    def settled(model: Model, parts: int) -> np.ndarray:
        given = np.repeat(driven, parts, axis=-1)
        activity, _ = simulate_many(parameters, model, given, n_copies, (seed, parts), initial_rate=A0)
        return activity[..., round(SETTLING / model.dt) :]

    finer = in_bins_of(model, model.dt / FINER)
    here, there = settled(model, 1), settled(finer, FINER)
    rates = here.mean(axis=-1, dtype=float) / model.dt, there.mean(axis=-1, dtype=float) / finer.dt
    (rate, finer_rate), scatter = np.mean(rates, axis=1), np.var(rates, axis=1, ddof=1) / n_copies
    volley = np.quantile(here, BURSTS, axis=(0, 2))
    return InFinerBins(rate, finer_rate, np.sqrt(scatter.sum(axis=0)), volley)


def median_of(found: Iterable[InFinerBins]) -> InFinerBins:
    """Return the medians over several circuits, population by population."""
    return InFinerBins(*(np.median(each, axis=0) for each in zip(*found, strict=True)))


def coarse_bins(found: InFinerBins, model: Model) -> list[Finding]:
    """Find that bins are too coarse: by the largest volley of a population, and by the rate that changes most."""
    bins = {"dt": model.dt * 1000, "finer_dt": model.dt * 1000 / FINER}
    apart = np.abs(found.finer - found.rate)
    share = apart / np.maximum(np.minimum(found.finer, found.rate), LEAST_RATE)
    share[apart < BEYOND * found.error] = 0
    most, changed, result = int(found.volley.argmax()), int(share.argmax()), []
    if found.volley[most] > VOLLEY:
        result.append(Finding("volleys", model.names[most], {"share": float(found.volley[most]), **bins}))
    if share[changed] > OTHERWISE:
        rates = {"rate": float(found.rate[changed]), "finer": float(found.finer[changed])}
        result.append(Finding("coarse_bins", model.names[changed], rates | bins))
    return result
