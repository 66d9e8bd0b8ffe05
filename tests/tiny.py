"""A population so small that one can sum over all its activities."""

import itertools

import numpy as np

from src.fast_np import fast_lossy, fast_lossZ
from src.model.containers import Model, Parameters, Recording
from src.model.scheme import CONSISTENT


def two_neurons(T=5, n_obs=8):
    """Two trials of a population of two neurons that excite themselves; more are recorded than there are."""
    model = Model(
        np.array([2]), np.array([300.0]), np.ones((1, 1)), window_bins=30, scheme=CONSISTENT, counts="binomial"
    )
    parameters = Parameters(np.array([50.0]), np.array([[6.0]]), np.array([4.0]), np.array([0.0]))
    spikes = (np.random.default_rng(1).random((2, 1, 30 + T, n_obs)) < 0.3).astype(np.uint8)
    spikes[:, :, 1:] &= 1 - spikes[:, :, :-1]  # no neuron fires twice in a row
    return parameters, model, Recording(spikes, np.zeros((2, 1, T)), np.array([[30.0], [60.0]]))


def all_activities(parameters, model, recording):
    """ln p(n) and ln p(spikes | n) of every activity n, (3^T,), and these activities, (3^T, T)."""
    T, N = recording.n_bins, model.population_size[0]
    activities = np.array(list(itertools.product(np.arange(N + 1) / N, repeat=T)))
    ln_p_n, ln_p_y = np.empty((2, len(activities)))
    for k, n in enumerate(activities):
        ln_p_n[k] = -T * (fast_lossZ(parameters, n[None, None], recording, model).value + np.log(N))
        ln_p_y[k] = -T * fast_lossy(parameters, n[None, None], recording, model).value
    return ln_p_n, ln_p_y, activities
