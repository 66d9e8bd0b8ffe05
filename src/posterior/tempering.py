"""From the prior to the posterior: density-tempered sequential Monte Carlo (Neal 2001; Del Moral, Doucet & Jasra 2006).

Walkers begin with the prior, and the likelihood is switched on step by step: (base)^(1-tau) (prior p)^tau. Every new
temperature tau leaves half of the effective walkers. They are resampled, and moved. Their mean weights multiply to the
evidence. The likelihood is an estimate; the filter gets as many particles as keep its noise, tau times its standard
deviation, below `MOST_NOISE`. The draws come later, from `src.posterior.bridge`, with less noise.

Where populations fire in step, the way leads over a gap: ln p falls by thousands of nats a small step beside the right
circuits, and the many circuits that fire out of step win at low temperatures. So a circuit begins with few neurons.
Their activity is noisy (its variance is that of a finite population, 1 / N), which makes the peak as wide as the gap.
At the temperature `GROWS` the circuit gets more neurons, again and again, until it is whole.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy

from src.model.free_parameters import FreeParameters
from src.posterior.coordinates import Place
from src.posterior.moves import ln_tempered, move
from src.posterior.prior import sample_prior
from src.posterior.surrogate import Evaluations, Surrogate, Whitening, fit_surrogate
from src.posterior.target import BASE_WIDTH, Memory, Target, Walkers
from src.utils.exceptions import FitError

EFFECTIVE = 0.5
"""Share of the walkers that stays effective at a new temperature."""
MOST_NOISE, WHILE_SMALL = 1.6, 0.5
"""Nats, and while a circuit has few neurons: its growth weighs walkers by two evaluations, and so by their noise."""
CROWDS = {32: 4.0, 64: 3.0, 128: 2.0, 256: 1.5, 512: 1.0, 1024: 1.0, 2048: 1.0}
"""Particles of the filter, and how many walkers there then are, in units of the final number. While an evaluation is
cheap there are many: a lobe that holds little of a tempered posterior can hold much of the posterior, and must not get
lost on the way. Multiples of 32 particles make full use of a processor's vector instructions."""
GROWS = 0.03
"""Temperature from which on a circuit of few neurons gets more of them. At higher ones, the noise of the likelihood
would outweigh what the walkers gain or lose by it."""
GROWTHS, KEPT = (2.0, 1.4, 1.2), 0.25
"""By how much it grows: the first of them that leaves such a share of the walkers effective, or the last."""
COOLER = np.linspace(0.25, 1, 31)
"""Temperatures of the larger circuit that are tried, in units of that of the smaller one. If populations fire in full
synchrony, ln p is proportional to their size, so that half of the temperature leaves all as it is."""
MOST_TRIES = 500
"""Of filling all places with draws from the prior."""
MOST_MOVES, STUCK, MANY_MOVES = 3, 0.5, 12
"""At a temperature: so many if half of the walkers have moved by then, and up to so many if not."""
FAR_ENOUGH, MOST_MOVED = 0.4, 0.7
"""Moves end as soon as the walkers came so far, in units of independent draws, and so many of them moved."""
STEPS = (10, 60)
"""Fewest and most steps of a walk on the surrogate while tempering."""
ENOUGH = 2
"""Walkers for each fitted number with which a strip can begin: the cloud of fewer is flat, and stays so."""
ASKED, REPEATS, DEEPEST = 12, 3, 30.0
"""Walkers whose evaluation is repeated to estimate the noise, and how often. What lies so many nats below another
repeat, as where a population explodes in all particles, counts as this."""


@dataclass(frozen=True)
class Temperature:
    """What happened at a temperature: for the record, and for whoever waits.

    Parameters
    ----------
    temperature : float
    share : float
        Of the neurons, that the circuit has.
    walkers, particles : int
    effective : float
        Share of the walkers that stayed effective.
    noise : float
        Standard deviation of ln p, in nats.
    error : float
        Of the surrogate, in nats.
    acceptance : tuple of float
        Of each move.
    ln_p : float
        Median over walkers.
    """

    temperature: float
    share: float
    walkers: int
    particles: int
    effective: float
    noise: float
    error: float
    acceptance: tuple[float, ...]
    ln_p: float


class Noise:
    """The variance of ln p by the number of particles, as last measured."""

    def __init__(self) -> None:
        self.variance: dict[int, float] = {}

    def state(self) -> list[list[float]]:
        """Return all that it knows."""
        return [[number, value] for number, value in self.variance.items()]

    def restore(self, state: list[list[float]]) -> None:
        """Undo `state`."""
        self.variance = {int(number): value for number, value in state}

    def measure(self, target: Target, walkers: Walkers, particles: int, rng: np.random.Generator) -> float:
        """Estimate it from repeats at some of the walkers; return it.

        A median is no estimate where the noise differs from walker to walker: the larger of mean and median counts.
        """
        some = rng.choice(len(walkers), min(ASKED, len(walkers)), replace=False)
        X = np.repeat(walkers.place.X[some], REPEATS, axis=0)
        repeats = target.ln_p(X, particles)[0].reshape(-1, REPEATS)
        each = np.maximum(repeats, repeats.max(axis=1, keepdims=True) - DEEPEST).var(axis=1, ddof=1)
        found = float(max(np.median(each) / 0.69, each.mean()) + 1e-3)  # 0.69 is the median of chi^2 with two, over two
        self.variance[particles] = found
        return found

    def of(self, particles: np.ndarray) -> np.ndarray:
        """Return the variance that goes with each number of particles, (k,)."""
        return np.array([self.variance[int(number)] for number in particles])


def evaluations(memory: Memory, noise: Noise) -> Evaluations:
    """Return all evaluations so far with their variances."""
    known = memory.arrays()
    return Evaluations(known["p"], known["ln_p"], noise.of(known["particles"]))


def effective(w: np.ndarray) -> float:
    """Return the share of walkers that stay effective with these weights, (k,), whose sum is one."""
    return float(1 / (w**2).sum() / len(w))


def systematic(w: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return which walkers go on, (number,), each about that often times its weight."""
    positions = (np.arange(number) + rng.random()) / number
    return np.minimum(np.searchsorted(np.cumsum(w / w.sum()), positions), len(w) - 1)


def in_turn(group: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Choose so many of a group at random, (number,): everybody once before anybody twice."""
    return np.resize(rng.permutation(group), number)


class Tempering:
    """Walkers on their way from the prior to the posterior.

    Parameters
    ----------
    target : Target
    free : FreeParameters
        Bounds and priors: those of the target, or a strip of them.
    walkers : int
        How many.
    memory : Memory
        Gets all evaluations of the whole circuit; those of others help the surrogate.
    noise : Noise
    seed : sequence of int
    until : float
        Temperature from which on it has done its part.
    """

    def __init__(
        self,
        target: Target,
        free: FreeParameters,
        walkers: int,
        memory: Memory,
        noise: Noise,
        seed: tuple[int, ...],
        until: float = 1.0,
    ) -> None:
        self.whole, self.free, self.of_whole = target, free, (memory, noise)
        self._take(target.smallest)
        self.rng = np.random.default_rng(seed)
        self.n_walkers, self.temperature, self.steps, self.particles = walkers, 0.0, 30, min(CROWDS)
        self.until = until
        self.ln_evidence = 0.0
        self.history: list[Temperature] = []
        self.walkers: Walkers | None = None

    @property
    def done(self) -> bool:
        """Whether the walkers have arrived."""
        return self.temperature >= self.until and self.share == 1

    def take_over(self, other: "Tempering") -> None:
        """Begin with the walkers of another tempering that lie within the bounds, at its temperature, if enough do."""
        assert other.walkers is not None
        inside = np.flatnonzero(np.isfinite(self.target.ln_prior(other.walkers.place, self.free)))
        if len(inside) >= ENOUGH * len(self.free.names):  # otherwise it begins with the prior
            self.temperature, self.steps, self.particles = other.temperature, other.steps, other.particles
            self._take(other.share)
            self.ln_evidence = other.ln_evidence + float(np.log(len(inside) / len(other.walkers)))
            self.walkers = other.walkers[inside[systematic(np.ones(len(inside)), self._crowd(), self.rng)]]
            self.ln_evidence += self._denser_than(other.free)

    def ln_evidence_under(self, free: FreeParameters) -> float:
        """Return ln of the integral of the tempered density between these bounds, under the prior with those of `free`.

        Up to a constant of the target; -inf if nobody lives there. The noise of the likelihood adds to it at
        temperatures below 1, and the less, the more particles there are. So it is compared between runs whose
        particles grow at about the same temperature.
        """
        return self.ln_evidence - self._denser_than(free) if self.walkers else -np.inf

    def _denser_than(self, free: FreeParameters) -> float:
        """Return ln of how much denser the tempered density is than under a prior with the wider bounds of `free`."""
        assert self.walkers is not None
        place = self.walkers.place[np.array([0])]
        mine, other = (ln_tempered(self.target, place, each, self.temperature)[0] for each in (self.free, free))
        return float(mine - other)

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on."""
        return {
            "rng": self.rng.bit_generator.state,
            "temperature": self.temperature,
            "share": self.share,
            "known": None if self.share == 1 else [self.memory.arrays(), self.noise.state()],
            "steps": self.steps,
            "particles": self.particles,
            "ln_evidence": self.ln_evidence,
            "history": [asdict(each) for each in self.history],
            "walkers": self.walkers.arrays() if self.walkers else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo `state`."""
        self.rng.bit_generator.state = state["rng"]
        self.temperature, self.steps, self.particles = (state[key] for key in ("temperature", "steps", "particles"))
        self._take(state["share"])
        if state["known"]:
            memory, noise = state["known"]
            self.memory.restore(memory)
            self.noise.restore(noise)
        self.ln_evidence = state["ln_evidence"]
        self.history = [Temperature(**{**each, "acceptance": tuple(each["acceptance"])}) for each in state["history"]]
        self.walkers = Walkers.from_arrays(state["walkers"]) if state["walkers"] else None

    def _crowd(self) -> int:
        """Return how many walkers there are to be."""
        return round(CROWDS[self.particles] * self.n_walkers)

    def begin(self) -> None:
        """Put the walkers at their first places, and evaluate them."""
        coordinates, tries, number = self.target.coordinates, 0, self._crowd()
        found: list[Place] = []
        while sum(len(place.X) for place in found) < number:
            X = sample_prior(self.free, self.rng, number)
            p = coordinates.of(X).p
            rates = coordinates.is_rate
            p[:, rates] = BASE_WIDTH * self.rng.standard_normal((number, int(rates.sum())))
            place = coordinates.back(p, X)
            found.append(place[np.isfinite(self.target.ln_base(place, self.free))])
            tries += 1
            if tries > MOST_TRIES:
                raise FitError(
                    "start: expected circuits with about the observed rates between the bounds, found hardly any among "
                    f"{tries * number} drawn from the prior"
                )
        every = Place.together(found)
        self.ln_evidence = float(np.log(len(every.X) / (tries * number)))
        place = every[np.arange(number)]
        self.walkers = self.target.evaluate(place, self.particles, self.memory)
        self.noise.measure(self.target, self.walkers, self.particles, self.rng)

    def step(self) -> Temperature:
        """Go on to the next temperature; return what happened."""
        if self.walkers is None:
            self.begin()
        assert self.walkers is not None
        grows = self.share < 1 and self.temperature >= GROWS
        w = self._larger(self.walkers) if grows else self._next_temperature(self.walkers)
        cloud = Whitening(self.walkers.place.p, w)
        walkers = self.walkers[systematic(w, len(w), self.rng)]
        variance = self.noise.measure(self.target, walkers, self.particles, self.rng)
        surrogate = self._surrogate(cloud, walkers)
        walkers, variance = self._with_enough_particles(walkers, variance)
        acceptance, distance, moved = [], 0.0, np.zeros(len(walkers), bool)
        for _ in range(MANY_MOVES):
            given = (self.target, self.free, surrogate, cloud, walkers, self.temperature, self.steps, self.particles)
            walkers, accepted, _, far = move(*given, self.memory, self.rng)
            moved |= accepted
            distance += far
            acceptance.append(float(accepted.mean()))
            factor = 0.5 if acceptance[-1] < 0.15 else 1.5 if acceptance[-1] > 0.4 else 1.0
            self.steps = int(np.clip(self.steps * factor, *STEPS))
            arrived = distance > FAR_ENOUGH and moved.mean() > MOST_MOVED
            if arrived or (len(acceptance) >= MOST_MOVES and moved.mean() >= STUCK):
                break
            if acceptance[-1] < 0.5:
                cloud = Whitening(walkers.place.p)
                surrogate = self._surrogate(cloud, walkers)
        self.walkers = walkers
        found = Temperature(
            temperature=self.temperature,
            share=self.share,
            walkers=len(walkers),
            particles=self.particles,
            effective=effective(w),
            noise=float(np.sqrt(variance)),
            error=surrogate.error,
            acceptance=tuple(acceptance),
            ln_p=float(np.median(walkers.ln_p)),
        )
        self.history.append(found)
        return found

    def _next_temperature(self, walkers: Walkers) -> np.ndarray:
        """Raise the temperature as far as half of the walkers stay effective; return their weights, (k,)."""
        gain = self._gain(walkers)
        low, high = self.temperature, 1.0

        def weights(temperature: float) -> np.ndarray:
            return np.asarray(scipy.special.softmax((temperature - self.temperature) * gain))

        if effective(weights(1.0)) < EFFECTIVE:
            for _ in range(50):
                middle = (low + high) / 2
                low, high = (low, middle) if effective(weights(middle)) < EFFECTIVE else (middle, high)
        else:
            low = 1.0
        return self._go_on((low - self.temperature) * gain, low)

    def _larger(self, walkers: Walkers) -> np.ndarray:
        """Give the circuit more neurons, at the temperature that keeps most walkers; return their weights, (k,)."""
        before, share = self.temperature * self._gain(walkers), self.share
        for growth in GROWTHS:
            self._take(min(1.0, growth * share))
            larger = self.target.evaluate(walkers.place, self.particles)
            gain = self._gain(larger)
            tried = [(temperature, temperature * gain - before) for temperature in self.temperature * COOLER]
            temperature, ln_w = max(tried, key=lambda each: effective(scipy.special.softmax(each[1])))
            if effective(scipy.special.softmax(ln_w)) > KEPT:
                break
        self.memory.add(larger.place.p, larger.ln_p, self.particles)
        self.walkers = larger
        return self._go_on(ln_w, float(temperature))

    def _take(self, share: float) -> None:
        """Let the circuit have a share of its neurons, and forget what a smaller one made of the spikes."""
        self.share, self.target = share, self.whole.smaller(share)
        self.memory, self.noise = self.of_whole if share == 1 else (Memory(), Noise())

    def _gain(self, walkers: Walkers) -> np.ndarray:
        """Return what the temperature multiplies, (k,): prior and likelihood over what tempering begins with."""
        gain = self.target.ln_prior(walkers.place, self.free) + walkers.ln_p
        return np.asarray(gain - self.target.ln_base(walkers.place, self.free))

    def _go_on(self, ln_w: np.ndarray, temperature: float) -> np.ndarray:
        """Go on to a temperature, at which the logarithms of the weights are these; return the weights, (k,)."""
        self.temperature = temperature
        self.ln_evidence += float(scipy.special.logsumexp(ln_w) - np.log(len(ln_w)))
        return np.asarray(scipy.special.softmax(ln_w))

    def _surrogate(self, cloud: Whitening, walkers: Walkers) -> Surrogate:
        typical = float(np.median(walkers.ln_p))
        return fit_surrogate(evaluations(self.memory, self.noise), cloud, typical, self.temperature)

    def _with_enough_particles(self, walkers: Walkers, variance: float) -> tuple[Walkers, float]:
        """Double the particles until the noise is small enough; then evaluate the walkers anew.

        They are not weighed: what ln p changes by is noise, and moves tilt that again.
        """
        before, most = self.particles, MOST_NOISE if self.share == 1 else WHILE_SMALL
        while self.temperature * np.sqrt(variance) > most and self.particles < max(CROWDS):
            self.particles *= 2
            variance = self.noise.measure(self.target, walkers, self.particles, self.rng)
        if self.particles > before:
            some = systematic(np.ones(len(walkers)), self._crowd(), self.rng)
            walkers = self.target.evaluate(walkers.place[some], self.particles, self.memory)
        return walkers, variance
