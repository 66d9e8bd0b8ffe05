"""Simulations as the recordings that are fitted: in bins of the model, the first part not judged."""

import numpy as np

from benchmarks.known_activity import NETWORK_DT
from src.inference.spike_likelihood import BURN_IN
from src.LIFmicroPop import MicroRecording
from src.model.containers import Model, Recording, window_rate


def binned(network: MicroRecording, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Return recorded spikes (M, bins, n_obs) and activity (M, bins) of a simulation in steps of `NETWORK_DT`."""
    M, n_obs, steps = model.n_populations, network.sampled_spikes.shape[-1], round(model.dt / NETWORK_DT)
    spikes = network.sampled_spikes.reshape(M, -1, steps, n_obs).max(axis=2)
    return spikes, model.dt * network.rate.T.reshape(M, -1, steps).mean(axis=-1)


def judged_after_burn_in(spikes: np.ndarray, model: Model) -> Recording:
    """Return spikes, (B, M, A+T, n_obs), as a recording without input; the first `BURN_IN` of T is not judged."""
    y = spikes.astype(np.uint8)
    B, M, T = y.shape[0], y.shape[1], y.shape[2] - model.window_bins
    judged = np.tile(np.arange(T) >= round(BURN_IN / model.dt), (B, 1))
    return Recording(y, np.zeros((B, M, T)), window_rate(y, None, model), judged=judged)
