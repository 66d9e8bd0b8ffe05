"""What a sampler knows, written and read back: the same to the last bit, and never half of it."""

import json

import numpy as np
import pytest

from src.posterior.state import load_state, save_state
from src.utils.exceptions import InputError
from src.utils.files import save_arrays

STATE = {
    "temperature": 0.1 + 0.2,
    "none": None,
    "words": "a/b",
    "rng": np.random.default_rng(3).bit_generator.state,  # integers of 128 bits
    "walkers": {"X": np.random.default_rng(0).standard_normal((3, 2)), "evaluation": np.arange(3)},
    "history": [{"acceptance": [0.1, 1 / 3], "error": np.inf}, {"acceptance": [], "error": 2.0}],
    "ends": [{"p": np.zeros((0, 4))}, {"p": np.array([np.nan, -np.inf, 5e-324])}],
    "flags": np.array([True, False]),
    "number": np.array(7),
    "empty": {},
    "nothing": [],
}


def assert_same(one, other, name=""):
    assert type(one) is type(other), name
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, err_msg=name)
    elif isinstance(one, dict):
        assert list(one) == list(other), name
        for key, value in one.items():
            assert_same(value, other[key], f"{name}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), name
        for k, (value, came) in enumerate(zip(one, other, strict=True)):
            assert_same(value, came, f"{name}/{k}")
    else:
        assert one == other, name


def test_there_and_back(tmp_path):
    save_state(tmp_path / "new/checkpoint", STATE)
    found = load_state(tmp_path / "new/checkpoint")
    assert_same(STATE, found)
    save_state(tmp_path / "new/checkpoint", found)
    assert_same(STATE, load_state(tmp_path / "new/checkpoint"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["checkpoint"]


def test_tuples_come_back_as_lists_and_keys_as_words(tmp_path):
    save_state(tmp_path / "checkpoint", {"pair": (1, (2.5, np.ones(2))), 3: "three"})
    found = load_state(tmp_path / "checkpoint")
    assert found["pair"][0] == 1 and found["pair"][1][0] == 2.5 and found["3"] == "three"
    np.testing.assert_array_equal(found["pair"][1][1], np.ones(2))


def test_a_random_generator_goes_on(tmp_path):
    rng = np.random.default_rng((1, 2))
    rng.standard_normal(7)
    save_state(tmp_path / "checkpoint", {"rng": rng.bit_generator.state})
    again = np.random.default_rng(0)
    again.bit_generator.state = load_state(tmp_path / "checkpoint")["rng"]
    np.testing.assert_array_equal(again.standard_normal(5), rng.standard_normal(5))


def test_what_is_written_needs_no_pickle(tmp_path):
    save_state(tmp_path / "checkpoint", STATE)
    with np.load(tmp_path / "checkpoint", allow_pickle=False) as archive:
        assert {key: archive[key].shape for key in archive.files if "walkers" in key} == {
            "/walkers/X": (3, 2),
            "/walkers/evaluation": (3,),
        }
    with pytest.raises(ValueError, match="not plain numbers"):
        save_state(tmp_path / "other", {"object": np.array([{}], object)})
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_error(tmp_path, share):
    path = tmp_path / "checkpoint"
    save_state(path, STATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="checkpoint: expected a"):
        load_state(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="checkpoint: cannot be read"):
        load_state(tmp_path / "checkpoint")


@pytest.mark.parametrize(
    "content",
    [
        {"words": "no JSON"},
        {"words": json.dumps([1, 2])},
        {"words": json.dumps({"walkers": {"array": "/walkers"}})},
        {"other": np.zeros(2)},
    ],
    ids=["no JSON", "no dictionary", "an array is missing", "no words"],
)
def test_a_broken_file_is_an_error(tmp_path, content):
    save_arrays(tmp_path / "checkpoint", False, **content)
    with pytest.raises(InputError, match="checkpoint: expected"):
        load_state(tmp_path / "checkpoint")
