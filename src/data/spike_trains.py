"""Spike trains as an experiment gives them: sorted units, stretches of recording, and which population a unit is of.

Every reader of a file format ends here; `src.data.binning` goes on from here to bins.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from src.model.labels import from_text
from src.utils.exceptions import InputError
from src.utils.text import some

UNKNOWN = ""
"""Label of a unit of which nobody says what population it is of."""


@dataclass(frozen=True)
class Stretch:
    """What was recorded without a break: a session, or one trial of which nothing else was kept.

    Parameters
    ----------
    times : tuple of array, (spikes,), s
        Spike times of each unit.
    begin : float, s
    end : float or None, s
        None: nobody says, and it is taken to last until the bin of its last spike has ended.
    name : str
        Of the trial.
    """

    times: tuple[np.ndarray, ...]
    begin: float = 0.0
    end: float | None = None
    name: str = ""


def stretch_of_bins(spikes: np.ndarray, dt: float, begin: float = 0.0) -> Stretch:
    """Return the stretch of trains in bins of `dt` s, (units, n_bins), 0/1: each spike gets a time amid its bin."""
    times = tuple(begin + dt * (np.flatnonzero(train) + 0.5) for train in spikes)
    return Stretch(times, begin, begin + dt * spikes.shape[1])


@dataclass(frozen=True)
class SpikeTrains:
    """Spike times of sorted units.

    Parameters
    ----------
    source : str
        What messages call it.
    units : tuple of str
        Names, each once.
    stretches : tuple of Stretch
        At least one.
    labels : tuple of str or None
        Population of each unit, `UNKNOWN` where it has none; None: the source has no labels.
    intervals : mapping of str to array, (n, 2), s
        Tables of intervals (start, end) that the source holds, by name.
    step : float or None, s
        Width of the bins that the times come from.
    lists_units : bool
        Whether the source lists its units; if it only lists spikes, a unit that never fires is not in it.
    notes : tuple of str
        What the user should know.
    """

    source: str
    units: tuple[str, ...]
    stretches: tuple[Stretch, ...]
    labels: tuple[str, ...] | None = None
    intervals: Mapping[str, np.ndarray] = field(default_factory=dict)
    step: float | None = None
    lists_units: bool = True
    notes: tuple[str, ...] = ()


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``unit2`` before ``unit10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def checked(trains: SpikeTrains) -> SpikeTrains:
    """Return spike trains that can be used: times finite, not before the recording, in order.

    Raises
    ------
    InputError
        There are no units or spikes, a name is empty or stands twice, or a time is NaN, infinite or before the begin.
    """
    source, units = trains.source, trains.units
    twice = sorted((name for name, times in Counter(units).items() if times > 1), key=natural_order)
    if twice:
        raise InputError(f"{source}: units: expected every name once, got {some(twice)} more than once")
    if not all(units):
        raise InputError(f"{source}: units: expected a name for each, got an empty one")
    unsorted, outside = set(), 0
    stretches = []
    for stretch in trains.stretches:
        where = f"{source}{f', trial {stretch.name}' if stretch.name else ''}"
        if stretch.end is not None and not stretch.begin < stretch.end:
            raise InputError(f"{where}: expected an end after the begin, got {stretch.begin:g} to {stretch.end:g} s")
        kept = []
        for name, times in zip(units, stretch.times, strict=True):
            if not np.isfinite(times).all():
                bad = times[~np.isfinite(times)][0]
                raise InputError(f"{where}: unit {name}: expected finite spike times in s, got {bad}")
            if len(times) and times.min() < stretch.begin:
                raise InputError(
                    f"{where}: unit {name}: expected spike times from {stretch.begin:g} s on, where the recording "
                    f"begins, got {times.min():g} s"
                )
            if (np.diff(times) < 0).any():
                unsorted.add(name)
                times = np.sort(times)
            inside = times if stretch.end is None else times[times < stretch.end]
            outside += len(times) - len(inside)
            kept.append(inside)
        stretches.append(replace(stretch, times=tuple(kept)))
    if not any(len(times) for stretch in stretches for times in stretch.times):
        raise InputError(f"{source}: expected spikes, found none{f' in {len(units)} units' if units else ''}")
    notes = [*trains.notes]
    if unsorted:
        notes.append(f"Spike times out of order, now sorted: of unit {some(sorted(unsorted, key=natural_order))}.")
    if outside:
        notes.append(f"{outside} spikes after the end of the recording are left out.")
    return replace(trains, stretches=tuple(stretches), notes=tuple(notes))


def with_map(trains: SpikeTrains, unit_map: Mapping[str, str], path: str) -> SpikeTrains:
    """Return spike trains whose labels come from a map of units to populations.

    A unit of the map that a mere list of spikes does not hold counts as recorded and silent.

    Raises
    ------
    InputError
        The map names a unit that is not there.
    """
    missing = [unit for unit in unit_map if unit not in set(trains.units)]
    if missing and (trains.lists_units or len(missing) == len(unit_map)):
        raise InputError(
            f"{path}: expected units of {trains.source} ({some(trains.units)}), got {some(missing)}, not among them"
        )
    units = (*trains.units, *missing)
    silent = tuple(np.empty(0) for _ in missing)
    stretches = tuple(replace(stretch, times=(*stretch.times, *silent)) for stretch in trains.stretches)
    labels = tuple(unit_map.get(unit, UNKNOWN) for unit in units)
    return replace(trains, units=units, stretches=stretches, labels=labels)


def populations(
    trains: SpikeTrains, names: Sequence[str], how: str, given: str | None = None
) -> tuple[np.ndarray, list[str]]:
    """Return which population each unit is of.

    Parameters
    ----------
    trains : SpikeTrains
    names : sequence of str, (M,)
        Of the populations of the circuit. If there is but one, units without labels are all of it. Labels 0, 1, ...,
        as a grouping gives them, stand for the populations in their order.
    how : str
        How the user can say what is missing.
    given : str or None
        Labels of the populations, see `src.model.labels`; None: their names, or their numbers as above.

    Returns
    -------
    array of int, (units,)
        Index of the population, -1 for none.
    notes : list of str

    Raises
    ------
    InputError
        No unit is of any of the populations.
    """
    source, labels = trains.source, trains.labels
    if labels is None:
        if len(names) > 1:
            raise InputError(f"{source}: expected to know which population each unit is of: {how}")
        return np.zeros(len(trains.units), int), []
    known, notes = from_text(given, names), []
    found = sorted({label for label in labels if label != UNKNOWN}, key=natural_order)
    numbered = all(label in map(str, range(len(names))) for label in found)
    if given is None and found and not set(found) & set(known) and numbered:
        known = {str(m): m for m in range(len(names))}
        notes.append(f"Labels {', '.join(known)} stand for the populations {', '.join(names)}, in this order.")
    index = np.array([known.get(label, -1) for label in labels], int)
    others = [label for label in found if label not in known]
    if (index < 0).all():
        came, what = some(others) if others else "no label", "of the populations" if given is None else "with labels"
        raise InputError(f"{source}: expected units {what} {', '.join(known)}, got {came} for all {len(labels)}; {how}")
    for label in others:
        units = [unit for unit, came in zip(trains.units, labels, strict=True) if came == label]
        notes.append(f"{label!r} is no population of the circuit: {_left_out(units)}.")
    without = [unit for unit, came in zip(trains.units, labels, strict=True) if came == UNKNOWN]
    if without:
        notes.append(f"Without a population: {_left_out(without)}.")
    return index, notes


def by_population(trains: SpikeTrains, population: np.ndarray) -> tuple[SpikeTrains, np.ndarray]:
    """Return only units with a population (0, 1, ...; not -1), those of one population together, and which it is."""
    units = np.argsort(population, kind="stable")[np.sum(population < 0) :]

    def chosen(parts: tuple) -> tuple:
        return tuple(parts[unit] for unit in units)

    stretches = tuple(replace(stretch, times=chosen(stretch.times)) for stretch in trains.stretches)
    labels = None if trains.labels is None else chosen(trains.labels)
    return replace(trains, units=chosen(trains.units), stretches=stretches, labels=labels), population[units]


def _left_out(units: Sequence[str]) -> str:
    return f"unit {units[0]} is left out" if len(units) == 1 else f"{len(units)} units ({some(units)}) are left out"
