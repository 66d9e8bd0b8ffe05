"""A report on a folder of trainings, one file of HTML: ``python -m src.report "result/3pop example/data11"``.

It says what to distrust, what came out, how each run ended, and last what went in. It opens without a network.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.model.free_parameters import bound_reached
from src.model.priors import Gaussian, LogNormal, Prior, Uniform
from src.posterior.summary import load_outcome
from src.report.cautions import DISAGREE, cautions, disagreement
from src.report.check import check_section
from src.report.figure_summary import losses_figure, parameters_figure
from src.report.heldout import heldout_section
from src.report.inputs import circuit_section, data_section, settings_section
from src.report.page import Lines, Picture, Section, Table, Text, check_jinja, drawn, page, saved
from src.report.posterior import posterior_section
from src.report.summary import SIMULATION, draw_activity, draw_simulation, load_simulation
from src.report.unfinished import ended_row, unfinished_sections
from src.runs.load import Run, best_run, find_records, load_activity, load_runs, ranked_by, ties_of
from src.runs.paths import FOLDER
from src.runs.tables import conditional, outcome_rows, switching_rows
from src.statistics.populations import competing_pair
from src.statistics.switching import Estimate, measure_switches
from src.utils.files import write_whole
from src.utils.settings import Parser
from src.utils.text import number

REPORT = "report.html"
"""The file that is written into the folder of runs."""
"""Column of `src.runs.tables.outcome_rows` where the correlations begin."""
RUNS_A_TABLE = 6
"""So many runs find room side by side on a printed page."""


def sections_of(folder: Path) -> list[Section]:
    """Return what a report on a folder of trainings says.

    Raises
    ------
    InputError
        The folder holds neither a training nor a posterior, or a file that must be shown is broken.
    """
    runs, skipped = load_runs(folder, or_none=True)
    outcome = load_outcome(folder)
    known = [posterior_section(outcome, runs)] if outcome else []
    if not runs:
        return [*known, *(unfinished_sections(folder, skipped) if skipped or not known else [])]
    best = best_run(runs)
    data = data_section(best)
    odd = [line for part in data.parts if isinstance(part, Lines) for line in part.lines]
    warnings = [*cautions(runs), *odd, *(f"Left out: {reason}." for reason in skipped)]
    found: Lines | Text = Lines(warnings) if warnings else Text("None.")
    return [
        Section("Warnings", "warnings", [found]),
        check_section(runs),
        *known,
        parameters_section(runs),
        activity_section(best),
        *switching_section(folder, runs),
        *simulation_section(folder),
        heldout_section(runs),
        runs_section(folder, runs, skipped),
        data,
        circuit_section(best.model),
        settings_section(runs, best),
    ]


def runs_section(folder: Path, runs: Sequence[Run], skipped: Sequence[str]) -> Section:
    """Say how each run ended, the unfinished ones included, and show the losses."""
    best = best_run(runs)
    known, outcomes = best.record.correlation is not None, outcome_rows(runs, best)
    first = sum(not name.startswith("r(") for name in outcomes[0][:-1])  # of the correlations
    ended = [[*row[:first], row[-1]] for row in outcomes]
    ended = [ended[0], *ended[2 if known else 1 :]]  # without the row of the start
    used = {run.folder for run in runs}
    left_out = [path for path in find_records(folder) if path.parent not in used]
    ended += [ended_row(folder, path, reason) for path, reason in zip(left_out, skipped, strict=True)]
    words = (
        f"{len(runs)} finished, {len(skipped)} left out. The star marks the best run, the one with {ranked_by(runs)}. "
        "The loss is in nats per population and bin, ln p(spikes) in nats. "
        f"{ties_of(runs)}"
    ).rstrip()
    parts: list[Text | Table | Picture] = [Text(words)]
    parts.append(Table("How each run ended.", ended, words=True))
    if known:
        caption = "Correlation r of the inferred with the true activity, in bins and after smoothing with 20 ms."
        parts.append(Table(caption, [[row[0], *row[first:-1]] for row in outcomes]))
    parts.append(drawn("Final loss of every run, and the loss after each of its M-steps.", losses_figure(runs)))
    parts += saved(f"Loss during the E-steps of {best.name}.", best.folder / "Eloss.png")
    return Section("Runs", "runs", parts)


def parameters_section(runs: Sequence[Run]) -> Section:
    """Show bounds, starts, priors, true values and results of every fitted number."""
    best = best_run(runs)
    free, known = best.model.fitted, best.true is not None
    header = ["parameter", "unit", "bounds", "start drawn from", "prior", *(["true"] if known else [])]
    rows = [[*header, f"{best.name} *", "± if activity known", "lowest", "highest", "disagreement"]]
    errors, at = best.record.conditional_errors, bound_reached(best.X, best.lower, best.upper)
    fits, shares = np.array([run.X for run in runs]), disagreement(runs)
    for k, (name, unit) in enumerate(zip(free.names, free.units, strict=True)):
        given = [_range(best.lower[k], best.upper[k]), _range(free.start_lower[k], free.start_upper[k])]
        truth = [number(best.true[k])] if best.true is not None else []
        found = [number(best.X[k]), conditional(errors[k], at[k]) if errors else "-"]
        found += [number(value) for value in (fits[:, k].min(), fits[:, k].max())]
        share = f"{shares[k]:.2f}" if np.isfinite(shares[k]) else "-"
        rows.append([name, unit, *given, _prior(free.priors[k]), *truth, *found, share])
    words = (
        "< and > mark a number at its lower or upper bound. The disagreement of restarts is the standard deviation "
        "over the runs, in units of that of the range from which their starts are drawn: 0 if all end at the same "
        f"number, about 1 if each stays where it began; from {DISAGREE:g} on there is a warning. A low one is no error "
        "bar: restarts can agree on a wrong number. "
        "± if activity known is the standard error, were the inferred activity the true one. It is not: the real "
        "uncertainty is larger."
    )
    figure = drawn("Fitted parameters of every run, between their bounds.", parameters_figure(runs))
    caption = f"The best run (*: {ranked_by(runs)}), and the range over all runs."
    parts: list[Text | Table | Picture] = [Text(words), Table(caption, rows), figure, *_of_each(runs)]
    return Section("Parameters", "parameters", parts)


def _of_each(runs: Sequence[Run]) -> list[Table]:
    """Return tables of the start and the end of every fitted number in each run, some runs side by side."""
    best, marks, tables = best_run(runs), {"lower": " <", "upper": " >", "": ""}, []
    for first in range(0, len(runs), RUNS_A_TABLE):
        some = runs[first : first + RUNS_A_TABLE]
        reached = [bound_reached(run.X, run.lower, run.upper) for run in some]
        rows = [["parameter", *(run.name + (" *" if run is best else "") for run in some)]]
        for k, name in enumerate(best.names):
            way = [f"{number(run.start[k])} → {number(run.X[k])}" for run in some]
            rows.append([name, *(text + marks[at[k]] for text, at in zip(way, reached, strict=True))])
        tables.append(Table("From the start to the end, run by run.", rows))
    return tables


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}" if np.isfinite([low, high]).any() else "-"


def _prior(prior: Prior | None) -> str:
    """Return a prior in words."""
    if isinstance(prior, Gaussian):
        return f"Gaussian, mean {prior.mean:g}, sd {prior.sd:g}"
    if isinstance(prior, LogNormal):
        return f"log-normal, median {prior.median:g}, sigma {prior.sigma:g}"
    return f"uniform, {prior.low:g} to {prior.high:g}" if isinstance(prior, Uniform) else "-"


def activity_section(best: Run) -> Section:
    """Show the activity that the best run inferred, and the one that it started from."""
    shown = [
        drawn(
            f"Recorded spikes, and the activity inferred by {best.name}, first trial.", draw_activity(best, "fit", "")
        ),
        drawn("The activity that it started from, smoothed recorded spikes.", draw_activity(best, "start", "")),
    ]
    return Section("Inferred activity", "activity", shown)


def switching_section(folder: Path, runs: Sequence[Run]) -> list[Section]:
    """Say how often two competing populations take turns; nothing if there are no such two."""
    best, rng = best_run(runs), np.random.default_rng(0)
    pair, dt = competing_pair(best.model.names), best.model.dt
    if not pair:
        return []
    inferred = {run.name: measure_switches(load_activity(run).estimate, dt, pair, rng)[0] for run in runs}
    truth = load_activity(best).truth
    true = None if truth is None else measure_switches(truth, dt, pair, rng)[0]
    rows = switching_rows(inferred, _simulated(folder, pair, rng), true)
    first, second = (best.model.names[m] for m in pair)
    words = (
        f"Switches between {first} and {second} in 100 s of activity; brackets are 95 % intervals of a Poisson count."
    )
    return [Section("Switching", "switching", [Text(words), Table("Switches in the first trial.", rows)])]


def _simulated(folder: Path, pair: tuple[int, int], rng: np.random.Generator) -> dict[str, tuple[Estimate, str]]:
    """Return the switches of the saved simulation by the name of its run, nothing if there is none."""
    if not (folder / SIMULATION).exists():
        return {}
    found = load_simulation(folder / SIMULATION)
    if len(found["names"]) <= max(pair):  # of another circuit
        return {}
    return {str(found["run"]): measure_switches(found["activity"], float(found["dt"]), pair, rng)}


def simulation_section(folder: Path) -> list[Section]:
    """Show the free simulation that simulate_with_trainedparams.py has saved, if it has."""
    path = folder / SIMULATION
    if not path.exists():
        return []
    caption = (
        "Activity of the fitted circuit on its own, with finite-size noise, as simulate_with_trainedparams.py saved it."
    )
    return [Section("Free simulation", "simulation", [drawn(caption, draw_simulation(path))])]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report on a folder of trainings into that folder.

    Raises
    ------
    InputError
        Jinja2 is missing, the folder holds no training, or a file that must be shown is broken.
    """
    parser = Parser("report", description="Write a report on a folder of trainings as one file.", allow_abbrev=False)
    parser.add_argument("folder", nargs="?", default=FOLDER, help=f"folder of the runs (default: {FOLDER})")
    folder = Path(parser.parse_args(argv).folder)
    check_jinja()
    # All is read and drawn before anything is written.
    sections = sections_of(folder)
    content = page(f"Trainings in {folder}", "Mesoscopic model fitted to recorded spikes", sections)
    write_whole(folder / REPORT, lambda file: file.write(content.encode()))
    print(f"written: {folder / REPORT}")
    return 0
