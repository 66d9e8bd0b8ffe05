"""What a training leaves behind, however it ends: files, record, the same numbers for the same seed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest

import simulate_with_trainedparams
import train_meso
from src.fast_np import fast_lossM
from src.helper import from_X, init_model, names_of_X
from src.inference.em import Fit, FitObserver
from src.model.circuit_file import fitted_circuit
from src.model.containers import Model
from src.report import summary
from src.runs.findings import in_words, short_windows
from src.runs.folder import RunFolder
from src.runs.load import Training, recording_of
from src.runs.log import RunLog
from src.runs.record import RunRecord
from src.utils.exceptions import FitError
from src.utils.files import load_arrays, load_json
from src.utils.lock import LOCK
from src.utils.settings import run_script
from tests.recordings import raster, write_csv, write_intervals
from tests.training import MODEL, ROOT, SETTINGS, X_REF, A, argv, load, load_start


@pytest.fixture(scope="module")
def recording():
    return load()


@pytest.fixture(scope="module")
def start(recording):
    return load_start(recording)


# --- whole trainings --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished training, and the folder above it."""
    save_dir = tmp_path_factory.mktemp("trained")
    train_meso.main(argv(save_dir, LOG_PER=2))
    return save_dir / "data0.6/train4", save_dir


def results(path):
    """Return the numbers of every archive in a folder."""
    names = [name.name for name in path.iterdir() if name.suffix not in (".png", ".json")]
    return {name: load_arrays(path / name) for name in names}


def assert_identical(one, other):
    assert one.keys() == other.keys()
    for name, arrays in one.items():
        assert arrays.keys() == other[name].keys()
        for key in arrays:
            np.testing.assert_array_equal(arrays[key], other[name][key], err_msg=f"{name} {key}")


def test_files_and_their_keys(trained, recording, start):
    path, _ = trained
    files = results(path)
    keys = {name: set(arrays) for name, arrays in files.items()}
    named = {"amem", "J", "rp", "ft"}
    E, M = {"Z_hist_est", "loss_last", "loss_y", "loss_Z"}, {"X", "loss_last", "n_iterations"} | named
    assert keys == {
        "init_param": {"X", "Z_hist_est", "observed_spikes", "I_ext", "Z_true"} | named,
        "E0_est_param": E,
        "E1_est_param": E,
        "Eloss": {"EMstep", "loss_y", "loss_Z"},
        "minimizor_result_0": M,
        "minimizor_result_1": M,
    }
    begin = files["init_param"]
    np.testing.assert_array_equal(begin["X"], start[0])
    np.testing.assert_array_equal(begin["Z_hist_est"], start[1])
    np.testing.assert_array_equal(files["E0_est_param"]["Z_hist_est"], start[1])
    np.testing.assert_array_equal(begin["observed_spikes"], recording.observed_spikes)
    np.testing.assert_array_equal(begin["Z_true"], recording.true_activity)
    assert begin["I_ext"].shape == (1, 3, 125)
    for name in ("init_param", "minimizor_result_0", "minimizor_result_1"):
        parameters = from_X(files[name]["X"], MODEL)
        for key, value in zip(("amem", "J", "rp", "ft"), parameters.parts().values(), strict=True):
            np.testing.assert_array_equal(files[name][key], value)
        assert (files[name]["X"] >= 0.4 * X_REF).all() and (files[name]["X"] <= 2 * X_REF).all()
    estimate = files["E1_est_param"]
    assert estimate["Z_hist_est"].min() >= np.float32(1e-5) and estimate["Z_hist_est"].max() <= 1
    np.testing.assert_array_equal(estimate["Z_hist_est"][..., :A], start[1][..., :A])
    assert estimate["loss_last"] == pytest.approx(estimate["loss_y"] + estimate["loss_Z"], rel=1e-12)
    for k in (0, 1):
        M_step = files[f"minimizor_result_{k}"]
        loss = fast_lossM(M_step["X"], files[f"E{k}_est_param"]["Z_hist_est"][..., A:], recording, MODEL)[0]
        assert M_step["loss_last"] == pytest.approx(loss, rel=1e-10)
    # The losses of the estimate are those at the parameters of the M-step before.
    expected = fast_lossM(files["minimizor_result_0"]["X"], estimate["Z_hist_est"][..., A:], recording, MODEL)[0]
    assert estimate["loss_last"] == pytest.approx(expected, rel=1e-4)
    pictures = {name.name for name in path.glob("*.png")}
    assert {"E_0_0.png", "E_1_2.png", "E_1_4.png", "Eloss.png"} <= pictures
    for name in pictures:
        assert matplotlib.image.imread(path / name).ndim == 3
    assert not list(path.glob(".*"))


def test_losses_of_every_step_of_the_E_steps(trained):
    path, _ = trained
    found, history = load_arrays(path / "Eloss"), load_json(path / "run.json")["history"]
    taken = {step["EMstep"]: step["E_steps"] for step in history[1:]}
    for EMstep, steps in taken.items():
        assert (found["EMstep"] == EMstep).sum() == steps + 1  # and the start
    assert set(found["EMstep"]) == {*taken, 2}  # E-step 2 brought nothing new, and so no M-step
    assert found["EMstep"].shape == found["loss_y"].shape == found["loss_Z"].shape
    M_loss = load_arrays(path / "minimizor_result_0")["loss_last"]
    assert found["loss_y"][0] + found["loss_Z"][0] == pytest.approx(M_loss, rel=1e-4)
    estimate = load_arrays(path / "E1_est_param")
    at = np.flatnonzero(found["loss_y"] == estimate["loss_y"])
    assert found["EMstep"][at].tolist() == [1] and found["loss_Z"][at] == estimate["loss_Z"]


def test_a_log_alone_prints_and_writes_nothing(recording, start, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log = RunLog(recording, MODEL, SETTINGS)
    log.start(*start)
    log.M_step(0, start[0], 1.0, 5)
    log.E_log(1, 0, (1.0, 2.0), start[1][..., A:])
    log.finish(Fit(start[0], 1.0, start[1], "enough"))
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())
    assert (log.record.status, log.record.ended, log.record.loss) == ("finished", "enough", 1.0)


def test_an_observer_that_does_nothing_changes_nothing(trained, recording):
    fit = train_meso.train(recording, MODEL, SETTINGS, FitObserver())
    np.testing.assert_array_equal(fit.X, load_json(trained[0] / "run.json")["X"])


def test_the_record(trained, start):
    path, save_dir = trained
    record = json.loads((path / "run.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert record["status"] == "finished" and record["ended"] == "E-step 2 brought nothing new"
    assert record["seed"] == 4 and 0 < record["seconds"] < 600
    expected = vars(fitted_circuit(replace(SETTINGS, LOG_PER=2, SAVE_DIR=str(save_dir)))[0])
    assert (expected["dt"], expected["scheme"], expected["likelihood"]) == (0.004, "published", "gaussian")
    assert record["settings"] == expected
    assert record["versions"].keys() == {"python", "machine", "numpy", "scipy", "tensorflow", "keras"}
    assert record["model"] == MODEL.as_dict()
    restored = Model.from_dict(record["model"])
    assert restored.scheme is MODEL.scheme and restored.names == MODEL.names
    np.testing.assert_array_equal(restored.connectivity, MODEL.connectivity)
    assert record["parameter_names"] == names_of_X(MODEL)
    assert record["start"] == start[0].tolist()
    last = load_arrays(path / record["parameters_file"])
    assert record["parameters_file"] == "minimizor_result_1" and record["activity_file"] == "E1_est_param"
    assert record["X"] == last["X"].tolist() and record["loss"] == last["loss_last"]
    for key, expected in (("true", X_REF), ("lower", 0.4 * X_REF), ("upper", 2.0 * X_REF)):
        np.testing.assert_allclose(record[key], expected, rtol=1e-12)
    assert record["correlation"].keys() == {"start", "fit", "start_20ms", "fit_20ms"}
    assert all(len(value) == 3 and all(abs(r) <= 1 for r in value) for value in record["correlation"].values())
    estimate = load_arrays(path / "E1_est_param")["Z_hist_est"][..., A:]
    r = [np.corrcoef(*pair)[0, 1] for pair in zip(estimate[0], load().true_activity[0], strict=True)]
    np.testing.assert_allclose(record["correlation"]["fit"], r, rtol=1e-9)
    steps = record["history"]
    keys = {"EMstep", "M_iterations", "loss_M", "E_steps", "loss_y", "loss_Z", "ln_p", "seconds"}
    assert [step["EMstep"] for step in steps] == [0, 1] and all(step.keys() == keys for step in steps)
    assert steps[0]["E_steps"] == 0 and steps[0]["loss_y"] is None
    assert 1 <= steps[1]["E_steps"] <= 10 and steps[1]["loss_M"] < steps[0]["loss_M"]


def test_a_finished_training_is_refused_and_then_replaced_by_the_same(trained, capsys):
    """Also: the same seed gives the same numbers, to the last bit, and so does another number of threads."""
    path, save_dir = trained
    before = {name: (name.read_bytes(), name.stat().st_mtime_ns) for name in path.iterdir()}
    with pytest.raises(SystemExit, match="2"):
        run_script(lambda: train_meso.main(argv(save_dir)), "train_meso.py")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "holds a finished training; give --overwrite" in said
    assert before == {name: (name.read_bytes(), name.stat().st_mtime_ns) for name in path.iterdir()}

    numbers = results(path)
    (path / "E_9_9.png").touch()
    (path / "minimizor_result_9").touch()
    (path / ".E1_est_param.abc.part").touch()
    (path / "notes.txt").write_text("mine")
    train_meso.main(argv(save_dir, LOG_PER=100, overwrite=True))
    assert (path / "notes.txt").read_text() == "mine"
    (path / "notes.txt").unlink()
    names = {name.name for name in path.iterdir()}
    assert not {"E_9_9.png", "minimizor_result_9", ".E1_est_param.abc.part", "E_1_4.png"} & names
    assert_identical(results(path), numbers)
    said = capsys.readouterr().out
    assert "membrane_rate E1" in said and "E-step 2 brought nothing new" in said


def test_the_result_does_not_depend_on_threads(trained, tmp_path):
    command = [sys.executable, ROOT / "train_meso.py", *argv(tmp_path, threads=2)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Traceback" not in run.stderr
    assert_identical(results(tmp_path / "data0.6/train4"), results(trained[0]))


def test_another_seed_gives_another_start(recording, start):
    X, activity = init_model(recording, MODEL, np.random.default_rng(np.random.SeedSequence(5)))
    assert not np.isclose(X, start[0]).any()
    np.testing.assert_array_equal(activity, start[1])


def test_several_trials(tmp_path):
    train_meso.main(argv(tmp_path, trial_length=0.1, t_perbatch=0.3, max_EMsteps=2, with_input=True, E_LR=1e-4))
    files = results(tmp_path / "data0.6/train4")
    assert files["init_param"]["Z_hist_est"].shape == (5, 3, 50)
    assert load_json(tmp_path / "data0.6/train4/run.json")["status"] == "finished"


def test_a_recording_without_truth_from_trials_of_any_length_to_the_figures(tmp_path, capsys):
    """One population has no recorded unit, and no one knows what is true."""
    write_csv(tmp_path / "my.csv", raster())
    (tmp_path / "my.csv").write_text((tmp_path / "my.csv").read_text().replace(",I", ",?"))
    write_intervals(tmp_path / "go.csv")
    data = {"data": tmp_path / "my.csv", "trials": tmp_path / "go.csv", "burn_in": 0.02, "end_timepoint": 1.2}
    short = {"a_cutoff": 0.04, "max_EMsteps": 2, "Mmaxiters": 5, "Emaxiters": 5, "E_LR": 1e-4}
    train_meso.main(argv(tmp_path, **data, **short))
    said, folder = capsys.readouterr().out, tmp_path / "my_1.2s"
    assert "E1 2 of 400" in said and "I none of 200 neurons" in said and "'?' is no population" in said
    begin, record = load_arrays(folder / "train4/init_param"), load_json(folder / "train4/run.json")
    assert begin["judged"].sum(axis=1).tolist() == [47, 70, 45] and "Z_true" not in begin
    assert begin["recorded"].tolist() == [[True, True], [True, True], [False, False]]
    assert record["status"] == "finished" and record["true"] is None and record["correlation"] is None
    assert len(record["history"]) == 2
    assert summary.main([str(folder), "--figures", str(tmp_path / "fig")]) == 0
    simulate_with_trainedparams.main(["--folder", str(folder), "--length", "0.2"])
    said = capsys.readouterr().out
    assert "true" not in said and "r(E1)" not in said
    assert sorted(path.name for path in folder.glob("*.png")) == ["simulation.png", "summary.png"]


def test_names_of_units_are_written_and_read_back(tmp_path, recording, start):
    names, recorded = np.array([["17", "unit 3", ""], ["é,1", "4", "5"], ["6", "", ""]]), np.ones((3, 3), bool)
    recorded[0, 2] = recorded[2, 1:] = False
    for folder, known in ((tmp_path / "named", names), (tmp_path / "nameless", None)):
        given = replace(recording, recorded=recorded, unit_names=known)
        with RunFolder(folder, given, MODEL, SETTINGS) as run:
            run.start(*start)
        found = recording_of(Training(folder, "train", MODEL, RunRecord.load(folder)))
        assert (found.unit_names is None) if known is None else (found.unit_names.tolist() == names.tolist())
        np.testing.assert_array_equal(found.recorded, recorded)


# --- trainings that do not finish -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code", "words"),
    [
        (KeyboardInterrupt(), "interrupted", 130, "interrupted"),
        (FitError("E-step 1, step 1: no"), "failed", 1, "E-step 1, step 1: no"),
        (MemoryError(), "failed", 1, "not enough memory"),
    ],
)
def test_how_it_ended_is_written_down(tmp_path, monkeypatch, capsys, error, status, code, words):
    def E_loss(*_):
        raise error

    monkeypatch.setattr(train_meso, "E_loss", E_loss)
    with pytest.raises(SystemExit) as end:
        run_script(lambda: train_meso.main(argv(tmp_path)), "train_meso.py")
    assert end.value.code == code
    said = capsys.readouterr().err.splitlines()
    assert words in said[-1] and "Traceback" not in said
    record = load_json(tmp_path / "data0.6/train4/run.json")
    assert record["status"] == status and record["ended"]
    assert record["ended"] in ("by the user", "MemoryError", words)
    assert len(record["history"]) == 1 and record["loss"] == record["history"][0]["loss_M"]
    assert record["parameters_file"] == "minimizor_result_0"
    monkeypatch.undo()
    train_meso.main(argv(tmp_path, max_EMsteps=1))  # a rerun needs no --overwrite
    assert load_json(tmp_path / "data0.6/train4/run.json")["status"] == "finished"


# Trains on losses that always fall, with M-steps that do nothing, so that files are written all the time and for ever.
FAST = """
import sys; sys.path.insert(0, {root!r})
import numpy as np, tensorflow as tf, train_meso; from scipy.optimize import OptimizeResult
falling = iter(range(0, -10**9, -1))
train_meso.E_loss = lambda n, *_: (np.full(2, float(next(falling))), tf.ones_like(n))
train_meso.scipy_Mstep = lambda X, *_: OptimizeResult(x=X, fun=0.0, nit=9)
train_meso.main(sys.argv[1:])
"""


@pytest.mark.slow  # benchmarks.resume and benchmarks.many_fits kill more
def test_a_killed_training_leaves_only_whole_files(tmp_path):
    rng = np.random.default_rng()
    path = tmp_path / "data0.6/train4"
    options = argv(tmp_path, Emaxiters=3, LOG_PER=1, max_EMsteps=10**6)
    left = []
    for delay in rng.uniform(0, 2, 3):
        command = [sys.executable, "-c", FAST.format(root=str(ROOT)), *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            before = path.stat().st_mtime_ns if path.exists() else None
            try:
                while not path.exists() or path.stat().st_mtime_ns == before:
                    assert child.poll() is None
                    time.sleep(0.01)
                time.sleep(delay)
                assert child.poll() is None
            finally:
                os.kill(child.pid, signal.SIGKILL)
        left += check_whole(path)
    (path / ".E1_est_param.abc.part").touch()
    (path / "Eloss").touch()
    train_meso.main(argv(tmp_path, max_EMsteps=1))  # a run that did not finish needs no --overwrite
    assert not list(path.glob(".*")) and load_json(path / "run.json")["status"] == "finished"
    assert not (path / "Eloss").exists()


def check_whole(path):
    """Read every file; return the names of those that are under way."""
    under_way = [each.name for each in path.iterdir() if each.name.startswith(".") and each.suffix == ".part"]
    for each in path.iterdir():
        if each.name in (LOCK, *under_way):  # a lock is its process's, and that is gone
            continue
        if each.suffix == ".png":
            matplotlib.image.imread(each)
        elif each.suffix == ".json":
            assert load_json(each)["status"] == "running"
        else:
            assert load_arrays(each)
    return under_way


def test_windows_that_are_too_short_are_named():
    X = np.repeat([50.0, 20.0], [1, 11])  # membrane rates of 50, 20 and 20 / s
    model = dataclasses.replace(MODEL, window_bins=40)  # 0.16 s
    said = [in_words(each, each.subject) for each in short_windows(X, model)]
    assert len(said) == 2 and all("0.16 s is short for" in line for line in said)
    assert "E2, which still remembers 4.1%" in said[0]
    assert short_windows(np.full(12, 50.0), model) == []
