"""Spike times from NWB files (Neurodata Without Borders), through pynapple, which is not needed otherwise."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from src.data.spike_trains import UNKNOWN, SpikeTrains, Stretch
from src.utils.exceptions import InputError
from src.utils.text import some

INSTALL_PYNAPPLE = "python -m pip install pynapple"


def read_nwb(path: str | Path, population_column: str | None = None) -> SpikeTrains:
    """Read the units table of an NWB file, and its tables of intervals (trials, epochs, ...).

    Parameters
    ----------
    path : path
    population_column : str or None
        Column of the units table with the population of each unit; None: ``population``, if it is there.

    Raises
    ------
    InputError
        pynapple is missing, the file cannot be read, or has no units or no such column.
    """
    try:
        import pynapple
    except ImportError as error:
        raise InputError(f"{path}: NWB files need pynapple ({error}); install it with: {INSTALL_PYNAPPLE}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of cached schemas and the like, which nobody here can mend
            file = pynapple.load_file(str(path))
            try:
                # The tables as they are in the file: pynapple's own objects keep only one of units that share an id,
                # and move a trial's start by a microsecond where it is the end of the one before.
                return _spike_trains(path, file.nwb, population_column)
            finally:
                file.close()
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file can raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: expected an NWB file, but {reason}") from None


def _spike_trains(path: str | Path, nwb: Any, population_column: str | None) -> SpikeTrains:
    table = nwb.units
    if table is None or "spike_times" not in table.colnames:
        raise InputError(
            f"{path}: expected a units table with spike_times, got {'none' if table is None else 'no times'}"
        )
    names = tuple(str(name) for name in table.id[:])
    times = tuple(np.asarray(table["spike_times"][i], float) for i in range(len(names)))
    begin, end = _span(table, times)
    return SpikeTrains(
        str(path),
        names,
        (Stretch(times, begin, end),),
        _labels(path, table, population_column),
        _intervals(nwb),
    )


def _span(table: Any, times: tuple[np.ndarray, ...]) -> tuple[float, float | None]:
    """Return begin and end of the recording: of what was observed where the table says it, else 0 and unknown."""
    if "obs_intervals" in table.colnames:
        observed = [np.asarray(table["obs_intervals"][i], float).reshape(-1, 2) for i in range(len(times))]
        every = np.concatenate([*observed, np.empty((0, 2))])
        if len(every) and np.isfinite(every).all():
            return float(every[:, 0].min()), float(every[:, 1].max())
    # Times count from the session's reference, and what came before it is negative.
    first = min((float(train.min()) for train in times if len(train)), default=0.0)
    return min(first, 0.0) if np.isfinite(first) else 0.0, None


def _labels(path: str | Path, table: Any, population_column: str | None) -> tuple[str, ...] | None:
    column = population_column or "population"
    if column not in table.colnames:
        if population_column is None:
            return None
        raise InputError(
            f"population_column: expected a column of the units of {path} ({some(table.colnames)}), got {column!r}"
        )
    labels = []
    for value in table[column][:]:
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if isinstance(value, (float, np.floating)) and np.isfinite(value) and value == round(value):
            value = int(value)
        labels.append(UNKNOWN if isinstance(value, float) else str(value).strip() or UNKNOWN)
    return tuple(labels)


def _intervals(nwb: Any) -> dict[str, np.ndarray]:
    """Return all tables of intervals, (n, 2) in s."""
    tables = dict(nwb.intervals or {})
    return {
        str(name): np.stack([np.asarray(table[key][:], float) for key in ("start_time", "stop_time")], axis=-1)
        for name, table in tables.items()
    }
