"""What a fit does not get to see, to be scored afterwards: the last part of the recording, or some of its units."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from src.data.trials import LEAST
from src.data.unit_names import unit_name, units_called
from src.model.containers import Model, Recording, window_rate
from src.utils.exceptions import InputError
from src.utils.text import some


@dataclass(frozen=True)
class HeldOut:
    """What was held out of a fit.

    Parameters
    ----------
    later : Recording or None
        Where held-out time is scored: the whole recording of a single trial, else the trials that were held out.
    held : array of bool, (B, T)
        The bins of `later` that are scored.
    begin : int
        Bin of `later` at which the held-out time begins.
    whole : Recording or None
        What was fitted, with the units that were held out.
    units : list of (int, int)
        Population and place of these.
    words : str
        What to say about it before the fit.
    """

    later: Recording | None
    held: np.ndarray
    begin: int
    whole: Recording | None
    units: list[tuple[int, int]]
    words: str


def hold_out(
    recording: Recording, model: Model, seconds: float | None, units: str | None
) -> tuple[Recording, HeldOut | None]:
    """Keep the last seconds of a recording, and units, from a fit.

    Parameters
    ----------
    recording : Recording
    model : Model
    seconds : float or None, s
        Of several trials, the last ones are held out, as many as it takes to fill this time.
    units : str or None
        Names, separated by commas; see `src.data.unit_names`.

    Returns
    -------
    recording : Recording
        What remains to be fitted.
    HeldOut or None
        None if nothing is held out.

    Raises
    ------
    InputError
        Too little remains, or there is no such unit.
    """
    later, held, begin, whole, words = None, np.empty(0, bool), 0, None, []
    if seconds is not None:
        bins = round(seconds / model.dt)
        if bins < 1:
            raise InputError(f"holdout: expected a bin of {model.dt:g} s or more, got {seconds:g}")
        cut = _last_bins if recording.n_trials == 1 else _last_trials
        recording, later, held, begin = cut(recording, bins, seconds, model)
        trials = "" if begin else f" (trials: {later.n_trials})"
        fitted = f"{recording.n_judged * model.dt:g} s in {recording.n_judged} bins"
        words.append(f"the last {held.sum() * model.dt:g} s{trials}, which leaves {fitted} to be fitted")
    left_out = [] if units is None else _units_of(units, recording, model)
    if left_out:
        whole, recording = recording, without(recording, left_out, model)
        words.append(f"unit {some([unit_name(unit, whole, model.names) for unit in left_out])}")
        remain = {m for m, _ in units_of(recording)}
        if lost := [model.names[m] for m in sorted({m for m, _ in left_out} - remain)]:
            words[-1] += f" (no unit of {some(lost)} is left: the mean over the others stands for its rate at first)"
    if not words:
        return recording, None
    return recording, HeldOut(later, held, begin, whole, left_out, f"Held out: {', and '.join(words)}.")


def _last_bins(recording: Recording, bins: int, seconds: float, model: Model) -> tuple:
    T = int(recording.lengths[0])
    begin = T - bins
    if int(recording.is_judged[0, : max(begin, 0)].sum()) < LEAST:
        most = (int(recording.is_judged[0, :T].sum()) - LEAST) * model.dt
        raise InputError(f"holdout: expected at most {most:g} s, because the fit needs {LEAST} bins, got {seconds:g}")
    held = recording.is_judged & (np.arange(recording.n_bins) >= begin)
    return until(recording, begin, model), recording, held, begin


def _last_trials(recording: Recording, bins: int, seconds: float, model: Model) -> tuple:
    """Hold out as many of the last trials as it takes to score so many bins."""
    scored = recording.is_judged.sum(axis=1)
    from_here = scored[::-1].cumsum()[::-1]  # in this trial and all after it
    first = int(np.flatnonzero(from_here >= bins).max(initial=0))
    if first == 0:
        raise InputError(
            f"holdout: expected at most {from_here[1] * model.dt:g} s, all trials but the first, got {seconds:g}"
        )
    fitted, later = recording.trials(slice(first)), recording.trials(slice(first, None))
    return until(fitted, int(fitted.lengths.max()), model), later, later.is_judged, 0


def until(recording: Recording, bins: int, model: Model) -> Recording:
    """Return the first bins of every trial."""
    truth, judged = recording.true_activity, recording.judged
    judged = None if judged is None or judged[:, :bins].all() else judged[:, :bins]
    return replace(
        recording,
        observed_spikes=recording.observed_spikes[:, :, : model.window_bins + bins],
        external_input=recording.external_input[..., :bins],
        true_activity=None if truth is None else truth[..., :bins],
        judged=judged,
        observed=None if recording.observed is None else recording.observed[:, :, : model.window_bins + bins],
        left_out=None if recording.left_out is None else recording.left_out[:, :, :bins],
    )


def beginning(recording: Recording, model: Model, seconds: float) -> Recording:
    """Return what is scored first: trials, and bins of a long one, of about so many seconds; at least a trial."""
    first = recording.in_batches(seconds, model.dt)[0]
    return until(first, min(recording.n_bins, round(seconds / model.dt)), model)


def units_of(recording: Recording) -> list[tuple[int, int]]:
    """Return population and place of every recorded unit."""
    return [(int(m), int(i)) for m, i in np.argwhere(recording.is_recorded)]


def spikes_of(recording: Recording, unit: tuple[int, int], bins: np.ndarray, model: Model) -> np.ndarray:
    """Return the spikes, 0 or 1, of a unit, population and place, in the fitted bins that `bins`, (B, T), say."""
    m, i = unit
    return recording.observed_spikes[:, m, model.window_bins :, i][bins].astype(int)


def scored_bins(recording: Recording, unit: tuple[int, int]) -> np.ndarray:
    """Return in which fitted bins a unit, population and place, counts, (B, T)."""
    m, i = unit
    return recording.is_scored[:, m, :, i]


def only(recording: Recording, units: Sequence[tuple[int, int]]) -> Recording:
    """Return the recording as if these units alone had been recorded; of the others, not even the spikes remain."""
    recorded = np.zeros(recording.observed_spikes.shape[1::2], bool)
    for unit in units:
        recorded[unit] = True
    return replace(recording, recorded=recorded, observed_spikes=recording.observed_spikes * recorded[:, None])


def without(recording: Recording, units: Sequence[tuple[int, int]], model: Model) -> Recording:
    """Return the recording as if these units had not been recorded; the rates A0 are those of the others."""
    others = only(recording, [unit for unit in units_of(recording) if unit not in units])
    return replace(others, initial_rate=window_rate(others.observed_spikes, others.recorded, model, others.observed))


def _units_of(text: str, recording: Recording, model: Model) -> list[tuple[int, int]]:
    """Return population and place of the units that an option names."""
    units = units_called(text, recording, model.names)
    if len(units) == recording.is_recorded.sum():
        names = [unit_name(unit, recording, model.names) for unit in units]
        raise InputError(f"holdout_units: expected a unit to remain, got all {len(units)}: {some(names)}")
    return units
