"""The likelihood of the spikes: how fast it is, how much it scatters, and whether it is right.

On 10 s of the winner-take-all circuit at its true parameters; then beside the filter in TensorFlow on all golden
circuits, most of which did not make the data. Times are CPU seconds of one call.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from src.inference.fast_filter import FastFilter
from src.inference.particle_filter import filter_spikes
from src.model.containers import Model, Parameters, Recording
from src.model.scheme import CONSISTENT
from src.utils.settings import option, parse, run_script
from src.utils.text import align
from tests.cases import GOLDEN_NAMES, golden_cases

TRUE = "winner_take_all"
PARTICLES = (50, 100, 200, 400)
USUAL = 200
"""Particles for which the targets are."""
WINDOW = 100
"""Bins of history in both filters, at most: 0.4 s, after which the reset is forgotten to 1e-6."""
TIMED = 15
"""Calls that are timed."""
QUICK_BINS = 500
LONGEST = 0.060  # s, of a call
LARGEST_SCATTER = 1.7  # nats
LARGEST_DIFFERENCE = 0.3  # nats
COMPARABLE = 1.0
"""Standard deviation of ln p up to which the mean of p is known from tens of repeats."""
NOTES = """\
ln p: logarithm of the mean of p over the repeats, with its standard error. sd: of ln p in the fast filter. Where it
is above 1, a few of the repeats make up the mean of p, and nothing can be compared: those parameters do not explain
their data, and the particles that come closest are rare. The fast filter has four times the repeats."""


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    repeats: int = option(30, "evaluations by the filter in TensorFlow, for each circuit", at_least=2)
    particles: int = option(1000, "particles of both, where they are compared", at_least=2)
    quick: bool = option(False, "2 s, and the first parameters of every golden file: shows that it works")


class Problem(NamedTuple):
    """A recording, its model of the consistent scheme, and some parameters."""

    name: str
    parameters: Parameters
    recording: Recording
    model: Model


class Mean(NamedTuple):
    """ln of the mean of p, its standard error, and the standard deviation of ln p, in nats."""

    ln_p: float
    error: float
    scatter: float


def golden(name: str) -> Iterator[Problem]:
    """Yield the circuits of a golden file, in the consistent scheme, with at most `WINDOW` bins of history."""
    for k, (case, _, _) in enumerate(golden_cases(name)):
        cut = max(case.model.window_bins - WINDOW, 0)
        window = case.model.window_bins - cut
        model = replace(case.model, scheme=CONSISTENT, counts="binomial", window_bins=window)
        recording = replace(case.recording, observed_spikes=case.recording.observed_spikes[:, :, cut:])
        yield Problem(f"{name} {k + 1}", case.parameters, recording, model)


def shortened(given: Problem, n_bins: int) -> Problem:
    """Return the same with so many fitted bins."""
    recording, end = given.recording, given.model.window_bins + n_bins
    spikes, external_input = recording.observed_spikes[:, :, :end], recording.external_input[..., :n_bins]
    return given._replace(recording=replace(recording, observed_spikes=spikes, external_input=external_input))


def mean_of(ln_p: np.ndarray) -> Mean:
    """Average p over repeats, from ln p, (repeats,)."""
    p = np.exp(ln_p - ln_p.max())
    error = p.std(ddof=1) / p.mean() / np.sqrt(len(p))
    return Mean(float(ln_p.max() + np.log(p.mean())), float(error), float(ln_p.std(ddof=1)))


def fast(given: Problem, repeats: int, n_particles: int) -> np.ndarray:
    """Return ln p by the fast filter, from as many seeds, (repeats,)."""
    known = FastFilter(given.model, given.recording, n_particles=n_particles)
    return np.array([known.ln_p(given.parameters, seed) for seed in range(repeats)])


def slow(given: Problem, repeats: int, n_particles: int) -> np.ndarray:
    """Return ln p by the filter in TensorFlow, (repeats,); one call for all, which compiles once."""
    trials = np.arange(given.recording.n_trials)
    repeated = given.recording.trials(np.repeat(trials, repeats))
    ln_p = filter_spikes(given.parameters, given.model, repeated, n_particles=n_particles, seed=1).ln_p.sum(axis=1)
    return ln_p.reshape(len(trials), repeats).sum(axis=0)


def speed(given: Problem, evaluations: int) -> list[str]:
    """Measure times and scatter by the number of particles, and the filter in TensorFlow; return lines."""
    table, found = [["particles", "median", "fastest", "sd of ln p"]], {}
    fast(given, 2, 2)  # compiles
    for K in PARTICLES:
        known = FastFilter(given.model, given.recording, n_particles=K)
        times = [seconds(partial(known.ln_p, given.parameters, 1)) for _ in range(TIMED)]
        found[K] = float(np.median(times)), mean_of(fast(given, evaluations, K)).scatter
        table.append([f"{K}", f"{found[K][0] * 1e3:.1f} ms", f"{min(times) * 1e3:.1f} ms", f"{found[K][1]:.2f}"])
    few, more = (seconds(partial(slow, given, repeats, USUAL)) for repeats in (1, 4))
    took, scatter = found[USUAL]
    in_tensorflow = (more - few) / 3
    return [
        align(table),
        "",
        f"{USUAL} particles in TensorFlow: {in_tensorflow:.2f} s, {in_tensorflow / took:.0f} times as much, and "
        f"{max(few - in_tensorflow, 0):.1f} s to compile",
        _verdict(f"{USUAL} particles: ms of a call", took * 1e3, LONGEST * 1e3),
        _verdict(f"{USUAL} particles: sd of ln p at the truth, in nats", scatter, LARGEST_SCATTER),
    ]


def seconds(run: Callable[[], Any]) -> float:
    """Return CPU seconds of a call."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def agreement(problems: Sequence[Problem], repeats: int, n_particles: int) -> list[str]:
    """Compare ln p of both filters; return lines."""
    table = [["circuit", "bins", "sd", "fast", "+-", "TensorFlow", "+-", "difference", "+-"]]
    differences = []
    for given in problems:
        ours = mean_of(fast(given, 4 * repeats, n_particles))
        size = f"{given.recording.n_judged}"
        if ours.scatter > COMPARABLE:
            table.append([given.name, size, f"{ours.scatter:.3g}", f"{ours.ln_p:.0f}", *"-----"])
            continue
        theirs = mean_of(slow(given, repeats, n_particles))
        difference, error = ours.ln_p - theirs.ln_p, np.hypot(ours.error, theirs.error)
        differences.append(abs(difference))
        numbers = (ours.ln_p, ours.error, theirs.ln_p, theirs.error)
        cells = [f"{number:.2f}" for number in numbers]
        table.append([given.name, size, f"{ours.scatter:.2f}", *cells, f"{difference:+.2f}", f"{error:.2f}"])
    what = f"{len(differences)} of {len(problems)} circuits can be compared; largest difference, in nats"
    return [align(table), "", _verdict(what, max(differences, default=np.nan), LARGEST_DIFFERENCE)]


def _verdict(what: str, came: float, target: float) -> str:
    return f"{what}: {came:.2f}, at most {target:g}: {'reached' if came <= target else 'missed'}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, __doc__ or "", argv)
    circuits = {name: list(golden(name)) for name in GOLDEN_NAMES}
    truth = circuits[TRUE][0]
    if settings.quick:
        truth = shortened(truth, QUICK_BINS)
        circuits = {name: given[:1] for name, given in circuits.items() if name != TRUE} | {TRUE: [truth]}
    print(f"{truth.recording.n_bins * truth.model.dt:g} s of the winner-take-all circuit at its true parameters")
    print(*speed(truth, 4 * settings.repeats), "", sep="\n", flush=True)
    print(f"{settings.particles} particles, {settings.repeats} repeats in TensorFlow")
    every = [given for name in GOLDEN_NAMES for given in circuits[name]]
    print(*agreement(every, settings.repeats, settings.particles), "", NOTES, sep="\n")


if __name__ == "__main__":
    run_script(main, "benchmarks.spike_filter")
