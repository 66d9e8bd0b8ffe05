"""A known stimulus from a CSV file, a NumPy archive or an NWB file; see ``docs/data.md``."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from src.data.csv_table import called, columns_of, read_table
from src.data.read_npz import as_list
from src.data.read_series import is_nwb, series_of_nwb, stimulus_of_nwb
from src.data.samples import Stimulus, samples_of
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, looked_for
from src.utils.text import some

KEYS = {"stimulus": "stimulus", "external_input": "input"}
"""What an archive can call a stimulus, and how the names of what goes with it begin."""


# --- CSV --------------------------------------------------------------------------------------------------------------


def stimulus_of_csv(path: str | Path) -> Stimulus:
    """Read a CSV file: ``time`` in s, and a column for each population, or one for several; optionally ``trial``.

    Raises
    ------
    InputError
        The file cannot be read, a column is missing or stands twice, or a field is not a number.
    """
    header = columns_of(path, "time")
    if not header:
        raise InputError(f"{path}: expected a header with time and one column or more, got an empty file")
    time_columns, trial_columns = called(header, "time"), called(header, "trial")
    names = tuple(name for name in header if name not in (*time_columns, *trial_columns))
    if not time_columns or not names:
        raise InputError(f"{path}: expected a header with time and one column or more, got {','.join(header)!r}")
    lower = [name.lower() for name in names]
    twice = [name for name in names if lower.count(name.lower()) > 1]
    if twice:
        raise InputError(f"{path}: expected each column once, got {twice[0]!r} twice")
    table = read_table(path, ["time"], ["trial", *names])
    time, values = table.numbers("time"), np.stack([table.numbers(name, ticks=True) for name in names], axis=-1)
    if table.bad:  # a sample that is left out would be filled by the one before
        raise InputError(f"{path}, {table.bad[min(table.bad)]}")
    trials = np.array(table.columns["trial"] if "trial" in table else [""] * len(time))
    by_trial = {}
    for name in dict.fromkeys(trials.tolist()):
        where = f"{path}, trial {name}" if name else str(path)
        by_trial[name] = samples_of(where, time[trials == name], values[trials == name])
    if not by_trial:
        raise InputError(f"{path}: expected two samples or more, got none")
    return Stimulus(str(path), names, by_trial)


# --- NumPy archives ---------------------------------------------------------------------------------------------------


def stimulus_of_archive(path: str | Path, arrays: Mapping[str, np.ndarray], ticks: float = 1.0) -> Stimulus | None:
    """Return the stimulus in the arrays of an archive; None if there is none.

    It is ``stimulus`` (n,) or (n, c), with ``stimulus_time`` (n,) or ``stimulus_dt`` (and ``stimulus_begin``), in s;
    and ``stimulus_population`` (c,), names. Or ``external_input``, ``input_time``, ``input_dt``, ... Without
    ``stimulus_begin``, it begins with the recording, at ``begin``, of which `ticks` are a second. Lists may be columns
    or rows, (n, 1) or (1, n).

    Raises
    ------
    InputError
        An array has a wrong shape or value, or nothing says the times.
    """
    there = [key for key in KEYS if key in arrays]
    if not there:
        return None
    key, where = there[0], f"{path}: {there[0]}"
    arrays = {name: value if name == "spikes" else as_list(value) for name, value in arrays.items()}
    prefix, values = KEYS[key], arrays[key]
    time, dt = (arrays.get(f"{prefix}_{what}") for what in ("time", "dt"))
    if time is None and dt is None and "spikes" in arrays and values.shape[:1] == arrays["spikes"].shape[:1]:
        dt = arrays.get("dt")  # a sample for each bin of the spikes
    if (time is None) == (dt is None):
        came = "neither" if time is None else "both"
        raise InputError(f"{where}: expected {prefix}_time (samples,) or {prefix}_dt, in s, got {came}")
    if dt is not None:
        begin = arrays.get(f"{prefix}_begin", arrays.get("begin", np.array(0.0)))
        per_second = 1.0 if f"{prefix}_begin" in arrays else ticks
        for name, value in ((f"{prefix}_dt", dt), (f"{prefix}_begin", begin)):
            if value.shape != () or value.dtype.kind not in "iuf" or not np.isfinite(value):
                raise InputError(f"{path}: {name}: expected one finite number in s, got {value.tolist()!r}")
        if not dt > 0:
            raise InputError(f"{path}: {prefix}_dt: expected a positive number in s, got {dt}")
        time = float(begin) / per_second + float(dt) * np.arange(len(values) if values.ndim else 0)
    assert time is not None
    samples = samples_of(where, time, values)
    names = arrays.get(f"{prefix}_population")
    columns = None if names is None else tuple(str(name).strip() for name in np.atleast_1d(names))
    if columns is not None and len(columns) != samples.values.shape[1]:
        raise InputError(f"{path}: {prefix}_population: expected {samples.values.shape[1]} names, got {len(columns)}")
    return Stimulus(where, columns, {"": samples})


# --- any of them ------------------------------------------------------------------------------------------------------


def read_stimulus(name: str | None, data: str, ticks: float = 1.0) -> Stimulus | None:
    """Read a stimulus.

    Parameters
    ----------
    name : str or None
        A file, or a series of the data; None: what an archive of spikes holds besides.
    data : str
        File of the recording.
    ticks : float
        How many units of the times of the spikes are a second.

    Returns
    -------
    Stimulus or None
        None if none was named and there is none.

    Raises
    ------
    InputError
        There is none of that name, or it cannot be used.
    """
    if name is None:
        return stimulus_of_archive(data, load_arrays(data), ticks) if _holds_stimulus(data) else None
    if is_nwb(data):
        found = stimulus_of_nwb(data, name)
        if found is not None:
            return found
    elif _is_archive(data) and name in KEYS:
        arrays = load_arrays(data)
        arrays = {key: arrays[key] for key in arrays if key == name or key not in KEYS}
        return stimulus_of_archive(data, arrays, ticks)
    if not Path(name).is_file():
        raise InputError(f"stimulus: {_expected(data)}, got {name!r}{looked_for(name)}")
    if _is_archive(name):
        found = stimulus_of_archive(name, load_arrays(name))
        if found is None:
            raise InputError(f"{name}: expected the array {' or '.join(KEYS)}, found none of them")
        return found
    if is_nwb(name):
        raise InputError(f"stimulus: expected the name of a series, got a file; there are {_listed(name)}")
    return stimulus_of_csv(name)


def _expected(data: str) -> str:
    if is_nwb(data):
        return f"expected a file, or a TimeSeries of {data} (there: {_listed(data)})"
    return "expected a CSV file or a NumPy archive"


def _listed(path: str) -> str:
    return some(series_of_nwb(path)) or "none"


def _is_archive(path: str) -> bool:
    return Path(path).is_file() and zipfile.is_zipfile(path)


def _holds_stimulus(path: str) -> bool:
    """Tell whether an archive holds one, without reading its arrays."""
    if not _is_archive(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(f"{key}.npy" in archive.namelist() for key in KEYS)
