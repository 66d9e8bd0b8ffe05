"""The figure of a comparison: how far each candidate stays behind the best, fold by fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from src.evaluation.ranking import Row
from src.plots.style import EXCITATORY, FAINT, OTHER, new_axes, new_figure, put_title, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def comparison_figure(rankings: Mapping[str, Sequence[Row]], title: str) -> Figure:
    """Show a panel for each measure, one row a candidate, the best on top.

    Parameters
    ----------
    rankings : mapping of str to sequence of Row
        By measure, as `src.evaluation.ranking.ranked` gives them.
    title : str
    """
    longest = max(len(rows) for rows in rankings.values())
    figure = new_figure(figsize=(9, 1.5 + 0.34 * longest * len(rankings)))
    panels = figure.subplots(len(rankings), 1, squeeze=False)[:, 0]
    for ax, (measure, rows) in zip(panels, rankings.items(), strict=True):
        plot_differences(rows, ax=ax)
        first = "the best" if rows[0].mean > 0 else "none beats constant rates; the first"
        ax.set_title(f"{measure[0].upper()}{measure[1:]}: {first} has {rows[0].mean:+.3f} bits per spike")
    panels[-1].set_xlabel("difference to the best in the same fold (bits per spike)")
    panels[0].legend(loc="lower left", bbox_to_anchor=(0.55, 1), ncols=2)
    put_title(figure, title)
    return figure


def plot_differences(rows: Sequence[Row], *, ax: Axes | None = None) -> Axes:
    """Draw the difference of each candidate to the best: a dot for each fold, the mean with its standard error."""
    ax = new_axes(ax)
    ax.axvline(0, color=FAINT, lw=1, zorder=0)
    for place, row in enumerate(rows):
        label = {"dots": "a fold", "mean": "mean and standard error"} if place == 0 else {}
        spread = place + np.linspace(-0.18, 0.18, len(row.to_best))  # dots must not hide each other
        ax.plot(row.to_best, spread, "o", ms=3.5, color=OTHER, alpha=0.8, label=label.get("dots"))
        ax.errorbar(
            row.difference,
            place,
            xerr=row.difference_error,
            fmt="D",
            ms=5,
            color=EXCITATORY[0],
            capsize=3,
            lw=1.6,
            zorder=3,
            label=label.get("mean"),
        )
    ax.set(yticks=range(len(rows)), yticklabels=[row.name for row in rows], ylim=(len(rows) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    return ax
