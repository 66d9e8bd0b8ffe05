"""Who else hears of a training that is written to a folder: its figures, and the lines that it prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.inference.em import Fit, FitObserver
from src.plots.figures import activity_figure, loss_figure
from src.plots.style import save_figure
from src.runs.load import of_recorded
from src.runs.log import RunLog
from src.runs.settings import FitSettings


class ProgressLines(FitObserver):
    """Prints a line for each EM iteration."""

    def __init__(self, log: RunLog) -> None:
        self.log = log

    def M_step(self, EMstep: int, X: np.ndarray, loss: float, iterations: int) -> None:
        """Print how the E-step and the M-step of an iteration went."""
        step = self.log.record.history[-1]
        E_part = "start of the activity"
        if EMstep:
            E_part = f"E-step {step.E_steps:3d} steps, loss {sum(self.log.E_losses):.5f}"
            E_part += "" if step.ln_p is None else f", ln p(spikes) {step.ln_p:.1f}"
        M_part = f"M-step {iterations:3d} iterations, loss {loss:.5f}"
        print(f"EM {EMstep:2d}: {E_part:<33} {M_part}; {self.log.record.seconds:5.1f} s", flush=True)


class ActivityFigures(FitObserver):
    """Saves figures of the activity of the first trial: the start, every `LOG_PER` iterations, and the end."""

    def __init__(self, folder: Path, log: RunLog, settings: FitSettings) -> None:
        self.folder, self.log, self.settings = folder, log, settings

    def start(self, X: np.ndarray, activity: np.ndarray) -> None:
        """Draw the start of the activity, (B, M, A+T)."""
        self.draw(0, 0, activity[..., self.log.model.window_bins :])

    def E_log(self, EMstep: int, iteration: int, losses: Sequence[float] | np.ndarray, activity: Any) -> None:
        """Draw the activity, (B, M, T), every so many iterations."""
        if iteration and iteration % self.settings.LOG_PER == 0:
            self.draw(EMstep, iteration, np.asarray(activity))

    def finish(self, fit: Fit) -> None:
        """Draw the activity that was found."""
        self.draw(*self.log.at, self.log.activity[..., self.log.model.window_bins :])

    def draw(self, EMstep: int, iteration: int, activity: np.ndarray) -> None:
        """Save a figure of an activity, (B, M, T)."""
        recording, model = self.log.recording, self.log.model
        A, T, truth = model.window_bins, recording.lengths[0], recording.true_activity
        title = "Start of the activity" if EMstep == 0 else f"EM step {EMstep}, after {iteration} iterations"
        seen = None if truth is None else truth[0, :, :T]
        spikes = of_recorded(recording.observed_spikes[0, :, A : A + T], recording.recorded)
        given = A * model.dt, model.dt, activity[0, :, :T], seen, spikes, model.names, title
        figure = activity_figure(*given, stimulus=recording.external_input[0, :, :T])
        save_figure(self.folder / f"E_{EMstep}_{iteration}.png", figure)


class LossFigure(FitObserver):
    """Saves the figure of the losses of all iterations of the E-steps."""

    def __init__(self, folder: Path, log: RunLog, settings: FitSettings) -> None:
        self.folder, self.log, self.on_innovations = folder, log, settings.e_objective == "innovations"

    def finish(self, fit: Fit) -> None:
        """Draw the losses."""
        if not self.log.E_history:
            return
        EMsteps, loss_y, loss_Z = self.log.E_losses_so_far()
        starts = np.flatnonzero(np.diff(EMsteps, prepend=-1)).tolist()
        if self.on_innovations:  # the loss of the M-steps is another quantity
            figure = loss_figure(loss_y, loss_Z, starts, of_activity="innovations\nloss_xi")
        else:
            reached = [step.loss_M for step in self.log.record.history][: len(starts)]
            figure = loss_figure(loss_y, loss_Z, starts, loss_M=reached)
        save_figure(self.folder / "Eloss.png", figure)
