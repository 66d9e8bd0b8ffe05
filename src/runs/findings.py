"""What a finished training has to say for itself, in plain words: windows, bounds, and fits that a prior holds."""

import numpy as np

from src.helper import from_X
from src.inference.laplace import shares
from src.model.containers import Model, Recording
from src.model.free_parameters import bound_reached
from src.model.priors import Uniform

HELD = 0.5
"""Share of its prior's variance from which on a number counts as held by the prior."""
FAR = 2.0
"""Standard deviations of its prior, from the centre, from which on a number counts as far from it."""
CLOSE = 0.01
"""Share of the way between its bounds, from one of them, up to which a number that is not at a bound is close to it."""


def remarks(X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model) -> list[str]:
    """Return one line for each thing that the user should know about a fit.

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
    return [*short_windows(X, model), *bounds, *held_by_priors(X, activity, recording, model)]


def short_windows(X: np.ndarray, model: Model, remains: float = 0.005) -> list[str]:
    """Say which populations still remember more than `remains` of a reset when the history window is over."""
    left = np.exp(-from_X(X, model).membrane_rate * model.window_bins * model.dt)
    window = f"The history window of {model.window_bins * model.dt:g} s is short for"
    return [
        f"{window} {name}, which still remembers {part:.1%} of a reset then; see --a_cutoff."
        for name, part in zip(model.names, left, strict=True)
        if part > remains
    ]


def at_bounds(X: np.ndarray, model: Model) -> list[str]:
    """Say which numbers end at a bound."""
    free = model.fitted
    reached = bound_reached(X, free.lower, free.upper)
    return [
        f"{name} ends at its {which} bound, {number:.4g} {unit}".rstrip() + "."
        for name, which, number, unit in zip(free.names, reached, X, free.units, strict=True)
        if which
    ]


def close_to_bounds(X: np.ndarray, model: Model) -> list[str]:
    """Say which numbers end so close to a bound, though not at it, that it is likely to have stopped them.

    In a flat direction of the likelihood the optimiser ends where little is to be gained, on its way to the bound.
    """
    free = model.fitted
    lines = []
    reached = bound_reached(X, free.lower, free.upper)
    for name, number, low, high, at in zip(free.names, X, free.lower, free.upper, reached, strict=True):
        near = CLOSE * (high - low)
        if at or not np.isfinite(near):
            continue
        for which, bound in (("lower", low), ("upper", high)):
            if abs(number - bound) < near:
                lines.append(f"{name} ends close to its {which} bound: {number:.4g}, and the bound is {bound:.4g}.")
    return lines


def held_by_priors(X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model) -> list[str]:
    """Say which numbers their Gaussian or log-normal prior decides rather than the data.

    A prior *holds* a number if the data leave at least half of its variance: var(number | data) >= `HELD` var(number).
    The posterior is approximated by a Gaussian with the curvature at the fit (Laplace), which `shares` explains; it
    counts that other numbers can make up for a change of this one. A number is *far* from its prior if it ends more
    than `FAR` standard deviations from the centre: data and prior disagree, and the result is a compromise.
    """
    free = model.fitted
    informed = [None if isinstance(prior, Uniform) else prior for prior in free.priors]
    if not any(informed):
        return []
    lines = []
    for name, prior, number, share in zip(free.names, informed, X, shares(X, activity, recording, model), strict=True):
        if prior is None:
            continue
        away = prior.distance(float(number))
        if share >= HELD:
            lines.append(f"{name} is held by its prior: the data leave {share:.0%} of the prior's variance.")
        if abs(away) > FAR:
            side = "above" if away > 0 else "below"
            lines.append(f"{name} ends {abs(away):.1f} standard deviations {side} the centre of its prior.")
    return lines
