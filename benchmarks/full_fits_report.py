"""Tables, verdicts and figure of the full fits of `benchmarks.accuracy`."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.accuracy_report import PARAMETERS, Cases, Row, cases
from benchmarks.full_fits import BASELINE, TRIALS, TRUE
from src.model.circuit_file import winner_take_all
from src.plots.style import FAINT, OTHER, TRUTH, legend_once, population_colours, put_title, styled
from src.utils.text import align

NETWORK = 9.85
"""Switches of the network in 100 s, see the part `switching`."""
NETWORK_INTERVAL = (8.52, 11.33)
POPULATIONS = winner_take_all().names
RATES = ("winner_Hz", "loser_Hz", "inhibition_Hz")

Quantity = Callable[[Row], float]


def fits_of(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of fits that came to an end."""
    return [row for row in rows if row.get("start") != TRUE and "loss" in row]


def best_of_starts(rows: Sequence[Row]) -> list[Row]:
    """Return for every data seed the fit that the method selects, as `src.inference.em.best_fit` does."""
    fits = fits_of(rows)
    by_loss = not all("ln_p" in row for row in fits)

    def worth(row: Row) -> float:
        return -float(row["loss"]) if by_loss else float(row["ln_p"])

    best: dict[str, Row] = {}
    for row in fits:
        if row["seed"] not in best or worth(row) > worth(best[row["seed"]]):
            best[row["seed"]] = row
    return list(best.values())


# --- what is told of a fit; NaN where a row does not have it ----------------------------------------------------------


def column(name: str) -> Quantity:
    """Return a quantity that stands in the table as it is."""
    return lambda row: float(row.get(name, "nan"))


def error(name: str) -> Quantity:
    """Return |fit / truth - 1| of a parameter, in percent."""
    return lambda row: 100 * abs(float(row.get(name, "nan")) - 1)


def median_error(row: Row) -> float:
    """Return the median of |fit / truth - 1| over the parameters of a fit, in percent."""
    return float(np.median([error(name)(row) for name in PARAMETERS]))


def mean_correlation(kind: str) -> Quantity:
    """Return the correlation of inferred with true activity, in the mean over populations; `kind` is r or r20."""
    # A population whose inferred activity does not change correlates with nothing.
    return lambda row: float(np.mean(np.nan_to_num([float(row[f"{kind} {name}"]) for name in POPULATIONS])))


def switching(row: Row) -> float:
    """Return the switches in 100 s of the fit's free simulation."""
    return 100 * float(row.get("switches", "nan")) / float(row.get("simulated_s", "nan"))


def distance(row: Row) -> float:
    """Return how far that is from the network's."""
    return abs(switching(row) - NETWORK)


def _quantities() -> list[tuple[str, Quantity, str]]:
    """Return title, quantity and format of every line of the table."""
    lines: list[tuple[str, Quantity, str]] = [(name, error(name), ".0f") for name in PARAMETERS]
    lines += [("median of the parameters", median_error, ".1f"), ("parameters at a bound", column("at_bound"), ".0f")]
    for kind, unit, width in (
        ("r", "", "4 ms"),
        ("r20", "", "20 ms"),
        ("rmse", "_Hz", "4 ms"),
        ("rmse20", "_Hz", "20 ms"),
    ):
        what = f"{'RMSE in Hz' if unit else 'correlation'}, {width}"
        for name in POPULATIONS:
            lines.append((f"{what}, {name}", column(f"{kind}{unit} {name}"), ".2f"))
            lines.append((f"    of the start, {name}", column(f"start {kind}{unit} {name}"), ".2f"))
    for name in POPULATIONS:
        lines.append((f"mean rate, {name}, Hz", column(f"mean_Hz {name}"), ".2f"))
        lines.append((f"    true rate, {name}, Hz", column(f"true_mean_Hz {name}"), ".2f"))
    lines += [("switches in the recording", column("true_switches"), ".0f")]
    lines += [("simulated: switches in 100 s", switching, ".1f"), (f"    distance from {NETWORK}", distance, ".1f")]
    lines += [(f"simulated: {name.removesuffix('_Hz')}, Hz", column(name), ".2f") for name in RATES]
    lines += [("fresh recording: bits per spike", column("bits_per_spike"), ".3f")]
    lines += [(f"    loss_{part}, nats per s", column(f"fresh_{part}"), ".1f") for part in "yZ"]
    lines += [("loss", column("loss"), ".4f"), ("EM steps", column("em_steps"), ".0f")]
    return [*lines, ("seconds", column("fit_seconds"), ".0f")]


# --- tables ----------------------------------------------------------------------------------------------------------


def by_procedure(rows: Sequence[Row], part: str) -> Cases:
    """Return the rows of a part by procedure and options."""
    return cases(rows, part, "procedure", "options", "length_s")


def fits_table(rows: Sequence[Row], part: str) -> str:
    """Return the table of a part: of every procedure the best of the starts, all fits, and the true parameters."""
    table = [[part], ["median (range)"], ["|fit / truth - 1| in %; then in units of their own"]]
    columns: list[list[Row]] = []
    for (name, _, length), group in by_procedure(rows, part).items():
        true = [row for row in group if row["start"] == TRUE]
        seeds = len({row["seed"] for row in fits_of(group)})
        for title, chosen in (
            (f"best start, {seeds} data", best_of_starts(group)),
            (f"all {len(fits_of(group))} fits", fits_of(group)),
            ("the truth", true),
        ):
            if chosen:
                for row, text in zip(table, (name, f"{length} s", title), strict=True):
                    row.append(text)
                columns.append(chosen)
    for title, quantity, form in _quantities():
        table.append([title, *(_summary(map(quantity, chosen), form) for chosen in columns)])
    return "\n".join([align(table), *_failures(rows, part)])


def _summary(values: Iterable[float], form: str) -> str:
    """Write a median and a range, of the numbers that are there."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return "-"
    low, middle, high = (f"{round(value, 6) + 0.0:{form}}" for value in (min(known), np.median(known), max(known)))
    return f"{middle} ({low} to {high})" if len(known) > 1 else middle


def _failures(rows: Sequence[Row], part: str) -> list[str]:
    failed = [row for row in rows if row["part"] == part and row.get("ended", "").startswith("failed")]
    return [f"{row['procedure']}, data {row['seed']}, start {row['start']}: {row['ended']}" for row in failed]


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Return lines that say where a procedure beats the published one: medians over data, of the best starts."""
    judged = (
        ("median parameter error", "%", median_error, False),
        ("correlation in 4 ms bins, mean over populations", "", mean_correlation("r"), True),
        ("correlation after 20 ms, mean over populations", "", mean_correlation("r20"), True),
        (f"distance of the switching rate from {NETWORK}", "per 100 s", distance, False),
        ("bits per spike of a fresh recording", "", column("bits_per_spike"), True),
    )
    lines = []
    for part in TRIALS:
        best = {name: best_of_starts(group) for (name, *_), group in by_procedure(rows, part).items()}
        for name in best:
            if name == BASELINE or not best[name] or not best.get(BASELINE):
                continue
            for what, unit, quantity, more in judged:
                ours, theirs = (float(np.median([quantity(row) for row in best[key]])) for key in (name, BASELINE))
                reached = "reached" if (ours > theirs if more else ours < theirs) else "missed"
                numbers = f"{ours:.3g} against {theirs:.3g} {unit}".rstrip()
                lines.append(f"{part}: {name} beats {BASELINE} on {what}: {numbers}: {reached}")
    return lines


def fits_report(rows: Sequence[Row], judged: bool) -> str:
    """Return all tables whose rows are there, and the verdicts."""
    tables = [fits_table(rows, part) for part in TRIALS if by_procedure(rows, part)]
    lines = verdicts(rows) if judged else ["--quick: no procedure judged"]
    return "\n\n".join([*tables, "\n".join(lines)])


# --- figure ----------------------------------------------------------------------------------------------------------


@styled
def fits_figure(rows: Sequence[Row]) -> Figure:
    """Show what every procedure finds, fit by fit, and which fits it selects."""
    groups = {
        f"{name}\n{length} s": group
        for part in TRIALS
        for (name, _, length), group in by_procedure(rows, part).items()
        if fits_of(group)
    }
    figure = Figure(figsize=(9, 7.5))
    errors, correlations, switches, bits = figure.subplots(2, 2).ravel()
    _draw_fits(errors, groups, median_error)
    errors.set(ylabel="|fit / truth - 1| (%)", title="Parameters: median error of a fit", ylim=(0, None))
    _draw_correlations(correlations, groups)
    _draw_fits(switches, groups, switching)
    switches.axhspan(*NETWORK_INTERVAL, color="#e4e4e4", lw=0, zorder=0, label="network, 95 % interval")
    switches.set(ylabel="switches in 100 s", title="Free simulation of the fits")
    _draw_fits(bits, groups, column("bits_per_spike"))
    for place, group in enumerate(groups.values()):
        values = [column("bits_per_spike")(row) for row in group if row["start"] == TRUE]
        if values:
            bits.plot([place - 0.3, place + 0.3], [np.median(values)] * 2, color=OTHER, lw=1.5, label="true parameters")
    bits.set(ylabel="bits per spike", title="Recorded neurons of a fresh recording")
    for ax in (errors, correlations, switches, bits):
        ax.set_xticks(range(len(groups)), list(groups), rotation=30, ha="right", rotation_mode="anchor", fontsize=8)
        ax.margins(x=0.15)
        legend_once(ax, at=ax, loc="center left" if ax is correlations else "best")
    put_title(figure, "Full fits from nine recorded neurons")
    return figure


def _draw_fits(ax: Axes, groups: dict[str, list[Row]], quantity: Quantity) -> None:
    """Draw every fit, those that are selected on top, and the median of the latter."""
    for place, group in enumerate(groups.values()):
        for chosen, colour, x, label in (
            (fits_of(group), FAINT, place + 0.12, "fit"),
            (best_of_starts(group), TRUTH, place - 0.12, "best of the starts"),
        ):
            ax.plot([x] * len(chosen), [quantity(row) for row in chosen], "o", ms=4, color=colour, label=label)
        middle = np.median([quantity(row) for row in best_of_starts(group)])
        ax.plot([place - 0.3, place + 0.06], [middle] * 2, color=TRUTH, lw=1.5, label="its median")


def _draw_correlations(ax: Axes, groups: dict[str, list[Row]]) -> None:
    """Draw the selected fits' correlation with the truth for every population, and that of the start in the median."""
    for place, group in enumerate(groups.values()):
        best = best_of_starts(group)
        for k, (name, colour) in enumerate(population_colours(POPULATIONS).items()):
            x = place + 0.22 * (k - 1)
            values = [column(f"r {name}")(row) for row in best]
            ax.plot([x] * len(best), values, "o", ms=4, color=colour, label=f"{name}, best of the starts")
            start = np.median([column(f"start r {name}")(row) for row in best])
            ax.plot([x - 0.08, x + 0.08], [start] * 2, color=OTHER, lw=1.5, label="start of the activity")
    ax.set(ylabel="correlation with the truth, 4 ms bins", title="Inferred activity")
