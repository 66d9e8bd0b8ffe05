"""The script that lets the best run go freely: which run, which arguments, what is written, and what it refuses."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import simulate_with_trainedparams as script
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.free_parameters import FreeParameters
from src.runs.load import load_run
from src.utils.files import load_arrays, save_arrays
from src.utils.quiet import import_quietly
from src.utils.settings import run_script
from tests.fake_runs import A, T, edit, four_populations, make_run, three_populations

DT = 0.004


@pytest.fixture
def calls(monkeypatch):
    """Put a stand-in in the place of the simulation; its calls are kept."""
    kept = []

    def simulate(parameters, model, n_bins, seed, **options):
        kept.append(SimpleNamespace(parameters=parameters, model=model, n_bins=n_bins, seed=seed, **options))
        rate = np.full((model.n_populations, n_bins), 10.0)
        half = n_bins // 2
        rate[0, :half] = rate[1, half:] = 30.0
        return rate * model.dt, np.zeros((*rate.shape, options["n_observed"]), np.uint8)

    monkeypatch.setitem(sys.modules, "src.LIFmesoCell", SimpleNamespace(simulate=simulate))
    return kept


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The default folder of results in an empty working folder, with three finished runs, the second the best."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "result" / "3pop example" / "data11"
    for i, loss in ((1, -2.80), (2, -2.85), (3, -2.75)):
        make_run(folder / f"train{i}", loss=loss, seed=i)
    return folder


def test_the_best_run_is_simulated_and_saved(folder, calls, capsys):
    assert script.main([]) == 0
    (call,) = calls
    best = load_run(folder / "train2")
    np.testing.assert_array_equal(call.parameters.flat(), best.parameters.flat())
    assert (call.n_bins, call.seed, call.n_observed, call.noise) == (25000, 0, 3, None)
    assert call.external_input.shape == (3, 25000) and not call.external_input.any()
    spikes = load_arrays(folder / "train2" / "init_param")["observed_spikes"]
    np.testing.assert_allclose(call.initial_rate, spikes[0, :, :A].mean(axis=(1, 2)) / DT, rtol=1e-12)
    saved = load_arrays(folder / "simulation")
    assert saved["activity"].shape == (3, 25000) and saved["spikes"].shape == (3, 25000, 3)
    assert saved["names"].tolist() == ["E1", "E2", "I"] and saved["run"] == "train2" and saved["dt"] == DT
    np.testing.assert_array_equal(saved["X"], best.X)
    assert json.loads(str(saved["settings"]))["length"] == 100.0
    assert (folder / "simulation.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "3 finished runs" in said and "train2: loss -2.8500" in said and "membrane_rate E1" in said
    assert "mean rates (Hz): E1 20.0, E2 20.0, I 10.0" in said
    assert "switches: 1 in 100 s (0 to E1, 1 to E2); winner 30.0 Hz, loser 10.0 Hz" in said
    assert "switches in 100 s: 1 [0.025, 5.6] [95 % confidence]" in said


def test_options(folder, calls, tmp_path):
    argv = "--run train3 --length 2 --seed 7 --dt 0.002 --noise binomial --n_observed 1 --output elsewhere/here"
    assert script.main([*argv.split(), "--input", "pulses", "--pulses", "E1:30@1+0.5"]) == 0
    (call,) = calls
    assert (call.n_bins, call.seed, call.n_observed, call.noise) == (1000, 7, 1, "binomial")
    assert (call.model.dt, call.model.window_bins, call.model.refractory_bins) == (0.002, 2 * A, 2)
    expected = np.zeros((3, 1000))
    expected[0, 500:750] = 30.0
    np.testing.assert_array_equal(call.external_input, expected)
    np.testing.assert_array_equal(load_arrays("elsewhere/here/simulation")["external_input"], expected)
    assert not (folder / "simulation").exists()
    np.testing.assert_array_equal(call.parameters.flat(), load_run(folder / "train3").parameters.flat())


@pytest.mark.parametrize("kind", ["ou", "random"])
def test_random_input_follows_the_seed(folder, calls, kind):
    for seed in ("1", "1", "2"):
        script.main(["--input", kind, "--length", "4", "--mean", "5", "--sigma", "20", "--seed", seed])
    first, again, other = (call.external_input for call in calls)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first[0])) > 3 and not np.array_equal(first[0], first[1])


def drive(run, value):
    """Give a run an input that the fit knew: a ramp to E2."""
    arrays = load_arrays(run / "init_param")
    arrays["I_ext"][0, 1] = value * np.arange(T)
    save_arrays(run / "init_param", **arrays)


def test_the_input_of_the_recording_again_and_again(folder, calls, capsys):
    drive(folder / "train2", 0.5)
    script.main(["--length", "4"])
    assert "the fit knew an input, and this simulation has none; see --input recording" in capsys.readouterr().out
    script.main(["--length", "4", "--input", "recording", "--pulses", "I:7@1+0.5"])
    assert "the input of the recording lasts 1.6 s, and is given again and again" in capsys.readouterr().out
    script.main(["--length", "1.6", "--input", "recording", "--dt", "0.002"])
    assert "again and again" not in capsys.readouterr().out
    none, repeated, finer = (call.external_input for call in calls)
    assert not none.any()
    ramp = 0.5 * np.arange(T)
    np.testing.assert_allclose(repeated[1], np.concatenate([ramp, ramp, ramp[:200]]), atol=1e-9)
    assert not repeated[0].any() and np.flatnonzero(repeated[2]).tolist() == list(range(250, 375))
    np.testing.assert_allclose(finer[1], np.repeat(ramp, 2), atol=1e-9)


def test_a_circuit_with_gains_is_driven_as_the_recording_was(folder, calls, capsys, tmp_path):
    model = three_populations()[0]
    free = model.fitted
    matrix = np.zeros((13, 21))
    matrix[:12, :18], matrix[12, 18:] = free.matrix, 1
    shared = FreeParameters((*free.names, "input_gain shared"), ("",) * 13, np.zeros(21), matrix)
    gained = replace(model, free=shared), replace(reference_parameters(), input_gain=np.full(3, 2.0))
    run = make_run(tmp_path / "driven" / "train1", circuit=gained)
    drive(run, 1.0)
    script.main(["--folder", str(tmp_path / "driven"), "--length", "1.6"])
    (call,) = calls
    assert call.parameters.input_gain is not None and "input_gain shared" in capsys.readouterr().out
    np.testing.assert_allclose(call.external_input[1], np.arange(T), atol=1e-9)


def test_bins_that_do_not_divide_the_refractory_time_are_told(folder, calls, capsys):
    script.main(["--dt", "0.003", "--length", "1"])
    assert "in bins of 0.003 s the refractory time is 0.003 s" in capsys.readouterr().out
    script.main(["--dt", "0.001", "--length", "1"])
    assert "refractory time is" not in capsys.readouterr().out
    assert [call.model.refractory_bins for call in calls] == [1, 4]


def test_bins_keep_window_and_delay():
    model = winner_take_all()
    assert script.on_bins(model, None) is model
    finer = script.on_bins(script.replace(model, delay_bins=2), 0.001)
    assert (finer.window_bins, finer.delay_bins, finer.refractory_bins, finer.dt) == (1000, 8, 4, 0.001)


def test_unfinished_and_broken_runs_do_not_matter(folder, calls, capsys):
    edit(folder / "train2", status="running")
    (folder / "train3" / "run.json").write_text("{")
    assert script.main(["--length", "1"]) == 0
    said = capsys.readouterr().out
    assert said.count("skipped: ") == 2 and "train1: loss -2.8000" in said


@pytest.mark.parametrize("name", ["train1", "data11/train1"])
def test_the_last_part_of_a_name_is_enough(folder, calls, name):
    assert script.main(["--folder", str(folder.parent), "--run", name, "--length", "1"]) == 0
    np.testing.assert_array_equal(calls[0].parameters.flat(), load_run(folder / "train1").parameters.flat())


def test_the_last_part_of_two_names_is_not(folder, calls, capsys):
    make_run(folder.parent / "data5" / "train1")
    with pytest.raises(script.InputError, match="--run: expected one of data5/train1, data11/train1, .*, got 'train1'"):
        script.main(["--folder", str(folder.parent), "--run", "train1"])
    edit(folder / "train1", status="failed")  # which leaves one
    assert script.main(["--folder", str(folder.parent), "--run", "train1", "--length", "1"]) == 0


def test_one_run_is_no_runs(folder, calls, capsys):
    edit(folder / "train1", status="running")
    edit(folder / "train3", status="running")
    script.main(["--length", "1"])
    assert "\n1 finished run in " in capsys.readouterr().out


def test_other_circuits(tmp_path, calls, capsys):
    make_run(tmp_path / "only", circuit=four_populations(), known=False)
    assert script.main(["--folder", str(tmp_path), "--length", "2"]) == 0
    assert calls[0].model.names == ("I1", "E1", "E2", "I2")
    assert "I1 20.0, E1 20.0, E2 10.0, I2 10.0" in capsys.readouterr().out


def nothing(folder):
    pass


def no_runs(folder):
    for path in folder.glob("train*/run.json"):
        path.unlink()


def unfinished(folder):
    for path in folder.glob("train*"):
        edit(path, status="interrupted", ended="Ctrl-C")


def no_start(folder):
    (folder / "train2" / "init_param").write_bytes(b"PK")


def odd_start(folder):
    save_arrays(folder / "train2" / "init_param", observed_spikes=np.zeros((3, 9)), I_ext=np.zeros((3, 9)))


def one_unfinished(folder):
    edit(folder / "train3", status="running")


BAD_INPUT = {
    "no folder": (nothing, "--end_timepoint 12", 2, "data12: expected a folder of trainings, found nothing"),
    "no folder either": (nothing, "--SAVE_DIR nowhere", 2, "nowhere/data11: expected a folder of trainings"),
    "no such folder": (nothing, "--folder elsewhere", 2, "elsewhere: expected a folder of trainings, found nothing"),
    "no run": (no_runs, "", 2, "expected at least one finished training, found none (no run.json in it)"),
    "no finished run": (unfinished, "", 2, "found none; skipped"),
    "no such run": (nothing, "--run train9", 2, "--run: expected one of train1, train2, train3, got 'train9'"),
    "unfinished run": (one_unfinished, "--run train3", 2, "data11/train3: not finished: running"),
    "unfinished run, higher up": (one_unfinished, "--folder result --run train3", 2, "train3: not finished: running"),
    "broken start": (no_start, "", 2, "init_param: expected a whole NumPy archive"),
    "odd start": (odd_start, "", 2, "observed_spikes: expected (trials, 3, more than 40, neurons), got (3, 9)"),
    "no length": (nothing, "--length 0", 2, "--length: expected above 0 s, got 0"),
    "endless": (nothing, "--length 1e9", 2, "--length: expected at most 3600 s"),
    "less than a bin": (nothing, "--length 0.001", 2, "--length: expected at least one bin of 0.004 s"),
    "negative seed": (nothing, "--seed -1", 2, "--seed: expected at least 0, got -1"),
    "fraction of a seed": (nothing, "--seed 1.5", 2, "argument --seed: invalid int value: '1.5'"),
    "broad bins": (nothing, "--dt 0.5", 2, "--dt: expected at most 0.02 s, got 0.5"),
    "other noise": (nothing, "--noise pink", 2, "argument --noise: invalid choice: 'pink'"),
    "negative number": (nothing, "--n_observed -1", 2, "--n_observed: expected at least 0, got -1"),
    "other input": (nothing, "--input sine", 2, "argument --input: invalid choice: 'sine'"),
    "no input": (nothing, "--input recording", 2, "--input: expected a recording with a known input, got one without"),
    "pulses missing": (nothing, "--input pulses", 2, "pulses: expected at least one"),
    "odd pulse": (nothing, "--pulses E1:3", 2, "pulses: expected population:amplitude@onset+duration"),
    "pulse to nobody": (nothing, "--pulses E9:1@1+1", 2, "pulses: expected a population out of E1, E2, I"),
    "pulse after the end": (nothing, "--pulses E1:1@200+1", 2, "pulses: expected an onset before the end at 100 s"),
    "negative sigma": (nothing, "--input ou --sigma -1", 2, "--sigma: expected at least 0 1/s, got -1"),
    "infinite mean": (nothing, "--input ou --mean inf", 2, "--mean: expected a finite number, got inf"),
    "much modulation": (nothing, "--input ou --modulation 2", 2, "--modulation: expected at most 1, got 2"),
    "unknown option": (nothing, "--lenght 3", 2, "unrecognized arguments: --lenght 3"),
    "file for a folder": (nothing, "--output a_file", 1, "a_file"),
    "below a file": (nothing, "--output a_file/deeper", 1, "a_file"),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_is_one_line_and_writes_nothing(folder, calls, capsys, what):
    spoil, argv, status, words = BAD_INPUT[what]
    spoil(folder)
    Path("a_file").write_text("")
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as left:
        run_script(lambda: script.main(argv.split()), "simulate_with_trainedparams.py")
    said = capsys.readouterr().err
    assert left.value.code == status
    assert words in said, said
    assert said.count("\n") == 1 and "Traceback" not in said
    assert sorted(Path().rglob("*")) == before and not calls


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_told_before_the_simulation(folder, calls, capsys):
    folder.chmod(0o555)
    with pytest.raises(SystemExit) as left:
        run_script(lambda: script.main([]), "simulate_with_trainedparams.py")
    folder.chmod(0o755)
    assert left.value.code == 1 and "Permission denied" in capsys.readouterr().err and not calls


def test_what_happens_with_the_true_simulation(folder, capfd):
    """The same seed gives the same arrays, and TensorFlow says nothing about the machine."""
    for output in ("a", "b"):
        assert script.main(["--length", "1", "--output", output]) == 0
    first, again = load_arrays("a/simulation"), load_arrays("b/simulation")
    for key in ("activity", "spikes"):
        np.testing.assert_array_equal(first[key], again[key])
    assert first["activity"].shape == (3, 250) and np.isfinite(first["activity"]).all()
    assert (first["activity"] >= 0).all() and first["activity"].mean() > 0
    assert first["spikes"].shape == (3, 250, 3) and set(np.unique(first["spikes"])) <= {0, 1}
    assert "oneDNN" not in capfd.readouterr().err


def test_mistakes_are_told_without_starting_tensorflow(tmp_path):
    code = (
        "import sys, simulate_with_trainedparams as script\n"
        "try: script.main(['--folder', 'nowhere'])\n"
        "except ValueError: sys.exit('tensorflow' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": "."}).returncode == 0


def test_what_a_failing_import_says_is_shown(tmp_path, monkeypatch, capfd):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "talks.py").write_text("import os\nos.write(2, b'about the machine')\nspeech = 1\n")
    (tmp_path / "fails.py").write_text("import os\nos.write(2, b'what is wrong')\nraise RuntimeError('no')\n")
    assert import_quietly("talks").speech == 1
    assert capfd.readouterr().err == ""
    with pytest.raises(RuntimeError, match="no"):
        import_quietly("fails")
    assert capfd.readouterr().err == "what is wrong"
