"""Pulses to the loser: which count, what they did, and how sure one can be of it; and the table of the benchmark."""

import numpy as np
import pytest

from benchmarks import circuits, driven, perturbation, pulses
from benchmarks import perturbation_report as report
from benchmarks.pulses import AFTER, BEFORE, DT, STRENGTHS, Pulses, read_responses, schedule
from src.utils.exceptions import InputError

HIGH, LOW = 19.0, 6.0


def test_pulses_keep_their_distance_and_strengths_are_equally_frequent():
    found = schedule(400.0, np.random.default_rng(0))
    times = DT * found.onset
    assert times[0] == pytest.approx(2.0) and times[-1] + AFTER < 400
    assert np.diff(times).min() > 1.2 - DT and np.diff(times).max() < 2.0 + DT
    counts = np.bincount(found.strength, minlength=len(STRENGTHS))
    assert counts.max() - counts.min() <= 1
    assert 0.4 < found.target.mean() < 0.6
    again, other = (schedule(400.0, np.random.default_rng(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(found.onset, again.onset)
    assert not np.array_equal(found.onset[:20], other.onset[:20])


def test_the_input_holds_the_pulses():
    given = Pulses(np.array([10, 100]), np.array([0, 1]), np.array([3, 0]))
    values = given.input(200, 3, (2, 0))
    assert values.shape == (3, 200) and not values[:2].any()
    np.testing.assert_array_equal(np.flatnonzero(values[2]), np.arange(10, 35))
    assert set(values[2, 10:35]) == {STRENGTHS[3]}


def lead(*parts):
    """Return the difference of two rates that has some levels for some seconds each."""
    return np.concatenate([np.full(round(seconds / DT), level) for seconds, level in parts])


@pytest.mark.parametrize(
    ("parts", "losing"),
    [
        ([(1.0, -13.0)], True),
        ([(0.3, 13.0), (0.7, -13.0)], True),
        ([(0.7, 13.0), (0.3, -13.0)], False),
        ([(0.9, -13.0), (0.1, 13.0)], False),
        ([(1.0, 13.0)], False),
        ([(1.0, -3.0)], False),
        ([(0.3, -13.0), (0.7, -3.0)], True),
    ],
)
def test_who_was_losing(parts, losing):
    assert pulses.was_losing(lead(*parts)) == losing


@pytest.mark.parametrize(
    ("parts", "won"),
    [
        ([(BEFORE + 0.1, -13.0), (AFTER - 0.1, 13.0)], True),
        ([(BEFORE, -13.0), (0.1, 40.0), (AFTER - 0.1, -13.0)], False),  # a response is no switch
        ([(BEFORE + 0.4, -13.0), (AFTER - 0.4, 13.0)], False),
        ([(BEFORE + AFTER, -13.0)], False),
    ],
)
def test_who_is_winning_a_while_after_the_onset(parts, won):
    assert pulses.now_winning(lead(*parts)) == won


def obedient(given, n_bins, threshold):
    """Rates of a circuit, (1, 3, n_bins), in which pulses from a strength on make their population win for good."""
    winner = np.zeros(n_bins, int)
    for onset, target, strength in zip(given.onset, given.target, given.strength, strict=True):
        if STRENGTHS[strength] >= threshold:
            winner[onset + 10 :] = target
    first = np.where(winner == 0, HIGH, LOW)
    return np.stack([first, HIGH + LOW - first, np.full(n_bins, 25.0)])[None]


def test_only_pulses_to_the_loser_count_and_switches_are_seen():
    given = schedule(100.0, np.random.default_rng(3))
    rate = obedient(given, 25000, threshold=20.0)
    found = read_responses(rate, given, (0, 1))
    losing = rate[0, given.target, given.onset] == LOW
    for s, strength in enumerate(STRENGTHS):
        expected = int((losing & (given.strength == s)).sum())
        assert found.counted[s] == expected
        assert found.switched[s] == (expected if strength >= 20 else 0)
    assert found.counted.sum() > 20
    mean = found.total[5:].sum(axis=0) / found.counted[5:].sum()
    onset = round(-pulses.SHOWN[0] / DT) // pulses.PER_POINT
    before, after = ([LOW, HIGH, 25.0], [HIGH, LOW, 25.0])
    np.testing.assert_allclose(mean[:, :onset], np.tile(before, (onset, 1)).T)
    np.testing.assert_allclose(mean[:, onset + 5 :], np.tile(after, (mean.shape[1] - onset - 5, 1)).T)


def test_copies_count_each_and_the_order_of_populations_does_not_matter():
    given = schedule(40.0, np.random.default_rng(3))
    rate = obedient(given, 10000, threshold=20.0)
    once, twice = (read_responses(each, given, (0, 1)) for each in (rate, np.concatenate([rate, rate])))
    for name in ("counted", "switched", "total"):
        np.testing.assert_allclose(getattr(twice, name), 2 * getattr(once, name))
    other = read_responses(rate[:, [2, 0, 1]], given, (1, 2))
    np.testing.assert_array_equal(other.switched, once.switched)
    np.testing.assert_allclose(other.total, once.total)


def test_what_a_pulse_does_has_no_say_in_whether_it_counts():
    given = schedule(40.0, np.random.default_rng(3))
    rate = obedient(given, 10000, threshold=np.inf)
    wild = rate.copy()
    for onset, target in zip(given.onset, given.target, strict=True):
        wild[:, target, onset : onset + 25] = 200.0
    np.testing.assert_array_equal(
        read_responses(wild, given, (0, 1)).counted, read_responses(rate, given, (0, 1)).counted
    )


# --- statistics ------------------------------------------------------------------------------------------------------


def test_binomial_intervals_are_exact():
    low, high = pulses.binomial_interval(np.array([0, 5, 10]), np.array([10, 10, 10]))
    np.testing.assert_allclose(low, [0, 0.18709, 0.69150], atol=1e-5)
    np.testing.assert_allclose(high, [0.30850, 0.81291, 1], atol=1e-5)
    np.testing.assert_array_equal(pulses.binomial_interval(0, 0), [0, 1])


@pytest.mark.parametrize(
    ("curve", "half"),
    [
        ([0.0, 0.25, 0.75, 1.0], 15.0),
        ([0.0, 0.5, 0.2, 1.0], 10.0),
        ([0.6, 0.7, 0.8, 0.9], 0.0),
        ([0.0, 0.1, 0.1, 0.4], np.inf),
        ([0.0, np.nan, 1.0, 1.0], 10.0),
        ([np.nan] * 4, np.inf),
    ],
)
def test_the_strength_of_one_in_two(curve, half):
    assert pulses.half_strength(np.array(curve), (0.0, 10.0, 20.0, 30.0)) == pytest.approx(half)


def test_resampled_pieces_are_as_many_as_there_were():
    values = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    found = pulses.resampled(values, np.random.default_rng(0), 4000)
    np.testing.assert_allclose(found[:, 1], 10 * found[:, 0])
    np.testing.assert_allclose(found.mean(axis=0), values.sum(axis=0), rtol=0.02)
    assert found[:, 0].min() == 3 and found[:, 0].max() == 9
    assert pulses.resampled(np.ones((5, 1)), np.random.default_rng(0), 10).tolist() == [[5.0]] * 10


# --- known inputs ----------------------------------------------------------------------------------------------------


def test_presentations_are_averaged_and_the_first_is_dropped():
    once = np.arange(12.0).reshape(6, 2)
    shown = driven.repeated(once)
    assert shown.shape == (2, 6 * (driven.PRESENTATIONS + 1))
    rate = np.stack([shown, 2 * shown])
    rate[..., :6] = 1e9
    np.testing.assert_allclose(driven.mean_response(rate), [once.T, 2 * once.T])


@pytest.mark.parametrize("kind", driven.KINDS)
def test_inputs_reach_every_population_and_stay_the_same(kind):
    given = driven.fine_input(kind, 8.0)
    assert given.shape == (40000, 3) and given.any(axis=0).all()
    driven.fine_input.cache_clear()
    np.testing.assert_array_equal(driven.fine_input(kind, 8.0), given)


def test_the_most_there_is_to_predict():
    rng = np.random.default_rng(0)
    signal, noise = rng.standard_normal(4000), rng.standard_normal((40, 4000))
    expected = np.corrcoef(signal, (signal + noise).mean(axis=0))[0, 1]
    np.testing.assert_allclose(driven.ceiling(signal + noise, rng), expected, atol=0.003)
    assert driven.ceiling(noise, rng) < 0.5
    low, high = driven.interval_of_correlation(signal + noise, signal, rng)
    assert 0.95 < low < high < expected + 0.01


def test_a_circuit_is_compared_with_the_network(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    network = 10 + rng.standard_normal((3, 2000)) + 0.01 * rng.standard_normal((6, 3, 2000))
    monkeypatch.setattr(driven, "network_responses", lambda *_: network)
    shown = driven.Shown(8.0, 6, 2)
    mine = np.stack([network.mean(axis=0)[0], -network.mean(axis=0)[1], network.mean(axis=0)[2] + 3])
    monkeypatch.setattr(driven, "predicted", lambda *_: mine)
    found, response = driven.compare("ou", shown, tmp_path, circuits.Source("x", "", lambda *_: mine), 1)
    assert found["r 0"] == pytest.approx(1) and found["r 1"] == pytest.approx(-1) and found["r 2"] == pytest.approx(1)
    assert found["rms 0"] == pytest.approx(0, abs=1e-9) and found["rms 2"] == pytest.approx(3)
    first, last = (round(edge / DT) for edge in driven.EXCERPT)
    np.testing.assert_allclose(response, mine[:, first:last].reshape(3, -1, driven.PER_POINT).mean(axis=-1))
    itself, _ = driven.compare("ou", shown, tmp_path, None, 1)
    assert itself["r 0"] > 0.99 and np.isnan(itself["low 0"])


def test_the_mark_of_a_circuit_forgives_the_last_digits():
    X = np.array([9.98412345, 50.0])
    assert circuits.mark_of(X) == circuits.mark_of(X * (1 + 1e-7)) != circuits.mark_of(X * 1.01)


# --- the table -------------------------------------------------------------------------------------------------------


def unit(calls, source="published", number=1, circuit="abcd", counted=30):
    def measured():
        calls.append((source, number, circuit))
        found = {f"counted {s}": counted for s in range(len(STRENGTHS))}
        found |= {f"switched {s}": min(counted, s * counted // 8) for s in range(len(STRENGTHS))}
        return found, np.full((len(pulses.RESPONSES), 3, 76), 7.0)

    return perturbation.Unit(("pulses", source, "", "40", "1", str(number), circuit), measured)


def test_what_the_table_has_is_not_measured_again(tmp_path, capsys):
    path, calls = tmp_path / "table.csv", []
    wanted = [unit(calls, number=k) for k in (1, 2)]
    perturbation.measure(wanted[:1], perturbation.Table.read(path))
    perturbation.measure(wanted, perturbation.Table.read(path))
    assert [call[1] for call in calls] == [1, 2]
    perturbation.measure([unit(calls, number=2, circuit="new")], perturbation.Table.read(path))
    table = perturbation.Table.read(path)
    assert [row["circuit"] for row in table.rows] == ["abcd", "new"] and len(table.responses) == 2
    assert "1/1: pulses published 40 1 2 new" in capsys.readouterr().err


def test_tables_and_figures(tmp_path, capsys):
    table = perturbation.Table.read(tmp_path / "table.csv")
    sources = ("network", "truth", "published", "recommended", "posterior", "posterior")
    perturbation.measure([unit([], source, k) for k, source in enumerate(sources)], table)
    pairs = table.rows, [table.responses[perturbation.name_of(row)] for row in table.rows]
    said = report.pulses_table(*pairs)
    assert "network inside the 90 % of the posterior: at 11 of 11 strengths" in said
    assert "published fit: 0 percentage points from the network" in said
    row = next(line for line in said.splitlines() if line.startswith("400 1/s"))
    assert row.split()[2:6] == ["100", "[88,", "100]", "100"]
    assert "one in two" in said and "16.0 [16.0, 16.0]" in said
    report.save_small(tmp_path / "small.png", report.pulses_figure(*pairs))
    assert (tmp_path / "small.png").read_bytes().startswith(b"\x89PNG")


def test_draws_with_too_few_pulses_say_nothing():
    few, enough = np.full(11, report.LEAST - 1), np.full(11, report.LEAST)
    responses = np.stack([np.full((3, 3, 4), value) for value in (1.0, 5.0, 5.0)])
    found = report.Pushed(np.stack([few, enough, enough]), np.stack([few, enough // 2, enough // 2]), responses, True)
    np.testing.assert_allclose(found.probability.value, 0.5)
    np.testing.assert_allclose(found.response.low, 5.0)


def test_the_table_of_known_inputs():
    def row(kind, source, r, **more):
        found = {f"{name} {m}": str(value) for m in range(3) for name, value in {"r": r, "rms": 2.0, **more}.items()}
        return {"part": "driven", "source": source, "input": kind, **found}

    rows = [row("ou", "network", 0.9), row("ou", "driven_recommended", 0.8, low=0.7, high=0.85)]
    rows += [row("ou", "posterior", r) for r in (0.5, 0.6, 0.7)]
    rows += [row("pulses", "network", 0.95)]
    said = report.driven_table(rows, [])
    assert "0.80 [0.70, 0.85]" in said and "0.60 [0.51, 0.69]" in said and "0.95" in said
    figure = report.driven_figure(rows, [np.ones((3, 250))] * len(rows))
    assert len(figure.axes) == 2


BAD_INPUT = {
    "unknown part": ("--only pulse", "--only: expected names out of pulses, driven, got pulse"),
    "no fit": (
        "--published nowhere",
        "--published: nowhere: expected a folder of trainings.*3pop_neuLVM.sh makes them",
    ),
    "nothing to show": ("--show", "perturbation.csv: expected rows to show, found none"),
    "another table": ("--table odd.csv", "odd.csv: expected the columns part, source, .*, got a, b"),
    "one draw": ("--draws 1", "--draws: expected at least 2"),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input(tmp_path, monkeypatch, what):
    argv, message = BAD_INPUT[what]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=message) as caught:
        perturbation.main(argv.split())
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["odd.csv"]


def test_without_a_posterior_the_error_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match=r"posterior: .*expected a posterior, .*python -m src.posterior"):
        perturbation._draws(perturbation.Settings(posterior=str(tmp_path)))
