"""How well a fit predicts units that its activity was not inferred from (co-smoothing), in bits per spike.

Of every unit, or every fold of units, in turn: the activity of all populations is inferred from the other units, as the
mode over the innovations (see `src.inference.innovations`). The spikes that were left out are scored given it, in

    bits per spike = (ln p(spikes | model) - ln p(spikes | constant rate)) / (number of spikes ln 2).

The constant rate is the mean rate of the unit in the bins that are scored. Nothing of the unit is left to train on, and
a better constant there is not; the model does not get to know it.

There are two p(spikes | model):

- *with own past*, the recorded part of the likelihood, `src.fast_np.fast_lossy`: at every bin, the unit's own spikes
  before it are known, hence its refractoriness. Regular firing is rewarded, as by a model of the unit alone.
- *from the others*: the unit fires in a bin with the inferred fraction of its population that does, for neurons of a
  population are exchangeable. Its own past enters nowhere: this is the score of co-smoothing in the usual sense.

The mode stands for the distribution of the activity, also in the second score, where bins are taken as independent.
What simple models make of the same spikes stands beside both: `src.evaluation.rivals`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from src.data.holdout import only, scored_bins, spikes_of, units_of, without
from src.data.options import DataOptions
from src.data.read import read_recording
from src.evaluation.duels import rivals_of_scores
from src.evaluation.rivals import beside_units
from src.evaluation.scores import Score, ln_p_bins, save_scores, score_of, scores_table
from src.fast_np import fast_lossy
from src.helper import from_X, init_model
from src.inference.em import FitObserver, Train
from src.model.containers import ACTIVITY_RANGE, Model, Recording
from src.runs.load import Run, load_run, recording_of
from src.runs.memory import check_memory
from src.runs.paths import FOLDER
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from src.utils.jobs import Where, results_of, run_jobs
from src.utils.quiet import import_quietly, use_tensorflow
from src.utils.settings import check_settings, names_options, option, parse

ITERATIONS = 2000
"""Most of an E-step. It starts from the smoothed spikes and needs a few hundred."""
OF_THE_RUN = "of the run, which was fitted to all units of its recording"
REFITTED = "fitted again for every fold, without its units"


@dataclass(frozen=True)
class CoSmoothingSettings(Where, DataOptions):
    """Options of the command; those of the data stand in `src.data.read` and go with --data."""

    run: str = option(f"{FOLDER}/train1", "folder of a finished training", positional=True)
    folds: int | None = option(
        None, "units are left out in so many groups; without it each alone, which takes longer", at_least=2
    )
    refit: bool = option(
        False,
        "fit the parameters again for every fold, without its units; otherwise they are those of the run, which has "
        "seen all units of its recording",
    )


# --- what is left out ------------------------------------------------------------------------------------------------


def deal(units: Sequence[tuple[int, int]], folds: int | None) -> list[list[tuple[int, int]]]:
    """Return which units each fold leaves out: neighbours go to different folds, so that no population loses many.

    Raises
    ------
    InputError
        There are fewer units than folds, or a single one.
    """
    if len(units) < 2:
        raise InputError(f"recording: expected two recorded units or more, to leave one out, got {len(units)}")
    folds = len(units) if folds is None else folds
    if folds > len(units):
        raise InputError(f"folds: expected at most {len(units)}, the recorded units, got {folds}")
    return [list(units[fold::folds]) for fold in range(folds)]


# --- scores ----------------------------------------------------------------------------------------------------------


@threadpool_limits.wrap(limits=1, user_api="blas")  # as in a training
def infer(X: np.ndarray, recording: Recording, model: Model, settings: FitSettings) -> tuple[np.ndarray, Recording]:
    """Return the mode over the innovations, (B, M, T), and the recording with the rates A0 that it starts from.

    Parameters
    ----------
    X : array, (n,)
        Fitted numbers.
    recording : Recording
        Of the units that may be used.
    model : Model
    settings : FitSettings
        Give the smoothing of the start, and the batches.
    """
    innovations = import_quietly("src.inference.innovations")
    width, rng = settings.sampled_spike_history_smoothed_w, np.random.default_rng(0)  # of the start of X, not used
    _, start = init_model(recording, model, rng, width=width)
    start, recording = innovations.start_from(start, recording, model, width)
    E_step = innovations.InnovationEStep(recording, model, replace(settings, E_draws=0, Emaxiters=ITERATIONS), rng)
    return E_step.estimate(X, start[..., model.window_bins :], 1, FitObserver()).mode, recording


def score(
    unit: tuple[int, int], fold: int, X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model
) -> Score:
    """Score a unit of the recording, given an activity (B, M, T) and, in the recording, the rates A0 before it."""
    own, judged = only(recording, [unit]), scored_bins(recording, unit)
    spikes = spikes_of(recording, unit, judged, model)
    loss = fast_lossy(from_X(X, model), activity, own, model).value  # per population and judged bin
    others = np.clip(activity[:, unit[0]][judged], ACTIVITY_RANGE[0], 1 - ACTIVITY_RANGE[0])  # nothing is certain
    ln_p = {"from the others": ln_p_bins(spikes, others), "with own past": -loss * model.n_populations * own.n_judged}
    return score_of(unit, fold, spikes, ln_p, recording, model)


def score_units(
    units: Sequence[tuple[int, int]],
    fold: int,
    X: np.ndarray,
    others: Recording,
    whole: Recording,
    model: Model,
    settings: FitSettings,
) -> list[Score]:
    """Score units of a whole recording, given the activity that is inferred from that of the others."""
    activity, others = infer(X, others, model, settings)
    whole = replace(whole, initial_rate=others.initial_rate)
    return [score(unit, fold, X, activity, whole, model) for unit in units]


def co_smooth(
    recording: Recording,
    model: Model,
    settings: FitSettings,
    X_without: Callable[[int, Recording], np.ndarray],
    folds: int | None = None,
) -> list[Score]:
    """Leave out units, infer the activity from the others, score what was left out.

    Parameters
    ----------
    recording : Recording
    model : Model
    settings : FitSettings
        As in `infer`.
    X_without : callable
        Gives the fitted numbers to be used, from the number of the fold and the recording of the other units.
    folds : int or None
        Number of groups in which the units are left out; None for each alone.

    Returns
    -------
    list of Score
        In the order of the units.
    """
    units = units_of(recording)
    scores: dict[tuple[int, int], Score] = {}
    for fold, left_out in enumerate(deal(units, folds)):
        others = without(recording, left_out, model)
        found = score_units(left_out, fold, X_without(fold, others), others, recording, model, settings)
        scores |= dict(zip(left_out, found, strict=True))
    return [scores[unit] for unit in units]


# --- the run ---------------------------------------------------------------------------------------------------------


def settings_of(run: Run) -> FitSettings:
    """Return the options that a run was made with; those it does not say, or that are gone, by default."""
    known = {field.name for field in fields(FitSettings)}
    settings = FitSettings(**{name: value for name, value in run.record.settings.items() if name in known})
    check_settings(settings)
    return settings


def scored_recording(options: CoSmoothingSettings, run: Run) -> Recording:
    """Return the recording to score: that of the run, or --data.

    Raises
    ------
    InputError
        It cannot be read, or an option of the data came without --data.
    """
    if options.data is not None:
        options = replace(options, labels=options.labels or settings_of(run).labels)
        recording, lines = read_recording(options, run.model)
        print(*lines, sep="\n")
        return recording
    for field in fields(DataOptions):
        if getattr(options, field.name) != field.default:
            raise InputError(f"{field.name}: goes with --data; without it the recording of the run is scored")
    return recording_of(run)


def _refitted(
    train: Train, recording: Recording, model: Model, settings: FitSettings, options: CoSmoothingSettings
) -> list[np.ndarray]:
    """Return the numbers (n,) of every fold, fitted without its units; folds go side by side.

    Raises
    ------
    FitError
        A fit failed.
    """
    jobs = [(without(recording, fold, model), model, settings) for fold in deal(units_of(recording), options.folds)]
    names = [f"fold {k}" for k in range(1, len(jobs) + 1)]

    return results_of(run_jobs(partial(_refit, train), jobs, names, options), names)


def _refit(train: Train, job: tuple[Recording, Model, FitSettings]) -> np.ndarray:
    use_tensorflow(job[2].threads)
    return train(*job).X


@names_options(CoSmoothingSettings)
def main(train: Train, argv: Sequence[str] | None = None) -> None:
    """Score the units of a run; print the table, and write it beside the run. `train` is what --refit fits by."""
    options = parse(CoSmoothingSettings, (__doc__ or "").splitlines()[0], argv)
    run = load_run(options.run)
    settings, recording = settings_of(run), scored_recording(options, run)
    check_memory(recording, run.model, settings)
    deal(units_of(recording), options.folds)  # before anything takes time
    use_tensorflow(settings.threads)

    X = _refitted(train, recording, run.model, settings, options) if options.refit else None
    fitted = (lambda fold, others: X[fold]) if X is not None else (lambda fold, others: run.X)
    scores = co_smooth(recording, run.model, settings, fitted, options.folds)
    scores = beside_units(scores, deal(units_of(recording), options.folds), recording, run.model, options.refit)
    parameters = REFITTED if options.refit else OF_THE_RUN
    print(scores_table(scores))
    print(f"Parameters: {parameters}.")
    print("", rivals_of_scores(scores), sep="\n")
    name = "heldout" if options.data is None else f"heldout_on_{Path(options.data).stem}"
    save_scores(run.folder / name, scores, parameters, asdict(options))
    print(f"\nwritten: {run.folder / name}.csv, {run.folder / name}.json")
