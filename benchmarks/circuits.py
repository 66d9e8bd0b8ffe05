"""Circuits that are asked what an input does: the network, its own parameters, fits, and draws from a posterior."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.known_activity import NETWORK_DT
from benchmarks.pulses import DT
from src import LIFmicroPop
from src.helper import to_X
from src.inference.fast_filter import simulate_many
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters
from src.model.scheme import CONSISTENT
from src.posterior.result import Posterior
from src.runs.load import best_run, initial_rate, load_runs
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from src.utils.quiet import use_tensorflow

Simulate = Callable[[np.ndarray, int, int], np.ndarray]
STEPS = round(DT / NETWORK_DT)
TYPICAL = np.array([18.8, 6.0, 24.5])  # Hz, where a simulation starts that no recording precedes
WARM_UP = 1.0  # s of the network that are simulated and dropped


@dataclass(frozen=True)
class Source:
    """A circuit that can be simulated.

    Parameters
    ----------
    name : str
    circuit : str
        Tells circuits of the same name apart.
    simulate : callable
        Takes the input, (M, n_bins) in 1/s, the number of copies and a seed; returns rates (copies, M, n_bins) in Hz.
    """

    name: str
    circuit: str
    simulate: Simulate


def mark_of(X: np.ndarray) -> str:
    """Return eight letters that tell numbers apart, unless only their fifth digits differ, as between machines."""
    text = " ".join(f"{x:.4g}" for x in np.ravel(X))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def network(folder: Path, step: float = DT) -> Source:
    """Return the microscopic network, whose input comes in steps of so many s; what it did is kept in the folder."""

    def simulate(external_input: np.ndarray, copies: int, seed: int) -> np.ndarray:
        return np.stack([_network_rate(external_input, step, (seed, copy), folder) for copy in range(copies)])

    return Source("network", "", simulate)


def _network_rate(external_input: np.ndarray, step: float, seed: tuple[int, int], folder: Path) -> np.ndarray:
    """Return the rates of the network on bins of `DT`, (M, n_bins) in Hz, from the folder if they are there."""
    model, asked = winner_take_all(NETWORK_DT), hashlib.sha256(external_input.tobytes()).hexdigest()[:8]
    per_Hz = model.population_size[:, None] * DT
    path = folder / f"network_{asked}_{seed[0]}_{seed[1]}"
    if not path.exists():
        driven = np.repeat(external_input.T, round(step / NETWORK_DT), axis=0)
        found = LIFmicroPop.simulate_network(
            reference_parameters(),
            model,
            len(driven),
            np.random.default_rng(np.random.SeedSequence(seed)),
            external_input=driven,
            n_sampled=0,
            warmup_steps=round(WARM_UP / NETWORK_DT),
        )
        rate = found.rate.T.reshape(model.n_populations, -1, STEPS).mean(axis=-1)
        save_arrays(path, compress=True, counts=np.rint(rate * per_Hz).astype(np.uint16))
    return load_arrays(path, ["counts"])["counts"] / per_Hz


def mesoscopic(name: str, parameters: Parameters, model: Model, A0: np.ndarray) -> Source:
    """Return a circuit of mesoscopic populations that start at the rates A0, (M,) in Hz."""
    if not np.isclose(model.dt, DT):
        raise InputError(f"{name}: expected bins of {DT:g} s, got {model.dt:g} s")

    def quickly(external_input: np.ndarray, copies: int, seed: int) -> np.ndarray:
        return simulate_many(parameters, model, external_input, copies, seed, initial_rate=A0)[0] / np.float32(DT)

    def by_cell(external_input: np.ndarray, copies: int, seed: int) -> np.ndarray:
        return simulate_by_cell(parameters, model, external_input, copies, seed, A0)

    simulate = quickly if model.scheme is CONSISTENT else by_cell
    return Source(name, mark_of(to_X(parameters, model)), simulate)


def simulate_by_cell(
    parameters: Parameters, model: Model, external_input: np.ndarray, copies: int, seed: int, A0: np.ndarray
) -> np.ndarray:
    """Let copies of a circuit of any scheme run freely, all with one input (M, n_bins): rates (copies, M, n_bins)."""
    use_tensorflow()
    import keras
    import tensorflow as tf

    from src.LIFmesoCell import LIFmesoCell

    cell = LIFmesoCell(parameters, model, A0, seed=seed, dtype="float32")
    run = tf.function(keras.layers.RNN(cell, return_sequences=True, dtype="float32"), jit_compile=True)
    given = tf.constant(np.repeat(external_input.T[None], copies, axis=0), "float32")
    return cell.unpack(run(given))["activity"].numpy() / np.float32(DT)


def true_parameters() -> Source:
    """Return the consistent scheme with the parameters of the network."""
    return mesoscopic("truth", reference_parameters(), winner_take_all(DT, None, CONSISTENT), TYPICAL)


def best_fit(name: str, folder: str) -> Source:
    """Return the fit of lowest loss in a folder of runs.

    Raises
    ------
    InputError
        There is none.
    """
    run = best_run(load_runs(folder)[0])
    return mesoscopic(name, run.parameters, run.model, initial_rate(run))


def posterior_draws(posterior: Posterior, number: int) -> list[Source]:
    """Return draws from a posterior, each as a circuit, `number` of them at most."""
    draws = posterior.some(number, np.random.default_rng(0))
    A0 = posterior.recording.initial_rate.mean(axis=0)
    return [mesoscopic("posterior", posterior.parameters(draw), posterior.model, A0) for draw in draws.tolist()]
