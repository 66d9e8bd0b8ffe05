"""How the time of what is computed most often grows with the size of the problem."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import cases
from benchmarks.problems import synthetic

MEASURES = {
    "scaling_parameter_gradient": (cases.parameter_gradient, "parameter gradient, NumPy"),
    "scaling_activity_gradient": (cases.activity_gradient, "activity gradient, E-step, float32"),
    "scaling_simulation": (cases.simulation, "simulation, Gaussian"),
}
AXES = {
    "T": "bins T",
    "A": "window A",
    "M": "populations M",
    "B": "trials B",
    "n_obs": "recorded neurons",
}
BASE = {"T": 2500, "A": 250, "M": 3, "B": 1, "n_obs": 3}
QUICK_BASE = {"T": 250, "A": 50, "M": 3, "B": 1, "n_obs": 3}
FACTORS = (1, 2, 4, 8)
SIMULATED = ("T", "A", "M")
"""What the size of a free simulation consists of: one trial, no recorded neurons."""


def measure_all(name: str, quick: bool, measure: Callable) -> list[dict[str, Any]]:
    """Time one of `MEASURES` at every size: one axis grows, the others stay."""
    prepare, _ = MEASURES[name]
    base, factors = (QUICK_BASE, FACTORS[:2]) if quick else (BASE, FACTORS)
    budget = 0.2 if quick else 1.0
    at_base = _seconds(prepare, base, budget, measure)
    rows = []
    for axis in SIMULATED if name == "scaling_simulation" else AXES:
        seconds = [at_base]
        for factor in factors[1:]:
            seconds.append(_seconds(prepare, {**base, axis: factor * base[axis]}, budget, measure))
        rows.append({"axis": axis, "sizes": [factor * base[axis] for factor in factors], "seconds": seconds})
    return rows


def _seconds(prepare: Callable, size: dict[str, int], budget: float, measure: Callable) -> float:
    return measure(prepare(synthetic(**size), False), budget)[0]["fastest"]


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return b of the power law seconds ~ size^b, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def table(results: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """Return rows of cells: milliseconds at every size, the factor of every doubling, and the exponent."""
    rows = []
    for name, lines in results.items():
        n = len(lines[0]["sizes"])
        if not rows:
            rows = [["", "grows", "from", "ms", *[f"x{FACTORS[k]}" for k in range(1, n)], "factors", "exponent"]]
        for line in lines:
            times = line["seconds"]
            doublings = ", ".join(f"{later / earlier:.2f}" for earlier, later in zip(times, times[1:], strict=False))
            milliseconds = [f"{1e3 * t:.1f}" for t in times]
            fitted = f"{exponent(line['sizes'], times):.2f}"
            rows.append(
                [MEASURES[name][1], AXES[line["axis"]], str(line["sizes"][0]), *milliseconds, doublings, fitted]
            )
    return rows
