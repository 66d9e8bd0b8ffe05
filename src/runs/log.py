"""What is known of a training while it runs: its record, the losses of all iterations, the last activity, the time."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from src.helper import from_X
from src.inference.em import Best, Fit, FitObserver
from src.inference.fast_filter import has_numba
from src.inference.laplace import conditional_errors
from src.inference.spike_likelihood import SpikeLikelihood, spike_likelihood
from src.model.containers import Model, Recording
from src.runs.checkpoint import State, sha256
from src.runs.findings import findings
from src.runs.paths import activity_file, parameters_file
from src.runs.record import FINISHED, EMStep, RunRecord, finite_or_none
from src.runs.settings import FitSettings
from src.statistics.smoothing import SMOOTHING, correlation, smooth


class RunLog(FitObserver):
    """Keeps the record of a training, from what it hears.

    Parameters
    ----------
    recording : Recording
    model : Model
    settings : FitSettings

    Attributes
    ----------
    record : RunRecord
    E_history : list of (int, float, float)
        EM step, loss_y and loss_Z of every iteration of the E-steps.
    activity : array, (B, M, A+T)
        The last one that an E-step found, or the start.
    at : tuple of int
        EM step and iteration in which it was found.
    """

    def __init__(self, recording: Recording, model: Model, settings: FitSettings) -> None:
        self.recording, self.model = recording, model
        self.record = RunRecord.begin(recording, model, settings, sha256(recording))
        self.E_history: list[tuple[int, float, float]] = []
        self.activity = self.started_from = np.empty(0)
        self.at, self.E_losses, self.ln_p = (0, 0), (np.nan, np.nan), np.nan
        self.began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time since the training began, in s; interruptions do not count."""
        return time.perf_counter() - self.began

    def E_losses_so_far(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return EM step, loss_y and loss_Z of every iteration of the E-steps, each (iterations,)."""
        EMsteps, loss_y, loss_Z = map(np.array, zip(*self.E_history, strict=True))
        return EMsteps, loss_y, loss_Z

    def start(self, X: np.ndarray, activity: np.ndarray) -> None:
        """Take the start: X, (n,), and the activity, (B, M, A+T)."""
        self.started_from = activity
        self.record = self.record.changed(start=tuple(X.tolist()))
        self.E_step(0, 0, activity, (np.nan, np.nan))

    def M_step(self, EMstep: int, X: np.ndarray, loss: float, iterations: int) -> None:
        """Take the result of an M-step: X, (n,), its loss, and iterations of the optimiser."""
        tried = sum(row[0] == EMstep for row in self.E_history)
        loss_y, loss_Z = self.E_losses if EMstep else (None, None)
        seconds, reached = self.seconds, float(loss)
        ln_p = self.ln_p if np.isfinite(self.ln_p) else None
        step = EMStep(EMstep, max(tried - 1, 0), int(iterations), reached, loss_y, loss_Z, ln_p, round(seconds, 2))
        self.record = self.record.changed(
            history=(*self.record.history, step),
            X=tuple(X.tolist()),
            loss=reached,
            parameters_file=parameters_file(EMstep),
            seconds=seconds,
        )

    def E_log(self, EMstep: int, iteration: int, losses: Sequence[float] | np.ndarray, activity: Any) -> None:
        """Take an iteration of an E-step: both parts of its loss."""
        self.E_history.append((EMstep, float(losses[0]), float(losses[1])))

    def E_step(self, EMstep: int, iterations: int, activity: np.ndarray, losses: Sequence[float] | np.ndarray) -> None:
        """Take the result of an E-step: the activity, (B, M, A+T), after so many iterations, and both losses."""
        self.activity, self.at, self.E_losses = activity, (EMstep, iterations), (float(losses[0]), float(losses[1]))
        self.record = self.record.changed(activity_file=activity_file(EMstep))

    def likelihood(self, EMstep: int, ln_p: float, error: float) -> None:
        """Take ln p of the recorded spikes at the parameters of an E-step."""
        self.ln_p = ln_p

    def settle(self, best: Best) -> None:
        """Take the result of the fit, where it is not the last one."""
        self.activity, self.at = best.activity, (best.EMstep + 1, best.iterations)
        self.record = self.record.changed(
            X=tuple(best.X.tolist()),
            loss=best.loss,
            parameters_file=parameters_file(best.EMstep),
            activity_file=activity_file(best.EMstep + 1),
        )
        self._take_likelihood(SpikeLikelihood(best.ln_p, best.ln_p_error))

    def finish(self, fit: Fit) -> None:
        """Take the result, compare it with what is true, and say what is odd about it."""
        A, truth = self.model.window_bins, self.recording.true_activity
        estimate, found = self.activity[..., A:], None
        if truth is not None:
            found = correlations(truth, self.started_from[..., A:], estimate, self.model.dt)
        given = np.array(self.record.X), estimate, self.recording, self.model
        # The published fit's decides nothing, and costs ten seconds without numba.
        if self.record.ln_p is None and has_numba():
            self._take_likelihood(spike_likelihood(self.model, self.recording)(from_X(fit.X, self.model)))
        errors, odd = finite_or_none(conditional_errors(*given)), tuple(findings(*given))
        self.record = self.record.changed(correlation=found, conditional_errors=errors, findings=odd)
        self.end(FINISHED, fit.ended)

    def _take_likelihood(self, found: SpikeLikelihood) -> None:
        ln_p, error = finite_or_none(found)
        self.record = self.record.changed(ln_p=ln_p, ln_p_error=error)

    def end(self, status: str, ended: str) -> None:
        """Take how the training ended, and why."""
        self.record = self.record.changed(status=status, ended=ended, seconds=self.seconds)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of it, besides record and history."""
        return {"E_result": self.E_losses, "at": self.at, "ln_p": self.ln_p}

    def go_on(self, state: State) -> None:
        """Take what a checkpoint held."""
        self.record = state.record
        self.began = time.perf_counter() - state.record.seconds
        self.E_history = [(int(EMstep), loss_y, loss_Z) for EMstep, loss_y, loss_Z in state.E_history.tolist()]
        self.E_losses, self.at = tuple(state.arrays["E_result"].tolist()), tuple(state.arrays["at"].tolist())
        self.activity, self.ln_p = state.arrays["activity"], float(state.arrays["ln_p"])


def correlations(truth: np.ndarray, start: np.ndarray, fit: np.ndarray, dt: float) -> dict[str, Any]:
    """Correlate two estimates of the activity with the truth, all (B, M, T), per population: in bins, and smoothed.

    Returns
    -------
    dict of str to tuple of float or None, (M,)
        None stands for the correlation with an estimate that does not change.
    """
    results = {}
    for name, estimate in (("start", start), ("fit", fit)):
        for suffix, width in (("", 0.0), ("_20ms", SMOOTHING)):
            pairs = zip(*(np.moveaxis(smooth(each, dt, width), 1, 0) for each in (truth, estimate)), strict=True)
            results[name + suffix] = finite_or_none([correlation(a.ravel(), b.ravel()) for a, b in pairs])
    return results
