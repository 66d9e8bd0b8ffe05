"""Free simulations of a recording: as long, with as many recorded neurons and the same input, each with its own noise.

Where numba is installed and the scheme is the consistent one, the fast filter's kernels simulate; else TensorFlow does.
"""

from collections.abc import Iterator

import numpy as np

from src.inference.fast_filter import is_fast, simulate_many
from src.model.containers import Model, Parameters, Recording
from src.utils.quiet import import_quietly

SETTLING = 0.5
"""Seconds before each trial in which the recorded neurons, all just reset at first, forget that."""
MOST_VALUES = 2 * 10**7
"""Numbers that the copies simulated at once may need."""


def simulate_recording(
    parameters: Parameters, model: Model, recording: Recording, n_copies: int, seed: int
) -> Iterator[np.ndarray]:
    """Simulate a recording many times; give the spikes of each copy, bool (B, M, T, n_obs), over the fitted bins.

    A trial starts at the rates that its recorded neurons had in the history window, and settles for half a second at
    the mean of its input: what drove the circuit before the trial is not known.

    Parameters
    ----------
    parameters : Parameters
    model : Model
    recording : Recording
        Gives trials, input, rates A0 and the number of recorded neurons. What fills up a shorter trial is silent.
    n_copies : int
    seed : int
        The same seed gives the same spikes.
    """
    settling, n_obs = round(SETTLING / model.dt), recording.observed_spikes.shape[-1]
    known = zip(recording.external_input, recording.lengths.tolist(), strict=True)
    means = np.stack([trial[:, :length].mean(axis=-1) for trial, length in known])
    driven = np.concatenate([np.repeat(means[..., None], settling, axis=-1), recording.external_input], axis=-1)
    B, M, bins = driven.shape
    at_once = int(np.clip(MOST_VALUES // (B * bins * M * (n_obs + 4)), 1, n_copies))
    simulate = _compiled if is_fast(model) else _in_tensorflow
    chunks = [(first, min(at_once, n_copies - first)) for first in range(0, n_copies, at_once)]
    ended = np.arange(recording.n_bins) >= recording.lengths[:, None]
    for spikes in simulate(parameters, model, driven, recording.initial_rate, n_obs, chunks, seed):
        for copy in spikes:
            fitted = copy[:, :, settling:]
            fitted[np.broadcast_to(ended[:, None], fitted.shape[:3])] = False
            yield fitted


def input_again(recording: Recording, bins: int) -> np.ndarray:
    """Return so many bins of the external input of the recording, trial after trial, over and over: (M, bins)."""
    trials = zip(recording.external_input, recording.lengths, strict=True)
    once = np.concatenate([trial[:, :length] for trial, length in trials], axis=-1)
    return np.asarray(np.take(once, np.arange(bins), axis=-1, mode="wrap"))


def _compiled(
    parameters: Parameters,
    model: Model,
    driven: np.ndarray,
    A0: np.ndarray,
    n_obs: int,
    chunks: list[tuple[int, int]],
    seed: int,
) -> Iterator[np.ndarray]:
    """Give the spikes (copies, B, M, bins, n_obs) of each chunk (first copy, copies), from an input (B, M, bins)."""
    for first, copies in chunks:
        trials = [
            simulate_many(parameters, model, trial, copies, (seed, first, b), initial_rate=rate, n_observed=n_obs)[1]
            for b, (trial, rate) in enumerate(zip(driven, A0, strict=True))
        ]
        yield np.stack(trials, axis=1)


def _in_tensorflow(
    parameters: Parameters,
    model: Model,
    driven: np.ndarray,
    A0: np.ndarray,
    n_obs: int,
    chunks: list[tuple[int, int]],
    seed: int,
) -> Iterator[np.ndarray]:
    """Do as `_compiled`; all chunks are as large as the first, so that there is one program to compile."""
    simulate_batch = import_quietly("src.LIFmesoCell").simulate_batch
    B, M, bins = driven.shape
    copies = chunks[0][1]
    several = simulate_batch(
        parameters, model, np.tile(driven, (copies, 1, 1)), seed, np.tile(A0, (copies, 1)), n_obs, len(chunks)
    )
    for (_, wanted), spikes in zip(chunks, several, strict=True):
        yield spikes.reshape(copies, B, M, bins, n_obs)[:wanted]
