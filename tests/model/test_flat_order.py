"""The order of all parameters in one vector, against the containers, for one population and for several."""

from dataclasses import fields

import numpy as np
import pytest

from src.model.containers import Parameters
from src.model.flat_order import UNITS, names_of_flat, number_of, places, populations_of, slices


def test_the_kinds_are_the_fields_of_the_container():
    assert [field.name for field in fields(Parameters)] == list(UNITS)


@pytest.mark.parametrize("M", [1, 2, 3, 8])
def test_slices_and_places_are_where_the_container_puts_them(M):
    rng = np.random.default_rng(M)
    parts = Parameters(rng.random(M), rng.random((M, M)), rng.random(M), rng.random(M))
    flat = parts.flat()
    assert number_of(M) == len(flat) == 3 * M + M**2 and populations_of(len(flat)) == M
    again = Parameters.from_flat(flat)
    for word, part in vars(parts).items():
        np.testing.assert_array_equal(flat[places(word, M)], part)
        np.testing.assert_array_equal(flat[slices(M)[word]], part.ravel())
        np.testing.assert_array_equal(getattr(again, word), part)


def test_names_go_by_the_same_order():
    names = names_of_flat(("a", "b"))
    assert names[places("coupling", 2)[0, 1]] == "coupling a->b"
    assert names[places("coupling", 2)[1, 0]] == "coupling b->a"
    assert [names[k] for k in places("threshold", 2)] == ["threshold a", "threshold b"]
    assert len(names) == number_of(2)
