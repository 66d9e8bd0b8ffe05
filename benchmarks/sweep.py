"""What makes a fit good: recorded neurons, length, trials, a wrong size, neurons that differ. One thing at a time.

The data are those of a microscopic network of one population that inhibits itself. Each job makes a recording, fits it,
and samples the posterior. It is a row of a CSV table; a rerun makes what is missing, and shows all there is.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.known_activity import NETWORK_DT
from benchmarks.recorded import binned, judged_after_burn_in
from benchmarks.sweep_report import AXES, sweep_figure, sweep_table
from benchmarks.tables import read_rows, without_empty, write_rows
from benchmarks.words import names_in
from src.helper import to_X
from src.inference.spike_likelihood import BURN_IN
from src.LIFmicroPop import simulate_network
from src.model.circuit import for_simulation
from src.model.circuit_file import fitted_circuit, load_circuit
from src.model.containers import Model, Recording
from src.plots.style import save_figure
from src.posterior.command import sample
from src.posterior.settings import PosteriorSettings, Question
from src.runs.settings import FitSettings
from src.statistics.smoothing import SMOOTHING, correlation, smooth
from src.utils.exceptions import FitError, InputError
from src.utils.jobs import Where, results_of, run_jobs
from src.utils.quiet import use_tensorflow
from src.utils.settings import names_options, option, parse, run_script
from src.utils.worker import Outcome
from train_meso import train

CIRCUIT = str(Path(__file__).with_name("calibration.toml"))
KEYS = ("axis", "value", "seed")
USUAL = {"neurons": 9.0, "length": 10.0, "trials": 1.0, "size": 1.0, "heterogeneity": 0.0}
"""What holds on the other axes: recorded neurons, s in all, trials, assumed size over true size, variation."""
LONGEST = 50.0
"""Length, in s, up to which posteriors are sampled: their cost grows with its square."""
SETTLE = 2.0  # s


@dataclass(frozen=True)
class Settings(Where):
    """Options of the script."""

    only: str = option(",".join(USUAL), "axes, separated by commas")
    seeds: int = option(3, "recordings of each value", at_least=1)
    quick: bool = option(False, "one short recording of each axis, in a table of its own: shows that it works")
    show: bool = option(False, "make nothing: show what the table has")
    table: str | None = option(
        None, "table of results; without it benchmarks/sweep.csv, or result/sweep/quick.csv with --quick"
    )
    figures: str = option("result/sweep", "folder of the figures, one of each axis")


@dataclass(frozen=True)
class Job:
    """A recording, and how it is looked at: what differs from `USUAL`, the seed, and the size of the posterior."""

    axis: str
    value: float
    seed: int
    length: float = USUAL["length"]
    walkers: int = 64
    sweeps: int = 3

    @property
    def key(self) -> tuple[str, ...]:
        """What its row is."""
        return (self.axis, f"{self.value:g}", str(self.seed))

    @property
    def values(self) -> dict[str, float]:
        """On all axes."""
        return USUAL | {"length": self.length} | {self.axis: self.value}


def record(job: Job, model: Model) -> tuple[Recording, np.ndarray]:
    """Simulate the network; return its recording, in bins of the model, and its activity (B, M, T)."""
    values, n_trials = job.values, int(job.values["trials"])
    network, parameters = for_simulation(load_circuit(CIRCUIT), NETWORK_DT)
    A, burn_in = model.window_bins, round(BURN_IN / model.dt)
    bins, M, n_obs = round(values["length"] / n_trials / model.dt), model.n_populations, int(values["neurons"])
    total = A + burn_in + bins
    spikes = np.empty((n_trials, M, total, n_obs), np.uint8)
    activity = np.empty((n_trials, M, total))
    for trial in range(n_trials):
        came = simulate_network(
            parameters,
            network,
            total * round(model.dt / NETWORK_DT),
            np.random.default_rng([job.seed, trial]),
            n_sampled=n_obs,
            warmup_steps=round(SETTLE / NETWORK_DT),
            heterogeneity=values["heterogeneity"],
        )
        spikes[trial], activity[trial] = binned(came, model)
    return judged_after_burn_in(spikes, model), activity[..., A:]


def measure(job: Job) -> dict[str, str]:
    """Do a job; return its row."""
    use_tensorflow(1)
    began = time.perf_counter()
    given = FitSettings(circuit=CIRCUIT, train_Noinit=job.seed, e_objective="innovations")
    settings, model = fitted_circuit(given)
    true = to_X(for_simulation(load_circuit(CIRCUIT), model.dt)[1], model)
    recording, activity = record(job, model)
    assumed = replace(model, population_size=np.round(model.population_size * job.values["size"]))
    found: dict[str, Any] = {}
    fit = train(recording, assumed, settings)
    judged = recording.is_judged
    found |= {f"fit {name}": x for name, x in zip(model.fitted.names, fit.X / true, strict=True)}
    pairs = (
        smooth(each, model.dt, SMOOTHING)[:, 0][judged] for each in (activity, fit.activity[..., model.window_bins :])
    )
    found["activity"] = correlation(*pairs)
    found["seconds of the fit"] = time.perf_counter() - began
    if job.values["length"] <= LONGEST:
        found |= _of_posterior(job, assumed, recording, true)
    found["seconds"] = time.perf_counter() - began
    return dict(zip(KEYS, job.key, strict=True)) | {name: f"{value:.5g}" for name, value in found.items()}


def _of_posterior(job: Job, model: Model, recording: Recording, true: np.ndarray) -> dict[str, float]:
    """Return median over truth, width of the 90 % interval as a factor, and whether it holds the truth."""
    question = Question(model, recording, Path(), true, (), ())
    options = PosteriorSettings(circuit=CIRCUIT, walkers=job.walkers, sweeps=job.sweeps, jobs=1, seed=job.seed)
    try:
        draws = sample(question, options).draws
    except FitError:
        return {}
    low, median, high = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
    found: dict[str, float] = {}
    for k, name in enumerate(model.fitted.names):
        found |= {f"median {name}": median[k] / true[k], f"width {name}": high[k] / low[k]}
        found |= {f"inside {name}": float(low[k] <= true[k] <= high[k])}
    return found


def jobs_of(settings: Settings) -> list[Job]:
    """Return all jobs of the chosen axes."""
    chosen = names_in(settings.only, AXES)
    if settings.quick:
        return [Job(name, AXES[name].values[0], 1, length=2.0, walkers=32, sweeps=2) for name in chosen]
    return [Job(name, value, seed) for name in chosen for value in AXES[name].values for seed in _seeds(settings)]


def _seeds(settings: Settings) -> range:
    return range(1, settings.seeds + 1)


def make(wanted: Sequence[Job], path: Path, where: Where) -> None:
    """Do the jobs that the table lacks; each is in it as soon as it is done."""
    done = {tuple(row[key] for key in KEYS) for row in read_rows(path, KEYS)}
    missing = [job for job in wanted if job.key not in done]

    def told(number: int, outcome: Outcome) -> None:
        if not outcome.error:
            rows = [*read_rows(path, KEYS), outcome.result]
            rows.sort(key=lambda row: (list(AXES).index(row["axis"]), float(row["value"]), int(row["seed"])))
            write_rows(path, rows, KEYS)
            tqdm.write(f"{' '.join(missing[number].key)}: {outcome.seconds:.0f} s", file=sys.stderr)

    names = [" ".join(job.key) for job in missing]
    results_of(run_jobs(measure, missing, names, where, told, "recording"), names)


@names_options(Settings)
def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    path = Path(settings.table or ("result/sweep/quick.csv" if settings.quick else "benchmarks/sweep.csv"))
    wanted = jobs_of(settings)
    if not settings.show:
        make(wanted, path, settings)
    keys = {job.key for job in wanted}
    rows = [row for row in without_empty(read_rows(path, KEYS)) if tuple(row[key] for key in KEYS) in keys]
    if not rows:
        raise InputError(f"{path}: expected rows to show, found none; without --show they are made")
    for axis in dict.fromkeys(row["axis"] for row in rows):
        of_axis = [row for row in rows if row["axis"] == axis]
        print(sweep_table(AXES[axis], of_axis), end="\n\n")
        figure = Path(settings.figures, f"sweep_{axis}.png")
        save_figure(figure, sweep_figure(AXES[axis], of_axis))
        print(f"figure: {figure}\n")
    print(f"table: {path}")


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "Agg"
    run_script(main, "benchmarks.sweep")
