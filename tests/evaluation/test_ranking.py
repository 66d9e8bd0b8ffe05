"""The arithmetic of a comparison: bits per spike, means, paired standard errors, Monte Carlo errors, and the words."""

import csv
import dataclasses
import io
import json
import math
import statistics

import numpy as np
import pytest
import scipy.stats

from src.evaluation.figure_comparison import comparison_figure
from src.evaluation.fold_rivals import rival_rows, rivals_in_words, rivals_table
from src.evaluation.ranking import FoldScore, enough, ranked, ranking_csv, ranking_in_words, ranking_table, row_as_dict

SPIKES = (100, 150, 80, 120)
CONSTANT = (-400.0, -550.0, -330.0, -470.0)
GAIN = {  # nats above the constant, by fold
    "middle": (20.0, 33.0, 14.0, 30.0),
    "best": (24.0, 36.0, 20.0, 31.0),
    "close": (23.0, 37.5, 20.5, 29.0),
    "far": (-10.0, -12.0, -9.0, -10.0),
}


def scores(noise=0.0):
    """Four candidates on four folds, each with two repeats that are `noise` apart about the log of the mean of both."""
    shift = math.log(math.cosh(noise))
    return {
        name: [
            FoldScore({"held-out time": np.array([[c + g + noise - shift], [c + g - noise - shift]])}, c, n)
            for c, g, n in zip(CONSTANT, gains, SPIKES, strict=True)
        ]
        for name, gains in GAIN.items()
    }


def by_hand(name):
    return [g / n / math.log(2) for g, n in zip(GAIN[name], SPIKES, strict=True)]


N_FITTED = dict.fromkeys(GAIN, 12)


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_ranking_against_a_naive_computation(noise):
    rows = ranked(scores(noise), N_FITTED, "held-out time")
    assert [row.name for row in rows] == ["best", "close", "middle", "far"]
    best = by_hand("best")
    for row in rows:
        bits = by_hand(row.name)
        differences = [one - other for one, other in zip(bits, best, strict=True)]
        assert row.mean == pytest.approx(statistics.mean(bits), rel=1e-12)
        assert row.error == pytest.approx(statistics.stdev(bits) / math.sqrt(4), rel=1e-12)
        assert row.difference == pytest.approx(statistics.mean(differences), rel=1e-9, abs=1e-12)
        assert row.difference_error == pytest.approx(statistics.stdev(differences) / math.sqrt(4), rel=1e-9, abs=1e-12)
        assert row.folds_better == sum(d > 0 for d in differences)
        of_folds = [statistics.stdev((noise, -noise)) / math.sqrt(2) / n / math.log(2) for n in SPIKES]
        assert row.monte_carlo_error == pytest.approx(math.sqrt(sum(e**2 for e in of_folds)) / 4, rel=1e-9)
    assert [row.folds_better for row in rows] == [0, 2, 0, 0]
    assert [row.told_apart for row in rows] == [False, False, False, True]  # middle: 2.4 standard errors


def of_folds(differences):
    """Two candidates, of which the second is worse by so many bits per spike in each fold."""
    nats = [d * math.log(2) * 100 for d in differences]
    zero = [FoldScore({"a": np.zeros((1, 1))}, -70.0, 100) for _ in nats]
    return {"one": zero, "other": [FoldScore({"a": np.full((1, 1), -d)}, -70.0, 100) for d in nats]}


@pytest.mark.parametrize(("folds", "limit"), [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (20, 2.093)])
@pytest.mark.parametrize("beyond", [0.99, 1.01])
def test_a_difference_is_told_apart_beyond_the_quantile_of_students_t(folds, limit, beyond):
    assert enough(folds) == pytest.approx(scipy.stats.t.ppf(0.975, folds - 1), rel=1e-9)
    assert enough(folds) == pytest.approx(limit, abs=1e-3)
    scatter = np.where(np.arange(folds) % 2, 1.0, -1.0)
    scatter -= scatter.mean()
    error = np.std(scatter, ddof=1) / math.sqrt(folds)
    best, other = ranked(of_folds(scatter + beyond * enough(folds) * error), {"one": 1, "other": 1}, "a")
    assert best.name == "one" and other.told_apart == (beyond > 1)
    words = f"{limit:.1f} standard errors, 95 % of Student's t for {folds} folds: other."
    assert ("more than " if beyond > 1 else "the difference is within ") + words in ranking_in_words([best, other])[0]


def test_folds_count_equally_however_many_spikes_they_hold():
    scores = [FoldScore({"a": np.array([[n * math.log(2)]])}, 0.0, n * m) for n, m in ((300, 1), (10, 4))]
    assert ranked({"one": scores}, {"one": 1}, "a")[0].mean == pytest.approx((1 + 1 / 4) / 2, rel=1e-12)


def test_candidates_that_do_not_differ_are_told_apart_in_five_of_a_hundred():
    drawn, found = np.random.default_rng(3).normal(size=(2000, 4)), 0
    for differences in drawn:
        found += ranked(of_folds(differences), {"one": 1, "other": 1}, "a")[1].told_apart
    assert 0.035 < found / len(drawn) < 0.065  # 14 % beyond 2 standard errors


def test_likelihoods_are_averaged_not_their_logarithms():
    one = FoldScore({"a": np.array([[-1000.0], [-1000.0 + math.log(3)]])}, -1003.0, 10)
    assert one.bits("a") == pytest.approx((3 + math.log(2)) / 10 / math.log(2), rel=1e-12)


def test_repeats_are_averaged_trial_by_trial():
    trials = (np.array([-600.0, -600.0 + math.log(3)]), np.array([-400.0 + math.log(5), -400.0]))
    one = FoldScore({"a": np.stack(trials, axis=1)}, -1003.0, 10)
    assert one.bits("a") == pytest.approx((3 + math.log(2) + math.log(3)) / 10 / math.log(2), rel=1e-12)
    by_trial = [statistics.stdev(each) / math.sqrt(2) for each in trials]
    assert one.monte_carlo_error("a") == pytest.approx(math.hypot(*by_trial) / 10 / math.log(2), rel=1e-12)


def test_words_and_table():
    rows = ranked(scores(), N_FITTED, "held-out time")
    said = ranking_in_words(rows)
    within = "the difference is within 3.2 standard errors, 95 % of Student's t for 4 folds"
    assert said[0] == f"Cannot be told apart from best: {within}: close; middle."
    assert said[1] == "Worse than best by more than that: far."
    assert "over 4 folds, which share most of their training data" in said[-1]
    assert "Monte Carlo" not in " ".join(said)
    lines = [line.split() for line in ranking_table(rows).splitlines()]
    assert lines[1] == ["best", "12", f"{rows[0].mean:+.4f}", f"{rows[0].error:.4f}", "best"]
    differences = [f"{rows[1].difference:+.4f}", f"{rows[1].difference_error:.4f}"]
    assert lines[2] == ["close", "12", f"{rows[1].mean:+.4f}", f"{rows[1].error:.4f}", *differences, "2", "of", "4"]


def test_none_is_called_the_best_where_all_are_worse_than_constant_rates():
    below = {"one": [-8.5, -8.1, -7.4], "other": [-9.0, -8.7, -8.0]}
    given = {
        n: [FoldScore({"a": np.array([[b * 100 * math.log(2)]])}, 0.0, 100) for b in of] for n, of in below.items()
    }
    rows = ranked(given, dict.fromkeys(below, 1), "a")
    said = ranking_in_words(rows)
    assert said[0] == (
        "All are worse than constant rates, one by 8 bits per spike and the others by more: none is the best."
    )
    assert "best" not in ranking_table(rows) and "the best" not in " ".join(said[1:])
    assert (
        comparison_figure({"a": rows}, "two").axes[0].get_title(loc="left").startswith("A: none beats constant rates")
    )
    assert "best" in ranking_table(ranked(scores(), N_FITTED, "held-out time"))


def test_rivals_beside_the_best_circuit():
    given = scores()
    best = ranked({"circuit": given.pop("middle")}, {"circuit": 12}, "held-out time")[0]
    rows = rival_rows(best, given, "held-out time")
    assert [row.name for row in rows] == ["best", "close", "far"]
    for row in rows:
        assert row.to_best == pytest.approx(np.subtract(by_hand(row.name), by_hand("middle")), rel=1e-9)
    assert rivals_in_words(rows, best) == [
        "Cannot be told apart from circuit: best; close.",
        "circuit predicts better than the others.",
    ]
    better = [dataclasses.replace(row, difference=row.difference + 0.1) for row in rows]
    assert rivals_in_words(better, best)[0].startswith("Best predicts better than circuit: ")
    assert rivals_in_words(rows[2:], best) == ["circuit predicts better than all of these."]
    assert rivals_table(rows, best).splitlines()[0].split("  ")[0] == "rival"
    assert "to circuit" in rivals_table(rows, best)


@pytest.mark.parametrize(("noise", "too_much"), [(0.2, False), (1.6, True)])
def test_monte_carlo_error_is_said_and_complained_about(noise, too_much):
    said = " ".join(ranking_in_words(ranked(scores(noise), N_FITTED, "held-out time")))
    assert "Monte Carlo error of a mean score: at most" in said
    assert ("see --particles" in said) == too_much


def test_files_hold_the_same_numbers_and_the_figure_shows_them():
    rankings = {"held-out time": ranked(scores(0.1), N_FITTED, "held-out time")}
    written = list(csv.DictReader(io.StringIO(ranking_csv(rankings))))
    for rank, (row, line) in enumerate(zip(rankings["held-out time"], written, strict=True), 1):
        assert (line["rank"], line["name"]) == (str(rank), row.name)
        assert float(line["difference"]) == row.difference
        assert [float(line[f"fold_{k}"]) for k in range(1, 5)] == row.by_fold.tolist()
        assert json.loads(json.dumps(row_as_dict(row)))["to_best"] == row.to_best.tolist()
    ax = comparison_figure(rankings, "four").axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["best", "close", "middle", "far"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    for row, drawn in zip(rankings["held-out time"], dots, strict=True):
        np.testing.assert_array_equal(drawn.get_xdata(), row.to_best)
