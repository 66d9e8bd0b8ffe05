"""What a fit reads: the options that say it, and the way from a file of any format to a recording on bins."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from src.data.binning import bin_trains, trial_table, unit_table, with_burn_in
from src.data.dataset import load_recording, trains_of_data_set
from src.data.describe import describe_recording
from src.data.options import END, DataOptions
from src.data.read_csv import read_intervals, read_spikes, read_unit_map
from src.data.read_npz import spike_trains_of
from src.data.spike_trains import SpikeTrains, by_population, checked, populations, with_map
from src.data.stimulus import about_gains, with_stimulus
from src.data.trials import Interval, cut_trials
from src.model.containers import Model, Recording
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, looked_for
from src.utils.text import some

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
    return fitted_part(read_trains(options.data, options.population_column, arrays), options, model, apart)


def arrays_of(path: str) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file, None if it is of a format that is no archive."""
    return load_arrays(path) if _kind(path) == "archive" else None


def is_data_set(arrays: Mapping[str, np.ndarray] | None) -> bool:
    """Tell whether the arrays of an archive are those of a data set, with the activity of whole populations."""
    return arrays is not None and ("A_t_pop" in arrays or "sampled_spikes" in arrays)


def read_trains(path: str, population_column: str | None, arrays: dict[str, np.ndarray] | None) -> SpikeTrains:
    """Read spike trains from a file of any format but a data set; `arrays` are what `arrays_of` gives of it.

    Raises
    ------
    InputError
        The file cannot be read or used.
    """
    if arrays is not None:
        trains = spike_trains_of(path, arrays, population_column or "population")
    elif _kind(path) == "nwb":
        from src.data.read_nwb import read_nwb  # only here: it needs packages that nothing else does

        trains = read_nwb(path, population_column)
    else:
        trains = read_spikes(path, population_column or "population")
    if population_column is not None and trains.labels is None:
        raise InputError(f"population_column: expected a column of {path}, got {population_column!r}")
    return checked(trains)


def _kind(path: str) -> str:
    """Return of which format a file is, by how it begins."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}){looked_for(path)}") from None
    if head.startswith(b"\x89HDF") or path.lower().endswith(".nwb"):
        return "nwb"
    return "archive" if head == b"PK\x03\x04" or head.startswith(b"\x80") or path.lower().endswith(".npz") else "csv"


def _data_set(
    options: DataOptions, path: str, end_timepoint: float | None, model: Model
) -> tuple[Recording, list[str]]:
    """Read a data set of simulate_micro.py, or the published one, which know the true activity."""
    for name in ("unit_map", "population_column", "trials", "stimulus", "input_to"):
        if getattr(options, name) is not None:
            raise InputError(f"{name}: goes with spike times in --data, and {path} is a data set of whole populations")
    recording, notes = load_recording(
        path,
        model,
        end_timepoint=end_timepoint,
        trial_length=options.trial_length,
        n_sampled=options.Nsampled,
        with_input=options.with_input,
    )
    recording = with_burn_in(recording, model, options.burn_in)
    return recording, [*describe_recording(recording, model), *notes, *about_gains(recording, model)]


def fitted_part(
    trains: SpikeTrains, options: DataOptions, model: Model, apart: bool = False
) -> tuple[Recording, list[str]]:
    """Bring checked spike trains to populations, trials and bins, as the options say; return as `read_recording`."""
    trains, population, notes = assigned(trains, options, model)
    if options.trial_length is not None and (options.trials is not None or len(trains.stretches) > 1):
        raise InputError("trial_length: expected data without trials, which have lengths of their own")
    intervals, left_out = _intervals(options.trials, trains)
    trials, about_trials = cut_trials(
        trains,
        model,
        intervals=intervals,
        end_timepoint=options.end_timepoint,
        trial_length=options.trial_length,
        burn_in=options.burn_in,
        apart=apart,
    )
    trains, population = by_population(trains, population)
    recording, counts, about_spikes = bin_trains(trains, population, trials, model)
    recording, about_input = with_stimulus(recording, trials, trains, options, model)
    recording = with_burn_in(recording, model, options.burn_in)
    seconds = sum(trial.bins + model.window_bins for trial in trials) * model.dt
    tables = [unit_table(trains, population, counts, seconds, model)]
    if len(trials) > 1:
        tables.append(trial_table(trials, counts, model))
    said = [
        *describe_recording(recording, model),
        *tables,
        *trains.notes,
        *notes,
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
        trains = with_map(trains, read_unit_map(options.unit_map), options.unit_map)
    return trains, *populations(trains, model.names, HOW, options.labels)


def _intervals(trials: str | None, trains: SpikeTrains) -> tuple[list[Interval] | None, list[str]]:
    """Return the intervals that --trials names, and notes."""
    if trials is None:
        return None, []
    if trials in trains.intervals:
        return _whole_rows(trials, trains.intervals[trials])
    if not trials.lower().endswith(".csv") and not Path(trials).exists():
        there = some(list(trains.intervals)) or "none"
        raise InputError(
            f"trials: expected a CSV file, or a table of intervals in {trains.source} (there: {there}), got {trials!r}"
        )
    table, names = read_intervals(trials)
    rows = _stretches_of(trials, names, trains) if len(trains.stretches) > 1 else [0] * len(table)
    labels = names or [str(k + 1) for k in range(len(table))]
    zipped = zip(rows, table, labels, strict=True)
    return [Interval(k, float(start), float(end), name) for k, (start, end), name in zipped], []


def _whole_rows(name: str, table: np.ndarray) -> tuple[list[Interval], list[str]]:
    """Return the intervals of a table, without those that lack a start or an end, as aborted trials do."""
    whole = np.isfinite(table).all(axis=1)
    if not whole.any():
        raise InputError(f"trials: expected at least one interval in {name}, got none with a start and an end")
    intervals = [Interval(0, float(table[k, 0]), float(table[k, 1]), str(k + 1)) for k in np.flatnonzero(whole)]
    missing = [str(k + 1) for k in np.flatnonzero(~whole)]
    return intervals, [f"Without a start or an end, and left out: trial {some(missing)}."] if missing else []


def _stretches_of(path: str, names: Sequence[str] | None, trains: SpikeTrains) -> list[int]:
    """Return the index of the stretch that each interval is in, by its trial's name."""
    if names is None:
        raise InputError(
            f"{path}: expected a column trial, because the times of {trains.source} count from trials' begins"
        )
    known = {stretch.name: k for k, stretch in enumerate(trains.stretches)}
    strangers = [name for name in names if name not in known]
    if strangers:
        raise InputError(
            f"{path}: trial: expected trials of {trains.source} ({some(list(known))}), got {some(strangers)}"
        )
    return [known[name] for name in names]


def read_units(path: str, n_sampled: int, population_column: str | None) -> tuple[SpikeTrains, bool]:
    """Read spike trains from a file of any format.

    Parameters
    ----------
    path : str
    n_sampled : int
        Of a data set, the first so many neurons of each population are the units.
    population_column : str or None
        Of another file: the column that says the populations, if they are known.

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
        return read_trains(path, population_column, arrays), False
    if population_column is not None:
        raise InputError(f"population_column: goes with spike times, and {path} is a data set of whole populations")
    return checked(trains_of_data_set(path, arrays, n_sampled)), True
