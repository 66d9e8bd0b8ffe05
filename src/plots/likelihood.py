"""The likelihood that both half-steps maximise, as a figure: which part is computed by which function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from src.plots.style import TRUTH, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT = r"$\ln p(\mathbf{y},\mathbf{n}\,|\,\Theta)\;=\;\sum_{t}\,[$"
"""Joint density of the recorded spikes y and the population activity n."""


@dataclass(frozen=True)
class Part:
    """One summand: formula, words under its brace, function that computes it, explicit form, where, and colour."""

    formula: str
    words: str
    function: str
    explicit: str
    where: str
    colour: str


# Neither colour is that of a population.
SPIKES = Part(
    formula=r"$\ln p(\mathbf{y}_t\,|\,\mathbf{y}_{<t},\mathbf{n}_{<t},\Theta)$",
    words="(a)  recorded spikes",
    function="fast_lossy",
    explicit=r"$=\;\sum_{m,i}\,[\;y_{mi}\,\ln P_{mi}\;-\;(1-y_{mi})\,\lambda_{mi}\,\Delta t\;]$",
    where=r"$\lambda_{mi}=e^{V_{mi}-\theta_m},\quad P_{mi}\approx 1-e^{-\lambda_{mi}\Delta t}$",
    colour="#5b3a8e",
)
ACTIVITY = Part(
    formula=r"$\ln p(\mathbf{n}_t\,|\,\mathbf{n}_{<t},\Theta)$",
    words="(b)  population activity",
    function="fast_lossZ",
    explicit=r"$=\;-\sum_{m}\,[\;\frac{(n_m-\bar n_m)^2}{2\,q_m}+\frac{1}{2}\ln q_m+\frac{1}{2}\ln 2\pi\;]$",
    where=r"$q_m=(\bar n_m+0.1\,\Delta t)\,/\,N_m$",
    colour="#a3333d",
)


def plot_brace(left: float, right: float, top: float, depth: float, *, colour: str, ax: Axes) -> Axes:
    """Draw a curly brace that opens upwards, from `left` to `right`, in the coordinates of the axes."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    middle, half = (left + right) / 2, top - depth / 2
    r = min(depth / 2, (right - left) / 4)
    corners = [
        (left, top), (left, half), (left + r, half), (middle - r, half), (middle, half), (middle, top - depth),
        (middle, half), (middle + r, half), (right - r, half), (right, half), (right, top),
    ]  # fmt: skip
    steps = [
        "MOVETO",
        "CURVE3",
        "CURVE3",
        "LINETO",
        "CURVE3",
        "CURVE3",
        "CURVE3",
        "CURVE3",
        "LINETO",
        "CURVE3",
        "CURVE3",
    ]
    codes = [getattr(Path, step) for step in steps]
    ax.add_patch(PathPatch(Path(np.array(corners), codes), fill=False, ec=colour, lw=1.2, capstyle="round"))
    return ax


@styled
def likelihood_figure() -> Figure:
    """Show the log joint density as the sum of the two parts that `fast_lossy` and `fast_lossZ` compute."""
    width, height = 9.0, 2.55
    figure = new_figure(figsize=(width, height))
    figure.set_layout_engine("none")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    line, end = height - 0.5, 1.2
    pieces = ((LEFT, None), (SPIKES.formula, SPIKES), ("$+$", None), (ACTIVITY.formula, ACTIVITY), ("$]$", None))
    for text, part in pieces:
        drawn = ax.text(end, line, text, color=part.colour if part else TRUTH, fontsize=17, va="baseline")
        box = drawn.get_window_extent(renderer)
        left, right = box.x0 / figure.dpi, box.x1 / figure.dpi
        end = right + 0.12
        if part:
            plot_brace(left, right, line - 0.22, 0.2, colour=part.colour, ax=ax)
            _write(ax, (left + right) / 2, line - 0.58, part.words, part, ha="center", fontweight="bold")
            _write(ax, (left + right) / 2, line - 0.79, part.function, part, ha="center", family="monospace")
    for row, part in enumerate((SPIKES, ACTIVITY)):
        y = line - 1.27 - 0.55 * row
        _write(ax, 1.2, y, part.words[:3], part, fontweight="bold")
        _write(ax, 1.55, y, part.explicit, part, fontsize=14)
        _write(ax, 5.45, y, part.where, part, fontsize=12)
    return figure


def _write(ax: Axes, x: float, y: float, text: str, part: Part, **look: Any) -> None:
    """Write in the colour of a part."""
    ax.text(x, y, text, color=part.colour, **{"fontsize": 10, "va": "baseline", **look})
