"""Units keep the names that the data give them: from the file to what is held out by name."""

from dataclasses import replace

import numpy as np
import pytest

from src.data.holdout import hold_out, only, units_of, without
from src.data.unit_names import unit_name, units_called
from src.runs.checkpoint import sha256
from src.utils.exceptions import InputError
from tests.cases import random_case
from tests.recordings import LENGTH, MODEL, raster, read, write_binned, write_csv, write_intervals, write_listed
from tests.training import load

NAMES = [["7", "21"], ["3", "8"], ["10", ""]]
"""Of E1, E2 and I, in the recording that all formats hold."""
POPULATIONS = ("E", "I")


def named(names, **changes):
    """Return a recording of the populations E and I whose units have these names, "" where there is none."""
    names = np.array(names)
    recording = random_case(M=2, T=40, A=25, n_obs=names.shape[1]).recording
    return replace(recording, unit_names=names, recorded=names != "", **changes)


def called(recording):
    return [unit_name(unit, recording, POPULATIONS) for unit in units_of(recording)]


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "write"), [("a.csv", write_csv), ("a.npz", write_listed), ("b.npz", write_binned)])
def test_names_are_those_of_the_file_and_places_without_a_neuron_have_none(tmp_path, name, write):
    write(tmp_path / name, raster())
    recording, _ = read(tmp_path / name)
    assert recording.unit_names.tolist() == NAMES
    assert [unit_name(unit, recording, MODEL.names) for unit in units_of(recording)] == ["7", "21", "3", "8", "10"]


def test_names_are_those_of_another_column_and_go_with_the_unit_map(tmp_path):
    write_listed(tmp_path / "my.npz", raster(), site=np.array(["a 1", "b,2", "c", "d", "é"]))
    (tmp_path / "map.csv").write_text('unit,population\né,E1\n"b,2",I\na 1,E1\nc,\nd,E2\n')
    recording, _ = read(tmp_path / "my.npz", unit_column="site", unit_map=str(tmp_path / "map.csv"))
    assert recording.unit_names.tolist() == [["a 1", "é"], ["d", ""], ["b,2", ""]]


def test_a_data_set_of_whole_populations_gives_none():
    assert load().unit_names is None


def test_what_becomes_of_a_recording_keeps_its_names(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    write_intervals(tmp_path / "go.csv")
    recording, _ = read(tmp_path / "my.npz", trials=str(tmp_path / "go.csv"), burn_in=0.02, end_timepoint=LENGTH)
    left, held_out = hold_out(recording, MODEL, 0.2, "8")
    parts = [recording.trials(slice(1, 2)), recording.first_bins(10), only(recording, [(0, 1)]), left, held_out.later]
    parts += [without(recording, [(1, 0)], MODEL), *recording.in_batches(0.2, MODEL.dt)]
    assert all(part.unit_names.tolist() == NAMES for part in parts)


def test_the_digest_of_a_recording_does_not_know_the_names():
    recording = load()
    names = np.full((3, 3), [["a", "b", "c"]])
    assert sha256(replace(recording, unit_names=names)) == sha256(recording)


# --- what they are called ---------------------------------------------------------------------------------------------


def test_a_name_of_two_populations_has_the_population_in_front():
    recording = named([["17", "18"], ["17", "E.18"]])
    assert called(recording) == ["E.17", "18", "I.17", "I.E.18"]  # or two would be E.18


def test_a_name_does_not_depend_on_what_was_left_out():
    recording = named([["17", "18"], ["17", "19"]])
    left = only(recording, [(0, 0), (0, 1)])
    assert called(left) == ["E.17", "18"]


def test_without_names_units_are_called_by_population_and_place():
    recording = replace(named([["17", "18"], ["19", ""]]), unit_names=None)
    assert called(recording) == ["E.0", "E.1", "I.0"]
    assert units_called("I.0, E.1", recording, POPULATIONS) == [(1, 0), (0, 1)]


# --- by name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unit 3", [(0, 1)]),
        (" 20 ,unit 3", [(1, 1), (0, 1)]),
        ("I.20", [(1, 1)]),
        ("E.17,I.17", [(0, 0), (1, 0)]),
        ("E.0", [(0, 0)]),  # no unit is called so
        ("I.1", [(0, 2)]),  # but this is the name of one
        ("I.2", [(1, 2)]),
    ],
)
def test_units_are_held_out_by_their_names_or_by_population_and_place(text, expected):
    recording = named([["17", "unit 3", "I.1"], ["17", "20", "a,b"]])
    assert units_called(text, recording, POPULATIONS) == expected
    model = replace(random_case(M=2, A=25).model, names=POPULATIONS)
    fitted, held_out = hold_out(recording, model, None, text)
    assert held_out.units == expected and set(units_of(fitted)) == set(units_of(recording)) - set(expected)
    assert held_out.words == f"Held out: unit {', '.join(unit_name(one, recording, POPULATIONS) for one in expected)}."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unit_3", "expected units among E.17, unit 3, I.17, 20, a,b, each once, got 'unit_3'; did you mean 'unit 3'?"),
        ("17", "expected a name that is of one unit, got '17', which stands for E.17, I.17"),
        ("20,E.17,20", "each once, got '20'"),
        ("20,I.1", "each once, got 'I.1'"),  # the same unit
        ("E.2", "got 'E.2'"),  # a place without a neuron
        ("20,a,b", "got 'a'; commas separate names, and 'a,b' has one: write I.2 for it"),
        ("E.17,unit 3,I.0,I.1,I.2", "expected a unit to remain, got all 5: E.17, unit 3, I.17, 20, a,b"),
    ],
)
def test_what_no_name_means_is_said(text, words):
    recording = named([["17", "unit 3", ""], ["17", "20", "a,b"]])
    model = replace(random_case(M=2, A=25).model, names=POPULATIONS)
    with pytest.raises(InputError) as error:
        hold_out(recording, model, None, text)
    assert str(error.value).startswith("holdout_units: ") and words in str(error.value)


@pytest.mark.parametrize(("text", "names"), [("18", True), ("E.18", True), ("E.1", False), ("I.1", False)])
def test_who_is_not_in_the_recording_cannot_be_held_out_of_it(text, names):
    recording = only(named([["17", "18"], ["19", ""]]), [(0, 0), (1, 0)])
    with pytest.raises(InputError, match=f"each once, got '{text}'"):
        units_called(text, recording if names else replace(recording, unit_names=None), POPULATIONS)


def test_a_name_with_a_comma_cannot_be_given_where_its_place_is_the_name_of_another_unit():
    recording = named([["a,b", "E.0"], ["c", ""]])
    with pytest.raises(InputError, match=r"got 'a'; commas separate names, and 'a,b' has one: it cannot be given"):
        units_called("a,b", recording, POPULATIONS)
    assert units_called("E.0", recording, POPULATIONS) == [(0, 1)]


def test_of_many_units_the_first_are_named():
    recording = named([[f"u{i}" for i in range(9)], [f"v{i}" for i in range(9)]])
    with pytest.raises(InputError, match=r"expected units among u0, u1, .*, u7 and 10 more, each once, got 'x'"):
        units_called("x", recording, POPULATIONS)
