"""How much memory and time a fit needs, before it begins.

`python -m benchmarks.memory` compares what is said here with what fits take, `python -m benchmarks.long_memory` with
what single evaluations take on long recordings.
"""

import time
from dataclasses import replace

import numpy as np

from src.inference.fast_filter import NOISE
from src.inference.fisher import fisher
from src.inference.spike_likelihood import particles_of
from src.model.containers import Model, Recording
from src.model.time_chunks import chunk_bins, is_cut
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from src.utils.processes import memory_there
from src.utils.text import long_duration

PROCESS = {"joint": 0.8e9, "innovations": 1.1e9}
"""Bytes that Python, TensorFlow and its compiled programs take, by what the E-step does."""
LONG_PROCESS = {"joint": 1.2e9, "innovations": 1.5e9}
"""The same where a recording is cut in time: the programs are larger, and the particle filter is loaded."""
AGE, NEURON, POPULATION = 8, 120, 256
"""Bytes of a bin in the E-step, for each age of a population, recorded neuron, and population. Of the ages, potential
and survival are kept in single precision; of the rest, some dozens of arrays in single precision are alive at once."""
M_AGE, M_NEURON = 25, 300
"""Bytes of a bin in the M-step, for each age of the one population that is handled at a time, and recorded neuron."""
LONG_NEURON, LONG_POPULATION, LONG_ROW = 24, 40, 900
"""Bytes of a bin in the M-step on a recording that is cut in time, where they are kept for all bins: of each recorded
neuron, of each population, and of the one population that is handled at a time."""
KEPT, KEPT_NEURON = 32, 16
"""Bytes of a bin that the E-step on innovations keeps from one iteration to the next, in each of its copies: of each
population, and of each recorded neuron."""
A_SECTION, LONG = "--start_timepoint and --end_timepoint, or --trials, take a section", 600.0
"""Advice; and seconds of fitted time from which on it is given."""
EVALUATIONS = {"joint": 200, "innovations": 1000}
"""How many times as long as one evaluation of the Fisher matrix a fit takes, as a rule, by what the E-step does."""
TIMED = 2500
"""Bins of the evaluation that is timed."""


def memory_needed(recording: Recording, model: Model, settings: FitSettings) -> float:
    """Return the most memory that a fit takes at a time, in bytes: that of its hungriest part, and what stays."""
    A, T, B = model.window_bins, recording.n_bins, recording.n_trials
    _, M, _, n_obs = recording.observed_spikes.shape
    copies = 1 + settings.E_draws if settings.e_objective == "innovations" else 1
    at_once = recording.in_batches(settings.t_perbatch, model.dt)[0].n_trials
    width = 2 if settings.precision == "float64" else 1
    random_numbers = 4 * min(particles_of(recording, model) * M * T, NOISE)
    kept = PROCESS[settings.e_objective]
    if is_cut(T):
        kept = LONG_PROCESS[settings.e_objective]
        rows, fitted_to = at_once * M, max(1, copies - 1) * B * M
        E_step = width * rows * (chunk_bins(T, rows) * AGE * A + T * (NEURON * n_obs + POPULATION))
        M_step = chunk_bins(T, 1) * M_AGE * A + T * (fitted_to * (LONG_NEURON * n_obs + LONG_POPULATION) + LONG_ROW)
        if settings.e_objective == "innovations":
            kept += copies * B * M * T * (KEPT + KEPT_NEURON * n_obs)
    else:
        E_step = width * copies * at_once * T * M * (AGE * A + NEURON * n_obs + POPULATION)
        M_step = T * (M_AGE * A + M_NEURON * B * M * n_obs)
    return kept + max(E_step, M_step, random_numbers)


def time_needed(recording: Recording, model: Model, settings: FitSettings) -> float:
    """Return about how long a fit takes, in s, from one evaluation of an M-step that is timed on its first bins."""
    T, X = min(TIMED, recording.n_bins), model.fitted.scale
    first = replace(recording.trials(slice(1)).first_bins(T), judged=None)
    activity = np.broadcast_to(np.maximum(first.initial_rate, 1.0)[..., None] * model.dt, (1, model.n_populations, T))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with np.errstate(all="ignore"):
            fisher(X, activity, first, model)
        times.append(time.perf_counter() - start)
    return EVALUATIONS[settings.e_objective] * min(times) * recording.n_trials * recording.n_bins / T


def check_memory(recording: Recording, model: Model, settings: FitSettings) -> list[str]:
    """Refuse a fit that needs more memory than there is.

    Returns
    -------
    list of str
        What the user should know of a fit that takes long.

    Raises
    ------
    InputError
        Says how much it would need, and what would fit.
    """
    needed, there = memory_needed(recording, model, settings), memory_there()
    if needed > there:
        bins = f"{recording.n_trials} x {recording.n_bins} bins and a history of {model.window_bins}"
        raise InputError(
            f"dt, window: {bins} need {needed / 2**30:.1f} GiB of memory, expected at most {there / 2**30:.1f} GiB, "
            f"what there is here; {what_fits(recording, model, settings, there)}"
        )
    seconds = recording.n_judged * model.dt
    if seconds < LONG:
        return []
    return [
        f"{seconds:.0f} s are fitted, which takes about {needed / 2**30:.1f} GiB of memory and, by the time of one "
        f"evaluation, about {long_duration(time_needed(recording, model, settings))}, or up to three times as long. "
        f"Fit a section first: {A_SECTION}."
    ]


def what_fits(recording: Recording, model: Model, settings: FitSettings, there: float) -> str:
    """Return how much of a recording would fit in so much memory, in words."""
    enough, too_much = 0, recording.n_bins
    while too_much - enough > max(1, enough // 100):
        middle = (enough + too_much) // 2
        if memory_needed(recording.first_bins(middle), model, settings) <= there:
            enough = middle
        else:
            too_much = middle
    each = " of each trial" if recording.n_trials > 1 else ""
    fits = f"the first {enough * model.dt:.0f} s{each} would fit" if enough else "not one bin of it would fit"
    return f"{fits}: {A_SECTION}; --t_perbatch computes trials one after the other"
