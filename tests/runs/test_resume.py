"""Trainings that are killed and go on: to the same numbers, bit for bit, as if they had been left alone."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import src.LIFmesoCell
import train_meso
from benchmarks import resume
from src.inference import innovations
from src.runs import checkpoint, listeners
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, load_json, save_arrays, save_json
from src.utils.settings import run_script
from tests.training import DATASET, ROOT, argv

RUN = "data0.6/train4"
SHORT = {"max_EMsteps": 4, "Emaxiters": 6, "Mmaxiters": 6, "LOG_PER": 4}
OPTIONS = {
    "joint": {**SHORT, "E_LR": 3e-5},
    "innovations": {**SHORT, "e_objective": "innovations", "scheme": "consistent", "E_draws": 2, "max_EMsteps": 3,
                    "trial_length": 0.1, "t_perbatch": 0.3},
}  # fmt: skip
HALF_STEPS = {"joint": 6, "innovations": 5}


@pytest.fixture(scope="module")
def fast():
    """Losses compiled once for all trainings of this file, for they hold no state, and files in place of figures."""
    known = {}

    def once(kind):
        def make(recording, model, precision):
            key = kind, precision, model.scheme, checkpoint.sha256(recording)
            if key not in known:
                known[key] = kind(recording, model, precision)
            return known[key]

        return make

    with pytest.MonkeyPatch.context() as patch:
        for name in ("activity_figure", "loss_figure"):
            patch.setattr(listeners, name, lambda *args, **more: repr((args, more)).encode())
        patch.setattr(listeners, "save_figure", lambda path, content: path.write_bytes(content))
        patch.setattr(innovations, "InnovationLoss", once(innovations.InnovationLoss))
        patch.setattr(src.LIFmesoCell, "MesoLoss", once(src.LIFmesoCell.MesoLoss))
        yield


@pytest.fixture(scope="module")
def alone(fast, tmp_path_factory):
    """Folders of trainings that nobody disturbed, by name; `states` are the checkpoints that they wrote."""
    folders = {}

    def of(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name) / RUN
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(checkpoint, "write", keeps(of.states.setdefault(name, [None]), checkpoint.write))
                train_meso.main(argv(folders[name].parent.parent, **OPTIONS[name]))
        return folders[name]

    of.states = {}
    return of


def keeps(states, write):
    def then(folder, *state):
        write(folder, *state)
        states.append(state_in(folder))

    return then


def state_in(folder):
    """Return the arrays of a checkpoint, as bytes; the record holds times."""
    arrays = load_arrays(folder / checkpoint.CHECKPOINT)
    return {name: (each.dtype, each.tobytes()) for name, each in arrays.items() if name != "record"}


def status_of(arguments):
    with pytest.raises(SystemExit) as end:
        run_script(lambda: train_meso.main(arguments), "train_meso.py")
    return end.value.code


class Killed(BaseException):
    """Ends a training without a chance to tidy up: its record keeps saying that it is running."""


@pytest.fixture
def dies(monkeypatch):
    """Return a function that lets trainings end at the checkpoints given, before or after they are written."""
    write, monkey = checkpoint.write, monkeypatch

    def at(numbers, after=True, error=Killed):
        def until(folder, done, *rest):
            if done in numbers and not after:
                raise error
            write(folder, done, *rest)
            if done in numbers:
                raise error

        monkey.setattr(checkpoint, "write", until)

    return at


# --- the same result ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_a_training_that_ends_at_every_half_step_in_turn(alone, dies, tmp_path, name, capsys):
    expected, folder = alone(name), tmp_path / RUN
    for number in range(1, HALF_STEPS[name] + 1):
        dies({number})
        with pytest.raises(Killed):
            train_meso.main([*argv(tmp_path, **OPTIONS[name]), *["--resume"] * (number > 1)])
        assert state_in(folder) == alone.states[name][number]
        (folder / ".E1_est_param.abc.part").touch()
    assert len(alone.states[name]) == 1 + number
    dies(())
    train_meso.main(argv(tmp_path, **OPTIONS[name], resume=True))
    said = capsys.readouterr().out
    assert "goes on after M-step 0, at" in said and "goes on after E-step 2, at" in said
    assert resume.differences(expected, folder) == []
    assert not list(folder.glob(".*")) and not (folder / checkpoint.CHECKPOINT).exists()
    assert load_json(folder / "run.json")["X"] == load_json(expected / "run.json")["X"]


@pytest.mark.parametrize("name", ["joint", "innovations"])
def test_results_that_are_ahead_of_the_checkpoint_are_made_again(alone, dies, tmp_path, name):
    for number in (1, 2, 3):  # the half-step's results are there, its checkpoint is not
        dies({number}, after=False)
        with pytest.raises(Killed):
            train_meso.main([*argv(tmp_path, **OPTIONS[name]), *["--resume"] * (number > 1)])
        dies(set(), after=False)
        if number == 3:
            train_meso.main(argv(tmp_path, **OPTIONS[name], resume=True))
    assert resume.differences(alone(name), tmp_path / RUN) == []


def test_what_an_early_stop_depends_on_goes_on(fast, dies, tmp_path):
    """E-step 2 finds nothing: that follows from the lowest losses, which E-step 1 left."""
    train_meso.main(argv(tmp_path / "alone"))
    dies({3})
    with pytest.raises(Killed):
        train_meso.main(argv(tmp_path / "killed"))
    dies(())
    train_meso.main(argv(tmp_path / "killed", resume=True))
    record = load_json(tmp_path / "killed" / RUN / "run.json")
    assert record["ended"] == "E-step 2 brought nothing new"
    assert resume.differences(tmp_path / "alone" / RUN, tmp_path / "killed" / RUN) == []


@pytest.mark.parametrize("name", ["joint", "innovations"])
def test_killed_at_a_random_moment(alone, tmp_path, name):
    expected, folder = alone(name), tmp_path / RUN
    delay = np.random.default_rng().uniform(0, 4)
    command = resume.Command(("train_meso.py", *argv(tmp_path, **OPTIONS[name])), RUN, "run.json")
    print(f"{delay:.2f} s:", resume.kill_after(command, tmp_path, delay))
    train_meso.main(argv(tmp_path, **OPTIONS[name], resume=True))
    other = resume.differences(expected, folder)
    assert all(name.endswith(".png") for name in other)  # true figures there, stand-ins here
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in expected.iterdir())


def test_differences_are_seen(alone, tmp_path):
    """A comparison that cannot fail shows nothing."""
    folder = tmp_path / "other"
    shutil.copytree(alone("joint"), folder)
    assert resume.differences(alone("joint"), folder) == []
    arrays = load_arrays(folder / "minimizor_result_1")
    save_arrays(folder / "minimizor_result_1", **arrays | {"X": np.nextafter(arrays["X"], np.inf)})
    record = load_json(folder / "run.json")
    record["history"][0]["M_iterations"] += 1
    save_json(folder / "run.json", record)
    (folder / "Eloss").unlink()
    assert resume.differences(alone("joint"), folder) == ["Eloss", "minimizor_result_1", "run.json"]


# --- what cannot go on ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interrupted(fast, tmp_path_factory):
    """A training that was interrupted after E-step 1."""
    save_dir, write = tmp_path_factory.mktemp("interrupted"), checkpoint.write
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):

        def until(folder, done, *rest):
            write(folder, done, *rest)
            if done == 2:
                raise Killed

        patch.setattr(checkpoint, "write", until)
        train_meso.main(argv(save_dir, **OPTIONS["joint"]))
    return save_dir


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"E_LR": 2e-5}, "--E_LR: expected 3e-05, as when {} began, got 2e-05"),
        ({"max_EMsteps": 5}, "--max_EMsteps: expected 4, as when {} began, got 5"),
        ({"e_objective": "innovations"}, "--e_objective: expected 'joint', as when {} began, got 'innovations'"),
        ({"lb": 0.5}, "--lb: expected None, as when {} began, got 0.5"),
        ({"LOG_PER": 5}, "--LOG_PER: expected 4, as when {} began, got 5"),
        ({"param": "coupling I=15"}, "--param: expected None, as when {} began, got 'coupling I=15'"),
        ({"overwrite": True}, "--resume, --overwrite: expected one of them, got both"),
    ],
)
def test_other_settings_are_named(interrupted, capsys, changes, words):
    assert status_of(argv(interrupted, **{**OPTIONS["joint"], **changes}, resume=True)) == 2
    said = capsys.readouterr().err
    assert words.format(interrupted / RUN) in said and said.count("\n") == 1
    assert load_json(interrupted / RUN / "run.json")["status"] != "finished"


def test_another_recording_and_another_circuit_are_named(interrupted, capsys, tmp_path):
    arrays = load_arrays(DATASET)
    save_arrays(tmp_path / "other", **arrays | {"sampled_spikes": arrays["sampled_spikes"][..., ::-1]})
    options = {**OPTIONS["joint"], "resume": True}
    assert status_of(argv(interrupted, **options, dataset=tmp_path / "other")) == 2
    assert f"--dataset: expected the recording with which {interrupted / RUN} began" in capsys.readouterr().err
    circuit = (ROOT / "src/model/circuits/winner_take_all.toml").read_text()
    (tmp_path / "circuit.toml").write_text(circuit.replace("400", "401"))
    assert status_of(argv(interrupted, **options, circuit=tmp_path / "circuit.toml")) == 2
    assert f"--circuit: expected the circuit with which {interrupted / RUN} began" in capsys.readouterr().err


@pytest.mark.parametrize("name", checkpoint.FILE_OPTIONS[1:])
def test_of_a_file_its_content_counts_and_not_its_name(name):
    settings = {**dict.fromkeys(checkpoint.FILE_OPTIONS), "data": "a.npz"}
    before = SimpleNamespace(settings=settings, model={}, recording_sha256="1")
    now = SimpleNamespace(settings={**settings, name: "moved"}, model={}, recording_sha256="1")
    checkpoint.check_same_training(before, now, Path("folder"))
    now.recording_sha256 = "2"
    with pytest.raises(InputError, match=f"^{name}: expected the recording with which folder began, got another one"):
        checkpoint.check_same_training(before, now, Path("folder"))


def test_a_moved_folder_goes_on_with_the_same_data_elsewhere(alone, interrupted, tmp_path):
    shutil.copytree(interrupted, tmp_path / "moved")
    shutil.copy(DATASET, tmp_path / "same")
    train_meso.main(argv(tmp_path / "moved", **OPTIONS["joint"], resume=True, threads=2, dataset=tmp_path / "same"))
    assert load_json(tmp_path / "moved" / RUN / "run.json")["X"] == load_json(alone("joint") / "run.json")["X"]


def test_a_broken_checkpoint_is_named(interrupted, tmp_path, capsys):
    shutil.copytree(interrupted, tmp_path / "moved")
    path = tmp_path / "moved" / RUN / "checkpoint"
    for content in (path.read_bytes()[:-100], b"", b"\x80\x04."):
        path.write_bytes(content)
        assert status_of(argv(tmp_path / "moved", **OPTIONS["joint"], resume=True)) == 2
        said = capsys.readouterr().err
        assert str(path) in said and said.count("\n") == 1
    save_arrays(path, done=2, record="no JSON", E_history=[])
    assert status_of(argv(tmp_path / "moved", **OPTIONS["joint"], resume=True)) == 2
    assert f"{path}: expected the state of a training, but" in capsys.readouterr().err


def test_a_finished_training_says_so_and_stays(alone, capsys):
    folder = alone("joint")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    save_dir = folder.parent.parent
    train_meso.main(argv(save_dir, **OPTIONS["joint"], resume=True))
    assert f"{folder}: has finished already: 4 EM iterations, loss " in capsys.readouterr().out
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert status_of(argv(save_dir, **{**OPTIONS["joint"], "E_LR": 1e-3}, resume=True)) == 2
    assert "--E_LR: expected 3e-05" in capsys.readouterr().err


def test_without_a_checkpoint_it_starts_from_the_beginning(alone, tmp_path, capsys):
    train_meso.main(argv(tmp_path, **OPTIONS["joint"], resume=True))
    said = capsys.readouterr().out
    assert f"note: no checkpoint in {tmp_path / RUN}, the training starts from the beginning" in said
    assert resume.differences(alone("joint"), tmp_path / RUN) == []


def test_without_resume_an_interrupted_training_starts_anew(alone, interrupted, tmp_path, capsys):
    shutil.copytree(interrupted, tmp_path / "again")
    train_meso.main(argv(tmp_path / "again", **OPTIONS["joint"]))
    assert "goes on" not in capsys.readouterr().out
    assert resume.differences(alone("joint"), tmp_path / "again" / RUN) == []


def test_other_versions_are_mentioned():
    before, now = {"python": "3.11", "numpy": "1.0"}, {"python": "3.11", "numpy": "2.0"}
    assert checkpoint.versions_that_differ(now, now) == ""
    assert "numpy 2.0 instead of 1.0" in checkpoint.versions_that_differ(before, now)


# --- ends that are not kills ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["joint", "innovations"])
def test_an_interrupted_training_says_how_to_go_on(alone, dies, tmp_path, name, capsys):
    dies({3 if name == "joint" else 5}, error=KeyboardInterrupt)
    arguments = argv(tmp_path / "my results", **OPTIONS[name])
    assert status_of(arguments) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("train_meso.py: interrupted; to go on: python train_meso.py ")
    assert f"--SAVE_DIR '{tmp_path}/my results'" in said and said.endswith(" --resume")
    record = load_json(tmp_path / "my results" / RUN / "run.json")
    assert record["status"] == "interrupted"
    if name == "innovations":  # the best of all iterations, not the last M-step
        assert record["loss"] in [step["loss_y"] + step["loss_Z"] for step in record["history"][1:]]
    kept = load_arrays(tmp_path / "my results" / RUN / record["parameters_file"])
    np.testing.assert_array_equal(kept["X"], record["X"])
    dies(())
    train_meso.main([*arguments, "--resume"])
    assert resume.differences(alone(name), tmp_path / "my results" / RUN) == []


def test_a_disk_that_is_nearly_full_is_one_error_before_the_fit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2e6, total=1e9))
    assert status_of(argv(tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'out' / RUN}: expected " in said and " MB of free space for the results, got 2 MB" in said
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_disk_that_gets_full_is_one_error_and_the_last_checkpoint_goes_on(alone, dies, tmp_path, capsys):
    dies({3}, after=False, error=OSError(28, "No space left on device", "checkpoint"))
    assert status_of(argv(tmp_path, **OPTIONS["joint"])) == 1
    assert capsys.readouterr().err.endswith("train_meso.py: error: checkpoint: No space left on device\n")
    dies(())
    train_meso.main(argv(tmp_path, **OPTIONS["joint"], resume=True))
    assert resume.differences(alone("joint"), tmp_path / RUN) == []
