"""The figure of held-out scores: bits per spike of every unit, by each prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from src.evaluation.score_files import ScoreFile
from src.plots.style import FAINT, TRUTH, legend_once, new_figure, population_colours, styled
from src.utils.text import for_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMED = 40
"""So many units find room for their names."""
MOST_LEVEL, MOST_LETTERS = 16, 80
"""So many names, and letters in them, find room side by side; others are turned."""


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
    named = _labels(scores, places)
    turned = len(named) > MOST_LEVEL or sum(map(len, named.values())) > MOST_LETTERS
    room = 0.07 * max(0, max(map(len, named.values())) - 6) if turned else 0.0  # inches, for names that are long
    figure = new_figure(figsize=(9, 0.5 + 1.5 * len(scores.predictions) + room))
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
    axes[-1].set_xticks(list(named), list(named.values()), rotation=90 if turned else 0, parse_math=False)
    legend_once(axes[0], at=axes[0], loc="lower right", bbox_to_anchor=(1, 1), borderpad=0)
    return figure


def _labels(scores: ScoreFile, places: dict[str, list[int]]) -> dict[float, str]:
    """Return names of the units by their places; of many units, those of the populations, below their middle."""
    if len(scores.units) > MOST_NAMED:
        return {float(np.mean(places[one.population])): one.population for one in scores.populations}
    return {float(k): label for k, label in enumerate(for_table([one.unit for one in scores.units]))}
