"""The last stage: walkers from all parts of the prior move until they have forgotten where they came from.

Two runs of tempering can agree and still miss a lobe of the posterior. So walkers of several strips of the prior are
put together. One surrogate is fitted to all evaluations of all of them, and walks on it lead from lobe to lobe. After
some sweeps it is frozen, and what follows are draws: particle-marginal Metropolis-Hastings (Andrieu, Doucet &
Holenstein 2010) with proposals that no longer depend on the draws.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from src.posterior.moves import move
from src.posterior.surrogate import Surrogate, Whitening, fit_surrogate
from src.posterior.target import Memory, Target, Walkers
from src.posterior.tempering import Noise, evaluations

MOST_NOISE, MOST_PARTICLES = 1.2, 1024
"""Of the filter: as many particles as leave ln p this standard deviation in nats, and not more than so many."""
STEPS = 250
"""Of a walk on the surrogate."""
MOST_POINTS = 20_000
"""For the surrogate. It has to be right in all lobes."""
REFITS = 5
"""Sweeps before which the surrogate is fitted again. They are no draws."""


@dataclass(frozen=True)
class Sweep:
    """What happened in a sweep: for the record, and for whoever waits.

    Parameters
    ----------
    acceptance, on_surrogate : float
        Of moves, and of the steps of the walk that proposes them.
    error, noise : float
        Of the surrogate, and standard deviation of ln p, in nats.
    kept : bool
        Whether its walkers are draws.
    shares : tuple of float
        Of the walkers in each strip.
    crossed : int
        Moves from one strip to another.
    """

    acceptance: float
    on_surrogate: float
    error: float
    noise: float
    kept: bool
    shares: tuple[float, ...]
    crossed: int


class Bridge:
    """Walkers at the temperature 1.

    Parameters
    ----------
    target : Target
    walkers : Walkers
        The mixed ends of tempering.
    strip_of : callable
        Gives the strip, (k,), of numbers X, (k, n).
    n_strips : int
    sweeps : int
        That are kept.
    particles : int
    memory, noise : Memory, Noise
    seed : sequence of int
    grows : bool
        Whether it may take more particles, if these are too few.
    """

    def __init__(
        self,
        target: Target,
        walkers: Walkers,
        strip_of: Callable[[np.ndarray], np.ndarray],
        n_strips: int,
        sweeps: int,
        particles: int,
        memory: Memory,
        noise: Noise,
        seed: tuple[int, ...],
        grows: bool = True,
    ) -> None:
        self.target, self.walkers, self.memory, self.noise = target, walkers, memory, noise
        self.strip_of, self.n_strips, self.sweeps = strip_of, n_strips, sweeps
        self.particles, self.grows = particles, grows
        self.rng = np.random.default_rng(seed)
        self.cloud = Whitening(walkers.place.p)
        self.surrogate: Surrogate | None = None
        self.history: list[Sweep] = []
        self.draws: list[Walkers] = []

    @property
    def done(self) -> bool:
        """Whether all sweeps are there."""
        return len(self.draws) == self.sweeps

    def step(self) -> Sweep:
        """Make a sweep; return what happened."""
        target, free, number = self.target, self.target.free, len(self.history)
        if number == 0:  # what tempering made of the ends was selected, and by other numbers of particles
            self.walkers = target.evaluate(self.walkers.place, self.particles, self.memory)
            while self._noise() > MOST_NOISE and self.grows and self.particles < MOST_PARTICLES:
                self.particles *= 2
                self.walkers = target.evaluate(self.walkers.place, self.particles, self.memory)
            for particles in self.noise.variance:  # here, and not where a strip ended
                if particles != self.particles:
                    self.noise.measure(target, self.walkers, particles, self.rng)
        if number < REFITS:
            self._fit()
        assert self.surrogate is not None
        given = (target, free, self.surrogate, self.cloud, self.walkers, 1.0, STEPS, self.particles)
        before = self.strip_of(self.walkers.place.X)
        self.walkers, accepted, on_surrogate, _ = move(*given, self.memory, self.rng)
        after, kept = self.strip_of(self.walkers.place.X), number >= REFITS
        if kept:
            self.draws.append(self.walkers)
        found = Sweep(
            float(accepted.mean()),
            on_surrogate,
            self.surrogate.error,
            float(np.sqrt(self.noise.variance[self.particles])),
            kept,
            tuple(np.bincount(after, minlength=self.n_strips) / len(after)),
            int((before != after).sum()),
        )
        self.history.append(found)
        return found

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on."""
        fitted = self.surrogate and {key: value for key, value in vars(self.surrogate).items() if key != "whitening"}
        return {
            "rng": self.rng.bit_generator.state,
            "walkers": self.walkers.arrays(),
            "surrogate": fitted,
            "history": [asdict(each) for each in self.history],
            "draws": [each.arrays() for each in self.draws],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo `state`, in a bridge that begins at the same places."""
        self.rng.bit_generator.state = state["rng"]
        self.walkers = Walkers.from_arrays(state["walkers"])
        self.surrogate = Surrogate(self.cloud, **state["surrogate"]) if state["surrogate"] else None
        self.history = [Sweep(**{**each, "shares": tuple(each["shares"])}) for each in state["history"]]
        self.draws = [Walkers.from_arrays(each) for each in state["draws"]]

    def _noise(self) -> float:
        """Measure the standard deviation of ln p at the walkers; return it, in nats."""
        return float(np.sqrt(self.noise.measure(self.target, self.walkers, self.particles, self.rng)))

    def _fit(self) -> None:
        typical = float(np.median(self.walkers.ln_p))
        self.surrogate = fit_surrogate(evaluations(self.memory, self.noise), self.cloud, typical, 1.0, most=MOST_POINTS)
