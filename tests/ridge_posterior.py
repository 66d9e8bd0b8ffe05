"""Posteriors with known answers: Gaussian in the logarithms, with a ridge where one is asked for."""

import numpy as np

from src.helper import to_X
from src.inference.fast_filter import simulate_many
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Recording
from src.model.free_parameters import FreeParameters
from src.model.scheme import CONSISTENT
from src.posterior.result import Posterior

REFERENCE = reference_parameters()
SPREAD = np.repeat([0.06, 0.05, 0.03, 0.12], 3)
"""Standard deviations of the logarithms: alpha, J, mu, theta."""
RIDGE = np.array([0, 0, 0, 0, 0, 0.3, 0.22, 0.22, 0.22, 0, 0, 0])
"""One standard deviation along it: a stronger inhibition, and higher resting potentials."""


def with_draws(model, recording, X, origin=None, **more):
    """Return a posterior of draws X, (sweeps, walkers, n), each of an evaluation of its own."""
    (S, W, _), about = X.shape, more.pop("about", {})
    evaluation = more.pop("evaluation", np.arange(S * W).reshape(S, W))
    origin = np.arange(W) % 2 if origin is None else origin
    return Posterior(model, recording, X, np.zeros((S, W)), evaluation, origin, 100, 7, about=about, **more)


def silent(model, T=100, n_obs=2):
    """Return a recording without a spike, of one trial."""
    M = model.n_populations
    spikes = np.zeros((1, M, model.window_bins + T, n_obs), np.uint8)
    return Recording(spikes, np.zeros((1, M, T)), np.full((1, M), 10.0))


def on_ridge(*, sweeps=10, walkers=100, spread=SPREAD, ridge=RIDGE, seed=0, recording=None, **more):
    """Return draws for the winner-take-all circuit, independent of each other, about the true numbers."""
    model = winner_take_all(scheme=CONSISTENT)
    rng, true = np.random.default_rng(seed), to_X(REFERENCE, model)
    logs = rng.standard_normal((sweeps, walkers, 12)) * spread + rng.standard_normal((sweeps, walkers, 1)) * ridge
    X = np.clip(true * np.exp(logs), model.fitted.lower, model.fitted.upper)
    return with_draws(model, recording or silent(model), X, true=true, **more)


def of_numbers(logs, lower, upper, priors=(), names=None):
    """Return a posterior of numbers with these logarithms, (sweeps, walkers, n), for n populations by themselves."""
    n = logs.shape[-1]
    matrix = np.eye(n, 3 * n + n * n)  # the membrane rates
    names = names or tuple(f"membrane_rate P{k}" for k in range(n))
    free = FreeParameters(
        names,
        ("1/s",) * n,
        np.zeros(3 * n + n * n),
        matrix,
        lower=np.full(n, lower),
        upper=np.full(n, upper),
        priors=priors,
    )
    places = tuple(f"P{k}" for k in range(n))
    model = Model(
        np.full(n, 100.0),
        np.full(n, 200.0),
        np.zeros((n, n)),
        names=places,
        scheme=CONSISTENT,
        window_bins=40,
        free=free,
    )
    return with_draws(model, silent(model), np.exp(logs))


def simulated(seconds=6.0, n_obs=4, seed=1, trials=1, drive=0.0):
    """Return model and recording of the winner-take-all circuit at its true parameters; all bins are judged."""
    model = winner_take_all(scheme=CONSISTENT)
    A, T, settling = model.window_bins, round(seconds / model.dt), 250
    driven = drive * np.sin(np.arange(settling + A + T) * model.dt * 2 * np.pi) * np.ones((3, 1))
    given = {"initial_rate": np.array([18.0, 6.0, 25.0]), "n_observed": n_obs}
    activity, spikes = simulate_many(REFERENCE, model, driven, trials, seed, **given)
    activity, spikes = activity[..., settling:], spikes[:, :, settling:]
    rate = spikes[:, :, :A].mean(axis=(2, 3)) / model.dt
    inputs = np.repeat(driven[None, :, settling + A :], trials, axis=0)
    return model, Recording(spikes.astype(np.uint8), inputs, rate, true_activity=activity[..., A:])


def at_the_truth(model, recording, number=60, **more):
    """Return a posterior all of whose draws are the true numbers, each with an evaluation of its own."""
    true = to_X(REFERENCE, model)
    return with_draws(model, recording, np.tile(true, (number // 10, 10, 1)), true=true, **more)
