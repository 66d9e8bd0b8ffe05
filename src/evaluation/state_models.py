"""Hidden Markov models of recorded units, with and without a memory of their own last spike.

In state k, unit i of population m fires in a bin with probability 1 - exp(-lambda), lambda = r_ki h_m(age): a rate of
its own for each state, times a factor for the time since its last spike that all units of its population share. Without
history h = 1, which is the usual Poisson hidden Markov model with at most one spike a bin; with a single state it is a
renewal process, or a constant rate. Fitted by EM: a bin with a spike counts as lambda / (1 - exp(-lambda)) events, the
expected number of those of a Poisson process, with which the steps for r and h are in closed form.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from src.data.holdout import beginning, units_of
from src.model.containers import Model, Recording
from src.statistics.hidden_chain import Chain, run_chain

AGES = 24
"""At most so many classes of the time since the last spike, of widths that grow with it."""
WEIGHT = 1.0
"""Spikes that speak for the mean rate of a unit in each state, and for no effect of history in each class of ages."""
SWITCHES = 0.1
"""Steps between any two states that count as seen."""
STARTS, FIRST, ITERATIONS = 6, 25, 300
"""Random starts of EM; iterations of all of them; and at most of the best one."""
ENOUGH = 1e-5
"""Nats per spike by which EM must gain in an iteration to go on."""
MOST = 60.0
"""Seconds of a recording, from its beginning, by which the best start is chosen."""


@dataclass(frozen=True)
class Cells:
    """What is known of units in every bin, for sums over bins: which class of ages, and spike or none.

    Parameters
    ----------
    seen : sparse array, (B T, units x classes x 2)
        1 where the unit is observed in the bin, with such an age, without (0) or with a spike (1).
    ages : array of int, (units, B, T)
        Class of ages.
    shape : (int, int)
        B and T.
    counted : array of bool, (B, T)
        Bins before the last one of each trial.
    populations : array of int, (units,)
    """

    seen: scipy.sparse.csr_array
    ages: np.ndarray
    shape: tuple[int, int]
    counted: np.ndarray
    populations: np.ndarray


@dataclass(frozen=True)
class StateModel:
    """A fitted model.

    Parameters
    ----------
    units : tuple of (int, int)
        Population and place.
    rates : array, (..., K, units)
        r, expected spikes in a bin.
    history : array, (..., M, classes)
        h.
    transition, start : array, (..., K, K) and (..., K)
    """

    units: tuple[tuple[int, int], ...]
    rates: np.ndarray
    history: np.ndarray
    transition: np.ndarray
    start: np.ndarray

    @property
    def populations(self) -> np.ndarray:
        """Population of each unit."""
        return np.array([m for m, _ in self.units])

    @property
    def expected(self) -> np.ndarray:
        """Lambda, (..., K, units, classes)."""
        return self.rates[..., None] * self.history[..., self.populations, :][..., None, :, :]

    def with_units(self, units: Sequence[tuple[int, int]]) -> "StateModel":
        """Return the model of other units; those it was not fitted to get the mean rates of their population.

        Where nothing of the population was fitted, they get those of all units.
        """
        places = {unit: k for k, unit in enumerate(self.units)}
        found = []
        for unit in units:
            same = self.populations == unit[0]
            pooled = self.rates[..., same if same.any() else slice(None)].mean(axis=-1)
            found.append(self.rates[..., places[unit]] if unit in places else pooled)
        return replace(self, units=tuple(units), rates=np.stack(found, axis=-1))


def age_edges(window: int, ages: int = AGES) -> np.ndarray:
    """Return the least age, in bins from 1 to `window`, of each class; the last one holds all ages from there on."""
    return np.unique(np.round(np.geomspace(1, window, ages)).astype(int))


def ages_of(spikes: np.ndarray, window: int) -> np.ndarray:
    """Return the time since the last spike, in bins, from 1 to `window`: an older one, or none, counts as that old.

    Parameters
    ----------
    spikes : array, (..., bins), 0/1
    window : int
    """
    here = np.arange(spikes.shape[-1])
    last = np.maximum.accumulate(np.where(spikes > 0, here, -window), axis=-1)
    before = np.concatenate([np.full((*spikes.shape[:-1], 1), -window), last[..., :-1]], axis=-1)
    return np.minimum(here - before, window)


def cells_of(recording: Recording, model: Model, history: bool, seen: np.ndarray) -> Cells:
    """Return what is known of all units of a recording.

    Parameters
    ----------
    recording : Recording
    model : Model
    history : bool
        Tell apart the ages; else they are one class.
    seen : array of bool, (B, M, T, n_obs)
        Where spikes, or that there are none, count as observed.
    """
    units, A, (B, T) = units_of(recording), model.window_bins, recording.is_judged.shape
    m, i = np.array(units).T
    spikes = recording.observed_spikes[:, m, :, i]  # (units, B, A + T)
    edges = age_edges(A) if history else np.ones(1, int)
    ages = np.searchsorted(edges, ages_of(spikes, A)[..., A:], side="right") - 1
    place = (np.arange(len(units))[:, None, None] * len(edges) + ages) * 2 + (spikes[..., A:] > 0)
    there = np.nonzero(seen[:, m, :, i].reshape(len(units), B * T))
    matrix = scipy.sparse.csr_array(
        (np.ones(len(there[0])), (there[1], place.reshape(len(units), B * T)[there])),
        shape=(B * T, len(units) * len(edges) * 2),
    )
    counted = np.arange(T) < recording.lengths[:, None] - 1
    return Cells(matrix, ages, (B, T), counted, m)


def infer_states(fitted: StateModel, cells: Cells, without: Sequence[int] = ()) -> Chain:
    """Return what the units say about the states, those at the places `without` left out; leading axis (..., B)."""
    return _chain(fitted, _ln_likelihood(fitted.expected, cells, without), cells)


def forecast_states(fitted: StateModel, cells: Cells, begin: int) -> Chain:
    """Return what the units say about the states if nothing is known of them from bin `begin` on."""
    ln_likelihood = _ln_likelihood(fitted.expected, cells, ())
    ln_likelihood[..., begin:, :] = 0.0
    return _chain(fitted, ln_likelihood, cells)


def _chain(fitted: StateModel, ln_likelihood: np.ndarray, cells: Cells) -> Chain:
    return run_chain(ln_likelihood, fitted.transition[..., None, :, :], fitted.start[..., None, :], cells.counted)


def _ln_likelihood(expected: np.ndarray, cells: Cells, without: Sequence[int]) -> np.ndarray:
    """Return ln p(spikes in the bin | state), (..., B, T, K)."""
    table = np.stack([-expected, np.log(-np.expm1(-expected))], axis=-1)  # (..., K, units, classes, 2)
    table[..., list(without), :, :] = 0.0
    *lead, K = table.shape[:-3]
    found = cells.seen @ table.reshape(-1, cells.seen.shape[1]).T
    return np.moveaxis(found.reshape(*cells.shape, *lead, K), (0, 1), (-3, -2))


def fit_states(recording: Recording, model: Model, states: int, history: bool, seed: int = 0) -> StateModel:
    """Fit a model to the scored bins of a recording, from several starts; the likeliest counts.

    Parameters
    ----------
    recording : Recording
    model : Model
        Gives the bins, and the window before them in which last spikes are looked for.
    states : int
        K.
    history : bool
        Whether the time since a unit's last spike counts.
    seed : int
        Of the starts.
    """
    first = beginning(recording, model, MOST)
    cells = cells_of(first, model, history, first.is_scored)
    fitted = _start(model, cells, units_of(recording), states, np.random.default_rng(seed))
    fitted, objective = _em(fitted, cells, FIRST if states > 1 else 0)
    best = int(np.argmax(objective))
    fitted = replace(fitted, **{name: getattr(fitted, name)[[best]] for name in _NUMBERS})
    fitted, _ = _em(fitted, cells_of(recording, model, history, recording.is_scored), ITERATIONS)
    return replace(fitted, **{name: getattr(fitted, name)[0] for name in _NUMBERS})


_NUMBERS = ("rates", "history", "transition", "start")


def mean_rates(cells: Cells) -> np.ndarray:
    """Return the rate in a bin, (units,), at which a unit would have fired as often; above zero for silent ones."""
    without, spikes = cells.seen.sum(axis=0).reshape(len(cells.populations), -1, 2).sum(axis=1).T
    share = (spikes + 0.5) / (without + spikes + 1)
    return -np.log1p(-share)


def _start(
    model: Model, cells: Cells, units: Sequence[tuple[int, int]], states: int, rng: np.random.Generator
) -> StateModel:
    """Return random models: rates about the means, populations together; and dwell times of 50 ms to 2 s."""
    mean, starts = mean_rates(cells), STARTS if states > 1 else 1
    M = model.n_populations
    together = rng.normal(0, 0.6, (starts, states, M))[..., cells.populations]
    rates = mean * np.exp((together + rng.normal(0, 0.2, (starts, states, len(mean)))) * (states > 1))
    leave = np.minimum(model.dt / np.exp(rng.uniform(np.log(0.05), np.log(2.0), starts)), 0.5)[:, None, None]
    transition = np.where(np.eye(states, dtype=bool), 1 - leave, leave / max(states - 1, 1))
    transition = transition if states > 1 else np.ones_like(transition)
    classes = cells.seen.shape[1] // (2 * len(mean))
    history, start = np.ones((starts, M, classes)), np.full((starts, states), 1 / states)
    return StateModel(tuple(units), rates, history, transition, start)


def _em(fitted: StateModel, cells: Cells, iterations: int) -> tuple[StateModel, np.ndarray]:
    """Return models, one for each start on the first axis, after EM, and their ln p with its priors, in nats."""
    before, mean = np.full(len(fitted.rates), -np.inf), mean_rates(cells)
    enough = ENOUGH * max(cells.seen[:, 1::2].sum(), 1.0)
    for _ in range(iterations):
        chain = infer_states(fitted, cells)
        now = chain.ln_p.sum(axis=(1, 2)) + _ln_prior(fitted, mean)
        if (now - before).max() < enough:
            return fitted, now
        fitted, before = _maximise(fitted, chain, cells, mean), now
    return fitted, before


def _ln_prior(fitted: StateModel, mean: np.ndarray) -> np.ndarray:
    r, h = fitted.rates, fitted.history
    of_rates = WEIGHT * (np.log(r) - r / mean).sum(axis=(1, 2))
    of_history = WEIGHT * (np.log(h) - h).sum(axis=(1, 2))
    return (
        of_rates + of_history + SWITCHES * np.log(fitted.transition).sum(axis=(1, 2)) + np.log(fitted.start).sum(axis=1)
    )


def _maximise(fitted: StateModel, chain: Chain, cells: Cells, mean: np.ndarray) -> StateModel:
    """Return what the expected states make likeliest: rates at the history before, then history at these rates."""
    S, K, n_units = fitted.rates.shape
    weights = np.moveaxis(chain.smoothed, (0, -1), (-2, -1)).reshape(-1, S * K)
    sums = (cells.seen.T @ weights).T.reshape(S, K, n_units, -1, 2)
    time, lam = sums.sum(axis=-1), fitted.expected
    events = sums[..., 1] * lam / -np.expm1(-lam)
    h = fitted.history[:, fitted.populations][:, None]  # (S, 1, units, classes)
    rates = (events.sum(axis=-1) + WEIGHT) / ((time * h).sum(axis=-1) + WEIGHT / mean)
    history = fitted.history
    if history.shape[-1] > 1:
        one = np.zeros((n_units, history.shape[1]))
        one[np.arange(n_units), fitted.populations] = 1.0
        of, at = (np.einsum("skuc,um->smc", x, one) for x in (events, time * rates[..., None]))
        history = (of + WEIGHT) / (at + WEIGHT)
    transition = chain.transitions.sum(axis=1) + SWITCHES
    start = chain.smoothed[:, :, 0].sum(axis=1) + 1
    return StateModel(
        fitted.units,
        rates,
        history,
        transition / transition.sum(axis=-1, keepdims=True),
        start / start.sum(axis=-1, keepdims=True),
    )
