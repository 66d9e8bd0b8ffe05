"""Bins that are too coarse for a circuit: volleys, and rates that are others in finer bins."""

from dataclasses import replace

import numpy as np
import pytest

from src.inference.fast_filter import has_numba
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Parameters, Recording
from src.model.scheme import CONSISTENT
from src.runs.findings import worded
from src.runs.finer_bins import COARSE_WORDS, InFinerBins, coarse_bins, in_bins_of, in_finer_bins, median_of
from src.utils.exceptions import InputError

MODEL = winner_take_all(scheme=CONSISTENT)
QUIET = InFinerBins(*np.array([[10.0, 0.1, 5.0], [10.9, 0.14, 8.0], [0.1, 0.01, 1.5], [0.4, 0.4, 0.4]]))
"""Changes of 9 %, 0.04 Hz, and 2 standard errors: none of them counts."""
numba = pytest.mark.skipif(not has_numba(), reason="numba is not installed")


def driven(model, trials):
    """A recording with nothing but an input, trials of (M, T)."""
    T, M = max(trial.shape[-1] for trial in trials), model.n_populations
    given = np.zeros((len(trials), M, T))
    for b, trial in enumerate(trials):
        given[b, :, : trial.shape[-1]] = trial
    judged = np.arange(T) < np.array([trial.shape[-1] for trial in trials])[:, None]
    spikes = np.zeros((len(trials), M, model.window_bins + T, 1), np.uint8)
    return Recording(spikes, given, np.full((len(trials), M), 10.0), judged=judged)


def inhibited(strength, **more):
    """One population that inhibits itself at once, at some 30 Hz, and its parameters."""
    model = Model(np.array([400]), np.array([300.0]), -np.ones((1, 1)), window_bins=250, scheme=CONSISTENT, **more)
    return Parameters(np.array([50.0]), np.array([[-strength]]), np.array([30.0]), np.array([4.0])), model


@numba
def test_the_circuit_of_the_paper_is_the_same_in_finer_bins():
    found = in_finer_bins(reference_parameters(), MODEL, driven(MODEL, [np.zeros((3, 500))]), 1)
    assert coarse_bins(found, MODEL) == []
    assert 0.1 < found.volley.max() < 0.4
    np.testing.assert_allclose(found.rate, found.finer, atol=4 * found.error.max())


@numba
def test_a_population_that_fires_in_volleys_is_told():
    for strength, kinds in ((1.0, []), (20.0, ["volleys"])):
        parameters, model = inhibited(strength, delay_bins=2)
        found = coarse_bins(in_finer_bins(parameters, model, driven(model, [np.zeros((1, 300))]), 1), model)
        assert [each.kind for each in found][:1] == kinds
    assert found[0].numbers["share"] > 0.5


@numba
def test_input_is_repeated_and_means_the_same_in_finer_bins():
    """A population without recurrence, which an input drives up and down for 80 ms each: four membrane times."""
    parameters, model = inhibited(0.0)
    parameters = replace(parameters, resting_potential=np.array([0.0]))
    up_and_down = np.where(np.arange(400) % 40 < 20, 150.0, -150.0)[None]
    steady = in_finer_bins(parameters, model, driven(model, [0 * up_and_down]), 1)
    slow = in_finer_bins(parameters, model, driven(model, [up_and_down[:, :70], up_and_down[:, 70:]]), 1)
    fast = in_finer_bins(parameters, model, driven(model, [up_and_down[:, ::4]]), 1)
    assert slow.rate[0] > 1.2 * fast.rate[0] > 1.2 * steady.rate[0]
    np.testing.assert_allclose(slow.finer, slow.rate, rtol=0.05)


def test_times_stay_what_they_are():
    whole = replace(MODEL, refractory_bins=2, refractory_time=None, delay_bins=3, delay=None)
    finer = in_bins_of(whole, MODEL.dt / 4)
    assert (finer.dt, finer.refractory_bins, finer.delay_bins) == (0.001, 8, 12)
    rounded = replace(MODEL, refractory_bins=1, refractory_time=0.0022, delay_bins=0, delay=0.0012)
    finer = in_bins_of(rounded, MODEL.dt / 4)
    assert (finer.refractory_bins, finer.delay_bins) == (2, 1)
    assert finer.window_bins == 4 * MODEL.window_bins


def test_small_differences_do_not_count():
    assert coarse_bins(QUIET, MODEL) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"volley": np.array([0.6, 0.2, 0.97])}, "I fires in volleys, up to 97% of its neurons in one bin of 4 ms: "),
        ({"finer": np.array([12.0, 0.1, 5.0])}, "E1 fires at 10 Hz in bins of 4 ms, and the same circuit at 12 Hz in "),
        ({"finer": np.array([8.0, 0.8, 5.0])}, "E2 fires at 0.1 Hz in bins of 4 ms, and the same circuit at 0.8 Hz in"),
    ],
)
def test_what_counts_is_said(change, said):
    (found,) = coarse_bins(QUIET._replace(**change), MODEL)
    assert worded(found, COARSE_WORDS, found.subject, "").startswith(said)
    both = coarse_bins(QUIET._replace(volley=np.ones(3), finer=np.array([20.0, 1, 5])), MODEL)
    assert [each.kind for each in both] == ["volleys", "coarse_bins"]


def test_medians_are_taken_population_by_population():
    others = [QUIET._replace(rate=np.array([k, 2.0 * k, -k])) for k in (1.0, 9.0, 2.0)]
    assert median_of(others).rate.tolist() == [2, 4, -2]
    assert median_of(others).volley.tolist() == QUIET.volley.tolist()


def test_the_published_scheme_is_not_simulated_so():
    with pytest.raises(InputError, match="numba|scheme"):
        in_finer_bins(reference_parameters(), winner_take_all(), driven(MODEL, [np.zeros((3, 50))]), 1)
