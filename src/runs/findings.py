"""What the user should know about a finished fit: windows, bounds, numbers that a prior holds, too few switches."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from src.helper import from_X
from src.inference.laplace import shares
from src.model.containers import Model, Recording
from src.model.free_parameters import bound_reached
from src.runs.record import Finding
from src.runs.switches import NO_SWITCHING_RATE, no_switching_rate, times_of
from src.utils.exceptions import InputError

HELD = 0.5
"""Share of its prior's variance from which on a number counts as held by the prior."""
FAR = 2.0
"""Standard deviations of its prior, from the centre, from which on a number counts as far from it."""
CLOSE = 0.01
"""Share of the way between its bounds, from one of them, up to which a number that is not at a bound is close to it."""

WORDS = {
    "short_window": "The history window of {window:g} s is short for {called}, which still remembers {left:.1%} of a "
    "reset then; see --a_cutoff.",
    "at_lower_bound": "{called} ends at its lower bound, {number:.4g}{unit}.",
    "at_upper_bound": "{called} ends at its upper bound, {number:.4g}{unit}.",
    "close_to_lower_bound": "{called} ends close to its lower bound: {number:.4g}, and the bound is {bound:.4g}.",
    "close_to_upper_bound": "{called} ends close to its upper bound: {number:.4g}, and the bound is {bound:.4g}.",
    "held_by_prior": "{called} is held by its prior: the data leave {share:.0%} of the prior's variance.",
    "far_from_prior": "{called} ends {far:.1f} standard deviations {where} the centre of its prior.",
    "no_switching_rate": NO_SWITCHING_RATE,
}
"""What there is to find, in words."""


def findings(X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model) -> list[Finding]:
    """Return what the user should know about a fit.

    Parameters
    ----------
    X : array, (n,)
        Fitted numbers.
    activity : array, (B, M, T)
        To which they were fitted.
    recording : Recording
    model : Model
    """
    bounds = [*at_bounds(X, model), *close_to_bounds(X, model)]
    held = held_by_priors(X, activity, recording, model)
    return [*short_windows(X, model), *bounds, *held, *no_switching_rate(activity, model, recording)]


def short_windows(X: np.ndarray, model: Model, remains: float = 0.005) -> list[Finding]:
    """Find populations that still remember more than `remains` of a reset when the history window is over."""
    window = model.window_bins * model.dt
    left = np.exp(-from_X(X, model).membrane_rate * window)
    return [
        Finding("short_window", name, {"window": window, "left": float(part)})
        for name, part in zip(model.names, left, strict=True)
        if part > remains
    ]


def at_bounds(X: np.ndarray, model: Model) -> list[Finding]:
    """Find numbers that end at a bound."""
    free = model.fitted
    return [
        Finding(f"at_{which}_bound", name, {"number": float(number)})
        for name, which, number in zip(free.names, bound_reached(X, free.lower, free.upper), X, strict=True)
        if which
    ]


def close_to_bounds(X: np.ndarray, model: Model) -> list[Finding]:
    """Find numbers that end so close to a bound, though not at it, that it is likely to have stopped them.

    In a flat direction of the likelihood the optimiser ends where little is to be gained, on its way to the bound.
    """
    free = model.fitted
    found = []
    reached = bound_reached(X, free.lower, free.upper)
    for name, number, low, high, at in zip(free.names, X, free.lower, free.upper, reached, strict=True):
        near = CLOSE * (high - low)
        if at or not np.isfinite(near):
            continue
        for which, bound in (("lower", low), ("upper", high)):
            if abs(number - bound) < near:
                numbers = {"number": float(number), "bound": float(bound)}
                found.append(Finding(f"close_to_{which}_bound", name, numbers))
    return found


def held_by_priors(X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model) -> list[Finding]:
    """Find numbers that their Gaussian or log-normal prior decides rather than the data.

    A prior *holds* a number if the data leave at least half of its variance: var(number | data) >= `HELD` var(number).
    The posterior is approximated by a Gaussian with the curvature at the fit (Laplace), which `shares` explains; it
    counts that other numbers can make up for a change of this one. A number is *far* from its prior if it ends more
    than `FAR` standard deviations from the centre: data and prior disagree, and the result is a compromise.
    """
    free, informed = model.fitted, model.fitted.informed
    if not any(informed):
        return []
    found = []
    for name, prior, number, share in zip(free.names, informed, X, shares(X, activity, recording, model), strict=True):
        if prior is None:
            continue
        away = prior.distance(float(number))
        if share >= HELD:
            found.append(Finding("held_by_prior", name, {"share": float(share)}))
        if abs(away) > FAR:
            found.append(Finding("far_from_prior", name, {"distance": float(away)}))
    return found


def in_words(finding: Finding, called: str, unit: str = "") -> str:
    """Return a finding as a sentence about its subject, under the name that the reader knows it by.

    Parameters
    ----------
    finding : Finding
    called : str
        Such as ``"coupling I"`` or ``"coupling of I"``.
    unit : str
        Of a fitted number.

    Raises
    ------
    InputError
        It is no finding that this version makes.
    """
    away = finding.numbers.get("distance", 0.0)
    where = "above" if away > 0 else "below"
    return worded(finding, WORDS, called, unit, far=abs(away), where=where, times=times_of(finding))


def worded(finding: Finding, sentences: Mapping[str, str], called: str, unit: str, **more: Any) -> str:
    """Return the sentence of a finding's kind with its subject, unit, numbers, and what else it speaks of.

    Raises
    ------
    InputError
        There is no such sentence, or it speaks of more than there is.
    """
    try:
        return sentences[finding.kind].format(called=called, unit=f" {unit}" if unit else "", **more, **finding.numbers)
    except KeyError as error:
        raise InputError(
            f"findings: expected one of {', '.join(sentences)}, with its numbers, got {finding.kind} with "
            f"{', '.join(finding.numbers) or 'none'} ({error} is unknown)"
        ) from None
