"""The likelihood of the recorded spikes alone, in a few hundredths of a second; and many free simulations at once.

The particle filter of `src.inference.particle_filter`, made fast enough to be called twenty thousand times: compiled by
numba, in single precision, see `src.inference.filter_kernels`. It also looks ahead. Particles are resampled by weights
times exp(sum_m f_m ln(r_m + 1 Hz) - e_m r_m): f_m are the spikes to come of a population's recorded neurons, forgotten
with a time constant, r_m is the particle's running rate and e_m is what 1 Hz would give. The weights make up for it.
"""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from src.fast_np import neuron_bins
from src.model.containers import Model, Parameters, Recording
from src.model.stationary import LEAST_RATE, free_run_bins
from src.utils.exceptions import FitError, InputError

Seed = Sequence[int] | int
LOOK_AHEAD = 0.2
"""Time constant with which spikes to come are forgotten, in s."""
RUNNING = 0.1
"""Time constant of the particles' running rate, in s. A shorter one prefers some phases of an oscillation to others."""
FOLLOWED = 2.5
"""Age up to which neurons are followed, in membrane time constants after refractoriness."""
FEWEST_AGES = 4
"""Ages that are followed in any case, after refractoriness."""
SLOWEST = 1e-6
"""Membrane rate, in 1/s, below which it is taken as this when ages are counted."""
NOISE = 2**26
"""Random numbers of a trial that are drawn at a time: of more, those of the first bins are drawn and used before the
others."""
STARTING_RATE = 10.0
"""Rate at which free simulations start, in Hz, if nothing else is said."""


def has_numba() -> bool:
    """Tell whether numba is installed, without loading it."""
    return find_spec("numba") is not None


def _know_scheme(model: Model) -> bool:
    return model.scheme.keeps_old and model.scheme.exact_step


def is_fast(model: Model) -> bool:
    """Tell whether the kernels can filter and simulate this model here."""
    return has_numba() and _know_scheme(model)


def _kernels_for(model: Model) -> Any:
    """Return the module of the kernels, if they are there and know the scheme of this model."""
    if not has_numba():
        raise InputError("fast filter: expected numba, found none: python -m pip install numba")
    if not _know_scheme(model):
        raise InputError(f"scheme: expected the consistent one, got {model.scheme.name}")
    from src.inference import filter_kernels

    return filter_kernels


def _circuit_of(parameters: Parameters, model: Model) -> Any:
    """Return the `Circuit` of the kernels."""
    from src.inference.filter_kernels import Circuit

    known = (parameters.membrane_rate, parameters.coupling, parameters.resting_potential, parameters.threshold)
    given = (*known, model.synaptic_rate, model.population_size)
    alpha, J, mu, theta, sigma, N = (np.ascontiguousarray(array, float) for array in given)
    return Circuit(alpha, J, mu, theta, sigma, N, float(model.dt), model.refractory_bins, model.delay_bins)


def _ages_of(parameters: Parameters, model: Model, followed: float) -> np.ndarray:
    """Return how many ages of each population are followed, (M,)."""
    bins = np.ceil(followed / (np.maximum(parameters.membrane_rate, SLOWEST) * model.dt))
    most = max(FEWEST_AGES, model.window_bins - model.refractory_bins)
    return np.asarray(np.clip(bins, FEWEST_AGES, most) + model.refractory_bins, np.int64)


def _at_least_two(n_particles: int) -> int:
    if n_particles < 2:
        raise InputError(f"n_particles: expected at least 2, got {n_particles}")
    return n_particles


class _Filtered(NamedTuple):
    """What comes out of a trial: ln p (T,), activity (T, M, K), ancestors (T, K), ln w (K,), and the generator."""

    ln_p: np.ndarray
    activity: np.ndarray
    ancestors: np.ndarray
    ln_w: np.ndarray
    rng: np.random.Generator


class FastFilter:
    """ln p(recorded spikes | parameters) of one recording, with the activity integrated out.

    It may be called from several threads at once.

    Parameters
    ----------
    model : Model
        Of the consistent scheme.
    recording : Recording
        Bins of burn-in inform the particles, but are not judged; what fills up a shorter trial does neither.
    n_particles : int
        Default for each trial.
    followed : float
        Ages that are followed, in membrane time constants; at most the history window.
    look_ahead : bool
        Resample by the spikes to come as well.
    spread_start : bool
        Where a trial begins with burn-in, its particles begin at moments that are spread over a free run, under the
        mean input of as many bins (`free_run_bins` in `src.model.stationary`). Otherwise, the start is stationary.

    Raises
    ------
    InputError
        numba is not installed, the scheme is another one, or there are fewer than two particles.
    """

    def __init__(
        self,
        model: Model,
        recording: Recording,
        *,
        n_particles: int = 200,
        followed: float = FOLLOWED,
        look_ahead: bool = True,
        spread_start: bool = True,
    ) -> None:
        kernels = _kernels_for(model)
        self._kernels = kernels
        self.model, self.recording, self.followed = model, recording, followed
        self.n_particles = _at_least_two(n_particles)
        known = neuron_bins(recording, model)
        ages = -1 - known.last[..., 0].astype(np.int64)
        self._ages = np.where(ages >= model.window_bins, -1, ages)  # (B, M, n_obs)
        self._there = np.ascontiguousarray(recording.is_recorded)
        self._spikes, self._weighed = [], []
        weighed = np.moveaxis(recording.is_watched, -1, 2)
        for b, T in enumerate(recording.lengths):
            self._spikes.append(np.ascontiguousarray(known.spikes[b, ..., :T], dtype=bool))
            self._weighed.append(np.ascontiguousarray(weighed[b, ..., :T]))
        trials = zip(self._spikes, self._weighed, strict=True)
        self._to_come = [look_ahead_of(spikes, weighed, model.dt) for spikes, weighed in trials]
        self._keep = math.exp(-model.dt / RUNNING) if look_ahead else -1.0
        self._free_bins = free_run_bins(recording, model) * spread_start

    def ln_p(self, parameters: Parameters, seed: Seed, n_particles: int | None = None) -> float:
        """Return ln p of all judged bins, in nats; -inf where no particle can explain the spikes.

        Parameters
        ----------
        parameters : Parameters
        seed : int or sequence of int
            The same seed gives the same number.
        n_particles : int, optional
        """
        return float(self.ln_p_bins(parameters, seed, n_particles).sum())

    def ln_p_bins(self, parameters: Parameters, seed: Seed, n_particles: int | None = None) -> np.ndarray:
        """Return ln p of each bin, given the spikes before it, (B, T); 0 where it is not judged. As `ln_p`.

        Where no particle can explain the spikes of a bin, judged or not, it is -inf there and 0 in the rest of the
        trial.
        """
        ln_p = np.zeros(self.recording.is_judged.shape)
        for b, T in enumerate(self.recording.lengths):
            ln_p[b, :T] = self._run(b, parameters, seed, n_particles, keeps=False).ln_p
        return np.where(self.recording.is_judged | np.isneginf(ln_p), ln_p, 0)

    def activity(
        self, parameters: Parameters, seed: Seed, n_particles: int | None = None, n_paths: int = 1
    ) -> np.ndarray:
        """Draw activities of all populations, given all recorded spikes: (n_paths, B, M, T), fractions per bin.

        A path is a particle of the last bin, drawn by its weight, with all its ancestors. With the seed of an accepted
        move of particle-marginal Metropolis-Hastings, it is a draw from p(parameters, activity | spikes) (Andrieu,
        Doucet & Holenstein 2010). Several paths share their early ancestors. What fills up a shorter trial is 0.

        Raises
        ------
        FitError
            No particle can explain the spikes.
        """
        B, T = self.recording.is_judged.shape
        paths = np.zeros((n_paths, B, self.model.n_populations, T), np.float32)
        for b, length in enumerate(self.recording.lengths):
            found = self._run(b, parameters, seed, n_particles, keeps=True)
            if np.isneginf(found.ln_p).any():
                raise FitError("activity: expected particles that explain the recorded spikes, found none")
            w = np.exp(found.ln_w.astype(float) - found.ln_w.max())
            particle = found.rng.choice(len(w), n_paths, p=w / w.sum())
            for t in range(length - 1, -1, -1):
                if t < length - 1:
                    particle = found.ancestors[t, particle]
                paths[:, b, :, t] = found.activity[t][:, particle].T
        return paths

    def _run(self, b: int, parameters: Parameters, seed: Seed, n_particles: int | None, *, keeps: bool) -> _Filtered:
        """Filter a trial; activity and ancestors have no bins if they are not kept."""
        K = self.n_particles if n_particles is None else _at_least_two(n_particles)
        recording = self.recording
        T, M = int(recording.lengths[b]), self.model.n_populations
        rng = np.random.Generator(np.random.SFC64([*np.atleast_1d(seed).tolist(), b]))
        kept, at_once, half = T if keeps else 0, max(1, NOISE // (M * K)), (K + 1) // 2
        activity, ancestors = np.empty((kept, M, K), np.float32), np.empty((kept, K), np.int32)
        ln_p, ln_w = np.zeros(T), np.full(K, -math.log(K), np.float32)
        A0 = np.maximum(recording.initial_rate[b], LEAST_RATE).astype(float)
        I = np.ascontiguousarray(parameters.driven_by(recording.external_input[b]), float)
        circuit, ages = _circuit_of(parameters, self.model), _ages_of(parameters, self.model, self.followed)
        given = (self._spikes[b], self._weighed[b], self._there, I, ages)
        kind = (self._keep, self.model.scheme.noise == "binomial")
        age = self._ages[b].copy()
        state, spare = (self._kernels.new_state(M, ages.max(), circuit.d, age.shape[1], K) for _ in range(2))
        particles = self._kernels.Particles(state, spare, np.zeros(M, np.int64), age)
        free_bins = int(self._free_bins[b])
        bits, uniform = random_bits(rng, (free_bins, M, 2, half)), rng.random() if free_bins else 0.0
        before = I[:, : max(free_bins, 1)].mean(axis=1)
        self._kernels.begin(circuit, A0, before, ages, bits, uniform, *kind, particles)
        for first in range(0, T, at_once):
            bins = min(at_once, T - first)
            noise = random_bits(rng, (bins, M, 2, half)), rng.random(bins)
            places = (activity, ancestors, ln_w, ln_p)
            if self._kernels.filter_bins(circuit, particles, first, *given, *noise, *self._to_come[b], *kind, *places):
                particles = particles._replace(state=particles.spare, spare=particles.state)
            if np.isneginf(ln_p[first : first + bins]).any():
                break
        return _Filtered(ln_p, activity, ancestors, ln_w, rng)


def random_bits(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return 32 random bits each, uint32, of an even number."""
    drawn = rng.integers(2**64, size=math.prod(shape) // 2, dtype=np.uint64)
    return drawn.view(np.uint32).reshape(shape)


def look_ahead_of(spikes: np.ndarray, weighed: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the spikes to come after each bin, and what a rate of 1 Hz would give, both (T, M).

    Both are forgotten with `LOOK_AHEAD`. Spikes are (M, n_obs, T); those that are `weighed`, in such an array, count.
    """
    kept, T = math.exp(-dt / LOOK_AHEAD), spikes.shape[-1]
    counts, neurons = (spikes & weighed).sum(axis=1), weighed.sum(axis=1)
    to_come, exposure = np.zeros((2, T, len(spikes)))
    for t in range(T - 2, -1, -1):
        to_come[t] = kept * (to_come[t + 1] + counts[:, t + 1])
        exposure[t] = kept * (exposure[t + 1] + dt * neurons[:, t + 1])
    return to_come, exposure


def simulate_many(
    parameters: Parameters,
    model: Model,
    external_input: np.ndarray,
    n_copies: int,
    seed: Seed,
    *,
    initial_rate: np.ndarray | None = None,
    n_observed: int = 0,
    followed: float = FOLLOWED,
) -> tuple[np.ndarray, np.ndarray]:
    """Let copies of a circuit run freely, each with noise of its own.

    Parameters
    ----------
    parameters : Parameters
    model : Model
        Of the consistent scheme.
    external_input : array, (M, T), 1/s
    n_copies : int
    seed : int or sequence of int
        The same seed gives the same result.
    initial_rate : array, (M,), Hz, optional
        Of the stationary start; 10 Hz if not given.
    n_observed : int
        Recorded neurons to simulate in each population.
    followed : float
        As in `FastFilter`.

    Returns
    -------
    activity : float32 array, (n_copies, M, T)
        Fraction of each population that fires in each bin.
    spikes : bool array, (n_copies, M, T, n_observed)

    Raises
    ------
    InputError
        numba is not installed, or the scheme is another one.
    """
    kernels = _kernels_for(model)
    (M, T), K = external_input.shape, n_copies
    rng = np.random.Generator(np.random.SFC64(np.atleast_1d(seed).tolist()))
    normal = rng.standard_normal((T, M, K), np.float32)
    uniform = rng.random((T, M, n_observed, K), np.float32)
    activity, spikes = np.empty((T, M, K), np.float32), np.empty((T, M, n_observed, K), bool)
    A0 = np.full(M, STARTING_RATE) if initial_rate is None else np.maximum(np.asarray(initial_rate, float), LEAST_RATE)
    I = np.ascontiguousarray(parameters.driven_by(external_input), float)
    ages = _ages_of(parameters, model, followed)
    circuit, binomial = _circuit_of(parameters, model), model.scheme.noise == "binomial"
    state = kernels.new_state(M, ages.max(), circuit.d, n_observed, K)
    kernels.run_freely(circuit, A0, I, ages, binomial, normal, uniform, state, activity, spikes)
    return activity.transpose(2, 1, 0), spikes.transpose(3, 1, 0, 2)
