"""The containers that all code passes around: the symbol table of the equations, with a shape and a unit for each.

Symbols: M populations, B trials, A bins of history window, T fitted bins, n_obs recorded neurons per population.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from src.model.flat_order import has_gains, number_of, populations_of, shapes, slices
from src.model.free_parameters import FreeParameters, one_per_presynaptic
from src.model.scheme import PUBLISHED, SCHEMES, Scheme
from src.utils.exceptions import InputError

COUNTS = ("gaussian", "binomial")
"""How the activity of a bin scatters about its mean."""

MASKS = ("judged", "recorded", "observed", "left_out")
"""Fields of a recording that say what counts; each may be None, which is all."""

ACTIVITY_RANGE = (1e-5, 1.0)
"""Least and largest fraction of a population that an estimate of the activity may take."""


def whole_bins(refractory_time: float, delay: float, dt: float) -> tuple[int, int]:
    """Return refractory time and delay, in s, as whole bins of `dt` s; of the refractory time at least one."""
    return max(1, round(refractory_time / dt)), round(delay / dt)


@dataclass(frozen=True)
class Model:
    """What is known about the circuit, and the grid on which it is fitted.

    Parameters
    ----------
    population_size : array, (M,)
        Neurons in each population.
    synaptic_rate : array, (M,), 1/s
        1 / tau_syn of each presynaptic population.
    connectivity : array, (M, M)
        Sign of the connection from population j (row) to population m (column); 0 where there is none.
    dt : float, s
        Bin width.
    window_bins : int
        Length A of the history window.
    refractory_bins, delay_bins : int
        Refractory time (at least 1) and synaptic delay.
    names : tuple of str
        One name per population.
    scheme : Scheme
        How time is cut into bins.
    counts : {"gaussian", "binomial"}
        How the activity of a bin scatters about its mean, in the likelihood.
    refractory_time, delay : float or None, s
        What the bins stand for, where they round it.
    free : FreeParameters or None
        Which numbers are fitted. None: all alpha, one magnitude of J per presynaptic population, all mu, all theta.
    input_lag : array, (M,), s, or None
        How much later than the stimulus the external input of each population is; whoever reads or makes a stimulus
        shifts it. None: at once.
    """

    population_size: np.ndarray
    synaptic_rate: np.ndarray
    connectivity: np.ndarray
    dt: float = 0.004
    window_bins: int = 250
    refractory_bins: int = 1
    delay_bins: int = 0
    names: tuple[str, ...] = ()
    scheme: Scheme = PUBLISHED
    counts: str = COUNTS[0]
    refractory_time: float | None = None
    delay: float | None = None
    free: FreeParameters | None = None
    input_lag: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Bring the arrays to their types and check what would give a silently wrong result."""
        for name, kind in (("population_size", float), ("synaptic_rate", float), ("connectivity", float)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        M = self.n_populations
        names = self.names or tuple(f"population {m + 1}" for m in range(M))
        object.__setattr__(self, "names", names)
        for name, shape in (("population_size", (M,)), ("synaptic_rate", (M,)), ("connectivity", (M, M))):
            came = getattr(self, name)
            if came.shape != shape or not np.isfinite(came).all():
                raise InputError(f"{name}: expected {shape} finite numbers, got shape {came.shape}: {came.tolist()}")
        if len(names) != M:
            raise InputError(f"names: expected {M}, got {len(names)}: {', '.join(names)}")
        if (self.population_size <= 0).any() or (self.synaptic_rate <= 0).any():
            raise InputError("population_size and synaptic_rate: expected positive numbers")
        if self.counts not in COUNTS:
            raise InputError(f"counts: expected one of {', '.join(COUNTS)}, got {self.counts!r}")
        if not self.dt > 0:
            raise InputError(f"dt: expected a positive bin width in s, got {self.dt}")
        if self.refractory_bins < 1 or self.delay_bins < 0 or self.window_bins <= self.refractory_bins:
            raise InputError(
                "expected refractory_bins >= 1, delay_bins >= 0 and window_bins > refractory_bins, got "
                f"{self.refractory_bins}, {self.delay_bins} and {self.window_bins}"
            )
        F, J = len(self.fitted.fixed), slices(M)["coupling"]
        if (
            F not in (number_of(M), number_of(M, gains=True))
            or (self.fitted.matrix[:, J] * (self.connectivity.ravel() == 0)).any()
        ):
            raise InputError(f"free: expected the parameters of {M} populations and couplings where they are connected")
        if self.input_lag is not None:
            lag = np.asarray(self.input_lag, float)
            object.__setattr__(self, "input_lag", lag)
            if lag.shape != (M,) or not (np.isfinite(lag).all() and (lag >= 0).all()):
                raise InputError(f"input_lag: expected {M} times of at least 0 s, got {lag.tolist()}")

    @property
    def n_populations(self) -> int:
        """Number M of populations."""
        return len(self.population_size)

    @property
    def fitted(self) -> FreeParameters:
        """The numbers that are fitted."""
        return self.free or one_per_presynaptic(self.connectivity, self.names)

    @property
    def has_gains(self) -> bool:
        """Whether the external input is weighed by a gain per population; else it is taken as it is given."""
        return has_gains(len(self.fitted.fixed))

    def as_dict(self) -> dict[str, Any]:
        """Return it in plain numbers and words, as JSON can hold."""
        plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(self).items()}
        if self.input_lag is None:
            plain.pop("input_lag")
        return {**plain, "names": list(self.names), "scheme": self.scheme.name, "free": self.fitted.as_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Model":
        """Undo `as_dict`; without a scheme it is the published one, and without `free` so are the fitted numbers."""
        scheme = SCHEMES[content.get("scheme", PUBLISHED.name)]
        free = FreeParameters.from_dict(content["free"]) if content.get("free") else None
        return cls(**{**content, "names": tuple(content["names"]), "scheme": scheme, "free": free})


@dataclass(frozen=True)
class Parameters:
    """The parameters of the model.

    Parameters
    ----------
    membrane_rate : array, (M,), 1/s
        alpha = 1 / tau_mem.
    coupling : array, (M, M)
        J, from population j (row) to population m (column), sign included.
    resting_potential : array, (M,)
        mu.
    threshold : array, (M,)
        theta.
    input_gain : array, (M,), or None
        By how much the external input is weighed; None: it is taken as it is given.
    """

    membrane_rate: np.ndarray
    coupling: np.ndarray
    resting_potential: np.ndarray
    threshold: np.ndarray
    input_gain: np.ndarray | None = None

    def parts(self) -> dict[str, np.ndarray]:
        """Return what there is of them by name: all but the input gains of a circuit that has none."""
        return {name: part for name, part in vars(self).items() if part is not None}

    def flat(self) -> np.ndarray:
        """All of them as one vector, (F,), in the order of `src.model.flat_order`."""
        return np.concatenate([np.ravel(part) for part in self.parts().values()])

    def with_gains(self, gains: bool) -> "Parameters":
        """Return the same with input gains, of 1 if there are none yet, or without them."""
        if gains == (self.input_gain is not None):
            return self
        return replace(self, input_gain=np.ones(len(self.threshold)) if gains else None)

    def driven_by(self, stimulus: np.ndarray) -> np.ndarray:
        """Return the external input I_m = gain_m s_m, 1/s, that a stimulus (..., M, T) makes."""
        return stimulus if self.input_gain is None else self.input_gain[:, None] * stimulus

    @classmethod
    def from_flat(cls, vector: np.ndarray) -> "Parameters":
        """Undo `flat`."""
        vector, M, gains = np.asarray(vector), populations_of(len(vector)), has_gains(len(vector))
        shape = shapes(M, gains)
        return cls(**{word: vector[where].reshape(shape[word]) for word, where in slices(M, gains).items()})


@dataclass(frozen=True)
class Recording:
    """What an experiment gives, in bins: A bins of history window, then T fitted bins.

    Parameters
    ----------
    observed_spikes : array, (B, M, A+T, n_obs), 0/1
        Spikes of the recorded neurons.
    external_input : array, (B, M, T), 1/s
        Known input; of a circuit with input gains, the stimulus that they weigh, in any unit.
    initial_rate : array, (B, M), Hz
        Rate A0 at which each population is taken to have fired in the window.
    true_activity : array, (B, M, T) or None
        Fraction of each population that fired, where the data set knows it.
    true_parameters : Parameters or None
        Where the data set knows them.
    judged : array of bool, (B, T), or None
        False for bins that are predicted but not scored: the burn-in of a trial, and what fills up a shorter one after
        its end. None: all are scored.
    recorded : array of bool, (M, n_obs), or None
        False for the empty places of populations with fewer recorded neurons than others. None: there are none.
    observed : array of bool, (B, M, A+T, n_obs), or None
        False for bins in which a recorded neuron was not watched; they hold no spikes. None: all were watched.
    left_out : array of bool, (B, M, T, n_obs), or None
        True for bins that were watched and are not scored: of spikes that the model cannot have fired. They stay
        history to what follows. None: there are none.
    unit_names : array of str, (M, n_obs), or None
        What the data call each recorded neuron; empty at empty places. None: they give no names.
    """

    observed_spikes: np.ndarray
    external_input: np.ndarray
    initial_rate: np.ndarray
    true_activity: np.ndarray | None = None
    true_parameters: Parameters | None = None
    judged: np.ndarray | None = None
    recorded: np.ndarray | None = None
    observed: np.ndarray | None = None
    left_out: np.ndarray | None = None
    unit_names: np.ndarray | None = None

    @property
    def n_trials(self) -> int:
        """Number B of trials."""
        return len(self.external_input)

    @property
    def n_bins(self) -> int:
        """Number T of fitted bins."""
        return self.external_input.shape[-1]

    @property
    def window_bins(self) -> int:
        """Length A of the history window."""
        return self.observed_spikes.shape[2] - self.n_bins

    @property
    def is_judged(self) -> np.ndarray:
        """`judged`, (B, T), also where it is None."""
        return np.ones((self.n_trials, self.n_bins), bool) if self.judged is None else self.judged

    @property
    def is_recorded(self) -> np.ndarray:
        """`recorded`, (M, n_obs), also where it is None."""
        return np.ones(self.observed_spikes.shape[1::2], bool) if self.recorded is None else self.recorded

    @property
    def n_judged(self) -> int:
        """Number of judged bins in all trials."""
        return self.n_trials * self.n_bins if self.judged is None else int(self.judged.sum())

    @property
    def burn_in(self) -> np.ndarray:
        """Bins before the first judged one of each trial, (B,)."""
        return np.argmax(self.is_judged, axis=1)

    @property
    def lengths(self) -> np.ndarray:
        """Bins up to the last judged one of each trial, (B,)."""
        if self.judged is None:
            return np.full(self.n_trials, self.n_bins)
        return self.n_bins - np.argmax(self.judged[:, ::-1], axis=1)

    @property
    def watched(self) -> np.ndarray | None:
        """Where a spike or silence says something about the circuit: bool, (B, M, T, n_obs); None is everywhere.

        What a neuron does depends on when it last fired. After time in which it was not watched nobody knows, until it
        fires, or has been silent for a history window. These bins do not count. Which they are depends on the past
        alone, so that the likelihood of the others stays right.
        """
        parts = []
        if self.recorded is not None:
            parts.append(self.recorded[:, None])
        if self.observed is not None:
            known = self.observed & age_known(self.observed_spikes, self.observed, self.window_bins)
            parts.append(known[:, :, self.window_bins :])
        if self.left_out is not None:
            parts.append(~self.left_out)
        return np.broadcast_to(np.logical_and.reduce(np.broadcast_arrays(*parts)), self._of_neurons) if parts else None

    @property
    def scored(self) -> np.ndarray | None:
        """Where recorded neurons count: bool, (B, M, T, n_obs); None is everywhere."""
        watched = self.watched
        if self.judged is None:
            return watched
        judged = self.judged[:, None, :, None]
        return np.broadcast_to(judged, self._of_neurons) if watched is None else judged & watched

    @property
    def is_watched(self) -> np.ndarray:
        """`watched`, (B, M, T, n_obs), also where it is None."""
        return self._or_everywhere(self.watched)

    @property
    def is_scored(self) -> np.ndarray:
        """`scored`, (B, M, T, n_obs), also where it is None."""
        return self._or_everywhere(self.scored)

    def _or_everywhere(self, mask: np.ndarray | None) -> np.ndarray:
        return np.broadcast_to(True, self._of_neurons) if mask is None else mask

    @property
    def _of_neurons(self) -> tuple[int, ...]:
        B, M, _, n_obs = self.observed_spikes.shape
        return B, M, self.n_bins, n_obs

    def judged_from(self, bins: int) -> "Recording":
        """Return the recording with the first bins of every trial predicted, but not scored."""
        return replace(self, judged=self.is_judged & (np.arange(self.n_bins) >= bins))

    def in_batches(self, seconds: float | None, dt: float) -> list["Recording"]:
        """Return the trials in groups of so much fitted time in bins of `dt`, both in s, at least one trial each.

        None: all of them at once.
        """
        at_once = (seconds or np.inf) / (self.n_bins * dt)
        at_once = int(np.clip(at_once + 1e-6, 1, self.n_trials))  # 0.3 s are three trials of 0.1 s, rounding or not
        return [self.trials(slice(b, b + at_once)) for b in range(0, self.n_trials, at_once)]

    def first_bins(self, T: int) -> "Recording":
        """Return the first so many fitted bins of every trial."""

        def begins(array: np.ndarray | None, axis: int, bins: int) -> np.ndarray | None:
            return None if array is None else array[(slice(None),) * axis + (slice(bins),)]

        A = self.window_bins
        return replace(
            self,
            observed_spikes=self.observed_spikes[:, :, : A + T],
            external_input=self.external_input[..., :T],
            true_activity=begins(self.true_activity, 2, T),
            judged=begins(self.judged, 1, T),
            observed=begins(self.observed, 2, A + T),
            left_out=begins(self.left_out, 2, T),
        )

    def trials(self, which: slice | np.ndarray) -> "Recording":
        """Return some of the trials."""
        return replace(
            self,
            observed_spikes=self.observed_spikes[which],
            external_input=self.external_input[which],
            initial_rate=self.initial_rate[which],
            true_activity=None if self.true_activity is None else self.true_activity[which],
            judged=None if self.judged is None else self.judged[which],
            observed=None if self.observed is None else self.observed[which],
            left_out=None if self.left_out is None else self.left_out[which],
        )


def age_known(observed_spikes: np.ndarray, observed: np.ndarray, window_bins: int) -> np.ndarray:
    """Tell where it is known when a neuron last fired, or that this was before the window: bool, (B, M, A+T, n_obs).

    Parameters
    ----------
    observed_spikes, observed : array, (B, M, A+T, n_obs)
        As in `Recording`.
    window_bins : int
        A.
    """
    bins = np.arange(observed.shape[2])[:, None]

    def last_before(where: np.ndarray) -> np.ndarray:
        last = np.maximum.accumulate(np.where(where, bins, -1), axis=2)
        return np.concatenate([np.full_like(last[:, :, :1], -1), last[:, :, :-1]], axis=2)

    gap = last_before(~observed)
    return (gap < 0) | (last_before(observed_spikes > 0) > gap) | (bins - gap > window_bins)


def mean_of_recorded(
    observed_spikes: np.ndarray, recorded: np.ndarray | None = None, observed: np.ndarray | None = None
) -> np.ndarray:
    """Return the mean over the recorded neurons of each population, (B, M, bins), from spikes (B, M, bins, n_obs).

    Parameters
    ----------
    observed_spikes : array, (B, M, bins, n_obs), 0/1
    recorded : array of bool, (M, n_obs), or None
        A population without any recorded neuron gets the mean over the populations that have some.
    observed : array of bool, (B, M, bins, n_obs), or None
        The mean is over the neurons that were watched in a bin. Where none of a population was, it is the mean over the
        bins of the trial in which some were; and without such bins, over the populations that have some.
    """
    if observed is not None:
        return _mean_of_observed(observed_spikes, observed if recorded is None else observed & recorded[:, None])
    if recorded is None:
        return observed_spikes.mean(axis=-1)
    number = recorded.sum(axis=1)
    mean = (observed_spikes * recorded[:, None]).sum(axis=-1) / np.maximum(number, 1)[:, None]
    mean[:, number == 0] = mean[:, number > 0].mean(axis=1, keepdims=True)
    return mean


def _mean_of_observed(spikes: np.ndarray, watched: np.ndarray) -> np.ndarray:
    """Return the mean over watched neurons, (B, M, bins), from two arrays (B, M, bins, n_obs)."""
    number = watched.sum(axis=-1)
    mean = (spikes * watched).sum(axis=-1) / np.maximum(number, 1)
    bins = (number > 0).sum(axis=-1)  # (B, M)
    overall = mean.sum(axis=-1) / np.maximum(bins, 1)
    return _filled(np.where(number > 0, mean, overall[..., None]), (bins > 0)[..., None])


def _filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return values by trial and population, (B, M, ...), those that are not known as the mean over the populations."""
    others = np.where(known, values, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known, values, others[:, None])


def window_rate(
    observed_spikes: np.ndarray, recorded: np.ndarray | None, model: Model, observed: np.ndarray | None = None
) -> np.ndarray:
    """Return the rates A0, (B, M) in Hz: those of the recorded neurons of each population in the history window.

    Parameters
    ----------
    observed_spikes : array, (B, M, A or more, n_obs), 0/1
        The window comes first.
    recorded : array of bool, (M, n_obs), or None
        As in `Recording`; a population without recorded neurons gets the mean over the others.
    model : Model
        Gives bins and window.
    observed : array of bool, (B, M, A or more, n_obs), or None
        As in `Recording`. The rate is that of the watched bins. A population of which nothing was watched in the window
        gets its rate in all bins that are given.
    """
    A = model.window_bins
    window = observed_spikes[:, :, :A]
    if observed is not None:
        watched = observed if recorded is None else observed & recorded[:, None]
        return _rate_of_observed(observed_spikes, watched, A) / model.dt
    if recorded is None:
        return window.mean(axis=(2, 3)) / model.dt
    return mean_of_recorded(window, recorded).mean(axis=-1) / model.dt


def _rate_of_observed(spikes: np.ndarray, watched: np.ndarray, A: int) -> np.ndarray:
    """Return spikes a watched bin of the first A, (B, M); where there is none, of all bins, or of the populations."""
    rates = []
    for part in (slice(A), slice(None)):
        seen = watched[:, :, part]
        number = seen.sum(axis=(2, 3))
        rates.append(np.where(number > 0, (spikes[:, :, part] * seen).sum(axis=(2, 3)) / np.maximum(number, 1), np.nan))
    rate = np.where(np.isnan(rates[0]), rates[1], rates[0])
    return _filled(rate, ~np.isnan(rate))
