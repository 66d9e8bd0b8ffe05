"""Does an M-step converge, and how fast? From five random starts, on four recordings, in both schemes.

Every M-step is the first one of a fit, and has the start of the activity. Times are CPU seconds of one thread.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from threadpoolctl import threadpool_limits

import train_meso
from benchmarks.full_fits import network_recording
from benchmarks.problems import DATASET
from src.data.dataset import load_recording
from src.fast_np import fast_lossM, fast_lossZ, workspace
from src.helper import init_model, to_X
from src.inference.fisher import fisher
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Recording
from src.model.scheme import SCHEMES
from src.runs.settings import FitSettings
from src.utils.settings import option, parse, run_script
from src.utils.text import align

END = 11.0  # s
FISHER, LBFGS, LBFGS_LONG, LBFGS_WHOLE = "fisher", "L-BFGS-B, 200", "L-BFGS-B, 5000", "L-BFGS-B, 200, no tail"
LARGEST_GAP = {"published": 3e-6, "consistent": 1e-8}
LARGEST_SPREAD = {"published": 1e-2, "consistent": 1e-3}
LEAST_RATIO = {"published": 8.0, "consistent": 4.0}
LEAST_RATIO_OF_VALUES = 1.7
NOTES = """\
gap, largest: loss above the lowest of all, median and largest over starts (1.3e-4 is one nat). spread of X: largest
distance from the best, in units of the reference. slope: of the loss over X / reference, where no bound holds.
ratio: CPU seconds of L-BFGS-B's 200 iterations over those of the method. no tail: every cohort up to the window."""


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    starts: int = option(5, "random starts", at_least=2)
    seeds: str = option("101,102,103", "seeds of recordings besides the shipped one, separated by commas; or none")
    folder: str = option("result/accuracy", "folder for the recordings")
    methods: str = option(f"{FISHER};{LBFGS};{LBFGS_LONG};{LBFGS_WHOLE}", "what to compare, separated by semicolons")


class Problem(NamedTuple):
    """A recording, its model, and the start of its activity (B, M, T)."""

    name: str
    recording: Recording
    model: Model
    activity: np.ndarray


class Found(NamedTuple):
    """X / scale (n,), loss, largest projected gradient over X / scale, iterations, CPU seconds."""

    x: np.ndarray
    loss: float
    slope: float
    iterations: int
    seconds: float


def problem(scheme: str, seed: str, folder: Path) -> Problem:
    """Return the shipped recording (``""``), or another one of the same network."""
    model = winner_take_all(scheme=SCHEMES[scheme])
    path = network_recording(int(seed), END, folder) if seed else DATASET
    recording, _ = load_recording(path, model, end_timepoint=END)
    _, activity = init_model(recording, model, np.random.default_rng(0))
    return Problem(seed or "shipped", recording, model, activity[..., model.window_bins :].copy())


def minimise(given: Problem, method: str, start: int) -> Found:
    """Take the first M-step from a random start."""
    name, most, *rest = [part.strip() for part in f"{method},200".split(",")]
    if method == LBFGS_WHOLE:
        most = "200"
    settings = FitSettings(method=name, Mmaxiters=int(most))
    free, n, recording, model = given.model.fitted, given.activity, given.recording, given.model
    X = free.draw(np.random.default_rng(np.random.SeedSequence(start)))
    loss = partial(fast_lossM, tolerance=0.0) if method == LBFGS_WHOLE else fast_lossM
    with mock.patch.object(train_meso, "fast_lossM", loss):
        begin = time.process_time()
        found = train_meso.scipy_Mstep(X, n, recording, model, settings)
        seconds = time.process_time() - begin
    value, gradient = fast_lossM(found.x, n, recording, model)
    x, slope = found.x / free.scale, gradient * free.scale
    projected = np.abs(np.clip(x - slope, free.lower / free.scale, free.upper / free.scale) - x).max()
    return Found(x, value, float(projected), int(found.nit), seconds)


def measure(given: Problem, methods: Sequence[str], starts: int) -> dict[str, list[Found]]:
    """Return what every method finds from every start."""
    return {method: [minimise(given, method, start + 1) for start in range(starts)] for method in methods}


def cells(scheme: str, name: str, results: dict[str, list[Found]]) -> list[list[str]]:
    """Return a line of the table for each method."""
    best = min((found for every in results.values() for found in every), key=lambda found: found.loss)
    rows = []
    for method, every in results.items():
        gaps = [found.loss - best.loss for found in every]
        spread = max(np.abs(found.x - best.x).max() for found in every)
        slopes, seconds = (np.median([getattr(found, what) for found in every]) for what in ("slope", "seconds"))
        iterations = np.median([found.iterations for found in every])
        ratio = np.median([found.seconds for found in results[LBFGS]]) / seconds if LBFGS in results else np.nan
        numbers = f"{np.median(gaps):.0e}", f"{max(gaps):.0e}", f"{spread:.0e}", f"{slopes:.0e}", f"{iterations:.0f}"
        rows.append([scheme, name, method, *numbers, f"{seconds:.2f}", f"{ratio:.1f}"])
    return rows


def verdicts(scheme: str, every: Sequence[dict[str, list[Found]]]) -> list[str]:
    """Say whether the targets of a scheme are reached, over all recordings."""
    if any(FISHER not in results for results in every):
        return []
    ends = [results[FISHER] for results in every]
    gap = max(np.ptp([found.loss for found in end]) for end in ends)
    spread = max(np.ptp([found.x for found in end], axis=0).max() for end in ends)
    lines = [
        _verdict(f"{scheme}: losses of the starts differ by at most", gap, LARGEST_GAP[scheme], ".1e", least=False),
        _verdict(f"{scheme}: X by at most, of the reference", spread, LARGEST_SPREAD[scheme], ".1e", least=False),
    ]
    for other in (LBFGS, LBFGS_WHOLE):
        if all(other in results for results in every):
            times = [[np.median([f.seconds for f in results[name]]) for results in every] for name in (other, FISHER)]
            ratio = float(np.median(np.divide(*times)))
            lines.append(_verdict(f"{scheme}: faster than {other} by", ratio, LEAST_RATIO[scheme], ".1f", least=True))
    return lines


def _verdict(what: str, came: float, target: float, form: str, *, least: bool) -> str:
    reached = came >= target if least else came <= target
    bound = "at least" if least else "at most"
    return f"{what}: {came:{form}}, {bound} {target:g}: {'reached' if reached else 'missed'}"


def values(given: Problem, repeats: int = 15) -> str:
    """Compare the time of a loss with the tail and without it, in turn."""
    n, recording, model = given.activity, given.recording, given.model
    parameters, work = reference_parameters(), workspace(n, model)

    def seconds(run: Callable[[], Any]) -> float:
        begin = time.process_time()
        run()
        return time.process_time() - begin

    with_tail = partial(fast_lossZ, parameters, n, recording, model, "none", work)
    whole = partial(fast_lossZ, parameters, n, recording, model, "none", work, tolerance=0.0)
    curved = partial(fisher, to_X(parameters, model), n, recording, model, work=work)
    gradient = partial(fast_lossM, to_X(parameters, model), n, recording, model, work)
    times = np.array([[seconds(run) for run in (whole, with_tail, gradient, curved)] for _ in range(repeats)])
    difference = abs(with_tail().value - whole().value)
    a, b, g, f = np.median(times, axis=0) * 1e3
    line = f"loss_Z {a:.1f} ms, with the tail {b:.1f} ms; gradient of the whole loss {g:.1f} ms, with matrix {f:.1f} ms"
    judged = _verdict("published: value by the tail", a / b, LEAST_RATIO_OF_VALUES, ".2f", least=True)
    return f"{line}; the tail moves loss_Z by {difference:.0e}\n{judged}"


@threadpool_limits.wrap(limits=1, user_api="blas")
def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, __doc__ or "", argv)
    methods = [name.strip() for name in settings.methods.split(";")]
    seeds = ["", *filter(None, settings.seeds.replace("none", "").split(","))]
    head = ["scheme", "recording", "method", "gap", "largest", "spread of X", "slope", "iterations", "CPU s", "ratio"]
    table, lines = [head], []
    for scheme in LARGEST_GAP:
        every = []
        for seed in seeds:
            given = problem(scheme, seed, Path(settings.folder))
            every.append(measure(given, methods if scheme == "published" else methods[:3], settings.starts))
            table += cells(scheme, given.name, every[-1])
        lines += verdicts(scheme, every)
    print(align(table))
    print("", NOTES, "", sep="\n")
    print(*lines, values(problem("published", "", Path(settings.folder))), sep="\n")


if __name__ == "__main__":
    run_script(main, "benchmarks.m_step")
