"""Candidates of a comparison: their names, what each variant changes and what it leaves alone, and bad ones."""

import dataclasses

import numpy as np
import pytest

from src.evaluation.candidates import candidates, without_connections
from src.helper import from_X
from src.model.circuit import for_fit
from src.model.circuit_file import WINNER_TAKE_ALL, load_circuit
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from tests.training import ROOT

TWO = str(ROOT / "src/model/circuits/two_populations.toml")


def fitted(circuit):
    return for_fit(circuit, FitSettings())[1]


def test_names_and_order():
    found = candidates(
        [str(WINNER_TAKE_ALL), TWO],
        "E1->I, I->E1 + I->E2",
        "0.5,2",
        "population_size I=100; coupling I=15,threshold I=4",
    )
    assert [candidate.name for candidate in found] == [
        "winner_take_all",
        "two_populations",
        "without E1->I",
        "without I->E1 I->E2",
        "sizes x 0.5",
        "sizes x 2",
        "population_size I=100",
        "coupling I=15, threshold I=4",
    ]


def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    other = tmp_path / "two_populations.toml"
    other.write_text((ROOT / TWO).read_text())
    assert [candidate.name for candidate in candidates([TWO, str(other)])] == [TWO, str(other)]


def test_without_removes_the_connection_and_nothing_else():
    whole = load_circuit()
    circuit = candidates([], "I->E2+E1->E1")[1].circuit
    model, before = fitted(circuit), fitted(whole)
    X = np.arange(1.0, 13.0)
    cut = from_X(X, model).coupling
    expected = from_X(X, before).coupling
    expected[2, 1] = expected[0, 0] = 0
    np.testing.assert_array_equal(cut, expected)
    np.testing.assert_array_equal(np.sign(cut), model.connectivity)
    for key in ("membrane_rate", "resting_potential", "threshold"):
        np.testing.assert_array_equal(getattr(from_X(X, model), key), getattr(from_X(X, before), key))
    for key in ("lower", "upper", "names"):
        np.testing.assert_array_equal(getattr(model.fitted, key), getattr(before.fitted, key))
    assert whole.strength[2, 1] == -1  # the circuit that was given stays


def test_a_number_of_which_nothing_remains_is_not_fitted():
    circuit = without_connections(load_circuit(TWO), ["E->I"])
    assert [name for name in fitted(circuit).fitted.names if "coupling" in name] == ["coupling E->E", "coupling I"]
    nothing = without_connections(load_circuit(), ["E1->E1", "E1->I", "E2->E2", "E2->I", "I->E1", "I->E2", "I->I"])
    model = fitted(nothing)
    assert not [name for name in model.fitted.names if "coupling" in name]
    assert not from_X(np.ones(9), model).coupling.any()


def test_a_fixed_connection_can_be_removed(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(WINNER_TAKE_ALL.read_text() + '\n[coupling.of."I->I"]\nfit = "fixed"\n')
    circuit = load_circuit(path)
    X = np.ones(12)
    assert from_X(X, fitted(circuit)).coupling[2, 2] == -19.968
    assert from_X(X, fitted(without_connections(circuit, ["I->I"]))).coupling[2, 2] == 0


def test_sizes_and_values():
    first, half, other = (each.circuit for each in candidates([], sizes="0.0125", param="population_size I=100"))
    np.testing.assert_array_equal(half.population_size, [5, 5, 2])  # 2.5 to the even number
    np.testing.assert_array_equal(other.population_size, [400, 400, 100])
    same = [field.name for field in dataclasses.fields(first) if field.name != "population_size"]
    for key in same:
        np.testing.assert_array_equal(getattr(half, key), getattr(first, key))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "candidates: expected two or more, got winner_take_all only; give more circuit files, --without"),
        ({"without": "E1->E2"}, "expected connections of .*E1->E1, E1->I, E2->E2.*, got 'E1->E2'"),
        ({"without": "E1-I"}, "got 'E1-I'; did you mean 'E1->I'?"),
        ({"without": "E1->I,"}, "without: expected variants with ',' between them, got 'E1->I,'"),
        ({"without": ""}, "without: expected variants"),
        ({"sizes": "2,x"}, "sizes: expected factors from 0.001 to 1000, got 'x'"),
        ({"sizes": "0"}, "sizes: expected factors from 0.001 to 1000, got '0'"),
        ({"sizes": "nan"}, "sizes: expected factors"),
        ({"param": "coupling X=1"}, "param: expected NAME POPULATION=NUMBER"),
        ({"param": ";"}, "param: expected variants with ';' between them, got ';'"),
        ({"sizes": "2,2.0"}, "candidates: expected each once, got sizes x 2 twice"),
        ({"paths": [TWO, TWO]}, "candidates: expected each once, got .*two_populations.toml twice"),
        ({"paths": [TWO, "no.toml"]}, "no.toml: cannot be read"),
    ],
)
def test_what_cannot_be_compared(options, message):
    given = {"paths": [], **options}
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        candidates(**given)
