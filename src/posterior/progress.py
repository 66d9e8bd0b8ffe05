"""What is said while a posterior is sampled: one line for each temperature and each sweep, with the time left."""

import time

import numpy as np

from src.posterior.bridge import REFITS, Sweep
from src.posterior.sampler import BRIDGES, CROWD, OF_STRIP, PILOT, SEEN, SPLIT, STAGES, TEMPERED, Sampler
from src.posterior.tempering import CROWDS, GROWTHS, Temperature, Tempering
from src.utils.text import duration

RATIO = 0.5
"""Of ln temperature, about, from one to the next."""
MOVES = 2.8
"""At a temperature, about."""
FIRST = -9.0
"""ln of the first temperature, about."""
AGAIN = 2.0
"""Temperatures that each growth of the circuit costs, about."""
UP_TO = {32: -1.8, 64: -1.2, 128: -0.6, 256: 0.0}
"""Particles of the filter, and up to which logarithm of the temperature they do, about."""
BASE_COST = 15.0
"""Of an evaluation, whatever its particles, in particles."""


class Progress:
    """Counts the work that is done, and tells how long the rest will take."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.began = sampler, time.monotonic()
        self.work = 0.0

    def say(self, doing: str, found: Temperature | Sweep) -> str:
        """Return a line about a step that is done."""
        if isinstance(found, Temperature) and not found.walkers:
            return f"[{doing}] left out: hardly any circuit in it has about the observed rates"
        spent = time.monotonic() - self.began
        self.work += self._of(found)
        left = spent / self.work * self._left()
        rest = f"{duration(spent)}, about {duration(60 * np.ceil(left / 60))} left" if left else duration(spent)
        if isinstance(found, Temperature):
            neurons = "" if found.share == 1 else f", {found.share:.0%} of the neurons"
            return (
                f"[{doing}] temperature {found.temperature:.4g}{neurons}, {found.walkers} walkers "
                f"({found.effective:.0%} effective), {found.particles} particles, "
                f"{np.mean(found.acceptance):.0%} accepted, ln p {found.ln_p:.0f}; {rest}"
            )
        shares = ", ".join(f"{share:.0%}" for share in found.shares)
        return (
            f"[{doing}] sweep {'kept' if found.kept else 'to settle'}, {found.acceptance:.0%} accepted, "
            f"shares of the strips {shares}, {found.crossed} moves between them; {rest}"
        )

    def _of(self, found: Temperature | Sweep) -> float:
        """Return the work of a step, in evaluations times particles."""
        if isinstance(found, Sweep):
            return self.sampler.n_walkers * (self.sampler.bridge_particles + BASE_COST)
        return len(found.acceptance) * found.walkers * (found.particles + BASE_COST)

    def _left(self) -> float:
        """Return about how much work is left."""
        sampler, work = self.sampler, 0.0
        for stage in range(sampler.stage, STAGES):
            running = sampler.running if stage == sampler.stage else None
            if stage >= BRIDGES:
                sweeps = sampler.sweeps + REFITS - (len(running.history) if running else 0)
                work += sweeps * sampler.n_walkers * (sampler.bridge_particles + BASE_COST)
                continue
            begin = FIRST if stage == CROWD else np.log(SPLIT)
            end = {CROWD: np.log(SPLIT), PILOT: np.log(SEEN)}.get(stage, 0.0)
            now = getattr(running, "temperature", 0.0)
            growths = np.log(1 / self._share(stage)) / np.log(GROWTHS[0])
            begin = np.log(now) if now else begin
            work += self._tempering(min(begin, end) - AGAIN * growths * RATIO, end, TEMPERED.get(stage, OF_STRIP))
        return work

    def _share(self, stage: int) -> float:
        """Return what share of the neurons a stage of tempering goes on with."""
        if stage == self.sampler.stage and isinstance(self.sampler.running, Tempering):
            return self.sampler.running.share
        return self.sampler.target.smallest if stage == CROWD else 1.0

    def _tempering(self, begin: float, end: float, share: float) -> float:
        """Return the work of tempering between two logarithms of the temperature: particles grow towards the end."""
        work = 0.0
        for ln_temperature in np.arange(begin, end, RATIO):
            particles = next((number for number, most in UP_TO.items() if ln_temperature < most), max(UP_TO))
            work += MOVES * CROWDS[particles] * share * self.sampler.n_walkers * (particles + BASE_COST)
        return work
