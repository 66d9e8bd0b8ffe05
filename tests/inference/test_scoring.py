"""The search of the M-step: its steps within bounds, how it ends, and where it goes from any start."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from src.data.dataset import load_recording
from src.fast_np import fast_lossM
from src.helper import init_model
from src.inference.fisher import Curved
from src.inference.scoring import box_step, scoring
from src.model.circuit_file import winner_take_all
from src.model.free_parameters import FreeParameters
from src.model.priors import Gaussian, LogNormal, Uniform
from src.model.scheme import SCHEMES
from src.utils.exceptions import FitError
from tests.cases import with_masks
from tests.inference.test_fisher import positive, random_case
from tests.training import DATASET, SETTINGS
from train_meso import LossM, scipy_Mstep

SCHEME = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))


def free_numbers(n, **more):
    return FreeParameters(tuple("x" * n), ("",) * n, np.zeros(n), np.eye(n), **more)


# --- a step ---


@pytest.mark.parametrize("condition", [1.0, 1e9])
def test_a_step_within_bounds_is_the_best_there_is(condition):
    rng = np.random.default_rng(0)
    held = 0
    for n, _ in itertools.product((1, 3, 12), range(20)):
        axes, _ = np.linalg.qr(rng.normal(size=(n, n)))
        matrix = axes * np.geomspace(1, condition, n) @ axes.T
        gradient = matrix @ rng.normal(size=n) + rng.normal(size=n)
        lower, upper = -rng.uniform(0, 1, n) * (rng.random(n) < 0.8), rng.uniform(0.01, 1, n)
        upper[0], lower[-1] = np.inf, -np.inf
        step = box_step(matrix, gradient, lower, upper)
        assert (step >= lower).all() and (step <= upper).all()
        slope = gradient + matrix @ step
        close = 1e-7 * np.abs(gradient).max()
        at_lower, at_upper = step <= lower + 1e-12, step >= upper - 1e-12
        assert (np.abs(slope[~at_lower & ~at_upper]) < close).all()
        assert (slope[at_lower] > -close).all() and (slope[at_upper] < close).all()
        held += at_lower.sum() + at_upper.sum()
    assert held > 50


# --- the search ---


def bowl(centre, matrix):
    def loss(X):
        away = X - centre
        return Curved(float(away @ matrix @ away / 2), matrix @ away, matrix)

    return loss


def test_a_bowl_takes_few_steps_and_bounds_that_bind_are_kept():
    matrix = np.array([[2.0, 1.9], [1.9, 2.0]]) * 1e3
    free = free_numbers(2, lower=np.array([-1.0, -1.0]), upper=np.array([0.5, 9.0]))
    told = []
    found = scoring(bowl(np.array([1.0, 2.0]), matrix), np.array([0.0, 0.0]), free, 50, near=1e-9, follow=told.append)
    np.testing.assert_allclose(found.x, [0.5, 2 + 0.95 * 0.5], rtol=1e-5)
    assert found.message == "predicted gain below 1e-10" and found.nit < 12
    assert told == sorted(told, reverse=True) and found.fun == told[-1] == bowl([1, 2], matrix)(found.x).value


def test_positive_numbers_may_be_searched_by_their_logarithms():
    """ln x - 5 squared: from x = 1e-3, a step in x would be far off."""

    def loss(X):
        away = np.log(X[0]) - 5
        return Curved(
            away**2 + (X[1] + 3) ** 2, np.array([2 * away / X[0], 2 * (X[1] + 3)]), np.diag([2 / X[0] ** 2, 2])
        )

    free = free_numbers(2, lower=np.array([1e-6, -9.0]))
    found = scoring(loss, np.array([1e-3, 4.0]), free, 50, near=1e-9, logarithms=True)
    np.testing.assert_allclose(found.x, [np.exp(5), -3], rtol=1e-4)
    assert found.nit < 10


def test_what_nothing_depends_on_stays_and_a_slope_that_lies_ends_the_search():
    free = free_numbers(3)
    found = scoring(bowl(np.array([1.0, 0, 2]), np.diag([1.0, 0, 3])), np.array([0.3, 7, 0.3]), free, 50, near=1e-9)
    np.testing.assert_allclose(found.x, [1, 7, 2], rtol=1e-4)
    start = np.ones(3)
    uphill = scoring(lambda X: Curved(float(X.sum()), -np.ones(3), np.eye(3)), start, free, 200, near=1e-9)
    assert uphill.message == "no descent" and uphill.nit == 0
    np.testing.assert_array_equal(uphill.x, start)
    short = scoring(bowl(np.array([1e9, 0, 0]), np.eye(3)), start, free, 1, near=1e-9)
    assert short.message == "1 iterations" and short.nit == 1


def test_a_step_to_where_there_is_no_loss_is_taken_back():
    def loss(X):
        if X[0] > 3:
            raise FitError("no loss")
        return Curved(float((X[0] - 2.9) ** 2), 2 * (X - 2.9), np.eye(1) * 0.1)  # 20 times too flat: it oversteps

    found = scoring(loss, np.zeros(1), free_numbers(1), 200, near=1e-9)
    assert found.x[0] == pytest.approx(2.9, abs=1e-4)
    with pytest.raises(FitError, match="no loss"):
        scoring(loss, np.full(1, 4.0), free_numbers(1), 200, near=1e-9)


def test_a_step_of_a_logarithm_is_never_long():
    seen = []

    def loss(X):
        seen.append(X[0])
        return Curved(-np.log(X[0]), -1 / X, np.full((1, 1), 1e-9 / X[0] ** 2))

    scoring(loss, np.ones(1), free_numbers(1, lower=np.array([1e-9])), 5, near=1e-9, logarithms=True)
    assert len(seen) == 6 and (np.diff(np.log(seen)) < 2 + 1e-9).all()


# --- M-steps ---


SETTINGS_200 = replace(SETTINGS, method="fisher", Mmaxiters=200)


def problem(scheme):
    model = winner_take_all(window=SETTINGS.a_cutoff, scheme=scheme)
    recording, _ = load_recording(DATASET, model, end_timepoint=1.2)
    return recording, model, init_model(recording, model, np.random.default_rng(0))


@SCHEME
def test_an_M_step_ends_at_one_place_from_any_start(scheme):
    recording, model, (_, activity) = problem(scheme)
    n, ends = activity[..., model.window_bins :], []
    for seed in range(5):
        X = model.fitted.draw(np.random.default_rng(seed))
        found = scipy_Mstep(X, n, recording, model, SETTINGS_200)
        assert found.message == "predicted gain below 1e-10"
        ends.append(found)
    assert max(end.fun for end in ends) - min(end.fun for end in ends) < 1e-8
    spread = np.ptp([end.x for end in ends], axis=0) / model.fitted.scale
    assert spread.max() < 1e-3


def test_a_first_M_step_on_spikes_alone_stops_once_a_step_promises_less_than_a_nat():
    """So that starts stay apart where the spikes say little."""
    recording, model, (_, activity) = problem(SCHEMES["consistent"])
    n, size, ends = activity[..., model.window_bins :], 3 * recording.n_judged, []
    for seed in range(5):
        X = model.fitted.draw(np.random.default_rng(seed))
        ends.append(scipy_Mstep(X, n, recording, model, SETTINGS_200, spikes_only=True))
        assert ends[-1].message == f"predicted gain below {1 / size:g}"
    spikes = LossM(X, n, recording, model, 0, spikes_only=True)
    best = min(scoring(spikes.curved, end.x, model.fitted, 200, near=1e-9, logarithms=True).fun for end in ends)
    assert all(0 <= (end.fun - best) * size < 10 for end in ends)
    assert np.ptp([end.x for end in ends], axis=0).max() > 0.1


@SCHEME
def test_no_other_optimiser_gets_lower(scheme):
    recording, model, (X, activity) = problem(scheme)
    n = activity[..., model.window_bins :]
    best = scipy_Mstep(X, n, recording, model, SETTINGS_200)
    for method in ("L-BFGS-B", "trust-constr"):
        other = scipy_Mstep(best.x, n, recording, model, replace(SETTINGS_200, method=method))
        assert other.fun > best.fun - 1e-8


def test_a_first_M_step_never_ends_above_its_start():
    """Even where the activity does not go with the spikes, on which it starts, and with one iteration each."""
    recording, model, (X, activity) = problem(SCHEMES["consistent"])
    n = np.clip(1.8 * activity[..., model.window_bins :], 0, 1)
    best = scipy_Mstep(X, n, recording, model, SETTINGS_200)
    again = scipy_Mstep(best.x, n, recording, model, replace(SETTINGS_200, Mmaxiters=1))
    assert again.fun <= best.fun


@SCHEME
def test_priors_masks_trials_and_bounds_all_count(scheme):
    """The slope of the whole loss is zero where no bound holds, and points beyond the bound where one does."""
    case, X = positive(with_masks(random_case(M=2, B=3, T=120, A=40, n_obs=3, scheme=scheme)))
    kinds = (Gaussian(40.0, 5.0), None, LogNormal(2.0, 0.4), None, Uniform(0.0, 9.0), Gaussian(5.0, 1.0), None, None)
    lower, upper = np.minimum(0.4 * X, 0), 2 * X + 1
    upper[6] = X[6]  # binds
    free = replace(case.model.fitted, lower=lower, upper=upper, scale=np.maximum(X, 1), priors=kinds)
    model = replace(case.model, free=free)
    found = scipy_Mstep(0.5 * (lower + upper), case.activity, case.recording, model, SETTINGS_200)
    loss = LossM(found.x, case.activity, case.recording, model, 0, spikes_only=False)
    value, slope = loss(found.x)
    assert value == pytest.approx(found.fun, rel=1e-12)
    prior, _ = free.prior_loss(found.x)
    alone, _ = fast_lossM(found.x, case.activity, case.recording, model)
    assert value == pytest.approx(alone + prior / (2 * case.recording.n_judged), rel=1e-12)
    at_lower, at_upper = found.x <= lower, found.x >= upper
    assert (at_lower | at_upper).any()
    gain = slope * free.scale
    close = 1e-4 if scheme.small_hazard == 0 else 1e-2  # the published loss has steps
    assert np.abs(gain[~at_lower & ~at_upper]).max() < close
    assert (gain[at_lower] > -close).all() and (gain[at_upper] < close).all()


def test_the_matrix_has_the_curvature_of_the_priors():
    case, X = positive(random_case(M=1))
    priors = (Gaussian(40.0, 5.0), LogNormal(2.0, 0.4), Uniform(0.0, 9.0), None)
    with_priors = replace(case.model, free=replace(case.model.fitted, priors=priors))
    given = X, case.activity, case.recording
    one, other = (LossM(*given, model, 0, spikes_only=False).curved(X) for model in (case.model, with_priors))
    expected = np.diag([5.0**-2, (0.4 * X[1]) ** -2, 0, 0]) / case.recording.n_judged
    np.testing.assert_allclose(other.matrix - one.matrix, expected, rtol=1e-6, atol=1e-12)
