"""From data sets to recordings in bins and trials, and the start of a fit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from src.data.dataset import load_recording
from src.data.describe import describe_recording
from src.helper import init_model, to_X, true_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Recording
from src.model.free_parameters import FreeParameters
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from tests.training import DATASET

REFERENCE = reference_parameters()

GOLDEN = Path(__file__).parents[1] / "golden/winner_take_all.npz"
STEP = 0.001
MODEL = winner_take_all(dt=0.004, window=0.04)  # 4 steps a bin, 10 bins of window
A, STEPS = MODEL.window_bins, 200


def content(**changes):
    """Return a data set of 50 bins; None leaves an array out."""
    rng = np.random.default_rng(3)
    arrays = {
        "A_t_pop": rng.integers(0, 9, (STEPS, 3)) * 2.5,
        "sampled_spikes": (rng.random((3, STEPS, 5)) < 0.2).astype(np.uint8),
        "I_ext": rng.normal(size=(STEPS, 3)),
        "dt": STEP,
        "amem": REFERENCE.membrane_rate,
        "J": REFERENCE.coupling,
        "rp": REFERENCE.resting_potential,
        "ft": REFERENCE.threshold,
        "population_size": MODEL.population_size,
        "synaptic_rate": MODEL.synaptic_rate,
    }
    return {key: value for key, value in {**arrays, **changes}.items() if value is not None}


def load(folder, changes=None, **options):
    save_arrays(folder / "data", **content(**(changes or {})))
    return load_recording(folder / "data", MODEL, **{"end_timepoint": 0.2, **options})


def by_hand(signal, first_bin, bins):
    """Sum the steps (last axis but one) of each bin, one bin after the other."""
    return np.stack([signal[4 * s : 4 * s + 4].sum(axis=0) for s in range(first_bin, first_bin + bins)])


def test_one_trial_in_bins(tmp_path):
    data = content()
    recording, _ = load(tmp_path, n_sampled=5, with_input=True)
    assert recording.observed_spikes.shape == (1, 3, 50, 5)
    assert recording.observed_spikes.dtype == np.uint8
    assert recording.external_input.shape == recording.true_activity.shape == (1, 3, 40)
    for m in range(3):
        rate = by_hand(data["A_t_pop"][:, m], A, 40) / 4
        np.testing.assert_allclose(recording.true_activity[0, m], rate * 0.004, rtol=1e-12)
        np.testing.assert_allclose(
            recording.external_input[0, m], by_hand(data["I_ext"][:, m], A, 40) / 4, rtol=1e-12, atol=1e-15
        )
        for i in range(5):
            some = by_hand(data["sampled_spikes"][m, :, i], 0, 50) > 0
            np.testing.assert_array_equal(recording.observed_spikes[0, m, :, i], some)
        window = recording.observed_spikes[0, m, :A]
        assert recording.initial_rate[0, m] == pytest.approx(window.sum() / 5 / 0.04, rel=1e-12)


def test_without_clipping_no_spike_is_lost(tmp_path):
    spikes = np.zeros((3, STEPS, 5), np.uint8)
    spikes[:, 1::4] = np.random.default_rng(0).random((3, 50, 5)) < 0.3  # at most one a bin
    recording, notes = load(tmp_path, {"sampled_spikes": spikes}, n_sampled=5, with_input=True)
    np.testing.assert_array_equal(recording.observed_spikes.sum((0, 2)), spikes.sum(1))
    assert notes == []


def test_two_spikes_in_a_bin_count_as_one_and_are_noted(tmp_path):
    spikes = np.zeros((3, STEPS, 5), np.uint8)
    spikes[:, 0] = 1
    spikes[1, [40, 41, 43], 0] = 1  # three in bin 10
    spikes[2, [80, 81], 3] = 1  # of a neuron that is not taken
    recording, notes = load(tmp_path, {"sampled_spikes": spikes}, n_sampled=2, with_input=True)
    assert notes == ["1 bins with two spikes or more of a neuron; each counts as one spike"]
    assert recording.observed_spikes[0, 1, :, 0].tolist() == [1] + 9 * [0] + [1] + 39 * [0]


def test_silent_neurons_are_noted_and_the_first_ones_are_taken(tmp_path):
    spikes = content()["sampled_spikes"]
    spikes[0, :, 0], spikes[2, :, 1], spikes[2, :, 4] = 0, 0, 0
    recording, notes = load(tmp_path, {"sampled_spikes": spikes}, n_sampled=2)
    assert "2 recorded neurons never fire" in notes
    assert recording.observed_spikes.shape[-1] == 2
    assert recording.observed_spikes[0, 0, :, 1].any() and not recording.observed_spikes[0, 0, :, 0].any()


def test_trials_follow_each_other_each_after_its_window(tmp_path):
    whole, _ = load(tmp_path, with_input=True)
    cut, _ = load(tmp_path, trial_length=0.052, with_input=True)  # 13 bins: three trials, one bin is left over
    assert cut.n_trials == 3 and cut.n_bins == 13
    for b in range(3):
        first = 13 * b
        np.testing.assert_array_equal(cut.observed_spikes[b], whole.observed_spikes[0, :, first : first + A + 13])
        for name in ("true_activity", "external_input"):
            np.testing.assert_array_equal(getattr(cut, name)[b], getattr(whole, name)[0, :, first : first + 13])
        window = whole.observed_spikes[0, :, first : first + A]
        np.testing.assert_allclose(cut.initial_rate[b], window.mean((1, 2)) / 0.004, rtol=1e-12)


def test_only_what_comes_before_the_end_is_used(tmp_path):
    whole, _ = load(tmp_path)
    recording, _ = load(tmp_path, end_timepoint=0.1)
    np.testing.assert_array_equal(recording.observed_spikes, whole.observed_spikes[:, :, :25])
    np.testing.assert_array_equal(recording.true_activity, whole.true_activity[..., :15])
    shorter, _ = load(tmp_path, end_timepoint=0.0999)  # a bin that has not ended does not count
    assert shorter.n_bins == 14


def test_input_is_known_only_if_asked_for(tmp_path):
    assert not load(tmp_path)[0].external_input.any()
    assert load(tmp_path, with_input=True)[0].external_input.any()


def test_truth_where_the_data_set_knows_it(tmp_path):
    recording, _ = load(tmp_path)
    for name, value in vars(REFERENCE).items():
        np.testing.assert_array_equal(getattr(recording.true_parameters, name), value)
    recording, _ = load(tmp_path, {"J": None})
    assert recording.true_parameters is None


def test_the_published_step_where_the_data_set_does_not_say(tmp_path):
    with pytest.raises(InputError, match="end_timepoint: expected at most 0.04 s"):  # 200 steps of 0.2 ms
        load(tmp_path, {"dt": None})


def test_another_circuit_is_noted(tmp_path):
    _, notes = load(tmp_path, {"population_size": np.array([400, 100, 200])})
    assert notes[0].startswith("population_size: the data were made with [400, 100, 200], and the fit takes it to be")
    assert len(load(tmp_path, {"population_size": np.array([400, 400])})[1]) == 1 + len(load(tmp_path)[1])


def load_sparse(folder, changes=None, **options):
    """Load data in which neurons fire just once, which there is nothing to say about."""
    spikes = np.zeros((3, STEPS, 5), np.uint8)
    spikes[:, 50] = 1
    return load(folder, {"sampled_spikes": spikes, **(changes or {})}, **options)


def without_connection():
    """An inhibitory population that does not inhibit itself, which the fit assumes."""
    J = REFERENCE.coupling.copy()
    J[2, 2] = 0
    return J


UNEVEN = REFERENCE.coupling * [[1, 1, 1.5], [1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("J", [without_connection(), UNEVEN, -REFERENCE.coupling])
def test_couplings_that_the_fit_cannot_find_are_noted_and_not_shown_as_true(tmp_path, J):
    recording, notes = load_sparse(tmp_path, {"J": J}, with_input=True)
    other = np.flatnonzero(
        (np.abs(J) != np.abs(REFERENCE.coupling)).any(axis=1) | (J[:, 2] != REFERENCE.coupling[:, 2])
    )
    (note,) = notes
    assert (
        note == f"{', '.join(f'coupling {MODEL.names[j]}' for j in other)}: the data were made with couplings whose "
        "signs or ratios are others than the fit assumes; no true value is shown"
    )
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(true_X(recording.true_parameters, MODEL))), 3 + other)


def test_fixed_parameters_that_are_not_the_true_ones_are_noted(tmp_path):
    free = MODEL.free
    fixed, matrix = free.fixed.copy(), free.matrix[:-1]
    fixed[-1] = 4.5  # the threshold of I
    ranges = {key: getattr(free, key)[:-1] for key in ("lower", "upper", "start_lower", "start_upper", "scale")}
    free = FreeParameters(free.names[:-1], free.units[:-1], fixed, matrix, **ranges)
    model = replace(MODEL, free=free)
    save_arrays(tmp_path / "data", **content())
    _, notes = load_recording(tmp_path / "data", model, end_timepoint=0.2)
    assert "threshold I: the data were made with 3.7, and the fit takes it to be 4.5" in notes


def test_couplings_of_other_magnitudes_are_the_truth(tmp_path):
    recording, notes = load_sparse(tmp_path, {"J": REFERENCE.coupling * [[2], [1], [0.5]]}, with_input=True)
    assert notes == [] and recording.true_parameters.coupling[0, 0] == 2 * REFERENCE.coupling[0, 0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"refractory_time": 0.004, "delay": 0.0}, []),
        ({"refractory_time": 0.002, "delay": 0.0}, ["refractory_time: the data were made with 0.002 s, and the fit"]),
        ({"refractory_time": 0.004, "delay": 0.001}, ["delay: the data were made with 0.001 s, and the fit takes it"]),
        ({"refractory_time": 0, "delay": 1}, ["refractory_time: the data were made with 0 s", "delay: the data were"]),
    ],
)
def test_another_refractory_time_or_delay_is_noted(tmp_path, settings, said):
    _, notes = load_sparse(tmp_path, {"settings": json.dumps(settings)}, with_input=True)
    assert len(notes) == len(said) and all(map(str.startswith, notes, said))


def test_what_bins_make_of_the_refractory_time_is_said_once(tmp_path):
    save_arrays(tmp_path / "data", **content(settings='{"refractory_time": 0.004, "delay": 0}'))
    model = winner_take_all(dt=0.003, window=0.03)
    recording, notes = load_recording(tmp_path / "data", model, end_timepoint=0.2)
    assert [line for line in describe_recording(recording, model) + notes if "refractory" in line] == [
        "A refractory time of 4 ms is 3 ms in such bins."
    ]


@pytest.mark.parametrize(
    "settings", ["{", "[]", "3", "{}", '{"refractory_time": null, "delay": "x"}', "[" * 10**5, np.ones(3)]
)
def test_settings_that_say_nothing_are_ignored(tmp_path, settings):
    assert load_sparse(tmp_path, {"settings": settings}, with_input=True)[1] == []


def test_an_input_that_the_fit_ignores_is_noted_and_one_that_is_not_there(tmp_path):
    silent = {"I_ext": np.zeros((STEPS, 3))}
    assert load_sparse(tmp_path)[1] == [
        "the data have an external input, and the fit takes it to be zero; see --with_input"
    ]
    assert load_sparse(tmp_path, silent)[1] == [] and load_sparse(tmp_path, with_input=True)[1] == []
    assert load_sparse(tmp_path, silent, with_input=True)[1] == [
        "--with_input: the data have no external input, it is zero throughout"
    ]


def changed(name, index, value):
    array = content()[name].astype(float)
    array[index] = value
    return {name: array}


BAD = [
    ({"I_ext": None}, {}, "expected the arrays A_t_pop, sampled_spikes, I_ext; I_ext missing"),
    (changed("A_t_pop", (7, 1), np.nan), {}, "A_t_pop: expected finite numbers, got NaN or infinity"),
    (changed("A_t_pop", (7, 1), -2.5), {}, "A_t_pop: expected rates of at least 0 Hz, got -2.5"),
    (changed("I_ext", (7, 1), np.inf), {}, "I_ext: expected finite numbers"),
    (changed("sampled_spikes", (0, 7, 1), 2), {}, "sampled_spikes: expected 0 and 1, got values from 0 to 2"),
    (changed("sampled_spikes", (0, 7, 1), 0.5), {}, "sampled_spikes: expected 0 and 1"),
    (changed("sampled_spikes", (0, 7, 1), -1), {}, "sampled_spikes: expected 0 and 1, got values from -1 to 1"),
    ({"A_t_pop": np.ones((STEPS, 2))}, {}, r"A_t_pop: expected shape \(200, 3\) for 3 populations, got \(200, 2\)"),
    ({"A_t_pop": np.ones(STEPS)}, {}, r"A_t_pop: expected shape \(200, 3\) for 3 populations, got \(200,\)"),
    ({"A_t_pop": np.array(1.0)}, {}, r"A_t_pop: expected shape \(0, 3\) for 3 populations, got \(\)"),
    ({"I_ext": np.ones((STEPS - 1, 3))}, {}, r"I_ext: expected shape \(200, 3\) for 3 populations, got \(199, 3\)"),
    ({"sampled_spikes": np.ones((STEPS, 3, 5))}, {}, r"sampled_spikes: expected shape \(3, 200, neurons\)"),
    ({"A_t_pop": np.full((STEPS, 3), "a")}, {}, "A_t_pop: expected real numbers, got <U1"),
    ({"A_t_pop": np.full((STEPS, 3), 1j)}, {}, "A_t_pop: expected real numbers, got complex128"),
    ({"dt": 0.0}, {}, "dt: expected one positive time step in s, got 0"),
    ({"dt": np.nan}, {}, "dt: expected finite numbers"),
    ({"dt": "fast"}, {}, "dt: expected real numbers"),
    ({"dt": np.ones(2)}, {}, r"dt: expected one positive time step in s, got \[1.0, 1.0\]"),
    ({"dt": 0.0015}, {}, "dt: expected a multiple of the data set's step of 0.0015 s, got 0.004"),
    ({"dt": 0.008}, {}, "dt: expected a multiple of the data set's step of 0.008 s, got 0.004"),
    ({"J": np.ones(3)}, {}, r"J: expected shape \(3, 3\), got \(3,\)"),
    ({"rp": np.array([1, np.nan, 2])}, {}, "rp: expected finite numbers"),
    ({"ft": np.array(["a", "b", "c"])}, {}, "ft: expected real numbers"),
    ({"population_size": np.array(["a"])}, {}, "population_size: expected real numbers"),
    ({}, {"end_timepoint": 0.201}, "end_timepoint: expected at most 0.2 s, the length of .*data, got 0.201"),
    ({}, {"end_timepoint": 0.04}, "expected a window of 0.04 s and at least one trial of two bins or more"),
    ({}, {"end_timepoint": 0.001}, "expected a window of 0.04 s and at least one trial"),
    ({}, {"trial_length": 0.164}, "trial_length: expected 0.008 s, 2 bins, to 0.16 s, .* got 0.164"),
    ({}, {"trial_length": 0.004}, "trial_length: expected 0.008 s, 2 bins, to 0.16 s, .* got 0.004"),
    ({}, {"trial_length": 0.01}, "trial_length: expected a multiple of dt, 0.004 s, got 0.01"),
    ({}, {"trial_length": 0.008, "end_timepoint": 0.04}, "recording: expected a window of 0.04 s and at least one"),
    ({}, {"n_sampled": 6}, "n_sampled: expected at most 5, the neurons in .*data, got 6"),
]


@pytest.mark.parametrize(("changes", "options", "message"), BAD)
def test_bad_data(tmp_path, changes, options, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, changes, **options)


def test_the_shipped_data_set_as_it_is_fitted():
    model = winner_take_all()
    recording, notes = load_recording(Path(__file__).parents[2] / "dataset/3pop_noinput_small", model, end_timepoint=11)
    assert recording.observed_spikes.shape == (1, 3, 2750, 3) and recording.n_bins == 2500
    assert 0.001 < recording.true_activity.mean() < 0.2
    np.testing.assert_array_equal(to_X(recording.true_parameters, model), to_X(REFERENCE, model))
    said = describe_recording(recording, model)
    assert said[1] == "Fitted: 1 trial of 10 s in 2500 bins of 4 ms, after 1 s of history."


# --- the start of a fit -----------------------------------------------------------------------------------------------


def test_start_of_the_activity_is_the_golden_one():
    golden = load_arrays(GOLDEN)
    model = winner_take_all(float(golden["dt"]))
    recording = Recording(golden["observed_spikes"], golden["external_input"], golden["initial_rate"])
    _, activity = init_model(recording, model, np.random.default_rng(0), width=0.4)
    expected = golden["activity"]
    np.testing.assert_allclose(activity, np.maximum(expected, 1e-5), rtol=1e-12, atol=1e-15)
    assert (expected > 1e-5).mean() > 0.9  # and so the clip hides nothing


def test_start_of_the_activity_is_clipped_and_smoothed_by_trial(tmp_path):
    spikes = content()["sampled_spikes"]
    spikes[0], spikes[1] = 0, 1
    recording, _ = load(tmp_path, {"sampled_spikes": spikes}, trial_length=0.08)
    _, activity = init_model(recording, MODEL, np.random.default_rng(0), width=0.012)
    assert (activity[:, 0] == 1e-5).all()
    np.testing.assert_allclose(activity[:, 1], 1, rtol=1e-12)
    for b in range(2):
        alone = gaussian_filter1d(recording.observed_spikes[b, 2].mean(-1), 3)
        np.testing.assert_allclose(activity[b, 2], alone, rtol=1e-12)


def test_start_of_the_parameters_is_uniform_between_the_bounds(tmp_path):
    recording, _ = load(tmp_path)
    model = winner_take_all(dt=0.004, window=0.04, lb=0.5, ub=3.0)
    draws = [init_model(recording, model, np.random.default_rng(k))[0] for k in range(400)]
    share = (np.array(draws) / to_X(REFERENCE, MODEL) - 0.5) / 2.5
    assert (share >= 0).all() and (share <= 1).all()
    histogram = np.histogram(share, 10, (0, 1))[0] / share.size
    np.testing.assert_allclose(histogram, 0.1, atol=0.02)
    assert np.abs(np.corrcoef(share.T) - np.eye(12)).max() < 0.25
    again = init_model(recording, model, np.random.default_rng(7))[0]
    np.testing.assert_array_equal(again, draws[7])


def test_a_begin_of_the_data_used():
    """The same as the arrays from there on."""
    arrays = load_arrays(DATASET)
    whole, _ = load_recording(DATASET, MODEL, end_timepoint=0.5)
    later, _ = load_recording(DATASET, MODEL, start_timepoint=0.2, end_timepoint=0.7, trial_length=0.1)
    expected = arrays["sampled_spikes"][:, 1000:3500, :3].reshape(3, 125, 20, 3).sum(2).clip(max=1)
    A = MODEL.window_bins
    np.testing.assert_array_equal(later.observed_spikes[0], expected[:, : A + 25])
    np.testing.assert_array_equal(later.true_activity[0, :, -1], _mean(arrays["A_t_pop"], 1000 + 20 * (A + 24)))
    assert later.n_trials == (125 - A) // 25
    from_0, _ = load_recording(DATASET, MODEL, start_timepoint=0.0, end_timepoint=0.5)
    np.testing.assert_array_equal(whole.observed_spikes, from_0.observed_spikes)
    for options, words in (
        ({"start_timepoint": -1.0}, "start_timepoint: expected 0 s to less than 11 s, got -1"),
        ({"start_timepoint": 11.0}, "start_timepoint: expected 0 s to less than 11 s, got 11"),
        ({"start_timepoint": 2.0, "end_timepoint": 1.0}, "end_timepoint: expected after --start_timepoint 2 s, and at"),
        ({"end_timepoint": 0.0}, "end_timepoint: expected above 0 s, got 0"),
    ):
        with pytest.raises(InputError, match=words):
            load_recording(DATASET, MODEL, **options)


def _mean(rates, first):
    return rates[first : first + 20].mean(axis=0) * MODEL.dt
