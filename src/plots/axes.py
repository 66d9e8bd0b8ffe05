"""Functions that draw one thing on axes and return the axes; whole figures are made of them in `src.plots.figures`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from src.plots.style import FAINT, OTHER, TRUTH, new_axes, population_colours
from src.statistics.smoothing import SMOOTHING, smooth
from src.utils.exceptions import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_activity(
    time: np.ndarray,
    estimate: np.ndarray,
    *,
    dt: float,
    truth: np.ndarray | None = None,
    colour: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw the activity of one population: truth thin and grey, estimate bold, both smoothed.

    Bin by bin, counting noise hides everything at a width of ten seconds; the true activity per bin is faint behind.

    Parameters
    ----------
    time : array, (T,), s
    estimate, truth : array, (T,), Hz
    dt : float, s
        Bin width.
    colour : str
        Of the population.
    """
    ax = new_axes(ax)
    if truth is not None:
        ax.plot(time, truth, color=FAINT, lw=0.35, zorder=1, label=f"true, {1e3 * dt:g} ms bins")
    ax.plot(time, smooth(estimate, dt, SMOOTHING), color=colour, lw=1.8, zorder=2, label="estimate, 20 ms Gaussian")
    if truth is not None:
        ax.plot(time, smooth(truth, dt, SMOOTHING), color=TRUTH, lw=0.7, zorder=3, label="true, 20 ms Gaussian")
    ax.set(xlabel="time (s)", ylabel="activity (Hz)", ylim=(0, None))
    return ax


def plot_raster(time: np.ndarray, spikes: np.ndarray, *, colour: str, offset: int = 0, ax: Axes | None = None) -> Axes:
    """Draw the spikes of recorded neurons, (T, n_obs), one row each from row `offset` on, upwards; `time` (T,) in s."""
    ax = new_axes(ax)
    for i, train in enumerate(np.asarray(spikes).T):
        fired = time[train > 0]
        ax.vlines(fired, offset + i + 0.1, offset + i + 0.9, color=colour, lw=0.7)
    ax.set(xlabel="time (s)", ylabel="neuron", ylim=(0, max(offset + np.shape(spikes)[-1], 1)))
    return ax


def plot_states(edges: np.ndarray, winner: np.ndarray, colours: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draw a narrow band coloured by the winning population.

    Parameters
    ----------
    edges : array, (T + 1,), s
        Edges of the bins.
    winner : array of int, (T,)
        Index of the winner into `colours`; -1, drawn white, while there is none.
    colours : sequence of str
    """
    ax = new_axes(ax)
    winner = np.asarray(winner)
    cuts = np.flatnonzero(np.diff(winner)) + 1
    for first, last in zip(np.r_[0, cuts], np.r_[cuts, len(winner)], strict=True):
        if winner[first] >= 0:
            ax.axvspan(edges[first], edges[last], color=colours[winner[first]], lw=0)
    ax.set(xlabel="time (s)", yticks=[], ylim=(0, 1), xlim=(edges[0], edges[-1]))
    return ax


def plot_input(time: np.ndarray, external_input: np.ndarray, names: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draw the external input, (M, T) in 1/s, of the populations that get any; `time` (T,) in s."""
    ax = new_axes(ax)
    for series, colour in zip(external_input, population_colours(names).values(), strict=True):
        if np.any(series != 0):
            ax.plot(time, series, color=colour, lw=0.8)
    ax.set(xlabel="time (s)", ylabel="input (1/s)")
    return ax


def plot_steps(losses: np.ndarray, starts: Sequence[int], *, colour: str = TRUTH, ax: Axes | None = None) -> Axes:
    """Draw a loss over E-step gradient steps, broken where another EM step begins.

    Parameters
    ----------
    losses : array, (steps,)
        Of all E-steps, one after the other.
    starts : sequence of int
        Index of the first gradient step of each EM step; a thin line marks it.
    """
    ax = new_axes(ax)
    for first, last in itertools.pairwise([*starts, len(losses)]):
        marker = "." if last - first == 1 else ""
        ax.plot(np.arange(first, last), losses[first:last], color=colour, lw=1.4, marker=marker)
        ax.axvline(first, color=FAINT, lw=0.8, zorder=0)
    ax.set(xlabel="E-step gradient step (all EM steps in a row)")
    return ax


def plot_final_losses(losses: Mapping[str, float], best: str, *, ax: Axes | None = None) -> Axes:
    """Draw the final M-step loss of every run as a dot; the best one is bold and starred."""
    ax = new_axes(ax)
    for row, (name, loss) in enumerate(losses.items()):
        ax.plot(loss, row, **_mark(name == best))
    ax.set(xlabel="final loss (nats per population and bin)", yticks=range(len(losses)), yticklabels=list(losses))
    ax.set_ylim(len(losses) - 0.5, -0.5)
    ax.margins(x=0.12)
    ax.locator_params(axis="x", nbins=3)  # losses that agree need many digits
    ax.ticklabel_format(axis="x", useOffset=False)  # the offset would be written over the label
    ax.grid(axis="y", color=FAINT, lw=0.5)
    return ax


def _mark(best: bool) -> dict[str, Any]:
    """Return how a run is drawn: the best one as a black star, the others as grey dots."""
    if best:
        return {"marker": "*", "ms": 10, "mec": "white", "mew": 0.5, "color": "black", "ls": "", "zorder": 4}
    return {"marker": "o", "ms": 4, "mec": "white", "mew": 0.4, "color": OTHER, "ls": "", "zorder": 3}


def plot_history(histories: Mapping[str, np.ndarray], best: str, *, ax: Axes | None = None) -> Axes:
    """Draw the M-step loss over EM steps, one line per run, the best one bold.

    Parameters
    ----------
    histories : mapping of str to array, (EM steps,)
        Loss after each M-step.
    best : str
        Key of the best run.
    """
    ax = new_axes(ax)
    for name, loss in histories.items():
        colour, width, order = ("black", 1.8, 3) if name == best else (OTHER, 0.9, 2)
        label = f"best: {name}" if name == best else "other runs"
        ax.plot(np.arange(len(loss)), loss, marker=".", color=colour, lw=width, zorder=order, label=label)
    ax.set(xlabel="EM step", ylabel="loss after the M-step (nats)")
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # a single EM step, too
    return ax


def plot_parameters(
    values: Mapping[str, np.ndarray],
    best: str,
    *,
    labels: Sequence[str],
    colours: Sequence[str],
    lower: np.ndarray,
    upper: np.ndarray,
    true: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the fitted numbers of all runs, in units of the truth where it is known, and their bounds as bars.

    Without it, or where a true value is unknown or not positive, they are drawn by their place between the bounds, 0 at
    the lower and 1 at the upper one, with a line at each true value that is known.

    Parameters
    ----------
    values : mapping of str to array, (n,)
        Fitted numbers of each run.
    best : str
        Key of the best run.
    labels, colours : sequence of str, (n,)
        Of the numbers.
    lower, upper : array, (n,)
        Bounds.
    true : array, (n,) or None
        NaN where it is not known.
    """
    ax = new_axes(ax)
    place = np.arange(len(labels))
    in_units = in_units_of_truth(true)
    zero, one = (np.zeros(len(labels)), true) if true is not None and in_units else (lower, upper)
    if not np.all(one - zero > 0):
        raise InputError("parameters: expected lower bounds below upper ones")
    low, high = (lower - zero) / (one - zero), (upper - zero) / (one - zero)
    ax.bar(place, high - low, 0.7, low, color="#eeeeee", edgecolor="none", zorder=0, label="between the bounds")
    others = [name for name in values if name != best]
    for run, name in enumerate([*others, best]):
        scaled, mark = (values[name] - zero) / (one - zero), _mark(name == best)
        # Runs are spread sideways: several often sit on the same bound.
        x = place + (0 if name == best else 0.22 * (2 * (run + 0.5) / max(1, len(others)) - 1))
        for m, colour in enumerate(colours):
            look = {**mark, "color": colour} if name == best else mark
            ax.plot(x[m], scaled[m], label=f"best: {name}" if name == best else "other runs", **look)
    if in_units:
        ax.axhline(1, color=TRUTH, lw=0.8, zorder=1, label="truth")
    elif true is not None and np.isfinite(true).any():
        ax.hlines(
            (true - zero) / (one - zero), place - 0.35, place + 0.35, color=TRUTH, lw=0.8, zorder=1, label="truth"
        )
    ax.set(xticks=place, xticklabels=labels, xlim=(-0.6, len(labels) - 0.4))
    if len(labels) > 16:
        ax.tick_params(axis="x", labelrotation=90, labelsize=7)
    ax.margins(y=0.05)
    ax.use_sticky_edges = False
    ax.set_ylabel("fit / truth" if in_units else "place between the bounds")
    return ax


def in_units_of_truth(true: np.ndarray | None) -> bool:
    """Tell whether numbers can be drawn in units of their true values: all are known and positive."""
    return true is not None and bool((true > 0).all())
