"""Table and figure of `benchmarks.calibration`, from the rows of its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.figure import Figure

from src.plots.style import legend_once, put_title, styled
from src.posterior.findings import FEW, STICKY
from src.utils.text import align, duration

Row = dict[str, str]
RANKS = 100
"""Ranks there are: 0 to 99."""
OSCILLATES = 1.0
"""Rise of the autocorrelation after a fall from which on a data set is called oscillating."""
COVERAGE = (0.85, 0.95)
"""Limits of the coverage of 90 % intervals, in the mean over the numbers."""
LEAST_P = 0.01
DISTANCE = 0.1
"""Largest departure of mean Mahalanobis² / n from 1."""
SIMULATED = 10_000
COLOURS = {"membrane_rate": "#0173b2", "coupling": "#d55e00", "resting_potential": "#029e73", "threshold": "#cc78bc"}
OF_LN_P = "#000000"


@dataclass(frozen=True)
class Limits:
    """Which of the limits a part is judged by."""

    coverage: bool = False
    uniform: bool = False
    distance: bool = False


def ranks_by_number(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Return the ranks of each number and of ln p, (sets,), of the sets that did not fail."""
    rows = [row for row in rows if "rank ln p" in row]
    names = [name.removeprefix("rank ") for name in rows[0] if name.startswith("rank ")] if rows else []
    return {name: np.array([int(row[f"rank {name}"]) for row in rows]) for name in names}


def inside(ranks: np.ndarray, share: float) -> np.ndarray:
    """Tell which ranks lie in the central interval that holds this share of all `RANKS`."""
    outside = round(RANKS * (1 - share) / 2)
    return (ranks >= outside) & (ranks < RANKS - outside)


def departure(ranks: np.ndarray) -> np.ndarray:
    """Return how far the share of ranks up to each is above that of uniform ones: (..., sets) to (..., RANKS)."""
    grid, sets = np.arange(RANKS), ranks.shape[-1]
    flat = ranks.reshape(-1, sets)
    places = flat + RANKS * np.arange(len(flat))[:, None]
    counts = np.bincount(places.ravel(), minlength=RANKS * len(flat)).reshape(-1, RANKS)
    found = np.cumsum(counts, axis=-1) / sets - (grid + 1) / RANKS
    return np.asarray(found.reshape(*ranks.shape[:-1], RANKS))


@cache
def largest_by_chance(sets: int) -> np.ndarray:
    """Return the largest departures of `SIMULATED` times so many uniform ranks, in ascending order."""
    ranks = np.random.default_rng(0).integers(0, RANKS, (SIMULATED, sets))
    return np.sort(np.abs(departure(ranks)).max(axis=-1))


def uniformity(ranks: np.ndarray) -> float:
    """Return the probability that uniform ranks depart as far as these, (sets,), somewhere."""
    by_chance, mine = largest_by_chance(len(ranks)), np.abs(departure(ranks)).max()
    return float((1 + (by_chance >= mine - 1e-12).sum()) / (1 + len(by_chance)))


def holm(p: Sequence[float]) -> np.ndarray:
    """Return probabilities corrected for their number (Holm 1979)."""
    order = np.argsort(p)
    steps = np.asarray(p, float)[order] * (len(p) - np.arange(len(p)))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def report(part: str, sets: int, limits: Limits, rows: Sequence[Row]) -> str:
    """Return what was found in a part that has so many sets in all; its limits are judged if all are there."""
    ranks, failed = ranks_by_number(rows), sum("failed" in row for row in rows)
    title = f"{part}: {len(rows)} of {sets} data sets" + (f", {failed} failed" if failed else "")
    if not ranks:
        return title
    p = dict(zip(ranks, holm([uniformity(each) for each in ranks.values()]), strict=True))
    table = [["number", "in 50 %", "in 90 %", "mean rank", "p, corrected"]]
    for name, each in ranks.items():
        shares = [_with_error(inside(each, share)) for share in (0.5, 0.9)]
        table.append([name, *shares, f"{each.mean():.1f}", f"{p[name]:.2g}"])
    numbers = np.stack([each for name, each in ranks.items() if name != "ln p"], axis=-1)
    covered = {share: inside(numbers, share).mean(axis=1) for share in (0.5, 0.9)}
    table.append(["all numbers", *(_mean(each) for each in covered.values()), f"{numbers.mean():.1f}", ""])
    distance = _column(rows, "distance2") / numbers.shape[1]
    lines = [title, align(table)]
    median = f"{np.median(distance):.3g} in the median"
    lines.append(f"Mahalanobis² of the truth / {numbers.shape[1]}: {_mean(distance)}; {median}")
    lines.append(_of_sampling(rows))
    warns = np.array([warned(row) for row in rows if "rank ln p" in row])
    if 0 < warns.sum() < len(warns):
        left = {share: each[~warns] for share, each in covered.items()}
        lines.append(_without_warning(int(warns.sum()), left, distance[~warns]))
    if (len(rows) >= sets) and not failed:
        lines += _judged(limits, float(covered[0.9].mean()), min(p.values()), float(distance.mean()))
    elif limits != Limits():
        lines.append("limits: judged when all data sets are there, and none failed")
    return "\n".join(lines)


def warned(row: Row) -> bool:
    """Tell whether the sampler says of its own draws that they are too few, or that walkers hardly moved.

    It knows nothing of the truth. So the ranks of the other data sets are uniform if their posteriors are right.
    """
    return float(row["effective"]) < FEW or float(row["acceptance"]) < STICKY


def _without_warning(number: int, covered: Mapping[float, np.ndarray], distance: np.ndarray) -> str:
    """Return the coverage by intervals of each width, and the distances, of the data sets without a warning."""
    shares = ", ".join(f"{_mean(each)} of {share * 100:.0f} % intervals" for share, each in covered.items())
    return (
        f"without the {number} of which the sampler warns: coverage {shares}; Mahalanobis² / n {_mean(distance)}; "
        f"{np.median(distance):.3g} in the median"
    )


def _of_sampling(rows: Sequence[Row]) -> str:
    effective, seconds = _column(rows, "effective"), _column(rows, "seconds")
    oscillating = int((_column(rows, "rise") > OSCILLATES).sum())
    return (
        f"effective samples of the worst number: {np.median(effective):.0f} in the median, at least "
        f"{effective.min():.0f}; acceptance {np.median(_column(rows, 'acceptance')):.2f}; "
        f"{duration(float(np.median(seconds)))} a set; {oscillating} oscillate"
    )


def _judged(limits: Limits, coverage: float, p: float, distance: float) -> list[str]:
    """Return each of the limits with what was found."""
    low, high = COVERAGE
    asked = (
        (limits.coverage, f"coverage of 90 % intervals {low:g} to {high:g}", coverage, low <= coverage <= high),
        (limits.uniform, f"least corrected p above {LEAST_P:g}", p, p > LEAST_P),
        (limits.distance, f"Mahalanobis² / n within {DISTANCE:.0%} of 1", distance, abs(distance - 1) <= DISTANCE),
    )
    return [f"{'met' if met else 'MISSED'}: {what}: {value:.3g}" for of_part, what, value, met in asked if of_part]


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    """Return a column without its gaps."""
    return np.array([float(row[name]) for row in rows if name in row])


def _with_error(hits: np.ndarray) -> str:
    """Write a share with its binomial standard error."""
    share = hits.mean()
    return f"{share:.3f} +- {np.sqrt(share * (1 - share) / len(hits)):.3f}"


def _mean(values: np.ndarray) -> str:
    """Write the mean over sets with its standard error."""
    error = f" +- {values.std(ddof=1) / np.sqrt(len(values)):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{error}"


@styled
def calibration_figure(rows: Mapping[str, Sequence[Row]]) -> Figure:
    """Show how far the distribution of ranks departs from the uniform one, for each part."""
    figure = Figure(figsize=(1.2 + 3.4 * len(rows), 3.4))
    axes = figure.subplots(1, len(rows), squeeze=False)[0]
    grid = (np.arange(RANKS) + 1) / RANKS
    for ax, (part, found) in zip(axes, rows.items(), strict=True):
        ranks = ranks_by_number(found)
        sets = len(next(iter(ranks.values()), ()))
        if sets:
            band = float(np.quantile(largest_by_chance(sets), 0.95))
            ax.axhspan(-band, band, color="#dddddd", lw=0, label="95 % of uniform ranks")
        for name, each in ranks.items():
            kind = name.split(" ")[0]
            style = {"color": COLOURS.get(kind, OF_LN_P), "lw": 1.0 if kind in COLOURS else 1.8}
            ax.step(
                grid, departure(each), where="post", label=kind.replace("_", " ") if kind in COLOURS else name, **style
            )
        ax.axhline(0, color="#888888", lw=0.6)
        ax.set(xlim=(0, 1), xlabel="rank of the truth / 100", title=f"{part}, {sets} data sets")
    axes[0].set_ylabel("share of lower ranks,\nless the expected")
    legend_once(*axes, at=figure, loc="outside lower center", ncols=3 * len(rows))
    put_title(figure, "Ranks of the true numbers among draws")
    return figure
