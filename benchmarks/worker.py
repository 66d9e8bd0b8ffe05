"""Measure one case and write down what came out: a process of its own, so that its peak memory is its own."""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cases, scaling
from benchmarks.problems import QUICK_END, shipped

SLOW = ("loop_gradient", "eager_gradient", "eager_simulation", "eager_simulation_binomial", "M_step", "E_step")
"""Run once: they average over many steps, or take too long."""


def measure(run: cases.Run, budget: float, repeat: bool = True) -> tuple[dict[str, Any], cases.Outcome]:
    """Time a function: its first call, then, if it is to be repeated, as often as fits into `budget` seconds."""
    start = time.perf_counter()
    outcome = run()
    first = time.perf_counter() - start
    times: list[float] = []
    while repeat and (len(times) < 3 or (sum(times) < budget and len(times) < 100)):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    times = times or [first]
    seconds = {"seconds": statistics.median(times), "fastest": min(times), "first": first, "repeats": len(times)}
    return seconds, outcome


def main(name: str, quick: bool, path: Path) -> None:
    """Measure the case `name` and write the result to `path`, as JSON."""
    if name in scaling.MEASURES:
        path.write_text(json.dumps(scaling.measure_all(name, quick, measure)))
        return
    problem = shipped(QUICK_END) if quick else shipped()
    seconds, outcome = measure(getattr(cases, name)(problem, quick), 0.5 if quick else 3.0, name not in SLOW)
    numbers = None if outcome.numbers is None else np.asarray(outcome.numbers, float).tolist()
    path.write_text(
        json.dumps({**seconds, "evaluations": outcome.evaluations, "numbers": numbers, "size": str(problem)})
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "quick", Path(sys.argv[3]))
