"""Entries of a list of spikes that are no spikes: what is not finite, what fills up an array, and copies."""

from dataclasses import replace

import numpy as np

from src.data.spike_trains import SpikeTrains
from src.utils.text import some

TWINS = 5
"""So many spikes are not those of two units by chance."""
PADDING = 3
"""So often an extreme value stands in a train whose other values stand once, if it fills up an array."""


def without_odd_spikes(trains: SpikeTrains) -> SpikeTrains:
    """Return spike trains without entries that are no spikes, with notes; the order of the others stays.

    - NaN and infinity.
    - Padding: the first or last time of a unit, such as 0 or -1, that stands there three times or more, where the
      others stand once.
    - Copies: a time that a unit has twice.
    """
    not_finite: dict[str, int] = {}
    padding: dict[str, list[float]] = {}
    copies: dict[str, int] = {}
    stretches = []
    for stretch in trains.stretches:
        kept = []
        for name, times in zip(trains.units, stretch.times, strict=True):
            finite = times[np.isfinite(times)]
            not_finite[name] = not_finite.get(name, 0) + len(times) - len(finite)
            value = padding_of(finite)
            if value is not None:
                padding.setdefault(name, []).extend([value] * int((finite == value).sum()))
                finite = finite[finite != value]
            first = np.sort(np.unique(finite, return_index=True)[1])
            copies[name] = copies.get(name, 0) + len(finite) - len(first)
            kept.append(finite[first])
        stretches.append(replace(stretch, times=tuple(kept)))
    total = sum(len(times) for stretch in trains.stretches for times in stretch.times)
    notes = [*trains.notes]
    if number := sum(not_finite.values()):
        notes.append(
            f"Left out, because NaN or infinity is no time: {_of(number, total)}, of unit {_some(not_finite)}."
        )
    if padding:
        number, values = sum(map(len, padding.values())), sorted({each for found in padding.values() for each in found})
        shown = some([f"{value:g}" for value in values])
        notes.append(
            f"Taken for padding, and left out: {_of(number, total)}, times of {shown} s that stand again and again, of "
            f"unit {some(list(padding))}."
        )
    if number := sum(copies.values()):
        notes.append(
            f"Copies, the same time of the same unit again: {_of(number, total)} are left out, of unit {_some(copies)}."
        )
    trains = replace(trains, stretches=tuple(stretches))
    return replace(trains, notes=(*notes, *_twins(trains)))


def _twins(trains: SpikeTrains) -> list[str]:
    """Ask about units of the same spikes: a unit that stands there under two names counts twice."""
    of_times: dict[bytes, list[str]] = {}
    for unit, name in enumerate(trains.units):
        every = [np.sort(stretch.times[unit]) for stretch in trains.stretches]
        if sum(map(len, every)) >= TWINS:
            of_times.setdefault(b"|".join(times.tobytes() for times in every), []).append(name)
    twins = [" and ".join(names) for names in of_times.values() if len(names) > 1]
    return [f"The same spikes throughout: unit {some(twins)}; is it one unit, of several names?"] if twins else []


def padding_of(times: np.ndarray) -> float | None:
    """Return the value that fills up a train, (n,); None if there is none."""
    values, number = np.unique(times, return_counts=True)
    if len(values) < 2 or np.median(number) > 1:
        return None
    for end in (0, -1):
        if number[end] >= PADDING:
            return float(values[end])
    return None


def _of(number: int, total: int) -> str:
    return f"{number} of {total} spikes ({number / total:.2%})"


def _some(numbers: dict[str, int]) -> str:
    return some([f"{name} ({number})" for name, number in numbers.items() if number])
