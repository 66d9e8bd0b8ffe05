"""The order in which all parameters of a circuit stand in one vector: alpha, J row by row, mu, theta.

Symbols: M populations, F = 3 M + M^2 parameters. `Parameters.flat` and the fitted numbers go by this order.
"""

from collections.abc import Sequence

import numpy as np

UNITS = {"membrane_rate": "1/s", "coupling": "", "resting_potential": "", "threshold": ""}
"""The kinds of parameters in their order, by the names that they have in `Parameters`, and their units."""


def shapes(M: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each kind of parameter."""
    return {word: (M, M) if word == "coupling" else (M,) for word in UNITS}


def slices(M: int) -> dict[str, slice]:
    """Return where each kind of parameter stands in the vector."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes(M).values()]).tolist()
    return {word: slice(begin, end) for word, begin, end in zip(UNITS, [0, *ends], ends, strict=False)}


def places(word: str, M: int) -> np.ndarray:
    """Return where the parameters of a kind stand in the vector: int, (M,), or (M, M) for couplings from j to m."""
    where = slices(M)[word]
    return np.arange(where.start, where.stop).reshape(shapes(M)[word])


def number_of(M: int) -> int:
    """Return the number F of parameters of M populations."""
    return slices(M)["threshold"].stop


def populations_of(F: int) -> int:
    """Return the number M of populations with F parameters."""
    return round((np.sqrt(9 + 4 * F) - 3) / 2)


def names_of_flat(names: Sequence[str]) -> list[str]:
    """Return a name for each parameter, (F,), such as ``"threshold E1"`` and ``"coupling E1->I"``."""
    connections = [f"{one}->{other}" for one in names for other in names]
    return [f"{word} {place}" for word in UNITS for place in (connections if word == "coupling" else names)]


def of_populations(M: int) -> np.ndarray:
    """Return where alpha_m, J_1m ... J_Mm, mu_m and theta_m of each population m stand in the vector: (M, M+3)."""
    alone = [places(word, M)[:, None] for word in ("membrane_rate", "resting_potential", "threshold")]
    return np.hstack([alone[0], places("coupling", M).T, *alone[1:]])
