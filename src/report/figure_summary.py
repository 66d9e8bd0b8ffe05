"""The figure that sums up a folder of trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from src.plots.axes import in_units_of_truth, plot_activity, plot_final_losses, plot_history, plot_parameters
from src.plots.style import TRUTH, legend_once, new_figure, population_colours, put_title, styled
from src.runs.load import Activity, Run, best_run, ranked_by
from src.statistics.populations import competing_pair
from src.statistics.switching import find_switches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SYMBOLS = {"membrane_rate": r"$\alpha$", "coupling": r"$|J|$", "resting_potential": r"$\mu$", "threshold": r"$\theta$"}


@styled
def summary_figure(runs: Sequence[Run], activity: Activity, title: str) -> Figure:
    """Show the losses and fitted numbers of all runs, and the activity that the best one inferred.

    Parameters
    ----------
    runs : sequence of Run
        At least one.
    activity : Activity
        Inferred by the best of them.
    title : str
    """
    best = best_run(runs)
    M = best.model.n_populations
    figure = new_figure(figsize=(9, 5.4 + 1.05 * M))
    grid = figure.add_gridspec(2 + M, 2, height_ratios=[2.3, 2.5, *[1.0] * M], width_ratios=[1, 1.25])
    _draw_losses([figure.add_subplot(grid[0, k]) for k in range(2)], runs, best)
    _draw_parameters(figure.add_subplot(grid[1, :]), runs, best)
    below = [figure.add_subplot(grid[2 + m, :]) for m in range(M)]
    _draw_activity(below, activity, best)
    figure.align_ylabels(below)
    legend_once(*below, at=figure, loc="outside lower right", ncols=3)
    put_title(figure, title)
    return figure


@styled
def losses_figure(runs: Sequence[Run]) -> Figure:
    """Show the final loss and the EM history of every run."""
    figure = new_figure(figsize=(9, max(2.6, 1.2 + 0.16 * len(runs))))
    _draw_losses(figure.subplots(1, 2, width_ratios=[1, 1.25]), runs, best_run(runs))
    return figure


@styled
def parameters_figure(runs: Sequence[Run]) -> Figure:
    """Show the fitted numbers of every run between their bounds."""
    figure = new_figure(figsize=(9, 3))
    _draw_parameters(figure.subplots(), runs, best_run(runs))
    return figure


def _draw_losses(axes: Sequence[Axes], runs: Sequence[Run], best: Run) -> None:
    """Draw the final losses and the histories of all runs."""
    losses, history = axes
    plot_final_losses({run.name: run.loss for run in runs}, best.name, ax=losses)
    losses.set_title(f"Final loss; {best.name} has {ranked_by(runs)}")
    plot_history({run.name: run.history for run in runs}, best.name, ax=history)
    history.set_title("EM history of every run")
    legend_once(history, at=history, loc="best")


def _draw_parameters(ax: Axes, runs: Sequence[Run], best: Run) -> None:
    """Draw the fitted numbers of all runs; those of the best one in the colour of their population."""
    colours = population_colours(best.model.names)
    words = [name.split(" ", 1) for name in best.names]
    populations = [place.split("->")[0] for _, place in words]  # of a coupling, the presynaptic one
    plot_parameters(
        {run.name: run.X for run in runs},
        best.name,
        labels=[f"{SYMBOLS.get(word, word)} {population}" for word, population in words],
        colours=[colours.get(population, TRUTH) for population in populations],
        lower=best.lower,
        upper=best.upper,
        true=best.true,
        ax=ax,
    )
    in_units = ", in units of the true ones" if in_units_of_truth(best.true) else ""
    ax.set_title("Fitted parameters of every run" + in_units)
    legend_once(ax, at=ax, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderpad=0)


def _draw_activity(axes: Sequence[Axes], activity: Activity, best: Run) -> None:
    """Draw what the best run inferred, one population per axes."""
    dt = best.model.dt
    time = activity.time0 + dt * (np.arange(activity.estimate.shape[-1]) + 0.5)
    fine, smoothed = best.correlation("fit"), best.correlation("fit_20ms")
    for m, (ax, (name, colour)) in enumerate(zip(axes, population_colours(best.model.names).items(), strict=True)):
        truth = None if activity.truth is None else activity.truth[m] / dt
        plot_activity(time, activity.estimate[m] / dt, dt=dt, truth=truth, colour=colour, ax=ax)
        ax.set(xlim=(time[0], time[-1]), ylabel=f"{name} (Hz)")
        ax.yaxis.label.set_color(colour)
        if truth is not None:
            words = f"correlation {fine[m]:.2f} in {1e3 * dt:g} ms bins, {smoothed[m]:.2f} after smoothing"
            ax.set_title(words, loc="right", fontsize=8, pad=2)
        if ax is not axes[-1]:
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
    which = f", trial {activity.trial + 1} of {activity.n_trials}" if activity.n_trials > 1 else ""
    axes[0].set_title(f"Activity inferred by {best.name}{which}{_switches(activity, best)}")


def _switches(activity: Activity, best: Run) -> str:
    """Say how often the inferred and the true activity switch, if two populations compete."""
    pair, dt = competing_pair(best.model.names), best.model.dt
    if not pair:
        return ""
    known = [rate for rate in (activity.estimate, activity.truth) if rate is not None]
    counts = [len(find_switches(rate / dt, dt, pair=pair).times) for rate in known]
    return f": {counts[0]} switches" + (f", truth {counts[1]}" if len(counts) > 1 else "")
