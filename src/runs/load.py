"""Finished trainings: found by their ``run.json``, checked, and read back."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from src.helper import from_X
from src.model.containers import Model, Parameters, Recording, window_rate
from src.runs.paths import RECORD, START_FILE
from src.runs.record import FINISHED, RunRecord, no_record
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, load_json, looked_for
from src.utils.text import some

START_ARRAYS = ("observed_spikes", "I_ext")
"""What ``init_param`` must hold of the recording."""


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
    def on_innovations(self) -> bool:
        """Whether it is a fit on innovations, whose loss is no measure of how likely the spikes are."""
        return self.record.settings.get("e_objective") == "innovations"

    @property
    def losses(self) -> np.ndarray:
        """Loss after each M-step, (EM steps,)."""
        return np.array([step.loss_M for step in self.record.history])

    @property
    def history(self) -> np.ndarray:
        """Losses after the M-steps that compare, (EM steps,): NaN for one that was fitted to the spikes alone."""
        losses = self.losses
        if self.on_innovations:
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
    stimulus : array, (M, T), or None
        External input that was known to the fit.
    """

    estimate: np.ndarray
    truth: np.ndarray | None
    spikes: list[np.ndarray]
    time0: float
    trial: int = 0
    n_trials: int = 1
    stimulus: np.ndarray | None = None


def of_recorded(spikes: np.ndarray, recorded: np.ndarray | None) -> list[np.ndarray]:
    """Return the spikes (M, T, n_obs) of each population, without those that `recorded` (M, n_obs) says are none."""
    if recorded is None:
        return list(spikes)
    return [trains[:, there] for trains, there in zip(spikes, recorded, strict=True)]


def recording_of(run: Training) -> Recording:
    """Return the recording that a run was fitted to, from its ``init_param``.

    Raises
    ------
    InputError
        The file is missing or broken, or its arrays do not fit together.
    """
    return _recording_in(load_arrays(run.folder / START_FILE, START_ARRAYS), run)


def _recording_in(arrays: dict[str, np.ndarray], run: Training) -> Recording:
    """Return the recording in the arrays of ``init_param``; InputError if they do not fit together."""
    path, A, M = run.folder / START_FILE, run.model.window_bins, run.model.n_populations
    spikes = arrays["observed_spikes"]
    if spikes.ndim != 4 or spikes.shape[1] != M or spikes.shape[2] <= A or not len(spikes):
        raise InputError(f"{path}: observed_spikes: expected (trials, {M}, more than {A}, neurons), got {spikes.shape}")
    B, _, bins, n_obs = spikes.shape
    T, truth = bins - A, arrays.get("Z_true")
    for name, array in (("I_ext", arrays["I_ext"]), *([] if truth is None else [("Z_true", truth)])):
        if array.shape != (B, M, T):
            raise InputError(f"{path}: {name}: expected {(B, M, T)} like the recorded spikes, got {array.shape}")
    shapes = {"judged": (B, T), "recorded": (M, n_obs), "observed": (B, M, bins, n_obs), "left_out": (B, M, T, n_obs)}
    for name, shape in shapes.items():
        mask = arrays.get(name)
        if mask is not None and (mask.shape != shape or mask.dtype != bool or not mask.any()):
            raise InputError(f"{path}: {name}: expected {shape} of true and false, got {mask.shape} of {mask.dtype}")
    judged, recorded, observed, left_out = (arrays.get(name) for name in shapes)
    names = arrays.get("unit_names")
    if names is not None:
        here = np.True_ if recorded is None else recorded
        if names.shape != (M, n_obs) or names.dtype.kind != "U" or (here & (names == "")).any():
            came = f"{names.dtype} of shape {names.shape}"
            raise InputError(f"{path}: unit_names: expected {(M, n_obs)}, a name for each recorded neuron, got {came}")
    A0 = window_rate(spikes, recorded, run.model, observed)
    return Recording(spikes, arrays["I_ext"], A0, truth, None, judged, recorded, observed, left_out, names)


def initial_rate(run: Run) -> np.ndarray:
    """Return the rates A0, (M,) in Hz, at which the recorded neurons fired in the window of the first trial.

    Raises
    ------
    InputError
        As `recording_of`.
    """
    return recording_of(run).initial_rate[0]


def load_activity(run: Run, which: str = "fit", trial: int = 0) -> Activity:
    """Read the activity of a run: its ``"start"`` or its ``"fit"``, up to the end of the trial.

    Raises
    ------
    InputError
        As `recording_of`, or the file of the activity is missing or broken.
    """
    path, A = run.folder / START_FILE, run.model.window_bins
    found = load_arrays(path, [*START_ARRAYS, "Z_hist_est"] if which == "start" else START_ARRAYS)
    recording = _recording_in(found, run)
    if which == "fit":
        path = run.folder / str(run.record.activity_file)
        found = load_arrays(path, ["Z_hist_est"])
    estimate, spikes = found["Z_hist_est"], recording.observed_spikes
    if estimate.shape != spikes.shape[:3]:
        raise InputError(
            f"{path}: Z_hist_est: expected {spikes.shape[:3]} like the recorded spikes, got {estimate.shape}"
        )
    T, truth = recording.lengths[trial], recording.true_activity
    return Activity(
        estimate=estimate[trial, :, A : A + T],
        truth=None if truth is None else truth[trial, :, :T],
        spikes=of_recorded(spikes[trial, :, A : A + T], recording.recorded),
        time0=A * run.model.dt,
        trial=trial,
        n_trials=len(estimate),
        stimulus=recording.external_input[trial, :, :T],
    )


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
        raise no_record(folder, error) from None
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
    """Return the run that counts, the first of `ranked`."""
    return ranked(runs)[0]


def by_likelihood(runs: Sequence[Run]) -> bool:
    """Tell whether runs are ranked by ln p of the spikes: all are fits on innovations, and all know it."""
    return all(run.on_innovations and run.record.ln_p is not None for run in runs)


def ranked(runs: Sequence[Run]) -> list[Run]:
    """Return the runs, the best first; the first of equals comes first.

    The spikes are most likely under it; or else, as in the published procedure, it has the lowest final loss.
    """
    if by_likelihood(runs):
        return sorted(runs, key=lambda run: -(run.record.ln_p or 0.0))
    return sorted(runs, key=lambda run: run.loss)


def ranked_by(runs: Sequence[Run]) -> str:
    """Say by what."""
    return "the highest ln p(spikes)" if by_likelihood(runs) else "the lowest final loss"


def ln_p_gap(better: Run, worse: Run) -> tuple[float, float]:
    """Return by how much ln p(spikes) of two runs differs, and the Monte Carlo error of that, in nats."""
    error = math.hypot(better.record.ln_p_error or 0.0, worse.record.ln_p_error or 0.0)
    return (better.record.ln_p or 0.0) - (worse.record.ln_p or 0.0), error


def ties_of(runs: Sequence[Run]) -> str:
    """Say which runs are no worse than the best, as far as the Monte Carlo error of ln p can tell; "" if none are."""
    if not by_likelihood(runs):
        return ""
    best, *others = ranked(runs)

    names = []
    for run in others:
        gap, error = ln_p_gap(best, run)
        if gap <= 2 * error:
            names.append(run.name)
    verb = "ties" if len(names) == 1 else "tie"
    return f"{some(names)} {verb} with it: ln p differs by no more than two standard errors." if names else ""
