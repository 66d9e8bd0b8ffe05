"""The sweep: its recordings are what they are called, its rows become tables."""

import numpy as np
import pytest

from benchmarks import sweep
from benchmarks.sweep import Job, record
from benchmarks.sweep_report import AXES, at_value, sweep_figure, sweep_table
from src.model.circuit_file import fitted_circuit
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from src.utils.jobs import Where

MODEL = fitted_circuit(FitSettings(circuit=sweep.CIRCUIT))[1]


def test_a_recording_has_the_neurons_trials_and_length_that_it_is_called_by():
    recording, activity = record(Job("neurons", 4, 1, length=0.8), MODEL)
    assert recording.observed_spikes.shape[-1] == 4 and recording.n_trials == 1
    assert recording.n_judged == 200 and activity.shape == recording.external_input.shape
    recording, activity = record(Job("trials", 2, 1, length=0.8), MODEL)
    assert recording.n_trials == 2 and recording.n_judged == 200 and recording.observed_spikes.shape[-1] == 9
    assert not np.array_equal(activity[0], activity[1])
    rates = recording.observed_spikes.mean() / MODEL.dt, activity.mean() / MODEL.dt
    assert 5 < rates[0] < 40 and abs(rates[0] / rates[1] - 1) < 0.5
    other, _ = record(Job("heterogeneity", 0.5, 1, length=0.8), MODEL)
    same, _ = record(Job("size", 2, 1, length=0.8), MODEL)
    assert not np.array_equal(other.observed_spikes, same.observed_spikes)


def row(value, seed, **more):
    return {"axis": "neurons", "value": f"{value:g}", "seed": str(seed), "activity": "0.5", "seconds": "9", **more}


def ratios(kind, a, b):
    return {f"{kind} coupling I": str(a), f"{kind} threshold I": str(b)}


def test_rows_become_a_table_and_a_figure():
    posterior = {**ratios("median", 1.1, 1.1), **ratios("width", 1.5, 1.5), **ratios("inside", 1, 0)}
    rows = [
        row(3, 1, **ratios("fit", 0.5, 2), **posterior),
        row(3, 2, **ratios("fit", 2, 1)),
        row(90, 1, **ratios("fit", 1, 1)),
    ]
    found = at_value(rows[:2])
    assert found["fit"] == pytest.approx(1) and found["posterior"] == pytest.approx(0.1) and found["coverage"] == 0.5
    lines = sweep_table(AXES["neurons"], rows).splitlines()
    assert lines[1].split() == ["3", "2", "100", "%", "10", "%", "1.50", "0.50", "0.50", "9"]
    assert lines[2].split() == ["90", "1", "0", "%", "-", "-", "-", "0.50", "9"]
    assert len(sweep_figure(AXES["neurons"], rows).axes) == 4


def test_what_is_in_the_table_is_not_made_again(tmp_path, monkeypatch):
    made = []

    def measure(job):
        made.append(job.key)
        return row(job.value, job.seed) | {"axis": job.axis}

    monkeypatch.setattr(sweep, "measure", measure)
    jobs = [Job("neurons", value, seed) for value in (9.0, 3.0) for seed in (1, 2)]
    sweep.make(jobs[:3], tmp_path / "t.csv", Where(1))
    sweep.make(jobs, tmp_path / "t.csv", Where(1))
    assert made == [job.key for job in jobs]
    assert [r["value"] for r in sweep.read_rows(tmp_path / "t.csv", sweep.KEYS)] == ["3", "3", "9", "9"]


def test_an_unknown_axis_is_named():
    with pytest.raises(InputError, match="^--only: expected names out of neurons, .*, got colour"):
        sweep.main(["--only", "neurons,colour"])
