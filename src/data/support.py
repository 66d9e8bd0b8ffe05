"""Spikes that the model cannot have fired: within its refractory time, or two in a bin; what they cost, what helps."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from src.data.spike_trains import SpikeTrains
from src.data.trials import EDGE, Trial, bins_of
from src.model.containers import Model, Recording
from src.model.escape_noise import REFRACTORY_HAZARD
from src.utils.text import plural, some

BINS = (0.01, 0.005, 0.004, 0.002, 0.001, 0.0005, 0.0002)
"""Widths, s, that are tried for what would hold the spikes."""
FEW = (0.05, 1e-3)
"""Of those in refractory bins, or of all spikes: so few may remain."""
SHORTEST = 0.001
"""s: no neuron fires again sooner."""


def refractory_spikes(recording: Recording, model: Model) -> np.ndarray:
    """Return where a neuron fires in a bin that is scored and refractory to it, (B, M, T, n_obs).

    Those are the `refractory_bins` bins after a spike.
    """
    spikes, A = recording.observed_spikes > 0, model.window_bins
    before = np.zeros_like(spikes[:, :, A:])
    for age in range(1, model.refractory_bins + 1):
        before |= spikes[:, :, A - age : spikes.shape[2] - age]
    found = spikes[:, :, A:] & before
    return found if recording.scored is None else found & recording.scored


def leave_out_refractory(recording: Recording, model: Model) -> Recording:
    """Return a recording in which spikes in refractory bins are not scored; they stay history."""
    found = refractory_spikes(recording, model)
    return replace(recording, left_out=found) if found.any() else recording


def cost(model: Model) -> float:
    """Return what a spike in a refractory bin costs, in nats; in the published scheme, the threshold comes on top.

    There, a spike has the probability of a neuron at its reset, lambda dt with V = 0.
    """
    if model.scheme.small_hazard > 0:
        return float(-np.log(model.dt))
    return float(-np.log(-np.expm1(-REFRACTORY_HAZARD * model.dt)))


def about_support(
    trains: SpikeTrains, trials: Sequence[Trial], recording: Recording, model: Model, left_out: bool
) -> list[str]:
    """Return lines about spikes in refractory bins; `left_out` says whether they will be scored."""
    number = refractory_spikes(recording, model).sum(axis=(0, 2))  # (M, n_obs)
    total = int(number.sum())
    if total == 0:
        return []
    fired = int((recording.observed_spikes[:, :, model.window_bins :] > 0).sum())
    names = [name for name, n in zip(trains.units, number[recording.is_recorded], strict=True) if n]
    time = f"{1e3 * model.refractory_bins * model.dt:g} ms"
    what = f"{total} of {fired} spikes ({total / fired:.2%}) come within the refractory time of {time} after another"
    where = f"of unit {some(names)}"
    if left_out:
        return [f"{what}, {where}: they are not scored, but stay history (--leave_out_refractory_spikes)."]
    each, more = cost(model), " and the threshold" if model.scheme.small_hazard > 0 else ""
    nats = f"{each:.1f} nats{more} each, {total * each:.0f} nats{' and more' if more else ''} in all"
    return [
        f"{what}, {where}. The model does not fire there: they cost {nats}. "
        f"{what_would_hold(trains, trials, model, total)} --leave_out_refractory_spikes does not score them."
        f"{_doubt(trains, trials, model)}"
    ]


def what_would_hold(trains: SpikeTrains, trials: Sequence[Trial], model: Model, number: int) -> str:
    """Return which bins and refractory time would hold spikes of which `number` are in refractory bins, in words."""
    if number <= FEW[1] * sum(len(times) for _, times in _inside(trains, trials, model)):
        return "So few can come of the bins: an interval that is longer than this time can end in these bins."
    for dt in [width for width in BINS if width <= model.dt + 1e-9]:
        if trains.step is not None and abs(dt / trains.step - round(dt / trains.step)) > EDGE:
            continue
        gaps, fired = _gaps(trains, trials, model, dt)
        most = max(1, round(model.refractory_bins * model.dt / dt))
        for bins in range(most, 0, -1):
            left = int((gaps <= bins).sum())
            if left <= max(FEW[0] * number, FEW[1] * fired):
                in_file = f"refractory_time = {bins * dt:g} in the circuit file"
                return f"--dt {dt:g} with {in_file} would leave {left} of {fired}."
    return f"No bins of {1e3 * max(BINS[-1], trains.step or 0):g} ms or more would hold them: is each unit one neuron?"


def _doubt(trains: SpikeTrains, trials: Sequence[Trial], model: Model) -> str:
    """Return what intervals say that no neuron has, nothing where there are none: they are of badly sorted units."""
    short = sum(int((np.diff(times) < SHORTEST - EDGE * model.dt).sum()) for _, times in _inside(trains, trials, model))
    within = f"within {1e3 * SHORTEST:g} ms after another"
    return f" {plural(short, 'spike')} {within}, as no neuron fires: is each unit one neuron?" if short else ""


def _gaps(trains: SpikeTrains, trials: Sequence[Trial], model: Model, dt: float) -> tuple[np.ndarray, int]:
    """Return how many bins of `dt` s after the spike before each spike comes, in all trials, and how many fire."""
    bins = [np.unique(bins_of(times, begin, dt)) for begin, times in _inside(trains, trials, model)]
    return np.concatenate([np.diff(each) for each in bins]), sum(len(each) for each in bins)


def _inside(trains: SpikeTrains, trials: Sequence[Trial], model: Model) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the begin of each trial's window, s, and the spike times of each unit from there to the trial's end, s."""
    for trial in trials:
        begin, end = trial.start - model.window_bins * model.dt, trial.start + trial.bins * model.dt
        for times in trains.stretches[trial.stretch].times:
            yield begin, times[np.searchsorted(times, begin) : np.searchsorted(times, end)]
