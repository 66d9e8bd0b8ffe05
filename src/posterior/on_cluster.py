"""Evaluations of the filter on the workers of a Dask scheduler: the same numbers as here, a few at a time to each."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from src.helper import from_X
from src.model.containers import Model, Recording
from src.posterior.likelihood import likelihood_of
from src.utils.cluster import cluster, killed_there
from src.utils.exceptions import FitError

AT_ONCE = 4
"""Evaluations of a job: some tenths of a second, which outweighs sending it."""


class Evaluations(NamedTuple):
    """A job: filter the recording at X, (k, n), with the seeds of these numbers, (k,)."""

    model: Model
    recording: Recording
    seed: int
    X: np.ndarray
    numbers: np.ndarray
    particles: int


def evaluate(job: Evaluations) -> list[float]:
    """Return ln p of each, as `src.posterior.target.Target.ln_p` finds it."""
    ln_p, _ = likelihood_of(job.model, job.recording)
    pairs = zip(job.X, job.numbers.tolist(), strict=True)
    return [ln_p(from_X(X, job.model), (job.seed, number), job.particles) for X, number in pairs]


class OnCluster:
    """Evaluates many at once, as `Target` asks for it."""

    def __init__(self, pool: Executor, recording: Recording, seed: int) -> None:
        self._pool, self._known = pool, (recording, seed)

    def __call__(self, model: Model, X: np.ndarray, numbers: np.ndarray, particles: int) -> list[float]:
        """Return ln p, (k,), of a model at X, (k, n).

        Raises
        ------
        FitError
            Workers died again and again.
        """
        parts = [slice(k, k + AT_ONCE) for k in range(0, len(X), AT_ONCE)]
        jobs = [Evaluations(model, *self._known, X[part], numbers[part], particles) for part in parts]
        try:
            return [ln_p for found in self._pool.map(evaluate, jobs) for ln_p in found]
        except killed_there() as error:
            raise FitError(f"scheduler: workers died again and again: {error}") from None


@contextmanager
def on_cluster(scheduler: str | None, recording: Recording, seed: int) -> Iterator[OnCluster | None]:
    """Give what evaluates on the workers of a scheduler; None without one.

    Raises
    ------
    InputError
        As `src.utils.cluster.cluster`.
    """
    if scheduler is None:
        yield None
        return
    with cluster(scheduler) as pool:
        yield OnCluster(pool, recording, seed)
