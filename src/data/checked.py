"""From what a reader found in a file to spike trains that can be used: in s, in order, within what was observed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from src.data.observed import inside, observed_of, without_times
from src.data.odd_spikes import without_odd_spikes
from src.data.spike_trains import SpikeTrains, Stretch, check_names, natural_order
from src.data.time_axis import check_order, check_trials, in_seconds, with_begin
from src.utils.exceptions import InputError
from src.utils.text import moment, some


def checked(
    trains: SpikeTrains,
    *,
    ticks: float | None = None,
    start: float | None = None,
    earliest: float = np.inf,
    observed: Mapping[str, np.ndarray] | None = None,
    invalid: np.ndarray | None = None,
    invalid_of: Sequence[int] | None = None,
) -> SpikeTrains:
    """Return spike trains that can be used.

    Parameters
    ----------
    trains : SpikeTrains
        As a reader found them.
    ticks : float or None
        How many units of their times are a second; None: one, if that can be.
    start : float or None, s
        Nothing before is used.
    earliest : float, s
        Something is known to have been recorded from here on.
    observed : mapping of str to array, (n, 2), s, or None
        When units were watched; None: what the source says.
    invalid : array, (n, 2), s, or None
        Times in which no unit counts as watched.
    invalid_of : sequence of int, (n,), or None
        Index of the stretch that each of these is of; None: they are of every one.

    Raises
    ------
    InputError
        There are no units, or no spikes in the time that is used; a name is empty or stands twice; times are in other
        units, start over, go on from trial to trial, or are before the begin.
    """
    check_names(trains)
    if trains.step is None:
        trains = without_odd_spikes(trains)
    if not any(len(times) for stretch in trains.stretches for times in stretch.times):
        units = len(trains.units)
        raise InputError(f"{trains.source}: expected spikes, found none{f' in {units} units' if units else ''}")
    if trains.step is not None and ticks not in (None, 1):
        raise InputError(
            f"ticks_per_second: goes with spike times, and {trains.source} holds spikes in bins of {trains.step:g} s"
        )
    if trains.step is None:
        trains = in_seconds(trains, ticks)
        check_order(trains)
        check_trials(trains)
    trains = with_begin(trains, start, earliest)
    if observed is not None:
        trains = observed_of(trains, observed)
    if invalid is not None:
        trains = without_times(trains, invalid, invalid_of)
    return _in_order(trains, start is not None)


def _in_order(trains: SpikeTrains, begin_was_given: bool) -> SpikeTrains:
    """Return spikes in order, and only those within the recording and what was observed, with notes."""
    unsorted, before, after, unwatched = set(), 0, 0, 0
    stretches = []
    for stretch in trains.stretches:
        begin, end = stretch.start, np.inf if stretch.end is None else stretch.end
        if not begin < end:
            where = f"{trains.source}{_trial(stretch)}"
            raise InputError(f"{where}: expected an end after the begin, got {moment(begin)} to {moment(end)} s")
        kept = []
        for unit, times in enumerate(stretch.times):
            if (np.diff(times) < 0).any():
                unsorted.add(trains.units[unit])
                times = np.sort(times)
            early = int((times < begin).sum())
            if early and not begin_was_given and stretch.observed is None:
                raise InputError(
                    f"{trains.source}{_trial(stretch)}: unit {trains.units[unit]}: expected spike times from "
                    f"{moment(begin)} s on, where the recording begins, got {moment(times[0])} s"
                )
            before, after = before + early, after + int((times >= end).sum())
            times = times[(times >= begin) & (times < end)]
            watched = np.ones(len(times), bool) if stretch.observed is None else inside(times, stretch.observed[unit])
            unwatched += int((~watched).sum())
            kept.append(times[watched])
        stretches.append(replace(stretch, times=tuple(kept)))
    if not any(len(times) for stretch in stretches for times in stretch.times):
        lost = ((before, "before its begin"), (after, "after its end"), (unwatched, "in time that was not observed"))
        where = ", ".join(f"{number} {what}" for number, what in lost if number)
        raise InputError(f"{trains.source}: expected spikes in the time that is used, got none: {where}")
    notes = [*trains.notes]
    if unsorted:
        notes.append(f"Spike times out of order, now sorted: of unit {some(sorted(unsorted, key=natural_order))}.")
    if before:
        notes.append(f"{before} spikes before the begin of the recording are left out.")
    if after:
        notes.append(f"{after} spikes after the end of the recording are left out.")
    if unwatched:
        total = unwatched + sum(len(times) for stretch in stretches for times in stretch.times)
        notes.append(
            f"In time in which their unit was not observed, and left out: {unwatched} of {total} spikes "
            f"({unwatched / total:.2%})."
        )
    return replace(trains, stretches=tuple(stretches), notes=tuple(notes))


def _trial(stretch: Stretch) -> str:
    return f", trial {stretch.name}" if stretch.name else ""
