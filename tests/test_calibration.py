"""Ranks of the truth: what is uniform, what is covered, and the table and data sets of the benchmark."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import bins, calibration
from benchmarks import calibration_report as report
from benchmarks.calibration import PARTS
from benchmarks.calibration_report import RANKS, Limits
from src.posterior.result import Posterior
from src.utils.exceptions import InputError
from tests.fake_posterior import fake_posterior

EVERY = Limits(coverage=True, uniform=True, distance=True)


def test_central_intervals_hold_the_share_of_ranks_that_they_say():
    ranks = np.arange(RANKS)
    assert report.inside(ranks, 0.9).sum() == 90 and report.inside(ranks, 0.5).sum() == 50
    assert not report.inside(np.array([0, 4, 95, 99]), 0.9).any() and report.inside(np.array([5, 94]), 0.9).all()


def test_the_departure_from_uniform_ranks():
    np.testing.assert_allclose(report.departure(np.arange(RANKS)), 0, atol=1e-12)
    found = report.departure(np.zeros((2, 10), int))
    assert found.shape == (2, RANKS)
    np.testing.assert_allclose(found[:, 0], 0.99)
    np.testing.assert_allclose(report.departure(np.array([0, 99]))[[0, 49, 98, 99]], [0.49, 0, -0.49, 0], atol=1e-12)


def test_uniform_ranks_pass_and_others_do_not():
    rng = np.random.default_rng(1)
    p = [report.uniformity(rng.integers(0, RANKS, 60)) for _ in range(200)]
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.11
    narrow = np.clip(50 + 150 * rng.standard_normal(60), 0, 99).astype(int)  # posteriors that are too narrow
    shifted = np.minimum(rng.integers(0, RANKS, 60), rng.integers(0, RANKS, 60))
    assert report.uniformity(narrow) < 0.01 and report.uniformity(shifted) < 0.01


def test_probabilities_are_corrected_for_their_number():
    np.testing.assert_allclose(report.holm([0.04, 0.01, 0.5, 0.02]), [0.08, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(report.holm([0.6, 0.7]), [1, 1])


def rows_of(ranks, distance=2.0):
    """Rows of data sets with these ranks of two numbers and of ln p, (sets, 3)."""
    names = ("rank threshold I", "rank coupling I", "rank ln p")
    others = {"effective": "200", "seconds": "10", "acceptance": "0.5", "rise": "1.5", "distance2": str(distance)}
    return [dict(zip(names, map(str, each), strict=True)) | others for each in ranks]


def test_the_report_judges_only_what_is_complete():
    ranks = np.random.default_rng(2).permuted(np.repeat(np.arange(RANKS)[:, None], 3, axis=1), axis=0)
    said = report.report("small", RANKS, EVERY, rows_of(ranks))
    assert said.count("met: ") == 3 and "MISSED" not in said
    assert "all numbers  0.500 +- 0.0" in said and "100 oscillate" in said
    assert "met: " not in report.report("small", RANKS + 1, EVERY, rows_of(ranks))
    failed = [*rows_of(ranks)[1:], {"failed": "hardly any circuit", "rise": "0"}]
    said = report.report("small", RANKS, EVERY, failed)
    assert "1 failed" in said and "met: " not in said
    assert "limits" not in report.report("networks", RANKS + 1, Limits(), rows_of(ranks))
    assert report.report("small", 2, EVERY, failed[-1:]) == "small: 1 of 2 data sets, 1 failed"


def test_the_report_says_what_was_missed():
    edges = np.random.default_rng(3).choice([0, 99], (RANKS, 3))
    said = report.report("small", RANKS, EVERY, rows_of(edges, distance=2.3))
    assert said.count("MISSED: ") == 3 and "met: " not in said
    assert "MISSED: Mahalanobis² / n within 10% of 1: 1.15" in said


def test_the_report_says_what_is_left_without_the_sets_of_which_the_sampler_warns():
    ranks = np.random.default_rng(2).permuted(np.repeat(np.arange(RANKS)[:, None], 3, axis=1), axis=0)
    rows = rows_of(ranks)
    assert "sampler warns" not in report.report("small", RANKS, EVERY, rows)
    few, stuck = rows_of(np.zeros((2, 3), int), 900.0)
    wrong = [few | {"effective": "9"}, stuck | {"acceptance": "0.02"}]
    said = report.report("small", RANKS, EVERY, [*rows, *wrong])
    assert "without the 2 of which the sampler warns: coverage 0.500 +- 0.0" in said
    assert " of 90 % intervals; Mahalanobis² / n 1.000 +- 0.000; 1 in the median" in said
    assert not any(map(report.warned, rows)) and all(map(report.warned, wrong))


def test_the_figure_has_a_panel_for_each_part():
    ranks = np.random.default_rng(2).integers(0, RANKS, (5, 3))
    failed = [{"failed": "hardly any circuit", "rise": "0"}]
    figure = report.calibration_figure({"small": rows_of(ranks), "competing": failed})
    assert [len(ax.get_lines()) for ax in figure.axes] == [4, 1]


def test_oscillations_rise_again():
    rng, t = np.random.default_rng(0), 0.004 * np.arange(1250)
    noise = rng.standard_normal((2, 1250))
    assert calibration.rise_of_autocorrelation(noise, 0.004) < 0.3
    assert calibration.rise_of_autocorrelation(np.sin(2 * np.pi * 20 * t)[None], 0.004) > 1.8
    assert calibration.rise_of_autocorrelation(np.sin(2 * np.pi * 0.5 * t)[None], 0.004) < 0.1  # longer than it looks
    assert calibration.rise_of_autocorrelation(np.zeros((1, 50)), 0.004) == 0


def test_ranked_draws_are_of_the_last_sweeps_and_each_once():
    posterior = fake_posterior(sweeps=3, walkers=60)
    drawn = calibration.ranked_draws(posterior, np.random.default_rng(0))
    last = {tuple(x) for x in posterior.X[1:].reshape(120, -1)}
    assert len({tuple(x) for x in drawn}) == calibration.RANKED and {tuple(x) for x in drawn} <= last
    with pytest.raises(InputError, match="expected at least 99 draws, got 98"):
        calibration.ranked_draws(fake_posterior(sweeps=1, walkers=98), np.random.default_rng(0))


def test_the_distance_of_draws_from_their_cloud_is_their_number_in_the_mean():
    posterior = fake_posterior(sweeps=2, walkers=60)
    found = [calibration.squared_distance(posterior, X) for X in posterior.draws]
    assert np.mean(found) == pytest.approx(12 * 119 / 120)


def test_rows_are_added_to_the_table_in_order_and_replaced(tmp_path):
    path = tmp_path / "new" / "table.csv"
    assert calibration.read_table(path) == []
    first = dict(zip(calibration.KEYS, PARTS["small"].key(1), strict=True))
    other = dict(zip(calibration.KEYS, PARTS["competing"].key(3), strict=True))
    calibration.add_row(path, other | {"rank ln p": "7"})
    calibration.add_row(path, first | {"failed": "none, of two"})
    calibration.add_row(path, other | {"rank ln p": "8"})
    assert calibration.read_table(path) == [first | {"failed": "none, of two"}, other | {"rank ln p": "8"}]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected the columns part, set"):
        calibration.read_table(path)


def test_a_row_tells_circuits_and_sizes_of_samples_apart():
    part = PARTS["competing"]
    narrower = replace(part, options=replace(part.options, lb=0.8))
    shorter = replace(part, options=replace(part.options, sweeps=2))
    assert len({part.key(1), part.key(2), narrower.key(1), shorter.key(1), PARTS["networks"].key(1)}) == 5


def test_coincidences_show_what_the_activity_of_a_population_does():
    rng = np.random.default_rng(2)
    activity = np.array([0.1 + 0 * np.arange(20000), 0.02 + 0.3 * (np.arange(20000) % 10 == 0)])
    spikes = rng.random((2, 20000, 3)) < activity[..., None]
    assert calibration.common_fluctuation(spikes) == pytest.approx(activity[1].std(), rel=0.05)
    assert calibration.common_fluctuation(spikes[:1]) < 0.03
    assert calibration.common_fluctuation(np.zeros((2, 100, 3))) == 0


def test_data_sets_whose_populations_fire_in_volleys_are_dropped(monkeypatch):
    """The same random numbers, with and without the rule: the first circuit that has the rates fires in volleys."""
    monkeypatch.setattr(calibration, "SETTLE", 0.5)
    steady = replace(PARTS["steady"], judged=1.0)
    given = [
        calibration.draw_data(part, part.model, np.random.default_rng(3))
        for part in (steady, replace(steady, most_common=np.inf))
    ]
    scatter = [drawn.activity.std(axis=1).max() for drawn in given]
    assert scatter[0] < 0.12 < scatter[1] and given[0].tries > given[1].tries


@pytest.mark.parametrize("name", ["small", "networks"])
def test_a_data_set_keeps_to_the_rates(name, monkeypatch):
    monkeypatch.setattr(calibration, "SETTLE", 0.1)
    low, high = (10.0, 100.0) if name == "small" else (0.0, 250.0)
    part = replace(PARTS[name], judged=0.2, rates=(low, high), observed=30)
    drawn = calibration.draw_data(part, part.model, np.random.default_rng(4))
    model, y = part.model, drawn.recording.observed_spikes
    assert y.shape == (1, model.n_populations, model.window_bins + 125 + 50, 30)
    assert drawn.recording.n_judged == 50 and drawn.activity.shape == (model.n_populations, 50)
    rate = y[0, :, -50:].mean(axis=(1, 2)) / model.dt
    assert ((rate >= low) & (rate <= high)).all() and drawn.tries >= 1
    assert (model.fitted.lower <= drawn.X).all() and (drawn.X <= model.fitted.upper).all()
    expected = drawn.activity.mean(axis=1) / model.dt
    np.testing.assert_allclose(rate, expected, atol=12)


def test_the_truth_gets_its_ranks(monkeypatch):
    part = replace(PARTS["small"], judged=0.2)
    drawn = calibration.draw_data(part, part.model, np.random.default_rng(4))
    spread = np.linspace(0.9, 1.0, 120)[:, None]
    X = (drawn.X * np.where(np.arange(4) == 1, 2 - spread, spread)).reshape(1, 120, 4)
    evaluation = np.arange(120).reshape(1, 120)
    posterior = Posterior(part.model, drawn.recording, X, np.zeros((1, 120)), evaluation, np.arange(120), 8, 1)

    class Known:
        def __init__(self, model, recording):
            pass

        def ln_p(self, parameters, seed, particles):
            assert particles == 8
            return -abs(parameters.threshold[0] / drawn.X[3] - 0.95)

    monkeypatch.setattr(calibration, "FastFilter", Known)
    ranks = calibration.ranks_of(posterior, drawn.X * 0.9999, np.random.default_rng(0))
    assert ranks.pop("ln p") <= 1  # the truth is at the edge
    names = part.model.fitted.names
    assert [ranks[name] > 97 for name in names] == [True, False, True, True] and ranks[names[1]] == 0


def test_a_part_is_made_and_not_made_again(tmp_path, monkeypatch, capsys):
    pytest.importorskip("numba")
    row = calibration.make_set(replace(calibration.quickly(PARTS["small"]), judged=0.3), 1)
    assert {"rank ln p", "rank coupling I", "true coupling I", "distance2", "effective", "Hz I"} <= set(row)
    assert all(0 <= int(value) <= 99 for name, value in row.items() if name.startswith("rank "))
    monkeypatch.setattr(calibration, "PARTS", {"small": replace(PARTS["small"], sets=1)})
    table = tmp_path / "table.csv"
    again = dict(zip(calibration.KEYS, PARTS["small"].key(1), strict=True))
    calibration.add_row(table, row | again)
    calibration.main(["--only", "small", "--table", str(table), "--folder", str(tmp_path)])  # nothing is missing
    assert "small: 1 of 1 data sets" in capsys.readouterr().out and (tmp_path / "calibration.png").exists()
    with pytest.raises(InputError, match="expected names out of small, got large"):
        calibration.main(["--only", "large"])


def test_spikes_of_the_network_are_put_into_bins_of_every_width(monkeypatch, capsys):
    pytest.importorskip("numba")
    for name, value in (("SETTLE", 0.5), ("JUDGED", 0.4), ("COPIES", 2)):
        monkeypatch.setattr(bins, name, value)
    seen, judged = [], bins.judged
    monkeypatch.setattr(bins, "judged", lambda spikes, model: seen.append(judged(spikes, model)) or seen[-1])
    bins.main(["--circuits", "0", "--particles", "100"])
    shown = [line.split() for line in capsys.readouterr().out.splitlines()[1:4]]
    assert [(row[-6], row[-5]) for row in shown] == [("4", "ms"), ("2", "ms"), ("1", "ms")]
    rates = [
        [each.observed_spikes.mean() / dt for each, dt in zip(some, bins.WIDTHS, strict=True)]
        for some in (seen[::2], seen[1::2])  # the network's, the model's own
    ]
    assert np.ptp(rates[0]) < 0.4 * np.mean(rates[0]) and np.abs(np.subtract(*rates)).max() < 8
