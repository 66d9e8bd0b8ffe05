"""What a training leaves behind: a folder with every intermediate result, its figures, and ``run.json``."""

import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from src.helper import from_X, names_of_X, true_X
from src.model.containers import Model, Parameters, Recording
from src.plots.figures import activity_figure, loss_figure
from src.plots.style import save_figure
from src.runs import checkpoint
from src.runs.findings import remarks
from src.runs.load import of_recorded
from src.runs.paths import CHECKPOINT, RECORD
from src.runs.tables import parameter_table
from src.statistics.smoothing import SMOOTHING, correlation, smooth
from src.utils.files import load_json, make_folder, save_arrays, save_json
from src.utils.settings import InputError, as_dict

PARTS = ".*.part"
"""What a killed training left half-written."""
FITTED = ("init_param", "minimizor_result_*", "E*_est_param", "E_*_*.png", "Eloss", "Eloss.png", RECORD, PARTS)
OURS = (*FITTED, CHECKPOINT, "heldout*.csv", "heldout*.json")  # a fit that is replaced takes the scores of it along


class RunFolder:
    """The folder of one training, and the record of it that ``run.json`` holds.

    Use it as a context: leaving it by an exception writes down how the training ended.

    Parameters
    ----------
    folder : path or None
        None: keep the record, write and print nothing.
    recording : Recording
    model : Model
    settings : dataclass
        With the fields `train_Noinit` and `LOG_PER`.
    overwrite : bool
        Whether an earlier finished training may be replaced.
    resume : bool
        Go on from the checkpoint in the folder, if there is one.

    Raises
    ------
    InputError
        The folder holds a finished training or the checkpoint of another one, or cannot be a folder.
    """

    def __init__(
        self,
        folder: Path | None,
        recording: Recording,
        model: Model,
        settings: Any,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        self.folder, self.recording, self.model, self.settings = folder, recording, model, settings
        if folder and (folder / RECORD).exists() and not overwrite:
            if load_json(folder / RECORD).get("status") == "finished":
                raise InputError(f"{folder}: holds a finished training; give --overwrite to replace it")
        if folder:  # now, for a fit that cannot be saved is not worth waiting for
            make_folder(folder)
        self.began = time.perf_counter()
        self.activity = np.empty(0)
        self.on_innovations = False  # whether the E-step's loss is another than the M-step's
        self.E_history: list[tuple[int, float, float]] = []  # EM step, loss_y, loss_Z of every iteration
        true = recording.true_parameters
        self.record: dict[str, Any] = {
            "status": "running",
            "ended": "",
            "seconds": 0.0,
            "seed": settings.train_Noinit,
            "settings": as_dict(settings) | {"resume": False},  # a resumed training is none other
            "recording_sha256": checkpoint.sha256(recording),
            "versions": versions(),
            "model": model.as_dict(),
            "parameter_names": names_of_X(model),
            "start": None,
            "X": None,
            "true": None if true is None else [_or_none(number) for number in true_X(true, model)],
            "lower": model.fitted.lower.tolist(),
            "upper": model.fitted.upper.tolist(),
            "loss": None,
            "parameters_file": None,
            "activity_file": None,
            "correlation": None,
            "remarks": [],
            "history": [],
        }
        self.resumed = checkpoint.read(folder, self.record) if folder and resume else None
        if folder and resume and self.resumed is None:
            print(f"note: no checkpoint in {folder}, the training starts from the beginning")

    # --- what a training reports ------------------------------------------------------------------------------------

    def start(self, X: np.ndarray, activity: np.ndarray) -> None:
        """Take the start: X (n,) and the activity (B, M, A+T). Results of an earlier training go, unless it goes on."""
        self.started_from = activity
        if self.folder:
            gone = (PARTS,) if self.resumed else OURS
            for path in [path for pattern in gone for path in self.folder.glob(pattern)]:
                path.unlink()
        if self.resumed:
            return
        self.record["start"] = X.tolist()
        self._save_record()
        truth = self.recording.true_activity
        data = {"observed_spikes": self.recording.observed_spikes, "I_ext": self.recording.external_input}
        partly = {"Z_true": truth, "judged": self.recording.judged, "recorded": self.recording.recorded}
        data |= {name: array for name, array in partly.items() if array is not None}
        self._save("init_param", X=X, Z_hist_est=activity, **_named(from_X(X, self.model)), **data)
        self.E_step(0, 0, activity, (np.nan, np.nan))
        self.figure(0, 0, activity[..., self.model.window_bins :])

    def M_step(self, EMstep: int, X: np.ndarray, loss: float, iterations: int) -> None:
        """Take the result of an M-step, and print the line of its EM step if there is a folder."""
        name = f"minimizor_result_{EMstep}"
        self._save(name, X=X, loss_last=loss, n_iterations=iterations, **_named(from_X(X, self.model)))
        tried = [row for row in self.E_history if row[0] == EMstep]
        seconds = time.perf_counter() - self.began
        loss_y, loss_Z = self.E_result if EMstep else (None, None)
        step = {"EMstep": EMstep, "E_steps": max(len(tried) - 1, 0), "loss_y": loss_y, "loss_Z": loss_Z}
        step |= {"M_iterations": int(iterations), "loss_M": float(loss), "seconds": round(seconds, 2)}
        self.record["history"].append(step)
        self.record |= {"X": X.tolist(), "loss": float(loss), "parameters_file": name, "seconds": seconds}
        self._save_record()
        if self.folder is None:
            return
        E_part = (
            f"E-step {step['E_steps']:3d} steps, loss {sum(self.E_result):.5f}" if EMstep else "start of the activity"
        )
        M_part = f"M-step {iterations:3d} iterations, loss {loss:.5f}"
        print(f"EM {EMstep:2d}: {E_part:<33} {M_part}; {seconds:5.1f} s", flush=True)

    def E_log(self, EMstep: int, GDstep: int, losses: Sequence[float], activity: Any) -> None:
        """Take loss_y and loss_Z of every step of Adam, and the activity (B, M, T) then, for a figure now and again."""
        self.E_history.append((EMstep, float(losses[0]), float(losses[1])))
        if GDstep and GDstep % self.settings.LOG_PER == 0:
            self.figure(EMstep, GDstep, np.asarray(activity))

    def E_step(self, EMstep: int, GDstep: int, activity: np.ndarray, losses: Sequence[float]) -> None:
        """Take the result of an E-step: the last improved activity (B, M, A+T), when it was, and its losses."""
        name = f"E{EMstep}_est_param"
        self.E_result = loss_y, loss_Z = float(losses[0]), float(losses[1])
        self._save(name, Z_hist_est=activity, loss_last=loss_y + loss_Z, loss_y=loss_y, loss_Z=loss_Z)
        self.activity, self.at = activity, (EMstep, GDstep)
        self.record["activity_file"] = name

    def settle(self, EMstep: int, X: np.ndarray, loss: float, activity: np.ndarray, iterations: int) -> None:
        """Take the best of what was reported as the result: that of M-step `EMstep` and the E-step after it."""
        self.activity, self.at = activity, (EMstep + 1, iterations)
        self.on_innovations = True
        self.record |= {"X": X.tolist(), "loss": loss, "parameters_file": f"minimizor_result_{EMstep}"}
        self.record["activity_file"] = f"E{EMstep + 1}_est_param"
        self._save_record()

    def checkpoint(self, done: int, E_step: Any, **arrays: Any) -> None:
        """Write down what EM knows after so many half-steps: arrays, and what the E-step keeps for the next one."""
        if self.folder:
            seconds = time.perf_counter() - self.began
            reported = {"E_result": self.E_result, "at": self.at}
            memory = {checkpoint.MEMORY + name: value for name, value in E_step.memory.items()}
            record = self.record | {"seconds": seconds}
            checkpoint.write(self.folder, done, record, self.E_history, {**arrays, **reported, **memory})

    def restore(self, E_step: Any, **arrays: Any) -> tuple[int, dict[str, Any]]:
        """Return half-steps done and what EM then knew: 0 and the arrays given, unless a checkpoint says otherwise."""
        if self.resumed is None:
            return 0, arrays
        done, self.record, history, known = self.resumed
        self.began -= self.record["seconds"]
        self.E_history = [(int(EMstep), loss_y, loss_Z) for EMstep, loss_y, loss_Z in history.tolist()]
        self.E_result, self.at = tuple(known["E_result"].tolist()), tuple(known["at"].tolist())
        self.activity = known["activity"]
        start = len(checkpoint.MEMORY)
        E_step.memory = {key[start:]: value for key, value in known.items() if key.startswith(checkpoint.MEMORY)}
        print(
            f"goes on after {'M' if done % 2 else 'E'}-step {done // 2}, at {self.record['seconds']:.1f} s", flush=True
        )
        if other := checkpoint.versions_that_differ(self.record["versions"], versions()):
            print(other)
        self._save_record()
        return done, {key: known[key] if known[key].ndim else known[key].item() for key in arrays}

    def finish(self, ended: str) -> None:
        """Write down that the training has finished, and why."""
        estimate = self.activity[..., self.model.window_bins :]
        self.figure(*self.at, estimate)
        if self.folder and self.E_history:
            EMsteps, loss_y, loss_Z = map(np.array, zip(*self.E_history, strict=True))
            self._save("Eloss", EMstep=EMsteps, loss_y=loss_y, loss_Z=loss_Z)
            starts = np.flatnonzero(np.diff(EMsteps, prepend=-1)).tolist()
            if self.on_innovations:
                figure = loss_figure(loss_y, loss_Z, starts, of_activity="innovations\nloss_xi")
            else:
                reached = [step["loss_M"] for step in self.record["history"]][: len(starts)]
                figure = loss_figure(loss_y, loss_Z, starts, loss_M=reached)
            save_figure(self.folder / "Eloss.png", figure)
        if self.recording.true_activity is not None:
            begin = self.started_from[..., self.model.window_bins :]
            self.record["correlation"] = correlations(self.recording.true_activity, begin, estimate, self.model.dt)
        self.record["remarks"] = remarks(np.array(self.record["X"]), estimate, self.recording, self.model)
        self._end("finished", ended)
        if self.folder:
            (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def figure(self, EMstep: int, GDstep: int, activity: np.ndarray) -> None:
        """Save a figure of the activity (B, M, T) of the first trial."""
        if self.folder is None:
            return
        truth, A, model = self.recording.true_activity, self.model.window_bins, self.model
        T = self.recording.lengths[0]
        title = "Start of the activity" if EMstep == 0 else f"EM step {EMstep}, after {GDstep} iterations"
        seen = None if truth is None else truth[0, :, :T]
        spikes = of_recorded(self.recording.observed_spikes[0, :, A : A + T], self.recording.recorded)
        figure = activity_figure(A * model.dt, model.dt, activity[0, :, :T], seen, spikes, model.names, title)
        save_figure(self.folder / f"E_{EMstep}_{GDstep}.png", figure)

    def table(self) -> str:
        """Return the table of the fitted numbers."""
        keys = ("start", "X", "lower", "upper", "true")
        numbers = [None if self.record[key] is None else np.array(self.record[key], float) for key in keys]
        return parameter_table(self.record["parameter_names"], *numbers)  # type: ignore[arg-type]

    # --- files ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and self.record["status"] == "running":
            interrupted = isinstance(error, KeyboardInterrupt)
            ended = "by the user" if interrupted else str(error) or type(error).__name__
            self._end("interrupted" if interrupted else "failed", ended)

    def _end(self, status: str, ended: str) -> None:
        self.record |= {"status": status, "ended": ended, "seconds": time.perf_counter() - self.began}
        self._save_record()

    def _save_record(self) -> None:
        if self.folder:
            save_json(self.folder / RECORD, self.record)

    def _save(self, name: str, **arrays: Any) -> None:
        if self.folder:
            save_arrays(self.folder / name, **arrays)


def versions() -> dict[str, str]:
    """Return the versions of what decides the result."""
    packages = {name: version(name) for name in ("numpy", "scipy", "tensorflow", "keras")}
    return {"python": sys.version.split()[0], "machine": platform.machine(), **packages}


def correlations(truth: np.ndarray, start: np.ndarray, fit: np.ndarray, dt: float) -> dict[str, list[float | None]]:
    """Correlate two estimates of the activity with the truth, all (B, M, T), per population: in bins, and smoothed.

    None stands for the correlation with an estimate that does not change.
    """
    results = {}
    for name, estimate in (("start", start), ("fit", fit)):
        for suffix, width in (("", 0.0), ("_20ms", SMOOTHING)):
            pairs = zip(*(np.moveaxis(smooth(each, dt, width), 1, 0) for each in (truth, estimate)), strict=True)
            values = [correlation(a.ravel(), b.ravel()) for a, b in pairs]
            results[name + suffix] = [_or_none(value) for value in values]
    return results


def _or_none(number: float) -> float | None:
    """Return a number as JSON can hold it: null for NaN."""
    return float(number) if np.isfinite(number) else None


def _named(parameters: Parameters) -> dict[str, np.ndarray]:
    """Return the parameters by their published names."""
    return dict(zip(("amem", "J", "rp", "ft"), vars(parameters).values(), strict=True))
