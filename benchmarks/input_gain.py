"""A known input: how well the spikes tell its gains, and how much better they fit with it than without.

On 10 s of the winner-take-all circuit under two inputs: Ornstein-Uhlenbeck noise, and pulses of 50 ms. All parameters
but the gains are the true ones. ln p of the spikes by the particle filter, with the activity integrated out, is fitted
by a quadratic function of the gains: its top is the estimate, its curvature the standard error.
--recordings keeps the recordings, for fits and posteriors in which no parameter is known.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

import simulate_micro
from src.data.dataset import load_recording
from src.inference.fast_filter import FastFilter
from src.model.circuit import for_fit
from src.model.circuit_file import WINNER_TAKE_ALL, load_circuit
from src.model.containers import Model, Parameters, Recording
from src.runs.settings import FitSettings
from src.utils.settings import option, parse, run_script
from src.utils.text import align

GAIN = 1.5
SIGMA = 55.0  # 1/s, of the noise, before the gain
PULSE, PULSE_LENGTH, PULSE_EVERY = 80.0, 0.05, 0.25  # 1/s, s, s
AROUND = {"ou": 0.25, "pulses": 0.4}
"""Gains are tried up to so far from the truth, as a share of it: where ln p falls by some tens of nats."""
POINTS = 60
BINS = ((0.004, 0.0), (0.004, 0.001), (0.002, 0.001))  # s: bins, and the lag of the input
NOTES = """\
gain: estimate and standard error, all other parameters at the truth; in brackets how many standard errors from it.
without: ln p without the input, less that with it at the true gains, with the standard error of the filter."""


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    particles: int = option(200, "particles of the filter", at_least=2)
    repeats: int = option(4, "evaluations whose mean is taken", at_least=2)
    neurons: int = option(3, "recorded neurons of each population", at_least=1, at_most=30)
    seed: int = option(5, "seed of the network and of the inputs", at_least=0)
    duration: float = option(10.16, "length of the recording", unit="s", above=0.5)
    recordings: str | None = option(None, "folder for the recordings and their circuit; nothing else is done then")


class Told(NamedTuple):
    """What the spikes tell: gains and their standard errors, (M,); ln p without less with the input, and its error."""

    gain: np.ndarray
    error: np.ndarray
    without: tuple[float, float]


def circuit_file(folder: Path, lag: float = 0.0) -> Path:
    """Write the circuit of the paper with input gains, for inputs that come `lag` s late."""
    path = folder / ("lagged.toml" if lag else "circuit.toml")
    gains = f"[input_gain]\nvalue = {GAIN}\nbounds = [-5, 5]\nlag = {lag:g}\n"
    path.write_text(f"{WINNER_TAKE_ALL.read_text()}\n{gains}")
    return path


def options_of(kind: str, settings: Settings, names: Sequence[str]) -> list[str]:
    """Return the options of simulate_micro.py that make an input."""
    if kind == "ou":
        return ["--input", "ou", "--sigma", str(SIGMA)]
    rng, last = np.random.default_rng(settings.seed), settings.duration - PULSE_LENGTH
    onsets = np.arange(PULSE_EVERY, last, PULSE_EVERY).tolist()
    pulses = [f"{names[rng.integers(len(names))]}:{PULSE:g}@{onset:g}+{PULSE_LENGTH:g}" for onset in onsets]
    return ["--input", "pulses", "--pulses", ",".join(pulses)]


def simulated(kind: str, settings: Settings, circuit: Path, folder: Path) -> Path:
    """Let the network run under an input, and return the file of the recording."""
    path = folder / kind
    made = ["--circuit", circuit, "--output", path, "--seed", settings.seed, "--duration", settings.duration]
    simulate_micro.main([*map(str, made), "--overwrite", *options_of(kind, settings, load_circuit(circuit).names)])
    return path


def recorded(path: Path, circuit: Path, dt: float, lag: float, neurons: int) -> tuple[Recording, Model]:
    """Return the recording in bins of `dt` s, whose input comes `lag` s later."""
    _, model = for_fit(load_circuit(circuit), FitSettings(scheme="consistent", dt=dt))
    model = replace(model, input_lag=np.full(model.n_populations, lag))
    return load_recording(path, model, n_sampled=neurons, with_input=True)[0], model


def quadratic(x: np.ndarray) -> np.ndarray:
    """Return what a quadratic function of points (n, M) is linear in: 1, x, and their products, as columns."""
    pairs = np.triu_indices(x.shape[1])
    return np.hstack([np.ones((len(x), 1)), x, x[:, pairs[0]] * x[:, pairs[1]]])


def top_of(x: np.ndarray, ln_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where a quadratic function through ln p, (n,), at points (n, M) is highest, and its standard errors."""
    M = x.shape[1]
    _, *rest = np.linalg.lstsq(quadratic(x), ln_p, rcond=None)[0]
    slope, curvature = np.array(rest[:M]), np.zeros((M, M))
    curvature[np.triu_indices(M)] = rest[M:]
    precision = -(curvature + curvature.T)
    if np.linalg.eigvalsh(precision).min() <= 0:  # what the filter scatters is more than what the gains change
        return np.full(M, np.nan), np.full(M, np.nan)
    covariance = np.linalg.inv(precision)
    return covariance @ slope, np.sqrt(np.diag(covariance))


def told(recording: Recording, model: Model, settings: Settings, around: float) -> Told:
    """Return what the spikes of a recording tell about gains that are at most a share `around` off the truth."""
    spikes, truth = FastFilter(model, recording, n_particles=settings.particles), recording.true_parameters
    assert truth is not None and truth.input_gain is not None
    known: Parameters = truth

    def ln_p(gain: np.ndarray, first: int) -> np.ndarray:
        given = replace(known, input_gain=gain)
        return np.array([spikes.ln_p(given, (first, k)) for k in range(settings.repeats)])

    x = np.random.default_rng(settings.seed).uniform(-around, around, (POINTS, model.n_populations))
    found = np.array([ln_p(GAIN * (1 + shift), i).mean() for i, shift in enumerate(x)])
    top, error = top_of(x, found)
    none, some = (ln_p(GAIN * np.full(model.n_populations, share), POINTS) for share in (0.0, 1.0))
    scatter = float(np.sqrt((none.var(ddof=1) + some.var(ddof=1)) / settings.repeats))
    return Told(GAIN * (1 + top), GAIN * error, (float(none.mean() - some.mean()), scatter))


def row_of(kind: str, dt: float, lag: float, found: Told) -> list[str]:
    """Return the cells of the table."""
    gains = [
        f"{gain:.2f} +- {error:.2f} [{(gain - GAIN) / error:+.1f}]"
        for gain, error in zip(found.gain, found.error, strict=True)
    ]
    return [kind, f"{1e3 * dt:g} ms", f"{1e3 * lag:g} ms", *gains, f"{found.without[0]:.0f} +- {found.without[1]:.0f}"]


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, filter, and print the table."""
    settings = parse(Settings, __doc__.splitlines()[0], argv)
    if settings.recordings:
        keep_recordings(settings, Path(settings.recordings))
    else:
        measure(settings)


def keep_recordings(settings: Settings, folder: Path) -> None:
    """Write the recordings, and the circuit with the lag that goes with bins of 2 ms."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in AROUND:
        simulated(kind, settings, circuit_file(folder), folder)
    print(f"circuit, with a lag of {1e3 * BINS[-1][1]:g} ms: {circuit_file(folder, BINS[-1][1])}")


def measure(settings: Settings) -> None:
    """Find the gains with all else known, and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        circuit = circuit_file(Path(folder))
        names = load_circuit(circuit).names
        rows = [["input", "bins", "lag", *(f"gain {name}" for name in names), "without (nats)"]]
        for kind in AROUND:
            path = simulated(kind, settings, circuit, Path(folder))
            for dt, lag in BINS:
                found = told(*recorded(path, circuit, dt, lag, settings.neurons), settings, AROUND[kind])
                rows.append(row_of(kind, dt, lag, found))
                print(*rows[-1], sep="  ", flush=True)
    print(f"true gains: {GAIN:g}; recorded neurons of each population: {settings.neurons}")
    print(align(rows), NOTES, sep="\n")


if __name__ == "__main__":
    run_script(main, "benchmarks.input_gain")
