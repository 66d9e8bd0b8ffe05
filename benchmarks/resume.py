"""Kill trainings at random moments, resume them, and compare every file with that of a training left alone.

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
from src.runs.paths import CHECKPOINT, RECORD
from src.runs.settings import E_STEPS
from src.utils.files import load_arrays, load_json
from src.utils.settings import option, parse, run_script

TRAINING = {"end_timepoint": 2.0, "a_cutoff": 0.4, "Mmaxiters": 40, "Emaxiters": 40, "max_EMsteps": 4, "E_LR": 1e-4}
"""Options of train_meso.py: several EM iterations, in some seconds."""


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    moments: int = option(10, "kills for each objective of the E-step", at_least=1)
    seed: int = option(1, "of the moments", at_least=0)


def start(argv: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a training in a process of its own."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "train_meso.py", *argv], env=environment(), **silent)  # type: ignore[call-overload]


def kill_after(argv: Sequence[str], folder: Path, seconds: float) -> str:
    """Train, and kill the training so long after its start; return how far it was, in words."""
    process = start(argv)
    try:
        before = (folder / RECORD).stat().st_mtime_ns if (folder / RECORD).exists() else None
        while process.poll() is None:
            if (folder / RECORD).exists() and (folder / RECORD).stat().st_mtime_ns != before:
                break
            time.sleep(0.02)
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    if not (folder / CHECKPOINT).exists():
        return "after its end" if load_json(folder / RECORD)["status"] == "finished" else "before M-step 0 ended"
    done = int(load_arrays(folder / CHECKPOINT)["done"])
    return f"after {'M' if done % 2 else 'E'}-step {done // 2}"


def differences(one: Path, other: Path) -> list[str]:
    """Return the files in which two folders of trainings differ; in the records, times and folders do not count."""
    names = {path.name for folder in (one, other) for path in folder.iterdir()}
    return sorted(name for name in names if _content(one / name) != _content(other / name))


def _content(path: Path) -> Any:
    if not path.exists():
        return None
    if path.suffix == ".png":
        return path.read_bytes()
    if path.name == RECORD:
        record = load_json(path)
        record |= {"seconds": None, "settings": record["settings"] | {"SAVE_DIR": None}}
        return json.dumps(record | {"history": [step | {"seconds": None} for step in record["history"]]})
    return {name: (each.dtype, each.shape, each.tobytes()) for name, each in load_arrays(path).items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return 0 if nothing differs."""
    settings = parse(Settings, __doc__ or "", argv)
    rng, failed = random.Random(settings.seed), 0
    for objective in E_STEPS:
        options = [word for name, value in TRAINING.items() for word in (f"--{name}", str(value))]
        options += ["--e_objective", objective, "--SAVE_DIR"]
        with tempfile.TemporaryDirectory() as save_dir:
            there = [Path(save_dir, name) for name in ("alone", "killed")]
            alone, killed = (each / f"data{TRAINING['end_timepoint']:g}/train1" for each in there)
            if start([*options, str(there[0])]).wait():
                raise RuntimeError("a training that was left alone failed")
            record = load_json(alone / RECORD)
            print(f"{objective}: {record['ended']}, {record['seconds']:.0f} s", flush=True)
            for k in range(settings.moments):
                where = kill_after([*options, str(there[1])], killed, rng.uniform(0, record["seconds"]))
                status = start([*options, str(there[1]), "--resume"]).wait()
                other = differences(alone, killed) if status == 0 else [f"exit status {status}"]
                failed += bool(other)
                print(f"kill {k + 1}, {where}: {', '.join(other) or 'resumed to the same files'}", flush=True)
                shutil.rmtree(there[1])
    return int(bool(failed))


if __name__ == "__main__":
    run_script(main, "benchmarks.resume")
