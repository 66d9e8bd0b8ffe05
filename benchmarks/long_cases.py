"""Evaluate one thing on a recording of any length, and write down how long it took: a process of its own."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problems import Problem, synthetic
from src.model.scheme import SCHEMES

WINDOW_DT = 0.004
"""s; bins of the random data."""
ENOUGH, REFERENCE = 2.0, 10.0
"""Seconds that a measurement takes at least; and of the data that others are compared with."""
Case = Callable[[], float]
"""Evaluates; returns how many evaluations it was."""


def problem_of(seconds: float, scheme: str) -> Problem:
    """Return random data of three populations with three recorded neurons each."""
    chosen = SCHEMES[scheme]
    T, A = round(seconds / WINDOW_DT), round(chosen.window / WINDOW_DT)
    problem = synthetic(T=T, A=A)
    return replace(problem, model=replace(problem.model, scheme=chosen))


def gradient(problem: Problem) -> Case:
    """Compute loss and gradient of an M-step."""
    from src.fast_np import fast_lossM, workspace
    from src.helper import to_X

    X, work = to_X(problem.parameters, problem.model), workspace(problem.fitted, problem.model)

    def run() -> float:
        fast_lossM(X, problem.fitted, problem.recording, problem.model, work)
        return 1

    return run


def fisher(problem: Problem) -> Case:
    """Compute loss, gradient and Fisher matrix of an M-step."""
    from src.fast_np import workspace
    from src.helper import to_X
    from src.inference.fisher import fisher

    X, work = to_X(problem.parameters, problem.model), workspace(problem.fitted, problem.model)

    def run() -> float:
        fisher(X, problem.fitted, problem.recording, problem.model, work=work)
        return 1

    return run


def joint(problem: Problem) -> Case:
    """Take a step of Adam in the published E-step."""
    import tensorflow as tf

    from src.runs.settings import FitSettings
    from train_meso import E_loss, EStep, tf_EGDstep

    E_step = EStep(problem.recording, problem.model, FitSettings())
    E_step.activity.assign(problem.fitted)
    constants = [loss.constants(problem.parameters) for loss in E_step.losses]
    before: list[tf.Tensor] = [E_loss(E_step.activity, E_step.losses, constants)[1]]

    def run() -> float:
        _, before[0] = tf_EGDstep(E_step.activity, before[0], E_step.optimizer, E_step.losses, constants)
        return 1

    return run


def innovations(problem: Problem) -> Case:
    """Take two iterations of the E-step on innovations; count evaluations of F of one copy."""
    from src.helper import to_X
    from src.inference import innovations
    from src.inference.em import FitObserver
    from src.runs.settings import FitSettings

    settings = FitSettings(scheme="consistent", e_objective="innovations", Emaxiters=2)
    E_step = innovations.InnovationEStep(problem.recording, problem.model, settings, np.random.default_rng(0))
    X, evaluations = to_X(problem.parameters, problem.model), [0]
    (batch,) = E_step.batches
    inner = batch.loss.perturbed

    def counted(activity: Any, *given: Any) -> Any:
        evaluations[0] += len(activity)
        return inner(activity, *given)

    group, constants = batch.groups[0], batch.loss.constants(problem.parameters)
    n = np.tile(problem.fitted, (group.stop, 1, 1)).astype("float32")
    inner(n, constants, *(part[group].astype("float32") for part in (batch.target, batch.unit_push)))
    batch.loss.perturbed = counted  # type: ignore[method-assign]

    def run() -> float:
        evaluations[0] = 0
        E_step.estimate(X, problem.fitted, 1, FitObserver())
        return evaluations[0]

    return run


def ln_p(problem: Problem) -> Case:
    """Ln p of the spikes, as after an E-step on innovations: per filter of 200 particles."""
    from src.inference.fast_filter import FastFilter
    from src.inference.spike_likelihood import FILTERS, PARTICLES, particles_of, spike_likelihood

    model = replace(problem.model, scheme=SCHEMES["consistent"])
    known = spike_likelihood(model, problem.recording)
    FastFilter(model, problem.recording.trials(slice(1))).ln_p(problem.parameters, 0, 2)  # compiled here

    def run() -> float:
        known(problem.parameters)
        return FILTERS * particles_of(problem.recording, model) / PARTICLES

    return run


CASES = {
    "loss and gradient": (gradient, ("published", "consistent")),
    "Fisher matrix": (fisher, ("published", "consistent")),
    "step of the joint E-step": (joint, ("published", "consistent")),
    "E-step on innovations": (innovations, ("consistent", "published")),
    "ln p(spikes)": (ln_p, ("consistent",)),
}
"""What is measured, and with which schemes."""
COMPILED = ("step of the joint E-step",)
"""Whose first call compiles, and does not count."""


def time_of(run: Case, enough: float) -> float:
    """Return seconds of the processor for an evaluation: the median over as many runs as take so many seconds."""
    times: list[float] = []
    total = 0.0
    while total < enough:
        start = time.process_time()
        number = run()
        taken = time.process_time() - start
        total += taken
        times.append(taken / number)
    return statistics.median(times)


def main(name: str, scheme: str, seconds: float, path: Path) -> None:
    """Measure a case and write seconds of an evaluation to `path`, as JSON, beside those at `REFERENCE` s of data.

    These are measured before and after, in the same process: what else runs on the machine changes from time to time.
    """
    short, run = (CASES[name][0](problem_of(length, scheme)) for length in (REFERENCE, seconds))
    if name in COMPILED:
        run()
    short()
    before, found, after = time_of(short, ENOUGH), time_of(run, ENOUGH), time_of(short, ENOUGH)
    path.write_text(json.dumps({"seconds": found, "reference": (before + after) / 2}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))
