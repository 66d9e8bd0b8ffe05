"""Moves of walkers: a long random walk on the surrogate proposes, one call of the filter decides.

The walk leaves the tempered surrogate posterior unchanged. So its end is accepted with the probability that makes up
for the difference between surrogate and filter ("surrogate transition", Liu 2001, section 9.4.3):

    min(1, exp(temperature (ln p' - s' - ln p + s))).

Both ln p are estimates, and each stays with its walker as long as that stays (particle-marginal Metropolis-Hastings).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from src.model.free_parameters import FreeParameters
from src.posterior.coordinates import Place
from src.posterior.surrogate import Surrogate, Whitening
from src.posterior.target import Memory, Target, Walkers
from src.utils.processes import side_by_side

SCALE = 0.6
"""Of the random walk, in standard deviations of the cloud in each direction; it is varied from step to step."""

GROUPS, LEAST_GROUP = 4, 96
"""Walkers walk in so many groups, of so many or more, each with random numbers of its own. The result does not depend
on how many groups go side by side."""


LnP = Callable[[np.ndarray], np.ndarray]
"""Gives ln p, (k,), at coordinates (k, n)."""


class Moved(NamedTuple):
    """What a move did: walkers, which of them moved (k,), acceptance on the surrogate, and squared distance covered.

    `distance` is the mean squared jump in whitened coordinates, over that of independent draws.
    """

    walkers: Walkers
    accepted: np.ndarray
    on_surrogate: float
    distance: float


def ln_tempered(target: Target, place: Place, free: FreeParameters, temperature: float) -> np.ndarray:
    """Return the log-density of all but the likelihood in the tempered posterior, (k,); -inf outside the bounds."""
    prior = target.ln_prior(place, free)
    if temperature == 1:
        return prior
    base = target.ln_base(place, free)
    inside = np.isfinite(prior) & np.isfinite(base)
    mixed = (1 - temperature) * np.where(inside, base, 0) + temperature * np.where(inside, prior, 0)
    return np.where(inside, mixed, -np.inf)


def walk(
    target: Target,
    free: FreeParameters,
    surrogate: LnP,
    cloud: Whitening,
    start: Place,
    temperature: float,
    steps: int,
    rng: np.random.Generator,
) -> tuple[Place, float]:
    """Take places through a Metropolis walk on the tempered surrogate; return where it ends and its acceptance.

    Steps go in turn in all directions, and along one main direction of the cloud. Groups of walkers go side by side.
    """
    number = int(np.clip(len(start.X) // LEAST_GROUP, 1, GROUPS))
    groups = np.array_split(np.arange(len(start.X)), number)
    seeds = rng.integers(2**63, size=number)

    def one(k: int) -> tuple[Place, float]:
        given = (target, free, surrogate, cloud, start[groups[k]], temperature, steps)
        return _walk(*given, np.random.default_rng(seeds[k]))

    places, accepted = zip(*side_by_side(one, range(number), target.jobs), strict=True)
    return Place.together(places), float(np.mean(accepted))


def _walk(
    target: Target,
    free: FreeParameters,
    surrogate: LnP,
    cloud: Whitening,
    here: Place,
    temperature: float,
    steps: int,
    rng: np.random.Generator,
) -> tuple[Place, float]:
    k, n = here.p.shape
    density = ln_tempered(target, here, free, temperature) + temperature * surrogate(here.p)
    accepted = 0.0
    for step in range(steps):
        size = SCALE * np.exp(rng.uniform(-1.5, 0.7, (k, 1)))
        if step % 2:
            direction = rng.standard_normal((k, n))
        else:
            direction = np.zeros((k, n))
            direction[np.arange(k), rng.integers(0, n, k)] = 3 * rng.standard_normal(k)
        there = target.coordinates.back(here.p + size * (direction @ cloud.root), here.X)
        other = ln_tempered(target, there, free, temperature) + temperature * surrogate(there.p)
        taken = np.log(rng.random(k)) < other - density
        here, density = here.where(taken, there), np.where(taken, other, density)
        accepted += taken.mean()
    return here, accepted / max(steps, 1)


def move(
    target: Target,
    free: FreeParameters,
    surrogate: Surrogate,
    cloud: Whitening,
    walkers: Walkers,
    temperature: float,
    steps: int,
    particles: int,
    memory: Memory,
    rng: np.random.Generator,
) -> Moved:
    """Move each walker once; the evaluations are remembered."""
    proposed, on_surrogate = walk(target, free, surrogate, cloud, walkers.place, temperature, steps, rng)
    new = target.evaluate(proposed, particles, memory)
    gain = (new.ln_p - surrogate(proposed.p)) - (walkers.ln_p - surrogate(walkers.place.p))
    accepted = np.log(rng.random(len(walkers))) < temperature * gain
    jump = ((cloud(proposed.p) - cloud(walkers.place.p)) ** 2).sum(axis=1) * accepted
    return Moved(walkers.where(accepted, new), accepted, on_surrogate, float(jump.mean() / (2 * proposed.p.shape[1])))
