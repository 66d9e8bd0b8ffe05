"""From a stimulus in a file to a fitted gain: recovered at a known activity, and through every step of a fit."""

from dataclasses import replace

import numpy as np
import pytest

import train_meso
from src.helper import to_X
from src.inference.laplace import conditional_errors
from src.LIFmesoCell import simulate
from src.model.circuit import for_fit
from src.model.circuit_file import load_circuit
from src.model.containers import Parameters, Recording
from src.report.report import main as report
from src.runs.load import load_run, recording_of
from src.runs.settings import FitSettings
from src.utils.files import load_arrays
from train_meso import scipy_Mstep

CIRCUIT = """
[time]
refractory_time = 0.004
scheme = "consistent"
window = 0.08

[populations.E]
size = 300
synaptic_time = 0.005
excites = ["E"]

[membrane_rate]
bounds = [20, 120]

[coupling]
bounds = [0.5, 20]

[resting_potential]
bounds = [0, 10]

[threshold]
bounds = [1, 8]

[input_gain]
value = -1.5
bounds = [-5, 5]
"""
TRUTH = Parameters(np.array([60.0]), np.array([[4.0]]), np.array([5.0]), np.array([3.7]), np.array([-1.5]))


def driven(folder, seconds, n_obs=5):
    """A circuit, and what it does under a stimulus that jumps every 40 ms: model, settings, stimulus, n, spikes."""
    (folder / "c.toml").write_text(CIRCUIT)
    settings, model = for_fit(load_circuit(folder / "c.toml"), FitSettings(circuit=str(folder / "c.toml")))
    bins = round(seconds / model.dt)
    levels = np.random.default_rng(3).normal(0, 40, -(-bins // 10))
    stimulus = np.repeat(levels, 10)[None, :bins]
    given = {"external_input": stimulus, "initial_rate": np.array([15.0]), "n_observed": n_obs}
    activity, spikes = simulate(TRUTH, model, bins, 4, **given)
    return model, settings, stimulus, activity, spikes


def test_an_M_step_at_the_known_activity_finds_the_gain(tmp_path):
    model, settings, stimulus, activity, spikes = driven(tmp_path, 20.0)
    A = model.window_bins
    spikes, known = spikes[None], stimulus[None, :, A:]
    recording = Recording(spikes, known, activity[None, :, :A].mean(axis=-1) / model.dt)
    n = activity[None, :, A:]
    for seed in (1, 2):
        start = model.fitted.draw(np.random.default_rng(seed))
        found = scipy_Mstep(start, n, recording, model, settings)
        error = conditional_errors(found.x, n, recording, model)[-1]
        assert 0 < error < 0.1 and abs(found.x[-1] - -1.5) < min(0.15, 3 * error)
    unseen = replace(recording, external_input=np.zeros_like(known))
    assert scipy_Mstep(to_X(TRUTH, model), n, unseen, model, settings).fun > found.fun + 0.05


@pytest.mark.slow
def test_a_fit_from_files_to_the_report(tmp_path, capsys):
    model, _, stimulus, _, spikes = driven(tmp_path, 1.6)
    np.savez(tmp_path / "my.npz", spikes=spikes[0], dt=model.dt)
    time = model.dt * np.arange(stimulus.shape[1])
    rows = [f"{t!r},{s!r}" for t, s in zip(time.tolist(), stimulus[0].tolist(), strict=True)]
    (tmp_path / "light.csv").write_text("\n".join(["time,light", *rows, ""]))
    options = {"data": tmp_path / "my.npz", "stimulus": tmp_path / "light.csv", "circuit": tmp_path / "c.toml"}
    options |= {"SAVE_DIR": tmp_path / "out", "e_objective": "innovations", "max_EMsteps": 2, "Emaxiters": 5}
    options |= {"holdout": 0.4, "train_Noinit": 1}
    train_meso.main([*(word for key, value in options.items() for word in (f"--{key}", str(value))), "--no_check"])
    said = capsys.readouterr().out
    assert "Stimulus: " in said and "input_gain E" in said and "to E; in bins" in said
    folder = tmp_path / "out" / "my" / "train1"
    run = load_run(folder)
    assert run.names[-1] == "input_gain E" and run.parameters.input_gain == run.X[-1]
    assert load_arrays(folder / "init_param")["input_gain"].shape == (1,)
    np.testing.assert_allclose(recording_of(run).external_input[0, 0], stimulus[0, model.window_bins : 300], rtol=1e-9)
    report([str(tmp_path / "out" / "my")])
    assert "An external input was known to the fit" in (tmp_path / "out" / "my" / "report.html").read_text()
