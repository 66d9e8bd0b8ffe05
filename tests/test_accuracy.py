"""The accuracy benchmark on a small scale: its data, its fits, its counts, and a table that a rerun continues."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy, accuracy_report, free_running, known_activity
from benchmarks.accuracy import KEYS, Unit, key_of, read_table
from src.helper import from_X, to_X
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.scheme import CONSISTENT, PUBLISHED
from src.plots.style import save_figure
from src.utils.exceptions import InputError
from src.utils.quiet import import_quietly
from tests.oracle import consistent_losses

REFERENCE = reference_parameters()

ROOT = Path(__file__).parents[1]


def network(seconds, seed=0):
    """Return counts of a made-up network, (3, n_steps)."""
    rate = np.array([[19.0], [6.0], [24.5]]) * winner_take_all().population_size[:, None]
    return np.random.default_rng(seed).poisson(rate * 0.0002, (3, round(seconds / 0.0002)))


def test_data_of_the_network_are_made_once_and_binned_without_loss(tmp_path, monkeypatch):
    counts = known_activity.network_counts(3, 0.4, tmp_path)
    monkeypatch.setattr(known_activity.LIFmicroPop, "simulate_network", None)
    np.testing.assert_array_equal(known_activity.network_counts(3, 0.4, tmp_path), counts)
    size = winner_take_all().population_size
    for dt, n_bins in ((0.004, 100), (0.001, 400)):
        binned = known_activity.in_bins(counts, winner_take_all(dt))
        assert binned.shape == (3, n_bins)
        np.testing.assert_allclose((binned * size[:, None]).sum(axis=1), counts.sum(axis=1), rtol=1e-12)
    with pytest.raises(InputError, match="expected a multiple of the network's 0.0002 s, got 0.0005 s"):
        known_activity.in_bins(counts, winner_take_all(0.0005))


def test_loss_after_the_burn_in_against_the_naive_loop(monkeypatch):
    monkeypatch.setattr(known_activity, "BURN_IN", 0.1)
    model = winner_take_all(0.004, 0.1, CONSISTENT)
    activity = known_activity.in_bins(network(1.3), model)
    problem = known_activity.Problem(activity, model)
    value, gradient = problem.loss(REFERENCE)
    past = activity[:, :250]
    np.testing.assert_allclose(problem.recording.initial_rate[0], past.mean(axis=1) / model.dt, rtol=1e-12)
    window = np.repeat(past.mean(axis=1, keepdims=True), model.window_bins, axis=1)
    given = (model.population_size, model.dt, model.refractory_bins, 0, problem.recording.initial_rate)
    sums = []
    for n_bins in (75, 25):  # all bins, and those of the burn-in
        n = np.concatenate([window, activity[:, 250 : 250 + n_bins]], axis=1)[None]
        nobody = np.zeros((1, 3, n.shape[-1], 0))
        loss = consistent_losses(REFERENCE.flat(), nobody, n, np.zeros((1, 3, n_bins)), model.synaptic_rate, *given)[1]
        sums.append(n_bins * loss)
    assert value == pytest.approx((sums[0] - sums[1]) / 50, rel=1e-9)
    X = to_X(REFERENCE, model)
    for k in range(len(X)):
        ends = [problem.loss(from_X(X * (1 + sign * 1e-5 * (np.arange(len(X)) == k)), model))[0] for sign in (1, -1)]
        assert gradient[k] * X[k] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_the_start_does_not_matter_after_the_burn_in():
    model = winner_take_all(0.004, None, CONSISTENT)
    activity = known_activity.in_bins(network(3.0), model)
    usual, other = (known_activity.Problem(activity, model) for _ in range(2))
    other.recording = replace(other.recording, initial_rate=1.5 * other.recording.initial_rate)
    other.first = replace(other.first, initial_rate=other.recording.initial_rate)
    assert other.loss(REFERENCE)[0] == pytest.approx(usual.loss(REFERENCE)[0], abs=1e-4)


@pytest.mark.slow
def test_the_minimum_is_found_and_recovers_the_model_that_made_the_data():
    simulate = import_quietly("src.LIFmesoCell").simulate
    model = winner_take_all(0.004, None, CONSISTENT)
    activity, _ = simulate(REFERENCE, model, 1750, 1, initial_rate=free_running.TYPICAL, noise="gaussian")
    problem = known_activity.Problem(activity, model)
    found = known_activity.minimum(problem, np.random.default_rng(0))
    gained = (found["loss_true"] - found["loss"]) * 3 * 1250
    assert 0 < gained < 20  # half a chi-square number of twelve degrees of freedom: 6 in the mean
    assert found["slope"] < 1e-3 and found["iterations"] < 500
    assert np.median(np.abs(found["ratio"] - 1)) < 0.1 and np.abs(found["ratio"][3:6] - 1).max() < 0.1
    assert problem.loss(from_X(found["ratio"] * to_X(REFERENCE, model), model))[0] == pytest.approx(found["loss"])


def test_switches_and_rates_of_known_activity():
    rate = np.repeat([[20.0, 5, 20], [5, 20, 5], [24, 25, 26]], 4000, axis=1)
    found = free_running.rates_and_switches(rate, 0.0005)
    assert found["switches"] == 2 and found["inhibition_Hz"] == pytest.approx(25)
    assert found["winner_Hz"] == pytest.approx(20, abs=0.5) and found["loser_Hz"] == pytest.approx(5, abs=0.5)


def test_a_piece_of_free_simulation_is_measured_without_its_beginning(monkeypatch):
    asked = {}

    def simulate(parameters, model, n_bins, seed, *, initial_rate, noise):
        asked.update(n_bins=n_bins, seed=seed, noise=noise, scheme=model.scheme, window=model.window_bins)
        begin = np.arange(n_bins) < 2500
        return 0.002 * np.stack([np.where(begin, 5.0, 20), np.where(begin, 20.0, 5), np.full(n_bins, 24.0)]), None

    monkeypatch.setattr(import_quietly("src.LIFmesoCell"), "simulate", simulate)
    found = free_running.simulated_piece("published", 0.002, 1.0, "gaussian", 7, 3.0)
    assert asked == {"n_bins": 4000, "seed": 7, "noise": "gaussian", "scheme": PUBLISHED, "window": 500}
    assert found["switches"] == 0 and found["winner_Hz"] == pytest.approx(20)


def test_window_and_times(tmp_path, monkeypatch):
    monkeypatch.setattr(known_activity, "BURN_IN", 0.2)
    assert free_running.window_difference(1, 2.0, tmp_path)["difference"] < 1e-4
    found = free_running.gradient_cost(0.002, 1, length=0.4)
    assert found["ratio"] == pytest.approx(found["ms"] / found["ms_other"]) and found["ms"] > 0


def count_up(path, value):
    """Measure nothing, but leave a mark for every call."""
    with Path(path).open("a") as file:
        file.write("x")
    return {"switches": value, "winner_Hz": 19.0, "loser_Hz": 6.0, "inhibition_Hz": 24.5}


def test_a_rerun_continues_the_table(tmp_path, monkeypatch, capsys):
    def unit(k):
        key = accuracy._key("switching", "network", 0.2, "", 0, 10, k)
        return Unit(key, count_up, {"path": str(tmp_path / "calls"), "value": k})

    argv = ["--only", "switching", "--at_once", "1", "--table", str(tmp_path / "t.csv"), "--folder", str(tmp_path)]
    for last in (2, 3, 3):
        monkeypatch.setattr(accuracy, "units", lambda quick, folder, last=last: [unit(k) for k in range(1, last + 1)])
        accuracy.main(argv)
        assert (tmp_path / "calls").read_text() == "x" * last
    rows = read_table(tmp_path / "t.csv")
    assert [row["seed"] for row in rows] == ["1", "2", "3"]
    assert [row["switches"] for row in rows] == ["1", "2", "3"]
    # 6 switches in 30 s; the exact interval of a count of 6 is 2.202 to 13.06
    assert "20.00 [7.34, 43.53]" in capsys.readouterr().out
    assert (tmp_path / "accuracy.png").stat().st_size > 1000


def made_up(part, scheme, bin_ms, noise, window, length, seed, **found):
    key = accuracy._key(part, scheme, bin_ms, noise, window, length, seed)
    return dict(zip(KEYS, key, strict=True)) | {name: str(value) for name, value in found.items()}


def test_targets_are_judged_by_the_numbers(tmp_path):
    rows = []
    for seed, error in enumerate((0.01, -0.02, 0.06), 1):
        ratios = dict.fromkeys(accuracy_report.PARAMETERS, 1.0) | {"coupling I": 1 + error, "threshold E1": 1.04}
        fit = {"loss": -3.0, "loss_true": -2.999, **ratios}
        rows.append(made_up("known", "consistent", 1, "gaussian", 0.16, 10, seed, **fit))
    for scheme, bin_ms, noise, window, switches, loser in (
        ("network", 0.2, "", 0, 20, 6.0),
        ("consistent", 1, "binomial", 0.16, 30, 6.5),
        ("consistent", 0.5, "binomial", 0.16, 40, 6.7),
    ):
        found = {"switches": switches, "winner_Hz": 18.8, "loser_Hz": loser, "inhibition_Hz": 24.5}
        rows += [made_up("switching", scheme, bin_ms, noise, window, 100, seed, **found) for seed in (1, 2)]
    rows.append(made_up("window", "consistent", 4, "", 0.16, 10, 1, difference=2e-4))
    rows.append(made_up("cost", "consistent", 2, "", 0.16, 10, 0, ms=11, ms_other=10, ratio=1.1))
    text = accuracy_report.report(rows, judged=True)
    assert "largest median error of a parameter: 4 %, at most 5 %: reached" in text
    assert "differs by: 25 %, at most 15 %: missed" in text
    assert "1 ms, binomial: rates off the network's by up to: 0.5 Hz, at most 0.6 Hz: reached" in text
    assert "0.5 ms, binomial: rates off the network's by up to: 0.7 Hz, at most 0.6 Hz: missed" in text
    assert "relative difference: 0.0002, at most 0.0001: missed" in text
    assert "cost of 2 ms over published 4 ms: 1.1 x, at most 1.2 x: reached" in text
    assert "2.0 (6.0)" in text and "30 (30 to 30)" in text
    figure = accuracy_report.accuracy_figure(rows)
    assert len(figure.axes) == 3
    save_figure(tmp_path / "figure.png", figure)


def test_the_table_in_the_repository_is_of_this_benchmark():
    rows = read_table(ROOT / "benchmarks" / "accuracy.csv")
    wanted = {unit.key for unit in accuracy.units(False, ROOT)}
    assert rows and {key_of(row) for row in rows} <= wanted
    assert accuracy_report.report(rows, judged=True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--only", "known,else"],
            "--only: expected names out of known, switching, window, cost, fits, long_fits, got else",
        ),
        (["--table", "odd.csv"], "odd.csv: expected the columns part, scheme"),
        (["--at_once", "0"], "--at_once: expected at least 1"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "odd.csv").open("w") as file:
        csv.writer(file).writerows([["a", "b"], ["1", "2"]])
    with pytest.raises(InputError, match=message) as caught:
        accuracy.main(argv)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["odd.csv"]
