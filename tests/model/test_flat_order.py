"""The order of all parameters in one vector, against the containers, for one population and for several."""

from dataclasses import fields

import numpy as np
import pytest

from src.model.containers import Parameters
from src.model.flat_order import (
    ALL_UNITS,
    has_gains,
    names_of_flat,
    number_of,
    of_populations,
    places,
    populations_of,
    slices,
)


def test_the_kinds_are_the_fields_of_the_container():
    assert [field.name for field in fields(Parameters)] == list(ALL_UNITS)


@pytest.mark.parametrize("gains", [False, True])
@pytest.mark.parametrize("M", [1, 2, 3, 8])
def test_slices_and_places_are_where_the_container_puts_them(M, gains):
    rng = np.random.default_rng(M)
    gain = rng.random(M) if gains else None
    parts = Parameters(rng.random(M), rng.random((M, M)), rng.random(M), rng.random(M), gain)
    flat = parts.flat()
    assert number_of(M, gains) == len(flat) == 3 * M + M**2 + gains * M and populations_of(len(flat)) == M
    again = Parameters.from_flat(flat)
    assert list(again.parts()) == list(parts.parts())
    for word, part in parts.parts().items():
        np.testing.assert_array_equal(flat[places(word, M)], part)
        np.testing.assert_array_equal(flat[slices(M, gains)[word]], part.ravel())
        np.testing.assert_array_equal(getattr(again, word), part)


def test_names_go_by_the_same_order():
    names = names_of_flat(("a", "b"))
    assert names[places("coupling", 2)[0, 1]] == "coupling a->b"
    assert names[places("coupling", 2)[1, 0]] == "coupling b->a"
    assert [names[k] for k in places("threshold", 2)] == ["threshold a", "threshold b"]
    assert len(names) == number_of(2)


def test_the_length_of_a_vector_says_whether_it_has_gains():
    lengths = {number_of(M, gains): (M, gains) for M in range(1, 65) for gains in (False, True)}
    assert len(lengths) == 128
    assert all((populations_of(F), has_gains(F)) == expected for F, expected in lengths.items())


def test_a_gain_stands_before_the_threshold_among_the_numbers_of_its_population():
    names = np.array(names_of_flat(("a", "b"), gains=True))
    assert names[-2:].tolist() == ["input_gain a", "input_gain b"]
    assert names[of_populations(2, gains=True)][1, -2:].tolist() == ["input_gain b", "threshold b"]
    np.testing.assert_array_equal(of_populations(2, gains=True)[:, [0, 1, 2, 3, 5]], of_populations(2))
