"""A posterior made up in no time: draws scattered about the true parameters of the winner-take-all circuit."""

import numpy as np

from src.helper import to_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Recording
from src.model.scheme import CONSISTENT
from src.posterior.result import Posterior, save_posterior


def fake_posterior(sweeps=3, walkers=4, scatter=0.003, seed=0):
    """Return a posterior whose recording is silent, of one trial of 0.4 s."""
    model = winner_take_all(scheme=CONSISTENT)
    M, T = model.n_populations, 100
    spikes = np.zeros((1, M, model.window_bins + T, 2), np.uint8)
    recording = Recording(spikes, np.zeros((1, M, T)), np.array([[18.0, 6.0, 25.0]]))
    X = to_X(reference_parameters(), model)
    draws = X * np.exp(scatter * np.random.default_rng(seed).standard_normal((sweeps, walkers, len(X))))
    evaluation = np.arange(sweeps * walkers).reshape(sweeps, walkers)
    return Posterior(model, recording, draws, np.zeros((sweeps, walkers)), evaluation, np.arange(walkers), 50, 1)


def save_fake(folder, **options):
    """Write one into ``posterior/`` of a folder of runs, and return it."""
    posterior = fake_posterior(**options)
    save_posterior(folder / "posterior", posterior)
    return posterior
