"""ln p(spikes | parameters) for the sampler: the fast filter, or the one in TensorFlow where numba is missing."""

from collections.abc import Callable

from src.inference.fast_filter import FastFilter, has_numba
from src.model.containers import Model, Parameters, Recording

Seed = tuple[int, int]
LnP = Callable[[Parameters, Seed, int], float]
WITHOUT_NUMBA = (
    "note: numba is not installed, so the filter runs in TensorFlow: a hundred times slower, days instead of minutes. "
    "python -m pip install numba"
)


def likelihood_of(model: Model, recording: Recording) -> tuple[LnP, str]:
    """Return the likelihood of a recording, as ``ln_p(parameters, seed, n_particles)``, and what to say about it."""
    if has_numba():
        return FastFilter(model, recording).ln_p, ""
    from src.inference.particle_filter import filter_spikes

    def ln_p(parameters: Parameters, seed: Seed, n_particles: int) -> float:
        number = (seed[0] * 1_000_003 + seed[1]) % 2**31
        return float(filter_spikes(parameters, model, recording, n_particles=n_particles, seed=number).ln_p.sum())

    return ln_p, WITHOUT_NUMBA
