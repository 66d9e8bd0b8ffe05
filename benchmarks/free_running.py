"""How often the model switches at the true parameters, whether its window matters, and what the schemes cost."""

import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.known_activity import Problem, in_bins, network_counts
from benchmarks.problems import DATASET
from src.data.dataset import load_recording
from src.fast_np import fast_lossM, workspace
from src.helper import init_model, to_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.scheme import CONSISTENT, PUBLISHED, SCHEMES
from src.statistics.switching import find_switches
from src.utils.quiet import use_tensorflow

REFERENCE = reference_parameters()

SWITCHING_DT = 0.004  # s; every activity is brought to these bins before its switches are counted
FORGOTTEN = 5.0  # s at the beginning of each simulated piece that are dropped
TYPICAL = np.array([18.8, 6.0, 24.5])  # Hz, where a piece starts


def rates_and_switches(rate: np.ndarray, dt: float) -> dict[str, Any]:
    """Return switches, winner's, loser's and inhibition's rates of an activity, (M, n_bins), in Hz."""
    group = round(SWITCHING_DT / dt)
    whole = rate.shape[-1] // group * group
    coarse = rate[:, :whole].reshape(len(rate), -1, group).mean(axis=-1)
    found = find_switches(coarse, SWITCHING_DT)
    return {
        "switches": len(found.times),
        "winner_Hz": found.winner_rate,
        "loser_Hz": found.loser_rate,
        "inhibition_Hz": float(coarse[-1].mean()),
    }


def network_piece(seed: int, length: float, folder: Path) -> dict[str, Any]:
    """Measure a piece of the microscopic network."""
    model = winner_take_all(SWITCHING_DT)
    return rates_and_switches(in_bins(network_counts(seed, length, folder), model) / model.dt, model.dt)


def simulated_piece(scheme: str, dt: float, window: float, noise: str, seed: int, length: float) -> dict[str, Any]:
    """Measure a piece of the model's free simulation, without its first seconds."""
    use_tensorflow()
    from src.LIFmesoCell import simulate

    model = winner_take_all(dt, window, SCHEMES[scheme])
    n_bins = round((FORGOTTEN + length) / dt)
    activity, _ = simulate(REFERENCE, model, n_bins, seed, initial_rate=TYPICAL, noise=noise)
    return rates_and_switches(activity[:, round(FORGOTTEN / dt) :] / dt, dt)


def window_difference(seed: int, length: float, folder: Path, dt: float = 0.004) -> dict[str, Any]:
    """Compare the consistent scheme's loss of known activity with a window of 0.16 s and of 1 s."""
    counts = network_counts(seed, length, folder)
    losses = []
    for window in (0.16, 1.0):
        model = winner_take_all(dt, window, CONSISTENT)
        losses.append(Problem(in_bins(counts, model), model).loss(REFERENCE)[0])
    return {"loss": losses[0], "difference": abs(losses[0] / losses[1] - 1)}


def gradient_cost(dt: float, repeats: int, length: float = 10.0) -> dict[str, Any]:
    """Time the M-step's value and gradient, consistent at `dt` over published at 4 ms, on the shipped recording."""
    sides = []
    for model in (winner_take_all(dt, None, CONSISTENT), winner_take_all(0.004, None, PUBLISHED)):
        recording, _ = load_recording(DATASET, model, end_timepoint=model.window_bins * model.dt + length)
        _, activity = init_model(recording, model, np.random.default_rng(0))
        fitted = activity[..., model.window_bins :]
        sides.append((to_X(REFERENCE, model), fitted, recording, model, workspace(fitted, model)))
    return _ratio_of_times([lambda given=given: fast_lossM(*given) for given in sides], repeats)


def simulation_cost(noise: str, length: float, repeats: int) -> dict[str, Any]:
    """Time free simulation in 4 ms bins with a window of 1 s over 0.16 s and pool; compiled before."""
    use_tensorflow()
    return _ratio_of_times([_compiled(window, noise, length) for window in (1.0, 0.16)], repeats)


@cache
def _compiled(window: float, noise: str, length: float) -> Any:
    import keras
    import tensorflow as tf

    from src.LIFmesoCell import LIFmesoCell

    model = winner_take_all(SWITCHING_DT, window, CONSISTENT)
    cell = LIFmesoCell(REFERENCE, model, TYPICAL, noise=noise, dtype="float32")
    run = tf.function(keras.layers.RNN(cell, return_sequences=True, dtype="float32"), jit_compile=True)
    silence = tf.zeros((1, round(length / model.dt), model.n_populations), "float32")
    return lambda: run(silence).numpy()


def _ratio_of_times(functions: list[Any], repeats: int) -> dict[str, Any]:
    """Time functions in turn, after a first call of each; return the first's median time over the second's."""
    seconds: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            if repeat:
                times.append(time.perf_counter() - start)
    first, second = (float(np.median(times)) for times in seconds)
    return {"ms": 1e3 * first, "ms_other": 1e3 * second, "ratio": first / second}
