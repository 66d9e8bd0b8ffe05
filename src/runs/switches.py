"""Whether a recording holds enough switches of two competing populations to say how often its circuit switches."""

import numpy as np

from src.model.containers import Model, Recording
from src.runs.record import Finding
from src.statistics.populations import competing_pair
from src.statistics.switching import winning

FEWEST_SWITCHES = 2
"""In a recording that says something about how often its circuit switches."""
NO_SWITCHING_RATE = (
    "No switching rate is to be had from this recording: the inferred activity {times} in {seconds:.3g} s."
)
"""The finding ``no_switching_rate`` in words; for ``times`` see `times_of`."""


def switches_of(activity: np.ndarray, model: Model, recording: Recording) -> int | None:
    """Count the switches in an activity, (B, M, T), of all trials; None where no two populations compete."""
    pair = competing_pair(model.names)
    if pair is None:
        return None
    first, second = (np.asarray(activity[:, m], float) / model.dt for m in pair)
    trials = zip(first - second, recording.lengths.tolist(), strict=True)
    states = [winning(difference[:length], model.dt) for difference, length in trials]
    return sum(int((state[1:] * state[:-1] < 0).sum()) for state in states)


def no_switching_rate(activity: np.ndarray, model: Model, recording: Recording) -> list[Finding]:
    """Find that an inferred activity, (B, M, T), holds too few switches; nothing where no two populations compete."""
    switches = switches_of(activity, model, recording)
    if switches is None or switches >= FEWEST_SWITCHES:
        return []
    seconds = float(recording.lengths.sum() * model.dt)
    return [Finding("no_switching_rate", "", {"switches": float(switches), "seconds": seconds})]


def times_of(finding: Finding) -> str:
    """Return how often the activity of such a finding switches, in words."""
    return "switches once" if finding.numbers.get("switches") == 1 else "never switches"
