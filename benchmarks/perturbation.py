"""What would the circuit do if it were pushed? The last claim of the paper, against the network that made the data.

Part `pulses`: pulses of many strengths to the population that is losing. They go to the microscopic network, to its own
parameters in mesoscopic populations, to the published and the recommended fit, and to draws from the posterior. None of
these fits saw an input. Part `driven`: fits to a recording with a known input are asked about other inputs.

Every finished unit is a row of a CSV table, with a response in the archive beside it; a rerun measures what is missing.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import circuits, driven
from benchmarks.circuits import Source
from benchmarks.perturbation_report import driven_figure, driven_table, pulses_figure, pulses_table, save_small
from benchmarks.pulses import DT, RESPONSES, read_responses, schedule
from benchmarks.tables import read_rows, write_rows
from benchmarks.words import names_in
from src.model.circuit_file import winner_take_all
from src.posterior.result import load_posterior
from src.statistics.populations import competing_pair
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from src.utils.settings import names_options, option, parse, run_script

PARTS = ("pulses", "driven")
FIRST_KEYS = ("part", "source", "input", "length_s", "copies", "number")
KEYS = (*FIRST_KEYS, "circuit")
"""Columns that say what a row is. A row replaces the one of another circuit that agrees with it in all the others."""
NAMES = winner_take_all().names
DRIVEN_DRAWS = 20
"""Draws from the posterior that are shown an input, about."""
PAIR = competing_pair(NAMES) or (0, 1)


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    only: str = option(",".join(PARTS), "parts to measure, separated by commas")
    quick: bool = option(False, "few and short: shows that it works, in a table of its own")
    show: bool = option(False, "measure nothing: show what the table has")
    published: str = option("result/3pop example/data11", "folder of runs of the published fit")
    recommended: str = option("result/recommended/data11", "folder of runs of the recommended fit")
    posterior: str | None = option(None, "folder of the posterior; without it posterior/ of the published fit")
    draws: int = option(100, "draws from the posterior", at_least=2, at_most=10000)
    driven_published: str = option("result/driven/published/data11", "published fit of a recording with input")
    driven_recommended: str = option("result/driven/recommended/data11", "recommended fit of a recording with input")
    table: str | None = option(
        None, "table of results; without it benchmarks/perturbation.csv, or result/perturbation/quick.csv with --quick"
    )
    folder: str = option("result/perturbation", "folder for what the network did, and the figures")
    figures: str | None = option(None, "folder for the figures; without it the same")


HOW_TO = {
    "published": "./3pop_neuLVM.sh",
    "recommended": "./3pop_neuLVM.sh --scheme consistent --e_objective innovations --SAVE_DIR result/recommended",
    "driven_published": "./3pop_neuLVM.sh --dataset result/driven/recording --with_input "
    "--SAVE_DIR result/driven/published, on the recording of simulate_micro.py --input ou --sigma 80 "
    "--output result/driven/recording",
    "driven_recommended": "./3pop_neuLVM.sh --dataset result/driven/recording --with_input --scheme consistent "
    "--e_objective innovations --SAVE_DIR result/driven/recommended",
}
"""The commands that make what an option names."""


@dataclass(frozen=True)
class Size:
    """How much is measured: numbers and lengths of simulations.

    Parameters
    ----------
    pieces : int
        Of the network and of each single circuit.
    piece, draw : float, s
        Length of a piece, and of what each draw from the posterior gets.
    copies : int
        That all get the same pulses, of a circuit whose simulation is cheap.
    draw_copies : int
        Likewise of each draw.
    shown : driven.Shown
    """

    pieces: int
    piece: float
    copies: int
    draw: float
    draw_copies: int
    shown: driven.Shown


FULL = Size(20, 400.0, 4, 100.0, 64, driven.Shown(10.0, 6, 20))
QUICK = Size(2, 40.0, 2, 40.0, 8, driven.Shown(8.0, 2, 2))


@dataclass(frozen=True)
class Unit:
    """A row of the table: what it is, in the order of `KEYS`, and the function that gives what was found."""

    key: tuple[str, ...]
    measure: Callable[[], tuple[dict[str, Any], np.ndarray]]

    def run(self) -> tuple[dict[str, str], np.ndarray]:
        """Measure it; return the row, and the response that belongs to it."""
        start = time.perf_counter()
        found, response = self.measure()
        row = dict(zip(KEYS, self.key, strict=True)) | {name: _text(value) for name, value in found.items()}
        return row | {"seconds": f"{time.perf_counter() - start:.1f}"}, response


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if np.isfinite(value) else ""
    return str(value)


# --- what there is to measure ----------------------------------------------------------------------------------------


def pulse_unit(source: Source, length: float, copies: int, number: int) -> Unit:
    """Return the unit in which a circuit gets the pulses with that number."""

    def measure() -> tuple[dict[str, Any], np.ndarray]:
        pulses = schedule(length, np.random.default_rng(np.random.SeedSequence([1, number])))
        given = pulses.input(round(length / DT), len(NAMES), PAIR)
        found = read_responses(source.simulate(given, copies, number), pulses, PAIR)
        columns = {f"counted {k}": int(n) for k, n in enumerate(found.counted)}
        columns |= {f"switched {k}": int(n) for k, n in enumerate(found.switched)}
        with np.errstate(invalid="ignore"):
            return columns, (found.total / found.counted[:, None, None])[list(RESPONSES)]

    key = ("pulses", source.name, "", f"{length:g}", str(copies), str(number), source.circuit)
    return Unit(key, measure)


def driven_unit(source: Source | None, kind: str, number: int, size: Size, folder: Path) -> Unit:
    """Return the unit in which a circuit, or without one the network, is shown an input."""
    copies = size.shown.network if source is None else size.shown.model
    name, circuit = ("network", "") if source is None else (source.name, source.circuit)
    key = ("driven", name, kind, f"{size.shown.length:g}", str(copies), str(number), circuit)
    return Unit(key, lambda: driven.compare(kind, size.shown, folder, source, number))


def units(settings: Settings, size: Size, parts: Sequence[str]) -> list[Unit]:
    """Return everything there is to measure.

    Raises
    ------
    InputError
        A fit or the posterior is missing; says which command makes it.
    """
    folder, found = Path(settings.folder), []
    truth, published = circuits.true_parameters(), _fit(settings, "published")
    recommended, draws = _fit(settings, "recommended"), _draws(settings)
    if "pulses" in parts:
        for source, copies in (
            (circuits.network(folder), 1),
            (truth, size.copies),
            (published, 1),
            (recommended, size.copies),
        ):
            found += [pulse_unit(source, size.piece, copies, k) for k in range(1, size.pieces + 1)]
        found += [pulse_unit(source, size.draw, size.draw_copies, k) for k, source in enumerate(draws, 1)]
    if "driven" in parts:
        others = [truth, _fit(settings, "driven_published"), _fit(settings, "driven_recommended"), recommended]
        for kind in driven.KINDS:
            alone = [driven_unit(source, kind, 1, size, folder) for source in (None, *others)]
            some = list(enumerate(draws, 1))[:: max(1, len(draws) // DRIVEN_DRAWS)]
            found += [*alone, *(driven_unit(source, kind, k, size, folder) for k, source in some)]
    return found


def _fit(settings: Settings, name: str) -> Source:
    try:
        return circuits.best_fit(name, getattr(settings, name))
    except InputError as error:
        raise InputError(f"{name}: {error}; {HOW_TO[name]} makes them") from None


def _draws(settings: Settings) -> list[Source]:
    folder = settings.posterior or settings.published
    try:
        return circuits.posterior_draws(load_posterior(folder), settings.draws)
    except InputError as error:
        raise InputError(f"posterior: {error}") from None


# --- the table and its archive ---------------------------------------------------------------------------------------


@dataclass
class Table:
    """Rows measured so far, and the response of each: kept in a CSV table and an archive beside it."""

    path: Path
    rows: list[dict[str, str]]
    responses: dict[str, np.ndarray]

    @classmethod
    def read(cls, path: Path) -> "Table":
        """Read both; empty if there is no table.

        Raises
        ------
        InputError
            A file is broken, or is something else.
        """
        if not path.exists():
            return cls(path, [], {})
        rows = read_rows(path, KEYS)
        return cls(path, rows, load_arrays(cls.archive(path), [name_of(row) for row in rows]))

    @staticmethod
    def archive(path: Path) -> Path:
        """Return where the responses are."""
        return path.with_suffix(".npz")

    def add(self, row: dict[str, str], response: np.ndarray) -> None:
        """Enter a row and its response, in place of that of another circuit."""
        name = name_of(row)
        self.rows = [other for other in self.rows if name_of(other) != name] + [row]
        self.responses[name] = response.astype(np.float16)

    def save(self) -> None:
        """Write both, each whole or not at all: the archive first, so that no row is without its response."""
        save_arrays(self.archive(self.path), compress=True, **self.responses)
        write_rows(self.path, self.rows, KEYS)


def name_of(row: dict[str, str]) -> str:
    """Return the name of a row's response in the archive."""
    return "|".join(row.get(name) or "" for name in FIRST_KEYS)


def key_of(row: dict[str, str]) -> tuple[str, ...]:
    """Return what a row is."""
    return tuple(row.get(name) or "" for name in KEYS)


def measure(wanted: Sequence[Unit], table: Table) -> None:
    """Measure the units that the table lacks; each is kept as soon as it is done."""
    done = {key_of(row) for row in table.rows}
    missing = [unit for unit in wanted if unit.key not in done]
    for k, unit in enumerate(missing, 1):
        table.add(*unit.run())
        table.save()
        print(f"{k}/{len(missing)}: {' '.join(filter(None, unit.key))}", file=sys.stderr, flush=True)


@names_options(Settings)
def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    parts = names_in(settings.only, PARTS)
    folder = Path(settings.folder)
    path = Path(settings.table or (folder / "quick.csv" if settings.quick else "benchmarks/perturbation.csv"))
    table = Table.read(path)
    shown = [row for row in table.rows if row["part"] in parts]
    if not settings.show:
        wanted = units(settings, QUICK if settings.quick else FULL, parts)
        measure(wanted, table)
        keys = {unit.key for unit in wanted}
        shown = [row for row in table.rows if key_of(row) in keys]
    if not shown:
        raise InputError(f"{path}: expected rows to show, found none; without --show they are measured")
    written = [f"table: {path}"]
    for part, tell, draw in (("pulses", pulses_table, pulses_figure), ("driven", driven_table, driven_figure)):
        rows = [row for row in shown if row["part"] == part]
        if rows:
            responses = [table.responses[name_of(row)] for row in rows]
            print(tell(rows, responses), end="\n\n")
            figure = Path(settings.figures or folder) / f"prediction_{part}.png"
            save_small(figure, draw(rows, responses))
            written.append(f"figure: {figure}")
    print("; ".join(written))


if __name__ == "__main__":
    run_script(main, "benchmarks.perturbation")
