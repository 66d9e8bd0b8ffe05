"""The NumPy likelihoods: golden files, the naive oracle, gradients against differences, and properties."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.stats

from src import fast_np
from src.fast_np import fast_lossM, fast_lossy, fast_lossZ, neuron_bins, workspace
from src.helper import from_X, gradient_to_X, to_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Parameters, Recording
from src.model.filters import recursion, recursion_adjoint
from src.model.old_neurons import limit_ages
from src.model.scheme import CONSISTENT, PUBLISHED, SCHEMES
from src.model.stationary import stationary_start
from src.utils.exceptions import InputError
from tests import oracle
from tests.cases import EXACT, GOLDEN_NAMES, golden_cases, oracle_arguments, random_case, with_masks

REFERENCE = reference_parameters()

SHAPES = [
    dict(M=M, d=d, r=r, B=B, n_obs=n_obs)
    for (M, d, r), (B, n_obs) in zip(
        itertools.product((1, 2, 3, 4), (0, 2), (1, 2)), itertools.cycle(((1, 3), (2, 1), (3, 2))), strict=False
    )
]

HALF_OF_SHAPES = [  # one or three populations; two or four with -m slow
    shape if shape["M"] in (1, 3) else pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES
]


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_golden(name):
    rows = list(golden_cases(name))
    assert len(rows) >= 4
    for case, loss_y, loss_Z in rows:
        np.testing.assert_allclose(fast_lossy(*case).value, loss_y, rtol=1e-12)
        np.testing.assert_allclose(fast_lossZ(*case, tolerance=EXACT).value, loss_Z, rtol=1e-12)


LOSS_AND_COUNTS = pytest.mark.parametrize(  # how counts scatter matters to the activity only
    ("loss", "counts"), [(fast_lossy, "gaussian"), (fast_lossZ, "gaussian"), (fast_lossZ, "binomial")]
)
SCHEME = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
ORACLE = {PUBLISHED: oracle.losses, CONSISTENT: oracle.consistent_losses}


def agrees_with_the_oracle(case):
    loss_y, loss_Z = ORACLE[case.model.scheme](*oracle_arguments(case))
    np.testing.assert_allclose(fast_lossy(*case).value, loss_y, rtol=1e-12)
    np.testing.assert_allclose(fast_lossZ(*case, tolerance=EXACT).value, loss_Z, rtol=1e-12)


@SCHEME
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_a_naive_loop_over_time(shape, scheme):
    agrees_with_the_oracle(random_case(**shape, scheme=scheme))


@SCHEME
@pytest.mark.parametrize("dt", [0.001, 0.002])
def test_agrees_with_a_naive_loop_in_other_bins(dt, scheme):
    agrees_with_the_oracle(random_case(M=2, r=3, d=1, dt=dt, scheme=scheme))


@SCHEME
@pytest.mark.parametrize("shape", SHAPES[1::2], ids=str)
def test_agrees_with_a_naive_loop_where_bins_are_not_judged_and_neurons_not_recorded(shape, scheme):
    agrees_with_the_oracle(with_masks(random_case(**shape, scheme=scheme)))


# --- gradients ---


def three_point(function, x, step):
    """Central differences, one component after the other."""
    slopes = np.empty_like(x)
    for i in np.ndindex(x.shape):
        h = step * max(1.0, abs(x[i]))
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        slopes[i] = (function(up) - function(down)) / (up[i] - down[i])
    return slopes


def side_of_switch(parameters, activity, recording, model):
    """For every age and bin, and every recorded neuron, on which side of the P switch it lies."""
    drive = fast_np.drive_of(parameters, activity, recording, model)
    rows = fast_np.rows_of(drive, parameters, activity, recording, model, EXACT)
    forward = fast_np.step_ages(rows, model, np.full((5, model.window_bins, *rows.drive.shape), 1.0))
    tails = [pool.H for pool in forward.pools if pool is not None]
    return np.concatenate([forward.H.ravel(), *tails]) < model.scheme.small_hazard


def steady_case(step, **shape):
    """A case in which no bin changes side when one parameter moves by a step: the published loss jumps there."""
    for seed in range(20):
        parameters, activity, recording, model = case = random_case(seed=seed, **shape)
        x = parameters.flat()
        side = side_of_switch(*case)
        for i, sign in itertools.product(range(len(x)), (-1, 1)):
            moved = x.copy()
            moved[i] += sign * step * max(1.0, abs(x[i]))
            if (side_of_switch(Parameters.from_flat(moved), activity, recording, model) != side).any():
                break
        else:
            return case
    raise AssertionError("no steady case among 20")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("loss", [fast_lossy, fast_lossZ])
def test_parameter_gradient(loss, shape, step=3e-6):
    parameters, activity, recording, model = steady_case(step, **shape)
    x = parameters.flat()
    gradient = loss(parameters, activity, recording, model, "parameters").parameters
    expected = three_point(lambda v: loss(Parameters.from_flat(v), activity, recording, model).value, x, step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def unclipped_case(**shape):
    """A case in which the expected activity stays well between 0 and 1, where it would be clipped."""
    for seed in range(500):
        parameters, activity, recording, model = case = random_case(seed=seed, scheme=CONSISTENT, **shape)
        drive = fast_np.drive_of(parameters, activity, recording, model)
        rows = fast_np.rows_of(drive, parameters, activity, recording, model, EXACT)
        *_, sums = fast_np.step_ages(rows, model, np.empty((5, model.window_bins, *rows.drive.shape)))
        expected, _ = fast_np.expected_activity(sums)
        if expected.min() > 0.002 and expected.max() < 0.98:
            return case
    raise AssertionError("no unclipped case among 500")


@LOSS_AND_COUNTS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parameter_gradient_of_the_consistent_scheme(loss, shape, counts, step=1e-4):
    """The loss is smooth in the parameters: differences of fourth order confirm the gradient to 1e-7."""
    parameters, activity, recording, model = unclipped_case(**shape, counts=counts)

    def value(vector):
        return loss(Parameters.from_flat(vector), activity, recording, model).value

    gradient = loss(parameters, activity, recording, model, "parameters").parameters
    near, far = (three_point(value, parameters.flat(), h) for h in (step, 2 * step))
    np.testing.assert_allclose(gradient, (4 * near - far) / 3, rtol=1e-7, atol=1e-10 * np.abs(gradient).max())


@SCHEME
@LOSS_AND_COUNTS
@pytest.mark.parametrize("shape", HALF_OF_SHAPES, ids=str)
def test_activity_gradient(loss, shape, scheme, counts, step=1e-6):
    parameters, activity, recording, model = random_case(T=20, scheme=scheme, counts=counts, **shape)
    gradient = loss(parameters, activity, recording, model, "activity").activity
    expected = three_point(lambda n: loss(parameters, n, recording, model).value, activity, step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


@SCHEME
@LOSS_AND_COUNTS
def test_gradients_where_bins_are_not_judged_and_neurons_not_recorded(loss, scheme, counts, step=1e-6):
    case = with_masks(steady_case(step, M=2, B=2, T=24, scheme=scheme, counts=counts))
    parameters, activity, recording, model = case
    result = loss(*case, "both")
    expected = three_point(lambda n: loss(parameters, n, recording, model).value, activity, step)
    np.testing.assert_allclose(result.activity, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
    flat = parameters.flat()
    expected = three_point(lambda v: loss(Parameters.from_flat(v), activity, recording, model).value, flat, step)
    np.testing.assert_allclose(result.parameters, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


def test_gradients_asked_for_together_are_those_asked_for_alone():
    case = random_case(M=3, B=2)
    for loss in (fast_lossy, fast_lossZ):
        both = loss(*case, "both")
        np.testing.assert_array_equal(both.parameters, loss(*case, "parameters").parameters)
        np.testing.assert_array_equal(both.activity, loss(*case, "activity").activity)
        assert both.value == loss(*case).value == loss(*case, "parameters").value


def test_gradient_with_respect_to_the_fitted_numbers():
    model = dataclasses.replace(winner_take_all(), window_bins=30)
    _, activity, recording, _ = random_case(M=3, A=30, seed=2)
    X = to_X(REFERENCE, model) * np.linspace(0.8, 1.2, 12)
    value, gradient = fast_lossM(X, activity, recording, model)
    parameters = from_X(X, model)
    parts = [loss(parameters, activity, recording, model, "parameters") for loss in (fast_lossy, fast_lossZ)]
    assert value == parts[0].value + parts[1].value
    expected = three_point(lambda x: fast_lossM(x, activity, recording, model)[0], X, 1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, gradient_to_X(sum(part.parameters for part in parts), model), rtol=1e-12)


# --- properties ---


@SCHEME
def test_splitting_trials_is_a_mean(scheme):
    parameters, activity, recording, model = random_case(M=2, B=3, scheme=scheme)
    for loss in (fast_lossy, fast_lossZ):
        whole = loss(parameters, activity, recording, model, "both")
        parts = [
            loss(parameters, activity[b : b + 1], recording.trials(slice(b, b + 1)), model, "both") for b in range(3)
        ]
        np.testing.assert_allclose(whole.value, np.mean([part.value for part in parts]), rtol=1e-13)
        np.testing.assert_allclose(whole.parameters, np.mean([part.parameters for part in parts], axis=0), rtol=1e-11)
        np.testing.assert_allclose(
            whole.activity, np.concatenate([part.activity for part in parts]) / 3, rtol=1e-11, atol=1e-14
        )


@SCHEME
@pytest.mark.parametrize("loss", [fast_lossy, fast_lossZ])
def test_what_fills_up_a_shorter_trial_changes_nothing(loss, scheme):
    parameters, activity, recording, model = random_case(M=2, B=2, scheme=scheme)
    A, T = model.window_bins, recording.n_bins
    rng = np.random.default_rng(0)
    longer = dataclasses.replace(
        recording,
        observed_spikes=np.concatenate([recording.observed_spikes, rng.integers(0, 2, (2, 2, 9, 2))], axis=2),
        external_input=np.concatenate([recording.external_input, rng.normal(0, 30, (2, 2, 9))], axis=2),
        judged=np.tile(np.arange(T + 9) < T, (2, 1)),
    )
    filled = np.concatenate([activity, rng.uniform(0, 1, (2, 2, 9))], axis=-1)
    assert longer.observed_spikes.shape[2] == A + T + 9
    short, long = loss(parameters, activity, recording, model, "both"), loss(parameters, filled, longer, model, "both")
    np.testing.assert_allclose(long.value, short.value, rtol=1e-13)
    np.testing.assert_allclose(long.parameters, short.parameters, rtol=1e-11)
    np.testing.assert_allclose(long.activity[..., :T], short.activity, rtol=1e-11, atol=1e-15)
    assert (long.activity[..., T:] == 0).all()


@SCHEME
@pytest.mark.parametrize("loss", [fast_lossy, fast_lossZ])
def test_burn_in_takes_its_part_out_of_the_loss(loss, scheme):
    """Bins before and after add up, weighted by their number: what is predicted does not depend on what is scored."""
    case = random_case(M=2, B=2, scheme=scheme)
    early = np.tile(np.arange(40) < 7, (2, 1))
    parts = [dataclasses.replace(case.recording, judged=judged) for judged in (early, ~early)]
    assert [part.n_judged for part in parts] == [14, 66]
    value = [loss(*case._replace(recording=part)).value for part in parts]
    np.testing.assert_allclose((14 * value[0] + 66 * value[1]) / 80, loss(*case).value, rtol=1e-13)


def test_masks_of_ones_are_none():
    case = random_case(M=3, B=2)
    ones = dataclasses.replace(case.recording, judged=np.ones((2, 40), bool), recorded=np.ones((3, 2), bool))
    for loss in (fast_lossy, fast_lossZ):
        none, all_of_them = loss(*case, "both"), loss(*case._replace(recording=ones), "both")
        assert none.value == all_of_them.value
        np.testing.assert_array_equal(none.parameters, all_of_them.parameters)
        np.testing.assert_array_equal(none.activity, all_of_them.activity)


def test_a_neuron_that_is_not_recorded_is_as_if_it_were_not_there():
    case = random_case(M=2, n_obs=3)
    first_two = dataclasses.replace(case.recording, observed_spikes=case.recording.observed_spikes[..., :2])
    masked = dataclasses.replace(case.recording, recorded=np.tile([True, True, False], (2, 1)))
    without, with_mask = (fast_lossy(*case._replace(recording=part), "both") for part in (first_two, masked))
    np.testing.assert_allclose(with_mask.value, without.value, rtol=1e-13)
    np.testing.assert_allclose(with_mask.parameters, without.parameters, rtol=1e-11)
    np.testing.assert_allclose(with_mask.activity, without.activity, rtol=1e-11, atol=1e-15)


@SCHEME
def test_relabelling_populations(scheme):
    parameters, activity, recording, model = random_case(M=3, d=1, scheme=scheme)
    order = np.array([2, 0, 1])
    swapped = Parameters(
        parameters.membrane_rate[order],
        parameters.coupling[np.ix_(order, order)],
        parameters.resting_potential[order],
        parameters.threshold[order],
    )
    moved = dataclasses.replace(
        recording,
        observed_spikes=recording.observed_spikes[:, order],
        external_input=recording.external_input[:, order],
        initial_rate=recording.initial_rate[:, order],
    )
    renamed = dataclasses.replace(
        model, population_size=model.population_size[order], synaptic_rate=model.synaptic_rate[order]
    )
    for loss in (fast_lossy, fast_lossZ):
        here = loss(parameters, activity, recording, model, "both")
        there = loss(swapped, activity[:, order], moved, renamed, "both")
        np.testing.assert_allclose(here.value, there.value, rtol=1e-13)
        np.testing.assert_allclose(here.activity[:, order], there.activity, rtol=1e-10, atol=1e-14)
        back = Parameters.from_flat(here.parameters)
        np.testing.assert_allclose(back.coupling[np.ix_(order, order)].ravel(), there.parameters[3:12], rtol=1e-10)


@SCHEME
def test_rows_worked_on_in_chunks_give_the_same(monkeypatch, scheme):
    case = random_case(M=3, B=2, scheme=scheme)
    together = fast_lossZ(*case, "both")
    monkeypatch.setattr(fast_np, "AT_ONCE", 90)  # two rows of 40 bins at a time: chunks that end inside a trial
    apart = fast_lossZ(*case, "both")
    np.testing.assert_allclose(together.value, apart.value, rtol=1e-14)
    np.testing.assert_allclose(together.parameters, apart.parameters, rtol=1e-12)
    np.testing.assert_array_equal(together.activity, apart.activity)


def test_nothing_is_written_into_arguments_and_memory_can_be_shared():
    case = random_case(M=2, B=2)
    before = [case.activity.copy(), case.recording.observed_spikes.copy(), case.parameters.flat()]
    work = workspace(case.activity, case.model)
    work[:] = np.nan  # what it held before must not matter
    shared = [fast_lossZ(*case, "both", work) for _ in range(2)]
    for loss in shared:
        np.testing.assert_array_equal(loss.parameters, fast_lossZ(*case, "both").parameters)
    after = [case.activity, case.recording.observed_spikes, case.parameters.flat()]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


@SCHEME
def test_survival_falls_from_one_to_zero(scheme):
    parameters, _, recording, model = random_case(M=3, A=600, scheme=scheme)
    start = stationary_start(parameters, recording.initial_rate, model)
    assert (start.S0 >= 0).all() and (start.S0 <= 1).all()
    assert (np.diff(start.S0[..., 1:], axis=-1) <= 0).all()  # the youngest cohort enters with the first bin
    np.testing.assert_allclose(start.S0[..., 1], 1, atol=0.1)
    assert start.S0[..., -1].min() < 1e-3


def test_wild_parameters_give_finite_losses_and_gradients():
    parameters, activity, recording, model = random_case(M=2)
    wild = dataclasses.replace(parameters, resting_potential=np.array([900.0, -900.0]))
    for loss in (fast_lossy, fast_lossZ):
        result = loss(wild, activity, recording, model, "both")
        assert np.isfinite(result.value) and np.isfinite(result.parameters).all() and np.isfinite(result.activity).all()


def test_one_order_of_axes_outside_the_kernels_and_one_inside():
    recording = with_masks(random_case(M=3, B=2, T=25, A=30)).recording
    inside = neuron_bins(recording, winner_take_all(window=30 * 0.004))
    outside = recording.observed_spikes[:, :, 30:]
    seen = oracle.watched(recording.observed_spikes, recording.observed, 30)
    assert recording.scored.shape == outside.shape and inside.scored.shape == inside.last.shape == inside.spikes.shape
    for b, m, s, i in np.ndindex(*outside.shape):
        assert inside.spikes[b, m, i, s] == outside[b, m, s, i]
        assert inside.scored[b, m, i, s] == recording.scored[b, m, s, i]
        counted = recording.is_judged[b, s] and recording.is_recorded[m, i] and seen[b, m, s, i]
        assert recording.scored[b, m, s, i] == counted
    assert (recording.observed[:, :, 30:] & ~seen).any()  # ages are unknown for a while


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
def test_last_spike(scheme):
    def last(train, A):
        model = dataclasses.replace(winner_take_all(), window_bins=A, scheme=scheme)
        spikes, T = np.array(train)[None, None, :, None], len(train) - A
        return neuron_bins(Recording(spikes, np.zeros((1, 1, T)), np.zeros((1, 1))), model).last[0, 0, 0]

    np.testing.assert_array_equal(last([0, 1, 0, 0, 1, 0], 2), [-1, -1, -1, 2])
    np.testing.assert_array_equal(last([0, 1, 0, 0, 1, 0], 3), [-2, -2, 1])
    np.testing.assert_array_equal(last([1, 0, 0, 0], 3), [-3])
    silent = -1 if scheme is PUBLISHED else -3  # at age zero, or older than the window
    np.testing.assert_array_equal(last([0, 0, 0, 1, 0], 2), [silent, silent, 1])


def test_binomial_loss_is_that_of_scipy_on_whole_counts():
    N, p = np.array([[7.0], [400.0]]), np.array([[0.0, 0.03, 0.4, 1.0], [1e-3, 0.03, 0.4, 0.5]])
    fired = np.array([[0, 1, 7, 7], [0, 3, 100, 400]])
    loss, _, _ = fast_np._binomial_loss(fired / N, p, N)
    kept = np.clip(p, *fast_np.COUNT_RANGE)
    np.testing.assert_allclose(loss, -scipy.stats.binom.logpmf(fired, N, kept) - np.log(N), rtol=1e-10)


def test_binomial_and_gaussian_losses_meet_in_large_populations():
    rng = np.random.default_rng(0)
    N, nbar = 1e7, np.full((1, 1000), 0.002)
    n = rng.binomial(int(N), nbar) / N
    model = dataclasses.replace(winner_take_all(), dt=1e-9)  # a small floor of the Gaussian's variance
    gaussian, _, _ = fast_np.bin_loss(n, nbar, N, model)
    binomial, _, _ = fast_np.bin_loss(n, nbar, N, dataclasses.replace(model, counts="binomial"))
    np.testing.assert_allclose(binomial, gaussian, atol=0.05)


# --- the old, for which nothing remains of the reset ---


def without_limits(monkeypatch):
    """Follow every cohort to the end of the window."""
    monkeypatch.setattr(fast_np, "limit_ages", lambda leak, model, _: np.full(leak.shape, model.window_bins))


TAILS = [
    dict(M=2, B=2, A=80, T=100, r=2, d=1),  # longer than the window
    dict(M=3, A=80, T=30),  # shorter than what the old have left of it
    dict(M=1, A=300, T=200),
]


@SCHEME
@pytest.mark.parametrize("counts", ["gaussian", "binomial"])
@pytest.mark.parametrize("shape", TAILS, ids=str)
def test_the_old_as_a_pool_are_the_cohorts_stepped_to_the_end(monkeypatch, shape, scheme, counts):
    """Rows of one call have limits of their own, and one of them has none."""
    parameters, activity, recording, model = with_masks(random_case(**shape, scheme=scheme, counts=counts))
    rates = np.array([160.0, 20.0, 130.0])[: shape["M"]]
    case = dataclasses.replace(parameters, membrane_rate=rates), activity, recording, model
    limits = limit_ages(model.scheme.leak_and_gain(rates, model.dt)[0], model, EXACT)
    assert limits[0] < model.window_bins and (limits[1:2] == model.window_bins).all()
    exact, tail = fast_lossZ(*case, "both", tolerance=EXACT), fast_lossZ(*case, "both")
    without_limits(monkeypatch)
    stepped = fast_lossZ(*case, "both")
    for came, rtol, atol in ((exact, 1e-13, 1e-14), (tail, 1e-11, 1e-9)):
        np.testing.assert_allclose(came.value, stepped.value, rtol=rtol)
        for part in ("parameters", "activity"):
            expected = getattr(stepped, part)
            close = dict(rtol=1e3 * rtol, atol=1e2 * atol * np.abs(expected).max())
            np.testing.assert_allclose(getattr(came, part), expected, **close)


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_the_tail_keeps_golden_losses_to_eleven_digits(name, monkeypatch):
    tails = [fast_lossZ(*case).value for case, *_ in golden_cases(name)]
    without_limits(monkeypatch)
    for (case, *_), tail in zip(golden_cases(name), tails, strict=True):
        np.testing.assert_allclose(tail, fast_lossZ(*case).value, rtol=1e-11)


@SCHEME
def test_the_age_from_which_on_nothing_remains(scheme):
    model = dataclasses.replace(winner_take_all(), window_bins=250, refractory_bins=2, scheme=scheme)
    leak = np.array([0.8, 0.5, 0.99, 1.0, -0.5, 0.0])
    slowest = np.abs(leak) if scheme.exact_step else np.maximum(np.abs(leak), np.exp(leak - 1))
    limits = limit_ages(leak, model, 1e-9)
    for rate, limit in zip(slowest, limits, strict=True):
        assert limit == 250 or rate ** (limit - 3) <= 1e-9 < (rate ** (limit - 5) if limit > 5 else 1)
    assert (limits[2:4] == 250).all() and (limits[:2] < 150).all() and (limits >= 3).all()


def test_a_hazard_beyond_all_bounds_leaves_no_trace_on_later_cohorts(monkeypatch):
    """The survival of those who leave is a ratio of cumulative hazards, which must not lose their digits."""
    parameters, activity, recording, model = random_case(M=1, A=120, T=300)
    drive = recording.external_input.copy()
    drive[..., 100:104] = 3e4
    parameters = dataclasses.replace(parameters, membrane_rate=np.array([120.0]))
    case = parameters, activity, dataclasses.replace(recording, external_input=drive), model
    tail = fast_lossZ(*case, "both", tolerance=EXACT)
    without_limits(monkeypatch)
    stepped = fast_lossZ(*case, "both")
    np.testing.assert_allclose(tail.value, stepped.value, rtol=1e-12)
    np.testing.assert_allclose(tail.parameters, stepped.parameters, rtol=1e-9)


def test_recursion_is_a_loop_and_its_adjoint_is_the_transpose():
    rng = np.random.default_rng(0)
    for T in (1, 2, 7, 100):
        factor, added, y_bar = rng.uniform(0, 1, T), rng.normal(size=(2, T)), rng.normal(size=(2, T))
        y, expected = np.zeros(2), np.empty((2, T))
        for s in range(T):
            y = expected[:, s] = factor[s] * y + added[:, s]
        np.testing.assert_allclose(recursion(factor, added), expected, rtol=1e-12)
        np.testing.assert_allclose(
            (recursion_adjoint(factor, y_bar) * added).sum(-1), (y_bar * expected).sum(-1), rtol=1e-11
        )


def test_old_neurons_as_a_pool_make_the_window_irrelevant():
    """SPEC 3.3: windows of 0.16 s and of 1 s give the same loss to 1e-4 at the true parameters."""
    losses = []
    for window in (0.16, 1.0):
        model = winner_take_all(dt=0.004, window=window, scheme=CONSISTENT)
        later = round((1.0 - window) / 0.004)  # the same bins are fitted
        case, *_ = next(golden_cases("winner_take_all"))
        spikes = case.recording.observed_spikes[:, :, later:]
        recording = dataclasses.replace(case.recording, observed_spikes=spikes)
        losses.append(fast_lossZ(REFERENCE, case.activity, recording, model).value)
        losses.append(fast_lossy(REFERENCE, case.activity, recording, model).value)
    np.testing.assert_allclose(losses[:2], losses[2:], rtol=1e-4)


def test_schemes_meet_as_bins_shrink():
    """Euler steps and exact ones, P = lambda dt and 1 - exp(-lambda dt), start, old neurons: they come together."""
    apart = []
    for dt in (0.001, 0.00025):
        losses = []
        for scheme in (PUBLISHED, CONSISTENT):
            A, T = round(0.5 / dt), round(0.2 / dt)  # a window that no neuron outlasts
            parameters, _, recording, model = random_case(M=1, A=A, T=T, r=round(0.004 / dt), dt=dt, scheme=scheme)
            recording = dataclasses.replace(recording, external_input=np.zeros((1, 1, T)))
            parameters = dataclasses.replace(parameters, resting_potential=np.array([8.0]), coupling=np.zeros((1, 1)))
            rate = expected_rate(parameters, recording, model)
            losses.append(rate)
        apart.append(np.abs(losses[0] - losses[1]).max())
    assert apart[1] < 0.4 * apart[0]


def expected_rate(parameters, recording, model):
    """Return the expected rate, in Hz, of a population that has fired at 20 Hz."""
    recording = dataclasses.replace(recording, initial_rate=np.full((1, 1), 20.0))
    activity = np.full((1, 1, recording.n_bins), 20.0 * model.dt)
    drive = fast_np.drive_of(parameters, activity, recording, model)
    rows = fast_np.rows_of(drive, parameters, activity, recording, model, EXACT)
    *_, sums = fast_np.step_ages(rows, model, workspace(activity, model))
    return fast_np.expected_activity(sums)[0][0, -1] / model.dt


@pytest.mark.parametrize("rate", [250.0, 300.0])
def test_gradient_where_the_euler_step_leaves_nothing_of_the_potential(rate, step=1e-6):
    """At alpha dt = 1 the leak is 0, beyond it is negative."""
    parameters, activity, recording, model = random_case(M=1)
    parameters = dataclasses.replace(parameters, membrane_rate=np.array([rate]))
    for loss in (fast_lossy, fast_lossZ):
        gradient = loss(parameters, activity, recording, model, "parameters").parameters
        expected = three_point(
            lambda v, loss=loss: loss(Parameters.from_flat(v), activity, recording, model).value,
            parameters.flat(),
            step,
        )
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_gradients_where_nobody_survives_are_finite():
    parameters, _, recording, model = random_case(M=2, A=40, T=60)
    rng = np.random.default_rng(0)
    activity = rng.choice([1e-5, 1.0], (1, 2, 60))
    for mu in (20.0, 60.0, 200.0, 700.0):
        hot = dataclasses.replace(parameters, resting_potential=np.full(2, mu))
        for loss in (fast_lossy, fast_lossZ):
            result = loss(hot, activity, recording, model, "both")
            assert np.isfinite(result.parameters).all() and np.isfinite(result.activity).all()


def test_a_mistyped_gradient_is_an_error():
    for loss in (fast_lossy, fast_lossZ):
        with pytest.raises(InputError, match="wrt: expected one of none, parameters, activity, both, got 'parameter'"):
            loss(*random_case(), "parameter")
