"""What was read, in words."""

import numpy as np

from src.model.containers import Model, Recording


def describe_recording(recording: Recording, model: Model) -> list[str]:
    """Return lines that say what was read."""
    spikes, A, lengths = recording.observed_spikes, model.window_bins, recording.lengths
    recorded = recording.is_recorded.sum(axis=1)
    bins = np.maximum(recorded, 1) * (A + lengths).sum()
    if recording.observed is not None:
        inside = np.arange(spikes.shape[2]) < (A + lengths)[:, None]
        bins = np.maximum(
            (recording.observed & recording.is_recorded[:, None] & inside[:, None, :, None]).sum((0, 2, 3)), 1
        )
    rates = spikes.sum((0, 2, 3)) / (bins * model.dt)
    listed = ", ".join(
        f"{name} {number} of {size:g} neurons at {rate:.1f} Hz" if number else f"{name} none of {size:g} neurons"
        for name, size, number, rate in zip(model.names, model.population_size, recorded, rates, strict=True)
    )
    trials = "1 trial" if recording.n_trials == 1 else f"{recording.n_trials} trials"
    window = (
        f"each after {A * model.dt:g} s of history"
        if recording.n_trials > 1
        else f"after {A * model.dt:g} s of history"
    )
    length = f"{recording.n_bins * model.dt:g} s in {recording.n_bins} bins of {1e3 * model.dt:g} ms"
    if lengths.min() < lengths.max():
        length = f"{lengths.min() * model.dt:g} to {lengths.max() * model.dt:g} s in bins of {1e3 * model.dt:g} ms"
    burn_in = int(recording.burn_in[0])
    window += f"; the first {burn_in * model.dt:g} s are predicted, but not scored" if burn_in else ""
    return [f"Recorded: {listed}.", f"Fitted: {trials} of {length}, {window}.", *_in_bins(model)]


def _in_bins(model: Model) -> list[str]:
    """Say what the bins make of refractory time and delay."""
    times = {
        "refractory time": (model.refractory_time, model.refractory_bins),
        "delay": (model.delay, model.delay_bins),
    }
    return [
        f"A {name} of {1e3 * time:g} ms is {1e3 * bins * model.dt:g} ms in such bins."
        for name, (time, bins) in times.items()
        if time is not None and abs(time - bins * model.dt) > 1e-9
    ]
