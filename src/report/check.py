"""The part of a report that compares the best fit with its data."""

from collections.abc import Sequence

from src.evaluation.check_findings import check_warnings, rate_rows, statistic_rows
from src.evaluation.check_result import FIGURE, LEVEL, FitCheck, load_check
from src.report.page import Lines, Picture, Section, Table, Text, saved
from src.runs.load import Run, best_run

CAPTION = (
    "Left: the recording. Right: a free simulation of the fit, with as many recorded neurons. Below: every statistic "
    "of the recording (dot) among the simulations."
)


def checks_of(runs: Sequence[Run]) -> dict[str, FitCheck]:
    """Return the checks of runs that have one, by their names.

    Raises
    ------
    InputError
        A file of a check is broken.
    """
    found = {run.name: load_check(run.folder) for run in runs}
    return {name: check for name, check in found.items() if check is not None}


def not_like_its_data(run: Run) -> list[str]:
    """Say what the free simulations of a run do that its recording does not; nothing if it was not checked.

    Raises
    ------
    InputError
        As `checks_of`.
    """
    check = load_check(run.folder)
    return [] if check is None else [f"{run.name}: {line}" for line in check_warnings(check)]


def check_section(runs: Sequence[Run]) -> Section:
    """Show rates of the free simulations of every run, and all statistics and the figure of the best.

    Raises
    ------
    InputError
        As `checks_of`.
    """
    best, checks = best_run(runs), checks_of(runs)
    check = checks.get(best.name)
    if check is None:
        missing = f"{best.name} was not compared with its data. This command does it: python -m src.check {best.folder}"
        return Section("Check against the data", "check", [Text(missing)])
    words = (
        f"The fitted circuit ran freely {check.simulations} times, for {check.seconds:.4g} s each"
        + (f" (of {check.of_seconds:.4g} s recorded)" if check.seconds < check.of_seconds else "")
        + f". Were the recording one of these simulations, all its statistics would lie inside their intervals with "
        f"probability {1 - LEVEL:.0%}. As far out as it are {check.p:.2g} of all (p)."
    )
    parts: list[Text | Lines | Table | Picture] = [Text(words)]
    if said := check_warnings(check):
        parts.append(Lines(said))
    parts += saved(CAPTION, best.folder / FIGURE)
    rates = "Mean rates of the recorded neurons: recording, and mean and interval of the free simulations of each run."
    parts += [Table(rates, rate_rows(checks)), Table(f"All statistics of {best.name}.", statistic_rows(check))]
    return Section("Check against the data", "check", parts)
