"""Input gains: losses and gradients in both libraries, and every kernel that is driven by what they weigh."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from src.fast_np import fast_lossM, fast_lossy, fast_lossZ
from src.helper import from_X, to_X
from src.inference.fast_filter import FastFilter, has_numba, simulate_many
from src.inference.fisher import fisher
from src.inference.innovations import InnovationLoss
from src.inference.laplace import conditional_errors
from src.inference.particle_filter import filter_spikes
from src.LIFmesoCell import LIFmesoCell, MesoLoss, simulate
from src.LIFmicroPop import simulate_network
from src.model.containers import Model, Parameters
from src.model.scheme import CONSISTENT, PUBLISHED, SCHEMES
from tests import oracle
from tests.cases import EXACT, oracle_arguments, random_case, with_gains, with_masks
from tests.test_likelihood import three_point

SCHEME = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
SHAPES = [dict(M=1, n_obs=3), dict(M=3, B=2, r=2, d=1)]


def driven_case(**shape):
    return with_gains(random_case(**shape))


def weighed(case):
    """The same without gains: the input is what they make of it."""
    parameters, recording = case.parameters, case.recording
    known = dataclasses.replace(recording, external_input=parameters.input_gain[:, None] * recording.external_input)
    plain = dataclasses.replace(case.model, free=None)
    return case._replace(parameters=parameters.with_gains(False), recording=known, model=plain)


@SCHEME
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_a_naive_loop_over_time(shape, scheme):
    case = with_masks(driven_case(**shape, scheme=scheme))
    loss_y, loss_Z = (oracle.losses if scheme is PUBLISHED else oracle.consistent_losses)(*oracle_arguments(case))
    np.testing.assert_allclose(fast_lossy(*case).value, loss_y, rtol=1e-12)
    np.testing.assert_allclose(fast_lossZ(*case, tolerance=EXACT).value, loss_Z, rtol=1e-12)


@SCHEME
def test_gains_of_one_change_no_digit(scheme):
    case = random_case(M=2, scheme=scheme)
    ones = with_gains(case)
    ones = ones._replace(parameters=ones.parameters.with_gains(False).with_gains(True))
    for loss in (fast_lossy, fast_lossZ):
        one, plain = loss(*ones, "both"), loss(*case, "both")
        assert one.value == plain.value
        np.testing.assert_array_equal(one.activity, plain.activity)
        np.testing.assert_array_equal(one.parameters[:-2], plain.parameters)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("loss", [fast_lossy, fast_lossZ])
def test_gradient_in_all_parameters(loss, shape, step=1e-6):
    parameters, *given = driven_case(**shape, scheme=CONSISTENT)
    gradient = loss(parameters, *given, "parameters").parameters
    expected = three_point(lambda flat: loss(Parameters.from_flat(flat), *given).value, parameters.flat(), step)
    assert len(gradient) == len(parameters.flat()) and np.abs(gradient[-shape["M"] :]).min() > 1e-4
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


@SCHEME
@pytest.mark.parametrize("shape", [pytest.param(SHAPES[0], marks=pytest.mark.slow), SHAPES[1]], ids=str)
def test_tensorflow_has_the_same_loss_and_the_same_gradient_in_the_gains(shape, scheme):
    case = driven_case(**shape, scheme=scheme)
    parameters, activity, recording, model = case
    loss, n = MesoLoss(recording, model, "float64"), tf.constant(activity)
    constants = loss.constants(parameters)
    came = [value.numpy() for value in loss(n, constants)]
    by_numpy = [part(*case, "both") for part in (fast_lossy, fast_lossZ)]
    np.testing.assert_allclose(came[:2], [part.value for part in by_numpy], rtol=1e-9)
    np.testing.assert_allclose(came[2], sum(part.activity for part in by_numpy), rtol=1e-6, atol=1e-10)

    gain = constants[5]
    np.testing.assert_array_equal(gain[:, 0], parameters.input_gain)
    with tf.GradientTape() as tape:
        tape.watch(gain)
        value = tf.add_n(loss.program.losses(n, constants, loss.given))
    M = model.n_populations
    slope = sum(part.parameters[-M:] for part in by_numpy)
    np.testing.assert_allclose(tape.gradient(value, gain)[:, 0], slope, rtol=1e-6, atol=1e-10)

    def by_tensorflow(gains):
        moved = dataclasses.replace(parameters, input_gain=gains)
        return sum(float(part) for part in loss(n, loss.constants(moved))[:2])

    if scheme is CONSISTENT:  # the published loss jumps
        expected = three_point(by_tensorflow, parameters.input_gain, 1e-5)
        np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-9)


@SCHEME
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fisher_scoring_knows_the_gains(shape, scheme):
    case = driven_case(**shape, scheme=scheme)
    same = np.abs(case.parameters.coupling[:, :1]) * case.model.connectivity
    case = case._replace(parameters=dataclasses.replace(case.parameters, coupling=same))
    X, M = to_X(case.parameters, case.model), case.model.n_populations
    np.testing.assert_array_equal(from_X(X, case.model).input_gain, case.parameters.input_gain)
    for spikes_only in (True, False):
        came = fisher(X, *case[1:], spikes_only=spikes_only)
        value, gradient = fast_lossM(X, *case[1:], spikes_only=spikes_only)
        np.testing.assert_allclose(came.value, value, rtol=1e-10)
        np.testing.assert_allclose(came.gradient, gradient, rtol=0, atol=1e-9 * np.abs(gradient).max())
        assert np.diag(came.matrix)[-M:].min() > 0
    errors = conditional_errors(X, *case[1:])
    assert np.isfinite(errors).all() and (errors > 0).all()


def test_the_objective_of_the_innovations_is_driven_by_the_gains():
    case = driven_case(M=2, scheme=CONSISTENT)
    values = []
    for parameters, activity, recording, model in (case, weighed(case)):
        loss = InnovationLoss(recording, model, "float64")
        none = np.zeros_like(activity), np.zeros((1, 2, 2, 40))
        values.append(loss.perturbed(tf.constant(activity), loss.constants(parameters), *map(tf.constant, none))[0])
    np.testing.assert_allclose(*values, rtol=1e-12)


@pytest.mark.slow
def test_filters_and_free_simulations_are_driven_by_the_gains():
    case = driven_case(M=2, B=2, T=60, A=30, scheme=CONSISTENT)
    plain = weighed(case)
    for one, other in [
        [filter_spikes(each.parameters, each.model, each.recording, n_particles=8).ln_p for each in (case, plain)],
        [
            simulate(each.parameters, each.model, 60, 1, external_input=each.recording.external_input[0])[0]
            for each in (case, plain)
        ],
    ]:
        np.testing.assert_allclose(one, other, rtol=1e-6)
    still = dataclasses.replace(case.parameters, input_gain=np.zeros(2))
    assert not np.allclose(one, simulate(still, case.model, 60, 1, external_input=case.recording.external_input[0])[0])
    if has_numba():
        ln_p = [
            FastFilter(each.model, each.recording, n_particles=8).ln_p(each.parameters, 1) for each in (case, plain)
        ]
        np.testing.assert_allclose(*ln_p, rtol=1e-6)
        free = [simulate_many(e.parameters, e.model, e.recording.external_input[0], 2, 1)[0] for e in (case, plain)]
        np.testing.assert_allclose(*free, rtol=1e-6)


def test_the_network_is_driven_by_the_gains():
    alone = Model(np.array([50, 50]), np.array([300.0, 300.0]), np.zeros((2, 2)), dt=0.0002, window_bins=30)
    parameters = Parameters(np.full(2, 50.0), np.zeros((2, 2)), np.full(2, 3.0), np.full(2, 3.0), np.array([2.0, -0.5]))
    stimulus = np.random.default_rng(0).normal(0, 50, (500, 2))
    given = (alone, 500, np.random.default_rng(1)), (alone, 500, np.random.default_rng(1))
    one = simulate_network(parameters, *given[0], external_input=stimulus, n_sampled=2)
    other = simulate_network(
        parameters.with_gains(False), *given[1], external_input=stimulus * [2.0, -0.5], n_sampled=2
    )
    np.testing.assert_array_equal(one.rate, other.rate)


def test_a_cell_with_gains_survives_its_configuration():
    case = driven_case(M=2)
    cell = LIFmesoCell(case.parameters, case.model, case.recording.initial_rate[0])
    again = LIFmesoCell.from_config(cell.get_config())
    np.testing.assert_array_equal(again.parameters.input_gain, case.parameters.input_gain)
    assert again.model.has_gains
