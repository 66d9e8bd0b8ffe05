"""The posterior in a table with a row for each fitted number, and the same as a dictionary."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from src.model.free_parameters import FreeParameters
from src.posterior.diagnostics import effective_samples, r_hat
from src.posterior.prior import ENDS, prior_quantiles, prior_width, to_logs
from src.posterior.result import Posterior
from src.utils.text import align, number

NEAR = 0.02
"""Share of the way between the bounds, of logarithms where both are positive, that counts as near one of them."""


@dataclass(frozen=True)
class Marginal:
    """What the posterior says of one fitted number.

    Parameters
    ----------
    name, unit : str
    median, low, high : float
        Median and 90 % interval.
    true : float or None
        Where the data set knows it.
    width : float
        Width of the 90 % interval over that of the prior, of logarithms where the number can only be positive.
    effective : float
        Effective samples; NaN for a number that never varies.
    r_hat : float
        NaN where nothing can be compared.
    near_lower, near_upper : float
        Share of the draws within `NEAR` of a bound.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    true: float | None
    width: float
    effective: float
    r_hat: float
    near_lower: float
    near_upper: float


def marginals(posterior: Posterior) -> list[Marginal]:
    """Return what the posterior says of each fitted number.

    Raises
    ------
    InputError
        A number has neither a prior nor finite bounds.
    """
    free, draws = posterior.model.fitted, posterior.draws
    logs = to_logs(free, posterior.X)
    low, median, high = np.quantile(draws, [ENDS[0], 0.5, ENDS[1]], axis=0)
    width = np.diff(np.quantile(logs.reshape(draws.shape), ENDS, axis=0), axis=0)[0] / prior_width(free)
    columns = (median, low, high, width, effective_samples(logs), r_hat(logs, posterior.origin))
    near = near_bounds(free, draws)
    true = np.full(len(free.names), np.nan) if posterior.true is None else posterior.true
    rows = []
    for k, (name, unit) in enumerate(zip(free.names, free.units, strict=True)):
        middle, start, end, share, effective, ratio = (float(column[k]) for column in columns)
        truth = float(true[k]) if np.isfinite(true[k]) else None
        sides = (float(side[k]) for side in near)
        rows.append(Marginal(name, unit, middle, start, end, truth, share, effective, ratio, *sides))
    return rows


def interval(row: Marginal) -> str:
    """Return the 90 % interval in words: from and to."""
    return f"{number(row.low)} to {number(row.high)}"


def near_bounds(free: FreeParameters, draws: np.ndarray) -> np.ndarray:
    """Return the share of draws, (k, n), near the lower and near the upper bound of each number: (2, n).

    Where there is a bound on one side only, the prior's 98 % interval stands for the way between them.
    """
    low, first, last, high = to_logs(free, prior_quantiles(free, np.array([0, 0.01, 0.99, 1])))
    way = np.where(np.isfinite(high - low), high - low, last - first)
    logs = to_logs(free, draws)
    return np.stack([(logs < low + NEAR * way).mean(axis=0), (logs > high - NEAR * way).mean(axis=0)])


def table_rows(rows: list[Marginal]) -> list[list[str]]:
    """Return the rows of a table of the posterior as they are shown, the first of which is its header."""
    known = any(row.true is not None for row in rows)
    header = ["parameter", "unit", "median", "5 %", "95 %", *(["true"] if known else [])]
    cells = [[*header, "width/prior", "effective", "R-hat", "near a bound"]]
    for row in rows:
        truth = [number(row.true) if row.true is not None else "unknown"] if known else []
        found = [number(row.median), number(row.low), number(row.high), *truth]
        draws = f"{row.effective:.0f}" if isfinite(row.effective) else "-"
        ratio = f"{row.r_hat:.3f}" if isfinite(row.r_hat) else "-"
        sides = {"<": row.near_lower, ">": row.near_upper}
        near = " ".join(f"{mark} {share:.1%}" for mark, share in sides.items() if share >= 0.0005) or "-"
        cells.append([row.name, row.unit, *found, f"{row.width:.2f}", draws, ratio, near])
    return cells


NOTE = (
    "5 %, 95 %: ends of the 90 % interval.  width/prior: its width over that of the prior.\n"
    "effective: independent draws that would say as much.  R-hat: of walkers of different origins, 1 if they agree.\n"
    "near a bound: share of draws within 2 % of the way to the lower (<) or upper (>) one."
)


def posterior_table(posterior: Posterior) -> str:
    """Return the table of a posterior, with notes on its columns.

    Raises
    ------
    InputError
        As `marginals`.
    """
    draws, walkers = len(posterior.draws), posterior.X.shape[1]
    origins = len(np.unique(posterior.origin))
    title = f"Posterior: {draws} draws of {walkers} walkers from {origins} origin{'s' if origins > 1 else ''}."
    return "\n".join([title, align(table_rows(marginals(posterior))), NOTE])


def table_as_dict(posterior: Posterior) -> dict[str, Any]:
    """Return the table as JSON can hold it: by the names of the numbers, null for what is not known.

    Raises
    ------
    InputError
        As `marginals`.
    """
    found = {}
    for row in marginals(posterior):
        content = {key: _plain(value) for key, value in asdict(row).items() if key != "name"}
        found[row.name] = content
    return found


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
