"""The command ``python -m src.posterior``: what the recorded spikes say about the circuit, and how surely.

python -m src.posterior "result/3pop example/data11"
python -m src.posterior --data my.nwb --circuit my.toml --SAVE_DIR result/mine
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from src.inference.fast_filter import has_numba
from src.plots.style import save_figure
from src.posterior.activity import ARCHIVE as ACTIVITY
from src.posterior.activity import infer_activity, save_bands
from src.posterior.check import LnPCheck, check_ln_p
from src.posterior.figures import figures_of
from src.posterior.findings import IN_FINER_BINS, LN_P
from src.posterior.inference_data import FILE as NETCDF
from src.posterior.inference_data import has_arviz, save_inference_data
from src.posterior.likelihood import likelihood_of
from src.posterior.on_cluster import on_cluster
from src.posterior.predictive import ARCHIVE as PREDICTIVE
from src.posterior.predictive import draws_in_finer_bins, predict, save_predictive
from src.posterior.progress import Progress
from src.posterior.result import RECORD, Posterior, load_posterior, save_posterior
from src.posterior.sampler import Sampler
from src.posterior.settings import PosteriorSettings, Question, read_question
from src.posterior.state import CHECKPOINT, load_state, save_state
from src.posterior.summary import Outcome, describe_posterior, outcome_as_dict
from src.posterior.target import Target
from src.runs.checkpoint import sha256, versions_that_differ
from src.runs.record import versions
from src.utils.exceptions import InputError
from src.utils.files import check_can_be_folder
from src.utils.lock import FolderLock
from src.utils.settings import as_dict, names_options, parse, says_how_to_resume
from src.utils.text import duration, wrong_with

DRAWS = 2
"""Raised when the same seed gives other draws than before: then no checkpoint from before goes on."""


def digest(question: Question, settings: PosteriorSettings) -> str:
    """Return a digest of all that decides the draws."""
    numbers = {key: getattr(settings, key) for key in ("seed", "walkers", "sweeps")}
    decides = [question.model.as_dict(), sha256(question.recording), numbers, has_numba(), DRAWS]
    text = json.dumps(decides, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@threadpool_limits.wrap(limits=1, user_api="blas")  # as in a training: the same draws on any number of cores
def sample(question: Question, settings: PosteriorSettings, folder: Path | None = None) -> Posterior:
    """Draw from the posterior; with a folder, go on from its checkpoint, and leave one after every step.

    Parameters
    ----------
    question : Question
    settings : PosteriorSettings
    folder : Path, optional

    Raises
    ------
    InputError
        A number has neither a prior nor finite bounds, or the checkpoint is broken or of another question.
    FitError
        Hardly any circuit between the bounds has the observed rates.
    """
    ln_p, said = likelihood_of(question.model, question.recording)
    if said and folder:
        print(said, flush=True)
    jobs = settings.side_by_side if has_numba() else 1
    with on_cluster(settings.scheduler, question.recording, settings.seed) as elsewhere:
        given = question.model, question.recording, ln_p, settings.seed, jobs, elsewhere
        target = Target(*given, lambda model: likelihood_of(model, question.recording)[0])
        return _sample(Sampler(target, settings.walkers, settings.sweeps), question, settings, folder)


def _sample(sampler: Sampler, question: Question, settings: PosteriorSettings, folder: Path | None) -> Posterior:
    """Take all steps of a sampler, from the checkpoint on."""
    now, before = versions(), 0.0
    asked = digest(question, settings)
    checkpoint = None if folder is None else folder / CHECKPOINT
    if checkpoint and settings.resume and checkpoint.exists():
        state = load_state(checkpoint)
        if state.get("asked") != asked:
            raise InputError(
                f"{checkpoint}: expected one with the same data, circuit and options, got another, or one of an "
                "earlier version of the sampler"
            )
        try:
            other, before = versions_that_differ(state["versions"], now), state["seconds"]
            sampler.restore(state["sampler"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{checkpoint}: expected the state of a sampler, but {wrong_with(error)}") from None
        if other:
            print(other)
    progress, began = Progress(sampler), time.monotonic() - before
    while not sampler.done:
        doing = sampler.doing
        found = sampler.step()
        if checkpoint:
            seconds = time.monotonic() - began
            state = {"asked": asked, "versions": now, "seconds": seconds, "sampler": sampler.state()}
            save_state(checkpoint, state)
            print(progress.say(doing, found), flush=True)
    about = {
        "status": "finished",
        "asked": asked,
        "seconds": round(time.monotonic() - began, 1),
        "evaluations": sampler.target.evaluations,
        "settings": as_dict(settings),
        "recording_sha256": sha256(question.recording),
        "versions": now,
        **sampler.about(),
    }
    return sampler.posterior(about, question.true)


def work_out(
    posterior: Posterior, fits: Mapping[str, np.ndarray], settings: PosteriorSettings
) -> tuple[Outcome, LnPCheck | None]:
    """Return the posterior with the activity, what it predicts, and how likely the spikes are; all that needs numba."""
    if not has_numba():
        return Outcome(posterior), None
    rng, jobs = np.random.default_rng((settings.seed, 999)), settings.side_by_side
    bands = infer_activity(posterior, rng, threads=jobs)
    given: dict[str, Any] = {"seconds": settings.predicted, "threads": jobs}
    predictive = predict(posterior, settings.seed, rng, **given) if settings.predicted else None
    finer = {key: each.tolist() for key, each in draws_in_finer_bins(posterior, settings.seed, jobs)._asdict().items()}
    ln_p = check_ln_p(posterior, fits, rng, threads=jobs)
    posterior = replace(posterior, about=posterior.about | {IN_FINER_BINS: finer, LN_P: ln_p.as_dict()})
    return Outcome(posterior, bands, predictive), ln_p


def finish(posterior: Posterior, question: Question, settings: PosteriorSettings) -> None:
    """Work out and write all that comes of the draws, and print it; the record comes last."""
    folder, fits = question.folder, {run.name: run.X for run in question.runs}
    outcome, ln_p = work_out(posterior, fits, settings)
    posterior = outcome.posterior
    posterior = replace(posterior, about=posterior.about | outcome_as_dict(outcome))
    for name, shown in figures_of(posterior, outcome.bands, outcome.predictive, fits).items():
        save_figure(folder / name, shown.figure)
    if outcome.bands:
        save_bands(folder, outcome.bands)
    if outcome.predictive:
        save_predictive(folder, outcome.predictive)
    if has_arviz():
        save_inference_data(folder, posterior)
    save_posterior(folder, posterior)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    print("\n" + "\n\n".join([describe_posterior(outcome), *([ln_p.in_words()] if ln_p else [])]))
    if not has_arviz():
        print("\nnote: without ArviZ there is no posterior.nc: python -m pip install 'arviz<1' h5netcdf")
    print(f"\nwritten: {folder}, after {duration(posterior.about['seconds'])} of sampling")


@names_options(PosteriorSettings)
@threadpool_limits.wrap(limits=1, user_api="blas")
def main(argv: Sequence[str] | None = None) -> int:
    """Sample, and write ``posterior/`` into the folder of runs."""
    words = "Draw from the posterior of the parameters, given the recorded spikes, with the activity integrated out."
    settings = parse(PosteriorSettings, words, argv)
    question = read_question(settings)
    folder = question.folder
    check_can_be_folder(folder)
    going_on = settings.resume and (folder / CHECKPOINT).exists()  # as after an interrupted --overwrite
    if (folder / RECORD).exists() and not settings.overwrite and not going_on:
        if settings.resume:
            if load_posterior(folder).about.get("asked") != digest(question, settings):
                raise InputError(
                    f"{folder}: expected a posterior of the same data, circuit and options, got another, or one of an "
                    "earlier version of the sampler; --overwrite replaces it"
                )
            print(f"{folder}: finished before; nothing to do")
            return 0
        raise InputError(f"{folder}: holds a posterior already; --overwrite replaces it, --resume leaves it as it is")
    with FolderLock(folder):
        if not settings.resume:
            (folder / CHECKPOINT).unlink(missing_ok=True)
        for line in question.about:
            print(line)
        with says_how_to_resume("python -m src.posterior", argv):
            posterior = sample(question, settings, folder)
        for name in (RECORD, ACTIVITY, PREDICTIVE, NETCDF):  # of an earlier posterior
            (folder / name).unlink(missing_ok=True)
        finish(posterior, question, settings)
    return 0
