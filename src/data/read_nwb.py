"""Spike times from NWB files (Neurodata Without Borders), which are HDF5: the tables as they stand in the file.

They are read by h5py alone, which comes with Keras. (The objects of pynapple keep only one of several units with equal
ids, and move the start of a trial by a microsecond where it is the end of the one before. Pynwb builds no object from a
file in which anything at all is malformed.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from src.data.observed import ALWAYS, union
from src.data.spike_trains import UNKNOWN, SpikeTrains, Stretch
from src.utils.exceptions import InputError
from src.utils.text import some

MOST_LABELS = 1000
"""Units of which other columns are read as text, to say what they are called there."""


def read_nwb(path: str | Path, population_column: str | None = None, unit_column: str | None = None) -> SpikeTrains:
    """Read the units table of an NWB file, and its tables of intervals (trials, epochs, ...).

    Parameters
    ----------
    path : path
    population_column : str or None
        Column of the units table with the population of each unit; None: ``population``, if it is there.
    unit_column : str or None
        Column with the name of each unit; None: ``id``.

    Raises
    ------
    InputError
        The file cannot be read, or has no units or no such column.
    """
    with opened(path) as file:
        table, notes = _units_table(path, file)
        times = _ragged(path, table, "spike_times")
        if lost := table["spike_times"].size - sum(map(len, times)):
            notes.append(f"{path}: {lost} spike times behind the last that spike_times_index names are left out.")
        names = _names(path, table, unit_column, len(times))
        begin, end, observed, about_gaps = _observed(path, table, names)
        first = min((float(train.min()) for train in times if len(train)), default=0.0)
        if begin is None and first < 0:
            begin = first  # times count from the session's reference, and what came before it is negative
        return SpikeTrains(
            str(path),
            names,
            (Stretch(times, begin, end, observed=observed),),
            _labels(path, table, population_column, len(times)),
            _intervals(path, file),
            notes=(*notes, *about_gaps),
            columns=_columns(table, len(times)) if len(times) <= MOST_LABELS else {},
        )


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Open an NWB file to read; what goes wrong inside is said in one line.

    Raises
    ------
    InputError
        The file is damaged, or packed in a way that h5py does not know.
    """
    import h5py  # it takes a moment to load

    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file can raise nearly anything
        what = str(error).lower()
        reason = "is damaged, or no NWB file"
        if "truncated" in what:
            reason = "is truncated: its download or copy broke off"
        elif "lock" in what:
            reason = "is open in another program, which must close it first"
        elif "filter" in what or "plugin" in what:
            reason = "is packed by a filter that h5py lacks; the package hdf5plugin may have it"
        raise InputError(f"{path}: expected an NWB file that can be read, got one that {reason}") from None


def _units_table(path: str | Path, file: Any) -> tuple[Any, list[str]]:
    """Return the table of units, wherever it lies, and notes."""
    import h5py

    there = file.get("units")
    if isinstance(there, h5py.Group) and "spike_times" in there:
        return there, []
    found: list[str] = []

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and "spike_times" in item and not name.startswith("specifications"):
            found.append(name)

    file.visititems(look)
    if len(found) == 1:
        return file[found[0]], [f"{path}: the units are taken from {found[0]}."]
    if found:
        raise InputError(f"{path}: expected one table of units with spike_times, got {some(found)}")
    if there is None:
        inside = some(sorted(file)) or "nothing"
        raise InputError(f"{path}: expected a units table with spike_times, got none; the file holds {inside}")
    raise InputError(f"{path}: expected a units table with spike_times, got {some(sorted(there)) or 'an empty one'}")


def _ragged(path: str | Path, table: Any, name: str) -> tuple[np.ndarray, ...]:
    """Return a column of lists, one array a row of the table."""
    values = np.asarray(table[name][()])
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path}: units: {name}: expected numbers, got {_kind(values)}")
    values = values.astype(float)
    if f"{name}_index" not in table:
        rows = len(table["id"]) if "id" in table else 1
        if rows == 1 or (name == "obs_intervals" and values.ndim == 3):
            return tuple(values[None] if rows == 1 else values)
        raise InputError(
            f"{path}: units: expected {name}_index, which says which of the {len(values)} {name} are of which of the "
            f"{rows} units, got none"
        )
    ends = np.asarray(table[f"{name}_index"][()]).astype(np.int64)
    if ends.ndim != 1 or (np.diff(ends, prepend=0) < 0).any() or (len(ends) and ends[-1] > len(values)):
        raise InputError(f"{path}: units: {name}_index: expected rising numbers up to {len(values)}, got others")
    return tuple(np.split(values, ends)[:-1])


def _names(path: str | Path, table: Any, unit_column: str | None, number: int) -> tuple[str, ...]:
    """Return the name of each unit."""
    column = unit_column or "id"
    if column not in table:
        if unit_column is None:
            return tuple(str(unit) for unit in range(number))
        raise InputError(f"unit_column: expected a column of the units of {path} ({_known(table)}), got {column!r}")
    names = texts(table, column)
    if names is None:
        raise InputError(f"unit_column: expected a column of names in the units of {path}, got lists in {column!r}")
    if len(names) != number:
        raise InputError(f"{path}: units: {column}: expected {number} names, one a unit, got {len(names)}")
    return names


def _observed(
    path: str | Path, table: Any, names: tuple[str, ...]
) -> tuple[float | None, float | None, tuple[np.ndarray, ...] | None, list[str]]:
    """Return begin, end, and when each unit was watched, where the table says it, with notes."""
    if "obs_intervals" not in table:
        return None, None, None, []
    every, notes, broken, unknown = [], [], [], []
    lists = _ragged(path, table, "obs_intervals")
    if len(lists) != len(names):
        raise InputError(f"{path}: units: obs_intervals: expected {len(names)} lists, one a unit, got {len(lists)}")
    for name, intervals in zip(names, lists, strict=True):
        intervals = intervals.reshape(-1, 2)
        good = np.isfinite(intervals).all(axis=1) & (intervals[:, 0] < intervals[:, 1])
        broken += [name] if not good.all() else []
        unknown += [name] if not good.any() else []
        every.append(union(intervals[good]))
    if broken:
        notes.append(f"obs_intervals without a start before an end, and ignored: of unit {some(broken)}.")
    known = np.concatenate([*every, np.empty((0, 2))])
    if not len(known):
        return None, None, None, notes
    if unknown:
        notes.append(f"No obs_intervals, and taken as observed throughout: unit {some(unknown)}.")
    begin, end = float(known[:, 0].min()), float(known[:, 1].max())
    when = tuple(each if len(each) else ALWAYS for each in every)
    whole = all(len(each) == 1 and each[0, 0] <= begin and each[0, 1] >= end for each in when)
    return begin, end, None if whole else when, notes


def _labels(path: str | Path, table: Any, population_column: str | None, number: int) -> tuple[str, ...] | None:
    column = population_column or "population"
    if column not in table:
        if population_column is None:
            return None
        raise InputError(
            f"population_column: expected a column of the units of {path} ({_known(table)}), got {column!r}"
        )
    labels = texts(table, column)
    if labels is None:
        raise InputError(
            f"population_column: expected a column of names in the units of {path}, got lists of numbers in {column!r}"
        )
    if len(labels) != number:
        raise InputError(f"{path}: units: {column}: expected {number} labels, one a unit, got {len(labels)}")
    return tuple(label or UNKNOWN for label in labels)


def _known(table: Any) -> str:
    return some(sorted(name for name in table if not name.endswith("_index")), 20)


def _columns(table: Any, number: int) -> dict[str, tuple[str, ...]]:
    """Return the columns of names."""
    found = {name: texts(table, name) for name in table if not name.endswith("_index") and name != "spike_times"}
    return {name: values for name, values in found.items() if values is not None and len(values) == number}


def texts(table: Any, column: str) -> tuple[str, ...] | None:
    """Return a column of a table as text, one name a row; None if it holds anything else.

    References to other objects of the file are shown by the names of these, rows of other tables by their numbers,
    enumerated values by their names, and several of a row one after another.
    """
    data = table[column]
    if data.ndim != 1 and data.shape[1:] != (1,):
        return None
    values = [_text(table, value) for value in np.asarray(data[()]).reshape(len(data))]
    if data.attrs.get("elements"):  # numbers that stand for the rows of another list
        names = [_text(table, value) for value in table.file[data.attrs["elements"]][()]]
        values = [names[int(value)] for value in values]
    if f"{column}_index" not in table:
        return tuple(values)
    if data.dtype.kind == "f":
        return None
    ends = np.asarray(table[f"{column}_index"][()]).astype(np.int64)
    if ends.ndim != 1:
        return None
    return tuple(", ".join(values[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True))


def _text(table: Any, value: Any) -> str:
    """Return one entry as text; nothing for NaN."""
    import h5py

    if isinstance(value, h5py.Reference):
        return str(table.file[value].name).rsplit("/", 1)[-1] if value else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, (float, np.floating)):
        if not np.isfinite(value):
            return ""
        return str(int(value)) if value == round(value) else str(value)
    return str(value).strip()


def _kind(values: np.ndarray) -> str:
    return "text or objects" if values.dtype.kind in "OSU" else str(values.dtype)


def _intervals(path: str | Path, file: Any) -> dict[str, np.ndarray]:
    """Return all tables of intervals, (n, 2) in s, by their names, but those of anything else than numbers.

    Raises
    ------
    InputError
        Invalid times, which nobody need ask for, are such a table.
    """
    import h5py

    found: dict[str, np.ndarray] = {}

    def look(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Group) or not {"start_time", "stop_time"} <= set(item):
            return
        columns = [np.asarray(item[key][()]) for key in ("start_time", "stop_time")]
        if all(each.ndim == 1 and each.dtype.kind in "iuf" and len(each) == len(columns[0]) for each in columns):
            found.setdefault(name.rsplit("/", 1)[-1], np.stack(columns, axis=-1).astype(float))
        elif name.endswith("invalid_times"):
            raise InputError(f"{path}: {name}: expected a start_time and a stop_time in s for each row, got others")

    file.visititems(look)
    return found
