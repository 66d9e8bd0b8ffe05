"""Sum up a folder of trainings: ``python -m src.summary "result/3pop example/data11"``.

Prints the table of all runs, and of the posterior if there is one, and writes ``summary.png`` into the folder;
``--figures fig`` writes the README's figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from src.data.samples import again
from src.evaluation.check_findings import check_table
from src.evaluation.score_files import bits_of_all, rivals_in_words
from src.plots.figures import activity_figure, simulation_figure
from src.plots.likelihood import likelihood_figure
from src.plots.style import save_figure
from src.posterior.summary import describe_posterior, load_outcome
from src.posterior.table import interval, marginals
from src.report.check import checks_of
from src.report.figure_summary import summary_figure
from src.runs.load import Run, best_run, initial_rate, load_activity, load_runs, recording_of
from src.runs.paths import FOLDER
from src.runs.tables import runs_table, switching_table
from src.statistics.populations import competing_pair
from src.statistics.switching import measure_switches
from src.utils.exceptions import InputError
from src.utils.files import load_arrays
from src.utils.quiet import import_quietly
from src.utils.settings import Parser

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIMULATION = "simulation"
"""Archive that ``simulate_with_trainedparams.py`` writes into the folder of runs."""


def draw_activity(run: Run, which: str, title: str) -> Figure:
    """Return the figure of the activity that a run started from (``"start"``) or inferred (``"fit"``)."""
    found = load_activity(run, which)
    names, dt = run.model.names, run.model.dt
    given = found.time0, dt, found.estimate, found.truth, found.spikes, names, title
    return activity_figure(*given, stimulus=found.stimulus)


def load_simulation(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a saved simulation.

    Raises
    ------
    InputError
        The archive is missing or broken, or its arrays do not fit together.
    """
    found = load_arrays(path, ["activity", "spikes", "external_input", "dt", "names", "run"])
    activity, spikes, driven = found["activity"], found["spikes"], found["external_input"]
    names = [str(name) for name in found["names"].ravel()]
    if activity.ndim != 2 or {len(names)} != {len(activity)} or driven.shape != activity.shape:
        raise InputError(
            f"{path}: activity, external_input: expected ({len(names)}, bins), got {activity.shape}, {driven.shape}"
        )
    if spikes.shape[:2] != activity.shape or spikes.ndim != 3:
        raise InputError(f"{path}: spikes: expected {activity.shape} and the recorded neurons, got {spikes.shape}")
    return found


def draw_simulation(path: Path) -> Figure:
    """Return the figure of a saved simulation."""
    found = load_simulation(path)
    activity, spikes, driven = found["activity"], found["spikes"], found["external_input"]
    names = [str(name) for name in found["names"].ravel()]
    title = f"Free simulation with the parameters of {found['run']}"
    return simulation_figure(activity, float(found["dt"]), names, spikes=spikes, external_input=driven, title=title)


def count_switches(runs: Sequence[Run], length: float, seed: int) -> str:
    """Return the table of switches in the activity that each run inferred, and in `length` s of its free simulation.

    Parameters
    ----------
    runs : sequence of Run
    length : float, s
        0 for no simulation.
    seed : int
        Of the simulations.

    Returns
    -------
    str
        Empty if there are no two populations that compete.
    """
    best, rng = best_run(runs), np.random.default_rng(seed)
    pair = competing_pair(best.model.names)
    if not pair:
        return ""

    inferred, simulated = {}, {}
    for run in runs:
        dt = run.model.dt
        inferred[run.name] = measure_switches(load_activity(run).estimate, dt, pair, rng)[0]
        if length:
            simulate = import_quietly("src.LIFmesoCell").simulate  # only now: it takes seconds, most do without
            given = {"initial_rate": initial_rate(run)}
            if run.model.has_gains:  # of inputs that are as they are, none is part of the circuit
                given["external_input"] = _recorded_input(run, round(length / dt))
            activity, _ = simulate(run.parameters, run.model, round(length / dt), seed, **given)
            simulated[run.name] = measure_switches(activity, dt, pair, rng)
    truth = load_activity(best).truth
    true = None if truth is None else measure_switches(truth, best.model.dt, pair, rng)[0]
    return switching_table(inferred, simulated, true)


def _recorded_input(run: Run, n_bins: int) -> np.ndarray:
    """Return the input of the first trial that a run was fitted to, (M, n_bins), again and again."""
    recording, dt = recording_of(run), run.model.dt
    return again(recording.external_input[0, :, : recording.lengths[0]], dt, n_bins, dt)


def readme_figures(folder: Path, runs: Sequence[Run]) -> dict[str, Figure]:
    """Return the README's figures by file name; a simulation saved in the folder of the runs is among them."""
    best = best_run(runs)
    figures = {
        "init_Z.png": draw_activity(best, "start", "Initial estimate of the population activity"),
        "inferred_Z.png": draw_activity(best, "fit", f"Inferred population activity, {best.name}"),
        "llh_eq.png": likelihood_figure(),
    }
    if (folder / SIMULATION).exists():
        figures["sim_Z.png"] = draw_simulation(folder / SIMULATION)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table of a folder of trainings and write its figures.

    Raises
    ------
    InputError
        The folder holds neither a finished training nor a posterior, or a file that must be shown is broken.
    """
    parser = Parser(
        "summary", description="Sum up a folder of trainings in a table and in summary.png.", allow_abbrev=False
    )
    parser.add_argument("folder", nargs="?", default=FOLDER, help=f"folder of the runs (default: {FOLDER})")
    parser.add_argument("--figures", help="folder into which the figures of the README are written (default: none)")
    text = "simulate every run freely for so long and count its switches (default: 0 s, not at all)"
    parser.add_argument("--switches", type=float, default=0.0, metavar="FLOAT[s]", help=text)
    parser.add_argument("--seed", type=int, default=0, help="of these simulations (default: 0)")
    options = parser.parse_args(argv)
    if not 0 <= options.switches < float("inf"):
        raise InputError(f"--switches: expected at least 0 s, got {options.switches:g}")
    folder = Path(options.folder)
    outcome = load_outcome(folder)
    runs, skipped = load_runs(folder, or_none=outcome is not None)
    said = [describe_posterior(outcome)] if outcome else []
    if not runs:
        print("\n".join([*(f"skipped: {reason}" for reason in skipped), *said]))
        return 0
    # All is read and drawn before anything is written.
    scores, checks = bits_of_all(runs), checks_of(runs)
    title = f"{len(runs)} finished run{'s' if len(runs) > 1 else ''}"
    figures = {folder / "summary.png": summary_figure(runs, load_activity(best_run(runs)), title)}
    if options.figures is not None:
        figures |= {Path(options.figures, name): figure for name, figure in readme_figures(folder, runs).items()}
    switches = count_switches(runs, options.switches, options.seed)
    for reason in skipped:
        print(f"skipped: {reason}")
    intervals = {row.name: interval(row) for row in marginals(outcome.posterior)} if outcome else None
    more = [*([check_table(checks)] if checks else []), *rivals_in_words(runs), *said]
    print("\n\n".join([runs_table(runs, switches, scores, intervals), *more]))
    for path, figure in figures.items():
        save_figure(path, figure)
    print(f"\nwritten: {', '.join(map(str, figures))}")
    return 0
