"""The folder that a training leaves behind: an archive of every intermediate result, figures, and ``run.json``."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from src.helper import from_X
from src.inference.em import ActivityStep, Best, Fit, FitObserver
from src.model.containers import MASKS, Model, Parameters, Recording
from src.model.flat_order import INPUT_GAIN
from src.runs import checkpoint
from src.runs.findings import in_words
from src.runs.listeners import ActivityFigures, LossFigure, ProgressLines
from src.runs.log import RunLog
from src.runs.paths import CHECKPOINT, RECORD, START_FILE, activity_file, parameters_file
from src.runs.record import FINISHED, RUNNING, status_in, versions
from src.runs.settings import FitSettings
from src.runs.tables import parameter_table
from src.utils.exceptions import InputError
from src.utils.files import save_arrays
from src.utils.lock import FolderLock

PARTS = ".*.part"
"""What a killed training left half-written."""
FITTED = (START_FILE, "minimizor_result_*", "E*_est_param", "E_*_*.png", "Eloss", "Eloss.png", RECORD, PARTS)
OF_THE_FIT = ("heldout*.csv", "heldout*.json", "check.json", "check.png")
"""What was found out about a fit: one that is replaced takes it along."""
OURS = (*FITTED, CHECKPOINT, *OF_THE_FIT)


class RunFolder(FitObserver):
    """Writes down every step of a training, and hands it on to those who draw and print.

    Use it as a context: leaving it by an exception writes down how the training ended.

    Parameters
    ----------
    folder : path
    recording : Recording
    model : Model
    settings : FitSettings
        `overwrite` replaces an earlier finished training, `resume` goes on from the checkpoint in the folder.
    listeners : sequence of FitObserver
        Hear of every step as well, before the result is written down.

    Raises
    ------
    InputError
        The folder is in use, holds a finished training or the checkpoint of another one, or cannot be a folder.
    """

    def __init__(
        self,
        folder: Path,
        recording: Recording,
        model: Model,
        settings: FitSettings,
        listeners: Sequence[FitObserver] = (),
    ) -> None:
        self._lock = FolderLock(folder)  # now: a fit that cannot be saved is not worth waiting for
        try:
            if not settings.overwrite and status_in(folder) == FINISHED:
                raise InputError(f"{folder}: holds a finished training; give --overwrite to replace it")
            self.folder, self.log = folder, RunLog(recording, model, settings)
            self.resumed = checkpoint.read_checkpoint(folder, self.log.record) if settings.resume else None
        except BaseException:
            self._lock.release()
            raise
        self.listeners = [
            ActivityFigures(folder, self.log, settings),
            LossFigure(folder, self.log, settings),
            ProgressLines(self.log),
            *listeners,
        ]
        if settings.resume and self.resumed is None:
            print(f"note: no checkpoint in {folder}, the training starts from the beginning")

    # --- what a training reports ------------------------------------------------------------------------------------

    def start(self, X: np.ndarray, activity: np.ndarray) -> None:
        """Write the start. Results of an earlier training go, unless it goes on."""
        for path in [path for pattern in ((PARTS,) if self.resumed else OURS) for path in self.folder.glob(pattern)]:
            path.unlink()
        self.log.start(X, activity)
        if self.resumed:
            return
        self.log.record.save(self.folder)
        recording = self.log.recording
        data = {"observed_spikes": recording.observed_spikes, "I_ext": recording.external_input}
        partly = {"Z_true": recording.true_activity, "unit_names": recording.unit_names}
        partly |= {name: getattr(recording, name) for name in MASKS}
        data |= {name: array for name, array in partly.items() if array is not None}
        self._save(START_FILE, X=X, Z_hist_est=activity, **_named(from_X(X, self.log.model)), **data)
        self._save_activity(0, activity)
        for listener in self.listeners:
            listener.start(X, activity)

    def restore(
        self, E_step: ActivityStep, X: np.ndarray, activity: np.ndarray, loss: float
    ) -> tuple[int, np.ndarray, np.ndarray, float]:
        """Return the state of EM in the checkpoint, if there is one; E-step and record go on from there, too."""
        if self.resumed is None:
            return 0, X, activity, loss
        known, began = self.resumed.arrays, self.resumed.record.versions
        self.log.go_on(self.resumed)
        start = len(checkpoint.MEMORY)
        E_step.memory = {key[start:]: value for key, value in known.items() if key.startswith(checkpoint.MEMORY)}
        half_steps, seconds = self.resumed.half_steps, self.log.record.seconds
        print(f"goes on after {'M' if half_steps % 2 else 'E'}-step {half_steps // 2}, at {seconds:.1f} s", flush=True)
        if other := checkpoint.versions_that_differ(began, versions()):
            print(other)
        self.log.record.save(self.folder)
        return half_steps, known["X"], known["activity"], known["loss"].item()

    def M_step(self, EMstep: int, X: np.ndarray, loss: float, iterations: int) -> None:
        """Write the result of an M-step."""
        parameters = _named(from_X(X, self.log.model))
        self._save(parameters_file(EMstep), X=X, loss_last=loss, n_iterations=iterations, **parameters)
        self.log.M_step(EMstep, X, loss, iterations)
        self.log.record.save(self.folder)
        for listener in self.listeners:
            listener.M_step(EMstep, X, loss, iterations)

    def E_log(self, EMstep: int, iteration: int, losses: Sequence[float] | np.ndarray, activity: Any) -> None:
        """Hand on an iteration of an E-step."""
        for observer in (self.log, *self.listeners):
            observer.E_log(EMstep, iteration, losses, activity)

    def E_step(self, EMstep: int, iterations: int, activity: np.ndarray, losses: Sequence[float] | np.ndarray) -> None:
        """Write the result of an E-step."""
        self.log.E_step(EMstep, iterations, activity, losses)
        self._save_activity(EMstep, activity)
        for listener in self.listeners:
            listener.E_step(EMstep, iterations, activity, losses)

    def likelihood(self, EMstep: int, ln_p: float, error: float) -> None:
        """Hand on ln p of the recorded spikes."""
        self.log.likelihood(EMstep, ln_p, error)

    def checkpoint(
        self, half_steps: int, E_step: ActivityStep, X: np.ndarray, activity: np.ndarray, loss: float
    ) -> None:
        """Write down all that EM needs to go on."""
        record = self.log.record.changed(seconds=self.log.seconds)
        memory = {checkpoint.MEMORY + name: value for name, value in E_step.memory.items()}
        arrays = {"X": X, "activity": activity, "loss": loss, **self.log.state(), **memory}
        checkpoint.write(self.folder, half_steps, record, self.log.E_history, arrays)

    def settle(self, best: Best) -> None:
        """Write down that this is the result, and not the last iteration."""
        self.log.settle(best)
        self.log.record.save(self.folder)

    def finish(self, fit: Fit) -> None:
        """Write down that the training has finished, and with what."""
        if self.log.E_history:
            EMsteps, loss_y, loss_Z = self.log.E_losses_so_far()
            self._save("Eloss", EMstep=EMsteps, loss_y=loss_y, loss_Z=loss_Z)
        for listener in self.listeners:
            listener.finish(fit)
        self.log.finish(fit)
        self.log.record.save(self.folder)
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    # --- words ------------------------------------------------------------------------------------------------------

    def table(self) -> str:
        """Return the table of the fitted numbers."""
        record = self.log.record
        start, X, lower, upper = (np.array(part) for part in (record.start, record.X, record.lower, record.upper))
        true = None if record.true is None else np.array(record.true, float)
        errors = None if record.conditional_errors is None else np.array(record.conditional_errors, float)
        return parameter_table(record.parameter_names, start, X, lower, upper, true, errors)

    def outcome(self) -> list[str]:
        """Return what the user should know about the fit, and how it ended."""
        record = self.log.record
        units = dict(zip(self.log.model.fitted.names, self.log.model.fitted.units, strict=True))
        said = [in_words(each, each.subject, units.get(each.subject, "")) for each in record.findings]
        return [*said, f"{self.folder}: {record.ended}, loss {record.loss:.5f}, {record.seconds:.0f} s"]

    # --- files ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is not None and self.log.record.status == RUNNING:
                interrupted = isinstance(error, KeyboardInterrupt)
                ended = "by the user" if interrupted else str(error) or type(error).__name__
                self.log.end("interrupted" if interrupted else "failed", ended)
                self.log.record.save(self.folder)
        finally:
            self._lock.release()

    def _save_activity(self, EMstep: int, activity: np.ndarray) -> None:
        loss_y, loss_Z = self.log.E_losses
        self._save(activity_file(EMstep), Z_hist_est=activity, loss_last=loss_y + loss_Z, loss_y=loss_y, loss_Z=loss_Z)

    def _save(self, name: str, **arrays: Any) -> None:
        save_arrays(self.folder / name, **arrays)


def _named(parameters: Parameters) -> dict[str, np.ndarray]:
    """Return the parameters by their published names."""
    return dict(zip(("amem", "J", "rp", "ft", INPUT_GAIN), parameters.parts().values(), strict=False))
