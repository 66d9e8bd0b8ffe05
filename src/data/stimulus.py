"""From a known stimulus to the external input of each population, on the bins of the trials that are fitted."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from src.data.options import DataOptions
from src.data.read_series import is_nwb, series_of_nwb
from src.data.read_stimulus import read_stimulus
from src.data.samples import Samples, Stimulus, in_bins
from src.data.spike_trains import SpikeTrains
from src.data.trials import Trial
from src.model.containers import Model, Recording
from src.utils.exceptions import InputError
from src.utils.text import listed, moment, some

MOST_MISSING = 0.01
"""Share of the fitted time for which a stimulus may be missing, and counts as zero."""
LONGER = 30.0
"""Times that a stimulus lasts longer than the recording, from which on its times may be in ms or in samples."""
UNEVEN = 1.5
"""Time between two samples, in units of the median, from which on sampling is called uneven."""


def with_stimulus(
    recording: Recording, trials: Sequence[Trial], trains: SpikeTrains, options: DataOptions, model: Model
) -> tuple[Recording, list[str]]:
    """Give a recording the stimulus that the options name.

    Parameters
    ----------
    recording : Recording
        On bins, without external input.
    trials : sequence of Trial, (B,)
        Where its bins lie.
    trains : SpikeTrains
        Where it comes from.
    options : DataOptions
    model : Model
        Gives the bins, and how much later than the stimulus the input of each population is.

    Returns
    -------
    recording : Recording
    notes : list of str

    Raises
    ------
    InputError
        There is no such stimulus, it does not cover what is fitted, or it cannot be told to which populations it goes.
    """
    stimulus = read_stimulus(options.stimulus, trains.source, options.ticks_per_second or 1.0)
    asked = options.with_input or options.stimulus is not None
    if stimulus is None or not asked:
        if options.input_to is not None:
            raise InputError(f"input_to: expected a stimulus, see --stimulus, got none for {options.input_to!r}")
        if stimulus is not None:
            return recording, [f"{stimulus.source}: not known to the fit, which takes it to be zero; see --with_input"]
        return recording, [_none_there(trains.source)] if asked else []
    onto, notes = _onto_populations(stimulus, model.names, options.input_to)
    driven, missing = np.zeros_like(recording.external_input), np.zeros(len(trials))
    lag = np.zeros(model.n_populations) if model.input_lag is None else model.input_lag
    for b, trial in enumerate(trials):
        samples = _of_trial(stimulus, trains.stretches[trial.stretch].name)
        for m in np.flatnonzero(onto.any(axis=0)):
            given = Samples(samples.edges, samples.values @ onto[:, [m]])
            driven[b, m, : trial.bins], lost = in_bins(given, trial.start - lag[m], trial.bins, model.dt)
            missing[b] = max(missing[b], lost)
    notes += [*_check_covered(stimulus, trials, missing, model.dt), *_about_times(stimulus, trains)]
    notes += [] if driven.any() else [f"{stimulus.source}: it is zero throughout."]
    return replace(recording, external_input=driven), [_described(stimulus, onto, driven, model), *notes]


def _none_there(source: str) -> str:
    there = f"; series that --stimulus can name: {some(series_of_nwb(source)) or 'none'}" if is_nwb(source) else ""
    return f"--with_input: the data have no external input, it is zero throughout{there}"


def _of_trial(stimulus: Stimulus, name: str) -> Samples:
    """Return the samples whose times count as those of a stretch do."""
    if "" in stimulus.by_trial:
        return stimulus.by_trial[""]
    if name not in stimulus.by_trial:
        what = f"trial {name!r}" if name else "times that count over the whole recording"
        raise InputError(f"{stimulus.source}: trial: expected {what}, got trial {some(list(stimulus.by_trial))}")
    return stimulus.by_trial[name]


def _onto_populations(stimulus: Stimulus, names: Sequence[str], input_to: str | None) -> tuple[np.ndarray, list[str]]:
    """Return which column goes to which population, 0 or 1, (c, M), and notes."""
    source, columns = stimulus.source, stimulus.columns
    c, M = next(iter(stimulus.by_trial.values())).values.shape[1], len(names)
    if input_to is not None:
        return _as_told(input_to, c, names), []
    numbers = {name.casefold(): m for m, name in enumerate(names)}
    places = [numbers.get(column.casefold()) for column in columns or ()]
    known = [place for place in places if place is not None]
    how = "say where it goes by --input_to"
    if columns is not None and (known or c > 1):
        strange = [column for column, place in zip(columns, places, strict=True) if place is None]
        if strange:
            raise InputError(f"{source}: expected columns among {listed(names)}, got {some(strange)}; {how}")
        if len(set(known)) < c:
            raise InputError(f"{source}: expected each population once, got {some(list(columns))}")
        onto = np.zeros((c, M))
        onto[np.arange(c), known] = 1
        return onto, []
    if c == M:
        return np.eye(M), []
    if c > 1:
        raise InputError(f"{source}: expected one column, or one for each of {listed(names)}, got {c}; {how}")
    return np.ones((1, M)), [f"{source}: one column, taken to reach all populations; --input_to says otherwise."]


def _as_told(input_to: str, c: int, names: Sequence[str]) -> np.ndarray:
    told = [name.strip() for name in input_to.split(",")]
    wrong = [name for name in told if name not in names or told.count(name) > 1]
    if wrong:
        raise InputError(f"input_to: expected populations among {listed(names)}, each once, got {wrong[0]!r}")
    if c not in (1, len(told)):
        raise InputError(f"input_to: expected a population for each of {c} columns, got {len(told)}: {input_to}")
    onto = np.zeros((c, len(names)))
    onto[np.arange(len(told)) if c > 1 else 0, [names.index(name) for name in told]] = 1
    return onto


def _check_covered(stimulus: Stimulus, trials: Sequence[Trial], missing: np.ndarray, dt: float) -> list[str]:
    """Refuse a stimulus that is missing, s of each trial, for more than little; say so if it is for little."""
    if not missing.any():
        return []
    share = float(missing.sum() / sum(trial.bins * dt for trial in trials))
    lost = [f"{trial.name} ({lack:.3g} s)" for trial, lack in zip(trials, missing, strict=True) if lack]
    of = f" of trial {some(lost)}" if len(trials) > 1 else ""
    if share <= MOST_MISSING:
        return [f"{stimulus.source}: missing for {missing.sum():.3g} s, {share:.2%} of what is fitted{of}; zero there."]
    first, last = (edge([end(each.edges) for each in stimulus.by_trial.values()]) for edge, end in _ENDS)
    begin, until = min(trial.start for trial in trials), max(trial.start + trial.bins * dt for trial in trials)
    raise InputError(
        f"{stimulus.source}: expected a stimulus for what is fitted, {moment(begin)} to {moment(until)} s, got "
        f"{moment(first)} to {moment(last)} s: {share:.1%} is missing{of}; see --end_timepoint and --trials"
    )


def _about_times(stimulus: Stimulus, trains: SpikeTrains) -> list[str]:
    """Ask about the times of a stimulus that lasts far longer than the recording."""
    lasts = max(float(np.ptp(samples.edges)) for samples in stimulus.by_trial.values())
    last = max(times[-1] for stretch in trains.stretches for times in stretch.times if len(times))
    recorded = max((last if each.end is None else each.end) - each.start for each in trains.stretches)
    if lasts <= LONGER * recorded:
        return []
    return [f"{stimulus.source}: it lasts {lasts:.4g} s, and the recording {recorded:.4g} s; are its times in s?"]


_ENDS = ((min, lambda edges: edges[0]), (max, lambda edges: edges[-1]))


def _described(stimulus: Stimulus, onto: np.ndarray, driven: np.ndarray, model: Model) -> str:
    """Return a line about what was read."""
    every = list(stimulus.by_trial.values())
    steps = np.concatenate([np.diff(samples.edges) for samples in every])
    apart = f"of {1e3 * np.median(steps):.4g} ms"
    if steps.max() > UNEVEN * np.median(steps):
        apart += f" in the median, which hold until the next, up to {steps.max():.4g} s"
    reached = onto.any(axis=0)
    values = driven[:, reached]
    late = [] if model.input_lag is None else [f"{1e3 * lag:g}" for lag in model.input_lag[reached]]
    lag = f", {', '.join(late)} ms later" if late else ""
    unit = "in units that input gains weigh" if model.has_gains else "in 1/s (docs/circuit.md: input gains)"
    return (
        f"Stimulus: {stimulus.source}, {len(steps)} samples {apart}, to {listed(np.array(model.names)[reached])}{lag}; "
        f"in bins {values.min():.4g} to {values.max():.4g}, mean {values.mean():.4g}, {unit}."
    )


def about_gains(recording: Recording, model: Model) -> list[str]:
    """Say of which populations the input cannot tell the gain.

    Raises
    ------
    InputError
        The circuit has gains that are fitted, and there is no input at all.
    """
    fitted = [name for name in model.fitted.names if name.startswith("input_gain ")]
    if not fitted:
        return []
    judged = np.moveaxis(recording.external_input, 1, -1)[recording.is_judged]  # (bins, M)
    if not judged.any():
        raise InputError(
            f"{fitted[0]}: expected a stimulus to be weighed, got none; see --stimulus and --with_input, or leave "
            "[input_gain] out of the circuit"
        )
    constant = judged.min(axis=0) == judged.max(axis=0)
    still = [name for name, same in zip(model.names, constant, strict=True) if same]
    alone = [name for name in still if f"input_gain {name}" in fitted]
    return [f"The stimulus of {listed(alone)} never changes, so that nothing tells the gain."] if alone else []
