"""The benchmarks compare equals: their baselines compute the published numbers; and the command prints its table."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import memory, scaling, speed, spike_filter
from benchmarks.baseline import difference_gradient, eager_gradient, loop_losses
from benchmarks.problems import Problem, synthetic
from benchmarks.processes import run_alone
from src.fast_np import fast_lossM, fast_lossy, fast_lossZ
from src.helper import to_X
from src.utils.exceptions import FitError, InputError
from tests.cases import GOLDEN_NAMES, golden_cases, random_case

ROOT = Path(__file__).parents[1]


def problem_of(case):
    """The benchmarks take the activity with its window, whose values no loss looks at."""
    window = np.zeros((*case.activity.shape[:2], case.model.window_bins))
    return Problem(case.parameters, np.concatenate([window, case.activity], axis=-1), case.recording, case.model)


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_the_loop_reproduces_the_golden_files(name):
    case, loss_y, loss_Z = next(golden_cases(name))
    np.testing.assert_allclose(loop_losses(problem_of(case)), [loss_y, loss_Z], rtol=1e-12)


def test_the_differences_are_the_gradient():
    problem = synthetic(T=100, A=40)
    value, gradient = difference_gradient(problem)
    X = to_X(problem.parameters, problem.model)
    exact_value, exact = fast_lossM(X, problem.fitted, problem.recording, problem.model)
    np.testing.assert_allclose(value, exact_value, rtol=1e-12)
    np.testing.assert_allclose(gradient, exact, rtol=1e-5, atol=1e-6 * np.abs(exact).max())


def test_the_tape_over_the_cell_gives_the_gradient():
    from src.LIFmesoCell import LIFmesoCell

    case = random_case(M=2, B=2, T=8, A=6, d=1)
    options = {"n_observed": case.recording.observed_spikes.shape[-1], "follow": True, "dtype": "float64"}
    cell = LIFmesoCell(case.parameters, case.model, case.recording.initial_rate[0], **options)
    value, gradient = eager_gradient(problem_of(case), cell)
    exact = [loss(*case, "activity") for loss in (fast_lossy, fast_lossZ)]
    np.testing.assert_allclose(value, sum(loss.value for loss in exact), rtol=1e-12)
    np.testing.assert_allclose(gradient, sum(loss.activity for loss in exact), rtol=1e-10)


def test_quick_prints_a_table_and_saves_it(tmp_path):
    path = tmp_path / "speed.json"
    command = [sys.executable, "-m", "benchmarks.speed", "--quick", "--only", "loss", "--save", str(path)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    line = next(line for line in shown.splitlines() if line.startswith("loss value"))
    assert "ms" in line and "T = 500 bins" in shown
    (row,) = json.loads(path.read_text())["rows"]
    assert row["name"] == "loss" and row["difference"] < 1e-12
    assert row["ratio"] == pytest.approx(row["baseline"] / row["seconds"])
    assert 0 < row["fastest"] <= row["seconds"] and 20 < row["peak"] < 1000


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--only", "los"], r"--only: expected names out of loss, .*, got los"),
        (["--save", "table.txt"], r"--save: expected a name that ends in .csv or .json, got table.txt"),
    ],
)
def test_options_that_cannot_be_used(argv, message):
    with pytest.raises(InputError, match=message):
        speed.main(argv)


def test_a_command_alone_tells_its_memory_and_its_failure():
    # in a small process of its own: a child's peak is at least the size of the process that starts it
    script = """
import os, sys
from benchmarks.processes import run_alone
for code in ("pass", "x = bytearray(b'1' * (1 << 28))"):
    print(*run_alone([sys.executable, "-c", code], os.environ))
"""
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    (seconds, small), (_, large) = (map(float, line.split()) for line in printed.splitlines())
    assert seconds > 0 and large > 256 and large > small + 200
    with pytest.raises(FitError, match=r"exit status 3, last line: no luck"):
        run_alone([sys.executable, "-c", "print('no luck'); raise SystemExit(3)"], os.environ)


def test_targets_that_are_missed():
    row = speed.Row("", seconds=0.07, ratio=60, memory=1536)
    assert speed.missed(row, {"seconds": 0.06, "ratio": 61, "peak": 1500}) == []
    assert speed.missed(row, {"seconds": 0.08, "ratio": 59, "peak": 1600}) == ["time", "ratio", "memory"]
    assert speed.missed(speed.Row(""), {"seconds": 1e9, "ratio": 0, "peak": 1e9}) == []


def test_long_baselines_are_extrapolated_from_gradients():
    measured = speed.Measurements(quick=False)
    measured.done = {
        "loop_gradient": {"seconds": 2.0},
        "eager_gradient": {"seconds": 30.0},
        "M_step": {"seconds": 1.0, "peak": 100.0, "evaluations": 50, "numbers": []},
        "five_trainings": {"seconds": 4.0, "peak": 9e9, "evaluations": [10, 1], "numbers": None, "at_once": 2},
    }
    step, five = (speed.compare(name, measured) for name in ("M_step", "five_trainings"))
    assert (step["baseline"], step["ratio"], step["extrapolated"]) == (100.0, 100.0, True)
    assert (five["baseline"], five["missed"]) == (25.0, ["memory"])


def test_exponent_of_a_power_law():
    sizes = np.array([250, 500, 1000])
    assert scaling.exponent(sizes, 3e-4 * sizes**1.5) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0123, "12.3 ms"), (0.123, "123 ms"), (1.5, "1.5 s"), (300, "5 min"), (9000, "2.5 h")]
)
def test_durations_in_words(seconds, words):
    assert speed.duration(seconds) == words


def test_the_filters_are_compared_on_every_circuit_that_says_something(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(spike_filter, "COMPARABLE", 0.025)
    first, *_ = spike_filter.golden("one_population")
    first = spike_filter.shortened(first, 60)
    assert (first.recording.n_bins, first.model.window_bins, first.model.scheme.name) == (60, 100, "consistent")
    lively = dataclasses.replace(first.parameters, threshold=first.parameters.threshold - 6)
    table, _, verdict = spike_filter.agreement([first, first._replace(parameters=lively)], 3, 100)
    _, compared, dropped = table.splitlines()
    assert abs(float(compared.split()[-2])) < 0.3 and dropped.split()[-5:] == ["-"] * 5
    assert verdict.startswith("1 of 2 circuits can be compared; largest difference, in nats: 0.")
    assert verdict.endswith("at most 0.3: reached")


def test_the_mean_of_p():
    ln_p = np.random.default_rng(0).normal(-5000, 0.5, 100000)
    found = spike_filter.mean_of(ln_p)
    assert found.ln_p == pytest.approx(-5000 + 0.5**2 / 2, abs=0.01)  # of a log-normal number
    assert found.scatter == pytest.approx(0.5, rel=0.01)
    assert found.error == pytest.approx(np.sqrt(np.expm1(0.5**2) / 100000), rel=0.05)


def test_recordings_of_the_memory_benchmark_can_be_fitted(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "run_alone", lambda command, environment: asked.append(command) or (1.0, 900.0))
    for size in (memory.SIZES[0], dataclasses.replace(memory.SIZES[5], lengths=(2.0, 2.0))):
        peak, said = memory.measure(size, tmp_path)
        assert peak == 900 and said > 100 and "--max_EMsteps" in asked[-1]
