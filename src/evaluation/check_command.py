"""The check of a fit against its data: at the end of a training, and of runs that have finished before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.evaluation.check_findings import check_lines, statistic_rows
from src.evaluation.check_fit import check_fit
from src.evaluation.check_result import CHECK, FIGURE, save_check
from src.evaluation.figure_check import check_figure
from src.helper import from_X
from src.model.containers import Model, Recording
from src.plots.style import save_figure
from src.runs.job import FitJob
from src.runs.load import load_run, recording_of
from src.runs.record import RunRecord
from src.utils.settings import option, parse
from src.utils.text import align


def write_check(folder: Path, X: np.ndarray, model: Model, recording: Recording, seed: int) -> tuple[list[str], str]:
    """Check a fit, and write the result and its figure into the folder of the run.

    Parameters
    ----------
    folder : Path
    X : array, (n,)
        Fitted numbers.
    model : Model
    recording : Recording
    seed : int
        Of the simulations.

    Returns
    -------
    lines : list of str
        Rates and warnings.
    table : str
        All statistics.
    """
    check, example = check_fit(from_X(X, model), model, recording, seed)
    figure = check_figure(check, example, model.names, model.dt)
    save_check(folder, check)
    save_figure(folder / FIGURE, figure)
    return check_lines(check), align(statistic_rows(check))


def check_job(job: FitJob, X: np.ndarray) -> list[str]:
    """Check a fit that has just finished, unless it asks for no check; return what to print."""
    if job.settings.no_check:
        return []
    lines, _ = write_check(job.folder, X, job.model, job.recording, job.settings.train_Noinit)
    return lines


def check_if_missing(job: FitJob) -> list[str]:
    """Check a fit that has finished before, if it was killed before its check; return what to print."""
    return [] if (job.folder / CHECK).exists() else check_job(job, np.array(RunRecord.load(job.folder).X))


@dataclass(frozen=True)
class CheckSettings:
    """Options of ``python -m src.check``."""

    run: str = option("result/3pop example/data11/train1", "folder of a finished run", positional=True)
    seed: int | None = option(None, "of the simulations; without it that of the run", at_least=0)


def main(argv: Sequence[str] | None = None) -> None:
    """Check a finished run: print the table of all statistics and the warnings, and write both beside the run.

    Raises
    ------
    InputError
        The run did not finish, or its files are broken.
    """
    options = parse(CheckSettings, "Compare a fit with its data: free simulations as long as the recording.", argv)
    run = load_run(options.run)
    seed = run.record.seed if options.seed is None else options.seed
    lines, table = write_check(run.folder, run.X, run.model, recording_of(run), seed)
    print(table, *lines, sep="\n")
    print(f"\nwritten: {run.folder / CHECK}, {run.folder / FIGURE}")
