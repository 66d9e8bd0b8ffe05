"""Scores of held-out time against a computation by hand, and the options of the training script."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from src.data.holdout import hold_out, only
from src.evaluation import co_smoothing, forecast
from src.evaluation.forecast import HeldOutScores, score_time
from src.evaluation.score_files import load_heldout
from src.fast_np import fast_lossy
from src.helper import from_X, to_X
from src.inference.em import Fit
from src.inference.particle_filter import Filtered, filter_spikes
from src.model import stationary
from src.model.scheme import CONSISTENT
from src.runs.job import FitJob
from src.runs.load import load_run
from src.runs.settings import FitSettings
from tests.cases import random_case
from tests.training import argv
from train_meso import main


@pytest.fixture(scope="module")
def scored():
    """Of populations so large that nothing is left to chance: what was held out, the scores, and the model."""
    case = random_case(M=2, T=40, A=25, n_obs=2, scheme=replace(CONSISTENT, noise="gaussian"))
    model = replace(case.model, population_size=np.full(2, 1e24), names=("E", "I"))
    X = to_X(case.parameters, model)
    spikes = (np.random.default_rng(2).random((1, 2, 25 + 40, 2)) < 0.3).astype(np.uint8)
    recording = replace(case.recording, observed_spikes=spikes, judged=np.arange(40)[None] >= 3)
    _, held_out = hold_out(recording, model, 0.08, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stationary, "FREE_RUN", 0.0)  # all particles begin at the same moment
        return X, held_out, score_time(X, held_out, model, 0), model


def test_filtered_scores_of_a_circuit_without_noise_are_those_of_its_likelihood(scored):
    X, held_out, (scores, about), model = scored
    later = replace(held_out.later, judged=held_out.held)
    n = filter_spikes(from_X(X, model), model, later, n_particles=2, spread_start=False).rate
    for one, unit in zip(scores, [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
        alone = only(later, [unit])
        spikes = alone.observed_spikes[0, unit[0], 25 + 20 :, unit[1]]
        ln_p = -fast_lossy(from_X(X, model), n, alone, model).value * 2 * 20
        rate = n[0, unit[0], 20:]
        constant = spikes.sum() * np.log(spikes.mean()) + (1 - spikes).sum() * np.log(1 - spikes.mean())
        assert (one.bins, one.spikes, one.fold) == (20, spikes.sum(), -1)
        assert one.ln_p["filtered"] == pytest.approx(ln_p, rel=1e-6)
        by_rate = (np.log(rate) * spikes + np.log(1 - rate) * (1 - spikes)).sum()
        assert one.ln_p["filtered rate"] == pytest.approx(by_rate, rel=1e-6)
        assert one.bits["filtered"] == pytest.approx((ln_p - constant) / spikes.sum() / np.log(2), rel=1e-6)
    assert about["ln_p"] == pytest.approx(sum(one.ln_p["filtered"] for one in scores), rel=1e-6)
    assert about["ln_p_error"] == pytest.approx(0, abs=1e-6)
    assert about["seconds"] == pytest.approx(0.08)


def test_forecasts_see_what_was_before_and_filters_see_all(scored, monkeypatch):
    X, held_out, _, model = scored
    asked = {}

    def predict(parameters, model, copies, *, n_particles, seed, forecast_from):
        asked.update(forecast_from=forecast_from, n_particles=n_particles, seed=seed, burn_in=set(copies.burn_in))
        B, which = copies.n_trials, np.arange(copies.n_trials)
        np.testing.assert_array_equal(copies.observed_spikes, np.repeat(held_out.later.observed_spikes, B, axis=0))
        unit, rate = np.zeros((B, 2, 40, 2)), np.zeros((B, 2, 40))
        unit += np.where(which < 4, 0.1, 0.2)[:, None, None, None]
        rate += np.where(which < 4, 0.3, 0.4)[:, None, None]
        return Filtered((-1.0 - (which % 4)[:, None]) * copies.is_judged, unit, rate, rate)

    monkeypatch.setattr(forecast, "import_quietly", lambda _: SimpleNamespace(filter_spikes=predict))
    scores, about = score_time(X, held_out, model, 7)
    np.testing.assert_array_equal(asked["forecast_from"], [40] * 4 + [20] * 4)
    assert (asked["n_particles"], asked["seed"]) == (forecast.PARTICLES, 7)
    assert asked["burn_in"] == {20}  # over which the free run goes at whose moments particles begin
    for one in scores:
        for name, p in (("filtered", 0.1), ("forecast", 0.2), ("filtered rate", 0.3)):
            expected = one.spikes * np.log(p) + (20 - one.spikes) * np.log(1 - p)
            assert one.ln_p[name] == pytest.approx(expected, rel=1e-9)
    each = -20 * np.arange(1, 5)
    assert about["ln_p"] == pytest.approx(np.log(np.exp(each).mean()))
    assert about["ln_p_error"] == pytest.approx(each.std(ddof=1) / 2)


def test_training_with_something_held_out(tmp_path, capsys):
    options = {"holdout": 0.1, "holdout_units": "E1.2,I.0", "scheme": "consistent", "max_EMsteps": 1}
    main(argv(tmp_path, **options))
    folder = tmp_path / "data0.6/train4"
    said = capsys.readouterr().out
    assert re.search(r"Held-out time, 0\.1 s: ln p\(spikes\) = -\d+\.\d \(Monte Carlo error \d+\.\d\)\.", said)
    assert "Held-out units, given the others:" in said
    run = load_run(folder)
    found = load_heldout(run)
    assert [one.unit for one in found["unseen"].units] == ["E1.2", "I.0"]
    assert found["unseen"].predictions == ("unseen units", "unseen units with own past")
    assert [one.unit for one in found["time"].units] == [f"{name}.{i}" for name in ("E1", "E2", "I") for i in range(3)]
    assert found["time"].predictions == ("forecast", "filtered rate", "filtered")
    assert found["time"].parameters == forecast.UNSEEN["time"]
    assert {which: len(each) for which, each in found["time"].all_units.rivals.items()} == {
        "forecast": 3, "filtered rate": 3, "filtered": 3,
    }  # fmt: skip
    assert {which: len(each) for which, each in found["unseen"].all_units.rivals.items()} == {
        "unseen units": 3, "unseen units with own past": 3,
    }  # fmt: skip
    assert said.count("fit ahead by") == 2 and "constant rate before" in said
    about = json.loads((folder / "heldout_time.json").read_text())["settings"]
    assert about["seconds"] == pytest.approx(0.1)
    assert about["ln_p_error"] < 3

    main([*argv(tmp_path, max_EMsteps=1), "--overwrite"])  # nothing is held out, and no old score remains
    assert not list(folder.glob("heldout*"))


def test_units_that_were_held_out_are_scored_by_their_names(tmp_path, monkeypatch):
    case = random_case(M=2, T=40, A=25, n_obs=2, scheme=CONSISTENT)
    model, names = replace(case.model, names=("E", "I")), np.array([["17", "unit 3"], ["17", "18"]])
    spikes = (np.random.default_rng(2).random((1, 2, 25 + 40, 2)) < 0.3).astype(np.uint8)
    recording = replace(case.recording, observed_spikes=spikes, unit_names=names)
    monkeypatch.setattr(
        co_smoothing, "infer", lambda X, others, *_: (np.full(others.external_input.shape, 0.06), others)
    )
    settings = FitSettings(holdout_units="unit 3,I.17")
    fitted, held_out = hold_out(recording, model, None, settings.holdout_units)
    scores = HeldOutScores(FitJob(fitted, held_out, model, settings, tmp_path, ()))
    scores.finish(Fit(to_X(case.parameters, model), 0.0, np.empty(0), ""))
    found = json.loads((tmp_path / "heldout_units.json").read_text())
    assert [one["unit"] for one in found["units"]] == ["unit 3", "I.17"]
    assert [line.split("  ")[0] for line in scores.lines[1].splitlines()[1:3]] == ["unit 3", "I.17"]
