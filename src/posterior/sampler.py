"""The whole way from prior to posterior: a pilot, a look beyond what it found, strips of the prior, and the bridge.

Two tempered runs can agree and both miss a lobe that holds a third of the posterior. So

1. a crowd of walkers goes up to a low temperature, at which lobes are not yet apart;
2. a pilot of a few of them goes on, to where one sees what the spikes hold;
3. a scan moves each number over its whole prior, with the rates kept, and asks which one the spikes hold least;
4. the prior is cut into strips of that number, and the walkers of each strip go on by themselves;
5. the ends of the strips are mixed, and move until they have forgotten where they came from: see
   `src.posterior.bridge`. This happens twice, with other random numbers.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from src.posterior.bridge import MOST_NOISE, Bridge, Sweep, share_errors, shares_by_moves
from src.posterior.prior import prior_quantiles
from src.posterior.result import Posterior
from src.posterior.target import Memory, Target, Walkers, together
from src.posterior.tempering import CROWDS, Noise, Temperature, Tempering, in_turn
from src.utils.exceptions import FitError

STRIPS, REPETITIONS = 3, 2
CROWD, PILOT, FIRST_STRIP, BRIDGES, STAGES = 0, 1, 2, 2 + STRIPS, 2 + STRIPS + REPETITIONS
"""Stages, by the number of the first of a kind; `STAGES` is their number."""
TEMPERED, OF_STRIP = {CROWD: 0.75, PILOT: 0.25}, 0.375
"""Walkers that tempering ends with, in units of those of a bridge."""
SPLIT = 0.1
"""Temperature from which on every strip goes its own way: up to here they share a crowd, in which no lobe gets lost."""
SEEN = 0.5
"""Temperature up to which the pilot goes."""
SCAN = np.linspace(0.04, 0.96, 9)
"""Quantiles of the prior at which a number is tried, with `SCANNED` walkers and `SCAN_PARTICLES` of the filter each."""
SCANNED, SCAN_PARTICLES, WORST = 4, 64, 40.0
"""What costs more than `WORST` nats counts as this."""
NEGLIGIBLE = 1e-4
"""Share of the posterior up to which a strip stays behind."""


def scan(target: Target, walkers: Walkers, memory: Memory, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Return what it costs to move each number over its prior, (n,): the mean over the prior, in nats.

    All other coordinates stay as they are, so that resting potentials make up for the change: rates remain.
    """
    n, typical = len(target.free.names), float(np.median(walkers.ln_p))
    some = rng.choice(len(walkers), SCANNED)
    tried = np.empty((n, len(SCAN), SCANNED, n))
    tried[:] = walkers.place.X[some]
    values = prior_quantiles(target.free, SCAN)
    for k in range(n):
        tried[k, :, :, k] = values[:, k, None]
    coordinates = target.coordinates
    p = np.broadcast_to(walkers.place.p[some], tried.shape).copy().reshape(-1, n)
    there = coordinates.of(tried.reshape(-1, n)).p
    mine = np.repeat(np.arange(n), len(SCAN) * SCANNED)
    rows = np.flatnonzero(~coordinates.is_rate[mine])
    p[rows, mine[rows]] = there[rows, mine[rows]]
    place = coordinates.back(p, tried.reshape(-1, n))
    inside = np.flatnonzero(np.isfinite(target.ln_prior(place, target.free)))
    ln_p = np.full(len(p), -np.inf)
    if len(inside):
        noise.measure(target, walkers, SCAN_PARTICLES, rng)
        ln_p[inside] = target.evaluate(place[inside], SCAN_PARTICLES, memory).ln_p
    best = ln_p.reshape(n, len(SCAN), SCANNED).max(axis=2)
    cost = np.asarray(np.clip(typical - best, 0, WORST).mean(axis=1))
    return np.where(coordinates.is_rate, WORST, cost)


class Sampler:
    """Goes from the prior to the posterior in steps: one temperature, or one sweep of the bridge.

    Parameters
    ----------
    target : Target
    walkers : int
        Of each bridge.
    sweeps : int
        Draws of each walker that are kept.
    """

    def __init__(self, target: Target, walkers: int = 192, sweeps: int = 6) -> None:
        self.target, self.n_walkers, self.sweeps = target, walkers, sweeps
        self.memory, self.noise = Memory(), Noise()
        self.stage = CROWD
        self.cost = np.empty(0)  # of moving each number, (n,)
        self.number, self.edges = -1, np.empty(0)  # whose strips, and where they begin and end, (STRIPS + 1,)
        self.crowd: Tempering | None = None
        self.ends: list[Walkers] = []  # of the strips
        self.ln_evidence: list[float] = []  # of the strips, up to a constant
        self.bridges: list[Bridge] = []
        self.history: list[list[dict[str, Any]]] = []  # of the stages that are done
        self.running: Tempering | Bridge = self._tempering(CROWD)

    @property
    def done(self) -> bool:
        """Whether all draws are there."""
        return self.stage == STAGES

    @property
    def doing(self) -> str:
        """What the next step belongs to, in words."""
        if self.stage == CROWD:
            return "crowd"
        if self.stage == PILOT:
            return "pilot"
        if self.stage < BRIDGES:
            strip = self.stage - FIRST_STRIP
            low, high = self.edges[strip : strip + 2]
            return f"strip {strip + 1} of {STRIPS}, {self.target.free.names[self.number]} {low:.3g} to {high:.3g}"
        return f"bridge {self.stage - BRIDGES + 1} of {REPETITIONS}"

    def step(self) -> Temperature | Sweep:
        """Go on by a temperature or a sweep; return what happened.

        Raises
        ------
        FitError
            Hardly any circuit between the bounds has the observed rates. Where that is so in a strip only, it is left
            out: of no walkers.
        """
        try:
            found = self.running.step()
        except FitError:
            if not FIRST_STRIP <= self.stage < BRIDGES:
                raise
            found = Temperature(1.0, 1.0, 0, self.running.particles, np.nan, np.nan, np.nan, (), np.nan)
            self._next_stage()
        else:
            if self.running.done:
                self._next_stage()
        return found

    def _tempering(self, stage: int) -> Tempering:
        share, until, free = TEMPERED[stage] if stage in TEMPERED else OF_STRIP, 1.0, self.target.free
        if stage < FIRST_STRIP:
            until = SPLIT if stage == CROWD else SEEN
        elif stage >= FIRST_STRIP:
            strip = stage - FIRST_STRIP
            free = self.target.within(self.number, *self.edges[strip : strip + 2])
        walkers = max(8, round(share * self.n_walkers))
        given = (self.target, free, walkers, self.memory, self.noise, (self.target.seed, stage), until)
        found = Tempering(*given)
        if stage != CROWD:
            assert self.crowd is not None
            found.take_over(self.crowd)
        return found

    def _next_stage(self) -> None:
        self.history.append([asdict(each) for each in self.running.history])
        if isinstance(self.running, Bridge):
            self.bridges.append(self.running)
        elif self.stage == CROWD:
            self.crowd = self.running
        elif self.stage >= FIRST_STRIP:
            assert self.crowd is not None and self.crowd.walkers is not None
            nobody = self.crowd.walkers[np.arange(0)]
            self.ends.append(self.running.walkers or nobody)
            self.ln_evidence.append(self.running.ln_evidence_under(self.target.free))
        else:
            assert self.running.walkers is not None
            rng = np.random.default_rng((self.target.seed, STAGES))
            self.cost = scan(self.target, self.running.walkers, self.memory, self.noise, rng)
            self.number = int(np.argmin(self.cost))
            self.edges = prior_quantiles(self.target.free, np.linspace(0, 1, STRIPS + 1))[:, self.number]
        self.stage += 1
        if not self.done:
            self.running = self._tempering(self.stage) if self.stage < BRIDGES else self._bridge(self.stage)

    def strip_of(self, X: np.ndarray) -> np.ndarray:
        """Return in which strip numbers X, (k, n), lie: int, (k,)."""
        return np.clip(np.searchsorted(self.edges, X[:, self.number], side="right") - 1, 0, STRIPS - 1)

    @property
    def shares_by_evidence(self) -> np.ndarray:
        """Shares of the posterior in each strip as tempering estimates them, (STRIPS,)."""
        share = np.exp(np.array(self.ln_evidence) - max(self.ln_evidence))
        return np.asarray(share / share.sum())

    def _mixed(self, stage: int) -> tuple[Walkers, np.ndarray]:
        """Return the walkers that a bridge begins with, as many of each strip, and of which they are, (walkers,)."""
        rng = np.random.default_rng((self.target.seed, stage, 1))
        origin = np.sort(np.resize(np.flatnonzero(self.shares_by_evidence > NEGLIGIBLE), self.n_walkers))
        numbers = np.bincount(origin, minlength=STRIPS)
        parts = [end[in_turn(np.arange(len(end)), k, rng)] for end, k in zip(self.ends, numbers, strict=True) if k]
        return together(parts), origin

    def _bridge(self, stage: int) -> Bridge:
        walkers, origin = self._mixed(stage)
        seed = (self.target.seed, stage)
        particles = self.bridges[0].particles if self.bridges else min(CROWDS)  # all draws are of as many
        given = (origin, self.strip_of, self.shares_by_evidence, self.sweeps, particles, self.memory, self.noise, seed)
        return Bridge(self.target, walkers, *given, grows=not self.bridges)

    @property
    def bridge_particles(self) -> int:
        """Particles of the bridges, or about what that will be."""
        if isinstance(self.running, Bridge) and self.running.history:
            return self.running.particles
        small = [number for number, variance in self.noise.variance.items() if np.sqrt(variance) <= MOST_NOISE]
        return min(small, default=256)

    def posterior(self, about: Mapping[str, Any], true: np.ndarray | None = None) -> Posterior:
        """Return all draws."""
        origins = [repetition * STRIPS + bridge.origin for repetition, bridge in enumerate(self.bridges)]
        draws = [together([bridge.draws[sweep] for bridge in self.bridges]).arrays() for sweep in range(self.sweeps)]
        X, ln_p, evaluation = (np.stack([each[key] for each in draws]) for key in ("X", "ln_p", "evaluation"))
        return Posterior(
            model=self.target.model,
            recording=self.target.recording,
            X=X,
            ln_p=ln_p,
            evaluation=evaluation,
            origin=np.concatenate(origins),
            n_particles=self.bridges[0].particles,
            seed=self.target.seed,
            true=true,
            about=dict(about),
        )

    def about(self) -> dict[str, Any]:
        """Return what happened, as JSON can hold it."""
        moves, evidence = np.sum([bridge.moves for bridge in self.bridges], axis=0), self.shares_by_evidence
        found = {
            "noise": self.bridges[0].history[-1].noise,
            "scan": dict(zip(self.target.free.names, self.cost.tolist(), strict=True)),
            "strips": {"number": self.target.free.names[self.number], "edges": self.edges.tolist()},
            "shares_by_evidence": evidence.tolist(),
            "shares": [np.mean([s.shares for s in b.history if s.kept], axis=0).tolist() for b in self.bridges],
            "shares_by_moves": shares_by_moves(moves, evidence).tolist(),
            "share_errors": share_errors(moves, evidence).tolist(),
            "crossed": [sum(s.crossed for s in b.history if s.kept) for b in self.bridges],
            "history": self.history,
        }
        return dict(_finite(found))

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on."""
        return {
            "stage": self.stage,
            "history": self.history,
            "number": self.number,
            "edges": self.edges,
            "cost": self.cost,
            "crowd": None if self.crowd is None else self.crowd.state(),
            "evaluations": self.target.evaluations,
            "memory": self.memory.arrays(),
            "noise": self.noise.state(),
            "ends": [end.arrays() for end in self.ends],
            "ln_evidence": self.ln_evidence,
            "particles": [bridge.particles for bridge in self.bridges],
            "bridges": [bridge.state() for bridge in self.bridges],
            "running": None if self.done else self.running.state(),
            "with": self.running.particles,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo `state`, in a sampler of the same target."""
        self.stage, self.number, self.edges, self.cost = (state[key] for key in ("stage", "number", "edges", "cost"))
        self.history = state["history"]
        self.target.evaluations = state["evaluations"]
        self.memory.restore(state["memory"])
        self.noise.restore(state["noise"])
        self.ends = [Walkers.from_arrays(end) for end in state["ends"]]
        self.ln_evidence = state["ln_evidence"]
        if state["crowd"]:
            self.crowd = self._tempering(CROWD)
            self.crowd.restore(state["crowd"])
        for repetition, (particles, known) in enumerate(zip(state["particles"], state["bridges"], strict=True)):
            bridge = self._bridge(BRIDGES + repetition)
            bridge.particles = particles
            bridge.restore(known)
            self.bridges.append(bridge)
        if not self.done:
            self.running = self._tempering(self.stage) if self.stage < BRIDGES else self._bridge(self.stage)
            self.running.particles = state["with"]
            self.running.restore(state["running"])


def _finite(part: Any) -> Any:
    """Return nested lists and dictionaries with None for numbers that are not finite, which JSON cannot hold."""
    if isinstance(part, dict):
        return {key: _finite(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_finite(value) for value in part]
    return None if isinstance(part, float) and not np.isfinite(part) else part
