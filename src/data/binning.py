"""From spike trains and trials to a recording on bins, and what to say about it."""

from collections.abc import Sequence

import numpy as np

from src.data.observed import observed_bins
from src.data.spike_trains import SpikeTrains
from src.data.support import refractory_spikes
from src.data.trials import LEAST, Trial, bins_of
from src.model.containers import Model, Recording, window_rate
from src.utils.exceptions import InputError
from src.utils.text import align, for_table, moment, some

MOST_NUMBERS = 2**31
"""Of spikes in bins that are tried: more is a recording in other units of time than s, not one to be fitted."""
MOST_LINES = 20
"""Of a table in the print-out."""
MANY = 0.1
"""Share of spikes lost to bins with two that needs a reason."""


def count_spikes(trains: SpikeTrains, trials: Sequence[Trial], model: Model) -> np.ndarray:
    """Return the spikes in each bin, (B, A+T, units), with nothing after the end of a trial that is shorter."""
    A, units, longest = model.window_bins, trains.units, max(trial.bins for trial in trials)
    if len(trials) * (A + longest) * len(units) > MOST_NUMBERS:
        raise InputError(
            f"{trains.source}: expected what fits into memory, got {len(trials)} trials of up to "
            f"{longest * model.dt:g} s and {len(units)} units in bins of {model.dt:g} s; are times in s?"
        )
    counts = np.zeros((len(trials), A + longest, len(units)), np.uint16)
    for trial, counted in zip(trials, counts, strict=True):
        for i, times in enumerate(trains.stretches[trial.stretch].times):
            near = slice(*np.searchsorted(times, trial.start + model.dt * np.array([-A - 1, trial.bins + 1])))
            bins = A + bins_of(times[near], trial.start, model.dt)
            inside = bins[(bins >= 0) & (bins < A + trial.bins)]
            counted[:, i] = np.bincount(inside, minlength=A + longest)
    return counts


def watched_bins(trains: SpikeTrains, trials: Sequence[Trial], model: Model) -> np.ndarray | None:
    """Return in which bins each unit was watched, bool, (B, A+T, units), also after the end of a shorter trial.

    None: in all.
    """
    if all(stretch.observed is None for stretch in trains.stretches):
        return None
    A, longest = model.window_bins, max(trial.bins for trial in trials)
    watched = np.ones((len(trials), A + longest, len(trains.units)), bool)
    for b, trial in enumerate(trials):
        when, bins = trains.stretches[trial.stretch].observed, A + trial.bins
        for i, intervals in enumerate(when or ()):
            watched[b, :bins, i] = observed_bins(intervals, trial.start - A * model.dt, model.dt, bins)
    return None if watched.all() else watched


def bin_trains(
    trains: SpikeTrains, population: np.ndarray, trials: Sequence[Trial], model: Model
) -> tuple[Recording, np.ndarray, list[str]]:
    """Return the recording on bins.

    Parameters
    ----------
    trains : SpikeTrains
    population : array of int, (units,)
        Population of each unit.
    trials : sequence of Trial
    model : Model

    Returns
    -------
    recording : Recording
    counts : array, (B, A+T, units)
        Spikes in each bin.
    notes : list of str
    """
    M, names = model.n_populations, model.names
    counts, watched = count_spikes(trains, trials, model), watched_bins(trains, trials, model)
    notes = []
    if watched is not None:
        lost = int(counts[~watched].sum())
        counts[~watched] = 0
        notes += [f"{lost} spikes in bins that were not wholly observed are left out."] if lost else []
    groups = [np.flatnonzero(population == m) for m in range(M)]
    sizes = np.array([len(group) for group in groups])
    spikes = np.zeros((len(trials), M, counts.shape[1], sizes.max()), np.uint8)
    observed = None if watched is None else np.ones(spikes.shape, bool)
    unit_names = np.full((M, sizes.max()), "", object)
    for m, group in enumerate(groups):
        unit_names[m, : len(group)] = [trains.units[unit] for unit in group]
        spikes[:, m, :, : len(group)] = counts[:, :, group] > 0
        if observed is not None and watched is not None:
            observed[:, m, :, : len(group)] = watched[:, :, group]
    recorded = np.arange(sizes.max()) < sizes[:, None]
    some_missing = not recorded.all()
    lengths = np.array([trial.bins for trial in trials])
    judged = np.arange(lengths.max()) < lengths[:, None]
    recording = Recording(
        observed_spikes=spikes,
        external_input=np.zeros((len(trials), M, lengths.max())),
        initial_rate=window_rate(spikes, recorded, model, observed),
        judged=None if judged.all() else judged,
        recorded=recorded if some_missing else None,
        observed=observed,
        unit_names=unit_names.astype(str),
    )
    without = [name for name, size in zip(names, sizes, strict=True) if size == 0]
    if without:
        notes.append(
            f"No recorded unit: {', '.join(without)}. The mean over the other populations stands for the rate in the "
            "window, and for the start of the activity."
        )
    crowded = [name for name, size, N in zip(names, sizes, model.population_size, strict=True) if size > N]
    if crowded:
        raise InputError(
            f"population_size: expected at least as many neurons as recorded units in {', '.join(crowded)}"
        )
    return recording, counts, notes + _notes_on_counts(counts, trials, trains, model)


def _notes_on_counts(counts: np.ndarray, trials: Sequence[Trial], trains: SpikeTrains, model: Model) -> list[str]:
    """Say what bins made of the spikes: more than one in a bin, none of a unit, none in a trial."""
    notes = []
    crowded, total = counts > 1, int(counts.sum())
    if total == 0:
        raise InputError(f"{trains.source}: expected spikes in the trials, got none in {len(trials)}; are times in s?")
    if crowded.any():
        lost = total - int((counts > 0).sum())
        notes.append(
            f"{int(crowded.sum())} bins with two spikes or more of a unit; each counts as one spike "
            f"({lost} of {total} spikes, {lost / total:.2%}, are lost to that)."
        )
        if lost > MANY * total:
            notes.append(
                f"So many are lost that bins of {1e3 * model.dt:g} ms may be too wide, see --dt; or a unit is several "
                "neurons, or the times of many trials are taken for those of one."
            )
    silent = [unit for unit, spikes in zip(trains.units, counts.sum((0, 1)), strict=True) if spikes == 0]
    if silent:
        notes.append(f"No spike, and taken as the silence it is: unit {some(silent)}.")
    empty = [trial.name for trial, spikes in zip(trials, counts.sum((1, 2)), strict=True) if spikes == 0]
    if empty:
        notes.append(f"No spike of any unit: trial {some(empty)}.")
    seconds = sum(trial.bins + model.window_bins for trial in trials) * model.dt
    busiest = counts.sum((0, 1)).max() / seconds
    if busiest < 0.1:
        notes.append(f"No unit fires at more than {busiest:.2g} Hz; are times in s?")
    return notes


def with_burn_in(recording: Recording, model: Model, burn_in: float) -> Recording:
    """Return the recording with the first `burn_in` s of every trial predicted, but not scored.

    Raises
    ------
    InputError
        A trial is not longer.
    """
    bins = round(burn_in / model.dt)
    if bins == 0:
        return recording
    shortest = int(recording.lengths.min())
    if shortest - bins < LEAST:
        raise InputError(
            f"burn_in: expected at most {(shortest - LEAST) * model.dt:g} s, two bins less than the shortest trial, "
            f"got {burn_in:g}"
        )
    return recording.judged_from(bins)


def unit_table(
    trains: SpikeTrains,
    population: np.ndarray,
    counts: np.ndarray,
    recording: Recording,
    trials: Sequence[Trial],
    model: Model,
) -> str:
    """Return a table of the units that are fitted.

    Population, spikes and rate; bins with two spikes or more, and what is lost to that; spikes in refractory bins; and,
    where it is less than all, how much of the time each was observed.
    """
    bins = np.array([trial.bins + model.window_bins for trial in trials])
    inside = np.arange(counts.shape[1]) < bins[:, None]  # (B, A+T)
    refractory = refractory_spikes(recording, model).sum(axis=(0, 2))[recording.is_recorded]
    watched = np.full(len(trains.units), bins.sum())
    if recording.observed is not None:
        seen = np.moveaxis(recording.observed, 2, -1)[:, recording.is_recorded]  # (B, units, A+T)
        watched = (seen & inside[:, None]).sum(axis=(0, 2))
    rows = [["unit", "population", "spikes", "rate (Hz)", "bins with two", "lost", "refractory", "share"]]
    for unit, name in enumerate(for_table(trains.units[:MOST_LINES])):
        each = counts[:, :, unit]
        spikes, lost = int(each.sum()), int(each.sum() - (each > 0).sum())
        rate = spikes / (watched[unit] * model.dt) if watched[unit] else np.nan
        shares = [f"{number / max(spikes, 1):.1%}" for number in (lost, refractory[unit])]
        about = [str(int((each > 1).sum())), shares[0], str(refractory[unit]), shares[1]]
        rows.append([name, model.names[population[unit]], str(spikes), f"{rate:.2f}", *about])
    if recording.observed is not None:
        rows[0].append("observed")
        for row, number in zip(rows[1:], watched, strict=False):
            row.append(f"{number / bins.sum():.1%}")
    more = len(trains.units) - MOST_LINES
    return align(rows) + (f"\nand {more} more units" if more > 0 else "")


def trial_table(trials: Sequence[Trial], counts: np.ndarray, model: Model) -> str:
    """Return a table of the trials: where they start, how long they are, and how many spikes they and windows hold."""
    rows = [["trial", "start (s)", "length (s)", "spikes"]]
    for trial, spikes in zip(trials[:MOST_LINES], counts.sum((1, 2)), strict=False):
        rows.append([trial.name, moment(trial.start), f"{trial.bins * model.dt:.6g}", str(int(spikes))])
    more = len(trials) - MOST_LINES
    return align(rows) + (f"\nand {more} more trials" if more > 0 else "")
