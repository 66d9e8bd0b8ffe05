"""The house style: colours, fonts, titles, legends, and files of figures.

Every population keeps its colour in every figure, truth is thin and grey, an estimate bold and coloured. Saving is the
caller's, for instance with `save_figure`. Nothing here touches pyplot or needs a display.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from src.statistics.populations import is_inhibitory
from src.utils.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

_P = ParamSpec("_P")
_R = TypeVar("_R")

STYLE = Path(__file__).with_name("neulvm.mplstyle")
EXCITATORY = ("#0173b2", "#de8f05", "#cc78bc", "#56b4e9", "#ca9161", "#d55e00")
INHIBITORY = ("#029e73", "#7f7f7f", "#66a61e", "#4d4d4d")
"""Colours that remain distinct with the common forms of colour blindness."""
TRUTH = "#333333"
FAINT = "#c9c9c9"
OTHER = "#8a8a8a"


def styled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function draw in the house style, and leave the caller's settings as they were."""

    @functools.wraps(function)
    def inside(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        import matplotlib.style

        with matplotlib.style.context(STYLE):
            return function(*args, **kwargs)

    return inside


def new_figure(**options: Any) -> Figure:
    """Return an empty figure. Matplotlib takes a second to load, which a mistyped option should not wait for."""
    from matplotlib.figure import Figure

    return Figure(**options)


@styled
def new_axes(ax: Axes | None = None) -> Axes:
    """Return `ax`, or new axes on a figure of their own."""
    return ax if ax is not None else new_figure(figsize=(9, 3)).subplots()


def as_png(figure: Figure, dpi: float | None = None) -> bytes:
    """Return a figure as PNG, by default in the resolution of the style; equal figures give equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None}, dpi=dpi or "figure")
    return file.getvalue()


def save_figure(path: str | Path, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all."""
    write_whole(path, lambda file: file.write(as_png(figure)))


def population_colours(names: Sequence[str]) -> dict[str, str]:
    """Return one colour per population, (M,), which depends on nothing but the names and their order.

    Excitatory populations get blue, orange, ..., inhibitory ones green, grey, ...; beyond the palette colours repeat.
    """
    counts = {True: 0, False: 0}
    colours = {}
    for name in names:
        inhibitory = is_inhibitory(name)
        palette = INHIBITORY if inhibitory else EXCITATORY
        colours[name] = palette[counts[inhibitory] % len(palette)]
        counts[inhibitory] += 1
    return colours


def put_title(figure: Figure, title: str) -> None:
    """Put the title of a whole figure at its upper left."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)


def legend_once(*axes: Axes, at: Axes | Figure, **options: Any) -> Legend | None:
    """Put one legend on `at` that names every line of `axes` once, in all its colours; None without names."""
    entries: dict[str, dict[Any, Any]] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            colour = handle.get_color() if hasattr(handle, "get_color") else None
            entries.setdefault(label, {}).setdefault(colour, handle)
    if not entries:
        return None
    handles: list[Any] = [tuple(by_colour.values()) for by_colour in entries.values()]
    from matplotlib.legend_handler import HandlerTuple

    return at.legend(handles, list(entries), handler_map={tuple: HandlerTuple(ndivide=None, pad=0)}, **options)
