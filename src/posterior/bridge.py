"""The last stage: walkers from all parts of the prior move until they have forgotten where they came from.

Two runs of tempering can agree and still miss a lobe of the posterior. So walkers of several strips of the prior are
put together. One surrogate is fitted to all evaluations of all of them, and walks on it lead from lobe to lobe.

Some of the moves lead to another strip. Their counts tell the shares of the strips long before the walkers have
got there: those that a Markov chain with these moves keeps. So walkers are resampled to these shares once, move on, and
from then on the surrogate is frozen. What follows are draws: particle-marginal Metropolis-Hastings (Andrieu, Doucet &
Holenstein 2010) with proposals that no longer depend on the draws.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from src.posterior.moves import move
from src.posterior.surrogate import Surrogate, Whitening, fit_surrogate
from src.posterior.target import Memory, Target, Walkers
from src.posterior.tempering import Noise, evaluations, in_turn, systematic

MOST_NOISE, MOST_PARTICLES = 1.2, 4096
"""Of the filter: as many particles as leave ln p this standard deviation in nats, and not more than so many."""
STEPS = 250
"""Of a walk on the surrogate."""
MOST_POINTS = 20_000
"""For the surrogate. It has to be right in all lobes."""
REFITS = 5
"""Sweeps before which the surrogate is fitted again. They are no draws. Before the last of them, walkers are resampled
to the shares that the moves so far lead to."""
ELSEWHERE = 0.01
"""Share of moves that is taken to lead to a strip drawn by its evidence."""


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


def shares_by_moves(moves: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return the shares of places that moves lead to, (n,): those that a Markov chain with these moves keeps.

    Where hardly anybody moved, that says nothing. So one move in a hundred is taken to go to a place that is drawn from
    the shares `otherwise`.

    Parameters
    ----------
    moves : array, (n, n)
        How often a walker went from the first place to the second one, or stayed.
    otherwise : array, (n,)
    """
    stay, number = np.eye(len(moves)), moves.sum(axis=1, keepdims=True)
    chain = np.where(number > 0, moves / np.where(number > 0, number, 1), stay)
    return np.asarray(np.linalg.solve((stay - (1 - ELSEWHERE) * chain).T, ELSEWHERE * otherwise))


def share_errors(moves: np.ndarray, otherwise: np.ndarray, repeats: int = 400) -> np.ndarray:
    """Return the standard errors of `shares_by_moves`, (n,), if the moves of walkers are independent of each other."""
    rng = np.random.default_rng(0)
    again = [shares_by_moves(rng.gamma(moves), otherwise) for _ in range(repeats)]  # rows are Dirichlet, but for scale
    return np.asarray(np.std(again, axis=0))


class Bridge:
    """Walkers at the temperature 1.

    Parameters
    ----------
    target : Target
    walkers : Walkers
        The mixed ends of tempering.
    origin : array of int, (walkers,)
        Strip that each comes from.
    strip_of : callable
        Gives the strip, (k,), of numbers X, (k, n).
    evidence : array, (strips,)
        Shares of the posterior in each, as tempering estimates them.
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
        origin: np.ndarray,
        strip_of: Callable[[np.ndarray], np.ndarray],
        evidence: np.ndarray,
        sweeps: int,
        particles: int,
        memory: Memory,
        noise: Noise,
        seed: tuple[int, ...],
        grows: bool = True,
    ) -> None:
        self.target, self.walkers, self.memory, self.noise = target, walkers, memory, noise
        self.origin, self.strip_of, self.evidence, self.sweeps = origin, strip_of, evidence, sweeps
        self.moves = np.zeros((len(evidence), len(evidence)), int)
        """How often walkers went from strip to strip, or stayed."""
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
        if number == 0:
            while self._noise() > MOST_NOISE and self.grows and self.particles < MOST_PARTICLES:
                self.particles *= 2
            for particles in self.noise.variance:  # here, and not where a strip ended
                if particles != self.particles:
                    self.noise.measure(target, self.walkers, particles, self.rng)
            # what tempering made of the ends was selected, and by other numbers of particles
            self.walkers = target.evaluate(self.walkers.place, self.particles, self.memory)
        if number == REFITS - 1:
            self._resample()
        if number < REFITS:
            self._fit()
        assert self.surrogate is not None
        given = (target, free, self.surrogate, self.cloud, self.walkers, 1.0, STEPS, self.particles)
        before = self.strip_of(self.walkers.place.X)
        self.walkers, accepted, on_surrogate, _ = move(*given, self.memory, self.rng)
        after, kept = self.strip_of(self.walkers.place.X), number >= REFITS
        np.add.at(self.moves, (before, after), 1)
        if kept:
            self.draws.append(self.walkers)
        found = Sweep(
            float(accepted.mean()),
            on_surrogate,
            self.surrogate.error,
            float(np.sqrt(self.noise.variance[self.particles])),
            kept,
            tuple(np.bincount(after, minlength=len(self.evidence)) / len(after)),
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
            "origin": self.origin,
            "moves": self.moves,
            "surrogate": fitted,
            "history": [asdict(each) for each in self.history],
            "draws": [each.arrays() for each in self.draws],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo `state`, in a bridge that begins at the same places."""
        self.rng.bit_generator.state = state["rng"]
        self.walkers = Walkers.from_arrays(state["walkers"])
        self.origin, self.moves = state["origin"], state["moves"]
        self.surrogate = Surrogate(self.cloud, **state["surrogate"]) if state["surrogate"] else None
        self.history = [Sweep(**{**each, "shares": tuple(each["shares"])}) for each in state["history"]]
        self.draws = [Walkers.from_arrays(each) for each in state["draws"]]

    def _noise(self) -> float:
        """Measure the standard deviation of ln p at the walkers; return it, in nats."""
        return float(np.sqrt(self.noise.measure(self.target, self.walkers, self.particles, self.rng)))

    def _resample(self) -> None:
        """Give each strip that has walkers the share that the moves so far lead to."""
        here = self.strip_of(self.walkers.place.X)
        lived_in = np.bincount(here, minlength=len(self.evidence)) > 0
        shares = shares_by_moves(self.moves, self.evidence) * lived_in
        numbers = np.bincount(systematic(shares, len(here), self.rng), minlength=len(self.evidence))
        groups = [in_turn(np.flatnonzero(here == strip), k, self.rng) for strip, k in enumerate(numbers) if k]
        some = np.concatenate(groups)
        self.walkers, self.origin = self.walkers[some], self.origin[some]

    def _fit(self) -> None:
        typical = float(np.median(self.walkers.ln_p))
        self.surrogate = fit_surrogate(evaluations(self.memory, self.noise), self.cloud, typical, 1.0, most=MOST_POINTS)
