"""How fast the fits are, beside the same computations written in the obvious way: a table of times, ratios and memory.

Every number comes from a fresh process on one thread, whose peak memory it reports, libraries included.
"""

import csv
import io
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import environment, run_alone
from benchmarks.scaling import MEASURES as SCALING
from benchmarks.scaling import table as scaling_table
from benchmarks.trainings import five_trainings, training
from benchmarks.words import names_in
from src.utils.exceptions import InputError
from src.utils.files import write_whole
from src.utils.processes import cores
from src.utils.settings import option, parse, run_script
from src.utils.text import align

MEMORY = 1.5 * 1024  # MiB, target for a training


@dataclass(frozen=True)
class Row:
    """A line of the table: its title, the baseline it is compared with, and what it should reach.

    `per_evaluation` is the name of a row whose baseline, times the evaluations that ours took, stands for a baseline
    that would take too long to run.
    """

    title: str
    baseline: str | None = None
    per_evaluation: tuple[str, ...] = ()
    seconds: float | None = None
    ratio: float | None = None
    memory: float | None = None


ROWS = {
    "loss": Row("loss value", "loop_loss"),
    "parameter_gradient": Row("value, gradient in the parameters", "loop_gradient", seconds=0.070, ratio=60),
    "activity_gradient_numpy": Row("gradient in the activity, NumPy", "eager_gradient"),
    "activity_gradient": Row("gradient in the activity, E-step", "eager_gradient", seconds=0.025, ratio=100),
    "activity_gradient_float64": Row("the same in float64", "eager_gradient"),
    "simulation": Row("free simulation, Gaussian", "eager_simulation", seconds=0.030),
    "simulation_binomial": Row("free simulation, binomial", "eager_simulation_binomial"),
    "M_step": Row("a whole M-step", per_evaluation=("loop_gradient",)),
    "E_step": Row("a whole E-step", per_evaluation=("eager_gradient",)),
    "training": Row("one training", per_evaluation=("loop_gradient", "eager_gradient"), memory=MEMORY),
    "five_trainings": Row(
        "five trainings", per_evaluation=("loop_gradient", "eager_gradient"), seconds=300, memory=MEMORY
    ),
}
NAMES = (*ROWS, "scaling")


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    quick: bool = option(False, "a short recording, few iterations: shows that the benchmarks work, in a few minutes")
    only: str = option(",".join(NAMES), "rows to measure, separated by commas")
    save: str | None = option(None, "also write the results to this file, .csv or .json")


class Measurements:
    """Results of the processes run so far, so that rows can share a baseline."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.done: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return the measurement of a case, from `benchmarks.worker` or `benchmarks.trainings`."""
        if name not in self.done:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            self.done[name] = self._run(name)
        return self.done[name]

    def _run(self, name: str) -> Any:
        if name in ("training", "five_trainings"):
            return {"training": training, "five_trainings": five_trainings}[name](self.quick)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "result.json")
            size = "quick" if self.quick else "full"
            _, peak = run_alone([sys.executable, "-m", "benchmarks.worker", name, size, str(path)], environment())
            result = json.loads(path.read_text())
        return result if name in SCALING else {**result, "peak": peak}


def compare(name: str, measured: Measurements) -> dict[str, Any]:
    """Measure a row and its baseline; return both, their ratio, and how far their numbers are apart.

    The difference is the largest one, relative to the largest number.
    """
    row, ours = ROWS[name], measured[name]
    result = {"name": name, **{key: value for key, value in ours.items() if key != "numbers"}}
    if row.baseline:
        baseline = measured[row.baseline]
        result |= {"baseline": baseline["seconds"], "baseline_peak": baseline["peak"], "extrapolated": False}
        if ours["numbers"] is not None:
            a, b = np.array(ours["numbers"]), np.array(baseline["numbers"])
            result["difference"] = float(np.abs(a - b).max() / np.abs(b).max())
    elif all(part in measured.done for part in row.per_evaluation):
        counts = np.atleast_1d(ours["evaluations"])
        costs = [measured[part]["seconds"] for part in row.per_evaluation]
        result |= {"baseline": float(counts @ costs) / ours.get("at_once", 1), "extrapolated": True}
    if "baseline" in result:
        result["ratio"] = result["baseline"] / ours["seconds"]
    result["missed"] = [] if measured.quick else missed(row, result)
    return result


def missed(row: Row, result: dict[str, Any]) -> list[str]:
    """Return which targets of a row were not reached."""
    found = []
    if row.seconds is not None and result["seconds"] > row.seconds:
        found.append("time")
    if row.ratio is not None and result["ratio"] < row.ratio:
        found.append("ratio")
    if row.memory is not None and result["peak"] > row.memory:
        found.append("memory")
    return found


# --- output ----------------------------------------------------------------------------------------------------------


def duration(seconds: float | None) -> str:
    """Return a time with a unit that suits it."""
    if seconds is None:
        return "-"
    for limit, factor, unit in ((1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "min")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 100 else f"{seconds * factor:.0f} {unit}"
    return f"{seconds / 3600:.3g} h"


def targets(row: Row, missed: Sequence[str], judged: bool) -> str:
    """Return the targets of a row in words, and whether they were reached."""
    parts = [
        row.seconds and f"{duration(row.seconds)}",
        row.ratio and f"x{row.ratio:g}",
        row.memory and f"{row.memory:.0f} MiB",
    ]
    text = ", ".join(part for part in parts if part)
    if not text or not judged:
        return text
    return text + (f": {' and '.join(missed)} missed" if missed else ": reached")


def cells(result: dict[str, Any], judged: bool) -> list[str]:
    """Return a line of the table."""
    row, sign = ROWS[result["name"]], "~" if result.get("extrapolated") else ""
    ratio, difference, peak = result.get("ratio"), result.get("difference"), result.get("baseline_peak")
    return [
        row.title,
        duration(result["seconds"]),
        duration(result.get("fastest")),
        duration(result.get("first")) if result.get("repeats", 1) > 1 else "-",
        sign + duration(result["baseline"]) if "baseline" in result else "-",
        f"{sign}{ratio:.0f}" if ratio else "-",
        f"{difference:.0e}" if difference is not None else "-",
        f"{result['peak']:.0f}",
        f"{peak:.0f}" if peak else "-",
        targets(row, result["missed"], judged),
    ]


HEAD = ["", "median", "fastest", "first", "baseline", "ratio", "differ", "MiB", "baseline MiB", "target"]
NOTES = """\
first: the first call, where it compiles. baseline: the obvious way, see benchmarks/baseline.py; ~ extrapolated: the
number of gradients that ours took times the baseline's measured time for one. differ: largest difference of the two
results, relative to the largest number. MiB: peak memory of the process, with Python, libraries and recording."""


def machine() -> list[str]:
    """Describe what the numbers were measured on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "tensorflow", "keras"))
    load = f"{os.getloadavg()[0]:.1f} processes were running in the last minute"
    return [f"{model}, {cores()} cores, {load}", f"Python {platform.python_version()}, {packages}; one thread each"]


def save(path: str, about: list[str], results: list[dict[str, Any]], scaling: dict[str, Any]) -> None:
    """Write the results to a .csv file, without the scaling, or a .json file."""
    if path.endswith(".json"):
        text = json.dumps({"about": about, "rows": results, "scaling": scaling}, indent=1)
    else:
        table = io.StringIO()
        keys = list(dict.fromkeys(key for result in results for key in result))
        writer = csv.DictWriter(table, keys, lineterminator="\n")
        writer.writeheader()
        writer.writerows(results)
        text = table.getvalue()
    write_whole(path, lambda file: file.write(text.encode()))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, __doc__, argv)
    chosen = names_in(settings.only, NAMES)
    if settings.save and not settings.save.endswith((".csv", ".json")):
        raise InputError(f"--save: expected a name that ends in .csv or .json, got {settings.save}")
    about = machine()
    measured = Measurements(settings.quick)
    results = [compare(name, measured) for name in ROWS if name in chosen]
    about += list({result.pop("size") for result in results if "size" in result})
    about += ["--quick: no targets judged"] * settings.quick
    print(*about, "", sep="\n")
    if results:
        print(align([HEAD, *(cells(result, not settings.quick) for result in results)]), NOTES, sep="\n\n", flush=True)
    scaling = {name: measured[name] for name in SCALING} if "scaling" in chosen else {}
    if scaling:
        print("", align(scaling_table(scaling)), sep="\n")
    if settings.save:
        save(settings.save, about, results, scaling)


if __name__ == "__main__":
    run_script(main, "benchmarks.speed")
