"""A fit against its own data: free simulations of the recording, and whether the recording lies among them.

The fitted circuit runs freely, as long as the recording and with as many recorded neurons. What the recorded neurons
show then (`src.statistics.recorded`) is compared with what they show in the recording, all statistics at once
(`src.statistics.envelope`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from src.evaluation.check_result import LEVEL, Checked, FitCheck
from src.inference.fast_filter import is_fast
from src.inference.free_simulation import simulate_recording
from src.model.containers import Model, Parameters, Recording, window_rate
from src.runs.finer_bins import coarse_bins, in_finer_bins
from src.statistics.envelope import envelope_test
from src.statistics.recorded import Statistic, possible, recorded_statistics

SIMULATIONS = {True: 299, False: 199}
"""So many, by whether numba simulates them, or TensorFlow does."""
MOST_BINS = {True: 15_000, False: 2_500}
"""So much of a recording is checked at most, likewise: a check should take seconds."""
MOST_SPIKES = 5 * 10**8
"""Bins of recorded neurons in all simulations at most."""
PIECE = 2_500
"""Bins of a piece, where a long trial is not checked as a whole."""


@dataclass(frozen=True)
class Example:
    """The beginning of the recording, and of the first simulation of it.

    Parameters
    ----------
    recording, simulation : bool array, (M, T, n_obs)
        Spikes in the longest trial, or piece of one.
    watched : bool array, (M, T, n_obs)
        Where they count.
    """

    recording: np.ndarray
    simulation: np.ndarray
    watched: np.ndarray


def check_fit(parameters: Parameters, model: Model, recording: Recording, seed: int) -> tuple[FitCheck, Example]:
    """Compare a recording with free simulations of it.

    Parameters
    ----------
    parameters : Parameters
    model : Model
    recording : Recording
        Only what is scored counts, in the recording and in the simulations.
    seed : int
        Of the simulations.
    """
    fast, A = is_fast(model), model.window_bins
    part, K = excerpt(recording, model, fast), SIMULATIONS[fast]
    # Not `scored`: in which bins the age of a neuron is known depends on its spikes, which the simulations have not.
    watched = part.is_judged[:, None, :, None] & part.is_recorded[:, None]
    watched = watched if part.observed is None else watched & part.observed[:, :, A:]

    def statistics(spikes: np.ndarray) -> dict[Statistic, float]:
        return recorded_statistics(spikes, watched, model.dt, model.refractory_bins, model.names)

    longest, simulated = int(np.argmax(part.lengths)), []
    for k, spikes in enumerate(simulate_recording(parameters, model, part, K, seed)):
        simulated.append([*statistics(spikes).values()])
        if k == 0:
            example = spikes[longest].copy()
    seen = part.observed_spikes[:, :, A:].astype(bool)
    of_recording = statistics(seen)
    checked, p = _compare(of_recording, np.array(simulated, float), 1 / ((model.refractory_bins + 1) * model.dt))
    seconds, of_seconds = (float(each.n_judged * model.dt) for each in (part, recording))
    coarse = coarse_bins(in_finer_bins(parameters, model, recording, seed), model) if fast else []
    check = FitCheck(p, K, seed, seconds, of_seconds, checked, tuple(coarse))
    T = int(part.lengths[longest])
    return check, Example(*(array[:, :T] for array in (seen[longest], example, watched[longest])))


def _compare(
    recording: Mapping[Statistic, float], simulated: np.ndarray, fastest: float
) -> tuple[tuple[Checked, ...], float]:
    """Test the statistics that recording and simulations, (K, S), both have; no model neuron is above `fastest`, Hz."""
    observed = np.array([*recording.values()])
    there = np.isfinite(observed) & np.isfinite(simulated).any(axis=0)
    kinds = [one for one, known in zip(recording, there, strict=True) if known]
    observed, simulated = observed[there], simulated[:, there]
    found = envelope_test(observed, simulated, LEVEL)
    least, most = np.array([possible(one.kind, fastest) for one in kinds]).reshape(-1, 2).T
    # The ends may lie beyond all simulations, where a tail was fitted to them, but not beyond what can be.
    low = np.maximum(np.where(np.isfinite(found.low), found.low, -np.inf), least)
    high = np.minimum(np.where(np.isfinite(found.high), found.high, np.inf), np.maximum(most, observed))
    checked = []
    for k, (kind, about) in enumerate(kinds):
        values = simulated[np.isfinite(simulated[:, k]), k]
        middle = np.quantile(values, [0.5, 0.25, 0.75])
        numbers = [float(x) for x in (observed[k], values.mean(), *middle, low[k], high[k])]
        checked.append(Checked(kind, about, bool(found.outside[k]), *numbers))
    return tuple(checked), found.p


def excerpt(recording: Recording, model: Model, fast: bool) -> Recording:
    """Return so much of a recording as can be checked in seconds: trials, or pieces of them, spread over all of it."""
    neurons = int(np.prod(recording.observed_spikes.shape[1::2]))
    most = min(MOST_BINS[fast], MOST_SPIKES // (SIMULATIONS[fast] * neurons))
    lengths = recording.lengths
    if lengths.sum() <= most:
        return recording
    if lengths.max() > min(PIECE, most):
        return in_pieces(recording, model, min(PIECE, most), most)
    number = min(max(1, most // int(lengths.max())), len(lengths))
    return recording.trials(np.linspace(0, len(lengths) - 1, number).round().astype(int))


def in_pieces(recording: Recording, model: Model, bins: int, most: int) -> Recording:
    """Cut trials into whole pieces of so many bins, each a trial with the window before it; keep `most` bins in all."""
    A = model.window_bins
    cuts = [
        (b, start)
        for b, length in enumerate(recording.lengths.tolist())
        for start in range(0, length - bins + 1, bins)
        if recording.is_judged[b, start : start + bins].any()
    ]
    number = min(most // bins, len(cuts))
    chosen = [cuts[k] for k in np.linspace(0, len(cuts) - 1, number).round().astype(int)]
    spikes = np.stack([recording.observed_spikes[b, :, start : start + A + bins] for b, start in chosen])
    observed = recording.observed
    if observed is not None:
        observed = np.stack([observed[b, :, start : start + A + bins] for b, start in chosen])
    return replace(
        recording,
        observed_spikes=spikes,
        external_input=np.stack([recording.external_input[b, :, start : start + bins] for b, start in chosen]),
        initial_rate=window_rate(spikes, recording.recorded, model, observed),
        true_activity=None,
        judged=np.stack([recording.is_judged[b, start : start + bins] for b, start in chosen]),
        observed=observed,
    )
