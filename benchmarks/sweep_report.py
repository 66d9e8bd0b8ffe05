"""Tables and figures of `benchmarks.sweep`, from the rows of its table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from src.plots.style import put_title, styled
from src.utils.text import align

Row = dict[str, str]
FIT, POSTERIOR = "#d55e00", "#0173b2"


@dataclass(frozen=True)
class Axis:
    """One thing that is varied: what it is called, its values, and whether they go by factors."""

    label: str
    values: tuple[float, ...]
    logarithmic: bool = True


AXES = {
    "neurons": Axis("recorded neurons", (3, 9, 30, 90)),
    "length": Axis("length (s)", (2, 5, 10, 50, 200)),
    "trials": Axis("trials of 10 s in all", (1, 2, 5, 10)),
    "size": Axis("assumed / true size", (0.5, 1, 2)),
    "heterogeneity": Axis("variation of mu, J", (0, 0.1, 0.25, 0.5), logarithmic=False),
}


def of_numbers(rows: Sequence[Row], kind: str) -> np.ndarray:
    """Return what the rows say of each fitted number, (rows, numbers)."""
    return np.array([[float(value) for name, value in row.items() if name.startswith(f"{kind} ")] for row in rows])


def median(rows: Sequence[Row], name: str) -> float:
    """Return the median of a column."""
    return float(np.median([float(row[name]) for row in rows]))


def error(ratios: np.ndarray) -> float:
    """Return the median over all numbers of how far an estimate is off, as a share; NaN without any."""
    return float(np.expm1(np.median(np.abs(np.log(np.maximum(ratios, 1e-3)))))) if ratios.size else np.nan


def at_value(rows: Sequence[Row]) -> dict[str, float]:
    """Return what the recordings of one value show together."""
    with_posterior = [row for row in rows if any(name.startswith("median") for name in row)]
    found = {"fit": error(of_numbers(rows, "fit")), "activity": median(rows, "activity")}
    found |= {"posterior": np.nan, "width": np.nan, "coverage": np.nan}
    if with_posterior:
        found["posterior"] = error(of_numbers(with_posterior, "median"))
        found["width"] = float(np.exp(np.median(np.log(of_numbers(with_posterior, "width")))))
        found["coverage"] = float(of_numbers(with_posterior, "inside").mean())
    return found | {"seconds": median(rows, "seconds")}


def by_value(rows: Sequence[Row]) -> dict[float, dict[str, float]]:
    """Return `at_value` for all values, in ascending order."""
    values = sorted({float(row["value"]) for row in rows})
    return {value: at_value([row for row in rows if float(row["value"]) == value]) for value in values}


def sweep_table(axis: Axis, rows: Sequence[Row]) -> str:
    """Return the table of one axis."""
    table = [[axis.label, "recordings", "error of the fit", "of the posterior", "width", "inside", "r", "seconds"]]
    for value, found in by_value(rows).items():
        number = sum(float(row["value"]) == value for row in rows)
        shares = [f"{100 * found[key]:.0f} %" if np.isfinite(found[key]) else "-" for key in ("fit", "posterior")]
        width, inside = (f"{found[key]:.2f}" if np.isfinite(found[key]) else "-" for key in ("width", "coverage"))
        table.append(
            [f"{value:g}", str(number), *shares, width, inside, f"{found['activity']:.2f}", f"{found['seconds']:.0f}"]
        )
    return align(table)


@styled
def sweep_figure(axis: Axis, rows: Sequence[Row]) -> Figure:
    """Show error, width, coverage and activity over the values of one axis; a dot for each recording."""
    figure = Figure(figsize=(9.6, 2.9))
    axes = figure.subplots(1, 4)
    found = by_value(rows)
    values = list(found)
    for ax, keys in zip(axes, (("fit", "posterior"), ("width",), ("coverage",), ("activity",)), strict=True):
        for key in keys:
            colour = FIT if key in ("fit", "activity") else POSTERIOR
            factor = 100 if key in ("fit", "posterior") else 1
            label = {"fit": "fit", "posterior": "median of the posterior"}.get(key)
            ax.plot(values, [factor * one[key] for one in found.values()], "o-", color=colour, ms=4, label=label)
        if axis.logarithmic:
            ax.set_xscale("log")
            ax.set_xticks(values, [f"{value:g}" for value in values])
            ax.minorticks_off()
        ax.set_xlabel(axis.label)
    titles = ("error of a number (%)", "90 % interval, end / end", "intervals with truth", "correlation of activity")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=9)
    axes[0].set_ylim(bottom=0)
    axes[0].legend(fontsize=7)
    axes[2].axhline(0.9, color="#888888", lw=0.6)
    axes[2].set_ylim(0, 1.05)
    axes[3].set_ylim(-0.3, 1)
    put_title(figure, f"One population, medians over recordings: {axis.label}")
    return figure
