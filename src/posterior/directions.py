"""Stiff and sloppy directions of a posterior: which combinations of numbers the data fix, and which they leave open.

They are eigenvectors of the covariance of the numbers, of logarithms where these can only be positive, each in units of
the width of its prior. Along a sloppy direction numbers change together and the spikes remain as likely.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from src.model.flat_order import ALL_UNITS, populations_of, slices
from src.model.free_parameters import FreeParameters
from src.posterior.prior import in_logs, prior_width, to_logs
from src.posterior.result import Posterior

COUNTS = 0.35
"""Share of the largest weight in a direction from which on a number is named."""
WIDTH = 2 * 1.645
"""Of the 90 % interval of a Gaussian, in standard deviations."""
RISES = {
    "membrane_rate": ("a faster membrane", "a slower membrane"),
    "coupling": ("a stronger coupling", "a weaker coupling"),
    "resting_potential": ("a higher resting potential", "a lower resting potential"),
    "threshold": ("a higher threshold", "a lower threshold"),
    "input_gain": ("a higher input gain", "a lower input gain"),
    "excitation": ("a stronger excitation", "a weaker excitation"),
    "inhibition": ("a stronger inhibition", "a weaker inhibition"),
}
"""What it means that numbers of a kind rise or fall."""


@dataclass(frozen=True)
class Direction:
    """An eigenvector.

    Parameters
    ----------
    weights : array, (n,)
        In units of the prior's widths; of length 1, the largest one positive.
    share : float
        Width of the posterior along it, in units of the prior's.
    ratio : float
        Of the number with the largest weight: factor between the ends of the 90 % interval along this direction, or
        their difference where the number is not taken by its logarithm.
    """

    weights: np.ndarray
    share: float
    ratio: float


def directions(posterior: Posterior) -> list[Direction]:
    """Return all directions, the sloppiest first.

    Raises
    ------
    InputError
        A number has neither a prior nor finite bounds.
    """
    free = posterior.model.fitted
    width, logs = prior_width(free), in_logs(free)
    scaled = to_logs(free, posterior.draws) / width
    variances, vectors = np.linalg.eigh(np.atleast_2d(np.cov(scaled.T)))
    found = []
    for variance, v in zip(variances[::-1], vectors.T[::-1], strict=True):
        main = int(np.abs(v).argmax())
        v = v * np.sign(v[main])
        share = WIDTH * float(np.sqrt(max(variance, 0)))
        change = share * v[main] * width[main]
        found.append(Direction(v, share, float(np.exp(change) if logs[main] else change)))
    return found


def named(direction: Direction) -> np.ndarray:
    """Return which numbers matter in a direction, by falling weight: int, (some,)."""
    order = np.argsort(-np.abs(direction.weights))
    return order[np.abs(direction.weights[order]) >= COUNTS * np.abs(direction.weights).max()]


def direction_lines(posterior: Posterior, number: int = 2) -> list[str]:
    """Return the sloppiest and the stiffest directions in words, so many sentences each at most.

    Raises
    ------
    InputError
        As `directions`.
    """
    free, found = posterior.model.fitted, directions(posterior)
    number = min(number, (len(found) + 1) // 2)
    return [
        *(_sloppy(each, free) for each in found[:number]),
        *(_stiff(each, free) for each in found[: number - 1 : -1][:number]),
    ]


def _sloppy(direction: Direction, free: FreeParameters) -> str:
    which = named(direction)
    main, rising, falling = which[0], *(which[direction.weights[which] * sign > 0] for sign in (1, -1))
    name, unit = called(which[:1], free), free.units[main]
    by = f"a factor of {direction.ratio:.3g}" if in_logs(free)[main] else f"{direction.ratio:.3g} {unit}".rstrip()
    extent = f"(90 % of the draws: {name} within {by})."
    if len(which) == 1:
        return f"Sloppy: {name} by itself {extent}"
    if len(falling):
        verbs = ("rises" if len(rising) == 1 else "rise", "falls" if len(falling) == 1 else "fall")
        moves = f"{called(rising, free)} {verbs[0]} while {called(falling, free)} {verbs[1]}"
    else:
        moves = f"{called(which, free)} move together"
    change, *others = changes(which, direction.weights, free)
    return f"Sloppy: {moves}{f': {change} is made up for by {_joined(others)}' if others else ''} {extent}"


def _stiff(direction: Direction, free: FreeParameters) -> str:
    which = named(direction)
    change, *others = changes(which, direction.weights, free)
    together = f": {change} cannot come with {_joined(others)}" if others else " together" if len(which) > 1 else ""
    known = f"{100 * direction.share:.2g} % of the width of the prior"
    return f"Stiff: {called(which, free)}{together or ' by itself'} (known to {known})."


def kind_of(k: int, free: FreeParameters) -> str:
    """Return the kind of a number: of a coupling, whether it excites or inhibits, if it does only one of them."""
    word = free.names[k].partition(" ")[0]
    if word != "coupling":
        return word
    entries = free.matrix[k, slices(populations_of(len(free.fixed)))["coupling"]]
    if (entries > 0).any() and (entries < 0).any():
        return word
    return "excitation" if (entries > 0).any() else "inhibition"


def changes(which: np.ndarray, weights: np.ndarray, free: FreeParameters) -> list[str]:
    """Return what the changes of numbers amount to, such as "a stronger inhibition"; those of a kind and sign once.

    Where numbers of a kind rise and others fall, the words say which: "a higher threshold of E1".
    """
    groups: dict[tuple[str, bool], list[int]] = {}
    for k in which:
        groups.setdefault((kind_of(int(k), free), bool(weights[k] > 0)), []).append(int(k))
    words = []
    for (kind, rises), members in groups.items():
        change = RISES[kind][0 if rises else 1]
        if (kind, not rises) in groups:
            places = [_place(free.names[k].partition(" ")[2]) for k in sorted(members)]
            change += f" {'of' if kind in ALL_UNITS and kind != 'coupling' else 'from'} {_joined(places)}"
        words.append(change)
    return words


def called(which: np.ndarray, free: FreeParameters) -> str:
    """Return the names of numbers, those of a kind together: "coupling I and all resting potentials"."""
    groups: dict[str, list[str]] = {}
    for k in which:
        word, _, place = free.names[k].partition(" ")
        groups.setdefault(word, []).append(place)
    parts = []
    for word, places in groups.items():
        plain, of_kind = word.replace("_", " "), [name.partition(" ")[2] for name in free.names if _is(name, word)]
        if places == ["shared"]:
            parts.append(f"the shared {plain}")
        elif len(places) == len(of_kind) > 1:
            parts.append(f"{'both' if len(places) == 2 else 'all'} {plain}s")
        else:
            in_order = [_place(place) for place in of_kind if place in places]
            parts.append(f"{plain}{'s' if len(places) > 1 else ''} {_joined(in_order)}")
    return _joined(parts)


def _is(name: str, word: str) -> bool:
    return name.partition(" ")[0] == word


def _place(place: str) -> str:
    return place.replace("->", "→")


def _joined(words: Iterable[str]) -> str:
    """Return words in a row: "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
