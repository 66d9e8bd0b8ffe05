"""ln p(recorded spikes | parameters), with the activity integrated out: what the loss of a fit is no measure of.

The loss of a fit on innovations is that of the most likely activity. How many other activities are nearly as likely it
does not know, and so it prefers couplings with which a single one stands out. The likelihood counts them all.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy

from src.inference.fast_filter import FastFilter, has_numba
from src.model.containers import Model, Parameters, Recording
from src.model.scheme import CONSISTENT

BURN_IN = 0.5
"""Seconds of a trial that inform and are not judged: nobody knows the state of the circuit before."""
PARTICLES, MOST_PARTICLES, FILTERS = 200, 1000, 4
"""Particles for each `PER_TRIAL` s of a trial, at most, and how many filters: their scatter is the error."""
PER_TRIAL = 10.0


class SpikeLikelihood(NamedTuple):
    """ln p(spikes | parameters), in nats, and the Monte Carlo error of it."""

    ln_p: float
    error: float


def particles_of(recording: Recording, model: Model) -> int:
    """Return how many particles a filter of a recording has: more for longer trials, whose estimate scatters more."""
    seconds = recording.lengths.max() * model.dt
    return int(np.clip(PARTICLES * seconds / PER_TRIAL, PARTICLES, MOST_PARTICLES))


def mean_of_filters(ln_p: np.ndarray) -> tuple[float, float]:
    """Return ln p of independent parts, such as trials, and its Monte Carlo error, from several estimates of each.

    The mean is one of likelihoods, of which each is an unbiased estimate. It is taken in each part: the product of many
    estimates scatters, and so would a mean of it.

    Parameters
    ----------
    ln_p : array, (estimates, parts)
        A single one counts as exact.
    """
    mean = scipy.special.logsumexp(ln_p, axis=0) - np.log(len(ln_p))
    variance = ln_p.var(axis=0, ddof=1) / len(ln_p) if len(ln_p) > 1 else np.zeros(1)
    return float(mean.sum()), float(np.sqrt(variance.sum()))


def spike_likelihood(model: Model, recording: Recording) -> Callable[[Parameters], SpikeLikelihood]:
    """Return the likelihood of the judged spikes of a recording, as a function of the parameters.

    It is that of the consistent scheme, whichever scheme the parameters were fitted with. The random numbers are always
    the same, so that much of the error is gone from a difference. Without numba, the filter runs in TensorFlow.

    Parameters
    ----------
    model : Model
    recording : Recording
        The first `BURN_IN` of each trial is not judged, where the trials are longer.
    """
    model, later = replace(model, scheme=CONSISTENT), recording.judged_from(round(BURN_IN / model.dt))
    recording = later if later.is_judged.any(axis=1).all() else recording
    particles = particles_of(recording, model)

    def fast(parameters: Parameters) -> SpikeLikelihood:
        bins = [known.ln_p_bins(parameters, seed, particles) for seed in range(FILTERS)]
        return SpikeLikelihood(*mean_of_filters(np.sum(bins, axis=-1)))

    def slow(parameters: Parameters) -> SpikeLikelihood:
        from src.inference.particle_filter import filter_spikes

        copies = recording.trials(np.tile(np.arange(recording.n_trials), FILTERS))
        bins = filter_spikes(parameters, model, copies, n_particles=particles, seed=0).ln_p
        return SpikeLikelihood(*mean_of_filters(bins.sum(axis=-1).reshape(FILTERS, -1)))

    if not has_numba():
        return slow
    known = FastFilter(model, recording)
    return fast
