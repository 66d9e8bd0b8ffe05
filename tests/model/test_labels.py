"""The labels of the data whose units are of a population: in circuit files, as an option, and what comes of them."""

import numpy as np
import pytest

from src.data.read import read_recording
from src.model.circuit_file import fitted_circuit, load_circuit
from src.model.labels import as_text, from_text
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from tests.recordings import MODEL, UNITS, raster, read, write_listed
from tests.training import ROOT

TWO = ROOT / "src/model/circuits/two_populations.toml"
BIN = {"dt": 0.004, "a_cutoff": 0.04}


def test_two_populations_of_a_circuit_are_one_of_another(tmp_path):
    write_listed(tmp_path / "my.npz", raster())  # units 3, 7, 8, 10, 21 of E2, E1, E2, I, E1
    settings, model = fitted_circuit(FitSettings(circuit=str(TWO), data=str(tmp_path / "my.npz"), **BIN))
    assert settings.labels == "E=E1|E2,I=I"
    merged, lines = read_recording(settings, model)
    apart, _ = read(tmp_path / "my.npz")
    np.testing.assert_array_equal(merged.is_recorded.sum(axis=1), [4, 1])
    np.testing.assert_array_equal(apart.is_recorded.sum(axis=1), [2, 2, 1])
    unit = dict(zip(UNITS, [(1, 0), (0, 0), (1, 1), (2, 0), (0, 1)], strict=True))
    for i, name in enumerate(("3", "7", "8", "21")):  # in the order of the data
        m, k = unit[name]
        np.testing.assert_array_equal(merged.observed_spikes[:, 0, :, i], apart.observed_spikes[:, m, :, k])
    np.testing.assert_array_equal(merged.observed_spikes[:, 1, :, 0], apart.observed_spikes[:, 2, :, 0])
    assert "Recorded: E 4 of 800" in lines[0]


def test_an_option_goes_before_the_file(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    options = FitSettings(circuit=str(TWO), data=str(tmp_path / "my.npz"), labels="E=E2", **BIN)
    recording, lines = read_recording(*fitted_circuit(options))
    np.testing.assert_array_equal(recording.is_recorded.sum(axis=1), [2, 1])
    assert any("'E1' is no population of the circuit: 2 units" in line for line in lines)


def test_numbers_of_a_grouping_can_be_labels(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(TWO.read_text().replace('["E1", "E2"]', "[0, 2]").replace("size = 200", "size = 200\nlabels = [1]"))
    write_listed(tmp_path / "my.npz", raster(), population=np.array(["2", "0", "2", "1", "0"]))
    recording, _ = read_recording(*fitted_circuit(FitSettings(circuit=str(path), data=str(tmp_path / "my.npz"), **BIN)))
    np.testing.assert_array_equal(recording.is_recorded.sum(axis=1), [4, 1])


def test_a_population_can_have_no_labels_and_one_that_says_nothing_has_its_name(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(TWO.read_text().replace('["E1", "E2"]', "[]"))
    circuit = load_circuit(path)
    assert circuit.labels == ((), ("I",))
    assert from_text(as_text(circuit.names, circuit.labels), circuit.names) == {"I": 1}
    assert from_text(None, MODEL.names) == {"E1": 0, "E2": 1, "I": 2}
    assert from_text("E2=PV+|x", MODEL.names) == {"E1": 0, "PV+": 1, "x": 1, "I": 2}
    assert load_circuit().labels is None
    assert fitted_circuit(FitSettings())[0].labels is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("3", "populations: E: labels: expected a list of labels of the data, got 3"),
        ('[""]', "populations: E: labels: expected texts without = | ,, or whole numbers, got ''"),
        ("[1.5]", "or whole numbers, got 1.5"),
        ("[true]", "or whole numbers, got True"),
        ('["a,b"]', "or whole numbers, got 'a,b'"),
        ('["E1", "E1"]', "populations: expected each label in one population, got 'E1' in E and E"),
        ('["E1", "I"]', "got 'I' in E and I; a population without labels has its own name"),
    ],
)
def test_labels_of_a_file_that_cannot_be_used(tmp_path, labels, message):
    path = tmp_path / "my.toml"
    path.write_text(TWO.read_text().replace('["E1", "E2"]', labels))
    with pytest.raises(InputError) as error:
        load_circuit(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("E3=a", "labels: expected POPULATION=LABEL|LABEL,..., such as .* of the populations E1, E2, I, got 'E3=a'"),
        ("E1", "got 'E1'"),
        ("E1=a,E1=b", "labels: expected each population once, got E1 twice; write E1=LABEL|LABEL"),
        ("E1=I", "labels: expected each label in one population, got 'I' in E1 and I"),
        ("E1=a,E2=b,I=c", "expected units with labels a, b, c, got E1, E2, I for all 5"),
    ],
)
def test_labels_of_the_command_line_that_cannot_be_used(tmp_path, text, message):
    write_listed(tmp_path / "my.npz", raster())
    with pytest.raises(InputError, match=message.replace("|", r"\|")):
        read(tmp_path / "my.npz", labels=text)
