"""Tables and figures of `benchmarks.perturbation`, from the rows of its table and the responses that belong to them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import driven
from benchmarks.pulses import (
    DURATION,
    RESPONSES,
    SHOWN,
    STRENGTHS,
    WITHIN,
    binomial_interval,
    half_strength,
    resampled,
)
from src.model.circuit_file import winner_take_all
from src.plots.style import TRUTH, as_png, legend_once, put_title, styled
from src.posterior.prior import ENDS
from src.utils.files import write_whole
from src.utils.text import align

Row = dict[str, str]
SOURCES = {
    "network": ("network", TRUTH),
    "truth": ("true parameters", "#9a9a9a"),
    "published": ("published fit", "#d55e00"),
    "recommended": ("recommended fit", "#0173b2"),
    "posterior": ("posterior", "#029e73"),
    "driven_published": ("published fit\nwith input", "#ca9161"),
    "driven_recommended": ("recommended fit\nwith input", "#cc78bc"),
}
"""What sources are called, and their colours."""
LEAST = 20
"""Pulses that must have counted, for what a draw from the posterior says of a strength."""
COLOURS, DPI = 48, 110
"""Of a figure in the repository."""


@dataclass(frozen=True)
class Curve:
    """A number for each strength, with its interval: three arrays (strengths, ...), NaN where nothing counted."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Pushed:
    """What pulses did to a source, unit by unit.

    Parameters
    ----------
    counted, switched : array, (units, strengths)
    responses : array, (units, len(RESPONSES), M, points), Hz
        Means over the pulses that counted; NaN without any.
    draws : bool
        Whether a unit is another draw from the posterior, or another piece of the same circuit.
    """

    counted: np.ndarray
    switched: np.ndarray
    responses: np.ndarray
    draws: bool

    @property
    def probability(self) -> Curve:
        """Probability of a switch.

        Of a circuit, with the exact 95 % interval of so many pulses; of the posterior, median and 90 % over draws.
        """
        if self.draws:
            return _over_draws(self.each)
        k, n = self.switched.sum(axis=0), self.counted.sum(axis=0)
        with np.errstate(invalid="ignore"):
            return Curve(k / n, *binomial_interval(k, n))

    @property
    def each(self) -> np.ndarray:
        """Probability of a switch in each unit, (units, strengths); NaN where too little counted."""
        with np.errstate(invalid="ignore"):
            return np.where(self.counted >= LEAST, self.switched / self.counted, np.nan)

    @property
    def response(self) -> Curve:
        """Mean response, with the 95 % interval over resampled pieces, or 90 % of the draws."""
        n = self.counted[:, list(RESPONSES), None, None].astype(float)
        if self.draws:
            return _over_draws(np.where(n >= LEAST, self.responses, np.nan))
        sums = np.nan_to_num(self.responses) * n
        rng = np.random.default_rng(0)
        both = resampled(np.concatenate([sums, np.broadcast_to(n, sums.shape)], axis=-1), rng)
        with np.errstate(invalid="ignore"):
            again = np.divide(*np.split(both, 2, axis=-1))
            return Curve(sums.sum(axis=0) / n.sum(axis=0), *_quantiles(again, [0.025, 0.975]))

    @property
    def half(self) -> tuple[float, float, float]:
        """Strength of which one pulse in two makes a switch, with an interval as of `response`."""
        if self.draws:
            return tuple(np.quantile(half_strength(self.each), [0.5, *ENDS], method="nearest").tolist())
        rng = np.random.default_rng(0)
        both = resampled(np.concatenate([self.switched, self.counted], axis=-1), rng)
        with np.errstate(invalid="ignore"):
            again = half_strength(np.divide(*np.split(both, 2, axis=-1)))
        ends = np.quantile(again, [0.025, 0.975], method="nearest")
        return float(half_strength(self.probability.value)), float(ends[0]), float(ends[1])


def _quantiles(values: np.ndarray, which: Sequence[float]) -> np.ndarray:
    """Return quantiles over the first axis of what is known, NaN where nothing is."""
    known = np.isfinite(values).any(axis=0)
    return np.where(known, np.nanquantile(np.where(known, values, 0.0), which, axis=0), np.nan)


def _over_draws(values: np.ndarray) -> Curve:
    """Return median and 90 % interval over draws (draws, ...) of what is known."""
    return Curve(*_quantiles(values, [0.5, *ENDS]))


def pushed(rows: Sequence[Row], responses: Sequence[np.ndarray]) -> dict[str, Pushed]:
    """Return what pulses did, by source, in the order of `SOURCES`."""
    found = {}
    for source in SOURCES:
        own = [k for k, row in enumerate(rows) if row["source"] == source]
        if own:
            counted, switched = (
                np.array([[int(rows[k][f"{what} {s}"]) for s in range(len(STRENGTHS))] for k in own])
                for what in ("counted", "switched")
            )
            given = np.stack([responses[k].astype(float) for k in own])
            found[source] = Pushed(counted, switched, given, source == "posterior")
    return found


def pulses_table(rows: Sequence[Row], responses: Sequence[np.ndarray]) -> str:
    """Return the probability of a switch against strength, for every source."""
    found = pushed(rows, responses)
    curves = {source: each.probability for source, each in found.items()}
    columns = [
        [SOURCES[source][0], *(_percent(curve, s) for s in range(len(STRENGTHS)))] for source, curve in curves.items()
    ]
    for each, column in zip(found.values(), columns, strict=True):
        column += [_strength(each.half), str(each.counted.sum())]
    if "posterior" in found:
        mean = 100 * np.nan_to_num(_mean(found["posterior"].each), nan=-1)
        columns.append(["its mean", *(f"{p:.0f}" if p >= 0 else "-" for p in mean), "", ""])
    titles = [f"switch within {1e3 * WITHIN:g} ms, %", *(f"{strength:g} 1/s" for strength in STRENGTHS)]
    table = list(zip([*titles, "one in two, 1/s", "pulses that count"], *columns, strict=True))
    lines = [align(table)]
    if "network" in found:
        lines += _verdicts(curves, found)
    if "posterior" in found:
        each = found["posterior"]
        few = int((each.counted < LEAST).any(axis=1).sum())
        lines.append(
            f"posterior: median and 90 % of {len(each.counted)} draws; a draw has {np.median(each.counted):.0f} pulses "
            f"of each strength in the median, {few} of the draws have fewer than {LEAST} of some strength"
        )
    lines.append("others: exact 95 % interval of the pulses that count; of one in two, over resampled pieces")
    return "\n".join(lines)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)


def _percent(curve: Curve, s: int) -> str:
    if not np.isfinite(curve.value[s]):
        return "-"
    value, low, high = (100 * part[s] for part in (curve.value, curve.low, curve.high))
    return f"{value:.0f} [{low:.0f}, {high:.0f}]"


def _strength(half: tuple[float, float, float]) -> str:
    value, low, high = (f"{x:.1f}" if np.isfinite(x) else "never" for x in half)
    return f"{value} [{low}, {high}]"


def _verdicts(curves: dict[str, Curve], found: dict[str, Pushed]) -> list[str]:
    """Return how far each curve is from that of the network, and how often that lies inside the posterior's band."""
    true = curves["network"].value
    lines = []
    for source, curve in curves.items():
        if source != "network":
            far = 100 * float(np.nanmean(np.abs(curve.value - true)))
            lines.append(f"{_called(source)}: {far:.0f} percentage points from the network, in the mean over strengths")
    if "posterior" in curves:
        band = curves["posterior"]
        inside = (true >= band.low) & (true <= band.high)
        lines.append(f"network inside the 90 % of the posterior: at {inside.sum()} of {len(true)} strengths")
    return lines


def _called(source: str) -> str:
    return SOURCES[source][0].replace("\n", " ")


# --- figures ---------------------------------------------------------------------------------------------------------


def save_small(path: Path, figure: Figure) -> None:
    """Write a figure as PNG with a palette, which takes a third of the space."""
    from PIL import Image  # comes with matplotlib

    image, file = Image.open(io.BytesIO(as_png(figure, DPI))).convert("RGB"), io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    write_whole(path, lambda target: target.write(file.getvalue()))


@styled
def pulses_figure(rows: Sequence[Row], responses: Sequence[np.ndarray]) -> Figure:
    """Show the probability of a switch against the strength of a pulse, and the mean responses."""
    found = pushed(rows, responses)
    figure = Figure(figsize=(9, 7.5))
    grid = figure.add_gridspec(4, len(RESPONSES), height_ratios=[1.9, 1, 1, 0.8])
    above = figure.add_subplot(grid[0, :])
    for source, each in found.items():
        _draw_curve(above, source, each)
    above.set_xscale("symlog", linthresh=4, linscale=0.5)
    above.set(xticks=STRENGTHS, xticklabels=[f"{strength:g}" for strength in STRENGTHS], ylim=(-0.02, 1.02))
    above.minorticks_off()
    above.set(xlabel="strength of the pulse (1/s)", ylabel="probability of a switch")
    above.set_title(f"Pulses of {1e3 * DURATION:g} ms to the loser: it is winning {1e3 * WITHIN:g} ms after the onset")
    _draw_responses(figure, grid, {source: each.response for source, each in found.items()})
    legend_once(above, at=above, loc="lower right")
    put_title(figure, "A push to the loser: predictions, and what the network does")
    return figure


def _draw_curve(ax: Axes, source: str, each: Pushed) -> None:
    """Draw a probability against strength: a band for the posterior, bars for the others."""
    (name, colour), curve = SOURCES[source], each.probability
    if each.draws:
        ax.fill_between(STRENGTHS, curve.low, curve.high, color=colour, alpha=0.25, lw=0)
        ax.plot(STRENGTHS, curve.value, color=colour, label=name, zorder=2)
        return
    ax.plot([], [], color=colour, lw=2.2 if source == "network" else 1.2, label=name)
    bars = [np.maximum(curve.value - curve.low, 0), np.maximum(curve.high - curve.value, 0)]
    style = {"lw": 2.2, "marker": "o", "ms": 4, "zorder": 4} if source == "network" else {"lw": 1.2, "zorder": 3}
    ax.errorbar(STRENGTHS, curve.value, bars, color=colour, elinewidth=0.8, capsize=1.5, **style)


def _draw_responses(figure: Figure, grid: object, found: dict[str, Curve]) -> None:
    """Draw the mean response of each population in a row, for some strengths in columns."""
    names = winner_take_all().names
    labels = ["the loser,\nwhich is pushed", "the winner", *(f"{name}" for name in names[2:])]
    points = next(iter(found.values())).value.shape[-1]
    width = (SHOWN[1] - SHOWN[0]) / points
    time = 1e3 * (SHOWN[0] + width * (np.arange(points) + 0.5))
    tops = 1.05 * np.max([np.nan_to_num(curve.value).max(axis=(0, 2)) for curve in found.values()], axis=0)
    for column, place in enumerate(RESPONSES):
        for m, label in enumerate(labels):
            ax = figure.add_subplot(grid[m + 1, column])  # type: ignore[index]
            ax.axvspan(0, 1e3 * DURATION, color="#eeeeee", lw=0, zorder=0)
            for source, curve in found.items():
                _, colour = SOURCES[source]
                lines = [part[column, m] for part in (curve.value, curve.low, curve.high)]
                ax.plot(time, lines[0], color=colour, lw=1.8 if source == "network" else 1.0)
                ax.fill_between(time, *lines[1:], color=colour, alpha=0.2, lw=0)
            ax.set(xlim=(time[0], time[-1]), ylim=(0, tops[m]))
            ax.tick_params(labelbottom=m == len(labels) - 1, labelleft=column == 0)
            if m == 0:
                ax.set_title(f"{STRENGTHS[place]:g} 1/s")
            if column == 0:
                ax.set_ylabel(f"{label}\n(Hz)", fontsize=8)
            if m == len(labels) - 1:
                ax.set_xlabel("time from the onset (ms)")


# --- known inputs ----------------------------------------------------------------------------------------------------

WHAT = {"ou": "noise (OU), another realisation", "steps": "steps of random height", "pulses": "pulses to all"}


def _by_input(rows: Sequence[Row]) -> dict[str, dict[str, list[int]]]:
    """Return the places of the rows by input and source, in the order of `driven.KINDS` and `SOURCES`."""
    found: dict[str, dict[str, list[int]]] = {}
    for kind in driven.KINDS:
        for source in SOURCES:
            own = [k for k, row in enumerate(rows) if row["input"] == kind and row["source"] == source]
            if own:
                found.setdefault(kind, {})[source] = own
    return found


def driven_table(rows: Sequence[Row], responses: Sequence[np.ndarray]) -> str:
    """Return how well each source predicts the network's mean response to inputs that it was not fitted to."""
    del responses
    names, places = winner_take_all().names, _by_input(rows)
    sources = [source for source in SOURCES if any(source in each for each in places.values())]
    heads = ["the most there is" if source == "network" else _called(source) for source in sources]
    table = [["correlation of mean responses", *heads]]
    spread = [["root mean square difference, Hz", *heads]]
    spread[0][1:2] = ["spread of the network's"]
    for kind, by_source in places.items():
        for m, name in enumerate(names):
            cells = [[rows[k] for k in by_source.get(source, [])] for source in sources]
            table.append([f"{WHAT[kind]}: {name}", *(_correlation(cell, m) for cell in cells)])
            spread.append([f"{WHAT[kind]}: {name}", *(_median(cell, f"rms {m}") for cell in cells)])
    notes = [
        "intervals: 95 % over resampled simulations of the network; of the posterior, 90 % over its draws",
        f"all responses smoothed with a Gaussian of {1e3 * driven.SMOOTHED:g} ms",
    ]
    return "\n\n".join([align(table), align(spread), "\n".join(notes)])


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([float(row[name]) if row.get(name) else np.nan for row in rows])


def _correlation(rows: Sequence[Row], m: int) -> str:
    """Write the correlation of a population with its interval."""
    if not rows:
        return "-"
    r = _column(rows, f"r {m}")
    if len(rows) > 1:
        value, low, high = np.nanquantile(r, [0.5, *ENDS])
    else:
        value, low, high = r[0], *(_column(rows, f"{end} {m}")[0] for end in ("low", "high"))
    return f"{value:.2f}" + (f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else "")


def _median(rows: Sequence[Row], name: str) -> str:
    return f"{np.nanmedian(_column(rows, name)):.2f}" if rows else "-"


@styled
def driven_figure(rows: Sequence[Row], responses: Sequence[np.ndarray]) -> Figure:
    """Show some seconds of a population's mean response to each input, of the network and as predicted."""
    places, name = _by_input(rows), winner_take_all().names[0]
    figure = Figure(figsize=(9, 1.0 + 1.7 * len(places)))
    axes = figure.subplots(len(places), squeeze=False, sharex=True)[:, 0]
    for ax, (kind, by_source) in zip(axes, places.items(), strict=True):
        for source, own in by_source.items():
            _draw_predicted(ax, source, np.stack([responses[k][0].astype(float) for k in own]))
        ax.set(ylabel=f"{name} (Hz)", xlim=driven.EXCERPT, title=WHAT[kind])
    axes[-1].set_xlabel("time (s)")
    legend_once(*axes, at=figure, loc="outside lower center", ncols=4)
    put_title(figure, "Known inputs that no circuit was fitted to: mean responses")
    return figure


def _draw_predicted(ax: Axes, source: str, lines: np.ndarray) -> None:
    """Draw a mean response, (1, points), or the band and median of several, (draws, points), in Hz."""
    name, colour = SOURCES[source]
    time = np.linspace(*driven.EXCERPT, lines.shape[1], endpoint=False)
    if len(lines) > 1:
        ax.fill_between(time, *np.quantile(lines, ENDS, axis=0), color=colour, alpha=0.3, lw=0)
    width, order = (1.6, 2) if source == "network" else (0.8, 3)
    ax.plot(time, np.median(lines, axis=0), color=colour, lw=width, zorder=order, label=name)
