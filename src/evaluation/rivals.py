"""What simple models make of the very bins and units that a fit is scored on.

Each prediction of the fit has rivals that know as much as it does, or less:

- *from the others* and *unseen units*: the smoothed mean of the other units of the population (bandwidth: see
  `src.evaluation.smoothed_mean`), and hidden Markov models of two and three states, whose state in every bin is
  inferred from the other units (`src.evaluation.state_models`).
- *with own past*, and likewise of unseen units: the unit's own history alone, that is a renewal process; and hidden
  Markov models with such a history, whose state is inferred from the other units.
- *forecast*: the unit's mean rate before; and hidden Markov models that go on from the state where it began.
- *filtered rate*: the smoothed mean of earlier spikes of the population, and hidden Markov models, one bin ahead.
- *filtered*: own history alone, and hidden Markov models with history, one bin ahead.
- *held-out time* of a comparison: all that are one bin ahead, by ln p of all units together.

They are trained on what the fit was trained on. What a rival may know of a unit itself:

- Time is held out: its rate in each state in the time before. Units that the fit has not seen either get the mean
  rate of their population in each state.
- A unit is left out of the inference, by a fit that has seen it: the model of the states was fitted to all units, too.
  The unit's own rate in each state comes from the other four fifths of the time, so that no bin predicts itself.
- A unit is kept out of the fit (--refit, --holdout_units, a comparison by units): nothing. It gets the mean rate of its
  population in each state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from src.data.holdout import scored_bins, spikes_of, units_of, without
from src.evaluation.scores import Score, ln_p_bins
from src.evaluation.smoothed_mean import SmoothedMean, choose_width, uncertain
from src.evaluation.state_models import (
    WEIGHT,
    StateModel,
    cells_of,
    fit_states,
    forecast_states,
    infer_states,
)
from src.model.containers import Model, Recording

SMOOTHED, CONSTANT, OWN = "smoothed mean", "constant rate before", "own history"
STATES = {"2 states": (2, False), "3 states": (3, False)}
WITH_HISTORY = {OWN: (1, True), "2 states, history": (2, True), "3 states, history": (3, True)}
"""Number of states, and whether the time since a unit's last spike counts."""
PARTS = 5
"""Of the time; the rates of a unit in each of them come from the others."""

Unit = tuple[int, int]
LnP = dict[Unit, dict[str, dict[str, float]]]
"""ln p of the spikes of a unit, by prediction and rival."""


@dataclass(frozen=True)
class Rivals:
    """Rivals that have been trained.

    Parameters
    ----------
    states : dict of str to StateModel
        Models of states, by name.
    mean : SmoothedMean
    """

    states: dict[str, StateModel]
    mean: SmoothedMean


def train_rivals(training: Recording, model: Model, earlier: bool = False) -> Rivals:
    """Train all rivals on what a fit is trained on; `earlier` for predictions from earlier bins alone."""
    kinds = STATES | WITH_HISTORY | ({CONSTANT: (1, False)} if earlier else {})
    states = {name: fit_states(training, model, *kind) for name, kind in kinds.items()}
    return Rivals(states, choose_width(training, model, training.is_scored, earlier))


# --- units -----------------------------------------------------------------------------------------------------------


def rivals_of_units(left_out: Sequence[Unit], rivals: Rivals, whole: Recording, model: Model, own_rates: bool) -> LnP:
    """Return ln p of the spikes of units that were left out together, given the others.

    Parameters
    ----------
    left_out : sequence of (int, int)
    rivals : Rivals
    whole : Recording
        With these units.
    model : Model
    own_rates : bool
        Whether the fit has seen these units, so that the rivals may know their rates in other parts of the time.
    """
    units = units_of(whole)
    places = [units.index(unit) for unit in left_out]
    found: LnP = {unit: {"from the others": {}, "with own past": {}} for unit in left_out}
    seen = whole.is_scored.copy()
    for m, i in left_out:
        seen[:, m, :, i] = False
    means = rivals.mean.predict(whole, model, seen)
    for m, i in left_out:
        counted = scored_bins(whole, (m, i))
        y, mean = spikes_of(whole, (m, i), counted, model), uncertain(means[:, m, :, i][counted])
        gain = _gain_elsewhere(y, mean) if own_rates else 1.0
        found[m, i]["from the others"][SMOOTHED] = ln_p_bins(y, uncertain(gain * mean))
    for name, fitted in rivals.states.items():
        history = name in WITH_HISTORY
        cells, here = cells_of(whole, model, history, whole.is_scored), fitted.with_units(units)
        smoothed = infer_states(here, cells, places).smoothed
        for unit, place in zip(left_out, places, strict=True):
            counted = scored_bins(whole, unit)
            weights, ages, h = smoothed[counted], cells.ages[place][counted], here.history[unit[0]]
            y = spikes_of(whole, unit, counted, model)
            rates = _elsewhere(y, ages, weights, h) if own_rates else here.rates[:, place]
            p = (weights * -np.expm1(-rates * h[ages, None])).sum(axis=1)
            found[unit]["with own past" if history else "from the others"][name] = ln_p_bins(y, uncertain(p))
    return found


def _elsewhere(y: np.ndarray, ages: np.ndarray, weights: np.ndarray, history: np.ndarray) -> np.ndarray:
    """Return the rates r of a unit in each state, (bins, K), as the other parts of the time have them.

    Parameters
    ----------
    y : array, (bins,), 0/1
    ages : array of int, (bins,)
        Class of the time since the last spike.
    weights : array, (bins, K)
        Probability of each state.
    history : array, (classes,)
        h.
    """
    K, C = weights.shape[1], len(history)
    part = _parts(len(y))
    cell = (part * C + ages) * 2 + y
    sums = np.stack([np.bincount(cell, weights[:, k], PARTS * C * 2) for k in range(K)]).reshape(K, PARTS, C, 2)
    sums = sums.sum(axis=1, keepdims=True) - sums  # of the other parts
    spikes, time = sums[..., 1], sums.sum(axis=-1)
    mean = (spikes.sum(axis=(0, 2)) + 0.5) / (time.sum(axis=(0, 2)) + 1)  # (parts,)
    rates = np.broadcast_to(mean, (K, PARTS))
    for _ in range(50):
        lam = rates[..., None] * history
        events = (spikes * lam / -np.expm1(-lam)).sum(axis=2)
        rates = (events + WEIGHT) / ((time * history).sum(axis=2) + WEIGHT / mean)
    return rates.T[part]


def _gain_elsewhere(y: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return by what to multiply a mean in each bin, (bins,): what does it best in the other parts of the time."""
    part = _parts(len(y))
    spikes, expected = (np.bincount(part, values, PARTS) for values in (y, mean))
    return ((spikes.sum() - spikes + WEIGHT) / (expected.sum() - expected + WEIGHT))[part]


def _parts(bins: int) -> np.ndarray:
    """Return in which part of the time each scored bin lies."""
    return np.arange(bins) * PARTS // bins


def beside_units(
    scores: Sequence[Score], folds: Sequence[Sequence[Unit]], recording: Recording, model: Model, refitted: bool
) -> list[Score]:
    """Return scores of `src.evaluation.co_smoothing.co_smooth` with those of the rivals beside them.

    Parameters
    ----------
    scores : sequence of Score
        Of all units of the recording, in their order.
    folds : sequence of sequence of (int, int)
        Units that were left out together.
    recording : Recording
    model : Model
    refitted : bool
        Whether the parameters were fitted without the units of each fold.
    """
    once = None if refitted else train_rivals(recording, model)
    found: LnP = {}
    for left_out in folds:
        rivals = once or train_rivals(without(recording, left_out, model), model)
        found |= rivals_of_units(left_out, rivals, recording, model, own_rates=not refitted)
    return with_rivals(scores, [found[unit] for unit in units_of(recording)])


def with_rivals(scores: Sequence[Score], found: Sequence[Mapping[str, dict[str, float]]]) -> list[Score]:
    """Return scores with ln p of rivals, by prediction and rival, beside them."""
    return [replace(one, rivals_ln_p=dict(ln_p)) for one, ln_p in zip(scores, found, strict=True)]


# --- time ------------------------------------------------------------------------------------------------------------


def rivals_of_time(rivals: Rivals, later: Recording, held: np.ndarray, begin: int, model: Model) -> LnP:
    """Return ln p of the spikes of all units in the held-out bins `held`, (B, T), of which the first is `begin`."""
    units, seen = units_of(later), later.is_watched
    found: LnP = {unit: {"forecast": {}, "filtered rate": {}, "filtered": {}} for unit in units}
    predicted = {("filtered rate", SMOOTHED): _mean_ahead(rivals, later, seen, model)}
    for name, fitted in rivals.states.items():
        history = name in WITH_HISTORY
        cells, here = cells_of(later, model, history, seen), fitted.with_units(units)
        h = here.history[here.populations][np.arange(len(units))[:, None, None], cells.ages]  # (units, B, T)
        lam = here.rates[:, :, None, None] * h  # (K, units, B, T)
        if name != CONSTANT:
            weights = np.moveaxis(infer_states(here, cells).predicted, -1, 0)[:, None]
            predicted["filtered" if history else "filtered rate", name] = (weights * -np.expm1(-lam)).sum(axis=0)
        if not history:
            weights = np.moveaxis(forecast_states(here, cells, begin).predicted, -1, 0)[:, None]
            predicted["forecast", name] = (weights * -np.expm1(-lam)).sum(axis=0)
    for (which, name), p in predicted.items():
        for unit, of_unit in zip(units, p, strict=True):
            counted = held & scored_bins(later, unit)
            y = spikes_of(later, unit, counted, model)
            found[unit][which][name] = ln_p_bins(y, uncertain(of_unit[counted]))
    return found


def rivals_of_trials(rivals: Rivals, held_out: Recording, model: Model) -> dict[str, np.ndarray]:
    """Return ln p of all spikes in held-out trials, each bin given those before, by rival: (trials,)."""
    judged, seen, units = held_out.is_judged, held_out.is_watched, units_of(held_out)
    p = _mean_ahead(rivals, held_out, seen, model)
    found = {SMOOTHED: np.zeros(held_out.n_trials)}
    for unit, of_unit in zip(units, p, strict=True):
        for b, there in enumerate(scored_bins(held_out, unit)):
            y = held_out.observed_spikes[b, unit[0], model.window_bins :, unit[1]][there].astype(int)
            found[SMOOTHED][b] += ln_p_bins(y, uncertain(of_unit[b, there]))
    for name, fitted in rivals.states.items():
        if name != CONSTANT:
            cells = cells_of(held_out, model, name in WITH_HISTORY, seen)
            found[name] = (infer_states(fitted.with_units(units), cells).ln_p * judged).sum(axis=1)
    return found


def _mean_ahead(rivals: Rivals, recording: Recording, seen: np.ndarray, model: Model) -> np.ndarray:
    """Return the smoothed mean of earlier spikes, (units, B, T), at the rate that each unit had in the training."""
    means = rivals.mean.predict(recording, model, seen)
    units = units_of(recording)
    rates = rivals.states[CONSTANT].with_units(units).rates[0]
    of_all = {m: rates[[n == m for n, _ in units]].mean() for m, _ in units}
    share = [rate / of_all[m] for rate, (m, _) in zip(rates, units, strict=True)]
    return np.stack([part * means[:, m, :, i] for part, (m, i) in zip(share, units, strict=True)])
