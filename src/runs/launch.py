"""Several trainings of train_meso.py side by side, then their table: the work of 3pop_neuLVM.sh."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from src.data.options import END
from src.runs.paths import FOLDER, SAVE_DIR, data_folder
from src.runs.settings import FILES, FILES_OR_NAMES, FitSettings
from src.utils.exceptions import FitError, InputError
from src.utils.jobs import Where, run_jobs
from src.utils.settings import Parser, check_settings, names_options, parse, says_how_to_resume
from src.utils.text import duration, error_in_words, plural
from src.utils.worker import Outcome

SCRIPT = "3pop_neuLVM.sh"
CALLED_FROM = "CALLED_FROM"
"""Environment variable: the folder that the script was called from, before it changed into that of the repository."""


def from_caller(path: str, anywhere: bool = False) -> str:
    """Return a path that the user gave, who may have called the script from another folder than this one.

    For workers, which may be `anywhere`, it is an absolute one.
    """
    caller = os.environ.get(CALLED_FROM, "")
    if anywhere:
        return str(Path(caller, path).absolute())
    return path if caller == os.getcwd() else str(Path(caller, path))


def _arguments(argv: Sequence[str] | None) -> tuple[int, Where, Path, list[str]]:
    """Read the command line; return number of trainings, where they run, their folder, and the trainings' options.

    Raises
    ------
    InputError
        An option cannot be used.
    """
    parser = Parser(
        prog=SCRIPT,
        description="Train from several random starts, side by side, and show the table of all trainings.",
        epilog="All other options go to every training; `python train_meso.py --help` lists them. With --resume, "
        "trainings that have finished stay, those that were interrupted go on, and the others start.",
        allow_abbrev=False,
    )
    parser.add_argument("--runs", type=int, default=5, help="number of trainings (default: 5)")
    parser.add_argument("--at_once", type=int, default=Where().at_once, help="at a time (default: 2; 1 on one core)")
    parser.add_argument("--scheduler", help="address of a Dask scheduler, whose workers train (docs/cluster.md)")
    parser.add_argument("--dataset", help="data set to fit; without it the one in the repository")
    parser.add_argument("--data", help="recording to fit instead, of any format (docs/data.md)")
    parser.add_argument("--unit_map", help="CSV file of the population of each unit of --data")
    parser.add_argument("--circuit", help="TOML file of the circuit (docs/circuit.md); without it the paper's")
    parser.add_argument("--trials", help="CSV file of intervals, or a table of intervals in --data")
    parser.add_argument("--invalid_times", help="CSV file, or a table in --data, of times that are not judged")
    parser.add_argument("--stimulus", help="file of a known stimulus, or the name of a series in --data")
    parser.add_argument("--observed", help="CSV file of when each unit of --data was watched")
    parser.add_argument("--SAVE_DIR", help=f"folder of results; without it {SAVE_DIR} in the repository")
    text = f"end of the data used, s (default: {END:g}, or that of --data)"
    parser.add_argument("--end_timepoint", type=float, help=text)
    parser.add_argument("--start_timepoint", type=float, help="begin of the data used, s")
    options, rest = parser.parse_known_args(argv)
    if options.runs < 1:
        raise InputError(f"--runs: expected at least 1, got {options.runs}")
    where = Where(options.at_once, options.scheduler)
    check_settings(where)
    where = where.of(options.runs)
    if any(option.split("=")[0] == "--train_Noinit" for option in rest):
        raise InputError(
            "--train_Noinit: every training gets its own from this script; train_meso.py runs a single one"
        )
    far = where.scheduler is not None
    ours = str(Path(SAVE_DIR).absolute()) if far else SAVE_DIR
    save_dir = ours if options.SAVE_DIR is None else from_caller(options.SAVE_DIR, far)
    # Given even where they are the defaults: then the folder named at the end is surely the one that was written to.
    given = ["--SAVE_DIR", save_dir]
    end = END if options.end_timepoint is None and options.data is None else options.end_timepoint
    start = options.start_timepoint
    given += [] if end is None else ["--end_timepoint", repr(end)]
    given += [] if start is None else ["--start_timepoint", repr(start)]
    files = {name: from_caller(value, far) for name in FILES if (value := getattr(options, name)) is not None}
    for name in FILES_OR_NAMES:
        if (value := getattr(options, name)) is not None:
            there = from_caller(value, far)
            files[name] = there if Path(there).exists() else value
    given += [word for name, path in files.items() for word in (f"--{name}", path)]
    words = [*given, *rest]
    parse(FitSettings, "", words, SCRIPT)  # every training would say the same
    return options.runs, where, data_folder(save_dir, end, options.data, start), words


def go_on(words: Sequence[str]) -> list[str]:
    """Return the options with which a training that was killed goes on."""
    return [*(word for word in words if word not in ("--overwrite", "--resume")), "--resume"]


@names_options(Where)
def main(
    train: Callable[[Sequence[str]], Any], summary: Callable[[Sequence[str]], Any], argv: Sequence[str] | None = None
) -> int:
    """Train, print the table and what to do next; return 0, or 1 if a training or the table failed.

    Parameters
    ----------
    train, summary : callable
        The commands: what runs with the options of train_meso.py, and what prints the table of a folder.
    argv : sequence of str, optional
    """
    runs, where, folder, options = _arguments(argv)
    began = time.monotonic()
    print(f"{plural(runs, 'training')}, {where.runs_where}; results go to {folder}", flush=True)
    jobs = [["--train_Noinit", str(i), *options] for i in range(1, runs + 1)]
    names = [f"train {i}" for i in range(1, runs + 1)]

    def told(number: int, outcome: Outcome) -> None:
        ended = f"failed: {outcome.error}" if outcome.error else "finished"
        print(f"[{names[number]}] {ended} after {duration(outcome.seconds)}", flush=True)

    with says_how_to_resume(f"./{SCRIPT}", argv):
        outcomes = run_jobs(train, jobs, names, where, told, "training", shared=folder, again=go_on)
    print(flush=True)
    failed = {name: outcome.error for name, outcome in zip(names, outcomes, strict=True) if outcome.error}
    if folder.is_dir():
        try:
            summary([str(folder)])
        except (InputError, FitError) as error:
            failed["table"] = error_in_words(error)
    print(f"\n{plural(runs, 'training')} took {duration(time.monotonic() - began)}. Results: {folder}")
    for name, why in failed.items():
        print(f"{name} failed: {why}")
    if not failed:
        python = ".venv/bin/python" if Path(sys.prefix) == Path.cwd() / ".venv" else "python"
        which = "" if folder == FOLDER else f" --folder {shlex.quote(str(folder))}"
        print(f"Next, the best of them on its own: {python} simulate_with_trainedparams.py{which}")
    return int(bool(failed))
