"""Which numbers a fit is free to choose, and how the parameters of the model follow from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from src.model.flat_order import UNITS, number_of, places
from src.model.priors import Gaussian, LogNormal, Prior, Uniform, prior_as_dict, prior_from_dict
from src.utils.exceptions import InputError

ABSENT = {"lower": -np.inf, "upper": np.inf, "start_lower": np.nan, "start_upper": np.nan, "scale": 1.0}
"""What arrays of `FreeParameters` hold where nothing was said."""


@dataclass(frozen=True)
class FreeParameters:
    """The fitted numbers X, (n,), of which the parameters are a linear function: flat = fixed + X @ matrix.

    "flat" is all parameters in the order of `src.model.flat_order`, F numbers. The magnitude of a coupling is fitted;
    its sign stands in the matrix. Arrays that are left out mean no bounds, no start, and a scale of one.

    Parameters
    ----------
    names, units : tuple of str, (n,)
        Such as ``"membrane_rate E1"`` and ``"1/s"``.
    fixed : array, (F,)
        Parameters that are not fitted; 0 for those that are.
    matrix : array, (n, F)
        Its column of a parameter has one entry other than 0, or none if it is not fitted.
    lower, upper : array, (n,)
        Bounds of the M-step.
    start_lower, start_upper : array, (n,)
        A fit starts at a number drawn uniformly between them.
    scale : array, (n,)
        Brings the numbers to order one.
    priors : tuple of Prior or None, (n,)

    Raises
    ------
    InputError
        Lengths do not agree, bounds are in the wrong order, or the scale is not positive.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    fixed: np.ndarray
    matrix: np.ndarray
    lower: np.ndarray = None  # type: ignore[assignment]
    upper: np.ndarray = None  # type: ignore[assignment]
    start_lower: np.ndarray = None  # type: ignore[assignment]
    start_upper: np.ndarray = None  # type: ignore[assignment]
    scale: np.ndarray = None  # type: ignore[assignment]
    priors: tuple[Prior | None, ...] = ()

    def __post_init__(self) -> None:
        """Fill in what was left out, and check what would give a silently wrong result."""
        n = len(self.names)
        for key, value in ABSENT.items():
            given = getattr(self, key)
            object.__setattr__(self, key, np.full(n, value) if given is None else np.asarray(given, float))
        object.__setattr__(self, "priors", tuple(self.priors) or (None,) * n)
        lengths = {key: len(getattr(self, key)) for key in ("units", "matrix", *ABSENT, "priors")}
        if set(lengths.values()) != {n} or self.matrix.shape != (n, len(self.fixed)):
            raise InputError(f"free parameters: expected {n} of each, got {lengths}, matrix {self.matrix.shape}")
        wrong = [name for name, low, high in zip(self.names, self.lower, self.upper, strict=True) if not low < high]
        if wrong:
            raise InputError(f"{', '.join(wrong)}: expected a lower bound below the upper one")
        if not (self.scale > 0).all():
            raise InputError(f"scale: expected positive numbers, got {self.scale.tolist()}")

    def flat(self, X: np.ndarray) -> np.ndarray:
        """Return the parameters that X stands for, (F,)."""
        return self.fixed + np.asarray(X, float) @ self.matrix

    def gradient(self, flat: np.ndarray) -> np.ndarray:
        """Bring a gradient with respect to the parameters, (F,), to the fitted numbers, (n,), by the chain rule."""
        # Summed from left to right, and not as a BLAS sees fit: the same seed has to give the same numbers.
        return np.cumsum(self.matrix * flat, axis=1)[:, -1]

    def numbers(self, flat: np.ndarray) -> np.ndarray:
        """Return X, (n,), for parameters (F,) whose couplings are magnitudes; of tied parameters, the largest."""
        factor = np.abs(self.matrix)
        ratios = np.divide(flat, factor, out=np.full(factor.shape, -np.inf), where=factor > 0)
        largest = ratios.max(axis=1, initial=-np.inf)
        return np.where(factor.any(axis=1), largest, 0.0)

    def around(self, X: np.ndarray, lb: float, ub: float) -> "FreeParameters":
        """Return the same with bounds and starts from `lb` to `ub` times X, (n,).

        Raises
        ------
        InputError
            One of them is 0, and has no multiples.
        """
        zero = [name for name, number in zip(self.names, X, strict=True) if not abs(number) > 0]
        if zero:
            raise InputError(f"{', '.join(zero)}: expected a value other than 0, of which bounds are multiples, got 0")
        ends = np.sort([lb * X, ub * X], axis=0)
        return replace(self, lower=ends[0], upper=ends[1], start_lower=ends[0], start_upper=ends[1], scale=np.abs(X))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return numbers to start a fit from, (n,).

        Raises
        ------
        InputError
            There is no range to draw from.
        """
        unknown = ~np.isfinite(self.start_lower + self.start_upper)
        if unknown.any():
            missing = ", ".join(np.array(self.names)[unknown])
            raise InputError(f"start: expected a range for {missing}, got none")
        low, high = self.start_lower / self.scale, self.start_upper / self.scale
        return np.clip(rng.uniform(low, high) * self.scale, self.start_lower, self.start_upper)

    def prior_loss(self, X: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the log-density of the priors at X, (n,), and its gradient; zeros where there is none."""
        parts = [(0.0, 0.0) if p is None else p.loss(float(x)) for p, x in zip(self.priors, X, strict=True)]
        return sum(value for value, _ in parts), np.array([slope for _, slope in parts])

    @property
    def informed(self) -> tuple[Gaussian | LogNormal | None, ...]:
        """Priors that prefer some values over others; None where there is none, or a uniform one."""
        return tuple(None if isinstance(prior, Uniform) else prior for prior in self.priors)

    def prior_curvature(self, X: np.ndarray) -> np.ndarray:
        """Return one over the variance of each prior around X, (n,); zeros where there is none, or a uniform one."""
        widths = zip(self.informed, X, strict=True)
        return np.array([0.0 if prior is None else prior.width(float(x)) ** -2 for prior, x in widths])

    def as_dict(self) -> dict[str, Any]:
        """Return it in plain numbers and words, as JSON can hold: the matrix by its entries, null for no bound."""
        rows, columns = np.nonzero(self.matrix)
        entries = [[int(k), int(e), float(self.matrix[k, e])] for k, e in zip(rows, columns, strict=True)]
        return {
            "names": list(self.names),
            "units": list(self.units),
            "fixed": self.fixed.tolist(),
            "matrix": entries,
            **{key: [float(x) if np.isfinite(x) else None for x in getattr(self, key)] for key in ABSENT},
            "priors": [prior_as_dict(prior) for prior in self.priors],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "FreeParameters":
        """Undo `as_dict`."""
        fixed, n = np.array(content["fixed"], float), len(content["names"])
        matrix = np.zeros((n, len(fixed)))
        for k, entry, factor in content["matrix"]:
            matrix[k, entry] = factor
        ranges = {
            key: np.array([value if x is None else x for x in content[key]], float) for key, value in ABSENT.items()
        }
        priors = tuple(prior_from_dict(prior) for prior in content["priors"])
        return cls(tuple(content["names"]), tuple(content["units"]), fixed, matrix, **ranges, priors=priors)


def one_per_presynaptic(connectivity: np.ndarray, names: Sequence[str]) -> FreeParameters:
    """Return the published choice: all alpha, one magnitude of J per presynaptic population, all mu, all theta.

    Parameters
    ----------
    connectivity : array, (M, M)
        Signs.
    names : sequence of str, (M,)
        Of the populations.
    """
    M = len(names)
    J, matrix = places("coupling", M), np.zeros((len(UNITS) * M, number_of(M)))
    for k, word in enumerate(UNITS):
        for m, row in enumerate(matrix[k * M : (k + 1) * M]):
            if word == "coupling":
                row[J[m]] = connectivity[m]
            else:
                row[places(word, M)[m]] = 1
    return FreeParameters(
        names=tuple(f"{word} {name}" for word in UNITS for name in names),
        units=tuple(unit for unit in UNITS.values() for _ in names),
        fixed=np.zeros(matrix.shape[1]),
        matrix=matrix,
    )


def bound_reached(X: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> list[str]:
    """Return ``"lower"``, ``"upper"`` or nothing for each of the fitted numbers X, (n,)."""
    between = np.asarray(upper) - lower
    near = 1e-6 * np.where(np.isfinite(between), between, 0)
    reached = zip(np.asarray(X) <= lower + near, np.asarray(X) >= np.asarray(upper) - near, strict=True)
    return ["lower" if low else "upper" if high else "" for low, high in reached]
