"""Tables of intervals that an option names: in the data, or in a CSV file; and the trials that they give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.data.read_csv import read_intervals
from src.data.spike_trains import SpikeTrains
from src.data.trials import Interval
from src.utils.exceptions import InputError
from src.utils.text import moment, some


@dataclass(frozen=True)
class Named:
    """A table of intervals.

    Parameters
    ----------
    table : array, (n, 2), s
    numbers : list of str
        Of each row, counted from 1.
    trials : list of str or None
        Name of the trial that each row is in.
    notes : list of str
    """

    table: np.ndarray
    numbers: list[str]
    trials: list[str] | None
    notes: list[str]


def named_intervals(option: str, name: str, tables: Mapping[str, np.ndarray], source: str) -> Named:
    """Return the table that an option names, of the data or a file.

    Raises
    ------
    InputError
        There is none, or it cannot be read.
    """
    if name in tables:
        return Named(tables[name], [str(k + 1) for k in range(len(tables[name]))], None, [])
    if not name.lower().endswith((".csv", ".txt", ".tsv")) and not Path(name).exists():
        there = some(list(tables)) or "none"
        raise InputError(
            f"{option}: expected a CSV file, or a table of intervals in {source} (there: {there}), got {name!r}"
        )
    table, trials, numbers, notes = read_intervals(name)
    return Named(table, numbers, trials, notes)


def used_intervals(name: str, trains: SpikeTrains) -> tuple[list[Interval], list[str]]:
    """Return the trials that --trials names, each once and with an end after its start, and notes about the others.

    Raises
    ------
    InputError
        There is no such table, or none of its rows can be used.
    """
    found = named_intervals("trials", name, trains.intervals, trains.source)
    of_file = name not in trains.intervals
    several = len(trains.stretches) > 1
    stretch = stretches_of(name, found.trials, trains) if several else [0] * len(found.table)
    labels = found.trials if of_file and found.trials else found.numbers
    intervals: list[Interval] = []
    missing, empty, again, first = [], [], [], ""
    seen: set[tuple[int, float, float]] = set()
    for k, (start, end), label in zip(stretch, found.table.tolist(), labels, strict=True):
        if not np.isfinite([start, end]).all():
            missing.append(label)
        elif not start < end:
            empty.append(label)
            first = (
                first
                or f"trials: trial {label}: expected a start before an end in s, got {moment(start)} to {moment(end)}"
            )
        elif (k, start, end) in seen:
            again.append(label)
        else:
            seen.add((k, start, end))
            intervals.append(Interval(k, start, end, label))
    if not intervals:
        raise InputError(first or f"trials: expected at least one interval in {name}, got none with a start and an end")
    whys = (
        ("Without a start or an end", missing),
        ("No end after the start", empty),
        ("The same as one before", again),
    )
    return intervals, [*found.notes, *(f"{why}, and left out: trial {some(which)}." for why, which in whys if which)]


def stretches_of(path: str, names: Sequence[str] | None, trains: SpikeTrains) -> list[int]:
    """Return the index of the stretch that each interval is in, by its trial's name."""
    if names is None:
        raise InputError(
            f"{path}: expected a column trial, because the times of {trains.source} count from trials' begins"
            f"{'' if Path(path).exists() else '; give a CSV file with the columns trial, start and end'}"
        )
    known = {stretch.name: k for k, stretch in enumerate(trains.stretches)}
    strangers = [name for name in names if name not in known]
    if strangers:
        raise InputError(
            f"{path}: trial: expected trials of {trains.source} ({some(list(known))}), got {some(strangers)}"
        )
    return [known[name] for name in names]
