"""The figure of free simulations of draws from a posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from src.plots.style import FAINT, OTHER, legend_once, new_figure, population_colours, put_title, styled
from src.posterior.free_runs import FreeRuns, over_draws
from src.statistics.smoothing import smooth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 0.08
"""Standard deviation of the Gaussian that smooths the examples, in s: that of the detection of switches."""


MOST_BARS = 25
"""In the histogram of switches."""


@styled
def free_runs_figure(runs: FreeRuns) -> Figure:
    """Show some draws' activities, and the rates and switches of all draws."""
    examples = runs.examples()
    figure = new_figure(figsize=(9, 2.6 + 1.35 * len(examples)))
    grid = figure.add_gridspec(len(examples) + 1, 2, height_ratios=[1.0] * len(examples) + [1.5])
    above = [figure.add_subplot(grid[row, :]) for row in range(len(examples))]
    for ax, k in zip(above, examples, strict=True):
        _draw_example(ax, runs, k)
        ax.sharex(above[0])
        ax.tick_params(labelbottom=ax is above[-1])
    above[-1].set_xlabel("time (s)")
    legend_once(above[0], at=figure, loc="outside upper right", ncols=runs.model.n_populations)
    _draw_rates(figure.add_subplot(grid[-1, :] if not runs.switching else grid[-1, 0]), runs)
    if runs.switching:
        _draw_switches(figure.add_subplot(grid[-1, 1]), runs.switches, 100 / runs.seconds)
    put_title(figure, f"Free simulation of {len(runs.draws)} circuits drawn from the posterior")
    return figure


def _draw_example(ax: Axes, runs: FreeRuns, k: int) -> None:
    """Draw the smoothed activity of the k-th draw."""
    dt = runs.model.dt
    time = dt * (np.arange(runs.activity.shape[-1]) + 0.5)
    for activity, (name, colour) in zip(runs.activity[k], population_colours(runs.model.names).items(), strict=True):
        ax.plot(time, smooth(activity / dt, dt, SHOWN), color=colour, lw=0.8, label=name)
    found = f": {len(runs.switching[k].times)} switches in {runs.seconds:g} s" if runs.switching else ""
    ax.set_title(f"draw {runs.draws[k]}{found}")
    ax.set(ylabel="activity (Hz)", ylim=(0, None), xlim=(0, runs.seconds))


def _draw_rates(ax: Axes, runs: FreeRuns) -> None:
    """Draw the mean rate of every draw as a dot, with median and 90 % interval beside."""
    rng = np.random.default_rng(0)  # spreads the dots sideways
    for m, (rates, colour) in enumerate(zip(runs.rates.T, population_colours(runs.model.names).values(), strict=True)):
        ax.plot(m + rng.uniform(-0.15, 0.15, len(rates)), rates, ".", color=colour, ms=4, alpha=0.6, mec="none")
        _draw_interval(ax, m + 0.28, rates, colour)
    ax.set(xticks=range(runs.model.n_populations), xticklabels=runs.model.names, ylabel="mean rate (Hz)")
    ax.set(ylim=(0, None), title="Rates of all draws; bars: median and 90 %")
    ax.margins(x=0.1)


def _draw_interval(ax: Axes, x: float, values: Sequence[float] | np.ndarray, colour: str) -> None:
    found = over_draws(values)
    ax.plot([x, x], [found.low, found.high], color=colour, lw=2)
    ax.plot(x, found.value, "o", color=colour, ms=5, mec="white", mew=0.6)


def _draw_switches(ax: Axes, switches: np.ndarray, unit: float) -> None:
    """Draw a histogram of the switches in 100 s, of which one switch is `unit`, with median and 90 % interval."""
    found = over_draws(switches)
    width = unit * np.ceil((switches.max() / unit + 1) / MOST_BARS)
    edges = -unit / 2 + width * np.arange(max(5, np.ceil((switches.max() + unit) / width)) + 1)
    ax.axvspan(found.low, found.high, color="#ececec", lw=0, zorder=0)
    ax.hist(switches, bins=edges, color=OTHER, ec="white", lw=0.5)
    ax.axvline(found.value, color="black", lw=1.2)
    ax.set(xlabel="switches in 100 s", ylabel="draws", xlim=(edges[0], edges[-1]))
    ax.set_title("Switches of all draws; line and shade: median and 90 %")
    ax.grid(axis="y", color=FAINT, lw=0.4)
    ax.set_axisbelow(True)
