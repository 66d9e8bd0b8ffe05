"""Tables in plain text: the parameters of one training, and all trainings side by side."""

from collections.abc import Mapping, Sequence

import numpy as np

from src.model.flat_order import ALL_UNITS
from src.model.free_parameters import bound_reached
from src.runs.load import Run, best_run, ranked_by, ties_of
from src.statistics.switching import Estimate
from src.utils.text import align, number, signed

CONDITIONAL = (
    "+- if activity known: standard error, were the inferred activity the true one. It is not: the real uncertainty is "
    "larger."
)


def conditional(error: float | None, reached: str) -> str:
    """Return a standard error given the activity; none of a number that has reached a bound."""
    return number(error) if error is not None and np.isfinite(error) else "-" if reached else "unknown"


def _true(value: float) -> str:
    return number(value) if np.isfinite(value) else "unknown"


def _ratio(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}" if np.isfinite(value) else "-"  # not -0.00


def parameter_table(
    names: Sequence[str],
    start: np.ndarray,
    fit: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    true: np.ndarray | None = None,
    errors: np.ndarray | None = None,
) -> str:
    """Return a table of the fitted numbers: unit, start, fit, true value where it is known, and bound it sits at.

    And, if they are given, standard errors given the activity, with a note that says so.

    Parameters
    ----------
    names : sequence of str, (n,)
        Such as ``"membrane_rate E1"``.
    start, fit, lower, upper : array, (n,)
        In SI units.
    true : array, (n,) or None
        NaN where it is not known.
    errors : array, (n,) or None
        From `src.inference.laplace.conditional_errors`.
    """
    known, more = true is not None, [] if errors is None else ["+- if activity known"]
    rows = [["parameter", "unit", "start", "fit", *more, *(["true", "fit/true"] if known else []), "at bound"]]
    reached = bound_reached(fit, lower, upper)
    for k, name in enumerate(names):
        truth = [_true(true[k]), _ratio(fit[k] / true[k] if true[k] else np.nan)] if true is not None else []
        error = [] if errors is None else [conditional(errors[k], reached[k])]
        rows.append([name, _unit(name), number(start[k]), number(fit[k]), *error, *truth, reached[k] or "-"])
    notes = [] if errors is None else [CONDITIONAL]
    return "\n".join([align(rows), *notes])


def _unit(name: str) -> str:
    return ALL_UNITS.get(name.split()[0], "")


def runs_table(
    runs: Sequence[Run],
    switches: str = "",
    scores: Mapping[str, Mapping[str, float]] | None = None,
    intervals: Mapping[str, str] | None = None,
) -> str:
    """Return a table of all runs: how they went, and below it their fitted numbers.

    Parameters
    ----------
    runs : sequence of Run
        The best one is marked with a star.
    switches : str
        A table to go between the two, see `switching_table`.
    scores : mapping of str to mapping of str to float, or None
        See `score_rows`.
    intervals : mapping of str to str, or None
        90 % intervals of the posterior by names of fitted numbers, where there is one.
    """
    best = best_run(runs)
    numbers = _parameters(runs, best, intervals or {})
    parts = [_outcomes(runs, best, scores or {}), *([switches] if switches else []), numbers]
    ties = ties_of(runs)
    notes = [
        f"* best: {ranked_by(runs)} (loss: nats per population and bin).  < at the lower bound, > at the upper bound.",
        *([ties] if ties else []),
    ]
    return "\n\n".join([*parts, "\n".join(notes)])


def switching_table(
    inferred: Mapping[str, Estimate], simulated: Mapping[str, tuple[Estimate, str]], true: Estimate | None = None
) -> str:
    """Return a table of how often activities switch in 100 s; for its arguments see `switching_rows`."""
    rows = switching_rows(inferred, simulated, true)
    return align(rows) + "\n[from, to]: 95 % confidence interval, exact for a Poisson count."


def switching_rows(
    inferred: Mapping[str, Estimate], simulated: Mapping[str, tuple[Estimate, str]], true: Estimate | None = None
) -> list[list[str]]:
    """Return the rows of a table of how often activities switch in 100 s, the first of which is its header.

    Parameters
    ----------
    inferred : mapping of str to Estimate
        By name of the run, from the activity that it inferred.
    simulated : mapping of str to (Estimate, str)
        From its free simulation, and the rates of winner and loser in words; empty for no such columns.
    true : Estimate or None
        From the true activity of the same recording.
    """
    rows = [["switches in 100 s", "inferred", *(["simulated", "winner/loser"] if simulated else [])]]
    if true is not None:
        rows.append(["(true)", str(true), *(["", ""] if simulated else [])])
    for name, found in inferred.items():
        free = simulated.get(name)
        rows.append([name, str(found), *([str(free[0]), free[1]] if free else ["-", "-"] if simulated else [])])
    return rows


def _likelihood(run: Run) -> str:
    ln_p, error = run.record.ln_p, run.record.ln_p_error
    return "-" if ln_p is None else f"{ln_p:.1f}" if error is None else f"{ln_p:.1f} +- {error:.1f}"


def _star(run: Run, best: Run) -> str:
    return run.name + (" *" if run is best else "")


def _outcomes(runs: Sequence[Run], best: Run, scores: Mapping[str, Mapping[str, float]]) -> str:
    rows, notes = outcome_rows(runs, best), []
    if best.record.correlation is not None:
        notes.append(
            "r: correlation of the inferred with the true activity, in bins and after smoothing with a Gaussian of "
            "20 ms."
        )
    if scores:
        header, *cells = score_rows(runs, best, scores)
        columns = {"run": header[1:], "(start)": [""] * (len(header) - 1)} | {row[0]: row[1:] for row in cells}
        rows = [[*row[:-1], *columns[row[0]], row[-1]] for row in rows]  # how it ended is long and stays last
        notes.append(f"{', '.join(header[1:])}: held-out bits per spike of all units, against their mean rates.")
    return "\n".join([align(rows), *notes])


def score_rows(runs: Sequence[Run], best: Run, scores: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Return a header and a row per run of held-out scores.

    Parameters
    ----------
    runs : sequence of Run
    best : Run
    scores : mapping of str to mapping of str to float
        Bits per spike by names of runs, of which some may be missing, and of predictions.
    """
    names = list(dict.fromkeys(which for each in scores.values() for which in each))
    of_runs = [[signed(scores.get(run.name, {}).get(which, np.nan)) for which in names] for run in runs]
    return [["run", *names], *([_star(run, best), *cells] for run, cells in zip(runs, of_runs, strict=True))]


def outcome_rows(runs: Sequence[Run], best: Run) -> list[list[str]]:
    """Return a header, a row per run, and one for the activity they started from where the truth is known."""
    known = best.record.correlation is not None
    columns = ["", "_20ms"] if known else []
    words = {"": f"{1e3 * best.model.dt:g} ms", "_20ms": "20 ms"}
    likelihoods = ["ln p(spikes)"] if any(run.record.ln_p is not None for run in runs) else []
    header = ["run", "loss", *likelihoods, "seconds", "EM steps"]
    header += [f"r({name}) {words[c]}" for c in columns for name in best.model.names]
    rows = [[*header, "ended"]]

    def correlations(run: Run, which: str) -> list[str]:
        return [_ratio(value) for c in columns for value in run.correlation(which + c)]

    if known:
        rows.append(["(start)", "", "", "", *([""] if likelihoods else []), *correlations(best, "start"), ""])
    for run in runs:
        likely = [_likelihood(run)] if likelihoods else []
        went = [f"{run.loss:.4f}", *likely, f"{run.record.seconds:.1f}", str(len(run.losses))]
        rows.append([_star(run, best), *went, *correlations(run, "fit"), run.record.ended])
    return rows


def _parameters(runs: Sequence[Run], best: Run, intervals: Mapping[str, str]) -> str:
    """Return a table with a row per fitted number and a column per run, the posterior's intervals first."""
    known, posterior = best.true is not None, ["posterior 90 %"] if intervals else []
    rows = [["parameter", "unit", *(["true"] if known else []), *posterior, *(_star(run, best) for run in runs)]]
    marks = {"lower": " <", "upper": " >", "": "  "}
    reached = [bound_reached(run.X, run.lower, run.upper) for run in runs]
    for k, name in enumerate(best.names):
        fits = [number(run.X[k]) + marks[at[k]] for run, at in zip(runs, reached, strict=True)]
        true = [_true(best.true[k])] if best.true is not None else []
        rows.append([name, _unit(name), *true, *([intervals.get(name, "-")] if intervals else []), *fits])
    return align(rows)
