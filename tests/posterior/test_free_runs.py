"""``simulate_with_trainedparams.py --posterior``: which circuits run, how, what is told and written, and bad input."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import simulate_with_trainedparams as script
from src.inference.fast_filter import has_numba
from src.model.containers import Model
from src.posterior import free_runs
from src.posterior.figure_free_runs import free_runs_figure
from src.posterior.free_runs import FreeRuns, check_size, describe_runs, over_draws, run_draws
from src.utils.exceptions import InputError
from src.utils.files import load_arrays
from src.utils.settings import run_script
from tests.fake_posterior import fake_posterior, save_fake

needs_numba = pytest.mark.skipif(not has_numba(), reason="numba is not installed")


def taking_turns(halves, names=("E1", "E2", "I")):
    """Free runs of 10 s in which E1 and E2 take turns so many times; the inhibitory rate is 10 Hz plus the number."""
    model = Model(np.full(3, 100.0), np.full(3, 100.0), np.ones((3, 3)), names=names)
    activity = np.zeros((len(halves), 3, 2500), np.float32)
    for k, turns in enumerate(halves):
        first = (np.arange(2500) * (turns + 1) // 2500) % 2 == 0
        activity[k, 0], activity[k, 1], activity[k, 2] = np.where(first, 20, 5), np.where(first, 5, 20), 10 + k
    return FreeRuns(np.arange(len(halves)) + 50, model, activity * model.dt, np.zeros((len(halves), 3, 2500, 0), bool))


def test_rates_and_switches_over_the_draws():
    runs = taking_turns([1, 0, 3])
    np.testing.assert_allclose(runs.switches, [10, 0, 30])
    np.testing.assert_allclose(runs.rates[:, 2], [10, 11, 12], rtol=1e-6)
    assert runs.examples() == [1, 0, 2] and runs.examples(2) == [1, 2]
    said = describe_runs(runs, of=300)
    assert "3 of 300 draws, 10 s each" in said and "I 11 [10, 12]" in said
    assert "switches in 100 s: 10 [1, 28]; winner 19.9 [" in said and "; 1 of the 3 never switch" in said


def test_without_two_that_compete_there_are_no_switches():
    runs = taking_turns([0, 0], names=("E", "I1", "I2"))
    assert runs.switching == [] and runs.switches.shape == (0,) and runs.examples(1) == [0]
    assert "switches" not in describe_runs(runs, of=2)
    assert len(free_runs_figure(runs).axes) == 3


def test_what_is_unknown_is_left_out():
    assert str(over_draws([np.nan, 1.0, 3.0])) == "2 [1.1, 2.9]"
    assert str(over_draws([np.nan])) == "-"


def test_too_much_for_the_memory():
    check_size(20, 3, np.zeros((3, 25000)))
    with pytest.raises(InputError, match="draws, length: expected at most 2e.08 numbers .* got 2000 draws with 25000"):
        check_size(2000, 3, np.zeros((3, 25000)))


@needs_numba
def test_every_draw_has_its_parameters_its_noise_and_the_input():
    posterior = fake_posterior()
    pulse = np.zeros((3, 250))
    pulse[0, 125:] = -1000.0
    runs = run_draws(posterior, np.array([2, 7]), posterior.model, pulse, 5, n_observed=2)
    assert runs.activity.shape == (2, 3, 250) and runs.spikes.shape == (2, 3, 250, 2)
    assert not np.array_equal(runs.activity[0], runs.activity[1])
    assert runs.activity[:, 0, 130:].max() == 0 < runs.activity[:, 0, :120].mean()  # nobody fires against this input
    alone = run_draws(posterior, np.array([7]), posterior.model, pulse, 5, n_observed=2)
    np.testing.assert_array_equal(alone.activity[0], runs.activity[1])
    other = replace(posterior, X=posterior.X * 1.2)
    assert not np.array_equal(run_draws(other, np.array([7]), posterior.model, pulse, 5).activity[0], alone.activity[0])
    normal = run_draws(posterior, np.array([7]), posterior.model, pulse, 5, n_observed=2, noise="gaussian")
    assert not np.array_equal(normal.activity, alone.activity)  # the scheme's noise is binomial


def test_without_numba_tensorflow_simulates_and_the_user_is_told(tmp_path, monkeypatch, capsys):
    posterior, calls = save_fake(tmp_path), []

    def simulate(parameters, model, n_bins, seed, **options):
        calls.append(SimpleNamespace(parameters=parameters, n_bins=n_bins, seed=seed, **options))
        return np.full((3, n_bins), 0.04), np.zeros((3, n_bins, options["n_observed"]), np.uint8)

    for module in (free_runs, script):
        monkeypatch.setattr(module, "has_numba", lambda: False)
    monkeypatch.setitem(sys.modules, "src.LIFmesoCell", SimpleNamespace(simulate=simulate))
    argv = ["--folder", str(tmp_path), "--posterior", "--draws", "2", "--length", "1", "--seed", "3"]
    assert script.main(argv) == 0
    assert "numba is not installed" in capsys.readouterr().out
    saved = load_arrays(tmp_path / "simulation_posterior")
    assert [call.n_bins for call in calls] == [250, 250] and calls[0].seed != calls[1].seed
    for call, draw, X in zip(calls, saved["draws"], saved["X"], strict=True):
        np.testing.assert_array_equal(call.parameters.flat(), posterior.parameters(draw).flat())
        np.testing.assert_array_equal(X, posterior.draws[draw])
        np.testing.assert_array_equal(call.initial_rate, [18, 6, 25])


@needs_numba
def test_the_command(tmp_path, capsys):
    save_fake(tmp_path)
    argv = "--posterior --draws 3 --length 2 --dt 0.002 --input pulses --pulses E1:100@1+0.1".split()
    for output in ("a", "b"):
        assert script.main([*argv, "--folder", str(tmp_path), "--output", str(tmp_path / output)]) == 0
    said = capsys.readouterr().out
    assert "3 of 12 draws, 2 s each" in said and "mean rates (Hz): E1 " in said and "switches in 100 s: " in said
    first, again = (load_arrays(tmp_path / output / "simulation_posterior") for output in "ab")
    assert first["activity"].shape == (3, 3, 1000) and first["spikes"].shape == (3, 3, 1000, 3)
    np.testing.assert_array_equal(first["activity"], again["activity"])
    np.testing.assert_array_equal(np.flatnonzero(first["external_input"][0]), np.arange(500, 550))
    assert first["dt"] == 0.002 and len(first["rates"]) == len(first["switches"]) == 3
    assert (tmp_path / "a" / "simulation_posterior.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "simulation_posterior").exists()
    script.main([*argv, "--folder", str(tmp_path), "--seed", "9"])
    assert not np.array_equal(load_arrays(tmp_path / "simulation_posterior")["activity"], first["activity"])


BAD_INPUT = {
    "no posterior": ("--folder empty", 2, "empty: expected a posterior, found no posterior.json"),
    "how to make one": ("--folder empty", 2, "python -m src.posterior"),
    "a run": ("--run train1", 2, "--run: expected none with --posterior"),
    "no draws": ("--draws 0", 2, "--draws: expected at least 1, got 0"),
    "less than a bin": ("--length 0.001", 2, "--length: expected at least one bin of 0.004 s"),
    "too much": ("--length 3600 --n_observed 100", 2, "--draws, --length: expected at most 2e+08 numbers"),
    "pulse to nobody": ("--pulses E9:1@1+1", 2, "pulses: expected a population out of E1, E2, I"),
    "file for a folder": ("--output a_file", 1, "a_file"),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, what):
    argv, status, words = BAD_INPUT[what]
    monkeypatch.chdir(tmp_path)
    save_fake(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a_file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as left:
        run_script(lambda: script.main(["--folder", ".", "--posterior", *argv.split()]), "script")
    said = capsys.readouterr().err
    assert left.value.code == status and words in said and said.count("\n") == 1, said
    assert sorted(tmp_path.rglob("*")) == before
