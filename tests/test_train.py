"""The rules of the fit (SPEC 5), on losses and steps made up for the purpose."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import OptimizeResult
from threadpoolctl import threadpool_info, threadpool_limits

import train_meso
from src.fast_np import fast_lossM
from src.helper import init_model
from src.inference.em import FitObserver
from src.model.circuit_file import reference_parameters, winner_take_all
from src.runs.settings import METHODS
from src.utils.exceptions import FitError
from tests.training import MODEL, SETTINGS, X_REF, A, load, load_start
from train_meso import EStep, scipy_Mstep, tf_EGDstep, train

REFERENCE = reference_parameters()


@pytest.fixture(scope="module")
def recording():
    return load()


@pytest.fixture(scope="module")
def start(recording):
    return load_start(recording)


# --- rules of the E-step ----------------------------------------------------------------------------------------------


class Script:
    """Stands in for E_loss: losses from a list, and a gradient of ones; remembers the activities it was given."""

    def __init__(self, *losses):
        self.losses, self.seen = list(losses), []

    def __call__(self, activity, batches, constants):
        self.seen.append(activity.numpy())
        return np.array(self.losses.pop(0), float), tf.ones_like(activity)


@pytest.fixture
def scripted(recording, start, monkeypatch):
    """Return a function that runs E-steps on scripted losses (start first), with the settings given."""

    def run(*E_steps, **changes):
        settings = replace(SETTINGS, **changes)
        E_step = EStep(recording, MODEL, settings)
        outcomes = []
        for k, losses in enumerate(E_steps, 1):
            script = Script(*losses)
            monkeypatch.setattr(train_meso, "E_loss", script)
            found = E_step(*start, k, FitObserver())
            if E_step.ended:
                assert E_step.ended == f"E-step {k} brought nothing new"
                np.testing.assert_array_equal(found, start[1])
            outcomes.append((None if E_step.ended else found, script))
            E_step.ended = ""
        return outcomes

    return run


BETTER, HALF, WORSE = (-1, -1), (-2, 0), (9, 9)


def test_it_stops_after_so_many_steps_without_and_goes_back(scripted, start):
    ((found, script),) = scripted([(0, 0), (-1, -1), (-2, -2), WORSE, WORSE, WORSE, (-9, -9)])
    assert len(script.losses) == 1  # three steps without, and no more
    np.testing.assert_array_equal(found[..., A:], script.seen[2])
    assert not np.array_equal(script.seen[2], script.seen[-1])
    np.testing.assert_array_equal(found[..., :A], start[1][..., :A])  # the window stays


def test_steps_without_are_counted_in_a_row(scripted):
    losses = [(0, 0), WORSE, WORSE, (-1, -1), WORSE, WORSE, (-2, -2), WORSE, WORSE, WORSE]
    ((found, script),) = scripted(losses)
    assert script.losses == []
    np.testing.assert_array_equal(found[..., A:], script.seen[6])


@pytest.mark.parametrize("tolerance", [1, 2, 5])
def test_the_tolerance_is_an_option(scripted, tolerance):
    ((found, script),) = scripted([(0, 0), *[WORSE] * 9], E_itertol=tolerance)
    assert len(script.seen) == 1 + tolerance and found is None


def test_both_losses_have_to_be_the_lowest(scripted):
    ((found, _),) = scripted([(0, 0), (-1, 1), (1, -1), (-2, 0)])  # the last: loss_Z equal, not lower
    assert found is None


def test_the_lowest_is_of_each_loss_alone(scripted):
    """A step that improves one loss only raises the bar for it."""
    ((found, _),) = scripted([(0, 0), (-5, 1), (-4, -1), (-3, -2)])
    assert found is None
    ((found, script),) = scripted([(0, 0), (-5, 1), (-4, -1), (-6, -2), WORSE, WORSE, WORSE])
    np.testing.assert_array_equal(found[..., A:], script.seen[3])


def test_the_start_counts_among_the_lowest(scripted):
    ((found, _),) = scripted([(-1, -1), (-1, -2), (-0.5, -3), (-0.9, -9)])
    assert found is None


def test_the_lowest_is_kept_from_one_E_step_to_the_next(scripted):
    first = [(0, 0), (-3, -3), WORSE, WORSE, WORSE]
    outcomes = scripted(first, [(2, 2), (1, 1), (0, 0), (-2, -2)])
    assert outcomes[0][0] is not None and outcomes[1][0] is None
    outcomes = scripted(first, [(-4, -2), (-3.5, -5), (-4.5, -6), WORSE, WORSE, WORSE])
    np.testing.assert_array_equal(outcomes[1][0][..., A:], outcomes[1][1].seen[2])


def test_at_most_so_many_steps(scripted):
    losses = [(-k, -k) for k in range(99)]
    ((found, script),) = scripted(losses, Emaxiters=7)
    assert len(script.seen) == 1 + 7
    np.testing.assert_array_equal(found[..., A:], script.seen[7])


def test_Adams_state_carries_over_and_the_activity_is_clipped(recording, start, monkeypatch):
    """Against its equations in NumPy, over two E-steps of gradients that differ."""
    E_step = EStep(recording, MODEL, replace(SETTINGS, precision="float64", E_LR=0.5))
    rng = np.random.default_rng(0)
    m, v, t, clipped = 0.0, 0.0, 0, 0
    for EMstep in (1, 2):
        gradients = rng.normal(size=(4, *start[1][..., A:].shape))
        script = Script((0, 0), WORSE, WORSE, WORSE)
        given = iter(gradients)
        monkeypatch.setattr(train_meso, "E_loss", lambda *a, s=script, g=given: (s(*a)[0], tf.constant(next(g))))
        np.testing.assert_array_equal(E_step(*start, EMstep, FitObserver()), start[1])
        n = start[1][..., A:]
        np.testing.assert_array_equal(script.seen[0], n)
        for g, seen in zip(gradients, script.seen[1:], strict=False):
            t += 1
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            rate = 0.5 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            n = np.clip(n - rate * m / (np.sqrt(v) + 1e-7), 1e-5, 1)
            np.testing.assert_allclose(seen, n, rtol=1e-4, atol=2e-5)  # 0.999 is a float32 there
            clipped += (seen == 1e-5).sum() * (seen == 1).any()
    assert t == 6 and clipped > 0


@pytest.mark.parametrize("GDstep", [0, 2])
@pytest.mark.parametrize("losses", [(np.nan, 0), (0, np.inf)])
def test_losses_that_are_not_finite_end_the_fit(scripted, GDstep, losses):
    script = [(0, 0), (-1, -1), (-2, -2)]
    script[GDstep] = losses
    with pytest.raises(FitError, match=f"E-step 1, step {GDstep}: expected finite losses, got loss_y = "):
        scripted(script)


def test_a_fit_is_summed_up_on_one_thread(monkeypatch):
    class SeenError(Exception):
        pass

    def look(*_, **__):
        raise SeenError([pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"])

    monkeypatch.setattr(train_meso, "init_model", look)
    with threadpool_limits(2, user_api="blas"), pytest.raises(SeenError) as seen:
        train_meso.train(load(), MODEL, SETTINGS)
    assert set(seen.value.args[0]) == {1}


@pytest.mark.parametrize("uneven", [pytest.param(False, marks=pytest.mark.slow), True])
def test_one_step_lowers_the_loss_and_t_perbatch_changes_nothing(uneven):
    recording = load(trial_length=0.1)
    if uneven:
        judged = np.arange(recording.n_bins) < np.array([25, 9, 13, 25, 2])[:, None]
        recording = replace(recording, judged=judged)
    activity = init_model(recording, MODEL, np.random.default_rng(1))[1][..., A:]
    results = {}
    for t_perbatch, batches in ((0.001, 5), (0.1, 5), (0.299, 3), (0.5, 1), (9, 1)):
        assert len(EStep(recording, MODEL, replace(SETTINGS, t_perbatch=t_perbatch)).losses) == batches
    for t_perbatch in (None, 0.3):
        E_step = EStep(recording, MODEL, replace(SETTINGS, precision="float64", t_perbatch=t_perbatch))
        E_step.activity.assign(activity)
        constants = [loss.constants(REFERENCE) for loss in E_step.losses]
        before, gradient = train_meso.E_loss(E_step.activity, E_step.losses, constants)
        after, _ = tf_EGDstep(E_step.activity, gradient, E_step.optimizer, E_step.losses, constants)
        assert after.sum() < before.sum()
        results[t_perbatch] = [len(E_step.losses), before, gradient.numpy(), after]
    assert [result[0] for result in results.values()] == [1, 2]
    for result in results.values():
        for came, expected in zip(result[1:], results[None][1:], strict=True):
            np.testing.assert_allclose(came, expected, rtol=1e-10, atol=1e-14)
    expected = fast_lossM(X_REF, activity, recording, MODEL)[0]
    assert results[None][1].sum() == pytest.approx(expected, rel=1e-10)


# --- rules of EM ------------------------------------------------------------------------------------------------------


@pytest.fixture
def rules(recording, monkeypatch):
    """Return a function that runs EM on scripted M-steps (iterations) and E-steps (an activity's value, or None)."""

    def run(M_steps, E_steps, **changes):
        settings, calls, outcomes = replace(SETTINGS, **changes), [], list(E_steps)

        class Scripted(EStep):
            def __call__(self, X, activity, EMstep, observer):
                calls.append(("E", EMstep, X[0], activity.flat[0]))
                value = outcomes.pop(0)
                if value is None:
                    self.ended = f"E-step {EMstep} brought nothing new"
                    return activity
                return np.full_like(activity, value)

        def M_step(X, activity, recording, model, settings, EMstep, spikes_only):
            calls.append(("M", EMstep, X[0], activity.flat[0]))
            assert not spikes_only
            return OptimizeResult(x=np.full_like(X, 100 + EMstep), fun=-float(EMstep), nit=M_steps[EMstep])

        monkeypatch.setattr(train_meso, "EStep", Scripted)
        monkeypatch.setattr(train_meso, "scipy_Mstep", M_step)
        return train(recording, MODEL, settings), calls

    return run


def test_steps_alternate_and_hand_on_their_results(rules, start):
    fit, calls = rules([9, 9, 9, 9], [0.1, 0.2], max_EMsteps=3)
    X, n = start[0][0], start[1][..., A:].flat[0]
    assert calls == [("M", 0, X, n), *[(k, 1, 100, 0.1) if k == "M" else (k, 1, 100, start[1].flat[0]) for k in "EM"],
                     ("E", 2, 101, 0.1), ("M", 2, 101, 0.2)]  # fmt: skip
    assert fit.ended == "3 EM iterations" and fit.X[0] == 102 and fit.loss == -2
    assert (fit.activity == 0.2).all()


@pytest.mark.parametrize(("iterations", "last"), [([9, 1, 9], 1), ([9, 0, 9], 1), ([1, 9, 9], 0), ([9, 2, 1], 2)])
def test_it_ends_when_an_M_step_took_at_most_one_iteration(rules, iterations, last):
    fit, calls = rules(iterations, [0.1] * 9, max_EMsteps=9)
    assert fit.ended == f"M-step {last} took at most one iteration"
    assert calls[-1][:2] == ("M", last) and fit.X[0] == 100 + last


def test_it_ends_when_an_E_step_brought_nothing_new(rules):
    fit, calls = rules([9] * 9, [0.1, 0.2, None], max_EMsteps=9)
    assert fit.ended == "E-step 3 brought nothing new"
    assert calls[-1][:2] == ("E", 3)
    assert fit.X[0] == 102 and fit.loss == -2 and (fit.activity == 0.2).all()


# --- the M-step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("lb", "ub"), [(0.4, 2.0), (0.95, 1.0)])
def test_the_M_step_lowers_the_loss_inside_the_bounds(recording, start, method, lb, ub):
    settings = replace(SETTINGS, method=method, Mmaxiters=30)
    model = winner_take_all(window=SETTINGS.a_cutoff, lb=lb, ub=ub)
    activity = start[1][..., A:]
    X = X_REF * np.random.default_rng(5).uniform(lb, ub, 12)
    before = fast_lossM(X, activity, recording, MODEL)[0]
    result = scipy_Mstep(X, activity, recording, model, settings)
    assert result.fun < before - 1e-3
    assert result.fun == pytest.approx(fast_lossM(result.x, activity, recording, MODEL)[0], rel=1e-12)
    assert (result.x >= lb * X_REF).all() and (result.x <= ub * X_REF).all()
    assert 1 < result.nit <= 2 * settings.Mmaxiters
    again = scipy_Mstep(result.x, activity, recording, model, settings, EMstep=1)
    assert again.fun <= result.fun + 1e-12 * abs(result.fun)


def test_the_M_step_returns_the_best_iterate(recording, start, monkeypatch):
    """And not the last one: the optimiser here goes on to somewhere worse, and out of bounds."""

    def wander(loss, x0, bounds, callback, **_):
        values = {scale: loss(np.full_like(x0, scale))[0] for scale in (1.0, 1.9, 2.5)}
        callback(x0)
        return OptimizeResult(x=np.full_like(x0, 1.9), fun=values[1.9], nit=2, message="")

    monkeypatch.setattr("scipy.optimize.minimize", wander)
    monkeypatch.setattr(train_meso, "fast_lossM", lambda X, *_, **__: ({1.9: 5.0, 2.5: -9.0}.get(X[0] / 50, 1.0), X))
    result = scipy_Mstep(start[0], start[1][..., A:], recording, MODEL, SETTINGS)
    np.testing.assert_array_equal(result.x, X_REF)
    assert result.fun == 1.0 and result.nit == 2


def test_the_optimiser_gets_the_gradient_of_the_numbers_it_sees(recording, start, monkeypatch):
    def differences(loss, x0, **_):
        for k, h in enumerate(1e-6 * np.eye(12)):
            numeric = (loss(1.2 + h)[0] - loss(1.2 - h)[0]) / 2e-6
            assert loss(np.full(12, 1.2))[1][k] == pytest.approx(numeric, rel=1e-4, abs=1e-6)
        return OptimizeResult(nit=0, message="")

    monkeypatch.setattr("scipy.optimize.minimize", differences)
    scipy_Mstep(start[0], start[1][..., A:], recording, MODEL, SETTINGS)


@pytest.mark.parametrize("method", ["L-BFGS-B", "fisher"])
@pytest.mark.parametrize("bad", ["value", "gradient"])
def test_an_M_step_that_is_not_finite_is_named_in_one_line(recording, start, monkeypatch, bad, method):
    def loss(X, *_, **__):
        return (np.nan, X) if bad == "value" else (1.0, X * np.nan)

    monkeypatch.setattr(train_meso, "fast_lossM", loss)
    monkeypatch.setattr(train_meso, "fisher", lambda X, *_, **__: (*loss(X), np.eye(12)))
    with pytest.raises(FitError, match="M-step 7: expected a finite loss and gradient, got .* at X = ") as error:
        scipy_Mstep(start[0], start[1][..., A:], recording, MODEL, replace(SETTINGS, method=method), 7)
    assert "\n" not in str(error.value)
