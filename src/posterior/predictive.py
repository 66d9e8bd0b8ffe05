"""What the posterior predicts: circuits drawn from it run freely, and are compared with the recording.

Rates of the populations, switches between two that compete, how long a winner stays; and the rates of recorded neurons
over as long a time as they were recorded.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.inference.fast_filter import simulate_many
from src.inference.free_simulation import input_again
from src.model.containers import Model, Recording
from src.posterior.prior import ENDS
from src.posterior.result import Posterior
from src.runs.finer_bins import FINER, InFinerBins, in_finer_bins, median_of
from src.statistics.counts import mean_rates
from src.statistics.populations import competing_pair
from src.statistics.switching import find_switches
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from src.utils.processes import cores, side_by_side

ARCHIVE = "predictive"
"""In ``posterior/`` of a folder."""
SETTLING = 2.0
"""Seconds that a simulation is given before anything is read off it."""


@dataclass(frozen=True)
class Predictive:
    """Free simulations of k draws, and what the recording says beside them.

    Parameters
    ----------
    draws : array of int, (k,)
        Which draws of the posterior.
    seconds : float, s
        Simulated of each.
    rates : array, (k, M), Hz
        Mean rates of the populations.
    switches : array, (k,)
        In 100 s; NaN where no two populations compete.
    winner_rate, loser_rate : array, (k,), Hz
        NaN where neither ever wins.
    dwell_times : array, (any number,), s
        Times between switches, of all draws.
    recorded_rates : array, (windows, M), Hz
        Mean rates of as many neurons as are recorded, in windows as long as the recording, of all draws; NaN for a
        population without recorded neurons.
    observed : array, (M,), Hz
        The same of the recording.
    """

    draws: np.ndarray
    seconds: float
    rates: np.ndarray
    switches: np.ndarray
    winner_rate: np.ndarray
    loser_rate: np.ndarray
    dwell_times: np.ndarray
    recorded_rates: np.ndarray
    observed: np.ndarray

    @property
    def recorded_interval(self) -> np.ndarray:
        """Ends of the 90 % interval of `recorded_rates`, (2, M), Hz."""
        return np.asarray(np.quantile(self.recorded_rates, ENDS, axis=0))


def predict(
    posterior: Posterior,
    seed: int,
    rng: np.random.Generator,
    *,
    n_draws: int = 100,
    seconds: float = 100.0,
    threads: int | None = None,
) -> Predictive:
    """Let circuits drawn from the posterior run freely, driven like the recording over and over.

    Parameters
    ----------
    posterior : Posterior
    seed : int
        Of the simulations; that of a draw is (seed, number of the draw).
    rng : Generator
        Chooses the draws.
    n_draws : int
        At most so many.
    seconds : float, s
        Simulated of each; at least as long as the recording.
    threads : int, optional
        As many as there are cores if not given.

    Raises
    ------
    InputError
        numba is not installed, or the scheme is not the consistent one.
    """
    model, recording = posterior.model, posterior.recording
    draws, dt = posterior.some(n_draws, rng), model.dt
    window = int(recording.lengths.sum())
    bins, settling = max(round(seconds / dt), window), round(SETTLING / dt)
    driven = input_again(recording, settling + bins)
    n_observed = recording.is_recorded.sum(axis=1)

    def one(draw: int) -> tuple[np.ndarray, _Switches, np.ndarray]:
        activity, spikes = simulate_many(
            posterior.parameters(draw),
            model,
            driven,
            1,
            (seed, draw),
            initial_rate=recording.initial_rate.mean(axis=0),
            n_observed=int(n_observed.max()),
        )
        rate = activity[0, :, settling:] / dt
        return rate.mean(axis=-1), _switches(rate, model), _in_windows(spikes[0, :, settling:], n_observed, window, dt)

    rates, found, in_windows = zip(*side_by_side(one, draws.tolist(), threads or cores()), strict=True)
    per_100_s, winner_rate, loser_rate, dwell_times = zip(*found, strict=True)
    return Predictive(
        draws=draws,
        seconds=bins * dt,
        rates=np.array(rates),
        switches=np.array(per_100_s),
        winner_rate=np.array(winner_rate),
        loser_rate=np.array(loser_rate),
        dwell_times=np.concatenate(dwell_times),
        recorded_rates=np.concatenate(in_windows),
        observed=observed_rates(recording, model),
    )


def draws_in_finer_bins(posterior: Posterior, seed: int, threads: int, n_draws: int = 20) -> InFinerBins:
    """Return what circuits drawn from the posterior do in finer bins: medians over them.

    Raises
    ------
    InputError
        As `predict`.
    """

    def one(draw: int) -> InFinerBins:
        return in_finer_bins(posterior.parameters(draw), posterior.model, posterior.recording, seed, n_copies=4)

    draws = posterior.some(n_draws, np.random.default_rng((seed, FINER)))
    return median_of(side_by_side(one, draws.tolist(), threads))


class _Switches(NamedTuple):
    """Switches in 100 s, rates of winner and loser in Hz, and times between switches in s."""

    per_100_s: float
    winner_rate: float
    loser_rate: float
    dwell_times: np.ndarray


def _switches(rate: np.ndarray, model: Model) -> _Switches:
    """Read the switches off a rate, (M, bins) in Hz; NaN and none where no two populations compete."""
    pair = competing_pair(model.names)
    if pair is None:
        return _Switches(np.nan, np.nan, np.nan, np.zeros(0))
    found = find_switches(rate, model.dt, pair=pair)
    return _Switches(found.per_100_s, found.winner_rate, found.loser_rate, found.dwell_times)


def _in_windows(spikes: np.ndarray, n_observed: np.ndarray, window: int, dt: float) -> np.ndarray:
    """Return the mean rates of the first n_observed neurons, (M,), in windows of so many bins: (windows, M), Hz."""
    M, bins, most = spikes.shape
    number = bins // window
    counts = spikes[:, : number * window].reshape(M, number, window, most).sum(axis=2)
    there = np.arange(most) < n_observed[:, None]
    with np.errstate(invalid="ignore"):
        return np.asarray((counts * there[:, None]).sum(axis=-1).T / (n_observed * window * dt))


def observed_rates(recording: Recording, model: Model) -> np.ndarray:
    """Return the mean rate of each population's recorded neurons in the fitted bins, (M,), Hz; NaN without any."""
    A, T = model.window_bins, np.arange(recording.n_bins)
    watched = (T < recording.lengths[:, None])[:, None, :, None] & recording.is_recorded[:, None]
    if recording.observed is not None:
        watched = watched & recording.observed[:, :, A:]
    return mean_rates(recording.observed_spikes[:, :, A:], watched, model.dt)


def save_predictive(folder: Path, predictive: Predictive) -> None:
    """Write the archive of the simulations into the folder of the posterior."""
    save_arrays(folder / ARCHIVE, compress=True, **vars(predictive))


def load_predictive(folder: Path, posterior: Posterior) -> Predictive | None:
    """Read the simulations from the folder of their posterior; None if there are none.

    Raises
    ------
    InputError
        The archive is broken, or not of this circuit.
    """
    if not (folder / ARCHIVE).exists():
        return None
    names = [each.name for each in fields(Predictive)]
    found = load_arrays(folder / ARCHIVE, names)
    k, M = len(np.ravel(found["draws"])), posterior.model.n_populations
    shapes = {
        "rates": (k, M),
        "switches": (k,),
        "winner_rate": (k,),
        "loser_rate": (k,),
        "observed": (M,),
        "seconds": (),
    }
    wrong = [name for name, shape in shapes.items() if found[name].shape != shape]
    if wrong or found["recorded_rates"].shape[1:] != (M,) or found["dwell_times"].ndim != 1:
        raise InputError(f"{folder / ARCHIVE}: expected free simulations of {M} populations, got other arrays")
    return Predictive(seconds=float(found.pop("seconds")), **{name: found[name] for name in names if name in found})
