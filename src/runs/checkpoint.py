"""What a training knows after each half-step, in one file, from which ``--resume`` goes on to the very same result.

Half-steps are counted: M-step k ends as number 2 k + 1, E-step k as number 2 k. A half-step after which EM ends leaves
no checkpoint: killed before all results are written, a training does it again.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from src.model.containers import MASKS, Model, Recording
from src.runs.paths import CHECKPOINT
from src.runs.record import FINISHED, RunRecord, status_in
from src.runs.settings import FILES, FILES_OR_NAMES, FitSettings
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from src.utils.text import wrong_with

MAY_DIFFER = ("resume", "overwrite", "SAVE_DIR", "threads", "no_check")
"""Options that change nothing about the result."""
FILE_OPTIONS = (*FILES, *FILES_OR_NAMES)
"""Options that name a file; what stands in it counts, not what it is called."""
ALWAYS = ("judged", "recorded")
"""Masks that are part of a digest even where there are none: it has always been so."""
MEMORY = "E_step."
"""What the arrays begin with that an E-step keeps for the next one."""
FIGURE, SPARE = 150e3, 10e6
"""Bytes of a figure of the activity, and for all that is small."""


class State(NamedTuple):
    """A checkpoint: number of half-steps done, record, history of the E-step's losses (n, 3), all other arrays."""

    half_steps: int
    record: RunRecord
    E_history: np.ndarray
    arrays: dict[str, np.ndarray]


def write(folder: Path, half_steps: int, record: RunRecord, E_history: Sequence, arrays: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; it takes the place of the last one."""
    history, words = np.array(E_history, float).reshape(-1, 3), json.dumps(asdict(record))
    save_arrays(folder / CHECKPOINT, done=half_steps, record=words, E_history=history, **arrays)


def read_checkpoint(folder: Path, record: RunRecord) -> State | None:
    """Return the checkpoint of a folder, None if there is none.

    Raises
    ------
    InputError
        The file is broken, or belongs to a training with other settings, circuit or data than `record`.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    arrays = load_arrays(path, ["done", "record", "E_history"])
    try:
        before = RunRecord.from_dict(json.loads(str(arrays.pop("record"))))
        state = State(int(arrays.pop("done")), before, arrays.pop("E_history"), arrays)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected the state of a training, but {wrong_with(error)}") from None
    check_same_training(state.record, record, folder)
    return state


def check_same_training(before: RunRecord, now: RunRecord, folder: Path) -> None:
    """Refuse to go on with other settings, circuit or data than a training began with.

    Raises
    ------
    InputError
        Names the option that differs.
    """
    began, given = before.settings, now.settings
    for name, value in given.items():
        if name not in (*MAY_DIFFER, *FILE_OPTIONS) and began.get(name, value) != value:
            raise InputError(f"{name}: expected {began[name]!r}, as when {folder} began, got {value!r}")
    if before.model != json.loads(json.dumps(now.model)):
        raise InputError(f"circuit: expected the circuit with which {folder} began, got another one")
    if before.recording_sha256 != now.recording_sha256:
        suspects = [name for name in FILE_OPTIONS[1:] if began.get(name) != given[name]]
        name = suspects[0] if suspects else "dataset" if given["data"] is None else "data"
        raise InputError(f"{name}: expected the recording with which {folder} began, got another one")


def finished(folder: Path, record: RunRecord) -> str:
    """Return a line that says so if the training in a folder has finished, else nothing.

    Raises
    ------
    InputError
        It had other settings, circuit or data than `record`, or is to be replaced as well.
    """
    if record.settings["overwrite"]:
        raise InputError("resume, overwrite: expected one of them, got both")
    if status_in(folder) != FINISHED:
        return ""
    before = RunRecord.load(folder)
    check_same_training(before, record, folder)
    return f"{folder}: has finished already: {before.ended}, loss {before.loss:.5f}"


def sha256(recording: Recording) -> str:
    """Return a digest of what is fitted."""
    digest = hashlib.sha256()
    for name in ("observed_spikes", "external_input", "initial_rate", *MASKS):
        array = getattr(recording, name)
        if array is None and name not in ALWAYS:
            continue
        content = np.ascontiguousarray([] if array is None else array)
        digest.update(f"{name} {content.shape} {content.dtype.str} ".encode() + content.tobytes())
    return digest.hexdigest()


def versions_that_differ(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return a line on programs that are no longer those with which a training began, or nothing."""
    others = [f"{name} {now[name]} instead of {was}" for name, was in before.items() if now.get(name, was) != was]
    return f"note: {', '.join(others)}: the result may differ in the last digits" if others else ""


def check_space(folder: Path, recording: Recording, model: Model, settings: FitSettings) -> None:
    """Refuse a training whose results would not fit on the disk, as far as that can be told before it.

    Raises
    ------
    InputError
        Says how much it would need.
    """
    activity = 8 * recording.n_trials * model.n_populations * (model.window_bins + recording.n_bins)
    start = recording.observed_spikes.nbytes + 2 * recording.external_input.nbytes + activity
    at_once = 3 + 2 * settings.E_draws if settings.e_objective == "innovations" else 3  # activities in a checkpoint
    EMsteps = min(settings.max_EMsteps, 100)  # hardly any training takes more
    figures = 2 + EMsteps * settings.E_steps // settings.LOG_PER
    needed = (
        start + (EMsteps + 2 * at_once) * activity + figures * FIGURE + SPARE
    )  # a new checkpoint beside the old one
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    disk = shutil.disk_usage(there)
    if disk.free < needed and disk.total:  # what has no size at all is no disk, and says by itself what it cannot
        raise InputError(
            f"{folder}: expected {needed / 1e6:.0f} MB of free space for the results, got {disk.free / 1e6:.0f} MB"
        )
