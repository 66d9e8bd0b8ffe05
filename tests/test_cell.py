"""The TensorFlow side: the E-step's loss against NumPy and golden files, and the recurrent cell against both."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from src.fast_np import fast_lossy, fast_lossZ
from src.LIFmesoCell import LIFmesoCell, MesoLoss, simulate
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.scheme import CONSISTENT, PUBLISHED, SCHEMES
from src.model.tf_filters import tf_low_pass
from src.utils.exceptions import InputError
from tests.cases import GOLDEN_NAMES, golden_cases, random_case, with_masks

REFERENCE = reference_parameters()

SCHEME = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
HALF_OF_CIRCUITS = [  # every circuit with one scheme; the other scheme with -m slow
    pytest.param(M, d, r, scheme, marks=[pytest.mark.slow] * ((M + d // 2 + r + k) % 2), id=f"{M}-{d}-{r}-{name}")
    for M, d, r in itertools.product((1, 2, 3, 4), (0, 2), (1, 2))
    for k, (name, scheme) in enumerate(SCHEMES.items())
]


def compiled_loss(case, dtype):
    loss = MesoLoss(case.recording, case.model, dtype)
    y, Z, gradient = loss(tf.constant(case.activity, dtype), loss.constants(case.parameters))
    return float(y), float(Z), gradient.numpy()


@pytest.mark.parametrize("name", GOLDEN_NAMES)
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), pytest.param("float32", 1e-4, marks=pytest.mark.slow)])
def test_golden(name, dtype, rtol):
    loss = None
    for case, loss_y, loss_Z in golden_cases(name):
        loss = loss or MesoLoss(case.recording, case.model, dtype)  # compiled once for all rows
        y, Z, _ = loss(tf.constant(case.activity, dtype), loss.constants(case.parameters))
        np.testing.assert_allclose([y, Z], [loss_y, loss_Z], rtol=rtol)


def test_recordings_of_one_shape_share_a_program(dtype="float64"):
    """A second fit in the same process compiles nothing, and sees its own recording and circuit."""
    cases = [random_case(M=2, B=2, T=33, seed=seed) for seed in (1, 2)]
    same = dataclasses.replace(cases[0].model, names=("a", "b"))
    one, other, third = (
        MesoLoss(case.recording, same if case.recording.n_bins == 33 else case.model, dtype)
        for case in (*cases, random_case(M=2, B=2, T=34, seed=1))
    )
    assert one.program is other.program
    before = one.program.value_and_gradient.experimental_get_tracing_count()
    for loss, case in ((one, cases[0]), (other, cases[1]._replace(model=same))):
        y, Z, _ = loss(tf.constant(case.activity, dtype), loss.constants(case.parameters))
        np.testing.assert_allclose([y, Z], [part(*case).value for part in (fast_lossy, fast_lossZ)], rtol=1e-9)
    assert one.program.value_and_gradient.experimental_get_tracing_count() == before + 1
    assert third.program is not one.program  # of another circuit
    for change in ({"dt": 0.002}, {"scheme": CONSISTENT}, {"counts": "binomial"}, {"synaptic_rate": [99.0, 98.0]}):
        assert MesoLoss(cases[0].recording, dataclasses.replace(same, **change), dtype).program is not one.program


@pytest.mark.parametrize(
    "M, d, r, scheme, counts",
    [
        (1, 0, 1, PUBLISHED, "gaussian"),
        (2, 2, 2, PUBLISHED, "binomial"),
        (4, 2, 1, CONSISTENT, "gaussian"),
        (3, 0, 2, CONSISTENT, "binomial"),
    ],
)
@pytest.mark.parametrize("masked", [pytest.param(False, marks=pytest.mark.slow), True])
def test_activity_gradient_is_that_of_numpy(M, d, r, scheme, counts, masked):
    case = random_case(M=M, B=2, d=d, r=r, scheme=scheme, counts=counts)
    case = with_masks(case) if masked else case
    y, Z, gradient = compiled_loss(case, "float64")
    in_numpy = [loss(*case, "activity") for loss in (fast_lossy, fast_lossZ)]
    np.testing.assert_allclose([y, Z], [loss.value for loss in in_numpy], rtol=1e-12)
    expected = sum(loss.activity for loss in in_numpy)
    np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-12 * np.abs(expected).max())
    y_single, Z_single, single = compiled_loss(case, "float32")
    np.testing.assert_allclose([y_single, Z_single], [y, Z], rtol=1e-4)
    np.testing.assert_allclose(single, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_silent_population_has_a_finite_gradient():
    case = random_case(M=2)
    case.recording.initial_rate[:] = 0  # no mass in the window: the sums of v are zero in the first bin
    y, Z, gradient = compiled_loss(case, "float64")
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose([y, Z], [loss(*case).value for loss in (fast_lossy, fast_lossZ)], rtol=1e-12)
    # In single precision the first cohorts' 1 - S is 0, so its losses differ; but they are finite.
    assert all(np.isfinite(part).all() for part in compiled_loss(case, "float32"))


def test_low_pass_is_the_recursion():
    rng = np.random.default_rng(0)
    signal, decay = rng.normal(size=(2, 3, 50)), np.array([0.2, 0.8, 0.999])[:, None]
    expected = np.zeros_like(signal)
    for s in range(50):
        expected[..., s] = signal[..., s] + (decay[:, 0] * expected[..., s - 1] if s else 0)
    np.testing.assert_allclose(tf_low_pass(tf.constant(signal), tf.constant(decay)), expected, rtol=1e-12)


# --- the cell ---


def follow(case, jit_compile=False):
    """Run the cell along a recording in float64; every output by name."""
    parameters, activity, recording, model = case
    y = recording.observed_spikes[:, :, model.window_bins :]
    cell = LIFmesoCell(
        parameters, model, recording.initial_rate[0], n_observed=y.shape[-1], follow=True, dtype="float64"
    )
    layer = keras.layers.RNN(cell, return_sequences=True, dtype="float64")
    by_time = [np.moveaxis(part, 2, 1) for part in (recording.external_input, activity, y)]
    inputs = np.concatenate([part.reshape(*part.shape[:2], -1) for part in by_time], axis=-1)
    run = tf.function(lambda x, start: layer(x, initial_state=start), jit_compile=jit_compile, reduce_retracing=True)
    return cell.unpack(run(tf.constant(inputs, tf.float64), cell.initial_state_of(recording)))


@pytest.mark.parametrize("M, d, r, scheme", HALF_OF_CIRCUITS)
def test_cell_and_loop_over_ages_agree(M, d, r, scheme):
    counts = ("gaussian", "binomial")[M % 2]
    case = random_case(M=M, B=2, d=d, r=r, T=30, A=12, scheme=scheme, counts=counts)
    out = follow(case)
    np.testing.assert_allclose(np.mean(out["loss_y"]), fast_lossy(*case).value, rtol=1e-12)
    np.testing.assert_allclose(np.mean(out["loss_Z"]), fast_lossZ(*case).value, rtol=1e-12)
    np.testing.assert_array_equal(out["activity"], case.activity)
    np.testing.assert_array_equal(out["spikes"], case.recording.observed_spikes[:, :, case.model.window_bins :])


def test_cell_and_loop_over_ages_agree_when_compiled():
    case = random_case(M=3, B=2, d=1, r=2)
    y, Z, _ = compiled_loss(case, "float64")
    out = follow(case, jit_compile=True)
    np.testing.assert_allclose([np.mean(out["loss_y"]), np.mean(out["loss_Z"])], [y, Z], rtol=1e-12)


@SCHEME
def test_cell_is_made_again_from_its_config(scheme):
    model = winner_take_all(window=0.2, scheme=scheme)
    cell = LIFmesoCell(REFERENCE, model, [19.0, 6.0, 24.0], n_observed=2, noise="binomial", seed=3)
    layer = keras.layers.RNN(cell, return_sequences=True)
    again = keras.layers.RNN.from_config(layer.get_config(), custom_objects={"LIFmesoCell": LIFmesoCell})
    inputs = tf.zeros((2, 25, 3))
    np.testing.assert_array_equal(layer(inputs), again(inputs))
    assert again.cell.get_config() == cell.get_config()


@pytest.mark.parametrize("noise", [pytest.param("gaussian", marks=pytest.mark.slow), "binomial"])
def test_simulation_depends_on_the_seed_and_on_nothing_else(noise):
    model = winner_take_all(window=0.2)
    runs = [simulate(REFERENCE, model, 60, seed, n_observed=2, noise=noise) for seed in (1, 1, 2)]
    for first, second in zip(runs[0], runs[1], strict=True):
        np.testing.assert_array_equal(first, second)
    assert (runs[0][0] != runs[2][0]).any() and (runs[0][1] != runs[2][1]).any()
    longer = simulate(REFERENCE, model, 90, 1, n_observed=2, noise=noise)
    np.testing.assert_allclose(longer[0][:, :60], runs[0][0], rtol=1e-5, atol=1e-7)
    assert runs[0][0].shape == (3, 60) and runs[0][1].shape == (3, 60, 2)
    assert set(np.unique(runs[0][1])) <= {0, 1}


@pytest.mark.parametrize("noise", ["gaussian", "binomial"])
def test_simulated_activity_scatters_about_its_mean(noise):
    """Over bins, (n - nbar) / sqrt(nbar / N) has mean 0 and variance 1 (1 - nbar for a binomial count)."""
    model = winner_take_all(window=0.4)
    cell = LIFmesoCell(REFERENCE, model, [19.0, 6.0, 24.0], n_observed=3, noise=noise, seed=5, dtype="float64")
    layer = keras.layers.RNN(cell, return_sequences=True, dtype="float64")
    out = cell.unpack(tf.function(layer, jit_compile=True)(tf.zeros((1, 6000, 3), tf.float64)))
    nbar, n = out["nbar"][0].numpy(), out["activity"][0].numpy()
    kept = nbar > 0.05  # bins in which a normal draw is hardly ever cut at zero
    N = model.population_size[:, None]
    spread = (nbar * (1 - nbar) if noise == "binomial" else nbar) / N
    z = ((n - nbar) / np.sqrt(spread))[kept]
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
    assert n.min() >= 0
    if noise == "binomial":
        np.testing.assert_allclose(n * N, np.round(n * N), atol=1e-9)
    # recorded neurons fire as often as their population: three of them, 24 s
    rate, spikes = n.mean(axis=1) / model.dt, out["spikes"][0].numpy().mean(axis=(1, 2)) / model.dt
    np.testing.assert_allclose(spikes, rate, atol=4 * np.sqrt(rate.max() / (3 * 24)))


def test_recorded_neurons_are_silent_while_refractory():
    model = winner_take_all(dt=0.001, window=0.2)
    _, spikes = simulate(REFERENCE, model, 4000, 1, n_observed=10, initial_rate=np.array([19.0, 6.0, 24.0]))
    assert model.refractory_bins == 4 and spikes.sum() > 100
    for train in np.moveaxis(spikes, 2, 1).reshape(-1, 4000):
        assert (np.diff(np.flatnonzero(train)) > 4).all()


def test_external_input_drives_its_population():
    alone = dataclasses.replace(REFERENCE, coupling=np.zeros((3, 3)), resting_potential=np.full(3, 3.0))
    step = np.zeros((3, 500))
    step[1, 250:] = 100.0
    activity, _ = simulate(alone, winner_take_all(window=0.4), 500, 1, external_input=step)
    before, after = activity[:, 100:250].mean(axis=1), activity[:, 300:].mean(axis=1)
    assert after[1] > 2 * before[1]
    np.testing.assert_allclose(after[[0, 2]], before[[0, 2]], rtol=0.1)


def test_published_scheme_at_the_true_parameters_has_the_rates_that_were_measured():
    """SPEC 3.3: 21.6 / 3.5 / 25.3 Hz, and no switch."""
    activity, _ = simulate(REFERENCE, winner_take_all(), 10000, 1, initial_rate=np.array([19.0, 6.0, 24.5]))
    np.testing.assert_allclose(activity[:, 500:].mean(axis=1) / 0.004, [21.6, 3.5, 25.3], atol=0.15)


def test_a_mistyped_noise_and_an_endless_simulation_are_errors():
    model = winner_take_all(window=0.2)
    with pytest.raises(InputError, match="noise: expected one of gaussian, binomial, got 'Binomial'"):
        simulate(REFERENCE, model, 10, 1, noise="Binomial")
    with pytest.raises(InputError, match="n_bins: expected at most 16777216"):
        simulate(REFERENCE, model, 2**24 + 1, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_where_nobody_survives_is_finite(dtype):
    case = random_case(M=2, T=60)
    rng = np.random.default_rng(0)
    extremes = case._replace(activity=rng.choice([1e-5, 1.0], (1, 2, 60)))
    assert all(np.isfinite(part).all() for part in compiled_loss(extremes, dtype))
