"""How much memory a fit needs, before it begins. `python -m benchmarks.memory` compares it with what fits take."""

import os

from src.inference.spike_likelihood import particles_of
from src.model.containers import Model, Recording
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError

PROCESS = {"joint": 0.8e9, "innovations": 1.1e9}
"""Bytes that Python, TensorFlow and its compiled programs take, by what the E-step does."""
AGE, NEURON, POPULATION = 8, 120, 256
"""Bytes of a bin in the E-step, for each age of a population, recorded neuron, and population. Of the ages, potential
and survival are kept in single precision; of the rest, some dozens of arrays in single precision are alive at once."""
M_AGE, M_NEURON = 25, 300
"""Bytes of a bin in the M-step, for each age of the one population that is handled at a time, and recorded neuron."""
A_SECTION, LONG = "--start_timepoint and --end_timepoint, or --trials, take a section", 600.0
"""Advice; and seconds of fitted time from which on it is given."""


def memory_needed(recording: Recording, model: Model, settings: FitSettings) -> float:
    """Return the most memory that a fit takes at a time, in bytes: that of its hungriest part."""
    A, T, B = model.window_bins, recording.n_bins, recording.n_trials
    _, M, _, n_obs = recording.observed_spikes.shape
    innovations = settings.e_objective == "innovations"
    copies = 1 + settings.E_draws if innovations else 1
    at_once = recording.in_batches(settings.t_perbatch, model.dt)[0].n_trials
    width = 2 if settings.precision == "float64" else 1
    E_step = width * copies * at_once * T * M * (AGE * A + NEURON * n_obs + POPULATION)
    M_step = T * (M_AGE * A + M_NEURON * B * M * n_obs)
    random_numbers = 4 * particles_of(recording, model) * M * T
    return PROCESS[settings.e_objective] + max(E_step, M_step, random_numbers)


def check_memory(recording: Recording, model: Model, settings: FitSettings) -> list[str]:
    """Refuse a fit that needs more memory than the machine has.

    Returns
    -------
    list of str
        What the user should know of a fit that takes long.

    Raises
    ------
    InputError
        Says how much it would need, and what would need less.
    """
    needed = memory_needed(recording, model, settings)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bins = f"{recording.n_trials} x {recording.n_bins} bins and a history of {model.window_bins}"
    if needed > there:
        raise InputError(
            f"dt, window: {bins} need {needed / 2**30:.1f} GiB of memory, expected at most {there / 2**30:.1f} GiB, "
            f"what this machine has; {A_SECTION}, --t_perbatch computes trials one after the other"
        )
    seconds = recording.n_judged * model.dt
    if seconds < LONG:
        return []
    return [
        f"{seconds:.0f} s are fitted, which takes about {needed / 2**30:.1f} GiB of memory, and time in proportion. "
        f"Fit a section first: {A_SECTION}."
    ]
