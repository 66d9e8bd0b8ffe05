"""Inputs for the tests of the likelihoods: the golden files, and random circuits of any size."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy

from src.model.containers import Model, Parameters, Recording
from src.model.flat_order import number_of, places
from src.model.free_parameters import FreeParameters
from src.model.scheme import PUBLISHED

GOLDEN = Path(__file__).parent / "golden"
EXACT = 1e-17
"""Tolerance of the tail, below the rounding of the potential."""
GAP = np.ones((1, 1, 5, 1))
GOLDEN_NAMES = sorted(path.stem for path in GOLDEN.glob("*.npz"))


class Case(NamedTuple):
    parameters: Parameters
    activity: np.ndarray  # (B, M, T)
    recording: Recording
    model: Model


def golden_cases(name):
    """Every row of a golden file, with its two losses."""
    data = np.load(GOLDEN / f"{name}.npz", allow_pickle=False)
    T, M = data["external_input"].shape[-1], len(data["population_size"])
    A = data["activity"].shape[-1] - T
    model = Model(
        data["population_size"],
        data["synaptic_rate"],
        np.ones((M, M)),
        dt=float(data["dt"]),
        window_bins=A,
        refractory_bins=int(data["refractory_bins"]),
        delay_bins=int(data["delay_bins"]),
    )
    recording = Recording(data["observed_spikes"], data["external_input"], data["initial_rate"])
    for k, theta in enumerate(data["theta"]):
        other = "activity_used" in data and data["activity_used"][k] == 1
        activity = data["true_activity" if other else "activity"][..., A:]
        case = Case(Parameters.from_flat(theta), activity, recording, model)
        yield case, float(data["loss_y"][k]), float(data["loss_Z"][k])


def random_case(M=2, B=1, T=40, A=25, r=1, d=0, n_obs=2, dt=0.004, seed=0, scheme=PUBLISHED, counts="gaussian"):
    """A random circuit with input, and a random activity and random spikes that it did not make."""
    rng = np.random.default_rng([seed, M, B, T, A, r, d, n_obs])
    parameters = Parameters(
        rng.uniform(30, 70, M), rng.normal(0, 3, (M, M)), rng.uniform(2, 10, M), rng.uniform(3, 5, M)
    )
    model = Model(
        rng.integers(100, 500, M),
        rng.uniform(150, 350, M),
        np.ones((M, M)),
        dt=dt,
        window_bins=A,
        refractory_bins=r,
        delay_bins=d,
        scheme=scheme,
        counts=counts,
    )
    spikes = (rng.random((B, M, A + T, n_obs)) < 0.08).astype(np.uint8)
    spikes[0, 0, :A, 0] = 0  # one neuron that is silent in the window
    recording = Recording(spikes, rng.normal(0, 30, (B, M, T)), rng.uniform(5, 25, (B, M)))
    return Case(parameters, rng.uniform(0.01, 0.12, (B, M, T)), recording, model)


def with_gains(case, seed=0):
    """The same with input gains of either sign, all of them fitted."""
    M, rng = case.model.n_populations, np.random.default_rng([seed, 5])
    parameters = dataclasses.replace(case.parameters, input_gain=rng.uniform(0.3, 2.0, M) * rng.choice([-1, 1], M))
    fixed = case.model.fitted
    matrix = np.zeros((len(fixed.names) + M, number_of(M, gains=True)))
    matrix[: len(fixed.names), : number_of(M)] = fixed.matrix
    matrix[np.arange(-M, 0), places("input_gain", M)] = 1
    names = (*fixed.names, *(f"input_gain {name}" for name in case.model.names))
    free = FreeParameters(names, (*fixed.units, *[""] * M), np.zeros(matrix.shape[1]), matrix)
    return case._replace(parameters=parameters, model=dataclasses.replace(case.model, free=free))


def oracle_arguments(case):
    """The arguments of the losses in `tests.oracle`; the window of the activity is not used."""
    parameters, activity, recording, model = case
    window = np.full((*activity.shape[:2], model.window_bins), np.nan)
    return (
        parameters.flat(),
        recording.observed_spikes,
        np.concatenate([window, activity], axis=-1),
        recording.external_input,
        model.synaptic_rate,
        model.population_size,
        model.dt,
        model.refractory_bins,
        model.delay_bins,
        recording.initial_rate,
        recording.judged,
        recording.recorded,
        recording.observed,
    )


def with_masks(case, seed=0, gaps=True):
    """The same with a burn-in and an end of every trial, 1, 2, ... n_obs, 0, 1, ... recorded neurons, and gaps."""
    rng = np.random.default_rng(seed)
    (B, M, _, n_obs), T = case.recording.observed_spikes.shape, case.recording.n_bins
    burn_in, end = rng.integers(1, 5, B), T - rng.permutation(B) * 3  # one trial fills all bins
    judged = (np.arange(T) >= burn_in[:, None]) & (np.arange(T) < end[:, None])
    recorded = np.arange(n_obs) < (1 + np.arange(M)[:, None]) % (n_obs + 1)
    observed = ~scipy.ndimage.binary_dilation(rng.random(case.recording.observed_spikes.shape) < 0.02, GAP)
    if not gaps:
        return case._replace(recording=dataclasses.replace(case.recording, judged=judged, recorded=recorded))
    spikes = case.recording.observed_spikes * observed
    given = {"judged": judged, "recorded": recorded, "observed": observed, "observed_spikes": spikes}
    return case._replace(recording=dataclasses.replace(case.recording, **given))
