"""How far does an hour go with 100 s of data? The posterior of one trial, and then of more and more of them.

An evaluation of the likelihood with a given noise costs ten times the particles and ten times the time if the recording
is ten times as long. So nothing is evaluated as a whole here. Each trial has a surrogate of its own, fitted to many
cheap and noisy evaluations near the present posterior. The surrogate of the recording is the sum. Several are fitted,
each to one half of the evaluations, drawn at random. A half differs from all as much as all do from what they would say
without noise, about: that is printed in nats. Draws come from all surrogates in equal parts, which widens them by as
much. No call of the filter accepts them. Errors that all surrogates share, as of a cubic where a polynomial of higher
degree is needed, only the check in the end can show.

A filter's ln p is too low by half of its variance, and the variance changes from place to place. So each evaluation is
made twice, and half of the variance is added.

Every finished set of evaluations is kept: a rerun goes on from there.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from threadpoolctl import threadpool_limits

from src.helper import from_X
from src.inference.fast_filter import FastFilter
from src.posterior.bridge import MOST_POINTS, STEPS
from src.posterior.coordinates import Place
from src.posterior.moves import walk
from src.posterior.prior import to_logs
from src.posterior.result import RECORD, Posterior, load_posterior, save_posterior
from src.posterior.sampler import Sampler
from src.posterior.settings import PosteriorSettings, Question, read_question
from src.posterior.surrogate import Evaluations, Surrogate, Whitening, fit_surrogate
from src.posterior.target import Target
from src.posterior.tempering import systematic
from src.utils.files import load_arrays, make_folder, save_arrays
from src.utils.processes import side_by_side
from src.utils.settings import names_options, option, parse, run_script
from src.utils.text import align, duration, number

FEWEST = 32
"""Particles of an evaluation: half of those of the posterior of the first trial, but not fewer."""
GROWTH = 1.5
"""So many times the trials from step to step."""
MEMBERS, WALKERS, WALKS = 8, 64, 4
"""Sums of surrogates, walkers on each of them, from resampled draws, and how often they walk."""
JITTER = 0.5
"""Added to draws, in standard deviations of the cloud: evaluations reach beyond the posterior."""
TRUSTED = 0.999
"""Share of a Gaussian cloud in which a surrogate is trusted."""
BEYOND = -1e6
"""ln p where no surrogate is trusted."""
SHOWN, LOBES = ("coupling I", "coupling E1", "membrane_rate E1", "threshold E1"), 14.0
"""Numbers whose width is printed, and between which couplings of I the posterior of 10 s has its lobes."""
FIRST, DRAWS = "evaluations", "draws"
"""Files beside the posterior of the first trial, and of the fitted numbers in the end."""
CHECKED, CHECK = 24, 90
"""Draws at which a better filter looks in the end, and as which step that and its look at the truth count."""


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    dataset: str = option("result/long/recording", "data set to fit, of simulate_micro.py --duration 101")
    trials: int = option(10, "trials of 10 s", at_least=2, at_most=1000)
    points: int = option(600, "evaluations of each trial, twice each, at every step", at_least=20)
    steps_at_end: int = option(0, "further steps with all trials", at_least=0, at_most=50)
    walkers: int = option(192, "chains of the posterior of the first trial", at_least=32, at_most=4096)
    sweeps: int = option(6, "draws of each of them that are kept", at_least=2, at_most=1000)
    seed: int = option(1, "seed of all random numbers", at_least=0)
    jobs: int = option(2, "evaluations side by side", at_least=1)
    folder: str = option("result/long", "folder for what has been done so far")


class Trial:
    """Evaluations of one trial, and what is fitted to them.

    Parameters
    ----------
    known : FastFilter
    """

    def __init__(self, known: FastFilter) -> None:
        self.known = known
        self.p = np.empty((0, 0))
        self.ln_p, self.error2, self.noise = np.empty(0), np.empty(0), np.empty(0)

    def add(self, p: np.ndarray, ln_p: np.ndarray, error2: np.ndarray, noise: np.ndarray) -> None:
        """Remember evaluations.

        Parameters
        ----------
        p : array, (k, n)
            Coordinates.
        ln_p, error2 : array, (k,)
            What the filter says in the mean, and the variance of this estimate.
        noise : array, (k,)
            Estimate of the variance of the filter there, or NaN.
        """
        self.p = np.concatenate([self.p.reshape(-1, p.shape[1]), p])
        for name, values in (("ln_p", ln_p), ("error2", error2), ("noise", noise)):
            setattr(self, name, np.concatenate([getattr(self, name), values]))

    def fit(self, cloud: Whitening, rng: np.random.Generator | None = None) -> "Fitted":
        """Fit to the evaluations near a cloud; with random numbers, to one half of them."""
        chosen = np.flatnonzero((cloud(self.p) ** 2).sum(axis=1) < 5 * self.p.shape[1])
        if rng is not None:
            chosen = rng.permutation(chosen)[: (len(chosen) + 1) // 2]
        p, ln_p, noise = self.p[chosen], self.ln_p[chosen], self.noise[chosen]
        typical = float(np.median(ln_p[(cloud(p) ** 2).sum(axis=1) < 2 * p.shape[1]]))
        known = Evaluations(p, ln_p, self.error2[chosen])
        surrogate = fit_surrogate(known, cloud, typical, 1.0, most=MOST_POINTS)
        twice = np.isfinite(noise) & (ln_p > typical - 15)
        z = np.hstack([np.ones((twice.sum(), 1)), cloud(p[twice])])
        penalty = np.diag([0.0, *[1.0] * p.shape[1]])
        return Fitted(surrogate, np.linalg.solve(z.T @ z + penalty, z.T @ noise[twice]))


@dataclass(frozen=True)
class Fitted:
    """Surrogate of a trial, and the variance of the filter, linear in whitened coordinates, (1 + n,)."""

    surrogate: Surrogate
    noise: np.ndarray

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Return ln p at coordinates (k, n): (k,)."""
        variance = self.noise[0] + self.surrogate.whitening(p) @ self.noise[1:]
        return self.surrogate(p) + np.maximum(variance, 0) / 2


@dataclass(frozen=True)
class Sum:
    """The surrogate of several trials: nothing beyond the cloud that it was fitted to."""

    parts: tuple[Fitted, ...]
    cloud: Whitening

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Return ln p at coordinates (k, n): (k,)."""
        far = (self.cloud(p) ** 2).sum(axis=1) > scipy.stats.chi2.ppf(TRUSTED, p.shape[1])
        return np.where(far, BEYOND, sum(part(p) for part in self.parts))


@dataclass(frozen=True)
class Ensemble:
    """Surrogates of a posterior, each fitted to a half of the evaluations; called, it gives the mean of their ln p."""

    members: tuple[Sum, ...]

    def each(self, p: np.ndarray) -> np.ndarray:
        """Return ln p at coordinates (k, n) by each member: (members, k)."""
        return np.array([member(p) for member in self.members])

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Return ln p at coordinates (k, n): (k,)."""
        return np.asarray(self.each(p).mean(axis=0))


class Growing:
    """Adds trials to a posterior, one after the other.

    Parameters
    ----------
    question : Question
        Of all trials.
    settings : Settings
    particles : int
        Of each evaluation.
    """

    def __init__(self, question: Question, settings: Settings, particles: int) -> None:
        self.model, self.settings = question.model, settings
        recording = question.recording
        self.trials = [
            Trial(FastFilter(question.model, recording.trials(slice(b, b + 1)))) for b in range(settings.trials)
        ]
        self.target = Target(question.model, recording, _nobody, settings.seed, settings.jobs)
        self.rng = np.random.default_rng((settings.seed, 1))
        self.evaluations, self.seconds = 0, 0.0
        self.particles = particles

    def learn(self, place: Place, n_trials: int, step: int) -> None:
        """Evaluate the first trials at points near draws; what was evaluated in an earlier run is read."""
        some = place[self.rng.choice(len(place.X), self.settings.points, replace=len(place.X) < self.settings.points)]
        cloud = Whitening(place.p)
        moved = some.p + JITTER * self.rng.standard_normal(some.p.shape) @ cloud.root
        there = self.target.coordinates.back(moved, some.X)
        inside = np.isfinite(self.target.ln_prior(there, self.target.free))
        points = some.where(inside, there)
        ln_p = self._evaluated(points.X, n_trials, step, self.particles)
        for trial, (one, other) in zip(self.trials[:n_trials], np.moveaxis(ln_p, -1, 1), strict=True):
            noise = (one - other) ** 2 / 2
            trial.add(points.p, (one + other) / 2, np.full(len(one), noise.mean() / 2), noise)

    def _evaluated(self, X: np.ndarray, n_trials: int, step: int, particles: int) -> np.ndarray:
        file = Path(self.settings.folder) / f"evaluations{step:02d}"
        if file.exists():
            known = load_arrays(file, ("X", "ln_p", "seconds"))
            if known["ln_p"].shape[0] == n_trials and np.array_equal(known["X"], X):
                self.evaluations += known["ln_p"].size
                self.seconds += float(known["seconds"])
                return known["ln_p"]
        start = time.perf_counter()
        found = self._twice(X, n_trials, step, particles)
        seconds = time.perf_counter() - start
        save_arrays(file, X=X, ln_p=found, seconds=seconds)
        self.evaluations += found.size
        self.seconds += seconds
        return found

    def _twice(self, X: np.ndarray, n_trials: int, step: int, particles: int) -> np.ndarray:
        """Evaluate each of the first trials at X, (k, n), with two seeds: (n_trials, k, 2)."""

        def one(which: int) -> float:
            trial, rest = divmod(which, 2 * len(X))
            seed = (self.settings.seed, step, which)
            return self.trials[trial].known.ln_p(from_X(X[rest // 2], self.model), seed, particles)

        found = side_by_side(one, range(n_trials * len(X) * 2), self.settings.jobs)
        return np.array(found).reshape(n_trials, len(X), 2)

    def fitted(self, cloud: Whitening, n_trials: int, rng: np.random.Generator | None = None) -> Sum:
        """Return the surrogate of the first trials; with random numbers, that of one half of the evaluations."""
        return Sum(tuple(trial.fit(cloud, rng) for trial in self.trials[:n_trials]), cloud)

    def draw(self, place: Place, before: Ensemble | None, n_trials: int) -> tuple[Place, Ensemble]:
        """Draw from the posterior of so many trials; return draws, member after member, and what they are of.

        Parameters
        ----------
        place : Place
            Draws from a wider posterior.
        before : Ensemble or None
            Its surrogates; None if it is the same posterior.
        n_trials : int
        """
        for _ in range(2):  # fit to the cloud that there was, and then to the one that there is
            now, place = self._drawn(place, before, n_trials)
            before = now
        return place, now

    def _drawn(self, place: Place, before: Ensemble | None, n_trials: int) -> tuple[Ensemble, Place]:
        cloud, rngs = Whitening(place.p), self.rng.spawn(MEMBERS)
        fitted = side_by_side(lambda rng: self.fitted(cloud, n_trials, rng), rngs, self.settings.jobs)
        now = Ensemble(tuple(fitted))
        earlier = (before or now)(place.p)

        def drawn(member: int) -> Place:
            surrogate, rng = now.members[member], rngs[member]
            ln_p = surrogate(place.p)
            # only a start, for the draws are those of all members before: the walk does the rest
            gain = np.where((ln_p == BEYOND) | (earlier == BEYOND), -np.inf, ln_p - earlier)
            here, kept = place[systematic(np.exp(gain - gain.max()), WALKERS, rng)], []
            for _ in range(WALKS):
                here = walk(self.target, self.target.free, surrogate, cloud, here, 1.0, STEPS, rng)[0]
                kept.append(here)
            return Place.together(kept[1:])

        return now, Place.together(side_by_side(drawn, range(MEMBERS), self.settings.jobs))

    def open_ends(self, place: Place, now: Ensemble) -> tuple[float, float]:
        """Return what the noise of the evaluations leaves open: how far a member is from the mean of all.

        In nats, over draws; and the standard deviation of the mean of a coordinate, the worst, in standard deviations
        of the draws. What is chance there, because walkers are few, is taken off.
        """
        each = now.each(place.p)
        change = each - each.mean(axis=0)
        of_walkers = place.p.reshape(MEMBERS, WALKS - 1, WALKERS, -1).mean(axis=1)
        of_members, chance = of_walkers.mean(axis=1), of_walkers.var(axis=1, ddof=1).mean(axis=0) / WALKERS
        variance = np.maximum(of_members.var(axis=0, ddof=1) - chance, 0)
        return float(change.std(axis=1).mean()), float((np.sqrt(variance) / place.p.std(axis=0)).max())

    def better(self, X: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        """Return ln p of all trials at X, (k, n), by a filter with more particles, (k,), and its noise, in nats."""
        n_trials = len(self.trials)
        found = self._evaluated(X, n_trials, step, 4 * self.particles)
        variance = (found[..., 0] - found[..., 1]) ** 2 / 2
        noise = variance.mean() / 2 * (1 + variance.mean())  # of a mean of two, and of half of a variance from two
        return (found.mean(axis=2) + variance / 2).sum(axis=0), float(np.sqrt(n_trials * noise))

    def checked(self, place: Place, now: Ensemble, true: np.ndarray | None) -> list[str]:
        """Return lines that compare the surrogates with a better filter, and draws with the true numbers, (n,)."""
        some = place[self.rng.choice(len(place.X), CHECKED, replace=False)]
        ln_p, noise = self.better(some.X, CHECK)
        off = (ln_p - now(some.p)).std(ddof=1)
        lines = [f"against {4 * self.particles} particles: {off:.2f} nats off, of which noise {noise:.2f}"]
        if true is not None:
            of_truth, _ = self.better(np.tile(true, (CHECKED, 1)), CHECK + 1)
            error = np.hypot(ln_p.std(ddof=1), of_truth.std(ddof=1)) / np.sqrt(CHECKED)
            lines.append(
                f"ln p of the truth, less the mean of the draws: {of_truth.mean() - ln_p.mean():.1f} +- {error:.1f}"
            )
        return lines


def _nobody(*_: Any) -> float:
    return 0.0


def first_posterior(question: Question, settings: Settings) -> Posterior:
    """Return the posterior of the first trial; it is sampled, if that was not done before.

    Its evaluations are kept beside it, if they have as many particles as those to come. Where they have more, ln p is
    lowered to what it would be in the mean.
    """
    folder = Path(settings.folder) / "first"
    if not (folder / RECORD).exists():
        make_folder(folder)
        start, recording = time.perf_counter(), question.recording.trials(slice(0, 1))
        ln_p = FastFilter(question.model, recording).ln_p
        target = Target(question.model, recording, ln_p, settings.seed, settings.jobs)
        sampler = Sampler(target, settings.walkers, settings.sweeps)
        while not sampler.done:
            doing = sampler.doing
            sampler.step()
            print(f"first trial: {doing}, {duration(time.perf_counter() - start)}", file=sys.stderr, flush=True)
        known = sampler.memory.arrays()
        usual = half_of(sampler.bridges[0].particles)
        some = known["particles"] >= usual
        p, particles = known["p"][some], known["particles"][some]
        noise = sampler.noise.of(particles)
        biased = (noise - sampler.noise.variance.get(usual, noise.max())) / 2
        arrays = {"X": target.coordinates.back(p).X, "ln_p": known["ln_p"][some] + biased, "error2": noise}
        save_arrays(folder / FIRST, **arrays)
        about = {"seconds": time.perf_counter() - start, "evaluations": target.evaluations}
        save_posterior(folder, sampler.posterior(about, question.true))
    return load_posterior(folder)


def half_of(particles: int) -> int:
    """Return how many particles an evaluation has, from those of the posterior of the first trial."""
    return max(particles // 2, FEWEST)


def trials_of_steps(n_trials: int, steps_at_end: int) -> list[int]:
    """Return with how many trials each step is made: two with each number, and some more in the end."""
    found, now = [], 1
    while now < n_trials:
        now = min(math.ceil(GROWTH * now), n_trials)
        found += [now, now]
    return found + [n_trials] * steps_at_end


def row_of(growing: Growing, place: Place, true: np.ndarray | None, n_trials: int) -> list[str]:
    """Return what is printed of a posterior, but for what its evaluations leave open."""
    free = growing.model.fitted
    logs = to_logs(free, place.X)
    names = list(free.names)
    widths = [f"{logs[:, names.index(name)].std():.3f}" for name in SHOWN]
    low = f"{(place.X[:, names.index('coupling I')] < LOBES).mean():.2f}"
    p = growing.target.coordinates
    distance = held = "-"
    if true is not None:
        away = p.of(true[None]).p[0] - place.p.mean(axis=0)
        distance = f"{away @ np.linalg.solve(np.cov(place.p.T), away) / len(away):.2f}"
        ends = np.quantile(place.X, [0.01, 0.99], axis=0)
        held = f"{((true >= ends[0]) & (true <= ends[1])).sum()} of {len(true)}"
    spent = duration(growing.seconds)
    return [str(n_trials), spent, str(growing.evaluations), *widths, low, distance, held]


def numbers_of(names: Sequence[str], X: np.ndarray, true: np.ndarray | None) -> str:
    """Return a table of draws, (k, n), beside the true numbers, (n,), if they are known."""
    known = np.full(len(names), np.nan) if true is None else true
    columns = np.vstack([known, np.quantile(X, [0.5, 0.05, 0.95], axis=0)]).T
    rows = [[name, *map(number, values)] for name, values in zip(names, columns, strict=True)]
    return align([["number", "true", "median", "5 %", "95 %"], *rows])


HEAD = ["trials", "time", "evaluations", *(f"ln {name}" for name in SHOWN), "J_I < 14", "distance²", "truth in 98 %"]
OPEN = ["open, nats", "open, sd"]


@names_options(Settings)
@threadpool_limits.wrap(limits=1, user_api="blas")
def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    given = PosteriorSettings(
        dataset=settings.dataset, end_timepoint=10.0 * settings.trials + 1, trial_length=10.0, SAVE_DIR=settings.folder
    )
    question = read_question(given)
    first = first_posterior(question, settings)
    growing = Growing(question, settings, half_of(first.n_particles))
    growing.seconds, growing.evaluations = first.about["seconds"], first.about["evaluations"]
    known = load_arrays(Path(settings.folder) / "first" / FIRST, ("X", "ln_p", "error2"))
    p = growing.target.coordinates.of(known["X"]).p
    growing.trials[0].add(p, known["ln_p"], known["error2"], np.full(len(p), np.nan))
    place = growing.target.coordinates.of(first.draws)
    rows, before = [[*row_of(growing, place, question.true, 1), "", ""]], None
    for step, n_trials in enumerate(trials_of_steps(settings.trials, settings.steps_at_end), 1):
        growing.learn(place, n_trials, step)
        start = time.perf_counter()
        place, before = growing.draw(place, before, n_trials)
        growing.seconds += time.perf_counter() - start
        nats, sd = growing.open_ends(place, before)
        rows.append([*row_of(growing, place, question.true, n_trials), f"{nats:.2f}", f"{sd:.2f}"])
        print(align([[*HEAD, *OPEN], rows[-1]]), file=sys.stderr, flush=True)
    print(align([[*HEAD, *OPEN], *rows]))
    assert before is not None
    print(f"\n{numbers_of(question.model.fitted.names, place.X, question.true)}")
    save_arrays(Path(settings.folder) / DRAWS, X=place.X, names=np.array(question.model.fitted.names))
    print("", *growing.checked(place, before, question.true), sep="\n")


if __name__ == "__main__":
    run_script(main, "benchmarks.long_recording")
