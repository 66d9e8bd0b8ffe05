"""The figure of a check: the recording and a free simulation side by side, and where every statistic lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from src.evaluation.check_fit import Example
from src.evaluation.check_result import LEVEL, Checked, FitCheck
from src.plots.axes import plot_raster
from src.plots.style import FAINT, TRUTH, new_figure, population_colours, put_title, styled
from src.statistics.counts import mean_train
from src.statistics.recorded import KINDS
from src.statistics.smoothing import smooth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 10.0
"""Seconds of the recording that are drawn at most."""
WIDTH = 0.08
"""Standard deviation of the Gaussian that smooths the rates, in s."""
BEYOND = 2.5
"""In half intervals: what lies farther out is drawn here, as a triangle."""
OUTSIDE = "#d1242f"
MOST_COLUMNS = 4
EXPLAINED = f"grey: interval of {1 - LEVEL:.0%}, line: median, bar: half of the simulations, dot: recording"


@styled
def check_figure(check: FitCheck, example: Example, names: Sequence[str], dt: float) -> Figure:
    """Show spikes and rates of the recorded neurons in the recording and in a simulation; below, all statistics.

    Parameters
    ----------
    check : FitCheck
    example : Example
    names : sequence of str, (M,)
        Of the populations.
    dt : float, s
    """
    blocks = _blocks(check.statistics)
    heights = [0.6 + 0.17 * len(_rows_of(block)) for block in blocks]
    units = int(example.watched.any(axis=1).sum())
    raster = float(np.clip(0.06 * units, 0.5, 2.5))
    figure = new_figure(figsize=(9, raster + 2.2 + sum(heights)))
    above, *below = figure.subfigures(1 + len(blocks), 1, height_ratios=[raster + 1.8, *heights], squeeze=False)[:, 0]
    axes = above.subplots(2, 2, sharex=True, sharey="row", gridspec_kw={"height_ratios": [raster, 1.2]})
    sides = (("recording", example.recording), ("free simulation of the fit", example.simulation))
    for (title, spikes), column in zip(sides, axes.T, strict=True):
        _draw_spikes(column, spikes, example.watched, names, dt)
        column[0].set_title(title)
    axes[1, 0].set(ylabel="rate (Hz)", ylim=(0, None))
    colours = population_colours(names)
    columns = max((len(block) for block in blocks), default=1)
    for subfigure, block in zip(below, blocks, strict=True):
        panels = subfigure.subplots(1, columns, squeeze=False)[0]
        for ax, (title, rows) in zip(panels, block.items(), strict=False):
            _draw_intervals(ax, rows, _rows_of(block), colours.get(title, TRUTH))
            ax.set_title(title, color=colours.get(title, TRUTH), fontweight="bold")
        for ax in panels[1:]:
            ax.tick_params(labelleft=False)
        for ax in panels[len(block) :]:
            ax.set_axis_off()
    if blocks:
        panels[0].set_xlabel(EXPLAINED, fontsize=7, loc="left")
    found = f"{check.n_outside} of {len(check.statistics)} statistics of the recording outside"
    put_title(figure, f"{check.simulations} free simulations, p = {check.p:.2g}: {found}")
    return figure


def _draw_spikes(
    column: Sequence[Axes], spikes: np.ndarray, watched: np.ndarray, names: Sequence[str], dt: float
) -> None:
    """Draw the spikes, (M, T, n_obs), of watched neurons on one axes, and their smoothed rates on another."""
    T, offset = min(spikes.shape[1], round(SHOWN / dt)), 0
    time = (np.arange(T) + 0.5) * dt
    for m, colour in reversed(list(enumerate(population_colours(names).values()))):
        there = watched[m].any(axis=0)
        if not there.any():
            continue
        seen = (spikes[m] & watched[m])[:T, there]
        plot_raster(time, seen, colour=colour, offset=offset, ax=column[0])
        train = mean_train(spikes[m][None], watched[m][None])[0, :T] / dt
        column[1].plot(
            time, np.where(np.isfinite(train), smooth(np.nan_to_num(train), dt, WIDTH), np.nan), color=colour
        )
        offset += int(there.sum())
    column[0].set(ylim=(0, max(offset, 1)), yticks=[], xlabel="", ylabel="")
    column[1].set(xlabel="time (s)", xlim=(0, T * dt))


def _blocks(statistics: Sequence[Checked]) -> list[dict[str, dict[str, Checked]]]:
    """Return what is drawn side by side, by titles and the names of rows: populations first, then several together."""
    groups: dict[str, dict[str, Checked]] = {}
    for one in statistics:
        words = KINDS[one.kind][0]
        if len(one.about) == 1:
            groups.setdefault(one.about[0], {})[words] = one
        else:
            title = f"{words}, {'–'.join(one.about)}" if one.kind == "cross" else words
            groups.setdefault("", {})[title] = one
    together, names = groups.pop("", {}), list(groups)
    blocks = [
        {name: groups[name] for name in names[first : first + MOST_COLUMNS]}
        for first in range(0, len(names), MOST_COLUMNS)
    ]
    return [*blocks, *([{"together": together}] if together else [])]


def _rows_of(block: Mapping[str, Mapping[str, Checked]]) -> list[str]:
    """Return the rows of panels side by side: a statistic can be missing in some."""
    return list(dict.fromkeys(words for rows in block.values() for words in rows))


def _draw_intervals(ax: Axes, rows: Mapping[str, Checked], names: Sequence[str], colour: str) -> None:
    """Draw a row for each statistic: interval (grey), half of the simulations (colour), and the recording (dot)."""
    ax.axvspan(-1, 1, color="#ececec", lw=0, zorder=0)
    ax.axvline(0, color=FAINT, lw=0.8, zorder=1)
    for words, one in rows.items():
        row = names.index(words)
        ends = np.clip([one.place(one.half_low), one.place(one.half_high)], -BEYOND, BEYOND)
        ax.plot(ends, [row, row], color=colour, lw=3, alpha=0.6)
        at = one.place(one.recording)
        marker = "o" if abs(at) <= BEYOND else (">" if at > 0 else "<")
        ax.plot(np.clip(at, -BEYOND, BEYOND), row, marker, color=OUTSIDE if one.outside else "black", ms=4, zorder=3)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set(xlim=(-BEYOND - 0.3, BEYOND + 0.3), ylim=(len(names) - 0.5, -0.5), xticks=[])
    ax.tick_params(left=False)
    ax.spines[["left", "bottom"]].set_visible(False)
