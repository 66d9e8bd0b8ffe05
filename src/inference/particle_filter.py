"""The likelihood of the recorded spikes alone, with the activity integrated out, by a particle filter.

A particle is a copy of the mesoscopic simulation whose recorded neurons fire when those of the experiment did. In every
bin, each is weighted by the probability of the recorded spikes given its input; the mean of these probabilities is
p(spikes in the bin | spikes before). Where the weights have become so unequal that the effective number of particles is
below half of them, they are drawn anew in proportion to their weights (systematic resampling; Doucet & Johansen 2009,
"A tutorial on particle filtering and smoothing"). The estimate of p(spikes) is unbiased, that of its logarithm is
a little low, by half of its variance.

The particles of a trial with burn-in begin at moments that are spread over a free run, so that they have all phases of
an oscillation.
"""

from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from src.LIFmesoCell import LIFmesoCell, spike_loss, tf_firing
from src.model.containers import Model, Parameters, Recording
from src.model.stationary import LEAST_RATE, free_run_bins
from src.model.tf_filters import Tensor
from src.utils.exceptions import InputError

MOST_AT_ONCE = 2**22
"""Numbers in the state of the particles; of trials with more, some are filtered after others."""


@dataclass(frozen=True)
class Filtered:
    """What the particles predict of every bin from the spikes before it.

    Parameters
    ----------
    ln_p : array, (B, T)
        ln p(recorded spikes of all units in the bin | spikes before), in nats; 0 in bins that are not judged. The
        sum is ln p(spikes | parameters).
    probability : array, (B, M, T, n_obs)
        Of a spike of each recorded unit.
    rate : array, (B, M, T)
        Expected fraction of each population that fires.
    effective : array, (B, T)
        Effective number of particles, 1 / sum of squared weights, before resampling.
    """

    ln_p: np.ndarray
    probability: np.ndarray
    rate: np.ndarray
    effective: np.ndarray


def filter_spikes(
    parameters: Parameters,
    model: Model,
    recording: Recording,
    *,
    n_particles: int = 200,
    seed: int = 0,
    forecast_from: int | np.ndarray | None = None,
    spread_start: bool = True,
) -> Filtered:
    """Predict the recorded spikes, bin by bin, from those before.

    Parameters
    ----------
    parameters : Parameters
    model : Model
        Its scheme says how the activity scatters.
    recording : Recording
        Bins of burn-in inform the particles, but are not judged; what fills up a shorter trial does neither.
    n_particles : int
        For each trial.
    seed : int
        The same seed gives the same result.
    forecast_from : int or array of int, (B,), optional
        Fitted bin from which on spikes are predicted, but not seen: the particles' own neurons fire instead.
    spread_start : bool
        Where a trial begins with burn-in, its particles begin at moments that are spread over a free run, under the
        mean input of as many bins (`free_run_bins` in `src.model.stationary`). Otherwise, the start is stationary.

    Raises
    ------
    InputError
        There are fewer than two particles.
    """
    if n_particles < 2:
        raise InputError(f"n_particles: expected at least 2, got {n_particles}")
    until = np.broadcast_to(recording.n_bins if forecast_from is None else forecast_from, recording.n_trials)
    until = np.minimum(recording.lengths, until)
    size = n_particles * model.n_populations * model.window_bins
    at_once = max(1, MOST_AT_ONCE // size)
    parts = []
    for first in range(0, recording.n_trials, at_once):
        some = slice(first, first + at_once)
        given = (recording.trials(some), n_particles, seed + first, until[some], spread_start)
        parts.append(_filter(parameters, model, *given))
    return Filtered(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _filter(
    parameters: Parameters,
    model: Model,
    recording: Recording,
    K: int,
    seed: int,
    until: np.ndarray,
    spread_start: bool,
) -> list[np.ndarray]:
    """Return what `Filtered` holds; spikes are seen before bin `until`, (B,)."""
    T, n_obs = recording.n_bins, recording.observed_spikes.shape[-1]
    recording = replace(recording, initial_rate=np.maximum(recording.initial_rate, LEAST_RATE))
    cell = LIFmesoCell(parameters, model, recording.initial_rate[0], n_obs, seed=seed, dtype="float64")
    start = [tf.repeat(part, K, axis=0) for part in cell.initial_state_of(recording)]
    known = np.arange(T) < until[:, None]
    A = model.window_bins
    spikes = recording.observed_spikes[:, :, A:]
    seen = known[:, None, :, None] & recording.is_recorded[:, None]  # (B, M, T, n_obs)
    if recording.observed is not None:
        seen &= recording.observed[:, :, A:]
    of_bins = (recording.external_input, spikes, seen, seen & recording.is_watched)
    by_time = [np.moveaxis(array, 2, 0) for array in of_bins]
    kinds = ("float64", "float64", "bool", "bool")
    inputs = [tf.constant(array, kind) for array, kind in zip(by_time, kinds, strict=True)]
    free_bins = free_run_bins(recording, model) * spread_start
    of_trials = zip(recording.external_input, np.maximum(free_bins, 1), strict=True)
    mean_input = tf.constant([I[:, :bins].mean(axis=1) for I, bins in of_trials], tf.float64)

    def begin_and_run(*given: Tensor) -> list[Tensor]:
        begun = _spread(cell, K, free_bins, mean_input, start) if free_bins.any() else start
        return _run(cell, K, given, begun)

    outputs = tf.function(begin_and_run, jit_compile=True)(*inputs)
    ln_p, probability, rate, effective = (np.moveaxis(output.numpy(), 0, min(output.ndim - 1, 2)) for output in outputs)
    return [ln_p * (recording.is_judged & known), probability, rate, effective]


def _spread(cell: LIFmesoCell, K: int, bins: np.ndarray, mean_input: Tensor, states: list[Tensor]) -> list[Tensor]:
    """Take particles to the first bin of their trials, from moments that are spread evenly over free runs.

    These take `bins`, (B,), under the mean input, (B, M). A recorded neuron has the potential of the cohort that fired
    in the same bin as it did. The clock goes on in all trials, so that no noise comes twice.
    """
    *_, V_obs, age_obs, clock = states
    uniform = cell.uniform(3, clock, (len(bins), 1), tf.float64)
    moments = tf.floor((tf.range(K, dtype=tf.float64) + uniform) / K * (bins[:, None] + 1))
    moments, I, silent = tf.reshape(moments, (-1,)), tf.repeat(mean_input, K, axis=0), tf.zeros_like(V_obs)

    def bin_by_bin(s: Tensor, states: list[Tensor]) -> tuple:
        nbar, _, H, after = cell.expect(I, states)
        n, _ = cell.draw(nbar, H, states[-1])
        *after, clock = cell.age(n, silent, after)
        goes_on = tf.cast(s, tf.float64) < moments
        shaped = [tf.reshape(goes_on, (-1, *[1] * (part.ndim - 1))) for part in after]
        return s + 1, [*map(tf.where, shaped, after, states[:-1]), clock]

    T = int(bins.max())
    _, states = tf.while_loop(lambda s, _: s < T, bin_by_bin, (tf.constant(0), states), maximum_iterations=T)
    V, _, _, u, *_, clock = states
    V_obs = tf.gather(tf.concat([V, u[..., None]], axis=-1), tf.cast(age_obs, tf.int32), batch_dims=2)
    return [*states[:-3], V_obs, age_obs, clock]


def _run(cell: LIFmesoCell, K: int, inputs: tuple[Tensor, ...], start: list[Tensor]) -> list[Tensor]:
    """Take all particles through all bins; return what `Filtered` holds, with time in front.

    `inputs`, with time in front as well, are external input (T, B, M), spikes, which of them are seen, and which the
    particles are weighed by, (T, B, M, n_obs).
    """
    T, B, M, n_obs = inputs[1].shape

    def bin_by_bin(s: Tensor, ln_w: Tensor, states: list[Tensor], stored: list[Tensor]) -> tuple:
        given = (tf.repeat(array[s], K, axis=0) for array in inputs)
        ln_w, states, found = _step(cell, ln_w, states, *given)
        return s + 1, ln_w, states, [array.write(s, value) for array, value in zip(stored, found, strict=True)]

    shapes = ((B,), (B, M, n_obs), (B, M), (B,))
    stored = [tf.TensorArray(tf.float64, T, element_shape=shape) for shape in shapes]
    equal = tf.fill((B, K), tf.constant(-np.log(K), tf.float64))
    first = (tf.constant(0), equal, start, stored)
    *_, stored = tf.while_loop(lambda s, *_: s < T, bin_by_bin, first, maximum_iterations=T)
    return [array.stack() for array in stored]


def _step(
    cell: LIFmesoCell,
    ln_w: Tensor,
    states: list[Tensor],
    external_input: Tensor,
    spikes: Tensor,
    seen: Tensor,
    weighed: Tensor,
) -> tuple[Tensor, list[Tensor], tuple[Tensor, ...]]:
    """Predict a bin, weigh the particles by its spikes, resample them where needed, and let them go on.

    `ln_w`, (B, K), are the logarithms of weights whose sum is 1; all else has trial and particle on its first axis.
    """
    B, K = ln_w.shape
    model, theta = cell.model, tf.constant(cell.parameters.threshold[:, None], tf.float64)
    nbar, V_obs, H, states = cell.expect(external_input, states)
    w, (P, _), clock = tf.exp(ln_w), tf_firing(H, model.scheme), states[-1]
    predicted = [tf.einsum("bk,bk...->b...", w, tf.reshape(x, (B, K, *x.shape[1:]))) for x in (P, nbar)]

    losses = tf.where(weighed, spike_loss(spikes, V_obs, H, theta, model), tf.zeros_like(H))
    ln_w -= tf.reshape(tf.reduce_sum(losses, axis=(1, 2)), (B, K))
    ln_p = tf.reduce_logsumexp(ln_w, axis=1)
    ln_w -= ln_p[:, None]
    effective = 1 / tf.reduce_sum(tf.exp(2 * ln_w), axis=1)

    poor = effective < K / 2
    chosen = tf.where(poor[:, None], systematic(tf.exp(ln_w), cell.uniform(3, clock, (B, 1), tf.float64)), tf.range(K))
    ln_w = tf.where(poor[:, None], tf.fill((B, K), tf.constant(-np.log(K), tf.float64)), ln_w)
    rows = tf.reshape(chosen + K * tf.range(B)[:, None], (-1,))
    nbar, H, *states = tf.cond(
        tf.reduce_any(poor),
        lambda: [tf.gather(part, rows) for part in (nbar, H, *states)],
        lambda: [nbar, H, *states],
    )
    n, own = cell.draw(nbar, H, clock)
    return ln_w, cell.age(n, tf.where(seen, spikes, own), states), (ln_p, *predicted, effective)


def systematic(w: Tensor, uniform: Tensor) -> Tensor:
    """Return which particles are kept, (B, K), each as often as K times its weight, give or take less than one.

    Parameters
    ----------
    w : tensor, (B, K)
        Weights, of sum 1.
    uniform : tensor, (B, 1)
        A random number in [0, 1) for each row.
    """
    K = w.shape[1]
    positions = (tf.range(K, dtype=w.dtype) + uniform) / K
    return tf.minimum(tf.searchsorted(tf.cumsum(w, axis=1), positions, side="right"), K - 1)
