"""A circuit: its populations, their connections, and which parameters are known, fitted, bounded and how.

`src.model.circuit_file` reads one from a file; the winner-take-all circuit of the paper is a file, too.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from src.model.containers import Model, Parameters, whole_bins
from src.model.flat_order import has_gains, kinds, slices
from src.model.free_parameters import FreeParameters
from src.model.labels import as_text
from src.model.priors import LogNormal, Prior, Uniform
from src.model.scheme import SCHEMES
from src.utils.exceptions import InputError


@dataclass(frozen=True)
class Number:
    """A number that is fitted.

    Parameters
    ----------
    name, unit : str
        Such as ``"coupling I"`` and ``""``.
    entries : tuple of int
        Parameters that are multiples of it, by their place in `Parameters.flat`.
    factors : tuple of float
        How many times the number they are; negative for the couplings of inhibition.
    bounds, start : two floats, or None
        In the unit of the number. Without bounds they are multiples of a known value, without a start it is the bounds.
    prior : Prior or None
    """

    name: str
    unit: str
    entries: tuple[int, ...]
    factors: tuple[float, ...]
    bounds: tuple[float, float] | None = None
    start: tuple[float, float] | None = None
    prior: Prior | None = None


@dataclass(frozen=True)
class Circuit:
    """A circuit, independent of the bins on which it is simulated or fitted.

    Parameters
    ----------
    source : str
        Its file, for messages.
    names : tuple of str, (M,)
    population_size : array, (M,)
    synaptic_rate : array, (M,), 1/s
    strength : array, (M, M)
        A coupling is its magnitude times this: the sign, times a relative strength; 0 where there is no connection.
    values : array, (F,)
        Known or assumed values, in the order of `src.model.flat_order`; NaN where there is none.
    numbers : tuple of Number
        What is fitted; all other parameters are fixed at their values.
    refractory_time, delay : float, s
    dt : float, s
        Bins of a fit.
    window : float or None, s
        History window of a fit; None is the scheme's.
    scheme, likelihood : str
        Of a fit.
    multiples : two floats, or None
        Bounds of numbers that have none of their own, in multiples of their values.
    labels : tuple of tuple of str, (M,), or None
        Labels of the data whose units are of each population; None: that of its name.
    input_lag : array, (M,), s, or None
        How much later than the stimulus the external input of each population is; None: at once.
    """

    source: str
    names: tuple[str, ...]
    population_size: np.ndarray
    synaptic_rate: np.ndarray
    strength: np.ndarray
    values: np.ndarray
    numbers: tuple[Number, ...]
    refractory_time: float
    delay: float
    dt: float
    window: float | None
    scheme: str
    likelihood: str
    multiples: tuple[float, float] | None
    labels: tuple[tuple[str, ...], ...] | None = None
    input_lag: np.ndarray | None = None

    def changed(self, text: str) -> "Circuit":
        """Return the circuit with changes such as ``"coupling I=15,threshold E1=4"`` to sizes, rates and values.

        A coupling is given by its magnitude, for all connections from that population; they keep their signs.

        Raises
        ------
        InputError
            A change is not of this form, or names no parameter or no population.
        """
        sizes, rates = self.population_size.copy(), self.synaptic_rate.copy()
        parts = Parameters.from_flat(self.values).parts()
        changed = {"population_size": sizes, "synaptic_rate": rates, **{key: parts[key].copy() for key in parts}}
        for part in filter(str.strip, text.split(",")):
            match = re.fullmatch(r"\s*(\w+)\s+(.+?)\s*=\s*(\S+)\s*", part)
            if not match or match[1] not in changed or match[2] not in self.names:
                raise InputError(
                    f"param: expected NAME POPULATION=NUMBER with a name out of {', '.join(changed)} "
                    f"and a population out of {', '.join(self.names)}, got {part.strip()!r}"
                )
            try:
                number = float(match[3])
            except ValueError:
                raise InputError(f"param: expected a number, got {match[3]!r} in {part.strip()!r}") from None
            if match[1] == "coupling" and not number >= 0:
                raise InputError(f"param: expected a magnitude of at least 0, got {part.strip()!r}")
            m = self.names.index(match[2])
            changed[match[1]][m] = number * self.strength[m] if match[1] == "coupling" else number
        kept = kinds(has_gains(len(self.values)))
        values = Parameters(*(changed[key] for key in kept)).flat()
        return replace(self, population_size=sizes, synaptic_rate=rates, values=values)

    def model(self, dt: float, **changes: Any) -> Model:
        """Return what is known about the circuit, on bins of `dt` s; `changes` go to `Model`.

        Refractory time and delay are rounded to whole bins, the refractory time to at least one.
        """
        refractory_bins, delay_bins = whole_bins(self.refractory_time, self.delay, dt)
        known: dict[str, Any] = {
            "population_size": self.population_size,
            "synaptic_rate": self.synaptic_rate,
            "connectivity": np.sign(self.strength),
            "dt": dt,
            "window_bins": refractory_bins + 1,  # of a fit; where nothing is fitted, any valid number serves
            "refractory_bins": refractory_bins,
            "delay_bins": delay_bins,
            "refractory_time": self.refractory_time,
            "delay": self.delay,
            "names": self.names,
            "input_lag": self.input_lag,
        }
        return Model(**{**known, **changes})

    def free_parameters(self, lb: float | None = None, ub: float | None = None) -> FreeParameters:
        """Return which numbers are fitted, between which bounds.

        Parameters
        ----------
        lb, ub : float or None
            If given, all bounds and starts are these multiples of the values.

        Raises
        ------
        InputError
            A bound is to be a multiple of a value that is 0 or not given, or bounds and priors contradict each other.
        """
        free = self._free()
        reference = self._reference(free)
        ranges = []
        for number, value in zip(self.numbers, reference, strict=True):
            found = _ranges(number, float(value), self._multiples(lb, ub), lb is not None or ub is not None)
            if found is None:
                raise InputError(f"{number.name}: expected bounds, or a value other than 0 of which they are multiples")
            ranges.append(found)
        lower, upper, start_lower, start_upper = np.array(ranges).reshape(-1, 4).T
        known = np.isfinite(reference) & (reference != 0)
        scale = np.where(known, np.abs(reference), np.maximum(np.abs(lower), np.abs(upper)) / 2)
        return replace(free, lower=lower, upper=upper, scale=scale, start_lower=start_lower, start_upper=start_upper)

    def _free(self) -> FreeParameters:
        """Return the fitted numbers without their bounds."""
        matrix = np.zeros((len(self.numbers), len(self.values)))
        for row, number in zip(matrix, self.numbers, strict=True):
            row[list(number.entries)] = number.factors
        fitted = matrix.any(axis=0)
        return FreeParameters(
            names=tuple(number.name for number in self.numbers),
            units=tuple(number.unit for number in self.numbers),
            fixed=np.where(fitted, 0.0, self.values),
            matrix=matrix,
            priors=tuple(number.prior for number in self.numbers),
        )

    def _reference(self, free: FreeParameters) -> np.ndarray:
        """Return the known value of each fitted number, NaN where there is none."""
        magnitudes, J = self.values.copy(), slices(len(self.names))["coupling"]
        magnitudes[J] = np.abs(magnitudes[J])
        return free.numbers(magnitudes)

    def check(self) -> None:
        """Raise an error about bounds, starts and priors that contradict each other; bounds may be missing."""
        for number, value in zip(self.numbers, self._reference(self._free()), strict=True):
            _ranges(number, float(value), self.multiples, False)

    def _multiples(self, lb: float | None, ub: float | None) -> tuple[float, float] | None:
        own = self.multiples
        if own is None and (lb is None) != (ub is None):
            raise InputError(f"lb, ub: expected both, because {self.source} says neither, got one")
        if own is None and lb is None:
            return None
        low, high = (given if given is not None else (own or (0, 0))[k] for k, given in enumerate((lb, ub)))
        if low >= high:
            raise InputError(f"lb: expected less than ub, {high:g}, got {low:g}")
        return low, high


def _ranges(
    number: Number, value: float, multiples: tuple[float, float] | None, given: bool
) -> tuple[float, ...] | None:
    """Return lower and upper bound, and the range of the start, of a number whose known value is `value`, or None."""
    bounds, start, prior = (None, None, number.prior) if given else (number.bounds, number.start, number.prior)
    if bounds is None and isinstance(prior, Uniform) and not given:
        bounds = prior.low, prior.high
    if bounds is None and multiples is not None and np.isfinite(value) and value != 0:
        low, high = sorted((multiples[0] * value, multiples[1] * value))
        bounds = low, high
    if bounds is None:
        return None
    low, high = bounds
    if isinstance(prior, Uniform):
        low, high = max(low, prior.low), min(high, prior.high)
        if low >= high:
            raise InputError(
                f"{number.name}: expected bounds that overlap with the uniform prior from {prior.low:g} to "
                f"{prior.high:g}, got {bounds[0]:g} to {bounds[1]:g}"
            )
    if isinstance(prior, LogNormal) and not low > 0:
        raise InputError(f"{number.name}: expected a positive lower bound beside a log-normal prior, got {low:g}")
    first, last = start or (low, high)
    if not low <= first <= last <= high:
        raise InputError(
            f"{number.name}: expected a start inside the bounds, {low:g} to {high:g}, got {first:g} to {last:g}"
        )
    return low, high, first, last


def for_simulation(circuit: Circuit, dt: float) -> tuple[Model, Parameters]:
    """Return a circuit on steps of `dt` s, and its parameters.

    Raises
    ------
    InputError
        A parameter has no value.
    """
    parameters = Parameters.from_flat(circuit.values)
    for word, part in parameters.parts().items():
        missing = np.argwhere(np.isnan(part))
        if len(missing):
            where = "->".join(circuit.names[m] for m in missing[0])
            raise InputError(f"{circuit.source}: {word} of {where}: expected a value to simulate with, got none")
    return circuit.model(dt), parameters


def for_fit(circuit: Circuit, settings: Any) -> tuple[Any, Model]:
    """Return what a fit knows of a circuit and what it is free to choose.

    Parameters
    ----------
    circuit : Circuit
    settings : dataclass
        Options of train_meso.py: those that are given go before what the circuit says.

    Returns
    -------
    settings : dataclass
        With what the fit uses where an option was not given.
    model : Model

    Raises
    ------
    InputError
        Nothing is fitted, the bounds cannot be made, or the window is too short for the bins.
    """
    scheme = settings.scheme or circuit.scheme
    used = replace(
        settings,
        dt=settings.dt or circuit.dt,
        a_cutoff=settings.a_cutoff or circuit.window or SCHEMES[scheme].window,
        scheme=scheme,
        likelihood=settings.likelihood or circuit.likelihood,
        labels=settings.labels or (as_text(circuit.names, circuit.labels) if circuit.labels else None),
    )
    if not circuit.numbers:
        raise InputError(f"{circuit.source}: expected at least one parameter to fit, got only fixed ones")
    free = circuit.free_parameters(settings.lb, settings.ub)
    grid = {"window_bins": round(used.a_cutoff / used.dt), "scheme": SCHEMES[scheme], "counts": used.likelihood}
    try:
        model = circuit.model(used.dt, **grid)
    except InputError as error:
        raise InputError(f"window {used.a_cutoff:g} at dt {used.dt:g}: {error}") from None
    return used, replace(model, free=free)
