"""How right the schemes are: parameter error from known activity, switching at the true parameters, and their cost.

Every finished unit of work is a row of a CSV table; a rerun measures what is missing, and shows all there is.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import free_running, full_fits, known_activity
from benchmarks.accuracy_report import accuracy_figure, report
from benchmarks.full_fits_report import fits_figure, fits_report
from benchmarks.tables import read_rows, without_empty, write_rows
from benchmarks.words import names_in
from src.helper import names_of_X
from src.model.circuit_file import winner_take_all
from src.model.scheme import CONSISTENT, SCHEMES
from src.plots.style import save_figure
from src.utils.jobs import Where, results_of, run_jobs
from src.utils.settings import option, parse, run_script
from src.utils.worker import Outcome

PARTS = ("known", "switching", "window", "cost", *full_fits.TRIALS)
OWN = known_activity.OWN
KNOWN = (
    ("published", 4, "gaussian"),
    ("consistent", 4, "gaussian"),
    ("consistent", 2, "gaussian"),
    ("consistent", 1, "gaussian"),
    ("consistent", 2, "binomial"),
    ("consistent", 1, "binomial"),
)
TELLING = ((OWN, 1, "binomial"), ("consistent", 0.4, "binomial"))
LONG = (("published", 4, "gaussian"), ("consistent", 1, "binomial"))
LONG_LENGTH = 30.0  # s
LONG_RECORDED = 100.0  # s of the network, of which the others take the first part
FREE = (
    ("published", 4, 1.0, "gaussian"),
    ("consistent", 4, 0.16, "gaussian"),
    ("consistent", 1, 0.16, "gaussian"),
    ("consistent", 4, 0.16, "binomial"),
    ("consistent", 2, 0.16, "binomial"),
    ("consistent", 1, 0.16, "binomial"),
    ("consistent", 0.5, 0.16, "binomial"),
    ("consistent", 4, 1.0, "binomial"),
)
FIRST_KEYS = ("part", "scheme", "bin_ms", "noise", "window_s", "length_s", "seed")
KEYS = (*FIRST_KEYS, "procedure", "options", "start")
"""Columns that say what a row is; the others are what was found. Noise is the likelihood's or the simulation's. The
last three are those of full fits; older tables lack them."""


@dataclass(frozen=True)
class Settings(Where):
    """Options of the script; the part cost runs alone."""

    only: str = option(",".join(PARTS), "parts to measure, separated by commas")
    quick: bool = option(False, "few and short: shows that it works, in three minutes, in a table of its own")
    table: str | None = option(
        None, "table of results; without it benchmarks/accuracy.csv, or result/accuracy/quick.csv with --quick"
    )
    folder: str = option("result/accuracy", "folder for the data of the network and the figures")
    figures: str | None = option(None, "folder for the figures, without this the same")


@dataclass(frozen=True)
class Unit:
    """A row of the table that is to be measured: what it is, in the order of `KEYS`, and by which function."""

    key: tuple[str, ...]
    measure: Callable[..., dict[str, Any]]
    arguments: dict[str, Any] = field(default_factory=dict)

    def run(self) -> dict[str, str]:
        """Measure it and return the row."""
        start = time.perf_counter()
        found = self.measure(**self.arguments)
        row = dict(zip(KEYS, self.key, strict=True)) | {name: _text(value) for name, value in found.items()}
        return row | {"seconds": f"{time.perf_counter() - start:.1f}"}


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _key(
    part: str,
    scheme: str,
    bin_ms: float,
    noise: str,
    window: float,
    length: float,
    seed: int,
    fit: tuple[str, str, str] = ("", "", ""),
) -> tuple[str, ...]:
    """Return what a row is; `fit` is the procedure of a full fit, its options and its start."""
    return (part, scheme, f"{bin_ms:g}", noise, f"{window:g}", f"{length:g}", str(seed), *fit)


def fit_known(
    scheme: str, dt: float, counts: str, seed: int, length: float, recorded: float, folder: Path
) -> dict[str, Any]:
    """Fit the parameters to `length` s of known activity; return how it went, and fit / truth of every parameter."""
    ahead = known_activity.WINDOW + known_activity.BURN_IN
    if scheme == OWN:
        model = replace(winner_take_all(dt, None, CONSISTENT), counts=counts)
        activity = known_activity.own_activity(seed, ahead + length, model)
    else:
        model = replace(winner_take_all(dt, None, SCHEMES[scheme]), counts=counts)
        spikes = known_activity.network_counts(seed, ahead + recorded, folder)
        activity = known_activity.in_bins(spikes, model)[:, : round((ahead + length) / dt)]
    problem = known_activity.Problem(activity, model)
    found = known_activity.minimum(problem, np.random.default_rng(np.random.SeedSequence([seed, 1])))
    return found | dict(zip(names_of_X(model), map(float, found.pop("ratio")), strict=True))


def units(quick: bool, folder: Path) -> list[Unit]:
    """Return everything there is to measure."""
    seeds, length, long_seeds = ((1, 2), 2.0, ()) if quick else ((1, 2, 3, 4, 5), 10.0, (1, 2))
    pieces, piece = (2, 10.0) if quick else (10, 200.0)
    found = []

    def known(scheme: str, bin_ms: float, counts: str, seed: int, length: float) -> Unit:
        window = SCHEMES.get(scheme, CONSISTENT).window
        given = {"scheme": scheme, "dt": bin_ms / 1e3, "counts": counts, "seed": seed, "length": length}
        given |= {"recorded": LONG_RECORDED if seed in long_seeds else length, "folder": folder}
        return Unit(_key("known", scheme, bin_ms, counts, window, length, seed), fit_known, given)

    found += [known(*case, seed, length) for seed in seeds for case in KNOWN]
    found += [known(*case, seed, length) for case in TELLING for seed in long_seeds]
    for k in range(1, pieces + 1):
        given = {"seed": 100 + k, "length": piece, "folder": folder}
        found.append(Unit(_key("switching", "network", 0.2, "", 0, piece, k), free_running.network_piece, given))
    for scheme, bin_ms, window, noise in FREE[: 2 if quick else None]:
        for k in range(1, pieces + 1):
            given = {"scheme": scheme, "dt": bin_ms / 1e3, "window": window, "noise": noise, "seed": k, "length": piece}
            key = _key("switching", scheme, bin_ms, noise, window, piece, k)
            found.append(Unit(key, free_running.simulated_piece, given))
    for seed in seeds:
        recorded = LONG_RECORDED if seed in long_seeds else length
        ahead = known_activity.WINDOW + known_activity.BURN_IN
        given = {"seed": seed, "length": ahead + recorded, "folder": folder}
        key = _key("window", "consistent", 4, "", 0.16, recorded, seed)
        found.append(Unit(key, free_running.window_difference, given))
    found += [known(*case, seed, LONG_LENGTH) for seed in long_seeds for case in LONG]
    return found + _cost_units(quick) + [_fit_unit(case, folder) for case in full_fits.cases(quick)]


def _fit_unit(case: full_fits.Case, folder: Path) -> Unit:
    model = case.model
    fit = (case.procedure, case.options, full_fits.TRUE if case.start is None else str(case.start))
    window, length = model.window_bins * model.dt, case.trials * case.fitted
    key = _key(case.part, model.scheme.name, 1e3 * model.dt, model.counts, window, length, case.seed, fit)
    return Unit(key, full_fits.measure, {"case": case, "folder": folder})


def _cost_units(quick: bool) -> list[Unit]:
    repeats, length = (2, 4.0) if quick else (15, 800.0)
    found = []
    for bin_ms in (1, 2):
        given = {"dt": bin_ms / 1e3, "repeats": repeats, "length": 2.0 if quick else 10.0}
        key = _key("cost", "consistent", bin_ms, "", 0.16, given["length"], 0)
        found.append(Unit(key, free_running.gradient_cost, given))
    for noise in ("gaussian", "binomial"):
        given = {"noise": noise, "length": length, "repeats": repeats}
        found.append(Unit(_key("cost", "consistent", 4, noise, 0.16, length, 0), free_running.simulation_cost, given))
    return found


# --- the table -------------------------------------------------------------------------------------------------------


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows measured so far.

    Raises
    ------
    InputError
        The file is not such a table.
    """
    return without_empty(read_rows(path, FIRST_KEYS))


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write all rows, whole or not at all."""
    write_rows(path, rows, KEYS)


def key_of(row: dict[str, str]) -> tuple[str, ...]:
    """Return what a row is."""
    return tuple(row.get(name, "") for name in KEYS)


def measure(wanted: Sequence[Unit], every: Sequence[tuple[str, ...]], path: Path, where: Where) -> None:
    """Measure the units that the table lacks, some at a time; each is in the table as soon as it is done.

    Parameters
    ----------
    wanted : sequence of Unit
    every : sequence of tuple
        Order of the rows, by `KEYS`.
    path : Path
    where : Where
    """
    done = {key_of(row) for row in read_table(path)}
    missing = [unit for unit in wanted if unit.key not in done]
    order = {key: place for place, key in enumerate(every)}

    def told(number: int, outcome: Outcome) -> None:
        if outcome.error:
            return
        row = outcome.result
        # Read again: another run may have added to it.
        rows = sorted([*read_table(path), row], key=lambda row: order.get(key_of(row), -1))
        write_table(path, rows)
        tqdm.write(f"measured {' '.join(filter(None, key_of(row)))}", file=sys.stderr)

    # Times are measured alone, after the rest.
    for at_once in (True, False):
        chosen = [unit for unit in missing if (unit.key[0] != "cost") == at_once]
        names = [" ".join(filter(None, unit.key)) for unit in chosen]
        results_of(run_jobs(Unit.run, chosen, names, where if at_once else Where(1), told, "unit"), names)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, __doc__ or "", argv)
    chosen = names_in(settings.only, PARTS)
    folder = Path(settings.folder)
    path = Path(settings.table or (folder / "quick.csv" if settings.quick else "benchmarks/accuracy.csv"))
    wanted = units(settings.quick, folder)
    every = [unit.key for unit in wanted]
    measure([unit for unit in wanted if unit.key[0] in chosen], every, path, settings)
    rows = [row for row in read_table(path) if row["part"] in chosen and key_of(row) in every]
    name = "quick" if settings.quick else "accuracy"
    fits, others = ([row for row in rows if (row["part"] in full_fits.TRIALS) == full] for full in (True, False))
    written = [f"table: {path}"]
    for found, tell, draw, suffix in ((others, report, accuracy_figure, ""), (fits, fits_report, fits_figure, "_fits")):
        if found:
            print(tell(found, judged=not settings.quick), end="\n\n")
            figure = Path(settings.figures or folder) / f"{name}{suffix}.png"
            save_figure(figure, draw(found))
            written.append(f"figure: {figure}")
    print("; ".join(written))


if __name__ == "__main__":
    run_script(main, "benchmarks.accuracy")
