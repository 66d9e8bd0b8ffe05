"""A fit beside its rivals: paired differences and their errors by hand, and what is said about them."""

import math

import numpy as np
import pytest

from src.evaluation.duels import bad_news, caveat, duel_rows, duels, duels_in_words, rivals_of_scores, verdicts
from src.evaluation.ranking import enough
from src.evaluation.scores import Score, summed

OTHERS = "from the others"


def scores(fit, spikes=(100, 150, 80, 120), **rivals):
    """Units of two populations with so many bits per spike."""
    spikes = list(spikes)[: len(fit)]
    nats = [n * math.log(2) for n in spikes]
    return [
        Score(
            f"{'EI'[k % 2]}.{k // 2}",
            "EI"[k % 2],
            0,
            1000,
            n,
            20.0,
            {OTHERS: fit[k] * nats[k] - 400.0},
            -400.0,
            {OTHERS: {name.replace("_", " "): bits[k] * nats[k] - 400.0 for name, bits in rivals.items()}},
        )
        for k, n in enumerate(spikes)
    ]


def said(units):
    return verdicts(units, summed(units)[-1])


def test_difference_and_its_error_are_those_of_a_ratio_of_sums_over_units():
    fit, other, n = [0.2, 0.1, 0.3, 0.25], [0.1, 0.12, 0.1, 0.2], [100, 150, 80, 120]
    (duel,) = duels(units := scores(fit, **{"2_states": other}), summed(units)[-1])
    difference = sum(k * (a - b) for k, a, b in zip(n, fit, other, strict=True)) / sum(n)
    assert duel.difference == pytest.approx(difference, rel=1e-9)
    residual = [k * (a - b) - difference * k for k, a, b in zip(n, fit, other, strict=True)]
    assert duel.error == pytest.approx(math.sqrt(4 / 3 * sum(r**2 for r in residual)) / sum(n), rel=1e-9)
    assert duel.units == 4 and not duel.told_apart


def test_error_is_the_scatter_of_drawn_units():
    rng, found = np.random.default_rng(0), []
    for _ in range(400):
        spikes, ahead = rng.integers(50, 150, 12), rng.normal(0.02, 0.05, 12)
        (duel,) = duels(units := scores(ahead, spikes, **{"2_states": np.zeros(12)}), summed(units)[-1])
        found.append((duel.difference, duel.error))
    difference, error = np.array(found).T
    assert error.mean() == pytest.approx(difference.std(), rel=0.1)
    assert 0.03 < (np.abs(difference - 0.02) > enough(12) * error).mean() < 0.08


def test_units_without_spikes_have_nothing_to_say():
    units = scores([0.2, 0.1, 0.3], (100, 0, 50), **{"2_states": [0.1, 0.1, 0.1]})
    (duel,) = duels(units, summed(units)[-1])
    assert duel.units == 2 and np.isfinite(duel.error)
    silent = scores([0.2, 0.1], (0, 0), **{"2_states": [0.1, 0.1]})
    assert duels(silent, summed(silent)[-1]) == [] and said(silent) == []
    assert "-" in rivals_of_scores(silent)


FIT = [0.10, 0.11, 0.10, 0.09]
BETTER = [0.13, 0.14, 0.132, 0.119]
WORSE = [0.05, 0.06, 0.052, 0.039]
TIED = [0.15, 0.06, 0.12, 0.09]


def test_a_fit_below_its_rivals_is_called_so():
    (line,) = said(units := scores(FIT, smoothed_mean=WORSE, **{"2_states": BETTER}))
    fit, other = (summed(units)[-1].bits[OTHERS], summed(units)[-1].rivals[OTHERS]["2 states"])
    words = (
        f"From the others: a two-state hidden Markov model predicts these units better: {other:.3f} against {fit:.3f}"
    )
    assert line.startswith(f"{words} bits per spike, a difference of 0.030, standard error 0.00")
    assert line in rivals_of_scores(units) and line in bad_news(units, summed(units)[-1])
    more = scores(FIT, smoothed_mean=BETTER, **{"2_states": BETTER, "3_states": [x + 0.01 for x in BETTER]})
    assert said(more)[0].startswith("From the others: a three-state hidden Markov model predicts these units better:")
    assert said(more)[0].endswith(
        " So does the smoothed mean of their population. So does a two-state hidden Markov model."
    )


def test_a_certain_loss_is_said_even_where_the_best_rival_cannot_be_told_apart():
    scattered = [0.30, 0.01, 0.25, 0.10]
    units = scores(FIT, **{"2_states": BETTER, "3_states": scattered})
    assert summed(units)[-1].rivals[OTHERS]["3 states"] > summed(units)[-1].rivals[OTHERS]["2 states"]
    (line,) = said(units)
    assert line.startswith("From the others: a two-state hidden Markov model predicts these units better: ")
    assert bad_news(units, summed(units)[-1]) == [line]


def test_a_tie_is_called_a_tie_and_no_bad_news():
    (line,) = said(units := scores(FIT, own_history=WORSE, **{"2_states": TIED}))
    assert line.startswith("From the others: the fit ties with a two-state hidden Markov model: 0.101 against 0.099 ")
    assert bad_news(units, summed(units)[-1]) == []


def test_a_fit_that_beats_its_rivals_is_told_so_and_one_unit_tells_nothing():
    assert said(scores(FIT, smoothed_mean=WORSE))[0].startswith(
        "From the others: the fit is better than its rivals; the best of them is the smoothed mean of their population"
    )
    (line,) = said(alone := scores(FIT[:1], smoothed_mean=BETTER))
    assert line == (
        "From the others: the smoothed mean of their population has 0.130, the fit 0.100 bits per spike; one unit "
        "alone gives no standard error."
    )
    assert "tie" not in caveat(1) and bad_news(alone, summed(alone)[-1]) == []


@pytest.mark.parametrize(("bits", "words"), [(-8.04, "8.0"), (-0.25, "0.250"), (-1.0, "1.0")])
def test_worse_than_a_constant_rate_is_called_that(bits, words):
    units = scores([bits] * 4)
    line = f"From the others: the fit is worse than a constant rate by {words} bits per spike."
    units = [Score(**{**vars(one), "rivals_ln_p": {}}) for one in units]  # an old file
    assert said(units) == [line] == bad_news(units, summed(units)[-1])
    assert duel_rows(units, summed(units)[:-1], summed(units)[-1]) == []
    assert duels_in_words(units, summed(units)[:-1], summed(units)[-1]) == line


def test_table_has_the_fit_and_its_rivals_by_population():
    units = scores(FIT, smoothed_mean=WORSE, **{"2_states": BETTER})
    *populations, all_units = summed(units)
    rows = duel_rows(units, populations, all_units)
    assert rows[0] == ["prediction", "by", "E", "I", "all units", "fit ahead by", "s.e."]
    assert [row[:2] for row in rows[1:]] == [[OTHERS, "the fit"], ["", "smoothed mean"], ["", "2 states"]]
    e = [one for one in units if one.population == "E"]
    bits = sum(one.rivals_ln_p[OTHERS]["2 states"] + 400 for one in e) / sum(one.spikes for one in e) / math.log(2)
    assert rows[3][2] == f"{bits:+.3f}" and rows[3][5].startswith("-0.0") and rows[2][5].startswith("+0.0")
