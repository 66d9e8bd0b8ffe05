"""Figures of the numbers of a posterior: marginals, and pairs along the sloppiest direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from src.model.free_parameters import FreeParameters
from src.plots.style import OTHER, TRUTH, legend_once, new_figure, population_colours, put_title, styled
from src.posterior.directions import directions
from src.posterior.prior import in_logs, ln_prior_of_each, prior_quantiles, to_logs
from src.posterior.result import Posterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PAIRED = 4
"""Numbers in the figure of pairs."""
MOST_POINTS = 2000
BINS = 30
ZOOMED = 0.05
"""Width of a posterior over that of its prior below which it is drawn without the prior's ends."""
Fits = Mapping[str, np.ndarray]
"""Fitted numbers, (n,), of trainings by their names."""


def _colours(free: FreeParameters, names: Sequence[str]) -> list[str]:
    """Return a colour for each number: that of its population, of a coupling the presynaptic one."""
    colours = population_colours(names)
    return [colours.get(name.partition(" ")[2].split("->")[0], OTHER) for name in free.names]


def _label(name: str, unit: str) -> str:
    return name.replace("_", " ").replace("->", "→") + (f" ({unit})" if unit else "")


def _limits(posterior: Posterior, fits: Fits) -> np.ndarray:
    """Return where the axes of each number end, (2, n): at those of the prior, unless the posterior is far narrower."""
    free, draws = posterior.model.fitted, posterior.draws
    ends = prior_quantiles(free, np.array([0, 1]))
    inner = prior_quantiles(free, np.array([0.005, 0.995]))
    low, high = to_logs(free, np.where(np.isfinite(ends) & (ends != 0), ends, inner))
    points = to_logs(free, np.stack([draws.min(axis=0), draws.max(axis=0), *fits.values()]))
    if posterior.true is not None:
        points = np.vstack([points, to_logs(free, np.where(np.isfinite(posterior.true), posterior.true, draws[0]))])
    first, last = points.min(axis=0), points.max(axis=0)
    zoom = (last > first) & (last - first < ZOOMED * (high - low))
    margin = np.where(zoom, last - first, 0.05 * (high - low))
    low, high = np.where(zoom, first, np.minimum(low, first)), np.where(zoom, last, np.maximum(high, last))
    limits = np.stack([low - margin, high + margin])
    return np.where(in_logs(free), np.exp(limits), limits)


@styled
def marginals_figure(posterior: Posterior, fits: Fits) -> Figure:
    """Show the draws of every fitted number as a histogram, the prior between its bounds, EM fits, and the truth.

    Densities are those of the logarithm where the number can only be positive, as its axis is logarithmic then.
    """
    free = posterior.model.fitted
    n = len(free.names)
    columns = min(n, 3 if n <= 12 else 5)
    rows = -(-n // columns)
    figure = new_figure(figsize=(9, 0.7 + 1.35 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    limits, colours = _limits(posterior, fits), _colours(free, posterior.model.names)
    for k, ax in enumerate(axes[:n]):
        _draw_marginal(ax, posterior, k, limits[:, k], colours[k])
        for X in fits.values():
            look: dict[str, Any] = {"ls": "", "marker": "|", "ms": 9, "mew": 1.3, "color": "black"}
            ax.plot(X[k], 0.08, transform=ax.get_xaxis_transform(), label="EM fits", **look)
        ax.set_title(_label(free.names[k], free.units[k]), color=colours[k], pad=3)
    for ax in axes[n:]:
        ax.set_axis_off()
    put_title(figure, "What the spikes say about each number")
    legend_once(*axes[:n], at=figure, loc="outside upper right", ncols=4)
    return figure


def _draw_marginal(ax: Axes, posterior: Posterior, k: int, limits: np.ndarray, colour: str) -> None:
    """Draw histogram, prior and truth of number k."""
    free, x = posterior.model.fitted, posterior.draws[:, k]
    logs = bool(in_logs(free)[k])
    first, last = np.quantile(x, [0.001, 0.999])
    first, last = (first, last) if first < last else limits
    spaced = np.geomspace if logs else np.linspace
    edges = spaced(float(first), float(last), BINS + 1)
    heights = np.histogram(x, edges)[0] / (len(x) * np.diff(np.log(edges) if logs else edges))
    ax.stairs(heights, edges, fill=True, color=colour, alpha=0.55, label="posterior")
    grid = spaced(float(limits[0]), float(limits[1]), 2000)
    points = np.repeat(posterior.draws[:1], len(grid), axis=0)
    points[:, k] = grid
    prior = np.exp(ln_prior_of_each(free, points)[:, k]) * (grid if logs else 1)
    ax.plot(grid, prior, color=OTHER, lw=1.0, label="prior")
    if posterior.true is not None and np.isfinite(posterior.true[k]):
        ax.axvline(posterior.true[k], color=TRUTH, lw=0.8, label="truth")
    ax.set(xlim=limits, ylim=(0, None), yticks=[])
    _scale(ax.xaxis, logs, limits)
    ax.spines["left"].set_visible(False)


def _scale(axis: Any, logs: bool, limits: np.ndarray) -> None:
    """Make an axis logarithmic, with plain numbers at a few ticks, or leave it linear."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    if logs:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    few = limits[1] < 30 * limits[0] or not logs
    axis.set_major_locator(MaxNLocator(4) if few else LogLocator(subs=(1, 3), numticks=5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


@styled
def pairs_figure(posterior: Posterior, fits: Fits) -> Figure:
    """Show the numbers that change most along the sloppiest direction against each other, EM fits, and the truth."""
    free, names = posterior.model.fitted, posterior.model.names
    which = np.sort(np.argsort(-np.abs(directions(posterior)[0].weights))[:MOST_PAIRED])
    n, limits, logs = len(which), _limits(posterior, fits), in_logs(free)
    draws = posterior.draws[:: -(-len(posterior.draws) // MOST_POINTS)]
    figure = new_figure(figsize=(9, 0.5 + 1.85 * n))
    axes, colours = figure.subplots(n, n, squeeze=False), _colours(free, names)
    for i, row in enumerate(which):
        for j, column in enumerate(which):
            ax = axes[i, j]
            if j > i:
                ax.set_axis_off()
                continue
            label = _label(free.names[column], free.units[column])
            if j == i:
                _draw_marginal(ax, posterior, column, limits[:, column], colours[column])
                ax.set_title(label, color=colours[column], pad=3)
            else:
                _draw_pair(ax, draws[:, [column, row]], fits, posterior.true, (column, row))
                ax.set(xlim=limits[:, column], ylim=limits[:, row])
                _scale(ax.xaxis, logs[column], limits[:, column])
                _scale(ax.yaxis, logs[row], limits[:, row])
            if j == 0 and i > 0:
                ax.set_ylabel(_label(free.names[row], free.units[row]))
            elif 0 < j < i:
                ax.tick_params(labelleft=False)
            if i == n - 1:
                ax.set_xlabel(label)
            else:
                ax.tick_params(labelbottom=False)
    put_title(figure, "Numbers that change together: the sloppiest direction")
    legend_once(*axes.ravel(), at=axes[0, -1], loc="upper right")
    return figure


def _draw_pair(ax: Axes, draws: np.ndarray, fits: Fits, true: np.ndarray | None, pair: tuple[int, int]) -> None:
    """Draw draws, (k, 2), EM fits and truth of a pair of numbers."""
    ax.plot(*draws.T, ls="", marker=".", ms=3, color=OTHER, alpha=0.5, mec="none", label="draws")
    if true is not None and np.isfinite(true[list(pair)]).all():
        ax.plot(*true[list(pair)], ls="", marker="+", ms=12, mew=1.4, color=TRUTH, label="truth")
    for X in fits.values():
        ax.plot(*X[list(pair)], ls="", marker="*", ms=8, mec="white", mew=0.5, color="black", label="EM fits")
