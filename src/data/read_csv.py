"""Spike times, intervals, and which population a unit is of, from tables of text; see ``docs/data.md``."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.data.csv_table import Table, read_table, short
from src.data.spike_trains import UNKNOWN, SpikeTrains, Stretch, natural_order
from src.utils.exceptions import InputError
from src.utils.text import moment, some


def read_spikes(
    path: str | Path, population_column: str = "population", unit_column: str | None = None, ticks: bool = False
) -> SpikeTrains:
    """Read spike times: columns ``time`` and ``unit``; optional ``trial`` and `population_column`.

    With a column ``trial``, every trial is a stretch of its own, and times count from where it begins.

    Parameters
    ----------
    path : path
    population_column, unit_column : str
        Names of columns.
    ticks : bool
        Whether times are to be returned as they are, whatever unit the header says.

    Raises
    ------
    InputError
        The file cannot be read, no row can be used, or a unit has two populations.
    """
    column = population_column.lower()
    called = {"unit": unit_column} if unit_column else {}
    table = read_table(path, ("time", "unit"), ("trial", column), called)
    times = table.numbers("time", ticks)
    for name in ("unit", *(("trial",) if "trial" in table else ())):
        table.need(name)
        _one_name_each(table, name)
    rows = table.good("spikes")
    unit = [table.columns["unit"][row] for row in rows]
    trial = [table.columns["trial"][row] for row in rows] if "trial" in table else None
    units = sorted(set(unit), key=natural_order)
    labels = _labels(table, rows, units, column) if column in table else None
    stretches = sort_into_trains(times[rows], unit, units, trial)
    return SpikeTrains(str(path), tuple(units), stretches, labels, lists_units=False, notes=tuple(table.notes))


def sort_into_trains(
    times: np.ndarray, unit: Sequence[str], units: Sequence[str], trial: Sequence[str] | None = None
) -> tuple[Stretch, ...]:
    """Sort spikes into the trains of `units`, one stretch for each trial that occurs; `times` in s and `unit` (n,)."""
    names = [""] if trial is None else sorted(set(trial), key=natural_order)
    place, row = {name: i for i, name in enumerate(units)}, {name: i for i, name in enumerate(names)}
    train = np.array([place[name] for name in unit], int)
    if trial is not None:
        train += len(units) * np.array([row[name] for name in trial], int)
    in_order = np.argsort(train, kind="stable")  # those of one train stay in the order of the file
    ends = np.searchsorted(train[in_order], np.arange(1, len(units) * len(names)))
    trains = np.split(times[in_order], ends) if len(units) else []
    return tuple(
        Stretch(tuple(trains[k * len(units) : (k + 1) * len(units)]), None, name=name) for k, name in enumerate(names)
    )


def _one_name_each(table: Table, name: str) -> None:
    """Take 1.0 for 1 where a column has both, as a table that was put together from several does, and note it."""
    names = set(table.columns[name])
    whole = {each: each.partition(".")[0] for each in names if re.fullmatch(r"\d+\.0+", each)}
    taken = {each: number for each, number in whole.items() if number in names}
    if taken:
        table.columns[name] = [taken.get(each, each) for each in table.columns[name]]
        shown = some([f"{each} for {taken[each]}" for each in sorted(taken, key=natural_order)])
        table.notes.append(f"{table.path}: {name}: names of one {name} are taken for the same: {shown}.")


def _labels(table: Table, rows: np.ndarray, units: Sequence[str], column: str) -> tuple[str, ...]:
    labels: dict[str, str] = {}
    for row in rows:
        unit, label = table.columns["unit"][row], table.columns[column][row]
        if labels.setdefault(unit, label) != label:
            raise InputError(
                f"{table.path}, line {table.lines[row]}: {column}: expected {labels[unit]!r} for unit {short(unit)} as "
                f"before, got {short(label)!r}"
            )
    return tuple(labels[unit] or UNKNOWN for unit in units)


def read_intervals(path: str | Path) -> tuple[np.ndarray, list[str] | None, list[str], list[str]]:
    """Read intervals: columns ``start`` and ``end`` in s; optional ``trial``, the name of a trial of the spike times.

    Returns
    -------
    intervals : array, (n, 2), s
    trials : list of str or None
    rows : list of str
        Number of each interval, counted from 1 over all rows.
    notes : list of str
        Which rows cannot be used, and why.

    Raises
    ------
    InputError
        The file cannot be read, or holds no interval that ends after its start.
    """
    table = read_table(path, ("start", "end"), ("trial",))
    intervals, rows = _intervals_of(table)
    trials = [table.columns["trial"][row] for row in rows] if "trial" in table else None
    return intervals, trials, [str(row + 1) for row in rows], table.notes


def read_observed(path: str | Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read when each unit was watched: columns ``unit``, ``start`` and ``end`` in s.

    Returns
    -------
    observed : dict of str to array, (n, 2), s
        By unit.
    notes : list of str

    Raises
    ------
    InputError
        The file cannot be read, or holds no interval that ends after its start.
    """
    table = read_table(path, ("unit", "start", "end"))
    table.need("unit")
    intervals, rows = _intervals_of(table)
    units = np.array([table.columns["unit"][row] for row in rows])
    lost = [unit for unit in dict.fromkeys(table.columns["unit"]) if unit and unit not in units]
    if lost:
        table.notes.append(
            f"{path}: no interval that can be used, and taken as observed throughout: unit {some(lost)}."
        )
    return {str(unit): intervals[units == unit] for unit in dict.fromkeys(units)}, table.notes


def _intervals_of(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the intervals of a table, (n, 2) in s, and the places of their rows."""
    if not table.lines:
        raise InputError(f"{table.path}: expected at least one interval, got none")
    intervals = np.stack([table.numbers(name) for name in ("start", "end")], axis=-1)
    for row, (start, end) in enumerate(intervals):
        if end <= start:
            table.refuse(row, f"expected a start before an end, got {moment(start)} to {moment(end)} s")
    rows = table.good("intervals")
    return intervals[rows], rows


def read_unit_map(path: str | Path, unit_column: str | None = None) -> tuple[dict[str, str], list[str]]:
    """Read which population each unit is of: columns ``unit`` and ``population``, which may be empty.

    Returns
    -------
    unit_map : dict of str to str
    notes : list of str

    Raises
    ------
    InputError
        The file cannot be read, or a unit stands twice.
    """
    named = unit_column is not None and unit_column in read_table(path, ("population",), (unit_column,))
    table = read_table(path, ("unit", "population"), (), {"unit": unit_column or ""} if named else {})
    table.need("unit")
    unit_map: dict[str, str] = {}
    for row in table.good("units"):
        unit, label = table.columns["unit"][row], table.columns["population"][row]
        if unit_map.get(unit, label) != label:
            raise InputError(
                f"{path}, line {table.lines[row]}: expected every unit once, got {short(unit)} again, of another "
                "population"
            )
        unit_map[unit] = label or UNKNOWN
    if not unit_map:
        raise InputError(f"{path}: expected at least one unit, got none")
    return unit_map, table.notes
