"""What a fit reads: the options that say it, and the way from a file of any format to a recording on bins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from src.data.binning import bin_trains, trial_table, unit_table, with_burn_in
from src.data.checked import checked
from src.data.dataset import load_recording, trains_of_data_set
from src.data.describe import describe_recording
from src.data.formats import ARCHIVE, NWB, kind_of
from src.data.intervals import named_intervals, stretches_of, used_intervals
from src.data.observed import is_observed
from src.data.options import END, DataOptions, SourceOptions
from src.data.precision import about_precision
from src.data.read_csv import read_observed, read_spikes, read_unit_map
from src.data.read_npz import spike_trains_of
from src.data.spike_trains import SpikeTrains, by_population, populations, with_map
from src.data.stimulus import about_gains, with_stimulus
from src.data.support import about_support, leave_out_refractory
from src.data.time_axis import about_end
from src.data.trials import Trial, cut_trials
from src.model.containers import Model, Recording
from src.utils.exceptions import InputError
from src.utils.files import load_arrays
from src.utils.text import some

OF_SPIKE_TIMES = (
    *("unit_map", "unit_column", "population_column", "trials"),
    *("invalid_times", "observed", "ticks_per_second", "stimulus", "input_to"),
)
"""Options that a data set of whole populations has no use for."""
HOW = "give a column by --population_column, or a CSV file with the columns unit and population by --unit_map"


def read_recording(options: DataOptions, model: Model, apart: bool = False) -> tuple[Recording, list[str]]:
    """Read what is to be fitted.

    Parameters
    ----------
    options : DataOptions
    model : Model
        Gives the bins, the window and the populations.
    apart : bool
        Whether trials must not overlap.

    Returns
    -------
    Recording
    lines : list of str
        What was read, and what the user should know about it.

    Raises
    ------
    InputError
        A file cannot be read or used, or options do not go together.
    """
    if options.data is None:
        return _data_set(
            options, options.dataset, END if options.end_timepoint is None else options.end_timepoint, model
        )
    arrays = arrays_of(options.data)
    if is_data_set(arrays):
        return _data_set(options, options.data, options.end_timepoint, model)
    return fitted_part(read_trains(options.data, options, arrays), options, model, apart)


def arrays_of(path: str) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file, None if it is of a format that is no archive."""
    return load_arrays(path) if kind_of(path) == ARCHIVE else None


def is_data_set(arrays: Mapping[str, np.ndarray] | None) -> bool:
    """Tell whether the arrays of an archive are those of a data set, with the activity of whole populations."""
    return arrays is not None and ("A_t_pop" in arrays or "sampled_spikes" in arrays)


def read_trains(path: str, options: SourceOptions, arrays: dict[str, np.ndarray] | None) -> SpikeTrains:
    """Read spike trains from a file of any format but a data set; `arrays` are what `arrays_of` gives of it.

    Raises
    ------
    InputError
        The file cannot be read or used.
    """
    column, names, ticks = options.population_column, options.unit_column, options.ticks_per_second
    if arrays is not None:
        trains = spike_trains_of(path, arrays, column or "population", names)
    elif kind_of(path) == NWB:
        from src.data.read_nwb import read_nwb  # only here: it needs a library that nothing else does

        trains = read_nwb(path, column, names)
    else:
        trains = read_spikes(path, column or "population", names, ticks is not None)
    if column is not None and trains.labels is None:
        raise InputError(f"population_column: expected a column of {path}, got {column!r}")
    return usable(trains, options)


def usable(trains: SpikeTrains, options: SourceOptions) -> SpikeTrains:
    """Return spike trains as the options say that they are to be understood, checked."""
    scale = options.ticks_per_second or 1.0
    tables = {name: table / scale for name, table in trains.intervals.items()}
    earliest, invalid, invalid_of, observed = np.inf, None, None, None
    if options.trials is not None:
        starts = named_intervals("trials", options.trials, tables, trains.source).table[:, 0]
        earliest = float(starts[np.isfinite(starts)].min(initial=np.inf))
    if options.invalid_times is not None:
        named = named_intervals("invalid_times", options.invalid_times, tables, trains.source)
        invalid = named.table
        if named.trials is not None and len(trains.stretches) > 1:
            invalid_of = stretches_of(options.invalid_times, named.trials, trains)
    elif "invalid_times" in tables:
        invalid = tables["invalid_times"]
    if options.observed is not None:
        observed, notes = read_observed(options.observed)
        trains = replace(trains, notes=(*trains.notes, *notes))
    return checked(
        trains,
        ticks=options.ticks_per_second,
        start=options.start_timepoint,
        earliest=earliest,
        observed=observed,
        invalid=invalid,
        invalid_of=invalid_of,
    )


def _data_set(
    options: DataOptions, path: str, end_timepoint: float | None, model: Model
) -> tuple[Recording, list[str]]:
    """Read a data set of simulate_micro.py, or the published one, which know the true activity."""
    for name in OF_SPIKE_TIMES:
        if getattr(options, name, None) is not None:
            raise InputError(f"{name}: goes with spike times in --data, and {path} is a data set of whole populations")
    recording, notes = load_recording(
        path,
        model,
        start_timepoint=options.start_timepoint,
        end_timepoint=end_timepoint,
        trial_length=options.trial_length,
        n_sampled=options.Nsampled,
        with_input=options.with_input,
    )
    recording = with_burn_in(recording, model, options.burn_in)
    recording = leave_out_refractory(recording, model) if options.leave_out_refractory_spikes else recording
    return recording, [*describe_recording(recording, model), *notes, *about_gains(recording, model)]


def fitted_part(
    trains: SpikeTrains, options: DataOptions, model: Model, apart: bool = False
) -> tuple[Recording, list[str]]:
    """Bring checked spike trains to populations, trials and bins, as the options say; return as `read_recording`."""
    trains, population, notes = assigned(trains, options, model)
    notes = [*trains.notes, *notes]
    if options.trial_length is not None and (options.trials is not None or len(trains.stretches) > 1):
        raise InputError("trial_length: expected data without trials, which have lengths of their own")
    intervals, left_out = None, list[str]()
    if options.trials is not None:
        intervals, left_out = used_intervals(options.trials, trains)
    trials, about_trials = cut_trials(
        trains,
        model,
        intervals=intervals,
        end_timepoint=options.end_timepoint,
        trial_length=options.trial_length,
        burn_in=options.burn_in,
        apart=apart,
    )
    if options.trials is not None:
        about_trials += about_end(trains, [(t.stretch, t.start + t.bins * model.dt, t.name) for t in trials])
    population, never = _watched(trains, population, trials, model)
    trains, population = by_population(trains, population)
    recording, counts, about_spikes = bin_trains(trains, population, trials, model)
    recording, about_input = with_stimulus(recording, trials, trains, options, model)
    recording = with_burn_in(recording, model, options.burn_in)
    about_spikes += about_precision(trains, model)
    about_spikes += about_support(trains, trials, recording, model, options.leave_out_refractory_spikes)
    recording = leave_out_refractory(recording, model) if options.leave_out_refractory_spikes else recording
    tables = [unit_table(trains, population, counts, recording, trials, model)]
    if len(trials) > 1:
        tables.append(trial_table(trials, counts, model))
    said = [
        *describe_recording(recording, model),
        *tables,
        *notes,
        *never,
        *left_out,
        *about_trials,
        *about_spikes,
        *about_input,
        *about_gains(recording, model),
    ]
    if options.trials is None and trains.intervals:
        tables_there = ", ".join(f"{name} ({len(table)})" for name, table in trains.intervals.items())
        said.append(f"Tables of intervals that --trials could name: {tables_there}.")
    return recording, said


def assigned(trains: SpikeTrains, options: DataOptions, model: Model) -> tuple[SpikeTrains, np.ndarray, list[str]]:
    """Return checked spike trains with their labels, the population of each unit, (units,), -1 for none, and notes."""
    if options.unit_map is not None:
        unit_map, notes = read_unit_map(options.unit_map, options.unit_column)
        trains = with_map(replace(trains, notes=(*trains.notes, *notes)), unit_map, options.unit_map)
    return trains, *populations(trains, model.names, HOW, options.labels)


def _watched(
    trains: SpikeTrains, population: np.ndarray, trials: Sequence[Trial], model: Model
) -> tuple[np.ndarray, list[str]]:
    """Return the population of each unit, -1 also for those that were not watched in any trial, and notes."""
    never = [
        unit
        for unit in np.flatnonzero(population >= 0).tolist()
        if not any(
            is_observed(trains.stretches[trial.stretch], trial.start, trial.start + trial.bins * model.dt, unit)
            for trial in trials
        )
    ]
    if not never:
        return population, []
    population = population.copy()
    population[never] = -1
    if (population < 0).all():
        raise InputError(f"{trains.source}: expected units that were observed in the trials, got none")
    return population, [
        f"Never observed in what is fitted, and left out: unit {some([trains.units[i] for i in never])}."
    ]


def read_units(path: str, n_sampled: int, options: SourceOptions) -> tuple[SpikeTrains, bool]:
    """Read spike trains from a file of any format.

    Parameters
    ----------
    path : str
    n_sampled : int
        Of a data set, the first so many neurons of each population are the units.
    options : SourceOptions
        Of which a data set knows begin and end alone.

    Returns
    -------
    trains : SpikeTrains
    is_data_set : bool
        Whether it is a data set of whole populations; then the labels are their numbers.

    Raises
    ------
    InputError
        The file cannot be read or used.
    """
    arrays = arrays_of(path)
    if arrays is None or not is_data_set(arrays):
        return read_trains(path, options, arrays), False
    for name in OF_SPIKE_TIMES[1:]:
        if getattr(options, name, None) is not None:
            raise InputError(f"{name}: goes with spike times, and {path} is a data set of whole populations")
    return usable(trains_of_data_set(path, arrays, n_sampled), options), True
