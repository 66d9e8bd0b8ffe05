"""Warnings about a posterior: each is given where it must be, about the right number, and not where it must not."""

from dataclasses import replace

import numpy as np
import pytest

from src.posterior.activity import ActivityBands
from src.posterior.check import LnPCheck, OfPoint
from src.posterior.findings import IN_FINER_BINS, WORDS, findings, in_words, warnings_of
from src.posterior.predictive import Predictive
from src.runs.record import Finding
from src.utils.exceptions import InputError
from tests.ridge_posterior import RIDGE, SPREAD, of_numbers, on_ridge

NARROW = on_ridge(ridge=0.3 * RIDGE)


def kinds(posterior, **more):
    return {(each.kind, each.subject) for each in findings(posterior, **more)}


def test_nothing_is_found_where_nothing_is_wrong():
    assert kinds(replace(NARROW, about={"noise": 1.2})) == set()


def test_numbers_that_the_data_do_not_determine():
    logs = np.random.default_rng(0).uniform(-0.9, 0.69, (20, 200, 2)) * [1, 0.3]
    assert ("not_determined", "membrane_rate P0") in kinds(of_numbers(logs, 0.4, 2))
    assert not any(subject == "membrane_rate P1" for _, subject in kinds(of_numbers(logs, 0.4, 2)))


def test_numbers_that_the_prior_decides():
    ridge = on_ridge()
    found = [each for each in findings(ridge) if each.kind == "prior_decides_uniform"]
    moving = ["coupling I", "resting_potential E1", "resting_potential E2", "resting_potential I"]
    assert [each.subject for each in found] == moving
    assert all(each.numbers["other"] > each.numbers["median"] for each in found)
    line = in_words(found[0], "coupling of I")
    assert line.startswith("The prior decides coupling of I: with uniform priors its median would be 2")


def test_too_few_draws_for_another_prior():
    logs = 0.6 * np.random.default_rng(0).standard_normal((5, 50, 10))
    found = kinds(of_numbers(logs, 0.01, 100))
    assert ("unknown_with_uniform", "") in found
    assert not any(kind == "prior_decides_uniform" for kind, _ in found)


def test_numbers_piled_up_at_a_bound():
    logs = np.stack(
        [np.log(0.4) + 0.1 * np.random.default_rng(k).exponential(size=(20, 200)) for k in range(2)], axis=-1
    )
    logs[..., 1] = -np.log(0.2) + np.log(0.4) - (logs[..., 1] - np.log(0.4))
    found = kinds(of_numbers(logs, 0.4, 2))
    assert {("piled_at_lower_bound", "membrane_rate P0"), ("piled_at_upper_bound", "membrane_rate P1")} <= found


def test_lobes_between_which_walkers_do_not_move():
    X = NARROW.X.copy()
    X[:, 1::2, 5] *= 1.2
    apart = replace(NARROW, X=X)
    found = next(each for each in findings(apart) if each.kind == "lobes_not_mixed")
    assert found.subject == "coupling I" and found.numbers["r_hat"] > 1.2 and found.numbers["count"] == 1
    assert "R-hat of coupling I is 1." in in_words(found, found.subject)
    assert ("one_origin", "") in kinds(replace(NARROW, origin=np.zeros(100, int)))


def test_few_effective_samples():
    few = replace(NARROW, X=np.repeat(NARROW.X[:1, :80], 10, axis=0), origin=np.arange(80) % 2)
    few = replace(few, evaluation=few.evaluation[:, :80], ln_p=few.ln_p[:, :80])
    found = next(each for each in findings(few) if each.kind == "few_effective")
    assert found.numbers["least"] == pytest.approx(80, rel=0.01) and found.numbers["count"] == 12


def test_walkers_that_stick():
    still = np.repeat(NARROW.evaluation[:1], 10, axis=0)
    assert ("few_moves", "") in kinds(replace(NARROW, evaluation=still))
    assert ("noisy_ln_p", "") in kinds(replace(NARROW, about={"noise": 2.5}))


def test_a_fit_that_is_far_better_than_the_draws():
    def found(*fits):
        points = tuple(OfPoint(name, ln_p, error, 1.0, 9.0) for name, ln_p, error in fits)
        check = LnPCheck((-210.0, -205.0, -200.0), 1.0, points).as_dict()
        return [each for each in findings(replace(NARROW, about={"ln_p": check})) if each.kind == "missed"]

    assert not found() and not found(("truth", -195.0, 0.5), ("one", -185.0, 2.0), ("two", -300.0, 0.1))
    missed = found(("truth", -180.0, 0.5), ("one", -150.0, 2.0), ("two", -200.0, 0.1))
    assert [(each.subject, each.numbers["nats"]) for each in missed] == [("one", pytest.approx(44))]
    assert in_words(missed[0], "one").startswith("one explains the spikes better than nearly all draws, by 44 nats: ")


def test_bins_that_are_too_coarse_for_the_draws():
    told = {"rate": [10.0, 5.0, 24.0], "finer": [10.1, 5.1, 24.0], "error": [0.1] * 3, "volley": [0.2, 0.2, 0.3]}
    assert kinds(replace(NARROW, about={IN_FINER_BINS: told})) == set()
    told |= {"volley": [0.2, 0.2, 0.9], "finer": [10.1, 8.0, 24.0]}
    coarse = replace(NARROW, about={IN_FINER_BINS: told})
    assert kinds(coarse) == {("volleys", "I"), ("coarse_bins", "E2")}
    assert warnings_of(findings(coarse), coarse)[0].startswith("I fires in volleys, up to 90% of its neurons in one ")


def bands_of(posterior, turns):
    """Activity in which E1 and E2 take turns so often."""
    T = posterior.recording.n_bins
    first = (np.arange(T) * (turns + 1) // T) % 2 == 0
    mean = 0.004 * np.stack([np.where(first, 20, 5), np.where(first, 5, 20), np.full(T, 25)])[None].astype(np.float32)
    return ActivityBands(mean, mean, mean, mean, mean, np.arange(1))


@pytest.mark.parametrize(
    ("turns", "said"),
    [(0, "the inferred activity never switches in 4 s."), (1, "the inferred activity switches once in 4 s."), (2, "")],
)
def test_recordings_without_switches_say_nothing_of_their_rate(turns, said):
    recording = NARROW.recording
    longer = replace(
        recording,
        observed_spikes=np.zeros((1, 3, NARROW.model.window_bins + 1000, 2), np.uint8),
        external_input=np.zeros((1, 3, 1000)),
    )
    posterior = replace(NARROW, recording=longer)
    found = findings(posterior, bands=bands_of(posterior, turns))
    expected = [f"No switching rate is to be had from this recording: {said}"] if said else []
    assert warnings_of(found, posterior) == expected


def test_no_switches_are_missed_where_no_two_populations_compete():
    alone = of_numbers(0.1 * np.random.default_rng(0).standard_normal((20, 200, 1)), 0.1, 10)
    flat = np.full((1, 1, 100), 0.04, np.float32)
    assert kinds(alone, bands=ActivityBands(flat, flat, flat, flat, flat, np.arange(1))) == set()


def test_rates_that_the_posterior_does_not_predict():
    rates = np.random.default_rng(0).normal([15, 10, 25], 1, (200, 3))
    rates[:, 2] = np.nan  # a population without recorded neurons
    none = np.full(5, np.nan)
    predictive = Predictive(
        np.arange(5), 100.0, rates[:5], none, none, none, np.zeros(0), rates, np.array([15.2, 13, np.nan])
    )
    found = findings(NARROW, predictive=predictive)
    assert [(each.kind, each.subject) for each in found] == [("rate_not_predicted", "E2")]
    assert "The recorded neurons of E2 fire at 13 Hz, outside" in in_words(found[0], "E2")


def test_all_kinds_can_be_said_and_no_others():
    posteriors = [on_ridge(spread=4 * SPREAD), on_ridge(ridge=2 * RIDGE)]
    for posterior in posteriors:
        for line in warnings_of(findings(posterior), posterior):
            assert line.endswith(".") and "{" not in line and "  " not in line
    assert all(words.endswith(".") for words in WORDS.values())
    with pytest.raises(InputError, match="findings: expected one of few_effective, .*, got bad_weather with none"):
        in_words(Finding("bad_weather", "", {}), "")
