"""The figure of held-out scores: bits per spike of every unit, by each prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from src.evaluation.score_files import ScoreFile
from src.plots.style import FAINT, TRUTH, legend_once, new_figure, population_colours, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMED = 40
"""So many units find room for their names."""


@styled
def heldout_figure(scores: ScoreFile, names: Sequence[str]) -> Figure:
    """Show bits per spike of every unit as a bar, one prediction below the other, and a line for each population.

    Parameters
    ----------
    scores : ScoreFile
    names : sequence of str, (M,)
        Of the populations, in the order that gives them their colours.
    """
    colours, n = population_colours(names), len(scores.units)
    places: dict[str, list[int]] = {}
    for k, one in enumerate(scores.units):
        places.setdefault(one.population, []).append(k)
    figure = new_figure(figsize=(9, 0.5 + 1.5 * len(scores.predictions)))
    axes = figure.subplots(len(scores.predictions), sharex=True, squeeze=False)[:, 0]
    for ax, which in zip(axes, scores.predictions, strict=True):
        bits = [one.bits[which] for one in scores.units]
        ax.bar(np.arange(n), bits, 0.7, color=[colours[one.population] for one in scores.units])
        for population in scores.populations:
            there, level = places[population.population], population.bits[which]
            ends = [min(there) - 0.45, max(there) + 0.45]
            ax.plot(ends, [level, level], color=TRUTH, lw=1.2, ls=":", label="units of a population together")
        ax.axhline(0, color=TRUTH, lw=0.8)
        ax.grid(axis="y", color=FAINT, lw=0.5)
        ax.set_axisbelow(True)
        ax.set_title(which)
        ax.set(ylabel="bits per spike", xlim=(-0.6, n - 0.4))
        ax.tick_params(bottom=False)
        ax.spines["bottom"].set_visible(False)
    named = {float(k): one.unit for k, one in enumerate(scores.units)}
    if n > MOST_NAMED:  # populations instead, below their middle
        named = {float(np.mean(places[one.population])): one.population for one in scores.populations}
    axes[-1].set_xticks(list(named), list(named.values()), rotation=90 if len(named) > 16 else 0, parse_math=False)
    legend_once(axes[0], at=axes[0], loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
    return figure
