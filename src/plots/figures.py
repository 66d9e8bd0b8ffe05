"""Whole figures, made of the functions in `src.plots.axes`: each function returns a figure, saving is the caller's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from src.plots.axes import plot_activity, plot_input, plot_raster, plot_states, plot_steps
from src.plots.style import EXCITATORY, legend_once, new_figure, population_colours, put_title, styled
from src.statistics.populations import competing_pair
from src.statistics.smoothing import SMOOTHING, correlation, smooth
from src.statistics.switching import Switching, find_switches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _edges(start: float, dt: float, n_bins: int) -> np.ndarray:
    return start + dt * np.arange(n_bins + 1)


def _plot_winner(ax: Axes, switching: Switching, edges: np.ndarray, names: Sequence[str], label: str) -> None:
    """Draw a band that shows who wins, without axes of its own but for a label at its left."""
    first, second = competing_pair(names) or (0, 0)
    colours = list(population_colours(names).values())
    winner = np.choose(switching.state + 1, [second, -1, first])
    plot_states(edges, winner, colours, ax=ax)
    ax.spines[:].set_visible(False)
    ax.tick_params(bottom=False, labelbottom=False)
    ax.set(xlabel="")
    ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)


def _agreement(estimate: np.ndarray, truth: np.ndarray, dt: float) -> str:
    """Say how well two series of one population, (T,), correlate: bin by bin, and smoothed."""
    fine = correlation(estimate, truth)
    smoothed = correlation(smooth(estimate, dt, SMOOTHING), smooth(truth, dt, SMOOTHING))
    words = [f"{round(value, 2) + 0.0:.2f}" if np.isfinite(value) else "undefined" for value in (fine, smoothed)]
    return f"correlation with the truth {words[0]} in {1e3 * dt:g} ms bins, {words[1]} after smoothing"


@styled
def activity_figure(
    time0: float,
    dt: float,
    estimate: np.ndarray,
    truth: np.ndarray | None,
    spikes: Sequence[np.ndarray],
    names: Sequence[str],
    title: str,
    stimulus: np.ndarray | None = None,
) -> Figure:
    """Show recorded spikes and the estimated activity of every population, with the truth where it is known.

    Parameters
    ----------
    time0 : float, s
        Where the first bin begins.
    dt : float, s
        Bin width.
    estimate : array, (M, T)
        Estimated fraction of each population that fired.
    truth : array, (M, T) or None
        True fraction.
    spikes : sequence of array, (T, n_obs), 0/1
        Spikes of the recorded neurons of each population.
    names : sequence of str, (M,)
    title : str
    stimulus : array, (M, T), or None
        Known external input.
    """
    edges = _edges(time0, dt, estimate.shape[-1])
    driven = stimulus is not None and bool(np.any(stimulus))
    bands = [("truth", truth)] if truth is not None else []
    bands = [("estimate", estimate), *bands] if competing_pair(names) else []
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tight = ConstrainedLayoutEngine(h_pad=0.01, hspace=0.01)
    figure = new_figure(figsize=(9, 0.5 + 1.6 * len(names) + 0.8 * driven + 0.2 * len(bands)), layout=tight)
    # Beyond some neurons the rasters get no higher, so that something is left for the rates.
    heights = [0.18 + 0.08 * min(trains.shape[-1], 12) for trains in spikes]
    ratios = [ratio for height in heights for ratio in (height, 1.25)] + [0.6] * driven + [0.1] * len(bands)
    axes = figure.subplots(len(ratios), sharex=True, gridspec_kw={"height_ratios": ratios})
    _draw_populations(axes, edges, dt, estimate / dt, None if truth is None else truth / dt, spikes, names)
    if stimulus is not None and driven:
        plot_input(edges[:-1] + dt / 2, stimulus, names, ax=axes[2 * len(names)]).set(ylabel="stimulus")
    for ax, (label, activity) in zip(axes[2 * len(names) + driven :], bands, strict=True):
        switching = find_switches(activity / dt, dt, pair=competing_pair(names) or (0, 1))
        _plot_winner(ax, switching, edges, names, f"winner, {label}")
    _time_axis_below(axes)
    put_title(figure, title)
    legend_once(*axes[1 : 2 * len(names) : 2], at=figure, loc="outside upper right", ncols=3)
    return figure


def _draw_populations(
    axes: Sequence[Axes],
    edges: np.ndarray,
    dt: float,
    estimate: np.ndarray,
    truth: np.ndarray | None,
    spikes: Sequence[np.ndarray],
    names: Sequence[str],
) -> None:
    """Draw a raster and the activity, in Hz, of each population on two axes each."""
    centres = edges[:-1] + dt / 2
    for m, (name, colour) in enumerate(population_colours(names).items()):
        raster, ax = axes[2 * m], axes[2 * m + 1]
        plot_raster(centres, spikes[m], colour=colour, ax=raster)
        raster.spines[:].set_visible(False)
        raster.tick_params(bottom=False, left=False, labelleft=False)
        raster.set(ylabel="")
        recorded = f"{spikes[m].shape[-1] or 'no'} recorded neuron{'s' if spikes[m].shape[-1] != 1 else ''}"
        raster.set_title(f"{name}, {recorded}", color=colour, fontweight="bold", pad=2)
        if truth is not None:
            raster.set_title(_agreement(estimate[m], truth[m], dt), loc="right", fontsize=8, pad=2)
        true = None if truth is None else truth[m]
        plot_activity(centres, estimate[m], dt=dt, truth=true, colour=colour, ax=ax)
        ax.set_ylabel("activity (Hz)")
        ax.set_xlim(edges[0], edges[-1])


def _time_axis_below(axes: Sequence[Axes]) -> None:
    """Leave the time axis to the last of axes that share it."""
    for ax in axes[:-1]:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
    axes[-1].spines["bottom"].set_visible(True)
    axes[-1].tick_params(bottom=True, labelbottom=True)
    axes[-1].set_xlabel("time (s)")


@styled
def loss_figure(
    loss_y: Sequence[float] | np.ndarray,
    loss_Z: Sequence[float] | np.ndarray,
    starts: Sequence[int],
    *,
    loss_M: Sequence[float] | None = None,
    of_activity: str = "population activity\nloss_Z",
    title: str = "Loss during the E-steps (nats per population and bin)",
) -> Figure:
    """Show both parts of the loss and their sum over all E-step gradient steps, with the EM steps marked.

    Parameters
    ----------
    loss_y, loss_Z : sequence of float, (steps,)
        Losses after each gradient step, all E-steps in a row.
    starts : sequence of int, (E-steps,)
        Index of the first gradient step of each E-step.
    loss_M : sequence of float, (E-steps,), or None
        Loss that the M-step before each E-step had reached.
    of_activity : str
        What `loss_Z` is called.
    title : str
    """
    figure = new_figure(figsize=(9, 5))
    axes = figure.subplots(3, sharex=True)
    total = np.add(loss_y, loss_Z)
    labels = ("recorded spikes\nloss_y", of_activity, "sum of both")
    for ax, losses, label in zip(axes, (loss_y, loss_Z, total), labels, strict=True):
        plot_steps(np.asarray(losses, float), starts, ax=ax)
        ax.set(ylabel=label)
        if ax is not axes[-1]:
            ax.set_xlabel("")
    if loss_M is not None:
        axes[-1].plot(starts, loss_M, "D", ms=4, color=EXCITATORY[5], label="reached by the M-step before")
        legend_once(axes[-1], at=axes[-1], loc="best")
    _name_em_steps(axes[0], starts, len(total))
    put_title(figure, title)
    return figure


def _name_em_steps(ax: Axes, starts: Sequence[int], n_steps: int) -> None:
    """Write ``EM 1``, ``EM 2``, ... above the steps, as many as find room."""
    room, last = max(1, n_steps) / 18, -np.inf
    for k, first in enumerate(starts):
        if first - last >= room:
            ax.text(first, 1.03, f"EM {k + 1}", transform=ax.get_xaxis_transform(), fontsize=8)
            last = first


@styled
def simulation_figure(
    activity: np.ndarray,
    dt: float,
    names: Sequence[str],
    *,
    spikes: np.ndarray | None = None,
    external_input: np.ndarray | None = None,
    zoom: tuple[float, float] | None = None,
    title: str = "Free simulation",
) -> Figure:
    """Show a long free simulation, who wins when, and some seconds of it closely.

    Parameters
    ----------
    activity : array, (M, T)
        Fraction of each population that fired.
    dt : float, s
        Bin width.
    names : sequence of str, (M,)
    spikes : array, (M, T, n_obs), 0/1, or None
        Spikes of simulated recorded neurons, drawn in the close view.
    external_input : array, (M, T), 1/s, or None
        Drawn where it is not zero throughout.
    zoom : two floats, s, or None
        Interval of the close view; by default four seconds around the switch nearest to the middle, or at the middle.
    title : str
    """
    rate = activity / dt
    pair = competing_pair(names)
    switching = find_switches(rate, dt, pair=pair) if pair else None
    length = dt * rate.shape[-1]
    zoom = zoom or _close_view(switching.times if switching else np.array([]), length)
    driven = external_input is not None and bool(np.any(external_input != 0))
    n_raster = 0 if spikes is None else int(np.prod(spikes.shape[::2]))
    rows = {"long": 2.2, "band": 0.16 if pair else 0.0, "input": 0.8 if driven else 0.0}
    close = {"raster": 0.06 * n_raster + 0.1 if n_raster else 0.0, "rates": 1.6}
    figure, above, below = _two_blocks({k: v for k, v in rows.items() if v}, {k: v for k, v in close.items() if v})
    edges = _edges(0.0, dt, rate.shape[-1])
    _draw_long(above, edges, rate, switching, external_input, names, zoom)
    _draw_close(below, edges, rate, spikes, names, zoom)
    figure.align_ylabels([above["long"], below["rates"], *([above["input"]] if driven else [])])
    put_title(figure, title)
    legend_once(above["long"], at=figure, loc="outside upper right", ncols=len(names))
    return figure


def _close_view(switches: np.ndarray, length: float, width: float = 4.0) -> tuple[float, float]:
    """Return an interval of `width` s around the switch nearest to the middle of `length` s."""
    width = min(width, length)
    centre = switches[np.argmin(np.abs(switches - length / 2))] if len(switches) else length / 2
    start = float(np.clip(centre - width / 2, 0, length - width))
    return start, start + width


def _two_blocks(
    above: Mapping[str, float], below: Mapping[str, float]
) -> tuple[Figure, dict[str, Axes], dict[str, Axes]]:
    """Return a new figure and its axes by name in two blocks, each with a time axis of its own; heights in inches."""
    heights = [*above.values(), *below.values()]
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = new_figure(figsize=(9, sum(heights) + 1.6), layout=ConstrainedLayoutEngine(h_pad=0.02, hspace=0.02))
    grid = figure.add_gridspec(len(heights), height_ratios=heights)
    blocks: list[dict[str, Axes]] = [{}, {}]
    for row, (block, name) in enumerate([*((0, name) for name in above), *((1, name) for name in below)]):
        blocks[block][name] = figure.add_subplot(grid[row], sharex=next(iter(blocks[block].values()), None))
    return figure, blocks[0], blocks[1]


def _draw_long(
    axes: Mapping[str, Axes],
    edges: np.ndarray,
    rate: np.ndarray,
    switching: Switching | None,
    external_input: np.ndarray | None,
    names: Sequence[str],
    zoom: tuple[float, float],
) -> None:
    """Draw the whole simulation, smoothed as for the detection of switches."""
    dt = edges[1] - edges[0]
    centres = edges[:-1] + dt / 2
    for series, (name, colour) in zip(rate, population_colours(names).items(), strict=True):
        axes["long"].plot(centres, smooth(series, dt, 0.08), color=colour, lw=0.9, label=name)
    axes["long"].set(ylabel="activity (Hz)", ylim=(0, None), xlim=(edges[0], edges[-1]))
    axes["long"].axvspan(*zoom, color="#ececec", lw=0, zorder=0)
    if switching is not None:
        _plot_winner(axes["band"], switching, edges, names, "winner")
        found = f"{len(switching.times)} switches in {edges[-1]:g} s"
        axes["long"].set_title(f"{found}; activity smoothed with a Gaussian of 80 ms")
    if "input" in axes and external_input is not None:
        plot_input(centres, external_input, names, ax=axes["input"])
    _time_axis_below(list(axes.values()))


def _draw_close(
    axes: Mapping[str, Axes],
    edges: np.ndarray,
    rate: np.ndarray,
    spikes: np.ndarray | None,
    names: Sequence[str],
    zoom: tuple[float, float],
) -> None:
    """Draw the shaded interval, with the spikes of simulated recorded neurons."""
    dt = edges[1] - edges[0]
    part = slice(round(zoom[0] / dt), round(zoom[1] / dt))
    centres = edges[:-1][part] + dt / 2
    offset = 0
    for m, (name, colour) in reversed(list(enumerate(population_colours(names).items()))):
        axes["rates"].plot(centres, smooth(rate[m], dt, SMOOTHING)[part], color=colour, lw=1.4)
        if spikes is not None and "raster" in axes:
            plot_raster(centres, spikes[m, part], colour=colour, offset=offset, ax=axes["raster"])
            where: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 8, "color": colour}
            where["transform"] = axes["raster"].get_yaxis_transform()
            axes["raster"].text(-0.01, offset + spikes.shape[-1] / 2, name, **where)
            offset += spikes.shape[-1]
    axes["rates"].set(ylabel="activity (Hz)", ylim=(0, None), xlim=zoom)
    first = next(iter(axes.values()))
    first.set_title(f"the shaded {zoom[1] - zoom[0]:g} s, smoothed with a Gaussian of 20 ms")
    if "raster" in axes:
        axes["raster"].set(ylabel="", yticks=[])
        axes["raster"].spines[:].set_visible(False)
        axes["raster"].tick_params(bottom=False)
    _time_axis_below(list(axes.values()))
