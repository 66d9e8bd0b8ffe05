"""The mode over the innovations, the draws about it, the start, and the EM that runs on them."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import OptimizeResult
from scipy.optimize._numdiff import approx_derivative

import train_meso
from src.data.dataset import load_recording
from src.fast_np import fast_lossM, fast_lossy
from src.helper import from_X, gradient_to_X, init_model, to_X
from src.inference import innovations
from src.inference.innovations import (
    InnovationEStep,
    InnovationLoss,
    common_share,
    start_from,
)
from src.inference.linear_response import Whitening
from src.inference.spike_likelihood import SpikeLikelihood
from src.LIFmesoCell import LIFmesoCell
from src.model import time_chunks
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters, Recording
from src.model.scheme import CONSISTENT, SCHEMES
from src.runs.folder import RunFolder
from tests.cases import random_case, with_masks
from tests.training import DATASET, SETTINGS
from train_meso import train

REFERENCE = reference_parameters()

FIT = replace(SETTINGS, e_objective="innovations", scheme="consistent", E_draws=2, max_EMsteps=2, precision="float64")
MODEL = winner_take_all(0.004, FIT.a_cutoff, CONSISTENT)


@pytest.fixture(scope="module")
def recording():
    return load_recording(DATASET, MODEL, end_timepoint=0.6)[0]


def perturbations(case, seed=0):
    rng = np.random.default_rng(seed)
    (B, M, _, n_obs), T = case.recording.observed_spikes.shape, case.recording.n_bins
    return rng.normal(size=(B, M, T)), rng.normal(size=(B, M, n_obs, T))


def evaluate(case, target, push):
    return evaluator(case, target, push)(case.activity)


def evaluator(case, target, push):
    loss = InnovationLoss(case.recording, case.model, "float64")
    constants = loss.constants(case.parameters)
    return lambda n: [
        part.numpy() for part in loss.perturbed(tf.constant(n), constants, tf.constant(target), tf.constant(push))
    ]


# --- F ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_F_is_that_of_the_recurrent_cell(scheme):
    case = random_case(M=2, B=2, T=30, A=30, r=2, d=1, scheme=SCHEMES[scheme])
    target, push = perturbations(case)
    _, _, loss_y, loss_xi, _ = evaluate(case, target, 0 * push)
    model, recording = case.model, case.recording
    cell = LIFmesoCell(case.parameters, model, recording.initial_rate[0], 2, follow=True, dtype="float64")
    spikes = np.moveaxis(recording.observed_spikes[:, :, model.window_bins :], 2, 1)
    parts = [np.moveaxis(part, 1, 2) for part in (recording.external_input, case.activity)]
    inputs = np.concatenate([*parts, spikes.reshape(*spikes.shape[:2], -1)], axis=-1)
    layer = keras.layers.RNN(cell, return_sequences=True, dtype="float64")
    found = cell.unpack(layer(tf.constant(inputs), initial_state=cell.initial_state_of(recording)))
    nbar = found["nbar"].numpy()
    q = (nbar + 0.1 * model.dt) / model.population_size[:, None]
    xi = (case.activity - nbar) / np.sqrt(q)
    np.testing.assert_allclose(loss_xi, 0.5 * ((xi - target) ** 2).sum(axis=(1, 2)), rtol=1e-10)
    np.testing.assert_allclose(loss_y, found["loss_y"].numpy().sum(axis=(1, 2)), rtol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_of_F_is_that_of_differences(masked):
    case = random_case(M=2, B=2, T=12, A=15, scheme=CONSISTENT)
    case = with_masks(case) if masked else case
    at = evaluator(case, *perturbations(case))
    value, gradient, *_ = at(case.activity)

    def F(n):
        return float(at(n.reshape(case.activity.shape))[0])

    assert np.isfinite(value)
    expected = approx_derivative(F, case.activity.ravel(), method="3-point", rel_step=1e-4).reshape(gradient.shape)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_F_takes_no_spikes_of_neurons_and_bins_that_do_not_count():
    case = with_masks(random_case(M=3, B=2, T=25, A=30, scheme=CONSISTENT))
    target, push = perturbations(case)
    loss_y = evaluate(case, target, 0 * push)[2]
    whole = fast_lossy(case.parameters, case.activity, case.recording, case.model).value
    np.testing.assert_allclose(loss_y.sum(), whole * case.model.n_populations * case.recording.n_judged, rtol=1e-10)


# --- mode and draws --------------------------------------------------------------------------------------------------


class Silent:
    """Stands in for a folder of results; remembers what it was told."""

    def __init__(self):
        self.kept = []

    def __getattr__(self, name):
        return lambda *values, **named: self.kept.append((name, values))

    def restore(self, E_step, *start):
        return 0, *start


def E_step_on(recording, n_draws=2, *, model=MODEL, most=2000, rng=None, **changes):
    settings = replace(FIT, E_draws=n_draws, Emaxiters=most, **changes)
    return InnovationEStep(recording, model, settings, rng or np.random.default_rng(0))


def wta_case(T=100, n_obs=3, B=1, seed=0):
    """A circuit of which X is a view, with random spikes."""
    rng = np.random.default_rng(seed)
    case = random_case(M=3, B=B, T=T, A=MODEL.window_bins, n_obs=max(n_obs, 1))
    spikes = case.recording.observed_spikes[..., :n_obs]
    A0 = np.tile([12.0, 12.0, 24.0], (B, 1))
    still = replace(case.recording, observed_spikes=spikes, external_input=np.zeros((B, 3, T)), initial_rate=A0)
    activity = np.clip(A0[..., None] * MODEL.dt + rng.normal(0, 0.005, (B, 3, T)), 0.002, 1)
    return still, activity


X_TRUE = np.concatenate([REFERENCE.membrane_rate, np.abs(REFERENCE.coupling).max(axis=1), [14.4] * 3, [3.7] * 3])


@pytest.mark.slow
def test_of_a_recording_that_is_cut_copies_are_minimised_one_by_one(monkeypatch):
    """To the same minima, mode and draws, each in fewer numbers."""
    monkeypatch.setitem(innovations.LBFGS, "ftol", 1e-12)
    recording, activity = wta_case(T=40, B=2)
    found = []
    for longest, copies in ((100, 6), (30, 2)):
        monkeypatch.setattr(time_chunks, "LONGEST", longest)
        E_step = E_step_on(recording, 2, most=600, precision="float64")
        estimate = E_step.estimate(X_TRUE, activity, 1, Silent())
        found.append((estimate.losses, estimate.mode, E_step.draws()))
        assert E_step.batches[0].loss.recording.n_trials == copies
    for whole, cut in zip(*found, strict=True):
        np.testing.assert_allclose(cut, whole, atol=2e-4 * np.abs(whole).max())


@pytest.mark.slow
def test_without_recorded_neurons_a_draw_has_the_innovations_it_was_given(monkeypatch):
    monkeypatch.setitem(innovations.LBFGS, "ftol", 1e-13)
    recording, activity = wta_case(T=40, n_obs=0)
    E_step = E_step_on(recording, 3, most=3000)
    estimate = E_step.estimate(X_TRUE, activity, 1, Silent())
    (batch,) = E_step.batches
    assert estimate.losses.sum() == pytest.approx(0, abs=1e-6)  # the mode: no innovation at all
    np.testing.assert_allclose(batch.target[1], -batch.target[3])  # pairs of opposite sign
    assert not batch.target[0].any()
    loss, none = InnovationLoss(recording, MODEL, "float64"), tf.zeros(batch.unit_push[:1].shape, tf.float64)
    for draw, target in zip(E_step.draws(), batch.target[1:], strict=True):
        if (draw <= 1.1e-5).any():
            continue  # cut at zero
        *_, loss_xi, _ = loss.perturbed(
            tf.constant(draw[None]), loss.constants(REFERENCE), tf.constant(target[None]), none
        )
        assert float(loss_xi[0]) < 1e-3


def test_the_mode_is_a_minimum_and_recorded_spikes_pull_at_it(monkeypatch):
    monkeypatch.setitem(innovations.LBFGS, "ftol", 1e-10)  # so that it ends at the minimum, not on its way there
    recording, activity = wta_case(T=60)
    estimate = E_step_on(recording, most=1000).estimate(X_TRUE, activity, 1, Silent())
    loss = InnovationLoss(recording, MODEL, "float64")
    zeros = tf.zeros((1, 3, 60), tf.float64), tf.zeros((1, 3, 3, 60), tf.float64)

    def at(n):
        value, gradient, loss_y, loss_xi, _ = loss.perturbed(tf.constant(n), loss.constants(REFERENCE), *zeros)
        return float(value), gradient.numpy() * np.sqrt(n / MODEL.population_size[:, None]), float(loss_xi[0])

    value, slope, loss_xi = at(estimate.mode)
    free = estimate.mode > 1.1e-5
    assert np.abs(slope[free]).max() < 1e-3 * np.abs(at(activity)[1]).max()
    assert value < at(activity)[0]
    assert loss_xi > 0.01
    assert estimate.losses.sum() * 3 * 60 == pytest.approx(value, rel=1e-9)
    rng = np.random.default_rng(1)
    for _ in range(5):
        near = np.clip(estimate.mode * (1 + 0.01 * rng.normal(size=estimate.mode.shape)), 1e-5, 1)
        assert at(near)[0] > value


def test_draws_scatter_as_the_curvature_at_the_mode_says(monkeypatch):
    """Many recorded neurons that hang on few bins of activity: were the push of another size, they would not."""
    monkeypatch.setitem(innovations.LBFGS, "ftol", 1e-9)
    T, n_obs, n_draws, rng = 5, 400, 300, np.random.default_rng(5)
    model = Model([100], [300.0], [[1.0]], dt=0.004, window_bins=40, scheme=CONSISTENT)
    parameters = Parameters(np.array([50.0]), np.array([[12.0]]), np.array([3.4]), np.array([3.7]))
    spikes = (rng.random((1, 1, 40 + T, n_obs)) < 0.08).astype(np.uint8)
    recording = Recording(spikes, np.zeros((1, 1, T)), np.array([[20.0]]))
    E_step = E_step_on(recording, n_draws, model=model, most=5000, rng=rng)
    estimate = E_step.estimate(to_X(parameters, model), np.full((1, 1, T), 0.08), 1, Silent())
    loss = InnovationLoss(recording, model, "float64")
    zeros = tf.zeros((1, 1, T), tf.float64), tf.zeros((1, 1, n_obs, T), tf.float64)

    def slope(n):
        return loss.perturbed(tf.constant(n.reshape(1, 1, T)), loss.constants(parameters), *zeros)[1].numpy().ravel()

    curvature = approx_derivative(slope, estimate.mode.ravel(), rel_step=1e-4)
    prior = np.sqrt(estimate.mode.ravel() / 100)  # of an innovation
    expected = np.sqrt(np.diag(np.linalg.inv(curvature)))
    assert (expected[:3] < 0.8 * prior[:3]).all()  # the neurons tell something
    scatter = E_step.draws()[:, 0].std(axis=0)
    np.testing.assert_allclose(scatter[:3], expected[:3], rtol=0.15)  # the last bins hardly are told of
    np.testing.assert_allclose(E_step.draws()[:, 0].mean(axis=0), estimate.mode.ravel(), atol=0.3 * expected.max())


def test_batches_of_trials_change_nothing_but_the_draws(monkeypatch):
    monkeypatch.setitem(innovations.LBFGS, "ftol", 1e-10)
    recording, activity = wta_case(T=25, B=3)
    steps = E_step_on(recording), E_step_on(recording, t_perbatch=2 * 25 * MODEL.dt)
    assert [len(step.batches) for step in steps] == [1, 2]
    together, apart = (step.estimate(X_TRUE, activity, 1, Silent()) for step in steps)
    assert steps[0].draws().shape == steps[1].draws().shape == (6, 3, 25)
    np.testing.assert_allclose(apart.mode, together.mode, atol=5e-3)  # of 0.05, with the tolerance
    assert apart.losses.sum() == pytest.approx(together.losses.sum(), rel=1e-3)


def test_modes_come_back_trial_by_trial_and_draws_draw_by_draw():
    recording, activity = wta_case(T=5, B=3)
    E_step = E_step_on(recording)

    class Labelled:
        def __init__(self, trials, parts):
            self.n_trials, self.trials, self.parts = len(trials), trials, np.array(parts)

        def minimise(self, parameters, here, most, follow):
            modes = np.broadcast_to(np.array(self.trials, float)[:, None, None], here.shape)
            self.copies = np.concatenate([modes, 10 + modes, 20 + modes])
            return modes, self.parts, len(self.trials)

    E_step.batches = [Labelled([1, 2], [15.0, 30.0]), Labelled([3], [0.0, 45.0])]
    estimate = E_step.estimate(X_TRUE, activity, 1, Silent())
    assert estimate.mode[:, 0, 0].tolist() == [1, 2, 3]
    assert E_step.draws()[:, 0, 0].tolist() == [11, 12, 13, 21, 22, 23]
    np.testing.assert_allclose(estimate.losses, np.array([15, 75]) / (3 * 5 * 3))
    assert estimate.iterations == 2


def test_the_gradient_in_round_coordinates_is_that_of_differences(monkeypatch):
    """Near zero, too, where an activity bends away from it."""
    rng, T = np.random.default_rng(0), 12
    K, R = rng.normal(0, 0.1, (2, 2, 2, 4))
    sd = np.array([[0.01], [0.02]])
    whitening = Whitening(K, sd, R, np.array([0.1, 0.2]), T)
    start, goal, seen = rng.uniform(0.001, 0.03, (3, 2, T)), rng.uniform(0, 0.05, (3, 2, T)), []

    def F(n):
        return float(((n - goal) ** 2).sum()), 2 * (n - goal)

    def look(loss, z, **_):
        assert loss(z)[0] == pytest.approx(F(start)[0])
        z = z + rng.normal(size=z.shape)
        expected = approx_derivative(lambda z: loss(z)[0], z, method="3-point")
        np.testing.assert_allclose(loss(z)[1], expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
        seen.append(expected)
        return OptimizeResult(x=z, nit=1)

    monkeypatch.setattr("scipy.optimize.minimize", look)
    found, iterations = innovations._minimise_whitened(F, start, whitening, sd / 2, 5, lambda _: None)
    assert found.shape == start.shape and iterations == 1 and len(seen) == 1
    assert (found >= 1e-5).all() and (found < 0.005).any()


# --- the start -------------------------------------------------------------------------------------------------------


def test_neurons_that_fire_together_share_all_their_variance_and_independent_ones_none():
    rng = np.random.default_rng(0)
    T = 20000
    train_a, slow = rng.random(T) < 0.05, rng.random(T) < 0.05 * (1 + np.sin(np.arange(T) / 400))
    model = winner_take_all()
    spikes = np.zeros((1, 3, T, 3), np.uint8)
    spikes[0, 0] = train_a[:, None]
    spikes[0, 1] = rng.random((T, 3)) < 0.05
    spikes[0, 2] = np.stack([slow, slow, slow], axis=-1)
    recording = load_recording(DATASET, MODEL, end_timepoint=1.1)[0]
    share = common_share(replace(recording, observed_spikes=spikes), model, 0.4)
    np.testing.assert_allclose(share[[0, 2]], 1, rtol=1e-9)
    assert share[1] < 0.3


def test_share_of_two_neurons_is_covariance_over_variance_of_the_mean():
    rng = np.random.default_rng(1)
    spikes = (rng.random((2, 3, 400, 2)) < 0.1).astype(np.uint8)
    spikes[:, 0, :, 1] |= spikes[:, 0, :, 0]
    base = load_recording(DATASET, MODEL, end_timepoint=1.1)[0]
    width = 1e-6  # no smoothing
    share = common_share(replace(base, observed_spikes=spikes), MODEL, width)
    a, b = (spikes[:, 0, :, i].ravel().astype(float) for i in (0, 1))
    assert share[0] == pytest.approx(np.cov(a, b, bias=True)[0, 1] / ((a + b) / 2).var(), rel=1e-9)


def test_a_single_neuron_is_taken_for_a_poisson_process_and_none_for_nothing():
    rng = np.random.default_rng(2)
    model, T, width = winner_take_all(), 50000, 0.1
    spikes = (rng.random((1, 3, T, 2)) < 0.05).astype(np.uint8)
    base = load_recording(DATASET, MODEL, end_timepoint=1.1)[0]
    recorded = np.array([[True, False], [False, False], [True, True]])
    share = common_share(replace(base, observed_spikes=spikes, recorded=recorded), model, width)
    assert share[0] < 0.15  # coin tosses hardly differ from a Poisson process
    assert share[1] == 0


def test_start_is_shrunk_to_its_mean_and_gives_A0(recording, monkeypatch):
    _, activity = init_model(recording, MODEL, np.random.default_rng(0))
    monkeypatch.setattr(innovations, "common_share", lambda *_: np.array([1.0, 0.5, 0.0]))
    shrunk, then = start_from(activity, recording, MODEL, 0.4)
    mean = activity.mean(axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(shrunk[:, 0], activity[:, 0])
    np.testing.assert_allclose(shrunk[:, 1], (activity + mean)[:, 1] / 2)
    np.testing.assert_allclose(shrunk[:, 2] - mean[:, 2], 0, atol=1e-15)
    np.testing.assert_allclose(then.initial_rate, shrunk[..., : MODEL.window_bins].mean(-1) / MODEL.dt)


def test_first_M_step_is_on_the_spikes_alone(recording):
    _, activity = init_model(recording, MODEL, np.random.default_rng(0))
    n = activity[..., MODEL.window_bins :]
    value, gradient = fast_lossM(X_TRUE, n, recording, MODEL, spikes_only=True)
    loss = fast_lossy(from_X(X_TRUE, MODEL), n, recording, MODEL, "parameters")
    assert value == loss.value
    np.testing.assert_array_equal(gradient, gradient_to_X(loss.parameters, MODEL))


# --- EM --------------------------------------------------------------------------------------------------------------


class ScriptedEStep(InnovationEStep):
    """The E-step with F, in nats, from a list."""

    def estimate(self, X, n, EMstep, observer):
        self.seen.append((X.copy(), EMstep))
        mode = np.full_like(n, 0.01 * EMstep)
        self.batches[0].copies = np.repeat(mode, 1 + self.n_draws, axis=0)
        return innovations.ModeFound(mode, np.array([0, self.F.pop(0) / self.size]), 7)


@pytest.fixture
def scripted(recording, monkeypatch):
    def run(*F, ln_p=(), max_EMsteps=20):
        fitted, steps, scripted_ln_p = [], [], list(ln_p)

        def E_step(*given):
            step = ScriptedEStep(*given)
            step.F, step.size, step.seen = list(F), 10, []
            step.likelihood = (lambda _: SpikeLikelihood(scripted_ln_p.pop(0), 0.5)) if ln_p else None
            steps.append(step)
            return step

        def M_step(X, n, on, model, settings, EMstep, spikes_only):
            fitted.append((spikes_only, len(n), on.n_trials))
            return OptimizeResult(x=X + 1, fun=0.0, nit=5)

        def start(recording, model, rng, width):
            return np.zeros(12), np.full((1, 3, MODEL.window_bins + recording.n_bins), 0.05)

        monkeypatch.setattr(innovations, "InnovationEStep", E_step)
        monkeypatch.setattr(innovations, "is_fast", lambda model: False)  # M-steps are not doubled
        monkeypatch.setattr(train_meso, "scipy_Mstep", M_step)
        monkeypatch.setattr(train_meso, "init_model", start)
        observer = Silent()
        fit = train(recording, MODEL, replace(FIT, max_EMsteps=max_EMsteps, E_draws=2), observer)
        return (fit.X, fit.loss, fit.activity, fit.ended), steps[0], fitted, observer

    return run


def test_EM_ends_when_F_gains_less_than_a_nat(scripted):
    (X, loss, activity, ended), E_step, fitted, _ = scripted(100, 90, 85, 84.5)
    np.testing.assert_array_equal(X, np.full(12, 4.0))
    assert loss == pytest.approx(8.45)
    assert activity[0, 0, -1] == pytest.approx(0.04)
    assert activity[0, 0, 0] == 0.05  # the window stays
    assert ended == "E-step 4 gained 0.5 nats"
    assert [EMstep for _, EMstep in E_step.seen] == [1, 2, 3, 4]
    assert fitted == [(True, 1, 1)] + 3 * [(False, 2, 2)]


def test_EM_returns_the_best_it_met(scripted):
    (X, loss, activity, ended), _, _, save = scripted(100, 90, 95)
    np.testing.assert_array_equal(X, np.full(12, 2.0))
    assert (loss, activity[0, 0, -1]) == (pytest.approx(9.0), pytest.approx(0.02))
    assert ended == "E-step 3 gained -5 nats"
    (settled,) = [values for name, values in save.kept if name == "settle"]
    assert settled[0].EMstep == 1
    np.testing.assert_array_equal(settled[0].X, X)


def test_the_first_M_step_does_not_compete(scripted):
    """It has seen the spikes alone: its F may be low, but EM goes on from it, and never comes back."""
    (X, loss, _, ended), _, _, _ = scripted(50, 90, 80, 79.5)
    np.testing.assert_array_equal(X, np.full(12, 4.0))
    assert (loss, ended) == (pytest.approx(7.95), "E-step 4 gained 0.5 nats")


def test_EM_goes_by_the_likelihood_of_the_spikes_where_it_is_known(scripted):
    """F rises, as where nothing switches; the first M-step does not compete, and one idle step is not the end."""
    ln_p = (-50, -400, -350, -350.5, -340, -339.5, -341)
    (X, loss, activity, ended), E_step, _, save = scripted(90, 91, 92, 93, 94, 95, 96, ln_p=ln_p)
    np.testing.assert_array_equal(X, np.full(12, 6.0))
    assert (loss, activity[0, 0, -1]) == (pytest.approx(9.5), pytest.approx(0.06))
    assert ended == "ln p(spikes) gained less than 1 nat in 2 EM iterations"
    (settled,) = [values for name, values in save.kept if name == "settle"]
    assert (settled[0].EMstep, settled[0].ln_p, settled[0].ln_p_error) == (5, -339.5, 0.5)
    told = [values for name, values in save.kept if name == "likelihood"]
    assert told == [(k, value, 0.5) for k, value in enumerate(ln_p, 1)]


def test_parameters_that_explain_nothing_are_no_gain(scripted):
    (X, *_, ended), _, _, _ = scripted(90, 91, 92, 93, ln_p=(-np.inf, -np.inf, -np.inf, -np.inf))
    assert ended.startswith("ln p(spikes) gained less") and (X == 2).all()


def judged(recording, monkeypatch, ln_p, X, found, first=False):
    """Return what EM goes on with after an M-step from X to `found`, and at how many places ln p was asked for."""
    step, asked = E_step_on(recording), []
    monkeypatch.setattr(innovations, "is_fast", lambda model: True)
    monkeypatch.setattr(innovations, "from_X", lambda X, model: X)
    step.likelihood = lambda X: asked.append(X) or SpikeLikelihood(float(ln_p(X)), 0.5)
    step.best = None if first else innovations.Best(0, X, 1.0, np.zeros(3), 5, -100.0, 0.1)
    return step.judge(3, X, OptimizeResult(x=found, fun=0.0, nit=5)), len(asked)


def test_an_M_step_is_doubled_while_the_spikes_gain_by_it(recording, monkeypatch):
    free = MODEL.fitted
    X, top = free.lower + 1e-3, free.lower + 5e-3 * (free.upper - free.lower)
    found = X + (top - X) / 7  # the top lies beyond four steps, and before eight

    def ln_p(X):
        return -1e3 * np.abs((X - top) / (top - free.lower)).mean()

    gone, asked = judged(recording, monkeypatch, ln_p, X, found)
    np.testing.assert_allclose(gone, X + 8 * (found - X))
    assert asked == 5  # at 1, 2, 4, 8 and 16 steps
    for scale, steps in ((1e-3, 1), (-1, 1)):  # a gain below what the filter scatters, and a loss
        gone, asked = judged(recording, monkeypatch, lambda X, c=scale: c * ln_p(X), X, found)
        np.testing.assert_allclose(gone, X + steps * (found - X))
        assert asked == 2
    gone, asked = judged(recording, monkeypatch, ln_p, X, found, first=True)
    assert gone is found and asked == 0


def test_a_doubled_M_step_stays_within_the_bounds(recording, monkeypatch):
    free = MODEL.fitted
    X = 0.5 * (free.lower + free.upper)
    found = X + 0.3 * (free.upper - X)
    gone, _ = judged(recording, monkeypatch, lambda X: 1e6 * X.sum(), X, found)
    np.testing.assert_allclose(gone, free.upper)


def test_what_is_known_of_an_M_step_is_not_asked_for_again(recording):
    step, asked = E_step_on(recording), []
    step.likelihood = lambda parameters: asked.append(1) or SpikeLikelihood(-1.0, 0.5)
    X = MODEL.fitted.lower + 1.0
    assert step._ln_p(X) == step._ln_p(X.copy()) and len(asked) == 1
    step._ln_p(X + 1)
    assert len(asked) == 2


def test_memory_brings_back_all_that_decides_when_EM_ends(recording):
    first, again = E_step_on(recording), E_step_on(recording)
    for k, ln_p in enumerate((-100.0, -90.0, -89.5)):
        now = innovations.Best(k, np.full(12, float(k)), 1.0, np.zeros(3), 5, ln_p, 0.1)
        assert first._compare(now) == ""
    again.memory = {name: np.asarray(value) for name, value in first.memory.items()}
    assert (again.reached, again.idle, again.best.ln_p) == (-90.0, 1, -89.5)
    assert again._compare(first.best._replace(ln_p=-90.5)) != ""


def test_EM_ends_after_so_many_iterations(scripted):
    (*_, ended), E_step, _, _ = scripted(100, 90, 80, max_EMsteps=3)
    assert ended == "3 EM iterations"
    assert len(E_step.seen) == 3


def test_training_is_reproducible_and_its_record_holds_the_fit(recording, tmp_path):
    settings = replace(FIT, Emaxiters=5)
    save = RunFolder(tmp_path / "train", recording, MODEL, settings)
    with save:
        fit = train(recording, MODEL, settings, save)
    again = train(recording, MODEL, settings)
    np.testing.assert_array_equal(fit.X, again.X)
    np.testing.assert_array_equal(fit.activity, again.activity)
    assert save.log.record.X == tuple(fit.X)
    assert save.log.record.loss == fit.loss
    X = np.load(tmp_path / "train" / save.log.record.parameters_file)["X"]
    kept = np.load(tmp_path / "train" / save.log.record.activity_file)
    np.testing.assert_array_equal(X, fit.X)
    np.testing.assert_array_equal(kept["Z_hist_est"], fit.activity)
    assert float(kept["loss_last"]) == pytest.approx(fit.loss)
    assert (tmp_path / "train/Eloss.png").stat().st_size > 1000
