"""Kill trainings and posteriors at random moments, resume them, and compare every file with that of one left alone.

    python -m benchmarks.resume

prints a line for each kill, and fails if a single number differs.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import environment
from benchmarks.words import as_words, names_in
from src.posterior.result import RECORD as POSTERIOR_RECORD
from src.posterior.state import load_state
from src.runs.paths import CHECKPOINT, RECORD
from src.runs.settings import E_STEPS
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, load_json
from src.utils.settings import names_options, option, parse, run_script

SECONDS = 2.0
"""Of the recording that are used."""
TRAINING = {"end_timepoint": SECONDS, "a_cutoff": 0.4, "Mmaxiters": 40, "Emaxiters": 40, "max_EMsteps": 4, "E_LR": 1e-4}
"""Options of train_meso.py: several EM iterations, in some seconds."""
POSTERIOR = {"end_timepoint": SECONDS, "walkers": 32, "sweeps": 2, "predicted": 2.0}
"""Options of ``python -m src.posterior``: all of its stages, in half a minute."""
KINDS = (*E_STEPS, "posterior")
TIMES = ("seconds",)
"""Entries of records that need not agree."""


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    only: str = option(",".join(KINDS), "trainings by the objective of the E-step, posterior; separated by commas")
    moments: int = option(10, "kills of each", at_least=1)
    seed: int = option(1, "of the moments", at_least=0)


@dataclass(frozen=True)
class Command:
    """What is killed.

    Parameters
    ----------
    argv : tuple of str
        Words after ``python``, without --SAVE_DIR.
    made : str
        Folder in there that it makes.
    record : str
        File that says that it is done.
    """

    argv: tuple[str, ...]
    made: str
    record: str

    def start(self, save_dir: Path, *more: str) -> "subprocess.Popen[bytes]":
        """Start it in a process of its own."""
        argv = [sys.executable, *self.argv, "--SAVE_DIR", str(save_dir), *more]
        return subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def command_of(kind: str) -> Command:
    """Return the training with this objective of the E-step, or the posterior."""
    folder = f"data{SECONDS:g}"
    if kind == "posterior":
        return Command(("-m", "src.posterior", *as_words(POSTERIOR)), f"{folder}/posterior", POSTERIOR_RECORD)
    return Command(("train_meso.py", "--e_objective", kind, *as_words(TRAINING)), f"{folder}/train1", RECORD)


def kill_after(command: Command, save_dir: Path, seconds: float) -> str:
    """Start it, and kill it so long after it has made its folder; return how far it was, in words."""
    folder = save_dir / command.made
    process = command.start(save_dir)
    try:
        while process.poll() is None and not folder.exists():
            time.sleep(0.02)
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    if (folder / CHECKPOINT).exists():
        return _how_far(folder / CHECKPOINT)
    finished = (folder / command.record).exists() and load_json(folder / command.record)["status"] == "finished"
    return "after its end" if finished else "before the first step ended"


def _how_far(checkpoint: Path) -> str:
    try:
        sampler = load_state(checkpoint)["sampler"]
    except InputError:
        done = int(load_arrays(checkpoint)["done"])
        return f"after {'M' if done % 2 else 'E'}-step {done // 2}"
    return f"in stage {sampler['stage'] + 1}, after {sampler['evaluations']} evaluations"


def differences(one: Path, other: Path) -> list[str]:
    """Return the files in which two folders differ; in the records, times and folders do not count.

    posterior.nc is left out: it holds the time, and the draws that `samples` has.
    """
    names = {path.name for folder in (one, other) for path in folder.iterdir() if path.suffix != ".nc"}
    return sorted(name for name in names if _content(one / name) != _content(other / name))


def _content(path: Path) -> Any:
    if not path.exists():
        return None
    if path.suffix == ".png":
        return path.read_bytes()
    if path.suffix == ".json":
        record = load_json(path)
        return json.dumps(_timeless(record | {"settings": record["settings"] | {"SAVE_DIR": None, "resume": None}}))
    return {name: (each.dtype, each.shape, each.tobytes()) for name, each in load_arrays(path).items()}


def _timeless(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _timeless(value) for key, value in part.items() if key not in TIMES}
    return [_timeless(each) for each in part] if isinstance(part, list) else part


@names_options(Settings)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return 0 if nothing differs."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    kinds = names_in(settings.only, KINDS)
    rng, failed = random.Random(settings.seed), 0
    for kind in kinds:
        command = command_of(kind)
        with tempfile.TemporaryDirectory() as save_dir:
            alone, killed = Path(save_dir, "alone"), Path(save_dir, "killed")
            start = time.monotonic()
            if command.start(alone).wait():
                raise RuntimeError(f"{kind}: one that was left alone failed")
            seconds = time.monotonic() - start
            print(f"{kind}: {seconds:.0f} s from start to end", flush=True)
            for k in range(settings.moments):
                where = kill_after(command, killed, rng.uniform(0, seconds))
                status = command.start(killed, "--resume").wait()
                other = (
                    differences(alone / command.made, killed / command.made) if status == 0 else [f"status {status}"]
                )
                failed += bool(other)
                print(f"kill {k + 1}, {where}: {', '.join(other) or 'resumed to the same files'}", flush=True)
                shutil.rmtree(killed)
    return int(bool(failed))


if __name__ == "__main__":
    run_script(main, "benchmarks.resume")
