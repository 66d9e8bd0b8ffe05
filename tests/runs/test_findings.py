"""What a training says in the end about windows, bounds and priors."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from src.inference import laplace
from src.inference.fisher import Curved, fisher
from src.inference.laplace import conditional_errors, shares
from src.model.containers import Recording
from src.model.free_parameters import one_per_presynaptic
from src.model.priors import Gaussian, LogNormal, Uniform
from src.model.scheme import CONSISTENT
from src.runs.findings import at_bounds, close_to_bounds, findings, held_by_priors, in_words
from src.runs.record import Finding, RunRecord
from src.utils.exceptions import InputError
from tests.cases import random_case
from tests.training import MODEL, X_REF


def words(found, units=None):
    return [in_words(each, each.subject, (units or {}).get(each.subject, "")) for each in found]


CASE = random_case(M=1, B=2, T=30)
SIZE = 60


def model_of(priors=(None,) * 4):
    free = one_per_presynaptic(np.ones((1, 1)), "a").around(np.array([50.0, 2, 8, 4]), 0.5, 2)
    return replace(CASE.model, free=replace(free, priors=tuple(priors)))


@pytest.fixture
def curved(monkeypatch):
    """Return a function that makes the likelihood a parabola with a given Hessian, in nats."""

    def make(hessian):
        def fisher(X, *_, weights):
            assert weights == "expected"
            return Curved(0.0, hessian @ X / SIZE, hessian / SIZE)

        monkeypatch.setattr(laplace, "fisher", fisher)

    return make


def test_shares_are_those_of_a_gaussian(curved):
    """Two numbers that make up for each other are left wide by data that fix each of them alone."""
    between = np.diff([[25, 100], [1, 4], [4, 16], [2, 8]])[:, 0] / np.sqrt(12)
    hessian = np.diag([4e-3, 0.0, 0.02, 0.5])
    hessian[2:, 2:] += 900 * np.array([[1, -1], [-1, 1]])
    curved(hessian)
    model = model_of([Gaussian(50, 10), None, LogNormal(8, 0.25), Uniform(0, 99)])
    width = np.array([10, between[1], 0.25 * 9, between[3]])
    X = np.array([50.0, 2.5, 9, 5])
    expected = np.diag(np.linalg.inv(np.eye(4) + width[:, None] * hessian * width))
    came = shares(X, CASE.activity, CASE.recording, model)
    np.testing.assert_allclose(came, expected, rtol=1e-8)
    assert came[0] == pytest.approx(1 / 1.4) and came[1] == 1 and came[2] > 0.15  # alone it would be 1 / 4557
    X[3] = 8.0  # at its bound: then the data fix the other one
    came = shares(X, CASE.activity, CASE.recording, model)
    assert came[2] < 1e-3 and np.isnan(came[3])


def test_conditional_errors_are_those_of_a_gaussian(curved):
    hessian = np.diag([4e-3, 0.0, 0.02, 0.5])
    hessian[2:, 2:] += 900 * np.array([[1, -1], [-1, 1]])
    curved(hessian)
    model, X = model_of([Gaussian(50, 10), None, LogNormal(8, 0.25), Uniform(0, 99)]), np.array([50.0, 2.5, 9, 5])
    known = hessian + np.diag([0.01, 0, (0.25 * 9) ** -2, 0])
    expected = np.sqrt(np.diag(np.linalg.inv(known[np.ix_([0, 2, 3], [0, 2, 3])])))
    came = conditional_errors(X, CASE.activity, CASE.recording, model)
    np.testing.assert_allclose(came[[0, 2, 3]], expected, rtol=1e-8)
    assert np.isinf(came[1])  # nothing is known of it
    vague = model_of([Gaussian(50, 10), Gaussian(2, 1e5), LogNormal(8, 0.25), Uniform(0, 99)])
    assert conditional_errors(X, CASE.activity, CASE.recording, vague)[1] == pytest.approx(1e5)  # the prior says it
    X[3] = 8.0  # at its bound
    came = conditional_errors(X, CASE.activity, CASE.recording, model)
    assert np.isnan(came[3]) and came[2] == pytest.approx((900.02 + (0.25 * 9) ** -2) ** -0.5)


def test_conditional_errors_are_those_of_the_likelihood():
    case = random_case(M=1, B=4, T=200, A=40, n_obs=3, scheme=CONSISTENT)
    free = one_per_presynaptic(np.ones((1, 1)), "a").around(np.array([50.0, 2, 8, 4]), 0.01, 20)
    model, X = replace(case.model, free=free), np.array([45.0, 2.2, 8.5, 4.5])
    matrix = fisher(X, case.activity, case.recording, model, weights="expected").matrix * case.recording.n_judged
    errors = conditional_errors(X, case.activity, case.recording, model)
    np.testing.assert_allclose(errors, np.sqrt(np.diag(np.linalg.inv(matrix))), rtol=1e-6)


def test_what_is_said_of_priors(curved):
    curved(np.diag([0.02, 1.0, 1.0, 1.0]))
    model = model_of([Gaussian(50, 10), Gaussian(2, 0.2), LogNormal(8, 0.1), None])
    said = held_by_priors(np.array([51.0, 2.5, 5, 4]), CASE.activity, CASE.recording, model)
    assert words(said) == [
        "coupling a is held by its prior: the data leave 96% of the prior's variance.",
        "coupling a ends 2.5 standard deviations above the centre of its prior.",
        "resting_potential a is held by its prior: the data leave 80% of the prior's variance.",
        "resting_potential a ends 4.7 standard deviations below the centre of its prior.",
    ]
    assert held_by_priors(X_REF, CASE.activity, CASE.recording, MODEL) == []  # and nothing is computed


def test_the_curvature_is_that_of_the_likelihood():
    """On a real loss: a wide prior leaves the decision to the data, a narrow one does not."""
    activity, recording = CASE.activity, CASE.recording
    X = np.array([50.0, 2, 8, 4])
    for sd, held in ((1e-4, True), (30.0, False)):
        model = model_of([None, None, None, Gaussian(4, sd)])
        said = held_by_priors(X, activity, recording, model)
        assert (
            words(said) == ["threshold a is held by its prior: the data leave 100% of the prior's variance."]
        ) == held
        assert held or said == []


def switching(turns, T=1000):
    """Return an activity in which E1 and E2 take turns so often, and its recording."""
    first = (np.arange(T) * (turns + 1) // T) % 2 == 0
    activity = 0.004 * np.stack([np.where(first, 20, 5), np.where(first, 5, 20), np.full(T, 25)])[None]
    silence = np.zeros((1, 3, MODEL.window_bins + T, 1), np.uint8)
    return activity, Recording(silence, np.zeros((1, 3, T)), np.full((1, 3), 10.0))


@pytest.mark.parametrize(
    ("turns", "said"), [(0, ["never switches in 4 s."]), (1, ["switches once in 4 s."]), (2, []), (3, [])]
)
def test_no_switching_rate_is_had_from_fewer_than_two_switches(turns, said):
    found = [each for each in findings(X_REF, *switching(turns), MODEL) if each.kind == "no_switching_rate"]
    assert words(found) == [
        f"No switching rate is to be had from this recording: the inferred activity {each}" for each in said
    ]


def test_numbers_at_a_bound_are_named():
    X = X_REF.copy()
    X[0], X[5] = 20, 2 * 19.968
    assert words(at_bounds(X, MODEL), {"membrane_rate E1": "1/s"}) == [
        "membrane_rate E1 ends at its lower bound, 20 1/s.",
        "coupling I ends at its upper bound, 39.94.",
    ]
    assert findings(X, *switching(2), MODEL)[-2:] == at_bounds(X, MODEL)
    assert at_bounds(X_REF, MODEL) == at_bounds(X_REF, replace(MODEL, free=None)) == []


def test_numbers_close_to_a_bound_are_named():
    free = MODEL.fitted
    X = X_REF.copy()
    X[0] = free.lower[0]  # at it, which is another matter
    X[1] = free.upper[1] - 0.009 * (free.upper[1] - free.lower[1])
    X[5] = free.lower[5] + 0.009 * (free.upper[5] - free.lower[5])
    said = close_to_bounds(X, MODEL)
    assert words(said) == [
        f"membrane_rate E2 ends close to its upper bound: {X[1]:.4g}, and the bound is 100.",
        f"coupling I ends close to its lower bound: {X[5]:.4g}, and the bound is 7.987.",
    ]
    assert findings(X, *switching(2), MODEL)[-3:] == [*at_bounds(X, MODEL), *said]
    X[5] = free.lower[5] + 0.011 * (free.upper[5] - free.lower[5])
    assert len(close_to_bounds(X, MODEL)) == 1
    assert close_to_bounds(X, replace(MODEL, free=replace(free, lower=free.lower - np.inf))) == []


@pytest.mark.parametrize("found", [Finding("no_such_thing", "threshold I", {}), Finding("held_by_prior", "a", {})])
def test_a_finding_of_another_version_is_one_line(found):
    with pytest.raises(InputError, match=f"findings: expected one of short_window, .*, got {found.kind} with none"):
        in_words(found, found.subject)


def test_findings_go_through_JSON():
    found = Finding("at_lower_bound", "coupling I", {"number": 2.0})
    content = {"status": "running", "seconds": 0.0, "model": {}, "parameter_names": [], "lower": [], "upper": []}
    record = RunRecord.from_dict(json.loads(json.dumps(content | {"findings": [asdict(found)]})))
    assert record.findings == (found,)
    assert RunRecord.from_dict(content | {"remarks": ["of an earlier version"]}).findings == ()
    for odd in ("words", [["words"]], [{"kind": "a", "subject": "b"}], [{"kind": 1, "subject": "b", "numbers": {}}]):
        with pytest.raises((TypeError, KeyError)):
            RunRecord.from_dict(content | {"findings": odd})
