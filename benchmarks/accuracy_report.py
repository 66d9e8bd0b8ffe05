"""Tables, targets and figure of `benchmarks.accuracy`, from the rows of its CSV table."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import chi2

from src.helper import names_of_X
from src.model.circuit_file import winner_take_all
from src.plots.style import EXCITATORY, TRUTH, legend_once, population_colours, put_title, styled
from src.report.figure_summary import SYMBOLS
from src.utils.text import align

Row = dict[str, str]
Cases = dict[tuple[str, ...], list[Row]]
PARAMETERS = names_of_X(winner_take_all())
RATES = {"winner_Hz": "E1", "loser_Hz": "E2", "inhibition_Hz": "I"}
"""Columns of rates, and the population whose colour they get in the figure."""
NETWORK = ("network", "0.2", "", "0")


def cases(rows: Sequence[Row], part: str, *keys: str) -> Cases:
    """Return the rows of a part, gathered by some of their columns, in their order."""
    found: Cases = {}
    for row in rows:
        if row["part"] == part:
            found.setdefault(tuple(row.get(key, "") for key in keys), []).append(row)
    return found


def known_cases(rows: Sequence[Row]) -> Cases:
    """Return the fits to known activity by scheme, bin, noise and length."""
    return cases(rows, "known", "scheme", "bin_ms", "noise", "length_s")


def switching_cases(rows: Sequence[Row]) -> Cases:
    """Return the pieces of free activity by scheme, bin, noise and window."""
    return cases(rows, "switching", "scheme", "bin_ms", "noise", "window_s")


def errors(rows: Sequence[Row]) -> np.ndarray:
    """Return |fit / truth - 1| in percent, (seeds, parameters)."""
    return 100 * np.abs([[float(row[name]) - 1 for name in PARAMETERS] for row in rows])


def switching_rate(rows: Sequence[Row]) -> tuple[float, float, float]:
    """Return switches in 100 s of all pieces together, and the exact 95 % interval of a Poisson count."""
    k, per = sum(int(row["switches"]) for row in rows), 100 / sum(float(row["length_s"]) for row in rows)
    low = chi2.ppf(0.025, 2 * k) / 2 if k else 0.0
    return k * per, float(low) * per, float(chi2.ppf(0.975, 2 * k + 2)) / 2 * per


def mean_and_error(rows: Sequence[Row], name: str) -> tuple[float, float]:
    """Return the mean of a column over pieces, and its standard error."""
    values = np.array([float(row[name]) for row in rows])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


# --- tables ----------------------------------------------------------------------------------------------------------


def known_table(rows: Sequence[Row]) -> str:
    """Return the errors of the parameters: median over seeds, and the largest."""
    found = known_cases(rows)
    heads = [[f"{scheme}", f"{bin_ms} ms, {noise}", f"{length} s"] for scheme, bin_ms, noise, length in found]
    titles = ["|fit / truth - 1| in %", "median (largest) over seeds", ""]
    table = [[title, *(head[k] for head in heads)] for k, title in enumerate(titles)]
    every = [errors(group) for group in found.values()]
    for k, name in enumerate(PARAMETERS):
        table.append([name, *(f"{np.median(e[:, k]):.1f} ({e[:, k].max():.1f})" for e in every)])
    table.append(["all parameters", *(f"{np.median(e):.1f} ({e.max():.1f})" for e in every)])
    table.append(["truth less fit, nats", *(_median_and_range(_nats(group)) for group in found.values())])
    table.append(["seeds", *(str(len(group)) for group in found.values())])
    return align(table)


def _nats(rows: Sequence[Row]) -> list[float]:
    """Return how much likelier than the truth the fit makes the whole activity."""
    M = len(PARAMETERS) // 4
    return [
        (float(row["loss_true"]) - float(row["loss"])) * M * float(row["length_s"]) * 1e3 / float(row["bin_ms"])
        for row in rows
    ]


def _median_and_range(values: Sequence[float]) -> str:
    return f"{np.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


def switching_table(rows: Sequence[Row]) -> str:
    """Return switching and rates at the true parameters."""
    head = ["at the true parameters", "bin, ms", "noise", "window, s", "s", "switches in 100 s"]
    table = [[*head, "winner, Hz", "loser, Hz", "inhibition, Hz"]]
    for (scheme, bin_ms, noise, window), group in switching_cases(rows).items():
        rate, low, high = switching_rate(group)
        length = sum(float(row["length_s"]) for row in group)
        line = [scheme, bin_ms, noise, window if float(window) else "", f"{length:g}"]
        line.append(f"{rate:.2f} [{low:.2f}, {high:.2f}]")
        line += ["{:.2f} +- {:.2f}".format(*mean_and_error(group, name)) for name in RATES]
        table.append(line)
    return align(table)


def cost_table(rows: Sequence[Row]) -> str:
    """Return what the schemes cost, and how much the window matters to the loss."""
    table = [["", "", "", "ratio"]]
    for row in rows:
        if row["part"] != "cost":
            continue
        times = [f"{float(row[name]):.3g} ms" for name in ("ms", "ms_other")]
        if row.get("noise"):
            what = f"{row['length_s']} s of simulation at 4 ms, {row['noise']}: 1 s window, 0.16 s and pool"
        else:
            what = f"value and gradient, {row['length_s']} s: consistent {row['bin_ms']} ms, published 4 ms"
        table.append([what, *times, f"{float(row['ratio']):.2f}"])
    return align(table)


# --- targets ---------------------------------------------------------------------------------------------------------


def targets(rows: Sequence[Row]) -> list[str]:
    """Return a line for every target whose rows are there: what came, what was asked for, whether it was reached."""
    return [*_known_targets(rows), *_switching_targets(rows), *_other_targets(rows)]


def _line(what: str, value: float, limit: float, unit: str, least: bool = False) -> str:
    reached = value >= limit if least else value <= limit
    return f"{what}: {value:.3g}{unit}, {'at least' if least else 'at most'} {limit:g}{unit}: " + (
        "reached" if reached else "missed"
    )


def _known_targets(rows: Sequence[Row]) -> list[str]:
    lines = []
    for (scheme, bin_ms, noise, length), group in known_cases(rows).items():
        if (scheme, bin_ms, length) == ("consistent", "1", "10"):
            found, name = errors(group), f"1 ms, {noise} likelihood, 10 s"
            worst = float(np.median(found, axis=0).max())
            lines.append(_line(f"{name}: largest median error of a parameter", worst, 5, " %"))
            lines.append(_line(f"{name}: median of all errors", float(np.median(found)), 1.5, " %"))
    return lines


def _switching_targets(rows: Sequence[Row]) -> list[str]:
    found = switching_cases(rows)
    fine = [found.get(("consistent", bin_ms, "binomial", "0.16"), []) for bin_ms in ("1", "0.5")]
    lines = []
    if all(fine):
        a, b = (switching_rate(group)[0] for group in fine)
        apart = 100 * abs(a / b - 1) if b else float("inf")
        lines.append(_line("switching at 1 ms and 0.5 ms, binomial, differs by", apart, 15, " %"))
    for bin_ms, group in zip(("1", "0.5"), fine, strict=True):
        if group and NETWORK in found:
            away = [abs(mean_and_error(group, name)[0] - mean_and_error(found[NETWORK], name)[0]) for name in RATES]
            lines.append(_line(f"{bin_ms} ms, binomial: rates off the network's by up to", max(away), 0.6, " Hz"))
    windows = [found.get(("consistent", "4", "binomial", window), []) for window in ("0.16", "1")]
    if all(windows):
        counts = [sum(int(row["switches"]) for row in group) for group in windows]
        apart = abs(counts[0] - counts[1]) / max(1, sum(counts)) ** 0.5
        lines.append(
            _line(f"switches with 0.16 s and 1 s windows, {counts[0]} and {counts[1]}: apart by", apart, 2, " SE")
        )
    return lines


def _other_targets(rows: Sequence[Row]) -> list[str]:
    lines = []
    differences = [float(row["difference"]) for row in rows if row["part"] == "window"]
    if differences:
        lines.append(_line("loss with 0.16 s and 1 s windows, relative difference", max(differences), 1e-4, ""))
    for row in rows:
        if row["part"] == "cost" and row.get("noise"):
            what = f"simulation with pool, {row['noise']}, over that with 1 s window"
            lines.append(_line(what, float(row["ratio"]), 8, " x", least=True))
        elif row["part"] == "cost":
            limit = {"1": 4.0, "2": 1.2}[row["bin_ms"]]
            lines.append(_line(f"cost of {row['bin_ms']} ms over published 4 ms", float(row["ratio"]), limit, " x"))
    return lines


def report(rows: Sequence[Row], judged: bool) -> str:
    """Return all tables whose rows are there, and the targets."""
    parts = {row["part"] for row in rows}
    tables = {"known": known_table, "switching": switching_table, "cost": cost_table}
    texts = [table(rows) for part, table in tables.items() if part in parts]
    lines = targets(rows) if judged else ["--quick: no targets judged"]
    return "\n\n".join([*texts, "\n".join(lines)])


# --- figure ----------------------------------------------------------------------------------------------------------


@styled
def accuracy_figure(rows: Sequence[Row]) -> Figure:
    """Show parameter errors from known activity, and switching and rates at the true parameters."""
    figure = Figure(figsize=(9, 8.5))
    above, left, right = figure.subplot_mosaic(
        [["errors", "errors"], ["switches", "rates"]], width_ratios=[1, 1.15]
    ).values()
    _draw_errors(above, rows)
    _draw_switching(left, rows)
    _draw_rates(right, rows)
    put_title(figure, "Accuracy of the discretisations")
    return figure


def _draw_errors(ax: Axes, rows: Sequence[Row]) -> None:
    """Draw every parameter's error for every seed, and the median of all."""
    found = known_cases(rows)
    kinds = list(SYMBOLS)
    for place, group in enumerate(found.values()):
        values = np.maximum(errors(group), 0.05)
        for k, name in enumerate(PARAMETERS):
            kind = kinds.index(name.split()[0])
            x = place - 0.3 + 0.6 * k / (len(PARAMETERS) - 1)
            label = f"{SYMBOLS[kinds[kind]]} {kinds[kind].replace('_', ' ')}"
            ax.plot(np.full(len(group), x), values[:, k], "o", ms=3, color=EXCITATORY[kind], label=label)
        ax.plot([place - 0.36, place + 0.36], [np.median(values)] * 2, color=TRUTH, lw=2, label="median of all")
    for limit, style in ((5, "--"), (1.5, ":")):
        ax.axhline(limit, color="#888888", lw=0.8, ls=style, zorder=0)
    ax.set(yscale="log", ylabel="|fit / truth - 1| (%)", xticks=range(len(found)))
    ax.set_xticklabels([f"{scheme}\n{b} ms, {length} s\n{noise}" for scheme, b, noise, length in found])
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_title("Maximum-likelihood parameters from fully known activity, each parameter and seed", pad=20)
    legend_once(ax, at=ax, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderpad=0, borderaxespad=0.2)


def _labels(found: Cases) -> list[str]:
    names = []
    for scheme, bin_ms, noise, window in found:
        wide = ", 1 s window" if (scheme, window) == ("consistent", "1") else ""
        names.append("network" if scheme == "network" else f"{scheme} {bin_ms} ms\n{noise}{wide}")
    return names


def _draw_switching(ax: Axes, rows: Sequence[Row]) -> None:
    """Draw how often every case switches, one below the other, with the network's interval as a band."""
    found = switching_cases(rows)
    for place, (case, group) in enumerate(found.items()):
        rate, low, high = switching_rate(group)
        colour = TRUTH if case == NETWORK else EXCITATORY[0]
        ax.errorbar(rate, place, xerr=[[rate - low], [high - rate]], fmt="o", ms=4, color=colour, lw=1.2)
        if case == NETWORK:
            ax.axvspan(low, high, color="#e4e4e4", lw=0, zorder=0)
    ax.set(xlabel="switches in 100 s, 95 % interval", xlim=(-0.8, None), yticks=range(len(found)))
    ax.set_yticklabels(_labels(found))
    ax.invert_yaxis()
    ax.set_title("Switching at the true parameters")


def _draw_rates(ax: Axes, rows: Sequence[Row]) -> None:
    """Draw the rates of every case less the network's, with the target as a band."""
    found = switching_cases(rows)
    colours = population_colours(winner_take_all().names)
    ax.axvspan(-0.6, 0.6, color="#e4e4e4", lw=0, zorder=0)
    ax.axvline(0, color=TRUTH, lw=0.8)
    for place, group in enumerate(found.values() if NETWORK in found else ()):
        for k, (name, population) in enumerate(RATES.items()):
            value, error = mean_and_error(group, name)
            away = value - mean_and_error(found[NETWORK], name)[0]
            label, colour = name.removesuffix("_Hz"), colours[population]
            y = place + 0.18 * (k - 1)
            ax.plot(away, y, "o", ms=4, color=colour, label=label)
            ax.plot([away - error, away + error], [y, y], color=colour, lw=1.2)
    ax.set(xlabel="rate less the network's (Hz), $\\pm$ 1 SE", yticks=range(len(found)))
    ax.tick_params(labelleft=False)
    ax.invert_yaxis()
    ax.set_title("Rates at the true parameters")
    legend_once(ax, at=ax, loc="lower right")
