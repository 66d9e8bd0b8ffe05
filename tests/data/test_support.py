"""Spikes that the model cannot have fired are counted, priced, and can be left out of the score, not of history."""

import re
from dataclasses import replace

import numpy as np
import pytest

from src.data.support import cost, leave_out_refractory, refractory_spikes
from src.fast_np import fast_lossy
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.containers import Model, Recording
from src.model.scheme import CONSISTENT, PUBLISHED
from tests.recordings import read

MODEL = Model([100], [300.0], [[1]], dt=0.004, window_bins=10, refractory_bins=2)


def by_hand(spikes, model, scored):
    out = np.zeros(spikes[:, :, model.window_bins :].shape, bool)
    for b, m, t, i in np.argwhere(spikes[:, :, model.window_bins :] > 0):
        before = spikes[b, m, t + model.window_bins - model.refractory_bins : t + model.window_bins, i]
        out[b, m, t, i] = before.any() and scored[b, m, t, i]
    return out


def random_recording(seed=0, **more):
    rng = np.random.default_rng(seed)
    spikes = (rng.random((2, 1, 60, 3)) < 0.3).astype(np.uint8)
    return Recording(spikes, np.zeros((2, 1, 50)), np.ones((2, 1)), **more)


@pytest.mark.parametrize("masked", [False, True])
def test_against_a_loop(masked):
    observed = np.random.default_rng(1).random((2, 1, 60, 3)) < 0.8 if masked else None
    recording = random_recording(observed=observed, judged=np.arange(50)[None] >= np.array([[5], [0]]))
    scored = recording.scored
    expected = by_hand(recording.observed_spikes, MODEL, scored)
    assert expected.any()
    np.testing.assert_array_equal(refractory_spikes(recording, MODEL), expected)
    left = leave_out_refractory(recording, MODEL)
    np.testing.assert_array_equal(left.scored, scored & ~expected)
    np.testing.assert_array_equal(left.observed_spikes, recording.observed_spikes)
    assert leave_out_refractory(random_recording(), Model([100], [300.0], [[1]], window_bins=10)).left_out is not None


@pytest.mark.parametrize("scheme", [CONSISTENT, PUBLISHED])
def test_the_cost_is_that_of_the_likelihood(scheme):
    """One spike a bin after another: what leaving it out changes is its cost."""
    model = replace(winner_take_all(window=0.04), scheme=scheme)
    spikes = np.zeros((1, 3, 60, 1), np.uint8)
    spikes[0, 0, [30, 31, 50]] = 1
    recording = Recording(spikes, np.zeros((1, 3, 50)), np.full((1, 3), 10.0))
    activity, parameters = np.full((1, 3, 50), 0.02), reference_parameters()
    with_it, without = (
        fast_lossy(parameters, activity, each, model, wrt="parameters")
        for each in (recording, leave_out_refractory(recording, model))
    )
    nats = (with_it.value - without.value) * 150  # the loss is a mean over populations and bins
    more = parameters.threshold[0] if scheme is PUBLISHED else 0
    assert nats == pytest.approx(cost(model) + more, rel=1e-6) and nats > 9
    if scheme is CONSISTENT:
        assert nats == pytest.approx(-np.log(1e-8 * 0.004), rel=1e-6)
    # No parameter changes it under the consistent scheme; the threshold does under the published one.
    assert np.array_equal(with_it.parameters, without.parameters) is (scheme is CONSISTENT)


def write(path, isi, bursts=200, spikes=3):
    rng = np.random.default_rng(2)
    starts = np.cumsum(rng.uniform(0.05, 0.25, bursts))
    times = (starts[:, None] + isi * np.arange(spikes)).ravel()
    path.write_text("time,unit\n" + "".join(f"{t!r},{unit}\n" for t in times.tolist() for unit in ("a", "b")))


def test_bursts_are_counted_before_the_fit_with_what_would_hold_them(tmp_path):
    model = Model([100], [300.0], [[1]], dt=0.004, window_bins=10, scheme=CONSISTENT)
    write(tmp_path / "my.csv", 0.005)
    recording, said = read(tmp_path / "my.csv", model)
    (line,) = [each for each in said if "refractory time" in each]
    number = int(refractory_spikes(recording, model).sum())
    assert number > 400 and line.startswith(f"{number} of ")
    assert f"23.9 nats each, {number * cost(model):.0f} nats in all" in line
    dt = float(re.search(r"--dt ([\d.]+) with refractory_time = [\d.]+ in the circuit file would leave 0 of", line)[1])
    assert dt == 0.002
    better, said = read(tmp_path / "my.csv", Model([100], [300.0], [[1]], dt=dt, window_bins=20))
    assert not any("refractory time" in each for each in said)
    left, said = read(tmp_path / "my.csv", model, leave_out_refractory_spikes=True)
    assert left.left_out.sum() == number
    np.testing.assert_array_equal(left.observed_spikes, recording.observed_spikes)
    assert any("they are not scored, but stay history (--leave_out_refractory_spikes)" in each for each in said)
    rows = [line.split() for line in said[2].splitlines()]
    assert rows[0][-2:] == ["refractory", "share"] and sum(int(row[-2]) for row in rows[1:]) == 0


def test_a_few_in_many_spikes_are_left_to_the_bins(tmp_path):
    """One interval of 5 ms, which are bins one after the other, among two thousand: no other bins are asked for."""
    times = np.sort([*(0.0301 + 0.02 * np.arange(2000)), 0.0301 + 0.02 * 1000 + 0.005])
    (tmp_path / "my.csv").write_text("time,unit\n" + "".join(f"{t!r},a\n" for t in times.tolist()))
    _, said = read(tmp_path / "my.csv", Model([100], [300.0], [[1]], dt=0.004, window_bins=10))
    (line,) = [each for each in said if "refractory time" in each]
    assert line.startswith("1 of ") and "So few can come of the bins" in line and "would leave" not in line


def test_intervals_that_no_neuron_has_are_doubted(tmp_path):
    doubt = "800 spikes within 1 ms after another, as no neuron fires: is each unit one neuron?"
    for isi, doubted in ((0.0007, True), (0.0013, False)):
        write(tmp_path / "my.csv", isi)
        _, said = read(tmp_path / "my.csv", Model([100], [300.0], [[1]], dt=0.002, window_bins=20))
        (line,) = [each for each in said if "would leave" in each]
        assert (doubt in line) is doubted, line


def test_bins_that_would_hold_nothing(tmp_path):
    write(tmp_path / "my.csv", 0.00011)
    _, said = read(tmp_path / "my.csv", Model([100], [300.0], [[1]], dt=0.0005, window_bins=80, refractory_bins=8))
    assert any("No bins of 0.2 ms or more would hold them" in each or "would leave" in each for each in said)
    write(tmp_path / "wide.csv", 0.001)
    _, said = read(tmp_path / "wide.csv", Model([100], [300.0], [[1]], dt=0.004, window_bins=10))
    assert any("So many are lost that bins of 4 ms may be too wide, see --dt" in each for each in said)


def test_a_regular_recording_says_nothing_of_it(tmp_path):
    write(tmp_path / "my.csv", 0.02)
    assert not any("refractory time" in each for each in read(tmp_path / "my.csv", MODEL)[1])
