"""The order in which all parameters of a circuit stand in one vector: alpha, J row by row, mu, theta, input gains.

Symbols: M populations, F = 3 M + M^2 parameters, or 4 M + M^2 of a circuit that weighs its external input by a gain
per population. No number is both, for any M, so that the length of a vector says of which kind it is.
`Parameters.flat` and the fitted numbers go by this order.
"""

from collections.abc import Sequence

import numpy as np

UNITS = {"membrane_rate": "1/s", "coupling": "", "resting_potential": "", "threshold": ""}
"""The kinds of parameters in their order, by the names that they have in `Parameters`, and their units."""
INPUT_GAIN = "input_gain"
"""The kind that only circuits with gains have; it stands last. Its unit is 1/s in that of the stimulus."""
ALL_UNITS = {**UNITS, INPUT_GAIN: ""}
"""`UNITS` of a circuit with gains."""


def kinds(gains: bool = False) -> tuple[str, ...]:
    """Return the kinds of parameters of a circuit without or with input gains."""
    return tuple(ALL_UNITS if gains else UNITS)


def shapes(M: int, gains: bool = False) -> dict[str, tuple[int, ...]]:
    """Return the shape of each kind of parameter."""
    return {word: (M, M) if word == "coupling" else (M,) for word in kinds(gains)}


def slices(M: int, gains: bool = False) -> dict[str, slice]:
    """Return where each kind of parameter stands in the vector."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes(M, gains).values()]).tolist()
    return {word: slice(begin, end) for word, begin, end in zip(kinds(gains), [0, *ends], ends, strict=False)}


def places(word: str, M: int) -> np.ndarray:
    """Return where the parameters of a kind stand in the vector: int, (M,), or (M, M) for couplings from j to m."""
    where = slices(M, gains=True)[word]
    return np.arange(where.start, where.stop).reshape(shapes(M, gains=True)[word])


def number_of(M: int, gains: bool = False) -> int:
    """Return the number F of parameters of M populations."""
    return slices(M, gains)[kinds(gains)[-1]].stop


def populations_of(F: int) -> int:
    """Return the number M of populations with F parameters, input gains among them or not."""
    return round(np.sqrt(4 + F) - 2) if has_gains(F) else round((np.sqrt(9 + 4 * F) - 3) / 2)


def has_gains(F: int) -> bool:
    """Tell whether there are input gains among F parameters."""
    return number_of(round((np.sqrt(9 + 4 * F) - 3) / 2)) != F and number_of(round(np.sqrt(4 + F) - 2), True) == F


def names_of_flat(names: Sequence[str], gains: bool = False) -> list[str]:
    """Return a name for each parameter, (F,), such as ``"threshold E1"`` and ``"coupling E1->I"``."""
    connections = [f"{one}->{other}" for one in names for other in names]
    return [f"{word} {place}" for word in kinds(gains) for place in (connections if word == "coupling" else names)]


def of_populations(M: int, gains: bool = False) -> np.ndarray:
    """Return where alpha_m, J_1m ... J_Mm, mu_m and theta_m of each population m stand in the vector: (M, M+3).

    With an input gain, which comes before theta_m, they are M + 4.
    """
    after = ("resting_potential", *((INPUT_GAIN,) if gains else ()), "threshold")
    alone = [places(word, M)[:, None] for word in ("membrane_rate", *after)]
    return np.hstack([alone[0], places("coupling", M).T, *alone[1:]])
