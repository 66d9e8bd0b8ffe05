"""The command: from files to ``posterior/``, resumed to the same draws after any interruption, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from src.inference import fast_filter
from src.inference.fast_filter import FastFilter
from src.model.scheme import CONSISTENT
from src.posterior import bridge, command, likelihood, tempering
from src.posterior.check import LnPCheck, OfPoint
from src.posterior.command import main
from src.posterior.inference_data import has_arviz
from src.posterior.likelihood import likelihood_of
from src.posterior.result import load_posterior, save_posterior
from src.posterior.settings import PosteriorSettings, read_question
from src.posterior.state import load_state, save_state
from src.posterior.summary import describe_posterior, load_outcome
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from src.utils.settings import run_script
from tests.fake_runs import make_run
from tests.fake_target import one_population, recording_of

ROOT = Path(__file__).resolve().parents[2]
CIRCUIT = """
[time]
window = 0.1
refractory_time = 0.004

[populations.E]
size = 200
synaptic_time = 0.005
excites = ["E"]

[membrane_rate]
value = 50
fit = "fixed"

[coupling]
value = 4

[resting_potential]
value = 3

[threshold]
value = 4
fit = "fixed"

[fit]
multiples = [0.4, 2.0]
"""
FEW = ["--walkers", "32", "--sweeps", "2", "--predicted", "0", "--burn_in", "0.2", "--jobs", "1"]
FILES = {"posterior.json", "samples", "recording", "activity", "marginals.png", "activity.png"}


@pytest.fixture(autouse=True)
def short_walks(monkeypatch):
    monkeypatch.setattr(bridge, "STEPS", 10)
    monkeypatch.setattr(tempering, "STEPS", (4, 8))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Return the options of a recording of a second, in a folder that nothing is written to."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "one.toml").write_text(CIRCUIT)
    rng = np.random.default_rng(0)
    trains = [np.sort(rng.uniform(0, 1.3, rng.poisson(14 * 1.3))) for _ in range(4)]
    save_arrays(
        folder / "spikes.npz",
        spike_times=np.concatenate(trains),
        spike_unit=np.repeat(np.arange(4), [len(train) for train in trains]),
        unit=np.arange(4),
        population=np.array(["E"] * 4),
        end=1.3,
    )
    return ["--data", str(folder / "spikes.npz"), "--circuit", str(folder / "one.toml")]


def options(data, folder, *more):
    return [*data, "--SAVE_DIR", str(folder), *FEW, *more]


@pytest.fixture
def draws_only(monkeypatch):
    """Leave out all that is worked out from the draws."""

    def finish(posterior, question, settings):
        save_posterior(question.folder, posterior)
        (question.folder / "checkpoint").unlink()

    monkeypatch.setattr(command, "finish", finish)


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory):
    """Run the whole command once, with the walks of a user."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(options(data, folder)) == 0
    return folder / "spikes/posterior"


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """Return the draws of a run with short walks that nobody interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bridge, "STEPS", 10)
        patch.setattr(tempering, "STEPS", (4, 8))
        patch.setattr(
            command, "finish", lambda posterior, question, settings: save_posterior(question.folder, posterior)
        )
        folder = tmp_path_factory.mktemp("straight")
        main(options(data, folder))
    return load_posterior(folder / "spikes")


def assert_same_draws(one, other):
    for key in ("X", "ln_p", "evaluation", "origin"):
        np.testing.assert_array_equal(getattr(one, key), getattr(other, key), err_msg=key)


# --- what is written --------------------------------------------------------------------------------------------------


def test_files_are_written(finished):
    names = {path.name for path in finished.iterdir()}
    assert names >= FILES and "checkpoint" not in names and not any(name.startswith(".") for name in names)
    assert ("posterior.nc" in names) == has_arviz()


def test_strips_are_told_in_words(finished):
    said, about = describe_posterior(load_outcome(finished.parent)), load_posterior(finished.parent).about
    [line] = [line for line in said.splitlines() if line.startswith("Strips of ")]
    (one, other), evidence = about["shares"], ", ".join(f"{share:.0%}" for share in about["shares_by_evidence"])
    assert f"{other[0]:.0%}, " in line and f": {one[0]:.0%}, {one[1]:.0%}, {one[2]:.0%} and " in line
    assert f". {about['crossed'][0]} and {about['crossed'][1]} moves between strips" in line
    moved, error = about["shares_by_moves"][0], about["share_errors"][0]
    assert f"; all moves lead to {moved:.0%} +- {error:.0%}, " in line and line.endswith(
        f"; the evidence is {evidence}."
    )


def test_posterior_is_what_was_asked_for(finished):
    posterior = load_posterior(finished.parent)
    assert posterior.X.shape == (2, 64, 2) and posterior.model.scheme is CONSISTENT and posterior.seed == 1
    free = posterior.model.fitted
    assert free.names == ("coupling E", "resting_potential E")
    assert ((posterior.draws >= free.lower) & (posterior.draws <= free.upper)).all()
    assert posterior.draws.std(axis=0).min() > 0.01
    T = posterior.recording.n_bins
    np.testing.assert_array_equal(posterior.recording.is_judged[0], np.arange(T) >= 50)
    known = FastFilter(posterior.model, posterior.recording)
    for k in (0, 70, 127):
        seed = (posterior.seed, int(posterior.evaluation.ravel()[k]))
        assert known.ln_p(posterior.parameters(k), seed, posterior.n_particles) == posterior.ln_p.ravel()[k]


def test_record_says_how_it_was_made(finished):
    record = json.loads((finished / "posterior.json").read_text())
    assert record["status"] == "finished" and record["evaluations"] > 500 and record["seconds"] > 0
    assert record["settings"]["walkers"] == 32 and record["settings"]["data"].endswith("spikes.npz")
    assert record["versions"]["numpy"] == np.__version__
    assert record["strips"]["number"] == "coupling E" and len(record["history"]) == 7
    assert {"table", "directions", "warnings", "ln_p", "shares", "crossed", "noise", "scan", "in_finer_bins"} <= set(
        record
    )
    assert [stage[-1]["temperature"] for stage in record["history"][2:5]] == [1, 1, 1]


def test_the_end_says_that_a_fit_is_far_better_than_the_draws(data, tmp_path, straight, capsys, monkeypatch):
    check = LnPCheck((-210.0, -205.0, -200.0), 1.0, (OfPoint("train1", -100.0, 0.5, 1.0, 30.0),))
    monkeypatch.setattr(command, "sample", lambda *a: straight)
    monkeypatch.setattr(command, "check_ln_p", lambda *a, **k: check)
    assert main(options(data, tmp_path)) == 0
    said = "train1 explains the spikes better than nearly all draws, by 98 nats"
    assert f"warning: {said}" in " ".join(capsys.readouterr().out.split())
    record = json.loads((tmp_path / "spikes/posterior/posterior.json").read_text())
    assert any(line.startswith(said) for line in record["warnings"])


# --- what is not done twice -------------------------------------------------------------------------------------------


def test_a_finished_one_of_another_question_is_not_resumed(data, tmp_path, straight):
    save_posterior(tmp_path / "spikes/posterior", straight)
    with pytest.raises(InputError, match="expected a posterior of the same data, circuit and options, got another"):
        main(options(data, tmp_path, "--resume", "--seed", "2"))


@pytest.mark.parametrize("more", [(), ("--resume",)], ids=["again", "resumed"])
def test_a_finished_one_is_left_as_it_is(data, tmp_path, straight, capsys, more):
    folder = tmp_path / "spikes/posterior"
    save_posterior(folder, straight)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    if more:
        assert main(options(data, tmp_path, *more)) == 0
        assert "finished before; nothing to do" in capsys.readouterr().out
    else:
        with pytest.raises(InputError, match="posterior: holds a posterior already; --overwrite replaces it"):
            main(options(data, tmp_path))
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


# --- going on ---------------------------------------------------------------------------------------------------------


def interrupted_at(monkeypatch, evaluation):
    """Let Ctrl-C come while the filter runs for the evaluation of this number."""

    class Interrupted(FastFilter):
        def ln_p(self, parameters, seed, n_particles=None):
            if seed[1] == evaluation:
                raise KeyboardInterrupt
            return super().ln_p(parameters, seed, n_particles)

    monkeypatch.setattr(likelihood, "FastFilter", Interrupted)


def test_interrupted_again_and_again_it_gives_the_same_draws(data, tmp_path, monkeypatch, draws_only, straight, capsys):
    total = straight.about["evaluations"]
    rng = np.random.default_rng(0)
    for number, evaluation in enumerate(sorted(rng.integers(0, total, 12).tolist())):
        interrupted_at(monkeypatch, evaluation)
        with pytest.raises(KeyboardInterrupt) as interruption:
            main(options(data, tmp_path, "--resume", "--jobs", str(1 + number % 2)))
        assert str(interruption.value).startswith("to go on: python -m src.posterior --data")
        assert str(interruption.value).endswith("--resume")
        assert not (tmp_path / "spikes/posterior/posterior.json").exists()
    monkeypatch.setattr(likelihood, "FastFilter", FastFilter)
    main(options(data, tmp_path, "--resume"))
    found = load_posterior(tmp_path / "spikes")
    assert_same_draws(found, straight)
    assert found.about["evaluations"] == total and found.about["history"] == straight.about["history"]
    said = capsys.readouterr().out
    assert said.count("] temperature") + said.count("] sweep") == sum(map(len, straight.about["history"]))


def killed_after(lines, argv):
    """Run the command in a process of its own, which is killed after so many lines about steps."""
    given = [sys.executable, "-u", "-m", "src.posterior", *argv]
    with subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process:
        for line in process.stdout:
            lines -= line.startswith("[")
            if lines == 0:
                process.kill()
                break
        rest = process.stdout.read()
    return process.returncode, rest


@pytest.mark.slow  # every step of the sampler is resumed from in test_sampler.py
def test_killed_it_gives_the_same_draws(data, tmp_path, finished):
    for lines in (5, 8):
        status, _ = killed_after(lines, options(data, tmp_path, "--resume"))
        assert status == -9 and (tmp_path / "spikes/posterior/checkpoint").exists()
    status, rest = killed_after(-1, options(data, tmp_path, "--resume"))
    assert status == 0, rest
    one, other = load_posterior(tmp_path / "spikes"), load_posterior(finished.parent)
    assert_same_draws(one, other)
    assert one.about["findings"] == other.about["findings"] and one.about["ln_p"] == other.about["ln_p"]
    bands = [load_arrays(each / "activity") for each in (tmp_path / "spikes/posterior", finished)]
    for key, array in bands[0].items():
        np.testing.assert_array_equal(array, bands[1][key], err_msg=key)


@pytest.fixture
def begun(data, tmp_path, monkeypatch, draws_only):
    """Return options of a run that was interrupted in its pilot."""
    interrupted_at(monkeypatch, 300)
    given = options(data, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        main(given)
    monkeypatch.setattr(likelihood, "FastFilter", FastFilter)
    return given


@pytest.mark.parametrize(
    "changed", [("--seed", "2"), ("--walkers", "40"), ("--sweeps", "3"), ("--burn_in", "0.3"), ("--ub", "3")]
)
def test_a_checkpoint_of_other_options_is_refused(begun, changed):
    with pytest.raises(
        InputError, match="checkpoint: expected one with the same data, circuit and options, got another"
    ):
        main([*begun, "--resume", *changed])


def test_a_checkpoint_of_an_earlier_sampler_is_refused(begun, monkeypatch):
    monkeypatch.setattr(command, "DRAWS", command.DRAWS + 1)
    with pytest.raises(InputError, match="checkpoint: expected .*, or one of an earlier version of the sampler"):
        main([*begun, "--resume"])


def test_without_resume_it_starts_again(begun, tmp_path, monkeypatch, capsys):
    interrupted_at(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        main([*begun, "--seed", "2"])
    assert not (tmp_path / "spikes/posterior/checkpoint").exists()


def test_a_broken_checkpoint_is_an_error(begun, tmp_path):
    path = tmp_path / "spikes/posterior/checkpoint"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="checkpoint: expected a whole NumPy archive"):
        main([*begun, "--resume"])
    path.write_bytes(whole)
    state = load_state(path)
    del state["sampler"]["noise"]
    save_state(path, state)
    with pytest.raises(InputError, match="checkpoint: expected the state of a sampler, but noise is missing"):
        main([*begun, "--resume"])


def test_replacing_a_posterior_can_be_interrupted_and_resumed(data, tmp_path, monkeypatch, draws_only, straight):
    folder = tmp_path / "spikes/posterior"
    save_posterior(folder, straight)
    interrupted_at(monkeypatch, 300)
    with pytest.raises(KeyboardInterrupt) as interruption:
        main(options(data, tmp_path, "--overwrite", "--seed", "2"))
    assert "--overwrite" not in str(interruption.value)
    monkeypatch.setattr(likelihood, "FastFilter", FastFilter)
    main(options(data, tmp_path, "--seed", "2", "--resume"))  # as it says
    assert load_posterior(folder).seed == 2


# --- without numba ----------------------------------------------------------------------------------------------------


def test_without_numba_it_says_what_that_costs(data, tmp_path, monkeypatch, capsys):
    asked = []

    def filter_spikes(parameters, model, recording, *, n_particles, seed):
        asked.append((n_particles, seed))
        if len(asked) == 5:
            raise KeyboardInterrupt
        return SimpleNamespace(ln_p=np.full((1, 1, 3), -1.5))

    for module in (command, likelihood, fast_filter):
        monkeypatch.setattr(module, "has_numba", lambda: False)
    monkeypatch.setitem(sys.modules, "src.inference.particle_filter", SimpleNamespace(filter_spikes=filter_spikes))
    with pytest.raises(KeyboardInterrupt):
        main(options(data, tmp_path, "--jobs", "2"))
    assert "numba is not installed" in capsys.readouterr().out
    assert len({seed for _, seed in asked}) == 5 and {particles for particles, _ in asked} == {32}


def test_without_numba_ln_p_is_that_of_the_other_filter(monkeypatch):
    asked = []

    def filter_spikes(parameters, model, recording, **given):
        asked.append(given)
        return SimpleNamespace(ln_p=np.full((2, 1, 3), -1.5))

    monkeypatch.setattr(likelihood, "has_numba", lambda: False)
    monkeypatch.setitem(sys.modules, "src.inference.particle_filter", SimpleNamespace(filter_spikes=filter_spikes))
    model = one_population()
    ln_p, said = likelihood_of(model, recording_of(model))
    assert said.startswith("note: numba is not installed")
    assert [ln_p(None, seed, 64) for seed in ((1, 0), (1, 1), (2, 0))] == [-9.0] * 3
    assert len({given["seed"] for given in asked}) == 3 and {given["n_particles"] for given in asked} == {64}


# --- what it cannot use -----------------------------------------------------------------------------------------------


def test_the_published_scheme_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="^--scheme: expected consistent, got published"):
        main(options(data, tmp_path, "--scheme", "published"))


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nowhere: expected a folder of trainings, found nothing"):
        main([str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: expected at least one finished training, found none"):
        main([str(tmp_path / "empty")])
    assert not list((tmp_path / "empty").iterdir())


def test_a_number_without_prior_or_bounds_is_named(data, tmp_path):
    circuit = tmp_path / "open.toml"
    circuit.write_text(
        CIRCUIT.replace("value = 4\n\n[resting", "start = [2, 6]\n\n[resting")
        .replace("[fit]\n", "")
        .replace("multiples = [0.4, 2.0]\n", "")
        .replace("value = 3", "value = 3\nbounds = [1, 6]")
    )
    with pytest.raises(InputError, match="^coupling E: expected bounds, or a value"):
        main(options([*data[:2], "--circuit", str(circuit)], tmp_path))


def test_burn_in_longer_than_a_trial_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="expected at least one trial of 0.1 s, the history window, 2 s of burn-in"):
        main(options(data, tmp_path, "--burn_in", "2"))
    make_run(tmp_path / "runs/train1")
    with pytest.raises(InputError, match="^--burn_in: expected less than each trial of the recording, got 1.6 s"):
        main([str(tmp_path / "runs"), "--burn_in", "1.6"])
    assert not (tmp_path / "runs/posterior").exists()


def test_errors_are_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: main(["nowhere"]), "posterior")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("posterior: error: nowhere: expected a folder of trainings")


# --- what it is of ----------------------------------------------------------------------------------------------------


def test_a_folder_of_runs_is_a_question(tmp_path):
    for number, loss in ((1, -2.7), (2, -2.8)):
        make_run(tmp_path / f"train{number}", loss=loss, seed=number)
    question = read_question(PosteriorSettings(folder=str(tmp_path), burn_in=0.4))
    assert question.model.scheme is CONSISTENT and question.folder == tmp_path / "posterior"
    np.testing.assert_array_equal(question.recording.is_judged[0], np.arange(400) >= 100)
    assert len(question.runs) == 2 and question.true is not None and len(question.true) == 12
    assert any("consistent scheme" in line for line in question.about)


def test_options_are_a_question(data, tmp_path):
    settings = PosteriorSettings(data=data[1], circuit=data[3], SAVE_DIR=str(tmp_path), burn_in=0.2)
    question = read_question(settings)
    assert question.model.scheme is CONSISTENT and question.folder == tmp_path / "spikes/posterior"
    assert question.true is None and question.runs == ()
    assert question.recording.is_judged.sum() == question.recording.n_bins - 50
