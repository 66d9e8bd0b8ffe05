"""What the times of a recording count: seconds or something else, from where, and whether their clock restarts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from src.data.spike_trains import SpikeTrains
from src.utils.exceptions import InputError
from src.utils.text import duration, moment, some

ENOUGH = 20
"""Spikes without which nothing is read from their times."""
SLOWEST, FASTEST = 0.1, 500.0
"""Rates, Hz, that the busiest unit of a recording in s surely has more and less than."""
USUAL = 10.0
"""Hz; the guess of a unit of time brings the busiest unit closest to it."""
UNITS = {"ms": 1e3, "µs": 1e6, "ns": 1e9, "min": 1 / 60, "h": 1 / 3600}
RUN = 2.6
"""Spikes between two backward steps: of a shuffled list it is 2."""
FULL = 10
"""Spikes with which a trial shows what time it covers."""
APART = 0.7
"""Share of the pairs of trials that have no time in common, from which on they are of one session."""
LATE = 5.0
"""s; a first spike that comes sooner says nothing of where the recording begins."""
SURE = (20.0, 3.0)
"""A recording begins at its first spike if that is later than so many mean and so many longest gaps between spikes."""


def in_seconds(trains: SpikeTrains, ticks: float | None) -> SpikeTrains:
    """Return spike trains in s, from times of which `ticks` are a second; None: they are in s, if that can be.

    Raises
    ------
    InputError
        Times can hardly be in s: by the rate of the busiest unit, by the shortest interval, or because all are whole
        numbers.
    """
    if ticks is None:
        _check_seconds(trains)
        return trains
    if ticks == 1:
        return trains

    def scaled(time: float | None) -> float | None:
        return None if time is None else time / ticks

    stretches = tuple(
        replace(
            stretch,
            times=tuple(times / ticks for times in stretch.times),
            begin=scaled(stretch.begin),
            end=scaled(stretch.end),
            observed=None if stretch.observed is None else tuple(each / ticks for each in stretch.observed),
        )
        for stretch in trains.stretches
    )
    intervals = {name: table / ticks for name, table in trains.intervals.items()}
    return replace(trains, stretches=stretches, intervals=intervals)


def _check_seconds(trains: SpikeTrains) -> None:
    """Raise an error, which asks, if times can hardly be in s."""
    every = [times for stretch in trains.stretches for times in stretch.times if len(times)]
    spikes = np.concatenate(every)
    if len(spikes) < ENOUGH:
        return
    span = sum(_span([times for times in stretch.times if len(times)]) for stretch in trains.stretches)
    of_units = [sum(len(stretch.times[unit]) for stretch in trains.stretches) for unit in range(len(trains.units))]
    rate = max(of_units) / span if span > 0 else np.inf
    # A fast unit in ms looks like a slow one in s, but for its refractory time. (Copies are gone.)
    intervals = np.concatenate([np.diff(np.sort(times)) for times in every])
    shortest = intervals.min(initial=np.inf)
    apart = rate < 1 <= shortest and len(intervals) * shortest > ENOUGH * intervals.mean()
    whole = bool((spikes == np.round(spikes)).all())
    if SLOWEST < rate < FASTEST and not whole and not apart:
        return
    unit, ticks = min(UNITS.items(), key=lambda each: abs(np.log(max(rate, 1e-300) * each[1] / USUAL)))
    what = f"{rate:.3g} Hz over {_long(span)}"
    what += ", and whole numbers" if whole else f", and never within {shortest:.3g} s" if apart else ""
    in_unit = f"in {unit} it would be {rate * ticks:.3g} Hz over {_long(span / ticks)}"
    raise InputError(
        f"{trains.source}: expected spike times in s, got times that give the busiest unit {what}; {in_unit}; say what "
        f"they are by --ticks_per_second: {ticks:g} for {unit}, the sampling rate for samples, 1 for s"
    )


def _span(every: Sequence[np.ndarray]) -> float:
    return max(times.max() for times in every) - min(times.min() for times in every) if every else 0.0


def _long(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 120 or seconds > 1e6 else f"{seconds:.0f} s ({duration(seconds)})"


def check_order(trains: SpikeTrains) -> None:
    """Refuse spikes listed trial by trial, with a clock that begins anew: sorted, they would all be of one trial.

    Times step back in such a list, between runs of ascending times that cover the same time. Where times of one session
    are merely out of order, runs are as short as in a shuffled list (`RUN`), or cover other times.

    Raises
    ------
    InputError
        Most units are listed so.
    """
    for stretch in trains.stretches:
        runs = [np.split(times, np.flatnonzero(np.diff(times) < 0) + 1) for times in stretch.times if len(times) >= 5]
        spikes, number = sum(len(run) for unit in runs for run in unit), sum(map(len, runs))
        if spikes < ENOUGH or spikes < RUN * number:
            continue
        restarting = [unit for unit in runs if _overlap(unit) > 0.25]
        if 2 * len(restarting) <= len(runs):
            continue
        restarts = max(len(unit) for unit in restarting) - 1
        times = np.concatenate([run for unit in restarting for run in unit])
        where = f"{trains.source}{f', trial {stretch.name}' if stretch.name else ''}"
        raise InputError(
            f"{where}: expected spike times of one clock, got times that start over {restarts} times, each time from "
            f"about {times.min():.3g} to {times.max():.3g} s, as where they count from an event of each trial; give "
            "them with the trial of each (column trial, spike_trial) or in the time of the session, or sorted if they "
            "are of one session"
        )


def _overlap(runs: Sequence[np.ndarray]) -> float:
    """Return which part of the time that runs of ascending times cover is covered more than once."""
    spans = sorted((run[0], run[-1]) for run in runs)
    total = sum(end - start for start, end in spans)
    covered, until = 0.0, -np.inf
    for start, end in spans:
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return 1 - covered / total if total > 0 else 0.0


def check_trials(trains: SpikeTrains) -> None:
    """Refuse times that go on from one trial to the next, where they should count from the begin of each.

    Read so, every trial would be the whole session, and silent but for its own part. Trials one after another show
    it, however few spikes they have; with more, most that have no time in common do, whatever their names and though
    some overlap, as spikes between trials do that a trial -1 gathers.

    Raises
    ------
    InputError
        They go on.
    """
    every = [times for times in (np.concatenate(stretch.times) for stretch in trains.stretches) if len(times)]
    spans = np.array([(times.min(), times.max()) for times in every]).reshape(-1, 2)
    in_order = len(spans) > 2 and bool((spans[1:, 0] > spans[:-1, 1]).all())
    full = spans[[len(times) >= FULL for times in every]]
    pairs = len(full) * (len(full) - 1) / 2
    apart = len(full) * len(full) - np.searchsorted(np.sort(full[:, 0]), full[:, 1], side="right").sum()
    if in_order or (pairs and apart >= APART * pairs):
        raise InputError(
            f"{trains.source}: trial: expected times counted from the begin of each trial, got times that go on from "
            "one trial to the next; leave the column (or spike_trial) out, and give the trials by --trials"
        )


def with_begin(trains: SpikeTrains, start: float | None, earliest: float = np.inf) -> SpikeTrains:
    """Return spike trains of which it is known where they begin, with a note where that is only a guess.

    Parameters
    ----------
    trains : SpikeTrains
    start : float or None, s
        Where the user says that they do, or that the part to be used does.
    earliest : float, s
        Something is known to have been recorded from here on, such as a trial.

    Raises
    ------
    InputError
        `start` is before the recording, or its end; or times are negative and nobody says where they count from.
    """
    notes, guess = [*trains.notes], 0.0
    if start is None and any(stretch.begin is None for stretch in trains.stretches):
        guess, said = _guessed(trains, earliest)
        notes += said
    stretches = []
    for stretch in trains.stretches:
        begin = guess if stretch.begin is None else stretch.begin
        if start is not None:
            if stretch.begin is not None and start < stretch.begin - 1e-9:
                raise InputError(
                    f"start_timepoint: expected at least {moment(begin)} s, where {trains.source} begins, got "
                    f"{moment(start)}"
                )
            begin = start
            if stretch.end is not None and not begin < stretch.end:
                raise InputError(
                    f"start_timepoint: expected less than {moment(stretch.end)} s, where {trains.source} ends, got "
                    f"{moment(start)}"
                )
        stretches.append(replace(stretch, begin=begin))
    return replace(trains, stretches=tuple(stretches), notes=tuple(notes))


def about_end(trains: SpikeTrains, ends: Sequence[tuple[int, float, str]]) -> list[str]:
    """Ask about trials that end long after the last spike of a recording that does not say when it ends.

    Parameters
    ----------
    trains : SpikeTrains
        Checked.
    ends : sequence of (int, float, str)
        Of each trial: index of its stretch, end in s, and name.
    """
    late = []
    for k in {k for k, _, _ in ends if trains.stretches[k].end is None}:
        spikes = np.sort(np.concatenate(trains.stretches[k].times))
        gaps = np.diff(spikes)
        if len(spikes) >= ENOUGH:
            usual = max(SURE[0] * gaps.mean(), SURE[1] * gaps.max())
            late += [(name, end - spikes[-1]) for of, end, name in ends if of == k and end - spikes[-1] > usual]
    if not late:
        return []
    return [
        f"{trains.source} does not say when it ends, and is taken to be silent from its last spike to the end of trial "
        f"{some([f'{name} ({silence:.3g} s)' for name, silence in late])}; was it recorded so long?"
    ]


def _guessed(trains: SpikeTrains, earliest: float) -> tuple[float, list[str]]:
    """Return where a recording begins that does not say it, and what to say about that."""
    every = np.sort(np.concatenate([times for stretch in trains.stretches for times in stretch.times]))
    first, several = every[0], len(trains.stretches) > 1
    if first < 0 and not several:
        name = next(unit for unit, times in zip(trains.units, trains.stretches[0].times, strict=True) if first in times)
        raise InputError(
            f"{trains.source}: unit {name}: expected spike times from 0 s on, where the recording begins, got "
            f"{moment(first)} s; times about an event need the trial of each (column trial, spike_trial), and a "
            "recording that begins before 0 s needs --start_timepoint"
        )
    gaps = np.diff(every)
    late = len(gaps) > 0 and first > max(LATE, SURE[0] * gaps.mean(), SURE[1] * gaps.max())
    if first >= 0 and not late:
        return 0.0, []
    begin, what = float(min(first, earliest)), "every trial" if several else "it"
    at = "its first spike" if begin == first else "the first trial"
    return begin, [
        f"{trains.source} does not say when it begins: {what} is taken to begin with {at}, at {begin:.10g} s; "
        "--start_timepoint says otherwise."
    ]
