"""Comma-separated values: spike times, intervals of trials, and which population a unit is of; see ``docs/data.md``."""

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.data.spike_trains import UNKNOWN, SpikeTrains, Stretch, natural_order
from src.utils.exceptions import InputError
from src.utils.files import looked_for

Rows = list[tuple[int, list[str]]]  # line number, fields


def read_table(path: str | Path, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, list[str]]:
    """Read the columns of a CSV file with a header, as text; other columns are ignored.

    Parameters
    ----------
    path : path
    needed, optional : sequence of str
        Names of columns. A unit may stand behind a name in brackets: ``time (s)``.

    Returns
    -------
    dict
        The columns that are there, and ``line``, the number of each line.

    Raises
    ------
    InputError
        The file cannot be read, a column is missing or stands twice, or a line has too few fields or too many.
    """
    rows = _rows(path)
    if not rows:
        raise InputError(f"{path}: expected a header with {', '.join(needed)}, got an empty file")
    header = [_column(path, name) for name in rows[0][1]]
    for name in (*needed, *optional):
        if header.count(name) > 1:
            raise InputError(f"{path}: expected one column {name}, got {header.count(name)}")
        if name in needed and name not in header:
            raise InputError(
                f"{path}: expected a header with {', '.join(needed)}, got {_short(','.join(rows[0][1]))!r}"
            )
    for line, fields in rows[1:]:
        if len(fields) != len(header):
            raise InputError(f"{path}, line {line}: expected {len(header)} fields, got {len(fields)}")
    columns = {
        name: [fields[header.index(name)].strip() for _, fields in rows[1:]]
        for name in (*needed, *optional)
        if name in header
    }
    return {**columns, "line": [str(line) for line, _ in rows[1:]]}


def _rows(path: str | Path) -> Rows:
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}){looked_for(path)}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected text in UTF-8, got something else") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: Rows = []
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append((reader.line_num, fields))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: expected comma-separated values, but {error}") from None
    return rows


def _column(path: str | Path, name: str) -> str:
    """Return the name of a column without its unit, which for times must be s."""
    match = re.fullmatch(r"\s*(.*?)\s*(?:[(\[]\s*(.*?)\s*[)\]])?\s*", name, re.DOTALL)
    assert match is not None  # it matches anything
    column, unit = match[1].lower(), match[2]
    if column in ("time", "start", "end") and unit not in (None, "s"):
        raise InputError(f"{path}: {column}: expected times in s, got {_short(unit)!r}")
    return column


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _numbers(path: str | Path, name: str, table: dict[str, list[str]]) -> np.ndarray:
    """Return a column as finite numbers."""
    values = []
    for line, text in zip(table["line"], table[name], strict=True):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{path}, line {line}: {name}: expected a finite number in s, got {_short(text)!r}")
        values.append(value)
    return np.array(values, float)


def _check_filled(path: str | Path, name: str, table: dict[str, list[str]]) -> None:
    for line, text in zip(table["line"], table[name], strict=True):
        if not text:
            raise InputError(f"{path}, line {line}: {name}: expected a name, got nothing")


def read_spikes(path: str | Path, population_column: str = "population") -> SpikeTrains:
    """Read spike times: columns ``time`` in s and ``unit``; optional ``trial`` and `population_column`.

    With a column ``trial``, every trial is a stretch of its own, and times count from where it begins.

    Raises
    ------
    InputError
        The file cannot be read, a time is not a number, or a unit has two populations.
    """
    column = population_column.lower()
    table = read_table(path, ("time", "unit"), ("trial", column))
    times = _numbers(path, "time", table)
    early = np.flatnonzero(times < 0)
    if len(early):
        line, time = table["line"][early[0]], table["time"][early[0]]
        raise InputError(f"{path}, line {line}: time: expected at least 0 s, where the recording begins, got {time}")
    for name in ("unit", *(("trial",) if "trial" in table else ())):
        _check_filled(path, name, table)
    units = sorted(set(table["unit"]), key=natural_order)
    labels = _labels(path, units, table, column) if column in table else None
    stretches = sort_into_trains(times, table["unit"], units, table.get("trial"))
    _check_times_of_trials(path, stretches)
    return SpikeTrains(str(path), tuple(units), stretches, labels, lists_units=False)


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
        Stretch(tuple(trains[k * len(units) : (k + 1) * len(units)]), name=name) for k, name in enumerate(names)
    )


def _labels(path: str | Path, units: Sequence[str], table: dict[str, list[str]], column: str) -> tuple[str, ...]:
    labels: dict[str, str] = {}
    for line, unit, label in zip(table["line"], table["unit"], table[column], strict=True):
        if labels.setdefault(unit, label) != label:
            raise InputError(
                f"{path}, line {line}: {column}: expected {labels[unit]!r} for unit {_short(unit)} as before, got "
                f"{_short(label)!r}"
            )
    return tuple(labels[unit] or UNKNOWN for unit in units)


def _check_times_of_trials(path: str | Path, stretches: Sequence[Stretch]) -> None:
    """Refuse times that go on from one trial to the next."""
    every = [np.concatenate(stretch.times) for stretch in stretches if stretch.times]
    spans = [(times.min(), times.max()) for times in every if len(times)]
    if len(spans) > 2 and all(later[0] > first[1] for first, later in zip(spans, spans[1:], strict=False)):
        raise InputError(
            f"{path}: trial: expected times counted from the begin of each trial, got times that go on from one trial "
            "to the next; leave the column out, and give the trials by --trials"
        )


def read_intervals(path: str | Path) -> tuple[np.ndarray, list[str] | None]:
    """Read intervals: columns ``start`` and ``end`` in s; optional ``trial``, the name of a trial of the spike times.

    Returns
    -------
    intervals : array, (n, 2), s
    trials : list of str or None

    Raises
    ------
    InputError
        The file cannot be read, holds no interval, or one that does not end after its start.
    """
    table = read_table(path, ("start", "end"), ("trial",))
    intervals = np.stack([_numbers(path, name, table) for name in ("start", "end")], axis=-1)
    if not len(intervals):
        raise InputError(f"{path}: expected at least one interval, got none")
    for line, (start, end) in zip(table["line"], intervals, strict=True):
        if not start < end:
            raise InputError(f"{path}, line {line}: expected a start before an end, got {start:g} to {end:g} s")
    return intervals, table.get("trial")


def read_unit_map(path: str | Path) -> dict[str, str]:
    """Read which population each unit is of: columns ``unit`` and ``population``, which may be empty.

    Raises
    ------
    InputError
        The file cannot be read, or a unit stands twice.
    """
    table = read_table(path, ("unit", "population"))
    _check_filled(path, "unit", table)
    unit_map: dict[str, str] = {}
    for line, unit, label in zip(table["line"], table["unit"], table["population"], strict=True):
        if unit in unit_map:
            raise InputError(f"{path}, line {line}: expected every unit once, got {_short(unit)} again")
        unit_map[unit] = label or UNKNOWN
    if not unit_map:
        raise InputError(f"{path}: expected at least one unit, got none")
    return unit_map
