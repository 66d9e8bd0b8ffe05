"""Stiff and sloppy directions: known eigenvectors, and words that name the right numbers with the right signs."""

from dataclasses import replace

import numpy as np
import pytest

from src.model.containers import Model
from src.model.free_parameters import FreeParameters
from src.model.priors import Gaussian
from src.model.scheme import CONSISTENT
from src.posterior.directions import called, changes, direction_lines, directions, kind_of, named
from tests.ridge_posterior import of_numbers, on_ridge, silent, with_draws

SMALL = np.full(12, 0.01)


def place(name):
    return on_ridge(sweeps=1, walkers=2).model.fitted.names.index(name)


def line_along(**weights):
    """The sloppiest direction in words, of a posterior with a ridge along these numbers."""
    ridge = np.zeros(12)
    for name, weight in weights.items():
        ridge[place(name.replace("__", " "))] = weight
    return direction_lines(on_ridge(spread=SMALL, ridge=ridge), 1)[0]


def test_directions_are_the_eigenvectors_that_were_put_in():
    rng, axis = np.random.default_rng(0), np.array([0.6, -0.8])
    logs = 0.4 * rng.standard_normal((20, 500, 1)) * axis + 0.05 * rng.standard_normal((20, 500, 1)) * axis[::-1] * [
        -1,
        1,
    ]
    sloppy, stiff = directions(of_numbers(logs, 0.1, 10))
    np.testing.assert_allclose(sloppy.weights, -axis, atol=0.02)  # the largest weight is positive
    np.testing.assert_allclose(stiff.weights, [0.8, 0.6], atol=0.02)
    width = 0.9 * np.log(100)
    assert sloppy.share == pytest.approx(3.29 * 0.4 / width, rel=0.03)
    assert stiff.share == pytest.approx(3.29 * 0.05 / width, rel=0.03)
    assert sloppy.ratio == pytest.approx(np.exp(3.29 * 0.4 * 0.8), rel=0.03)
    np.testing.assert_array_equal(named(sloppy), [1, 0])


def test_numbers_count_in_units_of_their_prior():
    logs = np.random.default_rng(0).standard_normal((20, 500, 2)) * [0.1, 0.2]
    posterior = of_numbers(logs, 0.1, 10)
    free = replace(posterior.model.fitted, lower=np.array([0.5, 0.01]), upper=np.array([2, 100.0]))
    sloppy = directions(replace(posterior, model=replace(posterior.model, free=free)))[0]
    assert np.abs(sloppy.weights[0]) > 0.99  # 0.1 of ln 4 is more than 0.2 of ln 10000


def test_the_sentence_of_the_issue():
    line = line_along(coupling__I=0.3, resting_potential__E1=0.2, resting_potential__E2=0.2, resting_potential__I=0.2)
    assert line.startswith(
        "Sloppy: coupling I and all resting potentials move together: a stronger inhibition is made up for by a higher "
        "resting potential (90 % of the draws: coupling I within a factor of 2."
    )


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (
            {"coupling__E1": 0.2, "threshold__E1": -0.16, "membrane_rate__I": 0.1},
            "coupling E1 and membrane rate I rise while threshold E1 falls: a stronger excitation is made up for by a "
            "lower threshold and a faster membrane (",
        ),
        (
            {"coupling__E1": -0.2, "threshold__E1": -0.15},
            "coupling E1 and threshold E1 move together: a stronger excitation is made up for by a higher threshold (",
        ),
        (
            {"threshold__E1": 0.15, "threshold__E2": -0.2},
            "threshold E2 rises while threshold E1 falls: a higher threshold of E2 is made up for by a lower threshold "
            "of E1 (",
        ),
        (
            {"coupling__E1": 0.15, "coupling__E2": -0.2, "membrane_rate__E1": 0.1},
            "coupling E2 rises while coupling E1 and membrane rate E1 fall: a stronger excitation from E2 is made up "
            "for by a weaker excitation from E1 and a slower membrane (",
        ),
        ({"threshold__E1": 0.15, "threshold__E2": 0.2}, "thresholds E1 and E2 move together (90 %"),
        ({"threshold__I": -0.2}, "threshold I by itself (90 % of the draws: threshold I within a factor of 1.9"),
    ],
)
def test_numbers_and_signs_of_a_sloppy_direction(weights, said):
    assert said in line_along(**weights)


def test_stiff_directions_say_what_cannot_be():
    rng, sd = np.random.default_rng(0), np.full(12, 0.1)
    posterior = on_ridge(spread=sd, ridge=np.zeros(12))
    X = posterior.X.copy()
    X[..., 3] = 9.984 * X[..., 0] / 50 * np.exp(0.002 * rng.standard_normal(X.shape[:2]))  # coupling / rate is known
    line = direction_lines(replace(posterior, X=X), 1)[1]
    assert line.startswith("Stiff: membrane rate E1 and coupling E1: ") or line.startswith(
        "Stiff: coupling E1 and membrane rate E1: "
    )
    assert (
        "a stronger excitation cannot come with a slower membrane (known to " in line
        or "a faster membrane cannot come with a weaker excitation (known to " in line
    )


def single(names, matrix, connectivity, **more):
    """A posterior of numbers with any names, of populations E1 and I."""
    free = FreeParameters(
        names,
        ("",) * len(names),
        np.zeros(10),
        matrix,
        lower=np.full(len(names), 0.5),
        upper=np.full(len(names), 2.0),
        **more,
    )
    model = Model(
        np.full(2, 100.0),
        np.full(2, 200.0),
        connectivity,
        names=("E1", "I"),
        scheme=CONSISTENT,
        window_bins=40,
        free=free,
    )
    X = np.exp(0.1 * np.random.default_rng(0).standard_normal((10, 50, len(names))))
    return with_draws(model, silent(model), X)


def test_any_circuit_is_told_by_its_signs():
    signs = np.array([[1, 1], [-1, -1]])
    matrix = np.zeros((4, 10))
    matrix[0, 3], matrix[1, 4], matrix[2, 2:6], matrix[3, 8:10] = 1, -1, [1, 0, 0, -1], 1
    free = single(
        ("coupling E1->I", "coupling I->E1", "coupling shared", "threshold shared"), matrix, signs
    ).model.fitted
    assert [kind_of(k, free) for k in range(4)] == ["excitation", "inhibition", "coupling", "threshold"]
    assert called(np.array([3]), free) == "the shared threshold"
    assert called(np.array([1, 0]), free) == "couplings E1→I and I→E1"
    assert called(np.array([0, 1, 2]), free) == "all couplings"
    weights = np.array([0.5, -0.5, 0.5, -0.5])
    assert changes(np.arange(4), weights, free) == [
        "a stronger excitation",
        "a weaker inhibition",
        "a stronger coupling",
        "a lower threshold",
    ]


def test_numbers_that_may_be_negative_are_told_by_their_difference():
    matrix = np.zeros((1, 10))
    matrix[0, 6] = 1
    posterior = single(("resting_potential E1",), matrix, np.ones((2, 2)), priors=(Gaussian(0, 3),))
    free = replace(posterior.model.fitted, lower=np.array([-9.0]), upper=np.array([9.0]))
    X = np.random.default_rng(0).normal(-1, 2, (20, 500, 1)).clip(-9, 9)
    posterior = with_draws(replace(posterior.model, free=free), posterior.recording, X)
    lines = direction_lines(posterior)
    assert len(lines) == 1 and "resting potential E1 by itself" in lines[0]
    assert float(lines[0].split("within ")[1].rstrip(").")) == pytest.approx(2 * 1.645 * 2, rel=0.03)


def test_no_direction_is_both_stiff_and_sloppy():
    logs = 0.1 * np.random.default_rng(0).standard_normal((10, 50, 3))
    lines = direction_lines(of_numbers(logs, 0.1, 10), 2)
    assert [line.split(":")[0] for line in lines] == ["Sloppy", "Sloppy", "Stiff"]
