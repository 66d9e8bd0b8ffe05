"""The tutorial's commands, run as they are written, in a fresh copy and on an NWB file that pynwb wrote."""

import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from src.inference.fast_filter import FastFilter, simulate_many
from src.model.scheme import CONSISTENT
from tests.cases import random_case

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
COPIED = ["src", "dataset", "requirements.txt", "3pop_neuLVM.sh", "train_meso.py"]
COPIED += ["simulate_micro.py", "simulate_with_trainedparams.py"]
NWB = "my.nwb"
LENGTH, TRIALS = 16.0, [(3.0, 3.7), (7.2, 7.95), (9.0, 9.7), (13.1, 13.8)]  # s; the posterior drops half a second
UNITS = (21, 4, 17, 8, 30, 12)


def blocks():
    """Return the fenced blocks of the tutorial, (language, text)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert {language for language, _ in found} == {"bash", "python", "toml", "text"}  # text is what a command printed
    return found


def pictures():
    return [Path(path) for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TUTORIAL.read_text(encoding="utf-8"))]


def compile_kernels():
    """Let numba compile all kernels once, and keep them: half a minute for each process that does without."""
    pytest.importorskip("numba")
    case = random_case(M=2, T=5, A=20, scheme=CONSISTENT)
    FastFilter(case.model, case.recording).activity(case.parameters, 0, 2)
    simulate_many(case.parameters, case.model, np.zeros((2, 5)), 1, 0, n_observed=1)


@pytest.fixture
def copy(tmp_path):
    """A copy of what the tutorial needs and of nothing that an earlier use left behind; `python` is the one running."""
    compile_kernels()
    tree = tmp_path / "neuLVM"
    tree.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            # Kernels that numba has compiled come along.
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.pyc"))
        else:
            shutil.copy2(ROOT / name, tree / name)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tree


def run(command, tree):
    """Run a block of commands, of which none may fail; return what it printed."""
    path = f"{tree.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    # What is installed stays: pip only says whether it is all there, without a network.
    here = {"PATH": path, "VIRTUAL_ENV": sys.prefix, "PIP_DRY_RUN": "1", "PIP_NO_INDEX": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=tree,
        env={**os.environ, **here},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\nsaid:\n{done.stdout}"
    return done.stdout


def write_short_recording(tree):
    """Replace the NWB file by one of six other units and two short trials."""
    pynwb = pytest.importorskip("pynwb")
    with np.load(tree / "result/stand_in", allow_pickle=False) as data:
        spikes, dt = data["sampled_spikes"], float(data["dt"])
    file = pynwb.NWBFile("a session", "id", datetime(2022, 6, 1, tzinfo=timezone.utc))
    file.add_unit_column("cell_type", "of the unit")
    for k, unit in enumerate(UNITS):
        times = dt * np.flatnonzero(spikes[k % 3, : round(LENGTH / dt), 10 + k])
        kind = ("excitatory", "excitatory", "inhibitory")[k % 3]
        file.add_unit(spike_times=times, obs_intervals=[[0.0, LENGTH]], cell_type=kind, id=unit)
    for start, stop in TRIALS:
        file.add_trial(start_time=start, stop_time=stop)
    (tree / NWB).unlink()
    with pynwb.NWBHDF5IO(str(tree / NWB), "w") as io:
        io.write(file)


@pytest.mark.slow
def test_as_written(copy):
    pytest.importorskip("pynwb")
    pytest.importorskip("jinja2")
    said = ""
    for language, text in blocks():
        if language in ("python", "toml"):
            name = re.match(r"# (\S+)\n", text)  # the first line says where the reader keeps it
            assert name, text
            (copy / name[1]).write_text(text)
        if language == "bash":
            before = (copy / NWB).exists()
            said += run(text, copy)
            if not before and (copy / NWB).exists():
                write_short_recording(copy)  # for the short time that a test has; nothing else is different
    assert "Fitted: 4 trials of 0.7 to 0.748 s" in said
    assert all(re.search(rf"\b{unit} +(E1|E2|I) +\d+", said) for unit in UNITS)
    written = {path.name for path in copy.rglob("*.png")}
    assert {path.name for path in pictures()} <= written  # every picture shows what one of the commands draws


def test_pictures_and_links_lead_somewhere():
    text = TUTORIAL.read_text(encoding="utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    assert links and all((TUTORIAL.parent / link).exists() for link in links if link), links
    assert pictures() and sum((TUTORIAL.parent / path).stat().st_size for path in pictures()) < 400_000
    assert "docs/tutorial.md" in (ROOT / "README.md").read_text(encoding="utf-8")
