"""What is sampled: the prior, and ln p(spikes | X) by the filter, each evaluation with a number that seeds it."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import scipy

from src.helper import from_X
from src.model.containers import Model, Recording
from src.model.free_parameters import FreeParameters
from src.posterior.coordinates import Coordinates, Place
from src.posterior.likelihood import LnP
from src.posterior.prior import ln_prior_of_each
from src.utils.processes import side_by_side

LEAST = -1e5
"""Evaluations so far below ln p of a constant rate, as where no particle can explain the spikes, count as this."""
BASE_WIDTH = 1.2
"""Standard deviation of eta in the distribution that tempering begins with. Where populations fire in full synchrony,
their rates are up to ten times the stationary ones."""
SMALLEST, FEWEST = 1 / 16, 10
"""Share of the neurons in the smallest circuit, and how many of a population stay in any case."""


@dataclass(frozen=True)
class Walkers:
    """Points and what the filter said of them: `ln_p`, (k,), by the evaluations of these numbers, (k,)."""

    place: Place
    ln_p: np.ndarray
    evaluation: np.ndarray

    def __len__(self) -> int:
        return len(self.ln_p)

    def __getitem__(self, which: np.ndarray) -> "Walkers":
        return Walkers(self.place[which], self.ln_p[which], self.evaluation[which])

    def where(self, accepted: np.ndarray, other: "Walkers") -> "Walkers":
        """Return the other walkers where `accepted`, (k,), and these elsewhere."""
        ln_p = np.where(accepted, other.ln_p, self.ln_p)
        evaluation = np.where(accepted, other.evaluation, self.evaluation)
        return Walkers(self.place.where(accepted, other.place), ln_p, evaluation)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all of it for an archive."""
        return {**vars(self.place), "ln_p": self.ln_p, "evaluation": self.evaluation}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Walkers":
        """Undo `arrays`."""
        place = Place(**{key: arrays[key] for key in ("X", "p", "ln_stretch")})
        return cls(place, arrays["ln_p"], arrays["evaluation"])


def together(parts: Sequence[Walkers]) -> Walkers:
    """Return several groups of walkers as one."""
    ln_p, evaluation = (np.concatenate([getattr(part, key) for part in parts]) for key in ("ln_p", "evaluation"))
    return Walkers(Place.together([part.place for part in parts]), ln_p, evaluation)


class Memory:
    """All evaluations so far: coordinates, ln p, and how many particles each had."""

    def __init__(self) -> None:
        self.p: list[np.ndarray] = []
        self.ln_p: list[np.ndarray] = []
        self.particles: list[np.ndarray] = []

    def add(self, p: np.ndarray, ln_p: np.ndarray, particles: int) -> None:
        """Remember some evaluations."""
        self.p.append(p)
        self.ln_p.append(ln_p)
        self.particles.append(np.full(len(p), particles))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all of it for an archive."""
        return {key: np.concatenate(parts) for key, parts in vars(self).items() if parts}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Undo `arrays`."""
        for key, array in arrays.items():
            getattr(self, key)[:] = [array]


def ln_p_at_one_rate(recording: Recording, window_bins: int) -> float:
    """Return ln p of the judged spikes of all recorded neurons if each fires at the mean rate of all of them."""
    spikes = recording.observed_spikes[:, :, window_bins:]
    scored = recording.is_scored
    number, share = scored.sum(), spikes[scored].mean()
    return float(number * (scipy.special.xlogy(share, share) + scipy.special.xlog1py(1 - share, -share)))


class Target:
    """The posterior's ingredients: prior, coordinates, and the likelihood of the spikes.

    Parameters
    ----------
    model : Model
        Of the consistent scheme.
    recording : Recording
    ln_p : callable
        ``ln_p(parameters, seed, n_particles)``, such as `src.inference.fast_filter.FastFilter.ln_p`.
    seed : int
    jobs : int
        Evaluations side by side, in threads. The result does not depend on it.
    elsewhere : callable, optional
        Evaluates many at once: ``elsewhere(model, X, numbers, n_particles)``, such as
        `src.posterior.on_cluster.OnCluster`.
    likelihood : callable, optional
        Gives ``ln_p`` for another model. Without it there are no smaller circuits.
    """

    def __init__(
        self,
        model: Model,
        recording: Recording,
        ln_p: LnP,
        seed: int,
        jobs: int = 1,
        elsewhere: Callable[[Model, np.ndarray, np.ndarray, int], Sequence[float]] | None = None,
        likelihood: Callable[[Model], LnP] | None = None,
    ) -> None:
        self.model, self.recording, self.seed, self.jobs = model, recording, seed, jobs
        self.free = model.fitted
        self.coordinates = Coordinates(model, recording)
        self.least = LEAST + ln_p_at_one_rate(recording, model.window_bins)
        self.smallest = float(np.clip(FEWEST / model.population_size.max(), SMALLEST, 1)) if likelihood else 1.0
        self._ln_p, self._elsewhere, self._likelihood = ln_p, elsewhere, likelihood
        self._counted = [0]  # in a list, which smaller circuits share

    @property
    def evaluations(self) -> int:
        """How many there were, those of smaller circuits included."""
        return self._counted[0]

    @evaluations.setter
    def evaluations(self, number: int) -> None:
        self._counted[0] = number

    def smaller(self, share: float) -> "Target":
        """Return the same with a share of the neurons in each population: their activity is noisier.

        Both count their evaluations together.
        """
        if share == 1:
            return self
        assert self._likelihood is not None
        size = self.model.population_size
        fewer = np.maximum(np.round(share * size), np.minimum(size, FEWEST))
        found = copy(self)
        found.model = replace(self.model, population_size=fewer)
        found._ln_p = self._likelihood(found.model)
        return found

    def ln_p(self, X: np.ndarray, particles: int) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate the filter at X, (k, n); return ln p and the numbers of the evaluations, both (k,)."""
        numbers = self.evaluations + np.arange(len(X))
        self.evaluations += len(X)

        def one(k: int) -> float:
            return self._ln_p(from_X(X[k], self.model), (self.seed, int(numbers[k])), particles)

        if self._elsewhere:
            found = self._elsewhere(self.model, X, numbers, particles)
        else:
            found = side_by_side(one, range(len(X)), self.jobs)
        return np.fmax(found, self.least), numbers

    def evaluate(self, place: Place, particles: int, memory: Memory | None = None) -> Walkers:
        """Return walkers at these places; remember the evaluations."""
        ln_p, numbers = self.ln_p(place.X, particles)
        if memory is not None:
            memory.add(place.p, ln_p, particles)
        return Walkers(place, ln_p, numbers)

    def within(self, k: int, low: float, high: float) -> FreeParameters:
        """Return the fitted numbers with other bounds for the k-th: a strip of the prior."""
        lower, upper = self.free.lower.copy(), self.free.upper.copy()
        lower[k], upper[k] = max(lower[k], low), min(upper[k], high)
        return replace(self.free, lower=lower, upper=upper)

    def ln_prior(self, place: Place, free: FreeParameters) -> np.ndarray:
        """Return the log-density of the prior in the coordinates, (k,)."""
        return np.asarray((ln_prior_of_each(free, place.X) + place.ln_stretch).sum(axis=1))

    def ln_base(self, place: Place, free: FreeParameters) -> np.ndarray:
        """Return the log-density, up to a constant, of what tempering begins with, in the coordinates, (k,).

        It is the prior, but with eta normal about 0: stationary rates not too far from those observed. The rest of the
        prior's mass would be lost at the first temperature.
        """
        each, rates = ln_prior_of_each(free, place.X), self.coordinates.is_rate
        inside = np.isfinite(each).all(axis=1)
        others = (each + place.ln_stretch)[:, ~rates].sum(axis=1)
        return np.where(inside, others - ((place.p[:, rates] / BASE_WIDTH) ** 2).sum(axis=1) / 2, -np.inf)
