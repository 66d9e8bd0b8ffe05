"""Spike trains as an experiment gives them: sorted units, stretches of recording, and which population a unit is of.

Every reader of a file format ends here; `src.data.binning` goes on from here to bins.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from src.model.labels import from_text
from src.utils.exceptions import InputError
from src.utils.text import some

_What = TypeVar("_What")
UNKNOWN = ""
"""Label of a unit of which nobody says what population it is of."""


@dataclass(frozen=True)
class Stretch:
    """What was recorded without a break: a session, or one trial of which nothing else was kept.

    Parameters
    ----------
    times : tuple of array, (spikes,), s
        Spike times of each unit.
    begin : float or None, s
        None: nobody says; `checked` finds out.
    end : float or None, s
        None: nobody says, and it is taken to last until the bin of its last spike has ended.
    name : str
        Of the trial.
    observed : tuple of array, (n, 2), s, or None
        When each unit was watched: intervals in order and apart from each other, which may be infinite. None: all were
        watched throughout.
    """

    times: tuple[np.ndarray, ...]
    begin: float | None = 0.0
    end: float | None = None
    name: str = ""
    observed: tuple[np.ndarray, ...] | None = None

    @property
    def start(self) -> float:
        """Where it begins, of one that was checked."""
        assert self.begin is not None
        return self.begin

    def of_units(self, units: Sequence[int] | np.ndarray) -> "Stretch":
        """Return it with some of the units, in this order."""
        observed = None if self.observed is None else tuple(self.observed[unit] for unit in units)
        return replace(self, times=tuple(self.times[unit] for unit in units), observed=observed)


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
    columns : mapping of str to tuple of str
        What else the source says of each unit, by the name of the column.
    """

    source: str
    units: tuple[str, ...]
    stretches: tuple[Stretch, ...]
    labels: tuple[str, ...] | None = None
    intervals: Mapping[str, np.ndarray] = field(default_factory=dict)
    step: float | None = None
    lists_units: bool = True
    notes: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts ``unit2`` before ``unit10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def check_names(trains: SpikeTrains) -> None:
    """Raise an error about names of units that are empty or stand twice."""
    twice = sorted((name for name, times in Counter(trains.units).items() if times > 1), key=natural_order)
    if twice:
        raise InputError(f"{trains.source}: units: expected every name once, got {some(twice)} more than once")
    if not all(trains.units):
        raise InputError(f"{trains.source}: units: expected a name for each, got an empty one")


def with_map(trains: SpikeTrains, unit_map: Mapping[str, str], path: str) -> SpikeTrains:
    """Return spike trains whose labels come from a map of units to populations.

    A unit of the map that a mere list of spikes does not hold counts as recorded and silent.

    Raises
    ------
    InputError
        The map names a unit that is not there.
    """
    unit_map, notes = as_called(trains, unit_map, path)
    missing = [unit for unit in unit_map if unit not in set(trains.units)]
    if missing and (trains.lists_units or len(missing) == len(unit_map)):
        raise InputError(
            f"{path}: expected units of {trains.source} ({some(trains.units)}), got {some(missing)}, not among them"
            f"{_column_that_names(trains, missing)}"
        )
    units = (*trains.units, *missing)
    silent = tuple(np.empty(0) for _ in missing)
    always = tuple(np.array([[-np.inf, np.inf]]) for _ in missing)
    stretches = tuple(
        replace(
            stretch,
            times=(*stretch.times, *silent),
            observed=None if stretch.observed is None else (*stretch.observed, *always),
        )
        for stretch in trains.stretches
    )
    labels = tuple(unit_map.get(unit, UNKNOWN) for unit in units)
    return replace(trains, units=units, stretches=stretches, labels=labels, notes=(*trains.notes, *notes))


def as_called(trains: SpikeTrains, said: Mapping[str, _What], path: str) -> tuple[dict[str, _What], list[str]]:
    """Return what is said of units by the names that the data give them, also where case or ".0" differ, and notes."""
    known = set(trains.units)
    theirs = Counter(_alike(name) for name in trains.units)
    mine = Counter(_alike(name) for name in said)
    called = {_alike(name): name for name in trains.units}
    found = {
        name: called[_alike(name)]
        for name in said
        if name not in known and theirs[_alike(name)] == 1 and mine[_alike(name)] == 1
    }
    taken = [f"{name} for {other}" for name, other in found.items()]
    notes = [f"{path}: units taken as those of {trains.source}: {some(taken)}."] if taken else []
    return {found.get(name, name): what for name, what in said.items()}, notes


def _alike(name: str) -> str:
    """Return a name without what spreadsheets change: case, spaces, ".0" behind a whole number, zeros before it."""
    name = name.strip().casefold()
    whole = re.fullmatch(r"0*(\d+)(\.0*)?", name)
    return whole[1] if whole else name


def _column_that_names(trains: SpikeTrains, names: Sequence[str]) -> str:
    """Return which column of the units holds names, as the end of a message."""
    found = [column for column, values in trains.columns.items() if set(names) <= set(values)]
    return f"; but in column {found[0]}, see --unit_column {found[0]}" if found else ""


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
    known, of_other_case = _in_any_case(known, found)
    notes += of_other_case
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


def _in_any_case(known: dict[str, int], found: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Return the populations of labels, also of those of other case where that leaves no doubt, and notes."""
    of_case: dict[str, set[int]] = {}
    for label, m in known.items():
        of_case.setdefault(label.casefold(), set()).add(m)
    exact = {label.casefold() for label in found if label in known}
    others = {}
    for label in found:
        fits = of_case.get(label.casefold(), set())
        if label not in known and len(fits) == 1 and label.casefold() not in exact:
            others[label] = fits.pop()
    names = [f"{label} for {next(k for k, m in known.items() if m == others[label])}" for label in others]
    notes = [f"Labels of other case are taken: {some(names)}."] if names else []
    return {**known, **others}, notes


def by_population(trains: SpikeTrains, population: np.ndarray) -> tuple[SpikeTrains, np.ndarray]:
    """Return only units with a population (0, 1, ...; not -1), those of one population together, and which it is."""
    units = np.argsort(population, kind="stable")[np.sum(population < 0) :]

    def chosen(parts: tuple) -> tuple:
        return tuple(parts[unit] for unit in units)

    stretches = tuple(stretch.of_units(units) for stretch in trains.stretches)
    labels = None if trains.labels is None else chosen(trains.labels)
    return replace(trains, units=chosen(trains.units), stretches=stretches, labels=labels), population[units]


def _left_out(units: Sequence[str]) -> str:
    return f"unit {units[0]} is left out" if len(units) == 1 else f"{len(units)} units ({some(units)}) are left out"
