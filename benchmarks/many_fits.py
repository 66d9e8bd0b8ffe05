"""Many fits at once: how much sooner they are there on two cores, and what becomes of them when processes are killed.

    python -m benchmarks.many_fits

fails if a training that was killed and resumed ends at other files, or if two trainings write into one folder.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import environment, run_alone
from benchmarks.resume import TRAINING, differences
from benchmarks.words import as_words, names_in
from src.runs.record import FINISHED, status_in
from src.runs.settings import FitSettings
from src.utils.exceptions import FitError
from src.utils.files import HALF_WRITTEN
from src.utils.jobs import Where, results_of, run_jobs
from src.utils.quiet import use_tensorflow
from src.utils.settings import names_options, option, parse, run_script

VICTIMS = ("a worker", "the parent", "all")
RUNS = 4
"""Trainings of each script that is killed."""
FOLDER = f"data{TRAINING['end_timepoint']:g}"


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    only: str = option("speed,warm,kills,one_folder", "parts, separated by commas")
    fits: int = option(20, "trainings of the shipped data, for speed and warm", at_least=2)
    moments: int = option(10, "kills, and pairs of trainings in one folder", at_least=1)
    seed: int = option(1, "of the moments", at_least=0)


def script(save_dir: str, *more: Any) -> list[str]:
    """Return the words of several trainings."""
    return [sys.executable, "-m", "src.runs", "--SAVE_DIR", save_dir, *map(str, more)]


def speed(settings: Settings) -> int:
    """Train on one core and on two."""
    seconds = {}
    for at_once in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = script(folder, "--runs", settings.fits, "--at_once", at_once, "--no_check")
            seconds[at_once], _ = run_alone(command, environment())
        print(f"{settings.fits} trainings, {at_once} at a time: {seconds[at_once]:.0f} s", flush=True)
    print(f"speed-up on two cores: {seconds[1] / seconds[2]:.2f} (at least 1.7)")
    return 0


def cost_of_fit(seed: int) -> tuple[int, float]:
    """Fit the shipped data; return the process, and the seconds that it computed for it."""
    from src.data.read import read_recording
    from src.model.circuit_file import fitted_circuit
    from train_meso import train

    began = time.process_time()
    use_tensorflow(1)
    settings, model = fitted_circuit(FitSettings(train_Noinit=seed))
    train(read_recording(settings, model)[0], model, settings)
    return os.getpid(), time.process_time() - began


def warm(settings: Settings) -> int:
    """Measure what a fit costs a process that has fitted before."""
    names = [f"fit {k}" for k in range(1, settings.fits + 1)]
    jobs, where = list(range(1, settings.fits + 1)), Where(2)
    found = results_of(run_jobs(cost_of_fit, jobs, names, where), names)
    seen: set[int] = set()
    first, further = [], []
    for pid, seconds in found:
        (further if pid in seen else first).append(seconds)
        seen.add(pid)
    several = ", ".join(f"{seconds:.1f}" for seconds in first)
    print(f"CPU seconds of a fit: the first of each process {several}; further ones {_spread(further)} (at most 8)")
    return 0


def _spread(values: Sequence[float]) -> str:
    return f"{np.median(values):.1f} (median of {len(values)}), {min(values):.1f} to {max(values):.1f}"


def kills(settings: Settings) -> int:
    """Kill a worker, the parent, or all, at random moments; resume, and compare with trainings left alone."""
    rng, failed = random.Random(settings.seed), 0
    options = [*as_words(TRAINING | {"runs": RUNS, "at_once": 2}), "--no_check"]
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        seconds, _ = run_alone(script(str(alone), *options), environment())
        for k in range(settings.moments):
            victim = VICTIMS[k % len(VICTIMS)]
            at = rng.uniform(0, seconds)
            said, left = _kill(script(str(killed), *options), victim, at, rng)
            broken = [path.name for path in killed.glob(f"{FOLDER}/*/*") if path.suffix == HALF_WRITTEN]
            done = sum(status_in(path) == FINISHED for path in killed.glob(f"{FOLDER}/train*"))
            subprocess.run(script(str(killed), *options, "--resume"), env=environment(), stdout=subprocess.DEVNULL)
            trained = [f"{FOLDER}/train{i}" for i in range(1, RUNS + 1)]
            other = [f"{one}: {', '.join(d)}" for one in trained if (d := differences(alone / one, killed / one))]
            other += [f"{len(left)} processes left"] if left else []
            failed += bool(other)
            print(
                f"kill {k + 1}, {victim} after {at:.1f} s: {said}, {done} of {RUNS} had finished, {len(broken)} files "
                f"half-written; {'; '.join(other) or 'resumed to the same files'}",
                flush=True,
            )
            shutil.rmtree(killed)
    return failed


def _kill(command: Sequence[str], victim: str, seconds: float, rng: random.Random) -> tuple[str, list[int]]:
    """Start a script and kill some of it; return how it ended, and which of its processes are left."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment(), **quiet) as process:  # type: ignore[call-overload]
        end = time.monotonic() + seconds
        family: set[int] = set()
        while process.poll() is None and time.monotonic() < end:
            family |= set(children(process.pid))
            time.sleep(0.05)
        workers = children(process.pid)
        chosen = {"a worker": [rng.choice(workers)] if workers else [], "the parent": [process.pid]}
        for pid in chosen.get(victim, [process.pid, *workers]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while process.poll() is None:
            family |= set(children(process.pid))
            time.sleep(0.05)
    end = time.monotonic() + 10
    while (left := [pid for pid in family if _runs(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    return f"exit status {process.returncode}", left


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that do jobs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int(folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid and b"popen_loky" in folder.joinpath("cmdline").read_bytes():
                found.append(int(folder.name))
    return sorted(found)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def one_folder(settings: Settings) -> int:
    """Send two trainings into one folder: one runs, one says so."""
    failed = 0
    for k in range(settings.moments):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "train_meso.py", "--SAVE_DIR", folder, "--no_check", *as_words(TRAINING)]
            pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
            both = [subprocess.Popen(command, env=environment(), **pipes) for _ in range(2)]  # type: ignore[call-overload]
            said = [process.communicate()[1] for process in both]
            ended = sorted(process.returncode for process in both)
            refused = [text for text in said if "in use by process" in text]
            fine = ended == [0, 2] and len(refused) == 1
            failed += not fine
            print(f"pair {k + 1}: exit statuses {ended}; {(refused or said)[0].strip()[:150]}", flush=True)
    return failed


PARTS = {"speed": speed, "warm": warm, "kills": kills, "one_folder": one_folder}


@names_options(Settings)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return 0 if nothing went wrong."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    parts = names_in(settings.only, PARTS)
    failed = sum(
        {"speed": speed, "warm": warm, "kills": kills, "one_folder": one_folder}[part](settings) for part in parts
    )
    if failed:
        raise FitError(f"{failed} went wrong")
    return 0


if __name__ == "__main__":
    run_script(main, "benchmarks.many_fits")
