"""Input gains and lags in circuit files: what they say, what is refused, and what comes back from JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest

from src.data.dataset import load_recording
from src.helper import from_X, to_X, true_X
from src.model.circuit import for_fit, for_simulation
from src.model.circuit_file import WINNER_TAKE_ALL, load_circuit, reference_parameters
from src.model.containers import Model
from src.model.external_input import lagged
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from src.utils.files import save_arrays

PLAIN = WINNER_TAKE_ALL.read_text()
WINDOW = FitSettings(a_cutoff=0.04)


def load(folder, section):
    (folder / "my.toml").write_text(f"{PLAIN}\n{section}\n")
    return load_circuit(folder / "my.toml")


def fitted(folder, section):
    return for_fit(load(folder, section), WINDOW)[1]


def test_each_population_has_its_gain_after_all_other_numbers(tmp_path):
    model = fitted(tmp_path, "[input_gain]\nbounds = [-3, 4]\nstart = [0.5, 1]\n[input_gain.of.I]\nbounds = [0.1, 2]")
    plain, free = for_fit(load_circuit(WINNER_TAKE_ALL), WINDOW)[1], model.fitted
    assert free.names == (*plain.fitted.names, "input_gain E1", "input_gain E2", "input_gain I")
    assert free.lower[-3:].tolist() == [-3, -3, 0.1] and free.upper[-3:].tolist() == [4, 4, 2]
    assert free.start_lower[-3:].tolist() == [0.5] * 3 and model.has_gains and not plain.has_gains
    X = np.append(to_X(reference_parameters(), plain), [-2.0, 1.5, 0.7])
    assert from_X(X, model).input_gain.tolist() == [-2.0, 1.5, 0.7]
    np.testing.assert_array_equal(from_X(X, model).with_gains(False).flat(), reference_parameters().flat())
    np.testing.assert_array_equal(to_X(from_X(X, model), model), X)


def test_gains_can_be_shared_fixed_or_left_out(tmp_path):
    section = '[input_gain]\nfit = "shared"\nbounds = [0, 3]\n[input_gain.of.I]\nfit = "fixed"\nvalue = 0'
    model = fitted(tmp_path, section)
    assert model.fitted.names[-1] == "input_gain shared" and len(model.fitted.names) == 13
    X = np.append(to_X(reference_parameters(), fitted(tmp_path, ""))[:12], 1.5)
    assert from_X(X, model).input_gain.tolist() == [1.5, 1.5, 0.0]
    assert from_X(X[:12], fitted(tmp_path, "")).input_gain is None


def test_without_the_section_a_record_is_what_it_was(tmp_path):
    model = fitted(tmp_path, "")
    assert "input_lag" not in model.as_dict() and len(model.as_dict()["free"]["fixed"]) == 18
    assert "input_gain" not in json.dumps(model.as_dict())


def test_gains_and_lags_come_back_from_json(tmp_path):
    model = fitted(tmp_path, "[input_gain]\nbounds = [-3, 4]\nlag = { E2 = 0.01 }")
    again = Model.from_dict(json.loads(json.dumps(model.as_dict())))
    assert again.has_gains and again.as_dict() == model.as_dict()
    assert again.input_lag.tolist() == [0.0, 0.01, 0.0]
    assert fitted(tmp_path, "[input_gain]\nbounds = [-3, 4]\nlag = 0.02").input_lag.tolist() == [0.02] * 3


def test_a_value_serves_simulations_and_changes(tmp_path):
    circuit = load(tmp_path, "[input_gain]\nvalue = { E1 = 2, E2 = -1, I = 0.5 }\nbounds = [-3, 4]\nlag = 0.001")
    model, parameters = for_simulation(circuit, 0.0002)
    assert parameters.input_gain.tolist() == [2, -1, 0.5] and model.input_lag.tolist() == [0.001] * 3
    changed = for_simulation(circuit.changed("input_gain E2=3,threshold I=4"), 0.0002)[1]
    assert changed.input_gain.tolist() == [2, 3, 0.5] and changed.threshold.tolist() == [3.7, 3.7, 4]
    with pytest.raises(
        InputError, match="expected NAME POPULATION=NUMBER with a name out of population_size, .*shold and"
    ):
        load_circuit().changed("input_gain E2=3")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("[input_gain]", "input_gain E1: expected bounds, or a value other than 0"),
        ("[input_gain]\nbound = [0, 1]", "input_gain: unknown key 'bound', expected value, fit, start, bounds, prior"),
        ("[input_gain]\nbounds = [0, 1]\nlag = -1", "input_gain: lag: expected a number at least 0"),
        ("[input_gain]\nbounds = [0, 1]\nlag = { X = 1 }", "input_gain: lag: unknown population 'X'"),
        ('[input_gain]\nbounds = [0, 1]\nlag = "soon"', "input_gain: lag: expected a number"),
        ('[input_gain]\nfit = "presynaptic"', "input_gain: fit: expected"),
        ('[input_gain]\nfit = "fixed"', "input_gain of E1: expected a value, because it is fixed"),
        ("input_gain = 3", "input_gain: expected a table"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, section, message):
    if section.startswith("input_gain"):
        (tmp_path / "my.toml").write_text(f"{section}\n{PLAIN}")
        with pytest.raises(InputError) as error:
            load_circuit(tmp_path / "my.toml")
    else:
        # the file of the paper gives multiples as bounds, of which a gain without a value has none
        with pytest.raises(InputError) as error:
            fitted(tmp_path, section)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_input_comes_later_by_whole_steps_and_is_zero_until_then():
    stimulus = np.arange(1.0, 11.0).reshape(5, 2)
    late = lagged(stimulus, np.array([0.0, 0.0031]), 0.002)
    assert late[:, 0].tolist() == stimulus[:, 0].tolist() and late[:, 1].tolist() == [0, 0, 2, 4, 6]
    assert not lagged(stimulus, np.full(2, 1.0), 0.002).any()
    assert lagged(stimulus, None, 0.002) is stimulus


def data_set(folder, **more):
    """A data set of 0.2 s whose input is one pulse at 0.1 s."""
    truth, steps = reference_parameters(), 1000
    driven = np.zeros((steps, 3))
    driven[500:520] = 30.0
    spikes = np.zeros((3, steps, 3), np.uint8)
    spikes[:, ::90] = 1
    parts = dict(zip(("amem", "J", "rp", "ft"), truth.parts().values(), strict=True))
    known = {"A_t_pop": np.full((steps, 3), 10.0), "sampled_spikes": spikes, "I_ext": driven, "dt": 0.0002}
    save_arrays(folder / "data", **known, **parts, **more)
    return folder / "data"


def test_a_data_set_knows_its_gains_and_its_input_comes_with_the_lag_of_the_circuit(tmp_path):
    model = fitted(tmp_path, "[input_gain]\nbounds = [-3, 4]\nlag = { I = 0.02 }")
    path = data_set(tmp_path, input_gain=np.array([2.0, -1.0, 0.5]))
    recording, _ = load_recording(path, model, with_input=True)
    assert true_X(recording.true_parameters, model)[-3:].tolist() == [2.0, -1.0, 0.5]
    bins = np.flatnonzero(recording.external_input[0, 0])
    assert bins.tolist() == [15] and np.flatnonzero(recording.external_input[0, 2]).tolist() == [20]
    plain, notes = load_recording(path, replace(model, free=None, input_lag=None), with_input=True)
    assert "input_gain E2: the data were made with -1, and the fit takes it to be 1" in notes
    assert np.isfinite(true_X(plain.true_parameters, replace(model, free=None))).all()
    recording, _ = load_recording(data_set(tmp_path), model, with_input=True)  # which took its input as it was
    assert true_X(recording.true_parameters, model)[-3:].tolist() == [1, 1, 1]
    with pytest.raises(InputError, match=r"input_gain: expected shape \(3,\), got \(2,\)"):
        load_recording(data_set(tmp_path, input_gain=np.ones(2)), model)
