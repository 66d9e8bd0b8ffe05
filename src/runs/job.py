"""What a fit is given: everything that its options name, read and checked before anything takes time."""

from dataclasses import dataclass
from pathlib import Path

from src.data.holdout import HeldOut, hold_out
from src.data.read import read_recording
from src.model.circuit_file import fitted_circuit
from src.model.containers import Model, Recording
from src.runs.checkpoint import check_space, finished, sha256
from src.runs.memory import check_memory
from src.runs.paths import data_folder
from src.runs.record import RunRecord
from src.runs.settings import FitSettings


@dataclass(frozen=True)
class FitJob:
    """A fit that can begin.

    Parameters
    ----------
    recording : Recording
        To be fitted.
    held_out : HeldOut or None
        What is kept from the fit.
    model : Model
    settings : FitSettings
        With what the circuit says where an option was not given.
    folder : Path
        For the results.
    about : tuple of str
        What was read, in lines.
    finished : str
        With `--resume`, a line that says so if it has finished before; else empty.
    """

    recording: Recording
    held_out: HeldOut | None
    model: Model
    settings: FitSettings
    folder: Path
    about: tuple[str, ...]
    finished: str = ""


def read_job(settings: FitSettings) -> FitJob:
    """Read what the options of a fit name.

    Raises
    ------
    InputError
        A file cannot be used, or options do not go together.
    """
    settings, model = fitted_circuit(settings)
    recording, about = read_recording(settings, model, apart=settings.holdout is not None)
    recording, held_out = hold_out(recording, model, settings.holdout, settings.holdout_units)
    of_data = data_folder(settings.SAVE_DIR, settings.end_timepoint, settings.data, settings.start_timepoint)
    folder = of_data / f"train{settings.train_Noinit}"
    before = ""
    if settings.resume:
        before = finished(folder, RunRecord.begin(recording, model, settings, sha256(recording)))
    said = (*about, *([held_out.words] if held_out else []))
    return FitJob(recording, held_out, model, settings, folder, said, before)


def check_room(job: FitJob) -> list[str]:
    """Refuse a fit for which memory or disk would not suffice; return what the user should know of a long one.

    It comes after the print-out of what was read: where a mistake in reading makes a fit too large, it shows there.

    Raises
    ------
    InputError
        Says how much it would need.
    """
    check_space(job.folder, job.recording, job.model, job.settings)
    return check_memory(job.recording, job.model, job.settings)
