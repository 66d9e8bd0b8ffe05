"""The microscopic network: populations of leaky integrate-and-fire neurons with escape noise.

It generates the data. Symbols: M populations with N_m neurons each, step dt (0.2 ms for all data sets here).

In each step, with A_j the population activity (Hz) one step and the delay ago,

    x_j <- e^(-sigma_j dt) x_j + (1 - e^(-sigma_j dt)) A_j,
    V <- e^(-alpha dt) V + (1 - e^(-alpha dt)) mu + dt (sum_j J_jm x_j + I_m),

then a neuron fires with probability 1 - exp(-dt e^(V - theta)). A neuron that fires is silent for the next
`refractory_bins` steps; in the step after them its potential starts from V = 0. The first potentials are uniform
between 0 and theta, x is 0.

Neurons may differ: each then has factors of its own for mu and for all J_jm that it receives, log-normal with mean 1.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from src.model.containers import Model, Parameters
from src.utils.exceptions import InputError

_BLOCK_VALUES = 2**17
"""Random numbers drawn at once: enough to hide the cost of a call, few enough (1 MiB) to stay in the cache."""


@dataclass(frozen=True)
class MicroRecording:
    """What is kept of a microscopic simulation.

    Parameters
    ----------
    rate : array, (n_steps, M), Hz
        Population activity: the number of spikes in a step, divided by N_m and by dt.
    sampled_spikes : array of uint8, (M, n_steps, n_sampled), 0/1
        Spikes of the first `n_sampled` neurons of each population (all neurons of a population are alike).
    """

    rate: np.ndarray
    sampled_spikes: np.ndarray


class _Network:
    """State of all neurons, one population after the other in flat arrays, and its step."""

    def __init__(
        self, parameters: Parameters, model: Model, rng: np.random.Generator, heterogeneity: float = 0.0
    ) -> None:
        size = model.population_size.astype(int)
        self.rng = rng
        self.population = np.repeat(np.arange(model.n_populations), size)
        self.first = np.cumsum(size) - size  # index of the first neuron of each population
        self.hz_per_spike = 1 / (size * model.dt)
        self.leak = np.exp(-parameters.membrane_rate * model.dt)[self.population]
        self.synaptic_leak = np.exp(-model.synaptic_rate * model.dt)
        self.coupling = model.dt * parameters.coupling
        self.log_hazard = (parameters.threshold - np.log(model.dt))[self.population]
        # Initial condition: potentials anywhere between reset and threshold, nobody refractory, synapses at rest.
        self.V = rng.random(len(self.population)) * parameters.threshold[self.population]
        self.x = np.zeros(model.n_populations)
        nobody = np.zeros(0, int)
        self.refractory: deque[np.ndarray] = deque([nobody] * (model.refractory_bins + 1))
        of_rest, self.of_inputs = factors(heterogeneity, (2, len(self.population)), rng)
        # What a neuron's factor of mu adds to the drive of its population; nothing, if all are alike.
        rest = (1 - self.leak) * parameters.resting_potential[self.population]
        self.own_drive = (of_rest - 1) * rest if heterogeneity else None

    def barriers(self, n: int) -> np.ndarray:
        """Draw what each potential must exceed for a spike, (n, neurons), for n steps.

        A neuron fires with probability 1 - exp(-dt e^(V - theta)), which is the probability that a standard
        exponential number E is below dt e^(V - theta), that is, that V is above theta + ln(E / dt). So the loop over
        steps needs no exponential, and the law is exact.
        """
        barrier = self.rng.standard_exponential((n, len(self.population)))
        np.log(barrier, out=barrier)
        barrier += self.log_hazard
        return barrier

    def step(self, past_rate: np.ndarray, drive: np.ndarray, barrier: np.ndarray) -> np.ndarray:
        """Advance by one step and return the indices of the neurons that fire, in ascending order.

        Parameters
        ----------
        past_rate : array, (M,), Hz
            Population activity one step and the delay ago.
        drive : array, (M,)
            What leak and external input add to the potential.
        barrier : array, (neurons,)
            One row of `barriers`.
        """
        V = self.V
        self.x *= self.synaptic_leak
        self.x += (1 - self.synaptic_leak) * past_rate
        # A refractory neuron is held at minus infinity, where no step moves it and no barrier is low enough: that
        # spares a mask over all neurons. It starts from V = 0 in the first step after its refractory time.
        V[self.refractory.popleft()] = 0.0
        V *= self.leak
        if self.own_drive is None:
            V += (drive + self.x @ self.coupling)[self.population]
        else:
            V += drive[self.population] + self.own_drive + self.of_inputs * (self.x @ self.coupling)[self.population]
        fired = np.flatnonzero(barrier < V)
        V[fired] = -np.inf
        self.refractory.append(fired)
        return fired


def factors(variation: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return log-normal numbers of mean 1 with this coefficient of variation; without one, ones and no draws."""
    if not variation:
        return np.ones(shape)
    sigma = np.sqrt(np.log1p(variation**2))
    return np.exp(sigma * rng.standard_normal(shape) - sigma**2 / 2)


def simulate_network(
    parameters: Parameters,
    model: Model,
    n_steps: int,
    rng: np.random.Generator,
    *,
    external_input: np.ndarray | None = None,
    n_sampled: int = 30,
    warmup_steps: int = 0,
    heterogeneity: float = 0.0,
    progress: Callable[[int], object] | None = None,
) -> MicroRecording:
    """Simulate the network, every neuron of it.

    Parameters
    ----------
    parameters : Parameters
        A full (M, M) coupling is allowed, whatever `model.connectivity` says.
    model : Model
        Sizes (whole numbers), synapses, refractory time and delay, on the step ``model.dt`` of the simulation.
    n_steps : int
        Steps to record.
    rng : Generator
        Source of all random numbers. A longer simulation from the same state begins with the shorter one.
    external_input : array, (n_steps, M), 1/s, or None
        I_m(t), or the stimulus that input gains weigh; None is no input.
    n_sampled : int
        Neurons of each population whose spikes are kept.
    warmup_steps : int
        Steps simulated before the recording, without external input, and dropped.
    heterogeneity : float
        Coefficient of variation of mu and of J over the neurons of a population; 0 for neurons that are alike.
    progress : callable or None
        Called with the number of steps done since the last call.

    Returns
    -------
    MicroRecording
        Memory grows with steps x (populations + sampled neurons), not with the number of neurons.

    Raises
    ------
    InputError
        An argument has the wrong shape or is out of its range.
    """
    M = model.n_populations
    _check(parameters, model, n_steps, external_input, n_sampled, warmup_steps)
    if not 0 <= heterogeneity < np.inf:
        raise InputError(f"heterogeneity: expected at least 0, got {heterogeneity}")
    network = _Network(parameters, model, rng, heterogeneity)
    total, lag = warmup_steps + n_steps, 1 + model.delay_bins
    drive = np.tile(-np.expm1(-parameters.membrane_rate * model.dt) * parameters.resting_potential, (total, 1))
    if external_input is not None:
        drive[warmup_steps:] += model.dt * parameters.driven_by(external_input.T).T
    rate = np.zeros((lag + total, M))  # row lag + t belongs to step t, so row t is what arrives in step t
    spikes = np.zeros((M, n_steps, n_sampled), np.uint8)
    block = max(1, _BLOCK_VALUES // len(network.population))
    for start in range(0, total, block):
        barriers, fired = network.barriers(min(block, total - start)), []
        for t, barrier in enumerate(barriers, start):
            fired.append(network.step(rate[t], drive[t], barrier))
            rate[lag + t] = np.bincount(network.population[fired[-1]], minlength=M) * network.hz_per_spike
        _keep_sampled(spikes, network, fired, start - warmup_steps)
        if progress:
            progress(len(barriers))
    return MicroRecording(rate[lag + warmup_steps :], spikes)


def _keep_sampled(spikes: np.ndarray, network: _Network, fired: list[np.ndarray], start: int) -> None:
    """Enter the spikes of the sampled neurons, from a block that begins with step `start` (< 0 in the warm-up)."""
    neuron = np.concatenate(fired)
    step = start + np.repeat(np.arange(len(fired)), [len(indices) for indices in fired])
    population = network.population[neuron]
    number = neuron - network.first[population]
    keep = (number < spikes.shape[2]) & (step >= 0)
    spikes[population[keep], step[keep], number[keep]] = 1


def _check(
    parameters: Parameters,
    model: Model,
    n_steps: int,
    external_input: np.ndarray | None,
    n_sampled: int,
    warmup_steps: int,
) -> None:
    M = model.n_populations
    for name, value in parameters.parts().items():
        shape = (M, M) if name == "coupling" else (M,)
        if np.shape(value) != shape or not np.isfinite(value).all():
            raise InputError(f"{name}: expected {shape} finite numbers, got shape {np.shape(value)}: {np.array(value)}")
    if (parameters.membrane_rate <= 0).any():
        raise InputError(f"membrane_rate: expected positive numbers, got {parameters.membrane_rate}")
    if (model.population_size % 1 != 0).any():
        raise InputError(f"population_size: expected whole numbers, got {model.population_size}")
    if n_steps < 1 or warmup_steps < 0:
        raise InputError(f"expected n_steps >= 1 and warmup_steps >= 0, got {n_steps} and {warmup_steps}")
    if not 0 <= n_sampled <= model.population_size.min():
        most = int(model.population_size.min())
        raise InputError(f"n_sampled: expected 0 to {most} (the smallest population), got {n_sampled}")
    if external_input is not None and (
        np.shape(external_input) != (n_steps, M) or not np.isfinite(external_input).all()
    ):
        raise InputError(
            f"external_input: expected {(n_steps, M)} finite numbers, got shape {np.shape(external_input)}"
        )
