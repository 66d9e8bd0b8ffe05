"""Which parts of a recording are fitted: one whole trial, many that are cut from it, or those of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from src.data.observed import is_observed, segments
from src.data.spike_trains import SpikeTrains
from src.model.containers import Model
from src.utils.exceptions import InputError
from src.utils.text import moment, some

EDGE = 1e-6  # of a bin: what rounding may do to a time that lies on an edge between bins
MOST_LINES = 20
"""About trials that are left out."""
LEAST = 2
"""Bins that a trial must have."""


@dataclass(frozen=True)
class Interval:
    """A trial to be fitted: from `start` to `end`, in s, in the stretch of that index."""

    stretch: int
    start: float
    end: float
    name: str


@dataclass(frozen=True)
class Trial:
    """A trial on bins: `bins` of them from `start` on, in s, with the window before."""

    stretch: int
    start: float
    bins: int
    name: str


def bins_of(times: np.ndarray, start: float, dt: float) -> np.ndarray:
    """Return the bins of `dt` s, counted from `start`, in which times lie: int, (n,); negative before it."""
    return np.floor((times - start) / dt + EDGE).astype(int)


def whole_bins(length: float, dt: float) -> int:
    """Return how many whole bins of `dt` there are in a length, both in s."""
    return int(np.floor(min(float(length) / dt, 1e15) + EDGE))  # at most a number that can be whole


def cut_trials(
    trains: SpikeTrains,
    model: Model,
    *,
    intervals: Sequence[Interval] | None = None,
    end_timepoint: float | None = None,
    trial_length: float | None = None,
    burn_in: float = 0.0,
    apart: bool = False,
) -> tuple[list[Trial], list[str]]:
    """Return the trials that are fitted.

    Each needs a window of history before it. Where less was recorded before an interval, its own first bins are the
    window, and the fit begins as much later. A gap in which no unit was observed, longer than the window, is like an
    end and a begin of the recording.

    Parameters
    ----------
    trains : SpikeTrains
    model : Model
        Gives the bins and the window.
    intervals : sequence of Interval, optional
        Without them each stretch is one trial, or as many as gaps divide it into.
    end_timepoint : float, s, optional
        Nothing from here on is used.
    trial_length : float, s, optional
        A single stretch is cut into as many trials of this length as it holds between gaps.
    burn_in : float, s
        Must leave something of each trial.
    apart : bool
        Whether trials must not overlap, as where some are held out of a fit to the others.

    Returns
    -------
    trials : list of Trial
    notes : list of str

    Raises
    ------
    InputError
        An interval is not within the recording, or overlaps another one and must not, or no trial is long enough.
    """
    _check_grid(trains, model.dt, end_timepoint)
    if intervals is None:
        used, notes = _whole_stretches(trains, model, end_timepoint)
    else:
        used, notes = _within_recording(intervals, trains, end_timepoint, apart)
    trials, about_windows = _after_windows(used, trains, model, burn_in)
    if trial_length is not None:
        return _cut(trials, model, trial_length), notes
    return trials, [*notes, *(about_windows if intervals is not None or len(used) > 1 else [])]


def _check_grid(trains: SpikeTrains, dt: float, end_timepoint: float | None) -> None:
    """Raise an error about bins that do not fit those of the data, or an end after that of the recording."""
    step = trains.step
    if step is not None and (dt < step / 2 or abs(dt / step - round(dt / step)) > EDGE):
        raise InputError(f"dt: expected a multiple of the bins of {trains.source}, {step:g} s, got {dt:g}")
    ends = [stretch.end for stretch in trains.stretches if stretch.end is not None]
    begin = min(stretch.start for stretch in trains.stretches)
    if end_timepoint is not None and end_timepoint <= begin:
        raise InputError(
            f"end_timepoint: expected more than {moment(begin)} s, where what is used of {trains.source} begins, got "
            f"{moment(end_timepoint)}"
        )
    if end_timepoint is not None and ends and end_timepoint > max(ends) + EDGE * dt:
        raise InputError(
            f"end_timepoint: expected at most {moment(max(ends))} s, the length of {trains.source}, got "
            f"{moment(end_timepoint)}"
        )


def _whole_stretches(
    trains: SpikeTrains, model: Model, end_timepoint: float | None
) -> tuple[list[Interval], list[str]]:
    """Return each stretch between long gaps; where nobody says when it ends, it is as long as any can be seen to be."""
    dt, several = model.dt, len(trains.stretches) > 1
    until = np.inf if end_timepoint is None else end_timepoint
    notes, last = [], until
    if end_timepoint is None and any(stretch.end is None for stretch in trains.stretches):
        spikes = [(times.max(), stretch.start) for stretch in trains.stretches for times in stretch.times if len(times)]
        last = max(begin + dt * (whole_bins(time - begin, dt) + 1) for time, begin in spikes)
        what = "every trial" if several else "it"
        notes.append(
            f"{trains.source} does not say when it ends: {what} is taken to end with the last spike, at {last:.10g} s."
        )
    found = []
    for k, stretch in enumerate(trains.stretches):
        end = min(last if stretch.end is None else stretch.end, until)
        parts = segments(stretch, model.window_bins * dt)
        parts = parts[parts[:, 0] < end]
        for i, (start, stop) in enumerate(parts):
            name = stretch.name or str(k + 1)
            if len(parts) > 1:
                name = f"{name}.{i + 1}" if several else str(i + 1)
            found.append(Interval(k, float(start), float(min(stop, end)), name))
        if len(parts) > 1:
            gaps = [
                f"{moment(one)} to {moment(other)} s" for one, other in zip(parts[:-1, 1], parts[1:, 0], strict=True)
            ]
            where = f" of trial {stretch.name}" if several else ""
            notes.append(f"No unit was observed from {some(gaps)}{where}: cut there into {len(parts)} trials.")
    return found, notes


def _within_recording(
    intervals: Sequence[Interval], trains: SpikeTrains, end_timepoint: float | None, apart: bool
) -> tuple[list[Interval], list[str]]:
    """Return the intervals that were recorded and end before `end_timepoint`, and notes about the others."""
    until = np.inf if end_timepoint is None else end_timepoint + 1e-9
    used, late, outside, unobserved = [], [], [], []
    for interval in intervals:
        if interval.end > until:
            late.append(interval)
        elif _is_outside(interval, trains):
            outside.append(interval)
        elif not is_observed(trains.stretches[interval.stretch], interval.start, interval.end):
            unobserved.append(interval)
        else:
            used.append(interval)
    if outside and not used:
        _refuse_outside(outside[0], trains)
    notes = []
    if late and end_timepoint is not None:
        names = [interval.name for interval in late]
        notes.append(f"Ends after --end_timepoint {moment(end_timepoint)} s, and left out: trial {some(names)}.")
    for interval in outside:
        begin, end = _span(interval, trains)
        notes.append(
            f"Not within the recording, from {moment(begin)} s {'on' if end == np.inf else f'to {moment(end)} s'}, and "
            f"left out: trial {interval.name}, {moment(interval.start)} to {moment(interval.end)} s."
        )
    for interval in unobserved:
        notes.append(
            f"In time that is invalid or was not observed, and left out: trial {interval.name}, "
            f"{moment(interval.start)} to {moment(interval.end)} s."
        )
    if len(notes) > MOST_LINES:
        notes = [*notes[:MOST_LINES], f"Likewise left out: {len(notes) - MOST_LINES} more trials."]
    overlapping = _overlaps(used)
    if overlapping and apart:
        raise InputError(
            "trials: expected trials apart from each other, because what is held out must not be fitted, got "
            f"overlaps of trial {some(overlapping)} with the one before"
        )
    if overlapping:
        notes.append(f"Overlaps the trial before it, and counts what they share twice: trial {some(overlapping)}.")
    return used, notes


def _after_windows(
    intervals: Sequence[Interval], trains: SpikeTrains, model: Model, burn_in: float
) -> tuple[list[Trial], list[str]]:
    """Return what is left of intervals when each has a window of history before it."""
    dt, A = model.dt, model.window_bins
    trials, later, short = [], [], []
    recorded = {k: segments(trains.stretches[k], A * dt) for k in {interval.stretch for interval in intervals}}
    for interval in intervals:
        parts = recorded[interval.stretch]
        parts = parts[parts[:, 1] > interval.start]
        first = (parts[0, 0] if len(parts) else interval.end) + A * dt
        is_late = interval.start < first - EDGE * dt
        start = first if is_late else interval.start
        bins = whole_bins(interval.end - start, dt)
        if bins < LEAST + round(burn_in / dt):
            short.append(interval.name)
            continue
        trials.append(Trial(interval.stretch, start, bins, interval.name))
        later += [interval.name] if is_late else []
    window = f"{A * dt:g} s, the history window"
    needed = f"{window}, {f'{burn_in:g} s of burn-in, ' if burn_in else ''}and {LEAST} bins of {dt:g} s after it"
    if not trials:
        longest = max((interval.end - interval.start for interval in intervals), default=0)
        raise InputError(
            f"{trains.source}: expected at least one trial of {needed}, got {len(intervals)} of at most {longest:g} s; "
            "see --a_cutoff"
        )
    notes = []
    if later:
        notes.append(f"Less than {window}, was recorded before trial {some(later)}: fitted only from then on.")
    if short:
        notes.append(f"Shorter than {needed}, and left out: trial {some(short)}.")
    return trials, notes


def _span(interval: Interval, trains: SpikeTrains) -> tuple[float, float]:
    stretch = trains.stretches[interval.stretch]
    return stretch.start, np.inf if stretch.end is None else stretch.end


def _is_outside(interval: Interval, trains: SpikeTrains) -> bool:
    begin, end = _span(interval, trains)
    return bool(interval.start < begin - _rounding(begin) or interval.end > end + _rounding(end))


def _rounding(time: float) -> float:
    """Return how far rounding may move a time, in s."""
    return 1e-9 + 4 * float(np.spacing(abs(time))) if np.isfinite(time) else 0.0


def _refuse_outside(interval: Interval, trains: SpikeTrains) -> NoReturn:
    begin, end = _span(interval, trains)
    raise InputError(
        f"trials: trial {interval.name}: expected an interval within {trains.source}, from {moment(begin)} s "
        f"{'on' if end == np.inf else f'to {moment(end)} s'}, got {moment(interval.start)} to {moment(interval.end)} s"
    )


def _overlaps(intervals: Sequence[Interval]) -> list[str]:
    """Return the names of the trials that overlap the one before them."""
    ordered = sorted(intervals, key=lambda each: (each.stretch, each.start))
    pairs = zip(ordered, ordered[1:], strict=False)
    return [later.name for first, later in pairs if first.stretch == later.stretch and later.start < first.end - 1e-9]


def bins_of_trials(trial_length: float, left: int, model: Model, before: str = "") -> int:
    """Return how many bins trials of `trial_length` s have, of which `left` bins after the window hold at least one.

    Parameters
    ----------
    trial_length : float, s
    left : int
        Bins.
    model : Model
    before : str
        What ends the recording, for messages.

    Raises
    ------
    InputError
        The length is no multiple of the bins, or too short or too long.
    """
    dt, bins = model.dt, round(trial_length / model.dt)
    if abs(trial_length / dt - bins) > EDGE:
        raise InputError(f"trial_length: expected a multiple of dt, {dt:g} s, got {trial_length:g}")
    if not LEAST <= bins <= left:
        raise InputError(
            f"trial_length: expected {LEAST * dt:g} s, {LEAST} bins, to {left * dt:g} s, which is what the window of "
            f"{model.window_bins * dt:g} s leaves{before}, got {trial_length:g}"
        )
    return bins


def _cut(parts: Sequence[Trial], model: Model, trial_length: float) -> list[Trial]:
    """Cut parts of a recording into trials of one length."""
    bins = bins_of_trials(trial_length, max(part.bins for part in parts), model)
    starts = [(part, part.start + b * bins * model.dt) for part in parts for b in range(part.bins // bins)]
    return [Trial(part.stretch, start, bins, str(k + 1)) for k, (part, start) in enumerate(starts)]
