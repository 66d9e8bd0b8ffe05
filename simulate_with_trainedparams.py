"""Let the best of some trainings, or draws from the posterior, run freely: print what they do, save figure and arrays.

python simulate_with_trainedparams.py
python simulate_with_trainedparams.py --run train3 --length 200 --seed 5
python simulate_with_trainedparams.py --input pulses --pulses "E1:100@20+0.1,E2:100@60+0.1"
python simulate_with_trainedparams.py --folder result/recommended/data11 --posterior --draws 50
python simulate_with_trainedparams.py --folder result/mine/my --input recording
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from src.data.samples import again
from src.inference.fast_filter import has_numba
from src.model.containers import Model, Recording
from src.model.external_input import KINDS, InputSettings, lagged
from src.plots.style import save_figure
from src.posterior.figure_free_runs import free_runs_figure
from src.posterior.free_runs import ARCHIVE, WITHOUT_NUMBA, check_size, describe_runs, run_draws
from src.posterior.result import load_posterior
from src.report.simulation import describe_simulation
from src.report.summary import SIMULATION, draw_simulation
from src.runs.load import Run, best_run, load_run, load_runs, recording_of
from src.runs.paths import RECORD, SAVE_DIR, data_folder
from src.runs.tables import parameter_table
from src.utils.exceptions import InputError
from src.utils.files import save_arrays
from src.utils.quiet import import_quietly
from src.utils.settings import as_dict, names_options, option, parse, run_script

RECORDED = "recording"
"""Kind of input: that of the recording."""


@dataclass(frozen=True)
class SimulationSettings(InputSettings):
    """Options of the script."""

    input: str | None = option(  # type: ignore[assignment]
        None,
        "external input; recording is that of the first trial that was fitted, again and again; without it recording "
        "where an input gain was fitted, else none",
        choices=(*KINDS, RECORDED),
    )
    SAVE_DIR: str = option(SAVE_DIR, "folder of results, as given to train_meso.py")
    end_timepoint: float = option(11.0, "end of the fitted data, as given to train_meso.py", unit="s", above=0)
    folder: str | None = option(None, "folder of runs; without it SAVE_DIR/data{end_timepoint}")
    run: str | None = option(None, "run to simulate, for instance train3; without it the best one")
    posterior: bool = option(False, "simulate draws from the posterior in the folder, one run of each, instead")
    draws: int = option(20, "draws from the posterior, with --posterior", at_least=1, at_most=10000)
    # The bounds keep a slip of the finger from asking for more memory than there is.
    length: float = option(100.0, "length of the simulation", unit="s", above=0, at_most=3600)
    dt: float | None = option(None, "bin width; without it that of the run", unit="s", at_least=0.0002, at_most=0.02)
    seed: int = option(0, "seed of all random numbers", at_least=0, at_most=2**31 - 1)
    noise: str | None = option(
        None,
        "how activity is drawn around its mean; without it as the run's scheme does",
        choices=("gaussian", "binomial"),
    )
    n_observed: int = option(3, "recorded neurons simulated in each population", at_least=0, at_most=100)
    output: str | None = option(None, "folder for what is written; without it the folder of runs")


def choose_run(folder: Path, name: str | None) -> Run:
    """Return the run called `name`, the last part of which is enough, or the best one; tell which are left out.

    Raises
    ------
    InputError
        No training finished, or none of that name did, or several.
    """
    runs, skipped = load_runs(folder)
    for reason in skipped:
        print(f"skipped: {reason}")
    if name is None:
        print(f"{len(runs)} finished run{'s' if len(runs) > 1 else ''} in {folder}")
        return best_run(runs)
    chosen = [run for run in runs if run.name == name] or [run for run in runs if run.folder.name == name]
    if len(chosen) == 1:
        return chosen[0]
    for path in () if chosen else sorted(folder.rglob(RECORD)):
        if name in (path.parent.name, str(path.parent.relative_to(folder))):
            load_run(path.parent)  # says what is wrong with it
    raise InputError(f"--run: expected one of {', '.join(run.name for run in runs)}, got {name!r}")


def on_bins(model: Model, dt: float | None) -> Model:
    """Return the model on bins of `dt` s: window, refractory time and delay keep their length as well as they can."""
    if dt is None or dt == model.dt:
        return model
    bins = {name: round(getattr(model, name) * model.dt / dt) for name in ("window_bins", "delay_bins")}
    refractory = max(1, round(model.refractory_bins * model.dt / dt))
    if not np.isclose(refractory * dt, model.refractory_bins * model.dt):
        print(f"note: in bins of {dt:g} s the refractory time is {refractory * dt:g} s")
    return replace(model, dt=dt, refractory_bins=refractory, **bins)


def check_writable(folder: Path) -> None:
    """Make the folder if needed; OSError where nothing can be written."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def external_input(settings: SimulationSettings, model: Model, recording: Recording, dt: float) -> np.ndarray:
    """Return the input that the settings ask for, (M, n_bins), in 1/s or as input gains weigh it.

    Parameters
    ----------
    settings : SimulationSettings
    model : Model
        Of the simulation.
    recording : Recording
        That was fitted,
    dt : float, s
        in such bins.

    Raises
    ------
    InputError
        The length is less than a bin, the input cannot be made, or that of the recording is zero.
    """
    n_bins = round(settings.length / model.dt)
    if n_bins < 1:
        raise InputError(f"--length: expected at least one bin of {model.dt:g} s, got {settings.length:g} s")
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed).spawn(1)[0])
    known = recording.external_input[0, :, : recording.lengths[0]]
    kind = settings.input or (RECORDED if model.has_gains and known.any() else KINDS[0])
    if kind != RECORDED:
        if known.any() and kind == KINDS[0]:
            print(f"note: the fit knew an input, and this simulation has none; see --input {RECORDED}")
        made = replace(settings, input=kind).make(n_bins, model.dt, model.names, rng)
        return lagged(made, model.input_lag, model.dt).T
    if not known.any():
        raise InputError("--input: expected a recording with a known input, got one without")
    if settings.length > known.shape[1] * dt:
        print(f"note: the input of the recording lasts {known.shape[1] * dt:g} s, and is given again and again")
    pulses = replace(settings, input=KINDS[0]).make(n_bins, model.dt, model.names, rng)
    return again(known, dt, n_bins, model.dt) + lagged(pulses, model.input_lag, model.dt).T


def simulate_posterior(settings: SimulationSettings, folder: Path, output: Path) -> None:
    """Let draws from the posterior in a folder run freely; save ``simulation_posterior`` and its figure."""
    if settings.run is not None:
        raise InputError(f"--run: expected none with --posterior, which is about all circuits, got {settings.run!r}")
    posterior = load_posterior(folder)
    model = on_bins(posterior.model, settings.dt)
    driven = external_input(settings, model, posterior.recording, posterior.model.dt)
    draws = posterior.some(settings.draws, np.random.default_rng(np.random.SeedSequence(settings.seed).spawn(2)[1]))
    check_size(len(draws), settings.n_observed, driven)
    check_writable(output)
    if not has_numba():
        print(WITHOUT_NUMBA, flush=True)
    options = {"n_observed": settings.n_observed, "noise": settings.noise}
    runs = run_draws(posterior, draws, model, driven, settings.seed, **options)
    print(describe_runs(runs, len(posterior.draws)))
    save_arrays(
        output / ARCHIVE,
        compress=True,
        **runs.arrays(),
        external_input=driven,
        dt=model.dt,
        X=posterior.draws[draws],
        seed=settings.seed,
        names=np.array(model.names),
        settings=json.dumps(as_dict(settings)),
    )
    save_figure(output / f"{ARCHIVE}.png", free_runs_figure(runs))
    print(f"written: {output / ARCHIVE}, {output / ARCHIVE}.png")


@names_options(SimulationSettings)
def main(argv: Sequence[str] | None = None) -> int:
    """Find the run, simulate it, save ``simulation`` and ``simulation.png``; or draws from the posterior likewise."""
    settings = parse(
        SimulationSettings, "Let the best of some trainings, or draws from the posterior, run freely.", argv
    )
    folder = Path(settings.folder or data_folder(settings.SAVE_DIR, settings.end_timepoint))
    output = Path(settings.output or folder)
    if settings.posterior:
        simulate_posterior(settings, folder, output)
        return 0
    run = choose_run(folder, settings.run)
    model = on_bins(run.model, settings.dt)
    recording = recording_of(run)
    driven = external_input(settings, model, recording, run.model.dt)
    check_writable(output)
    print(f"{run.name}: loss {run.loss:.4f}\n")
    print(parameter_table(run.names, run.start, run.X, run.lower, run.upper, run.true), flush=True)

    simulate = import_quietly("src.LIFmesoCell").simulate  # only now: it takes seconds, mistakes are told at once
    activity, spikes = simulate(
        run.parameters,
        model,
        driven.shape[1],
        settings.seed,
        external_input=driven,
        initial_rate=recording.initial_rate[0],
        n_observed=settings.n_observed,
        noise=settings.noise,
    )
    print("\n" + describe_simulation(activity, model, settings.seed))
    save_arrays(
        output / SIMULATION,
        compress=True,
        activity=activity,
        spikes=spikes,
        external_input=driven,
        dt=model.dt,
        X=run.X,
        seed=settings.seed,
        names=np.array(model.names),
        run=run.name,
        settings=json.dumps(as_dict(settings)),
    )
    save_figure(output / f"{SIMULATION}.png", draw_simulation(output / SIMULATION))
    print(f"written: {output / SIMULATION}, {output / SIMULATION}.png")
    return 0


if __name__ == "__main__":
    run_script(main, "simulate_with_trainedparams.py")
