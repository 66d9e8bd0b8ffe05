"""When each unit was watched: gaps in a recording, and times that are not valid, down to bins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from src.data.spike_trains import SpikeTrains, Stretch, as_called
from src.utils.exceptions import InputError
from src.utils.text import plural, some

EDGE = 1e-6  # of a bin, as in `src.data.trials`
ALWAYS = np.array([[-np.inf, np.inf]])
"""Of a unit of which nobody says when it was watched."""


def union(intervals: np.ndarray, apart: float = 1e-9) -> np.ndarray:
    """Return intervals, (n, 2) in s, in order, those that overlap or are at most `apart` s from each other as one.

    Those without an end after their start are none.
    """
    ordered = intervals[intervals[:, 0] < intervals[:, 1]].astype(float)
    ordered = ordered[np.argsort(ordered[:, 0], kind="stable")]
    if not len(ordered):
        return ordered
    until = np.maximum.accumulate(ordered[:, 1])
    first = np.flatnonzero(np.append(True, ordered[1:, 0] > until[:-1] + apart))
    return np.stack([ordered[first, 0], until[np.append(first[1:], len(ordered)) - 1]], axis=-1)


def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return where two unions of intervals, (n, 2), overlap; there may be thousands of them for each unit."""
    first = np.searchsorted(other[:, 1], one[:, 0], side="right")
    last = np.searchsorted(other[:, 0], one[:, 1], side="left")
    number = np.maximum(last - first, 0)  # of the others that each overlaps
    i = np.repeat(np.arange(len(one)), number)
    j = np.arange(len(i)) + np.repeat(first - (np.cumsum(number) - number), number)
    found = np.stack([np.maximum(one[i, 0], other[j, 0]), np.minimum(one[i, 1], other[j, 1])], axis=-1)
    return found[found[:, 0] < found[:, 1]]


def minus(intervals: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return what is left of intervals, (n, 2), when others are taken away; both are unions."""
    others = np.stack([np.append(-np.inf, taken[:, 1]), np.append(taken[:, 0], np.inf)], axis=-1)
    return both(intervals, others)


def inside(times: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Return which times, (n,) in s, lie in intervals that are a union: bool, (n,)."""
    if not len(intervals):
        return np.zeros(len(times), bool)
    place = np.searchsorted(intervals[:, 0], times, side="right") - 1
    return (place >= 0) & (times < intervals[np.maximum(place, 0), 1])


def observed_of(trains: SpikeTrains, observed: Mapping[str, np.ndarray]) -> SpikeTrains:
    """Return spike trains of units that were watched in the intervals of a mapping, (n, 2) in s; others always were.

    Raises
    ------
    InputError
        The recording is of trials with times of their own, or no unit is there.
    """
    if len(trains.stretches) > 1:
        raise InputError(f"observed: expected a recording of one clock, got {len(trains.stretches)} trials")
    observed, about_names = as_called(trains, observed, "observed")
    strangers = [unit for unit in observed if unit not in trains.units]
    if len(strangers) == len(observed):
        raise InputError(f"observed: expected units of {trains.source} ({some(trains.units)}), got {some(strangers)}")
    (stretch,), notes = trains.stretches, [*trains.notes, *about_names]
    if strangers:
        notes.append(f"Observed, but not in {trains.source}, and ignored: unit {some(strangers)}.")
    when = tuple(union(observed[unit]) if unit in observed else ALWAYS for unit in trains.units)
    return replace(trains, stretches=(replace(stretch, observed=when),), notes=tuple(notes))


def without_times(trains: SpikeTrains, invalid: np.ndarray, of: Sequence[int] | None = None) -> SpikeTrains:
    """Return spike trains of units that were not watched in intervals, (n, 2) in s, with a note.

    Parameters
    ----------
    trains : SpikeTrains
    invalid : array, (n, 2), s
    of : sequence of int, (n,), or None
        Index of the stretch that each is of; None: they are of every one.
    """
    good = np.isfinite(invalid).all(axis=1) & (invalid[:, 0] < invalid[:, 1])
    notes, trials = [*trains.notes], len(trains.stretches)
    if not good.all():
        notes.append(f"Invalid times without a start before an end, and ignored: {int((~good).sum())} of {len(good)}.")
    if not good.any():
        return replace(trains, notes=tuple(notes))
    stretches, number, seconds = [], 0, 0.0
    last = max(times.max() for stretch in trains.stretches for times in stretch.times if len(times))
    for k, stretch in enumerate(trains.stretches):
        taken = union(invalid[good if of is None else good & (np.asarray(of) == k)])
        before = stretch.observed or (ALWAYS,) * len(stretch.times)
        stretches.append(
            replace(stretch, observed=tuple(minus(each, taken) for each in before)) if len(taken) else stretch
        )
        inside_it = both(taken, np.array([[stretch.start, last if stretch.end is None else stretch.end]]))
        number, seconds = number + len(inside_it), seconds + float(np.diff(inside_it).sum())
    if not number:
        first, until = invalid[good].min(), invalid[good].max()
        notes.append(f"Invalid times, {first:.10g} to {until:.10g} s, are all outside of the recording.")
        return replace(trains, notes=tuple(notes))
    where = f", over {trials} trials" if trials > 1 else ""
    notes.append(f"Invalid, and not judged: {seconds:g} s in {plural(number, 'interval')}{where}.")
    return replace(trains, stretches=tuple(stretches), notes=tuple(notes))


def watched_by_all(stretch: Stretch, until: float) -> np.ndarray:
    """Return when all units of a stretch were watched, from its begin to a time, (n, 2) in s."""
    found = np.array([[stretch.start, until]])
    for each in stretch.observed or ():
        found = both(found, each)
    return found


def segments(stretch: Stretch, longest: float) -> np.ndarray:
    """Return where a stretch was recorded without a gap of all units that is longer than `longest`, (n, 2) in s."""
    whole = np.array([[stretch.start, np.inf if stretch.end is None else stretch.end]])
    if stretch.observed is None:
        return whole
    every = union(np.concatenate([*stretch.observed, np.empty((0, 2))]), longest)
    return both(whole, every)


def is_observed(stretch: Stretch, start: float, end: float, unit: int | None = None) -> bool:
    """Tell whether a unit, or any, was watched somewhere between two times, in s."""
    if stretch.observed is None:
        return True
    when = stretch.observed if unit is None else [stretch.observed[unit]]
    return any(((each[:, 0] < end) & (each[:, 1] > start)).any() for each in when)


def observed_bins(intervals: np.ndarray, start: float, dt: float, bins: int) -> np.ndarray:
    """Return in which of so many bins of `dt` s from `start` on a unit was watched throughout: bool, (bins,)."""
    watched = np.zeros(bins, bool)
    edges = np.clip((intervals - start) / dt, -1, bins + 1)
    edges = np.stack([np.ceil(edges[:, 0] - EDGE), np.floor(edges[:, 1] + EDGE)], axis=-1).astype(int).clip(0)
    for first, last in edges[edges[:, 0] < edges[:, 1]]:
        watched[first:last] = True
    return watched
