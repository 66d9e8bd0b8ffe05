"""Finished trainings: found by their ``run.json``, checked, and read back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from src.helper import from_X
from src.model.containers import Model, Parameters, Recording, mean_of_recorded
from src.runs.paths import RECORD
from src.runs.record import FINISHED, RunRecord
from src.utils.files import load_arrays, load_json, looked_for
from src.utils.settings import InputError


@dataclass(frozen=True)
class Training:
    """A training, finished or not.

    Parameters
    ----------
    folder : Path
        Its folder.
    name : str
        Name of that folder.
    model : Model
        What was known about the circuit.
    record : RunRecord
        The whole of ``run.json``.
    """

    folder: Path
    name: str
    model: Model
    record: RunRecord


@dataclass(frozen=True)
class Run(Training):
    """A finished training.

    Parameters
    ----------
    folder, name, model, record
        See `Training`.
    names : tuple of str, (n,)
        Of the fitted numbers.
    X, start, lower, upper : array, (n,)
        Fitted numbers, where they started, and their bounds.
    true : array, (n,) or None
        True numbers where the data set knows them; NaN for one that stands for parameters that are not tied there.
    loss : float
        Final loss of the M-step, nats per population and bin.
    """

    names: tuple[str, ...]
    X: np.ndarray
    start: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    true: np.ndarray | None
    loss: float

    @property
    def parameters(self) -> Parameters:
        """The fitted parameters."""
        return from_X(self.X, self.model)

    @property
    def losses(self) -> np.ndarray:
        """Loss after each M-step, (EM steps,)."""
        return np.array([step.loss_M for step in self.record.history])

    @property
    def history(self) -> np.ndarray:
        """Losses after the M-steps that compare, (EM steps,): NaN for one that was fitted to the spikes alone."""
        losses = self.losses
        if self.record.settings.get("e_objective") == "innovations":
            losses[0] = np.nan
        return losses

    def correlation(self, which: str) -> np.ndarray:
        """Correlation of estimated and true activity, (M,): `which` as in ``run.json``; NaN where it is unknown."""
        known = (self.record.correlation or {}).get(which)
        return np.full(self.model.n_populations, np.nan) if known is None else np.array(known, float)


@dataclass(frozen=True)
class Activity:
    """The activity that a run started from or inferred, over the fitted bins of one trial.

    Parameters
    ----------
    estimate : array, (M, T)
        Fraction of each population that fired.
    truth : array, (M, T) or None
        Where the data set knows it.
    spikes : list of array, (T, n_obs), 0/1
        Of the recorded neurons of each population.
    time0 : float, s
        Where the first fitted bin begins.
    trial, n_trials : int
        Which trial it is, counted from 0, and of how many.
    """

    estimate: np.ndarray
    truth: np.ndarray | None
    spikes: list[np.ndarray]
    time0: float
    trial: int = 0
    n_trials: int = 1


def of_recorded(spikes: np.ndarray, recorded: np.ndarray | None) -> list[np.ndarray]:
    """Return the spikes (M, T, n_obs) of each population, without those that `recorded` (M, n_obs) says are none."""
    if recorded is None:
        return list(spikes)
    return [trains[:, there] for trains, there in zip(spikes, recorded, strict=True)]


def mask_of(run: Training, arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return what a run left out of its data, None for nothing."""
    mask = arrays.get(name)
    if mask is not None and (mask.shape != shape or mask.dtype != bool or not mask.any()):
        path = run.folder / "init_param"
        raise InputError(f"{path}: {name}: expected {shape} of true and false, got {mask.shape} of {mask.dtype}")
    return mask


def load_activity(run: Run, which: str = "fit", trial: int = 0) -> Activity:
    """Read the activity of a run: its ``"start"`` or its ``"fit"``, up to the end of the trial.

    Raises
    ------
    InputError
        A file is missing or broken, or its arrays do not fit together.
    """
    path = run.folder / "init_param"
    begin = load_arrays(path, ["Z_hist_est", "observed_spikes"])
    found = begin
    if which == "fit":
        path = run.folder / str(run.record.activity_file)
        found = load_arrays(path, ["Z_hist_est"])
    A, M = run.model.window_bins, run.model.n_populations
    estimate, spikes = found["Z_hist_est"], begin["observed_spikes"]
    if estimate.ndim != 3 or estimate.shape[1] != M or estimate.shape[2] <= A or spikes.shape[:3] != estimate.shape:
        raise InputError(
            f"{path}: Z_hist_est: expected (trials, {M}, more than {A}) like the recorded spikes "
            f"{spikes.shape[:3]}, got {estimate.shape}"
        )
    truth = begin.get("Z_true")
    if truth is not None and truth.shape != estimate[..., A:].shape:
        raise InputError(f"{run.folder / 'init_param'}: Z_true: expected {estimate[..., A:].shape}, got {truth.shape}")
    judged = mask_of(run, begin, "judged", (len(estimate), estimate.shape[2] - A))
    recorded = mask_of(run, begin, "recorded", (M, spikes.shape[-1]))
    T = estimate.shape[2] - A if judged is None else int(np.flatnonzero(judged[trial]).max(initial=0)) + 1
    return Activity(
        estimate=estimate[trial, :, A : A + T],
        truth=None if truth is None else truth[trial, :, :T],
        spikes=of_recorded(spikes[trial, :, A : A + T], recorded),
        time0=A * run.model.dt,
        trial=trial,
        n_trials=len(estimate),
    )


def initial_rate(run: Run) -> np.ndarray:
    """Return the rates A0, (M,) in Hz, at which the recorded neurons fired in the window of the first trial.

    Raises
    ------
    InputError
        The file that the run started from is missing or broken.
    """
    path = run.folder / "init_param"
    arrays = load_arrays(path, ["observed_spikes"])
    spikes = arrays["observed_spikes"]
    if spikes.ndim != 4 or spikes.shape[1] != run.model.n_populations:
        raise InputError(f"{path}: observed_spikes: expected (trials, populations, bins, neurons), got {spikes.shape}")
    recorded = mask_of(run, arrays, "recorded", spikes.shape[1::2])
    window = mean_of_recorded(spikes[:1, :, : run.model.window_bins], recorded)
    return window[0].mean(axis=-1) / run.model.dt


def recording_of(run: Run) -> Recording:
    """Return the recording that a run was fitted to, without what is true of it.

    Raises
    ------
    InputError
        The file that the run started from is missing or broken.
    """
    path, A, M = run.folder / "init_param", run.model.window_bins, run.model.n_populations
    arrays = load_arrays(path, ["observed_spikes", "I_ext"])
    spikes, given = arrays["observed_spikes"], arrays["I_ext"]
    bins = given.shape[-1] if given.ndim == 3 else 0
    if spikes.ndim != 4 or bins == 0 or spikes.shape[:3] != (len(given), M, A + bins) or given.shape[1] != M:
        raise InputError(
            f"{path}: expected observed_spikes (trials, {M}, {A} + bins, neurons) and I_ext (trials, {M}, bins), got "
            f"{spikes.shape} and {given.shape}"
        )
    judged = mask_of(run, arrays, "judged", (len(given), bins))
    recorded = mask_of(run, arrays, "recorded", (M, spikes.shape[-1]))
    window = mean_of_recorded(spikes[:, :, :A], recorded)
    return Recording(spikes, given, window.mean(axis=-1) / run.model.dt, judged=judged, recorded=recorded)


def load_run(folder: str | Path) -> Run:
    """Read and check one finished training.

    Raises
    ------
    InputError
        The training did not finish, or a file is missing, broken or contradicts another one.
    """
    folder = Path(folder)
    status = load_json(folder / RECORD)
    if status.get("status") != FINISHED:
        ended = " ".join(str(status.get("ended") or "").split())  # an exception's words can fill several lines
        raise InputError(f"{folder}: not finished: {status.get('status')}" + (f" ({ended})" if ended else ""))
    record = RunRecord.load(folder)
    try:
        model = Model.from_dict(record.model)
        record.check_finished(model)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{folder / RECORD}: expected the record of a training, but {what}") from None
    path = folder / str(record.parameters_file)
    kept, X = load_arrays(path, ["X"])["X"], np.array(record.X)
    if kept.shape != X.shape or not np.allclose(kept, X, rtol=1e-6, atol=0):
        raise InputError(f"{path}: expected the fitted numbers that stand in {RECORD}, got others")
    return Run(
        folder=folder,
        name=folder.name,
        model=model,
        names=record.parameter_names,
        X=X,
        start=np.array(record.start),
        lower=np.array(record.lower),
        upper=np.array(record.upper),
        true=None if record.true is None else np.array(record.true, float),
        loss=float(record.loss or 0.0),
        record=record,
    )


def load_runs(folder: str | Path, or_none: bool = False) -> tuple[list[Run], list[str]]:
    """Read all finished trainings in a folder and in the folders below it, in the order of their names.

    Parameters
    ----------
    folder : path
    or_none : bool
        Whether there may be none.

    Returns
    -------
    runs : list of Run
    skipped : list of str
        One line for each training that did not finish or whose files are broken.

    Raises
    ------
    InputError
        The folder does not exist, or holds no finished training.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: expected a folder of trainings, found "
            f"{'a file' if folder.exists() else 'nothing'}{looked_for(folder)}"
        )
    runs: list[Run] = []
    skipped = []
    for path in find_records(folder):
        try:
            run = load_run(path.parent)
            if runs and run.names != runs[0].names:
                raise InputError(f"{path.parent}: other parameters than {runs[0].folder}")
            inside = path.parent.relative_to(folder)
            runs.append(replace(run, name=str(inside)) if inside.parts else run)
        except InputError as error:
            skipped.append(str(error))
    if not runs and not or_none:
        raise none_finished(folder, skipped)
    return runs, skipped


def none_finished(folder: str | Path, skipped: Sequence[str]) -> InputError:
    """Return the error about a folder without a finished training: `skipped` says of each why it is none."""
    reasons = f"; skipped {'; '.join(skipped)}" if skipped else f" (no {RECORD} in it)"
    return InputError(f"{folder}: expected at least one finished training, found none{reasons}")


def find_records(folder: str | Path) -> list[Path]:
    """Return the ``run.json`` of all trainings in a folder and in the folders below it, in the order of their names."""
    return sorted(Path(folder).rglob(RECORD), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key that puts ``train2`` before ``train10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def best_run(runs: Sequence[Run]) -> Run:
    """Return the run with the lowest final loss; the first of equals."""
    return min(runs, key=lambda run: run.loss)
