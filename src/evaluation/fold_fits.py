"""Fits of a comparison: one candidate without what one fold holds out, and the score of that; many side by side.

Each finished fit is a file, named by a digest of all that decides its result: what is there need not be done again.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from src.data.holdout import scored_bins, spikes_of
from src.evaluation.co_smoothing import score_units
from src.evaluation.fit_files import finished_before, fold_score
from src.evaluation.scores import ln_p_bins
from src.helper import from_X
from src.inference.em import Train, best_fit
from src.model.containers import Model, Recording
from src.runs.checkpoint import sha256
from src.runs.record import versions
from src.utils.exceptions import FitError
from src.utils.files import save_json
from src.utils.jobs import Where, run_jobs
from src.utils.quiet import use_tensorflow
from src.utils.text import duration
from src.utils.worker import Outcome

FITS = "fits"
"""In the folder of the comparison."""
SEEDS_APART = 100_000
"""Of the filters of two folds; a filter takes further seeds for trials that it cannot hold at once."""
PLACES = ("dataset", "data", "unit_map", "trials", "circuit", "SAVE_DIR")
"""Settings that say where things are."""
FORM_OF_FITS = 3
"""Of the files of fits: those of another form are not taken for finished ones."""


@dataclass(frozen=True)
class Fold:
    """What one fold trains on and holds out.

    Parameters
    ----------
    training : Recording
        Other trials, or other units.
    held_out : Recording
        Trials that were not trained on; or all trials, of which `units` were not.
    units : tuple of (int, int), or None
        Population and place of the units that are held out; None: trials are.
    ln_p_constant : float
        Of the held-out spikes, for the mean rate of each unit in all judged bins of the recording.
    spikes : int
        That are held out, in judged bins.
    """

    training: Recording
    held_out: Recording
    units: tuple[tuple[int, int], ...] | None
    ln_p_constant: float
    spikes: int


@dataclass(frozen=True)
class Job:
    """A fit and its score.

    Parameters
    ----------
    candidate : str
        Its name.
    number : int
        Of the fold, from 1.
    fold : Fold
    model : Model
    settings : FitSettings
        The seed of the first start is its `train_Noinit`.
    starts : int
        Seeds that are tried; the best fit counts, see `src.inference.em.best_fit`.
    particles, repeats : int
        Of the particle filter: particles, and independent filters.
    """

    candidate: str
    number: int
    fold: Fold
    model: Model
    settings: Any
    starts: int
    particles: int
    repeats: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.candidate}, fold {self.number}"

    @property
    def digest(self) -> str:
        """Digest of all that decides the result: of the data, wherever they lie."""
        held_out, training = (sha256(part) for part in (self.fold.held_out, self.fold.training))
        settings = {key: value for key, value in asdict(self.settings).items() if key not in PLACES}
        known: dict[str, Any] = {"form": FORM_OF_FITS, "settings": settings, "model": self.model.as_dict()}
        known |= {"fold": self.number, "units": self.fold.units}
        known |= {key: getattr(self, key) for key in ("starts", "particles", "repeats")}
        text = json.dumps([known, training, held_out], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def run_job(train: Train, job: Job) -> dict[str, Any]:
    """Fit and score; return what `FoldScore` needs and the fit, as JSON can hold it.

    Where no start led anywhere, or the held-out spikes are impossible, ``error`` says why and there is no ``ln_p``: it
    would come to the same again, and the other fits go on.
    """
    use_tensorflow(1)
    began, fits, failed = time.perf_counter(), [], []
    for start in range(job.starts):
        settings = replace(job.settings, train_Noinit=job.settings.train_Noinit + start)
        try:
            fits.append(train(job.fold.training, job.model, settings))
        except FitError as error:
            failed.append(str(error))
    found: dict[str, Any] = {"error": None, "losses": [fit.loss for fit in fits], "failed": failed}
    try:
        if not fits:
            raise FitError(failed[0])
        best = best_fit(fits)
        found |= {"X": best.X.tolist(), "loss": best.loss, "ended": best.ended}
        found |= {"ln_p": _score(job, best.X), "ln_p_constant": job.fold.ln_p_constant, "spikes": job.fold.spikes}
    except FitError as error:
        found["error"] = str(error)
    return {**found, "seconds": round(time.perf_counter() - began, 2)}


def _score(job: Job, X: np.ndarray) -> dict[str, list[list[float]]]:
    """Return ln p of the held-out spikes by measure, (repeats, parts)."""
    ln_p = _score_of_units(job, X) if job.fold.units is not None else _score_of_trials(job, X)
    for name, values in ln_p.items():
        if not np.isfinite(values).all():
            raise FitError(f"{name}: expected a finite ln p of the held-out spikes, got {np.sum(values):g}")
    return ln_p


def _score_of_trials(job: Job, X: np.ndarray) -> dict[str, list[list[float]]]:
    """Return ln p of held-out trials, (repeats, trials), with the activity integrated out.

    Repeats are further trials of one filter: it is compiled once. Candidates with the same populations get the same
    random numbers, but folds do not: their Monte Carlo errors are independent.
    """
    from src.inference.particle_filter import filter_spikes

    B, held_out = job.fold.held_out.n_trials, job.fold.held_out
    seed = SEEDS_APART * job.number
    repeated = held_out.trials(np.tile(np.arange(B), job.repeats))
    filtered = filter_spikes(from_X(X, job.model), job.model, repeated, n_particles=job.particles, seed=seed)
    return {"held-out time": filtered.ln_p.reshape(job.repeats, B, -1).sum(axis=2).tolist()}


def _score_of_units(job: Job, X: np.ndarray) -> dict[str, list[list[float]]]:
    """Return ln p of held-out units, (1, units), given the activity that the others tell.

    See `src.evaluation.co_smoothing`.
    """
    fold = job.fold
    assert fold.units is not None
    scores = score_units(fold.units, job.number, X, fold.training, fold.held_out, job.model, job.settings)
    return {name: [[one.ln_p[name] for one in scores]] for name in scores[0].ln_p}


def constant_rates(recording: Recording, model: Model, units: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the probability of a spike in a judged bin of each unit, (units,): its mean over all of them."""
    return np.array([spikes_of(recording, unit, scored_bins(recording, unit), model).mean() for unit in units])


def ln_p_constant(
    recording: Recording, model: Model, units: Sequence[tuple[int, int]], rates: np.ndarray
) -> tuple[float, int]:
    """Return ln p of the spikes of some units at constant rates, (units,), and their number, in judged bins."""
    spikes = [spikes_of(recording, unit, scored_bins(recording, unit), model) for unit in units]
    ln_p = sum(ln_p_bins(each, rate) for each, rate in zip(spikes, rates, strict=True))
    return float(ln_p), int(sum(each.sum() for each in spikes))


# --- side by side -----------------------------------------------------------------------------------------------------


def run_all(train: Train, jobs: Sequence[Job], folder: Path, where: Where, resume: bool) -> list[dict[str, Any]]:
    """Run all jobs, some at a time, and return their results in the same order; each is written when it is there.

    Parameters
    ----------
    train : callable
        The fit; processes import it by its name.
    jobs : sequence of Job
    folder : Path
        For the files of finished fits.
    where : Where
        The result does not depend on it.
    resume : bool
        Take finished fits from the folder.
    """
    files = [folder / f"{job.digest}.json" for job in jobs]
    now = versions()
    results, said = finished_before(files, now) if resume else ({}, [])
    for line in said:
        print(line)
    left = [k for k in range(len(jobs)) if k not in results]

    def told(number: int, outcome: Outcome) -> None:
        k = left[number]
        found = {"error": outcome.error, "seconds": outcome.seconds} if outcome.error else outcome.result
        results[k] = {"candidate": jobs[k].candidate, "fold": jobs[k].number, "versions": now, **found}
        if not outcome.error:  # that could be otherwise another time
            save_json(files[k], results[k])
        tqdm.write(f"{len(results):3d} of {len(jobs)}  {_line(jobs[k], found)}")

    names = [jobs[k].name for k in left]
    run_jobs(partial(run_job, train), [jobs[k] for k in left], names, where, told, before=len(results))
    # A fit that was found is of the same circuit, which may have had another name.
    return [{**results[k], "candidate": job.candidate} for k, job in enumerate(jobs)]


def _line(job: Job, result: dict[str, Any]) -> str:
    if result["error"]:
        return f"{job.name}: failed: {result['error']}"
    one = fold_score(result)
    bits = ", ".join(f"{measure} {one.bits(measure):+.4f}" for measure in one.ln_p)
    return f"{job.name}: {bits} bits per spike, {duration(result['seconds'])}"
