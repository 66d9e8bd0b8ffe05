"""Measure whole trainings, from the command line to the last file."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.problems import QUICK_END
from benchmarks.processes import environment, run_alone
from benchmarks.words import as_words
from src.utils.processes import cores

QUICK = {"end_timepoint": QUICK_END, "max_EMsteps": 2, "Mmaxiters": 20, "Emaxiters": 20}
"""Options of train_meso.py under --quick."""


def training(quick: bool) -> dict[str, Any]:
    """Measure the first training of 3pop_neuLVM.sh."""
    return _measure([sys.executable, "train_meso.py"], quick)


def five_trainings(quick: bool) -> dict[str, Any]:
    """Measure 3pop_neuLVM.sh, two trainings at a time where there are two cores."""
    return {**_measure(["./3pop_neuLVM.sh"], quick), "at_once": min(2, cores())}


def _measure(command: Sequence[str], quick: bool) -> dict[str, Any]:
    """Run a command that trains, in a folder of its own; count the gradients of its M- and E-steps.

    An iteration of the M-step counts as one gradient, though its line search may take more.
    """
    options = as_words(QUICK) if quick else []
    with tempfile.TemporaryDirectory() as folder:
        seconds, peak = run_alone([*command, "--SAVE_DIR", folder, *options], environment())
        records = [json.loads(path.read_text()) for path in Path(folder).glob("data*/train*/run.json")]
    steps = [step for record in records for step in record["history"]]
    evaluations = [sum(step[key] for step in steps) for key in ("M_iterations", "E_steps")]
    return {"seconds": seconds, "peak": peak, "evaluations": evaluations, "numbers": None}
