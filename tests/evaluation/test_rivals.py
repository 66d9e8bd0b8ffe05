"""What rivals know, and what not: units and time that are held out, masks, trials, circuits of any size."""

from dataclasses import replace

import numpy as np
import pytest

from src.data.holdout import hold_out, units_of, without
from src.evaluation import rivals as module
from src.evaluation.rivals import (
    CONSTANT,
    OWN,
    SMOOTHED,
    STATES,
    WITH_HISTORY,
    beside_units,
    rivals_of_time,
    rivals_of_trials,
    rivals_of_units,
    train_rivals,
)
from src.evaluation.scores import ln_p_bins, score_of
from src.evaluation.smoothed_mean import WIDTHS, SmoothedMean, choose_width
from src.model.containers import Model, Recording
from tests.cases import random_case, with_masks
from tests.evaluation.test_state_models import A, model_of, recording_of, simulated

OTHERS, PAST = "from the others", "with own past"
SWITCHING = np.array([[[0.15, 0.15, 0.1], [0.02, 0.03, 0.02]], [[0.02, 0.03, 0.02], [0.15, 0.1, 0.15]]])


@pytest.fixture(scope="module")
def recording():
    return recording_of(simulated(SWITCHING, 0.02, 400, refractory=2)[0])


MODEL = model_of(2)


@pytest.fixture
def predicted(monkeypatch):
    """Keep every prediction that is scored, in its order."""
    kept = []

    def score(spikes, probability):
        kept.append(np.array(probability, float))
        return ln_p_bins(spikes, probability)

    monkeypatch.setattr(module, "ln_p_bins", score)
    return kept


def predictions(kept, call):
    kept.clear()
    found = call()
    return found, [one.copy() for one in kept]


def flipped(recording, unit, bins):
    spikes = recording.observed_spikes.copy()
    spikes[:, unit[0], bins, unit[1]] ^= 1
    return replace(recording, observed_spikes=spikes)


def test_names_of_what_is_known_have_their_rivals(recording):
    found = rivals_of_units([(0, 0)], train_rivals(recording, MODEL), recording, MODEL, own_rates=True)
    assert list(found[0, 0][OTHERS]) == [SMOOTHED, *STATES] and list(found[0, 0][PAST]) == list(WITH_HISTORY)


def test_a_unit_that_was_kept_out_is_predicted_without_any_of_its_spikes(recording, predicted):
    """But for its own past, where that is allowed: then earlier spikes alone count."""
    unit = (0, 1)
    changed = flipped(recording, unit, slice(A + 100, A + 140))
    found = []
    for each in (recording, changed):
        rivals = train_rivals(without(each, [unit], MODEL), MODEL)
        found.append(
            predictions(predicted, lambda each=each, r=rivals: rivals_of_units([unit], r, each, MODEL, own_rates=False))
        )
    (ln_p, one), (_, other) = found
    assert len(one) == len(other) == 6  # the mean, then one state with history and both kinds of two and three
    own_past = [name in WITH_HISTORY for name in (SMOOTHED, *STATES, *WITH_HISTORY)]
    for p, q, past in zip(one, other, own_past, strict=True):
        np.testing.assert_array_equal(p[:101], q[:101])
        assert np.array_equal(p, q) == (not past)
    y = recording.observed_spikes[0, 0, A:, 1].astype(int)
    assert ln_p[unit][OTHERS][SMOOTHED] == pytest.approx(ln_p_bins(y, one[0]))


def test_a_unit_that_the_fit_has_seen_gets_its_rates_from_other_parts_of_the_time(recording, predicted):
    unit, rivals = (0, 1), train_rivals(recording, MODEL)
    changed = flipped(recording, unit, slice(A + 160, A + 240))  # the third of five parts
    (_, one), (_, other) = (
        predictions(predicted, lambda each=each: rivals_of_units([unit], rivals, each, MODEL, own_rates=True))
        for each in (recording, changed)
    )
    own_past = [name in WITH_HISTORY for name in (SMOOTHED, *STATES, *WITH_HISTORY)]
    for p, q, past in zip(one, other, own_past, strict=True):
        if not past:
            np.testing.assert_allclose(p[160:240], q[160:240], rtol=1e-12)
        assert not np.allclose(p[:160], q[:160])


def test_rates_from_other_parts_are_those_of_a_naive_computation():
    rng = np.random.default_rng(4)
    y, weights = (rng.random(503) < 0.1).astype(int), rng.dirichlet([1, 1], 503)
    found = module._elsewhere(y, np.zeros(503, int), weights, np.ones(1))
    for k in range(5):
        here = np.arange(503) * 5 // 503 == k
        assert np.ptp(found[here], axis=0).max() == 0
        for state in range(2):
            w = weights[~here, state]
            mean = (y[~here].sum() + 0.5) / ((~here).sum() + 1)
            low, high = 1e-6, 5.0  # the root of the slope of ln p with its prior
            for _ in range(60):
                r = (low + high) / 2
                slope = (w * (y[~here] / np.expm1(r) - (1 - y[~here]))).sum() + 1 / r - 1 / mean
                low, high = (r, high) if slope > 0 else (low, r)
            assert found[here][0, state] == pytest.approx(r, rel=1e-6)


def test_states_predict_units_of_populations_that_take_turns(recording):
    scores = beside(recording, MODEL, refitted=False)
    total = {which: {name: sum(one.rivals_ln_p[which][name] for one in scores) for name in scores[0].rivals_ln_p[which]}
             for which in (OTHERS, PAST)}  # fmt: skip
    constant = sum(one.ln_p_constant for one in scores)
    assert total[OTHERS]["2 states"] > constant + 10 and total[OTHERS][SMOOTHED] > constant + 2
    assert total[PAST]["2 states, history"] > total[PAST][OWN] + 10


def beside(recording, model, refitted):
    units = units_of(recording)
    judged = recording.is_judged
    scores = []
    for m, i in units:
        y = recording.observed_spikes[:, m, model.window_bins :, i][judged].astype(int)
        scores.append(score_of((m, i), 0, y, {OTHERS: -1.0, PAST: -2.0}, recording, model))
    return beside_units(scores, [units[::2], units[1::2]], recording, model, refitted)


@pytest.mark.parametrize("refitted", [False, True])
def test_masks_unequal_populations_and_a_single_population(refitted):
    masked = with_masks(random_case(M=3, B=2, T=40, A=25, n_obs=2))  # 1, 2 and 0 units
    alone = random_case(M=1, B=1, T=40, A=25, n_obs=2)
    silent = replace(masked.recording, observed_spikes=0 * masked.recording.observed_spikes)
    for case in (masked, alone, masked._replace(recording=silent)):
        for one in beside(case.recording, case.model, refitted):
            assert np.isfinite([value for each in one.rivals_ln_p.values() for value in each.values()]).all()
    one, other = (
        beside(each, masked.model, refitted)
        for each in (masked.recording, replace(masked.recording, observed_spikes=filled(masked.recording)))
    )
    for before, after in zip(one, other, strict=True):
        assert before.rivals_ln_p == after.rivals_ln_p


def filled(recording):
    """Spikes where nobody looks: at places without a unit, and after the end of trials."""
    spikes = recording.observed_spikes.copy()
    spikes[~np.broadcast_to(recording.recorded[:, None], spikes.shape)] ^= 1
    for b, end in enumerate(recording.lengths):
        spikes[b, :, 25 + end :] ^= 1
    return spikes


# --- time ------------------------------------------------------------------------------------------------------------


def test_held_out_time_is_predicted_from_before_and_forecast_from_nothing_of_it(recording, predicted):
    training, held_out = hold_out(recording, MODEL, 0.4, None)  # 100 bins of 400
    rivals = train_rivals(training, MODEL, earlier=True)
    later, changed = held_out.later, flipped(held_out.later, (0, 1), A + 350)

    def call(each):
        return lambda: rivals_of_time(rivals, each, held_out.held, held_out.begin, MODEL)

    (found, one), (_, other) = (predictions(predicted, call(each)) for each in (later, changed))
    assert list(found) == units_of(later)
    names = {which: set(each) for which, each in found[0, 0].items()}
    assert names == {
        "forecast": {CONSTANT, *STATES},
        "filtered rate": {SMOOTHED, *STATES},
        "filtered": set(WITH_HISTORY),
    }
    by_prediction = np.reshape([np.r_[p, q] for p, q in zip(one, other, strict=True)], (-1, 6, 2, 100))
    same = [(p[0] == p[1]).all(axis=-1) for p in by_prediction.swapaxes(1, 2)]
    assert sorted(each.all() for each in same) == [False] * 6 + [True] * 3  # forecasts alone
    np.testing.assert_array_equal(by_prediction[:, :, 0, :51], by_prediction[:, :, 1, :51])
    y = later.observed_spikes[0, 1, A + 300 :, 2].astype(int)
    share = training.observed_spikes[0, 1, A:, 2].mean()
    assert found[1, 2]["forecast"][CONSTANT] == pytest.approx(ln_p_bins(y, share), rel=0.02)


def test_units_without_training_have_rivals_in_held_out_time(recording):
    training, held_out = hold_out(recording, MODEL, 0.4, "population 1.0,population 2.2")
    rivals = train_rivals(training, MODEL, earlier=True)
    found = rivals_of_time(rivals, held_out.later, held_out.held, held_out.begin, MODEL)
    assert len(found) == 6
    assert all(np.isfinite(list(each.values())).all() for one in found.values() for each in one.values())


def test_all_units_together_have_the_likelihood_of_bins_given_earlier_ones():
    spikes, _ = simulated(SWITCHING, 0.02, 120, refractory=2, trials=4)
    whole = recording_of(spikes)
    rivals = train_rivals(whole.trials(slice(2)), MODEL, earlier=True)
    held_out = whole.trials(slice(2, None))
    found = rivals_of_trials(rivals, held_out, MODEL)
    assert set(found) == {SMOOTHED, *STATES, *WITH_HISTORY}
    by_unit = rivals_of_time(rivals, held_out, held_out.is_judged, 0, MODEL)
    for name, which in ((SMOOTHED, "filtered rate"), (OWN, "filtered")):  # without states, units are independent
        alone = sum(each[which][name] for each in by_unit.values())
        assert found[name].shape == (2,) and found[name].sum() == pytest.approx(alone, rel=1e-9)
    burnt = replace(held_out, judged=np.arange(120) >= np.array([[20], [0]]))
    less = rivals_of_trials(rivals, burnt, MODEL)
    assert all(less[name][0] > found[name][0] and less[name][1] == pytest.approx(found[name][1]) for name in found)


# --- the smoothed mean -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("earlier", [False, True])
def test_smoothed_mean_by_hand(earlier):
    recording, model = (
        recording_of(simulated(SWITCHING, 0.02, 60)[0], recorded=np.array([[1, 1, 0], [1, 1, 1]]) > 0),
        MODEL,
    )
    seen = recording.is_scored.copy()
    seen[:, 1, :, 0] = False  # left out
    width, dt = 0.02, model.dt
    found = SmoothedMean(np.full(2, width), earlier).predict(recording, model, seen)
    spikes = recording.observed_spikes[0]
    for (m, i), others in {
        (0, 0): [0, 1] if earlier else [1],
        (1, 0): [1, 2],
        (1, 1): [1, 2] if earlier else [2],
    }.items():
        for t in (0, 7, 30, 59):
            if earlier:
                before = np.arange(A + t)
                w = np.exp(-(A + t - 1 - before) * dt / width)
                of = [np.r_[0, 1, 2][: 3 if m else 2]] if (m, i) != (0, 0) else [[0, 1]]
                window = np.array([[j in of[0] if s < A else j in others for j in range(3)] for s in before])
                mean = (w[:, None] * spikes[m, : A + t] * window).sum() / (w[:, None] * window).sum()
            else:
                radius = int(4 * width / dt + 0.5)
                places = np.arange(t - radius, t + radius + 1)
                w = np.exp(-0.5 * ((places - t) * dt / width) ** 2)
                places = np.where(places < 0, -1 - places, np.where(places > 59, 119 - places, places))
                mean = (w[:, None] * spikes[m, A:][places][:, others]).sum() / (w.sum() * len(others))
            assert found[0, m, t, i] == pytest.approx(mean, rel=1e-9, abs=1e-12)


def test_widths_follow_how_fast_the_rates_change():
    rng, times = np.random.default_rng(0), np.arange(A + 3000) * MODEL.dt
    waves = (0.15 + 0.14 * np.sin(2 * np.pi * times / period)[None, None, :, None] for period in (4.0, 0.2))
    slow, fast = (recording_of((rng.random((1, 2, A + 3000, 3)) < wave).astype(np.uint8)) for wave in waves)
    for earlier in (False, True):
        one, other = (choose_width(each, MODEL, each.is_scored, earlier).widths for each in (slow, fast))
        assert (one > other).all()
    steady = recording_of(simulated(np.full((1, 2, 3), 0.1), 0.0, 3000)[0])
    assert (choose_width(steady, MODEL, steady.is_scored, False).widths >= 0.5).all()


def test_a_population_of_one_unit_is_predicted_from_the_others():
    recorded = np.array([[True, False, False], [True, True, True]])
    recording = recording_of(simulated(SWITCHING, 0.02, 100)[0] * recorded[:, None], recorded=recorded)
    chosen = choose_width(recording, MODEL, recording.is_scored, False)
    assert chosen.widths[0] == chosen.widths[1] and chosen.widths[0] in WIDTHS
    seen = recording.is_scored.copy()
    seen[:, 0] = False
    means = chosen.predict(recording, MODEL, seen)
    np.testing.assert_allclose(means[0, 0, :, 0], chosen.predict(recording, MODEL, seen)[0, 0, :, 1])
    assert means[:, 0].max() > 0
    alone = Recording(recording.observed_spikes[:, :1, :, :1], recording.external_input[:, :1], np.full((1, 1), 9.0))
    model = Model(np.full(1, 100), np.full(1, 200.0), np.ones((1, 1)), window_bins=A)
    assert choose_width(alone, model, alone.is_scored, False).widths == [WIDTHS[-1]]
