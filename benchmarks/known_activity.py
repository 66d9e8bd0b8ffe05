"""Maximum-likelihood parameters from fully known activity: what a scheme and a bin make of data of the network.

The activity of every population is taken from the network itself, so that nothing is hidden: the twelve numbers that
minimise ``loss_Z`` differ from the true ones by the scheme's own error and by what a finite recording leaves open.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from src import LIFmicroPop
from src.fast_np import fast_lossZ, workspace
from src.helper import from_X, gradient_to_X, to_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters, Recording
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays

REFERENCE = reference_parameters()

NETWORK_DT = 0.0002  # s
OWN = "own data"
"""Scheme of a row whose data come from the consistent scheme itself, not from the network."""
OWN_SETTLE = 5.0  # s, simulated and dropped
WARM_UP = 1.0  # s, simulated and dropped: the network forgets its first potentials
WINDOW = 1.0  # s, whose mean activity is what the likelihood takes for the past
BURN_IN = 1.0  # s, predicted but not judged, see `Problem`
START = (0.7, 1.4)
BOUNDS = (0.1, 4.0)
CANDIDATES = 20
FIRST_STEP = 100.0
"""L-BFGS begins with a step of length one, which this makes small."""
GTOL = 1e-5
ENOUGH = 1e-8
"""Gain in loss per population and bin below which the search is over: 3e-4 nats in 10 s of 1 ms bins."""


def network_counts(seed: int, length: float, folder: Path) -> np.ndarray:
    """Return spikes per population and step of `NETWORK_DT`, (M, n_steps), from the true network; kept in `folder`."""
    path = folder / f"network{seed}_{length:g}s"
    if path.exists():
        return load_arrays(path, ["counts"])["counts"]
    model = winner_take_all(NETWORK_DT)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    steps, warm_up = round(length / NETWORK_DT), round(WARM_UP / NETWORK_DT)
    found = LIFmicroPop.simulate_network(REFERENCE, model, steps, rng, n_sampled=0, warmup_steps=warm_up)
    counts = np.rint(found.rate.T * model.population_size[:, None] * NETWORK_DT).astype(np.uint16)
    save_arrays(path, compress=True, counts=counts)
    return counts


def in_bins(counts: np.ndarray, model: Model) -> np.ndarray:
    """Return the fraction of each population that fires in bins of the model's, (M, n_bins)."""
    steps = round(model.dt / NETWORK_DT)
    if not np.isclose(steps * NETWORK_DT, model.dt):
        raise InputError(f"dt: expected a multiple of the network's {NETWORK_DT:g} s, got {model.dt:g} s")
    whole = counts.shape[-1] // steps * steps
    return counts[:, :whole].reshape(len(counts), -1, steps).sum(axis=-1) / model.population_size[:, None]


def own_activity(seed: int, length: float, model: Model) -> np.ndarray:
    """Return activity that the model itself made, (M, n_bins): what its fit misses of the truth is chance alone."""
    from src.LIFmesoCell import simulate  # not at the top: TensorFlow takes seconds to load

    settle = round(OWN_SETTLE / model.dt)
    n_bins = settle + round(length / model.dt)
    activity, _ = simulate(REFERENCE, model, n_bins, seed, noise=model.counts)
    return activity[:, settle:]


class Problem:
    """``loss_Z`` of known activity as a function of the parameters.

    The likelihood begins with populations that fired at constant rates A0, which real ones never did. So the
    first `BURN_IN` is predicted but not judged: as nothing depends on the future, the loss of the later bins is the sum
    over all bins less the sum over the first ones. With a second of it, what the start was does not matter.

    Parameters
    ----------
    activity : array, (M, window + burn-in + fitted bins)
        Fraction that fires.
    model : Model
    """

    def __init__(self, activity: np.ndarray, model: Model) -> None:
        past, self.skip = round(WINDOW / model.dt), round(BURN_IN / model.dt)
        self.model, self.activity = model, activity[None, :, past:]
        M, T = self.activity.shape[1:]
        A0 = activity[None, :, :past].mean(axis=-1) / model.dt
        silent = np.zeros((1, M, model.window_bins + T, 0), np.uint8)
        self.recording = Recording(silent, np.zeros((1, M, T)), A0)
        self.first = replace(self.recording, external_input=self.recording.external_input[..., : self.skip])
        self.work = workspace(self.activity, model)

    def loss(self, parameters: Parameters) -> tuple[float, np.ndarray]:
        """Return the loss per population and bin after the burn-in, and its gradient in the order of X, (4 M,)."""
        T, skip, model = self.activity.shape[-1], self.skip, self.model
        whole = fast_lossZ(parameters, self.activity, self.recording, model, "parameters", self.work)
        first = fast_lossZ(parameters, self.activity[..., :skip], self.first, model, "parameters")
        value = (T * whole.value - skip * first.value) / (T - skip)
        gradient = (T * whole.parameters - skip * first.parameters) / (T - skip)
        return value, gradient_to_X(gradient, model)


def minimum(problem: Problem, rng: np.random.Generator, max_iterations: int = 500) -> dict[str, Any]:
    """Return the parameters of least loss, found from a start off the truth.

    The start is the best of `CANDIDATES` points drawn uniformly in `START` times the truth: from many such points the
    model is far from the data, with an expected activity of 0 or 1 and no slope that leads back. L-BFGS goes on from
    there, in the logarithms of the parameters, turned and scaled by the Hessian at the truth (which changes the path,
    not the minimum) and led back softly where they leave `BOUNDS`; then it starts again where it stopped, until that
    gains nothing: the published loss has steps, as its firing probability does, at which a line search fails.

    Returns
    -------
    dict
        ``loss`` and ``loss_true``, per population and bin, ``iterations``, ``slope``: the norm of the gradient, scaled
        by the Hessian, so that half its square is what is left to gain, and ``ratio``, (4 M,), fit / truth.
    """
    unit = to_X(REFERENCE, problem.model)
    low, high = np.log(BOUNDS)

    def at(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = problem.loss(from_X(np.exp(u) * unit, problem.model))
        beyond = u - np.clip(u, low, high)
        return value + float(beyond @ beyond), gradient * np.exp(u) * unit + 2 * beyond

    back = _whitening(at, len(unit))

    def turned(v: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = at(back @ v)
        return value, back.T @ gradient

    candidates = np.log(rng.uniform(*START, (CANDIDATES, len(unit))))
    start = min(candidates, key=lambda u: at(u)[0])
    options = {"maxiter": max_iterations, "maxfun": 10**6, "maxcor": 20, "ftol": 1e-11, "gtol": GTOL / FIRST_STEP}
    best = minimize(turned, np.linalg.solve(back, start), jac=True, method="L-BFGS-B", options=options)
    iterations, gained = best.nit, np.inf
    while iterations < max_iterations and gained > ENOUGH:
        again = minimize(turned, best.x, jac=True, method="L-BFGS-B", options=options)
        iterations, gained = iterations + again.nit, best.fun - again.fun
        best = min(best, again, key=lambda found: found.fun)
    return {
        "loss": float(best.fun),
        "loss_true": at(np.zeros(len(unit)))[0],
        "iterations": iterations,
        "slope": float(np.linalg.norm(best.jac) * FIRST_STEP),
        "ratio": np.exp(back @ best.x),
    }


def _whitening(at: Callable, n: int, step: float = 0.01) -> np.ndarray:
    """Return the matrix from coordinates in which the Hessian at the truth is about 1 / `FIRST_STEP`^2."""
    differences = [at(sign * step * e)[1] for e in np.eye(n) for sign in (1, -1)]
    hessian = np.subtract(differences[::2], differences[1::2]) / (2 * step)
    scale, axes = np.linalg.eigh((hessian + hessian.T) / 2)
    return axes / np.sqrt(np.maximum(np.abs(scale), 1e-4 * np.abs(scale).max())) / FIRST_STEP
