"""Do long recordings fit? Peak memory, and time per second of data, of what a fit computes, at growing lengths.

Every evaluation is a process of its own. What was measured is kept in a table; a rerun measures what it lacks.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.long_cases import CASES, REFERENCE
from benchmarks.memory import RECOMMENDED, SHORT, Size, measure
from benchmarks.processes import environment, run_alone
from benchmarks.tables import read_rows, write_rows
from src.utils.exceptions import InputError
from src.utils.files import make_folder
from src.utils.settings import names_options, option, parse, run_script
from src.utils.text import align

COLUMNS = ("what", "scheme", "length", "seconds", "reference", "peak_MiB", "said_MiB")
EM = "an EM iteration"
LIMIT, RATIO = 4096, 1.3
"""Most MiB; and most time per second of data, in units of that at `REFERENCE` s."""


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    lengths: str = option("10,200,2000", "of the recordings in s, separated by commas, the shortest first")
    only: str = option("", "what is measured, by the beginning of its name, separated by commas; without it everything")
    em: bool = option(False, "whole fits of one EM iteration, too: peak memory alone")
    folder: str = option("result/long_memory", "folder for the table of what has been done so far")


def lengths_of(settings: Settings) -> list[float]:
    """Return the lengths in s, InputError if they are none."""
    try:
        lengths = [float(word) for word in settings.lengths.split(",")]
    except ValueError:
        lengths = []
    if not lengths or min(lengths) < 0.1:
        raise InputError(f"--lengths: expected seconds separated by commas, got {settings.lengths!r}")
    return lengths


def wanted(settings: Settings) -> list[tuple[str, str, float]]:
    """Return what is to be measured, the short ones first."""
    beginnings = tuple(settings.only.split(","))
    cases = [(name, scheme) for name, (_, schemes) in CASES.items() for scheme in schemes]
    cases += [(EM, scheme) for scheme in ("published", "consistent") if settings.em]
    return [(*case, length) for length in lengths_of(settings) for case in cases if case[0].startswith(beginnings)]


def measured(name: str, scheme: str, length: float, folder: Path) -> dict[str, str]:
    """Return the row of a measurement."""
    row = {"what": name, "scheme": scheme, "length": f"{length:g}"}
    if name == EM:
        options = (*(RECOMMENDED if scheme == "consistent" else ()), *SHORT)
        peak, said = measure(Size({"E1": 3, "E2": 3, "I": 3}, (length,), options), folder)
        return {**row, "seconds": "", "reference": "", "peak_MiB": f"{peak:.0f}", "said_MiB": f"{said:.0f}"}
    found = folder / "seconds.json"
    command = [sys.executable, "-m", "benchmarks.long_cases", name, scheme, f"{length:g}", str(found)]
    _, peak = run_alone(command, environment())
    times = {key: f"{value:.4g}" for key, value in json.loads(found.read_text()).items()}
    return {**row, **times, "peak_MiB": f"{peak:.0f}", "said_MiB": ""}


def table(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """Return rows of cells: what was measured."""
    cells = [["", "scheme", "s of data", "ms per s of data", "ratio", "peak, MiB", "said, MiB"]]
    for row in sorted(rows, key=lambda row: ([*CASES, EM].index(row["what"]), row["scheme"], float(row["length"]))):
        time, ratio = "-", "-"
        if row["seconds"]:
            each = float(row["seconds"]) / float(row["length"])
            time, ratio = f"{1e3 * each:.3g}", f"{each / float(row['reference']) * REFERENCE:.2f}"
        cells.append([row["what"], row["scheme"], row["length"], time, ratio, row["peak_MiB"], row["said_MiB"] or "-"])
    return cells


def verdict(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return what the table says of the two targets, in lines."""
    memory = max((float(row[5]) for row in cells[1:]), default=0.0)
    ratios = [float(row[4]) for row in cells[1:] if row[4] != "-"]
    time = max(ratios, default=1.0)
    return [
        f"peak memory: {memory:.0f} MiB, at most {LIMIT}: {'reached' if memory <= LIMIT else 'missed'}",
        f"time per second of data: {time:.2f} of that of {REFERENCE:g} s, at most {RATIO}: "
        f"{'reached' if time <= RATIO else 'missed'}",
    ]


@names_options(Settings)
def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    path = Path(settings.folder) / "long_memory.csv"
    make_folder(path.parent)
    rows = read_rows(path, COLUMNS)
    done = {(row["what"], row["scheme"], float(row["length"])) for row in rows}
    for case in wanted(settings):
        if case not in done:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measured(*case, Path(folder)))
            write_rows(path, rows, COLUMNS)
            print("  ".join(rows[-1].values()), file=sys.stderr, flush=True)
    cells = table(rows)
    print(align(cells), "", *verdict(cells), sep="\n")


if __name__ == "__main__":
    run_script(main, "benchmarks.long_memory")
