"""How much memory fits take, and how much `src.runs.memory` says that they need.

Every fit is a process of its own, with one EM iteration of a few steps: its peak is that of a whole fit.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.processes import environment, run_alone
from src.data.read import read_recording
from src.model.circuit_file import fitted_circuit
from src.runs.memory import memory_needed
from src.runs.settings import FitSettings
from src.utils.settings import names_options, option, parse, run_script
from src.utils.text import align

RATE = 8.0  # Hz
RECOMMENDED = ("--scheme", "consistent", "--e_objective", "innovations")
SHORT = ("--max_EMsteps", "1", "--Mmaxiters", "2", "--Emaxiters", "2", "--no_check")
ONE = """
[time]
refractory_time = 0.004
[populations.P]
size = 500
synaptic_time = 0.005
excites = ["P"]
[membrane_rate]
bounds = [10, 125]
[coupling]
bounds = [0, 40]
[resting_potential]
bounds = [-10, 30]
[threshold]
bounds = [0.5, 15]
"""


@dataclass(frozen=True)
class Size:
    """A recording: neurons of each population, and lengths of the trials in s; and more options of its fit."""

    units: dict[str, int]
    lengths: tuple[float, ...]
    options: tuple[str, ...] = ()


SIZES = (
    Size({"P": 26}, (20.0,), RECOMMENDED),
    Size({"P": 26}, (100.0,), (*RECOMMENDED, "--a_cutoff", "1")),
    Size({"P": 26}, (400.0,)),
    Size({"P": 26}, (400.0,), RECOMMENDED),
    Size({"E1": 3, "E2": 3, "I": 3}, (50.0,), RECOMMENDED),
    Size({"E1": 3, "E2": 3, "I": 3}, (10.0,) * 20, RECOMMENDED),
    Size({"E1": 3, "E2": 3, "I": 3}, (10.0,) * 20, (*RECOMMENDED, "--t_perbatch", "50")),
)


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    quick: bool = option(False, "the smallest recording only")


def write_spikes(path: Path, size: Size) -> None:
    """Write an archive of random spikes."""
    rng, units = np.random.default_rng(0), [name for name, n in size.units.items() for _ in range(n)]
    trains = [
        (rng.uniform(0, length, rng.poisson(RATE * length)), unit, trial)
        for trial, length in enumerate(size.lengths)
        for unit in range(len(units))
    ]
    numbers = [len(times) for times, _, _ in trains]
    times = np.concatenate([times for times, _, _ in trains])
    of_unit, of_trial = (np.repeat([train[k] for train in trains], numbers) for k in (1, 2))
    more = {"end": size.lengths[0]} if len(size.lengths) == 1 else {"spike_trial": of_trial}
    np.savez(path, spike_times=times, spike_unit=of_unit, unit=np.arange(len(units)), population=units, **more)


def measure(size: Size, folder: Path) -> tuple[float, float]:
    """Return the peak memory of a fit and what it was said to need, both in MiB."""
    write_spikes(folder / "spikes.npz", size)
    (folder / "one.toml").write_text(ONE)
    circuit = ["--circuit", str(folder / "one.toml")] if "P" in size.units else []
    given = ["--data", str(folder / "spikes.npz"), *circuit, *size.options, *SHORT]
    given += ["--SAVE_DIR", str(folder / "result"), "--overwrite"]
    settings, model = fitted_circuit(parse(FitSettings, "", given))
    said = memory_needed(read_recording(settings, model)[0], model, settings) / 2**20
    # A process begins with the peak of the one that starts it: this one is small.
    return run_alone([sys.executable, "train_meso.py", *given], environment())[1], said


@names_options(Settings)
def main(argv: Sequence[str] | None = None) -> None:
    """Run the script."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    rows = [["units", "trials", "s each", "options", "peak, MiB", "said, MiB", "said / peak"]]
    for size in SIZES[: 1 if settings.quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            peak, said = measure(size, Path(folder))
        options = " ".join(size.options).replace("--scheme consistent --e_objective innovations", "recommended")
        units = ", ".join(f"{n} {name}" for name, n in size.units.items())
        row = [units, str(len(size.lengths)), f"{size.lengths[0]:g}", options or "-"]
        rows.append([*row, f"{peak:.0f}", f"{said:.0f}", f"{said / peak:.2f}"])
        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(align(rows))


if __name__ == "__main__":
    run_script(main, "benchmarks.memory")
