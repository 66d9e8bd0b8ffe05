"""The options of ``python -m src.posterior``, and what they name."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from src.data.read import read_recording
from src.helper import true_X
from src.inference.spike_likelihood import BURN_IN
from src.model.circuit_file import fitted_circuit
from src.model.containers import Model, Recording
from src.model.scheme import CONSISTENT
from src.posterior.result import FOLDER
from src.runs.load import Run, best_run, load_runs, recording_of
from src.runs.paths import data_folder
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from src.utils.jobs import scheduler_option
from src.utils.processes import cores
from src.utils.settings import option

WITH_FOLDER = ("burn_in", "scheme", "overwrite", "resume")
"""Options of train_meso.py that go with a folder of trainings."""


@dataclass(frozen=True)
class PosteriorSettings(FitSettings):
    """Options of the command; those of data and circuit are those of train_meso.py."""

    folder: str | None = option(
        None,
        "folder of finished trainings, whose recording and circuit are taken; without it those of the options",
        positional=True,
    )
    burn_in: float = option(
        BURN_IN, "so much at the start of each trial informs the filter but is not judged", unit="s", at_least=0
    )
    seed: int = option(1, "seed of all random numbers", at_least=0)
    walkers: int = option(192, "Markov chains of each of the two last stages", at_least=32, at_most=4096)
    sweeps: int = option(6, "draws of each of them that are kept", at_least=2, at_most=1000)
    predicted: float = option(100.0, "free simulation of each of 100 draws; 0 for none", unit="s", at_least=0)
    jobs: int | None = option(None, "evaluations side by side; without it as many as there are cores", at_least=1)
    scheduler: str | None = scheduler_option()

    @property
    def side_by_side(self) -> int:
        """How many evaluations run at a time."""
        return self.jobs or cores()


@dataclass(frozen=True)
class Question:
    """What the posterior is to be of.

    Parameters
    ----------
    model : Model
        Of the consistent scheme.
    recording : Recording
    folder : Path
        For the results: ``posterior`` in the folder of runs.
    true : array, (n,), or None
        As in `Posterior`.
    runs : tuple of Run
        Finished fits of the same numbers, to be compared with.
    about : tuple of str
        What was read, in lines.
    """

    model: Model
    recording: Recording
    folder: Path
    true: np.ndarray | None
    runs: tuple[Run, ...]
    about: tuple[str, ...]


def read_question(settings: PosteriorSettings) -> Question:
    """Read what the options name.

    Raises
    ------
    InputError
        A file cannot be used, or options do not go together.
    """
    if settings.scheme not in (None, CONSISTENT.name):
        raise InputError(
            f"--scheme: expected {CONSISTENT.name}, got {settings.scheme}, under which the spikes of a network are "
            "about a hundred nats less likely at its true parameters"
        )
    if settings.folder is None:
        return _of_options(settings)
    said = [each.name for each in fields(FitSettings) if getattr(settings, each.name) != each.default]
    useless = [f"--{name}" for name in said if name not in WITH_FOLDER]
    if useless:
        raise InputError(
            f"{', '.join(useless)}: expected without a folder of trainings, whose recording and circuit are taken, got "
            f"both, with {settings.folder}"
        )
    return _of_runs(Path(settings.folder), settings)


def _of_options(settings: PosteriorSettings) -> Question:
    given, model = fitted_circuit(replace(settings, scheme=CONSISTENT.name))
    recording, about = read_recording(given, model)
    true = None if recording.true_parameters is None else true_X(recording.true_parameters, model)
    folder = data_folder(given.SAVE_DIR, given.end_timepoint, given.data, given.start_timepoint)
    runs = tuple(load_runs(folder, or_none=True)[0]) if folder.is_dir() else ()
    return Question(model, recording, folder / FOLDER, true, _same(runs, model), tuple(about))


def _of_runs(folder: Path, settings: PosteriorSettings) -> Question:
    runs, skipped = load_runs(folder)
    best = best_run(runs)
    recording, model = recording_of(best), replace(best.model, scheme=CONSISTENT)
    recording = recording.judged_from(round(settings.burn_in / model.dt))
    if not recording.is_judged.any(axis=1).all():
        raise InputError(f"burn_in: expected less than each trial of the recording, got {settings.burn_in:g} s")
    about = [f"skipped: {reason}" for reason in skipped]
    if best.model.scheme is not CONSISTENT:
        about.append(f"note: the posterior is that of the {CONSISTENT.name} scheme; the runs are of the other one")
    return Question(model, recording, folder / FOLDER, best.true, _same(tuple(runs), model), tuple(about))


def _same(runs: tuple[Run, ...], model: Model) -> tuple[Run, ...]:
    """Return the runs that fit the same numbers."""
    return tuple(run for run in runs if run.names == model.fitted.names)
