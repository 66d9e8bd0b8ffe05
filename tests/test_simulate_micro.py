"""The script that makes data sets: the shipped one again, its options, and what it refuses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import simulate_micro
from src.model.circuit import for_simulation
from src.model.circuit_file import load_circuit, reference_parameters, winner_take_all
from src.utils.exceptions import InputError
from src.utils.files import load_arrays

REFERENCE = reference_parameters()

ROOT = Path(__file__).parents[1]
DATASET = ROOT / "dataset" / "3pop_noinput_small"
SHORT = ["--duration", "0.05", "--warmup", "0.01"]

FOUR = """
[time]
refractory_time = 0.004
[populations]
a = { size = 60, synaptic_rate = 300, excites = ["a", "inhibition"] }
b = { size = 50, synaptic_rate = 300, excites = ["b", "inhibition"] }
c = { size = 40, synaptic_rate = 300, excites = ["c", "inhibition"] }
inhibition = { size = 30, synaptic_rate = 150, inhibits = ["a", "b", "c", "inhibition"] }
[membrane_rate]
value = 50
[coupling]
value = { a = 9, b = 9, c = 9, inhibition = 20 }
[resting_potential]
value = 14
[threshold]
value = 3.7
[fit]
multiples = [0.4, 2.0]
"""
COUPLING = [[9, 0, 0, 9], [0, 9, 0, 9], [0, 0, 9, 9], [-20, -20, -20, -20]]

ONE = """
[time]
refractory_time = 0.002
delay = 0.001
[populations]
inhibition = { size = 30, synaptic_rate = 150, inhibits = ["inhibition"] }
[membrane_rate]
value = 50
[coupling]
value = 20
[resting_potential]
value = 14
[threshold]
bounds = [1, 9]
"""


def run(path, *options):
    """Run the script in this process and return what it wrote."""
    simulate_micro.main([*SHORT, "--output", str(path), *options])
    return load_arrays(path)


def test_shipped_dataset_comes_out_again(tmp_path):
    shipped = load_arrays(DATASET)
    command = next(line for line in (ROOT / "dataset/README.md").read_text().splitlines() if line.startswith("python "))
    options = command.split()[2:]
    options[options.index("--output") + 1] = str(tmp_path / "again")
    simulate_micro.main(options)
    again = load_arrays(tmp_path / "again")
    settings, settings_again = (json.loads(str(arrays.pop("settings"))) for arrays in (shipped, again))
    assert settings_again.pop("heterogeneity") == 0  # of younger versions
    assert settings_again | {"output": "dataset/3pop_noinput_small"} == settings
    assert list(again) == list(shipped)
    for key, value in shipped.items():
        assert again[key].dtype == value.dtype
        np.testing.assert_array_equal(again[key], value)


def test_shipped_dataset_has_its_documented_form():
    arrays = load_arrays(DATASET)
    assert {key: arrays[key].shape for key in ("A_t_pop", "sampled_spikes", "I_ext", "dt")} == {
        "A_t_pop": (55000, 3),
        "sampled_spikes": (3, 55000, 30),
        "I_ext": (55000, 3),
        "dt": (),
    }
    assert arrays["sampled_spikes"].dtype == np.uint8
    assert set(np.unique(arrays["sampled_spikes"])) == {0, 1}
    counts = arrays["A_t_pop"] * arrays["population_size"] * arrays["dt"]
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-12)
    assert not arrays["I_ext"].any()
    for key, value in zip(("amem", "J", "rp", "ft"), REFERENCE.parts().values(), strict=True):
        np.testing.assert_array_equal(arrays[key], value)
    sampled = arrays["sampled_spikes"].mean(axis=(1, 2)) / arrays["dt"]
    np.testing.assert_allclose(sampled, arrays["A_t_pop"].mean(axis=0), rtol=0.05)
    assert DATASET.stat().st_size < 1_000_000


def test_existing_output_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    path = tmp_path / "data"
    first = run(path)
    with monkeypatch.context() as patch:
        patch.setattr(simulate_micro, "simulate_network", lambda *_, **__: pytest.fail("it computed"))
        with pytest.raises(InputError, match="data: exists already; give --overwrite"):
            run(path, "--seed", "2")
    np.testing.assert_array_equal(load_arrays(path)["A_t_pop"], first["A_t_pop"])
    second = run(path, "--seed", "2", "--overwrite")
    assert (second["A_t_pop"] != first["A_t_pop"]).any()
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_changes_to_the_circuit_reach_the_data(tmp_path):
    changes = "coupling I=15, threshold E1=4,population_size E2=100,membrane_rate I=40,synaptic_rate E1=200"
    arrays = run(tmp_path / "a", "--param", changes, "--n_sampled", "5")
    np.testing.assert_array_equal(arrays["J"], [[9.984, 0, 9.984], [0, 9.984, 9.984], [-15, -15, -15]])
    np.testing.assert_array_equal(arrays["ft"], [4, 3.7, 3.7])
    np.testing.assert_array_equal(arrays["population_size"], [400, 100, 200])
    np.testing.assert_array_equal(arrays["amem"], [50, 50, 40])
    np.testing.assert_allclose(arrays["synaptic_rate"], [200, 1000 / 3, 1000 / 6], rtol=1e-12)
    assert arrays["sampled_spikes"].shape == (3, 250, 5)
    counts = arrays["A_t_pop"] * arrays["population_size"] * arrays["dt"]
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-12)
    settings = json.loads(str(arrays["settings"]))
    assert (settings["param"], settings["n_sampled"], settings["pulses"]) == (changes, 5, None)
    np.testing.assert_array_equal(REFERENCE.threshold, [3.7, 3.7, 3.7])


def test_times_become_steps():
    circuit = replace(load_circuit(), delay=0.001)
    model, _ = for_simulation(circuit, 0.0002)
    assert (model.refractory_bins, model.delay_bins, model.dt) == (20, 5, 0.0002)
    assert model.names == winner_take_all().names
    assert for_simulation(replace(circuit, refractory_time=0.001), 0.004)[0].refractory_bins == 1


def test_circuit_from_a_file_with_four_populations(tmp_path, capsys):
    (tmp_path / "four.toml").write_text(FOUR)
    arrays = run(tmp_path / "a", "--circuit", str(tmp_path / "four.toml"), "--param", "coupling c=7")
    assert arrays["A_t_pop"].shape == (250, 4)
    np.testing.assert_array_equal(arrays["J"], [*COUPLING[:2], [0, 0, 7, 7], COUPLING[3]])
    printed = capsys.readouterr().out
    assert "inhibition" in printed
    assert "switches" not in printed  # three excitatory populations are no pair


def test_summary_without_competition(tmp_path, capsys):
    (tmp_path / "one.toml").write_text(ONE)
    given = ["--circuit", str(tmp_path / "one.toml"), "--param", "threshold inhibition=3.7"]
    settings = json.loads(str(run(tmp_path / "a", *given)["settings"]))
    assert (settings["refractory_time"], settings["delay"]) == (0.002, 0.001)
    settings = json.loads(str(run(tmp_path / "b", *given, "--delay", "0", "--refractory_time", "0.003")["settings"]))
    assert (settings["refractory_time"], settings["delay"]) == (0.003, 0)
    printed = capsys.readouterr().out
    assert "mean rates (Hz): inhibition" in printed
    assert "switches" not in printed


def test_input_is_saved_and_its_randomness_is_apart_from_the_network(tmp_path):
    still = run(tmp_path / "none")
    flat = run(tmp_path / "flat", "--input", "ou", "--sigma", "0")
    np.testing.assert_array_equal(flat["A_t_pop"], still["A_t_pop"])
    driven = run(tmp_path / "ou", "--input", "ou", "--sigma", "80", "--mean", "40")
    assert driven["I_ext"].shape == (250, 3)
    assert driven["I_ext"].std() > 20
    assert (driven["A_t_pop"] != still["A_t_pop"]).any()
    pulsed = run(tmp_path / "pulses", "--input", "pulses", "--pulses", "E2:5000@0.02+0.001")
    np.testing.assert_array_equal(np.flatnonzero(pulsed["I_ext"][:, 1]), np.arange(100, 105))
    np.testing.assert_array_equal(pulsed["A_t_pop"][:100], still["A_t_pop"][:100])
    assert pulsed["A_t_pop"][100:105, 1].sum() > 5 * still["A_t_pop"][100:105, 1].sum() + 1000


def test_a_pulse_makes_the_loser_win(tmp_path):
    options = ["--duration", "2", "--warmup", "0.5"]
    alone = run(tmp_path / "alone", *options)["A_t_pop"]
    np.testing.assert_array_equal(alone, load_arrays(DATASET)["A_t_pop"][: len(alone)])
    pushed = run(tmp_path / "pushed", *options, "--pulses", "E2:100@1.4+0.2")["A_t_pop"]
    after = slice(round(1.7 / 0.0002), round(1.9 / 0.0002))  # the pulse is over, the membranes have forgotten it
    assert alone[after, 0].mean() > alone[after, 1].mean() + 6
    assert pushed[after, 1].mean() > pushed[after, 0].mean() + 6


BAD = [
    (["--duration", "0"], "--duration: expected above 0 s"),
    (["--duration", "0.00001"], "--duration: expected at least one step of 0.0002 s"),
    (["--duration", "1e9"], "--duration: expected at most 3600 s"),
    (["--dt", "0.1"], "--dt: expected at most 0.004 s"),
    (["--seed", "-1"], "--seed: expected at least 0"),
    (["--n_sampled", "500"], r"n_sampled: expected 0 to 200 \(the smallest population\), got 500"),
    (["--input", "pulses"], "pulses: expected at least one"),
    (["--pulses", "E7:1@0+0.01"], "pulses: expected a population out of E1, E2, I or 1 to 3, got 'E7'"),
    (["--pulses", "E1:1@2+0.01"], "pulses: expected an onset before the end at 0.05 s, got 2 s"),
    (["--param", "coupling"], "--param: expected NAME POPULATION=NUMBER"),
    (["--param", "coupling E9=3"], "a population out of E1, E2, I, got 'coupling E9=3'"),
    (["--param", "J E1=3"], "--param: expected NAME POPULATION=NUMBER with a name out of population_size"),
    (["--param", "coupling E1=three"], "--param: expected a number, got 'three'"),
    (["--param", "coupling I=-15"], "--param: expected a magnitude of at least 0"),
    (["--param", "population_size I=10.5"], "population_size: expected whole numbers"),
    (["--param", "population_size I=0"], "population_size"),
    (["--param", "membrane_rate I=0"], "membrane_rate: expected positive"),
    (["--param", "threshold I=inf"], "threshold: expected .* finite numbers"),
    (["--circuit", "no such file"], "no such file: cannot be read"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options(tmp_path, options, message):
    with pytest.raises(InputError, match=message) as caught:
        run(tmp_path / "a", *options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_circuit_whose_parameters_are_not_known(tmp_path):
    (tmp_path / "one.toml").write_text(ONE)
    with pytest.raises(InputError, match=r"one.toml: threshold of inhibition: expected a value to simulate with, got"):
        run(tmp_path / "a", "--circuit", str(tmp_path / "one.toml"))
    assert not (tmp_path / "a").exists()


def test_output_that_cannot_be_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(simulate_micro, "simulate_network", lambda *_, **__: pytest.fail("it computed"))
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "data"):
        with pytest.raises(InputError, match="--output: expected a file in a folder"):
            run(path, "--overwrite")


def test_from_the_command_line(tmp_path):
    def call(*options):
        command = [sys.executable, str(ROOT / "simulate_micro.py"), *SHORT, "--output", "a/b/data", *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONWARNINGS": "error"})

    done = call()
    assert (done.returncode, done.stderr) == (0, "")
    assert "a/b/data: 0.05 s simulated in" in done.stdout
    assert "mean rates (Hz): E1" in done.stdout
    assert load_arrays(tmp_path / "a/b/data")["A_t_pop"].shape == (250, 3)
    refused = call()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("simulate_micro.py: error: a/b/data: exists already")
    assert refused.stderr.count("\n") == 1
