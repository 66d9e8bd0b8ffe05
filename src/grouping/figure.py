"""The figures of a grouping: how alike the units are and which are put together, and how stable that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy

from src.grouping.clustering import REPRODUCED, Grouping
from src.plots.style import FAINT, OTHER, TRUTH, new_axes, new_figure, population_colours, put_title, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TICKS = 60
"""Units beyond which their names no longer fit."""


def unit_order(grouping: Grouping) -> np.ndarray:
    """Return the order of the leaves of the tree, in which the units of a group stand side by side."""
    if len(grouping.tree) == 0:
        return np.zeros(1, int)
    return np.array(scipy.cluster.hierarchy.dendrogram(grouping.tree, no_plot=True)["leaves"])


@styled
def groups_figure(grouping: Grouping, units: Sequence[str], names: Sequence[str], title: str) -> Figure:
    """Show the tree, the correlations sorted by it, and the rates.

    Parameters
    ----------
    grouping : Grouping
    units : sequence of str, (N,)
        Names of the units.
    names : sequence of str, (n_groups,)
        Of the groups.
    title : str
    """
    order, colours = unit_order(grouping), list(population_colours(names).values())
    figure = new_figure(figsize=(9, min(3.6 + 0.06 * len(units), 8)))
    tree, matrix, rates = figure.subplots(1, 3, sharey=True, width_ratios=[1.1, 2, 1])
    plot_tree(grouping, ax=tree)
    tree.set_title("Ward's tree")
    image = plot_pairs(grouping.correlation, order, grouping.labels, colours, cmap="RdBu_r", low=-1, ax=matrix)
    figure.colorbar(image.images[0], ax=matrix, location="bottom", shrink=0.7, aspect=30, pad=0.03)
    matrix.set_title("Correlation of smoothed trains, less shot noise")
    place = np.arange(len(units))
    rates.barh(place, grouping.rates[order], 0.7, color=[colours[group] for group in grouping.labels[order]])
    for group, (name, colour) in enumerate(zip(names, colours, strict=True)):
        middle = np.flatnonzero(grouping.labels[order] == group).mean()
        rates.text(
            1.02, middle, name, color=colour, va="center", fontweight="bold", transform=rates.get_yaxis_transform()
        )
    rates.set(xlabel="rate (Hz)", title="Rate and group")
    named = order if len(units) <= MOST_TICKS else order[:0]
    tree.set(yticks=np.arange(len(named)), yticklabels=[units[i] for i in named], ylabel="unit")
    tree.tick_params(axis="y", length=0, labelsize=8 if len(units) <= 20 else 5)
    for ax in (matrix, rates):
        ax.tick_params(axis="y", left=False, labelleft=False)
    put_title(figure, title)
    return figure


@styled
def stability_figure(grouping: Grouping, names: Sequence[str], title: str) -> Figure:
    """Show which pairs of units stay together in resampled data, what short recordings give, and the number of groups.

    Parameters
    ----------
    grouping : Grouping
    names : sequence of str, (n_groups,)
        Of the groups.
    title : str
    """
    figure = new_figure(figsize=(9, 3.4))
    pairs, by_length, by_number = figure.subplots(1, 3)
    order, colours = unit_order(grouping), list(population_colours(names).values())
    image = plot_pairs(grouping.co_occurrence, order, grouping.labels, colours, cmap="Greys", low=0, ax=pairs)
    figure.colorbar(image.images[0], ax=pairs, location="bottom", shrink=0.7, aspect=30, pad=0.03)
    pairs.set_title("Resamples in which two units\nfall together")
    pairs.set(yticks=[])
    plot_agreement(grouping.lengths, grouping.agreement, ax=by_length)
    by_length.set_title("Stretches of the recording,\nagainst all of it")
    plot_reproduced(grouping.reproduced, grouping.n_groups, ax=by_number)
    by_number.set_title("Groups found in both of\ntwo halves: the worst one")
    put_title(figure, title)
    return figure


def plot_tree(grouping: Grouping, *, ax: Axes | None = None) -> Axes:
    """Draw Ward's tree with its leaves on the y axis, at 0, 1, ...; the dashed line cuts it into the groups."""
    ax = new_axes(ax)
    if len(grouping.tree):
        drawn = scipy.cluster.hierarchy.dendrogram(grouping.tree, no_plot=True)
        for heights, leaves in zip(drawn["dcoord"], drawn["icoord"], strict=True):
            ax.plot(heights, (np.array(leaves) - 5) / 10, color=TRUTH, lw=1)  # SciPy puts leaf k at 10 k + 5
        if grouping.n_groups > 1:
            above = np.r_[0, grouping.tree[:, 2]][-grouping.n_groups :]
            ax.axvline(above[:2].mean(), color=OTHER, lw=0.8, ls="--")
        ax.set_xlim(1.05 * grouping.tree[-1, 2] or 1, 0)
    ax.set(xlabel="distance (standard\ndeviations of the noise)")
    return ax


def plot_pairs(
    values: np.ndarray,
    order: np.ndarray,
    labels: np.ndarray,
    colours: Sequence[str],
    *,
    cmap: str,
    low: float,
    ax: Axes | None = None,
) -> Axes:
    """Draw a number per pair of units, (N, N), from `low` to 1, sorted; a frame in its colour is round each group."""
    from matplotlib.patches import Rectangle

    ax = new_axes(ax)
    ax.imshow(values[np.ix_(order, order)], cmap=cmap, vmin=low, vmax=1, aspect="auto")
    ax.set(xticks=[], xlim=(-0.55, len(order) - 0.45), ylim=(len(order) - 0.45, -0.55))
    for group, colour in enumerate(colours):
        inside = np.flatnonzero(labels[order] == group)
        first, size = inside[0] - 0.5, len(inside)
        ax.add_patch(Rectangle((first, first), size, size, fill=False, color=colour, lw=2))
    ax.spines[:].set_visible(False)
    return ax


def plot_agreement(lengths: np.ndarray, agreement: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """Draw the adjusted Rand index, (n, draws), over the length of data, (n,) in s: median, quartiles, and extremes."""
    ax = new_axes(ax)
    low, first, median, third, high = np.quantile(agreement, [0, 0.25, 0.5, 0.75, 1], axis=1)
    ax.fill_between(lengths, low, high, color=FAINT, alpha=0.5, lw=0, label="all")
    ax.fill_between(lengths, first, third, color=OTHER, alpha=0.5, lw=0, label="middle half")
    ax.plot(lengths, median, color="black", marker=".", label="median")
    ax.set(xlabel="length of data (s)", ylabel="adjusted Rand index", xlim=(0, None), ylim=(min(0, low.min()), 1.05))
    ax.legend(loc="lower right")
    return ax


def plot_reproduced(reproduced: np.ndarray, n_groups: int, *, ax: Axes | None = None) -> Axes:
    """Draw the Jaccard index of the worst group over the number of groups, and the bound from which it counts."""
    ax = new_axes(ax)
    numbers = np.arange(1, len(reproduced) + 1)
    ax.axhline(REPRODUCED, color=FAINT, lw=1)
    ax.plot(numbers, reproduced, color=OTHER, marker="o", ms=4)
    if n_groups <= len(reproduced):
        ax.plot(n_groups, reproduced[n_groups - 1], color="black", marker="o", ms=7, ls="", label="taken")
        ax.legend(loc="lower left")
    ax.set(xlabel="number of groups", ylabel="Jaccard index", xticks=numbers, ylim=(0, 1.05))
    return ax
