"""What is held out of a fit, and what remains of it."""

from dataclasses import replace

import numpy as np
import pytest

from src.data.dataset import load_recording
from src.data.holdout import hold_out, only, units_of, without
from src.model.containers import Recording
from src.model.scheme import CONSISTENT
from src.utils.exceptions import InputError
from tests.cases import random_case
from tests.training import DATASET, MODEL, SETTINGS, load
from train_meso import train

A = 25


def case_of(B=1, **changes):
    case = random_case(M=2, B=B, T=40, A=A, n_obs=3, scheme=CONSISTENT)
    return replace(case.recording, true_activity=case.activity, **changes), replace(case.model, names=("E", "I"))


def test_nothing_is_held_out_unless_said():
    recording, model = case_of()
    assert hold_out(recording, model, None, None) == (recording, None)


def test_last_seconds_of_a_single_trial():
    recording, model = case_of(judged=np.arange(40)[None] >= 5)
    fitted, held_out = hold_out(recording, model, 0.04, None)
    assert held_out.later is recording
    assert held_out.begin == fitted.n_bins == 30
    np.testing.assert_array_equal(held_out.held, np.arange(40)[None] >= 30)
    np.testing.assert_array_equal(fitted.observed_spikes, recording.observed_spikes[:, :, : A + 30])
    np.testing.assert_array_equal(fitted.external_input, recording.external_input[..., :30])
    np.testing.assert_array_equal(fitted.true_activity, recording.true_activity[..., :30])
    np.testing.assert_array_equal(fitted.judged, np.arange(30)[None] >= 5)
    assert held_out.words == "Held out: the last 0.04 s, which leaves 0.1 s in 25 bins to be fitted."


def test_last_trials_where_there_are_several():
    judged = np.arange(40) < np.array([30, 20, 40, 25])[:, None]
    recording, model = case_of(B=4, judged=judged)
    for seconds, first, longest in ((0.1, 3, 40), (0.104, 2, 30), (0.34, 1, 30)):
        fitted, held_out = hold_out(recording, model, seconds, None)
        assert (fitted.n_trials, fitted.n_bins, held_out.begin) == (first, longest, 0)
        np.testing.assert_array_equal(held_out.held, judged[first:])
        np.testing.assert_array_equal(held_out.later.observed_spikes, recording.observed_spikes[first:])
    assert held_out.words == "Held out: the last 0.34 s (trials: 3), which leaves 0.12 s in 30 bins to be fitted."
    assert fitted.judged is None  # one trial, all of whose bins are scored


def test_units_leave_nothing_behind():
    recording, model = case_of(B=2)
    fitted, held_out = hold_out(recording, model, None, "E.1, I.0")
    assert held_out.units == [(0, 1), (1, 0)]
    assert held_out.whole is recording
    assert units_of(fitted) == [(0, 0), (0, 2), (1, 1), (1, 2)]
    assert not fitted.observed_spikes[:, [0, 1], :, [1, 0]].any()
    window = recording.observed_spikes[:, 0, :A, [0, 2]].mean(axis=(0, 2)) / model.dt
    np.testing.assert_allclose(fitted.initial_rate[:, 0], window)
    np.testing.assert_array_equal(without(recording, held_out.units, model).initial_rate, fitted.initial_rate)
    np.testing.assert_array_equal(only(recording, [(1, 2)]).observed_spikes[:, :, :, :2], 0)


def test_a_population_without_any_unit_left_is_named():
    recording, model = case_of()
    _, held_out = hold_out(recording, model, None, "I.0,I.1,I.2")
    assert "(no unit of I is left: the mean over the others" in held_out.words
    assert not only(recording, []).observed_spikes.any() and not units_of(only(recording, []))


def test_time_and_units_together():
    recording, model = case_of()
    fitted, held_out = hold_out(recording, model, 0.04, "I.2")
    assert fitted.n_bins == held_out.whole.n_bins == 30
    assert len(units_of(fitted)) == 5
    assert len(units_of(held_out.later)) == 6
    assert held_out.words.endswith("0.12 s in 30 bins to be fitted, and unit I.2.")


@pytest.mark.parametrize(
    ("B", "seconds", "units", "words"),
    [
        (1, 0.156, None, r"holdout: expected at most 0\.152 s, because the fit needs 2 bins, got 0\.156"),
        (1, 99, None, r"holdout: expected at most 0\.152 s, because the fit needs 2 bins, got 99"),
        (1, 0.0019, None, r"holdout: expected a bin of 0\.004 s or more, got 0\.0019"),
        (3, 0.324, None, r"holdout: expected at most 0\.32 s, all trials but the first, got 0\.324"),
        (1, None, "E.3", r"holdout_units: expected units among E\.0, .*, each once, got 'E\.3'"),
        (1, None, "", "got ''"),
        (1, None, "E.0,E.0", r"each once, got 'E\.0'"),
        (1, None, "E.0,E.1,E.2,I.0,I.1,I.2", "holdout_units: expected a unit to remain, got all 6: E.0"),
    ],
)
def test_what_cannot_be_held_out_is_refused(B, seconds, units, words):
    recording, model = case_of(B=B)
    with pytest.raises(InputError, match=words):
        hold_out(recording, model, seconds, units)


def test_a_fit_does_not_know_the_time_that_is_held_out():
    held_out, _ = hold_out(load(), MODEL, 0.1, None)
    never_there, _ = load_recording(DATASET, MODEL, end_timepoint=SETTINGS.end_timepoint - 0.1)
    found, expected = (train(recording, MODEL, SETTINGS) for recording in (held_out, never_there))
    np.testing.assert_array_equal(found.X, expected.X)
    np.testing.assert_array_equal(found.activity, expected.activity)


def test_masks_go_with_what_is_fitted_and_held_out():
    rng, A = np.random.default_rng(0), MODEL.window_bins
    shape = (1, 3, A + 100, 2)
    recording = Recording(
        (rng.random(shape) < 0.1).astype(np.uint8),
        np.zeros((1, 3, 100)),
        np.ones((1, 3)),
        observed=rng.random(shape) < 0.8,
        left_out=rng.random((1, 3, 100, 2)) < 0.1,
    )
    fitted, held_out = hold_out(recording, MODEL, 30 * MODEL.dt, "E1.0")
    np.testing.assert_array_equal(fitted.observed, recording.observed[:, :, : A + 70])
    np.testing.assert_array_equal(fitted.left_out, recording.left_out[:, :, :70])
    assert fitted.scored.shape == (1, 3, 70, 2) and not fitted.scored[:, 0, :, 0].any()
    seen = recording.observed[0, 1, :A]
    expected = recording.observed_spikes[0, 1, :A][seen].mean() / MODEL.dt
    np.testing.assert_allclose(fitted.initial_rate[0, 1], expected, rtol=1e-12)
    assert held_out.whole is not None and held_out.whole.observed.shape[2] == A + 70
