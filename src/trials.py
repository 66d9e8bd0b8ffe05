"""Which parts of a recording are fitted: one whole trial, many that are cut from it, or those of a table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from src.helper import Model
from src.settings import InputError
from src.spike_trains import SpikeTrains, Stretch, some

EDGE = 1e-6  # of a bin: what rounding may do to a time that lies on an edge between bins


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


def whole_bins(length: float, dt: float) -> int:
    """Return how many whole bins of `dt` there are in a length, both in s."""
    return int(np.floor(min(float(length) / dt, 1e15) + EDGE))  # at most a number that can be whole


def end_of(stretches: Sequence[Stretch], dt: float) -> float:
    """Return when stretches end of which nobody says: with the bin of their last spike, in s."""
    ends = [
        stretch.begin
        + dt * (whole_bins(max(times.max() for times in stretch.times if len(times)) - stretch.begin, dt) + 1)
        for stretch in stretches
        if any(map(len, stretch.times))
    ]
    return max(ends)


def cut_trials(
    trains: SpikeTrains,
    model: Model,
    *,
    intervals: Sequence[Interval] | None = None,
    end_timepoint: float | None = None,
    trial_length: float | None = None,
    least: int = 2,
) -> tuple[list[Trial], list[str]]:
    """Return the trials that are fitted.

    Each needs a window of history before it. Where less was recorded before an interval, its own first bins are the
    window, and the fit begins as much later.

    Parameters
    ----------
    trains : SpikeTrains
    model : Model
        Gives the bins and the window.
    intervals : sequence of Interval, optional
        Without them each stretch is one trial.
    end_timepoint : float, s, optional
        Nothing from here on is used.
    trial_length : float, s, optional
        A single stretch is cut into as many trials of this length as it holds.
    least : int
        Bins that a trial must have.

    Raises
    ------
    InputError
        An interval is not within the recording, or no trial is long enough.
    """
    dt, A, source = model.dt, model.window_bins, trains.source
    if trains.step is not None and (dt < trains.step / 2 or abs(dt / trains.step - round(dt / trains.step)) > EDGE):
        raise InputError(f"--dt: expected a multiple of the bins of {source}, {trains.step:g} s, got {dt:g}")
    known = [stretch.end for stretch in trains.stretches]
    if (
        end_timepoint is not None
        and max((end for end in known if end is not None), default=np.inf) < end_timepoint - EDGE * dt
    ):
        raise InputError(
            f"--end_timepoint: expected at most {max(end for end in known if end is not None):g} s, the length of "
            f"{source}, got {end_timepoint:g}"
        )
    notes = []
    given, intervals = intervals is not None, list(intervals or ())
    if given:
        for interval in intervals:
            _check_within(interval, trains)
        late = [
            interval for interval in intervals if end_timepoint is not None and interval.end > end_timepoint + EDGE * dt
        ]
        if late:
            notes.append(f"{len(late)} trials that end after --end_timepoint {end_timepoint:g} s are left out.")
            intervals = [interval for interval in intervals if interval not in late]
        notes += _overlaps(intervals)
    else:
        # Trials of which nobody says how long they are last all as long as the longest can be seen to.
        last = end_of(trains.stretches, dt) if end_timepoint is None else end_timepoint
        if None in known and end_timepoint is None:
            what = "every trial" if len(known) > 1 else "it"
            notes.append(
                f"{source} does not say when it ends: {what} is taken to end with the last spike, at {last:g} s."
            )
        for k, stretch in enumerate(trains.stretches):
            end = min(
                stretch.end if stretch.end is not None else last, np.inf if end_timepoint is None else end_timepoint
            )
            intervals.append(Interval(k, stretch.begin, end, stretch.name or str(k + 1)))
    trials, later, short = [], [], []
    for interval in intervals:
        first = trains.stretches[interval.stretch].begin + A * dt
        start = interval.start
        if start < first - EDGE * dt:
            start = first
            later.append(interval.name)
        bins = whole_bins(interval.end - start, dt)
        if bins < least:
            short.append(interval.name)
        else:
            trials.append(Trial(interval.stretch, start, bins, interval.name))
    window = f"{A * dt:g} s, the history window"
    if not trials:
        longest = max((interval.end - interval.start for interval in intervals), default=0)
        raise InputError(
            f"{source}: expected at least one trial with {window}, and {least} bins of {dt:g} s to fit after it, got "
            f"{len(intervals)} of at most {longest:g} s; see --a_cutoff"
        )
    later = [name for name in later if name not in short]
    if given and later:
        notes.append(f"Less than {window}, was recorded before trial {some(later)}: fitted only from then on.")
    if short:
        notes.append(f"Too short for {window}, and {least} bins after it, and left out: trial {some(short)}.")
    if trial_length is not None:
        trials = _cut(trials[0], model, trial_length, least)
    return trials, notes


def _check_within(interval: Interval, trains: SpikeTrains) -> None:
    stretch, where = trains.stretches[interval.stretch], f"--trials: trial {interval.name}"
    if not (np.isfinite(interval.start) and np.isfinite(interval.end) and interval.start < interval.end):
        raise InputError(f"{where}: expected a start before an end in s, got {interval.start:g} to {interval.end:g}")
    end = np.inf if stretch.end is None else stretch.end
    if interval.start < stretch.begin or interval.end > end + 1e-9 * max(1.0, abs(end)):
        until = "on" if stretch.end is None else f"to {end:g} s"
        raise InputError(
            f"{where}: expected an interval within {trains.source}, from {stretch.begin:g} s {until}, got "
            f"{interval.start:g} to {interval.end:g} s"
        )


def _overlaps(intervals: Sequence[Interval]) -> list[str]:
    """Say so where trials overlap."""
    ordered = sorted(intervals, key=lambda each: (each.stretch, each.start))
    pairs = zip(ordered, ordered[1:], strict=False)
    both = [later.name for first, later in pairs if first.stretch == later.stretch and later.start < first.end - 1e-9]
    return [f"Overlaps the trial before it, and counts what they share twice: trial {some(both)}."] if both else []


def _cut(trial: Trial, model: Model, trial_length: float, least: int) -> list[Trial]:
    """Cut a stretch into trials of one length."""
    bins = round(trial_length / model.dt)
    if abs(trial_length / model.dt - bins) > EDGE:
        raise InputError(f"--trial_length: expected a multiple of --dt, {model.dt:g} s, got {trial_length:g}")
    if not least <= bins <= trial.bins:
        raise InputError(
            f"--trial_length: expected {least * model.dt:g} s, {least} bins, to {trial.bins * model.dt:g} s, which is "
            f"what the window of {model.window_bins * model.dt:g} s leaves, got {trial_length:g}"
        )
    return [
        Trial(trial.stretch, trial.start + b * bins * model.dt, bins, str(b + 1)) for b in range(trial.bins // bins)
    ]
