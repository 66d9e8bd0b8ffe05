"""Priors of fitted numbers: Gaussian, log-normal and uniform, as minus their log-density with its slope."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from src.utils.exceptions import InputError

LN_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution with its `mean` and standard deviation `sd`, in the unit of the number."""

    kind: ClassVar[str] = "gaussian"
    mean: float
    sd: float

    def __post_init__(self) -> None:
        _positive(self, "sd")

    def loss(self, x: float) -> tuple[float, float]:
        """Return -ln p(x) and its derivative."""
        z = self.distance(x)
        return (z * z + LN_2PI) / 2 + math.log(self.sd), z / self.sd

    def distance(self, x: float) -> float:
        """Return how many standard deviations x lies above the centre."""
        return (x - self.mean) / self.sd

    def width(self, x: float) -> float:
        """Return the standard deviation, in the unit of the number, as it is around x."""
        return self.sd


@dataclass(frozen=True)
class LogNormal:
    """A distribution of positive numbers whose logarithm is normal: its `median`, and the `sigma` of the logarithm.

    The density is that of the number itself, not of its logarithm; its mode is median exp(-sigma^2).
    """

    kind: ClassVar[str] = "log-normal"
    median: float
    sigma: float

    def __post_init__(self) -> None:
        _positive(self, "median")
        _positive(self, "sigma")

    def loss(self, x: float) -> tuple[float, float]:
        """Return -ln p(x) and its derivative; x must be positive."""
        z = self.distance(x)
        return (z * z + LN_2PI) / 2 + math.log(self.sigma * x), (z / self.sigma + 1) / x

    def distance(self, x: float) -> float:
        """Return how many standard deviations ln x lies above the centre."""
        return math.log(x / self.median) / self.sigma

    def width(self, x: float) -> float:
        """Return the standard deviation, in the unit of the number, as it is around x."""
        return self.sigma * x


@dataclass(frozen=True)
class Uniform:
    """The same density from `low` to `high`; the bounds of a fit keep the number there."""

    kind: ClassVar[str] = "uniform"
    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise InputError(f"uniform prior: expected finite low < high, got {self.low:g} and {self.high:g}")

    def loss(self, x: float) -> tuple[float, float]:
        """Return -ln p(x) and its derivative."""
        return math.log(self.high - self.low), 0.0


Prior = Gaussian | LogNormal | Uniform
PRIORS: dict[str, type[Gaussian] | type[LogNormal] | type[Uniform]] = {
    kind.kind: kind for kind in (Gaussian, LogNormal, Uniform)
}


def _positive(prior: Any, name: str) -> None:
    for field in fields(prior):
        if not math.isfinite(getattr(prior, field.name)):
            raise InputError(
                f"{prior.kind} prior: {field.name}: expected a finite number, got {getattr(prior, field.name)}"
            )
    if not getattr(prior, name) > 0:
        raise InputError(f"{prior.kind} prior: {name}: expected a positive number, got {getattr(prior, name):g}")


def prior_as_dict(prior: Prior | None) -> dict[str, Any] | None:
    """Return it in plain numbers and words, as JSON can hold."""
    return None if prior is None else {"kind": prior.kind, **asdict(prior)}


def prior_from_dict(content: dict[str, Any] | None) -> Prior | None:
    """Undo `prior_as_dict`."""
    if content is None:
        return None
    return PRIORS[content["kind"]](**{key: value for key, value in content.items() if key != "kind"})
