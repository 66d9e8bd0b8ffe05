"""Recordings of any format: the same data give the same recording, trials and populations are what the user said."""

import dataclasses
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from src.data.dataset import load_recording
from src.data.options import DataOptions
from src.data.read import read_recording
from src.helper import init_model
from src.model.circuit_file import winner_take_all
from src.model.containers import Model
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from tests.recordings import (
    DT,
    LABELS,
    LENGTH,
    MODEL,
    STEP,
    TRIALS,
    UNITS,
    A,
    assert_same,
    raster,
    read,
    trains,
    write_binned,
    write_csv,
    write_intervals,
    write_listed,
)
from tests.training import DATASET

WRITE = {"my.npz": write_listed, "binned.npz": write_binned, "my.csv": write_csv}
BINS = round(LENGTH / DT)
BY_POPULATION = {"E1": ["7", "21"], "E2": ["3", "8"], "I": ["10"]}


def by_hand(fired, first, bins):
    """Spikes of E1, E2 and I in bins of four steps, (3, bins, 2), from step `first` on."""
    some = fired[first : first + 4 * bins].reshape(bins, 4, 5).sum(axis=1)
    out = np.zeros((3, bins, 2), int)
    for m, units in enumerate(BY_POPULATION.values()):
        for i, unit in enumerate(units):
            out[m, :, i] = some[:, UNITS.index(unit)]
    return np.minimum(out, 1)


@pytest.mark.parametrize("name", WRITE)
def test_one_trial_after_its_window(tmp_path, name):
    fired = raster()
    WRITE[name](tmp_path / name, fired)
    recording, said = read(tmp_path / name, end_timepoint=LENGTH)
    np.testing.assert_array_equal(recording.observed_spikes, by_hand(fired, 0, BINS)[None])
    assert recording.recorded.tolist() == [[True, True], [True, True], [True, False]]
    assert recording.judged is None and recording.n_bins == BINS - A
    assert recording.true_activity is None and recording.true_parameters is None
    window = by_hand(fired, 0, A)
    rates = window.sum(axis=(1, 2)) / [2, 2, 1] / (A * DT)
    np.testing.assert_allclose(recording.initial_rate, [rates], rtol=1e-12)
    assert not recording.external_input.any() and recording.external_input.shape == (1, 3, BINS - A)
    assert said[0].startswith("Recorded: E1 2 of 400 neurons at ") and "I 1 of 200 neurons" in said[0]
    assert said[1] == "Fitted: 1 trial of 1.16 s in 290 bins of 4 ms, after 0.04 s of history."


OPTIONS = [
    {},
    {"trial_length": 0.2},
    {"trials": "go"},
    {"trials": "go", "burn_in": 0.02},
    {"end_timepoint": 0.95, "trials": "go"},
    {"unit_map": "map"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_format_gives_the_same(tmp_path, options):
    fired = raster(1)
    write_intervals(tmp_path / "go.csv")
    (tmp_path / "map.csv").write_text("unit,population\n10,E1\n3,E2\n7,\n21,I\n")
    for name, write in WRITE.items():
        write(tmp_path / name, fired)
    made = []
    for name in WRITE:
        given = {"end_timepoint": LENGTH, **options}
        if name == "my.csv" and "trials" in options:
            given["trials"] = str(tmp_path / "go.csv")
        if "unit_map" in options:
            given["unit_map"] = str(tmp_path / "map.csv")
        made.append(read(tmp_path / name, **given))
    for recording, said in made[1:]:
        assert_same(made[0][0], recording)
        of_source = ("Tables", "bins of 1 ms", "would leave")  # what bins would hold the spikes: those of the source
        both = ([line for line in lines if not any(word in line for word in of_source)] for lines in (said, made[0][1]))
        assert next(both) == next(both)


def test_a_data_set_reads_as_ever(tmp_path):
    expected, _ = load_recording(DATASET, MODEL, end_timepoint=0.5, trial_length=0.1)
    for options in (DataOptions(data=str(DATASET)), DataOptions(dataset=str(DATASET))):
        recording, said = read_recording(dataclasses.replace(options, end_timepoint=0.5, trial_length=0.1), MODEL)
        assert_same(expected, recording)
        assert said[1] == "Fitted: 4 trials of 0.1 s in 25 bins of 4 ms, each after 0.04 s of history."
    judged, _ = read(DATASET, end_timepoint=0.5, burn_in=0.1)
    assert judged.judged.tolist() == [[False] * 25 + [True] * 90]
    whole, _ = read(DATASET)
    assert whole.n_bins == 2750 - A
    arrays = load_arrays(DATASET)
    published = {key: arrays[key][..., :2500, :] for key in ("A_t_pop", "sampled_spikes", "I_ext")}
    (tmp_path / "published").write_bytes(pickle.dumps(published))
    pickled, _ = read(tmp_path / "published", trial_length=0.1)
    np.testing.assert_array_equal(pickled.observed_spikes, expected.observed_spikes)


@pytest.mark.parametrize("dt", [0.004, 0.003, 0.0002])
def test_times_on_the_edges_of_bins_are_in_the_bin_that_begins_there(tmp_path, dt):
    """Steps of 0.2 ms, as times: rounding may put them on either side of the edge that they lie on."""
    model = winner_take_all(dt=dt, window=0.06)
    expected, _ = load_recording(DATASET, model, end_timepoint=1.5, trial_length=0.12)
    fired = load_arrays(DATASET)["sampled_spikes"][:, :7500, :3]
    m, step, i = np.nonzero(fired)
    times, units = step * 0.0002, 3 * m + i
    labels = np.repeat(["E1", "E2", "I"], 3)
    save_arrays(tmp_path / "my.npz", spike_times=times, spike_unit=units, unit=np.arange(9), population=labels)
    recording, _ = read(tmp_path / "my.npz", model, end_timepoint=1.5, trial_length=0.12)
    np.testing.assert_array_equal(recording.observed_spikes, expected.observed_spikes)
    np.testing.assert_allclose(recording.initial_rate, expected.initial_rate, rtol=1e-12)


def test_the_default_is_eleven_seconds_of_the_data_set_and_all_of_data(tmp_path):
    assert read_recording(DataOptions(dataset=str(DATASET)), MODEL)[0].n_bins == 2750 - A
    write_binned(tmp_path / "my.npz", raster())
    assert read(tmp_path / "my.npz")[0].n_bins == BINS - A


def test_a_list_of_spikes_ends_with_the_bin_of_the_last_one(tmp_path):
    (tmp_path / "my.csv").write_text("time,unit\n0.01,a\n0.1,a\n0.0601,b\n")
    model = Model([100], [300.0], [[1]], dt=DT, window_bins=A)
    recording, said = read(tmp_path / "my.csv", model)
    assert A + recording.n_bins == 26  # 0.1 s is where bin 25 begins
    assert recording.observed_spikes[0, 0, :, 0].nonzero()[0].tolist() == [2, 25]
    assert recording.observed_spikes[0, 0, :, 1].nonzero()[0].tolist() == [15]
    assert any(
        "does not say when it ends: it is taken to end with the last spike, at 0.104 s." in line for line in said
    )


# --- trials ---


def test_trials_begin_where_they_say_each_after_what_was_recorded_before(tmp_path):
    fired = raster(2)
    write_binned(tmp_path / "my.npz", fired)
    recording, said = read(tmp_path / "my.npz", trials="go")
    bins = [52, 75, 50]  # 0.21, 0.3004 and 0.2 s
    assert recording.lengths.tolist() == bins
    for b, (start, n) in enumerate(zip(TRIALS[:, 0], bins, strict=True)):
        first = round((start - A * DT) / STEP)
        np.testing.assert_array_equal(recording.observed_spikes[b, :, : A + n], by_hand(fired, first, A + n))
        assert not recording.observed_spikes[b, :, A + n :].any()
        assert recording.judged[b].tolist() == [True] * n + [False] * (75 - n)
    assert said[1] == "Fitted: 3 trials of 0.2 to 0.3 s in bins of 4 ms, each after 0.04 s of history."
    assert said[3].splitlines()[2].split()[:3] == ["2", "0.4", "0.3"]


def test_trials_may_begin_anywhere_between_bins(tmp_path):
    fired = raster(3)
    write_binned(tmp_path / "my.npz", fired, go=np.array([[0.1, 0.3], [0.101, 0.301], [0.103, 0.303]]))
    recording, said = read(tmp_path / "my.npz", trials="go")
    for b, first in enumerate((60, 61, 63)):
        np.testing.assert_array_equal(recording.observed_spikes[b], by_hand(fired, first, A + 50))
    assert "Overlaps the trial before it, and counts what they share twice: trial 2, 3." in said
    assert recording.judged is None
    message = "trials: expected trials apart from each other, .*, got overlaps of trial 2, 3 with the one before"
    with pytest.raises(InputError, match=message):
        read_recording(DataOptions(data=str(tmp_path / "my.npz"), trials="go"), MODEL, apart=True)


def test_a_trial_with_too_little_before_it_begins_later(tmp_path):
    fired = raster(4)
    write_binned(tmp_path / "my.npz", fired, go=np.array([[0.0, 0.2], [0.03, 0.2], [0.0, 0.044], [0.3, 0.5]]))
    recording, said = read(tmp_path / "my.npz", trials="go")
    assert recording.lengths.tolist() == [40, 40, 50]
    np.testing.assert_array_equal(recording.observed_spikes[1, :, : A + 40], by_hand(fired, 0, A + 40))
    assert "Less than 0.04 s, the history window, was recorded before trial 1, 2: fitted only from then on." in said
    assert "Shorter than 0.04 s, the history window, and 2 bins of 0.004 s after it, and left out: trial 3." in said


def test_trials_after_the_end_are_left_out(tmp_path):
    write_binned(tmp_path / "my.npz", raster())
    recording, said = read(tmp_path / "my.npz", trials="go", end_timepoint=0.8)
    assert recording.lengths.tolist() == [52, 75]
    assert "Ends after --end_timepoint 0.8 s, and left out: trial 3." in said


def test_trials_of_spike_lists_are_stretches_of_their_own(tmp_path):
    (tmp_path / "my.csv").write_text(
        "trial,time,unit,population\n10,0.061,b,E1\n10,0.150,a,I\n2,0.001,a,I\n2,0.05,c,E2\n2,0.07,a,I\n2,0.1999,b,E1\n"
    )
    recording, said = read(tmp_path / "my.csv")
    assert recording.lengths.tolist() == [40, 40] and recording.judged is None
    spikes = recording.observed_spikes
    assert [spikes[b, m, :, 0].nonzero()[0].tolist() for b in (0, 1) for m in range(3)] == [
        [49],
        [12],
        [0, 17],
        [15],
        [],
        [37],
    ]
    assert any("every trial is taken to end with the last spike, at 0.2 s" in line for line in said)
    assert [line.split()[0] for line in said[3].splitlines()[1:]] == ["2", "10"]
    (tmp_path / "ends.csv").write_text("trial,start,end\n10,0.05,0.16\n2,0,0.1\n10,0.1,0.2\n")
    recording, _ = read(tmp_path / "my.csv", trials=str(tmp_path / "ends.csv"))
    assert recording.lengths.tolist() == [27, 15, 25]
    assert recording.observed_spikes[0, 0, :, 0].nonzero()[0].tolist() == [12]
    save_arrays(
        tmp_path / "my.npz",
        spike_times=np.array([0.061, 0.15, 0.001, 0.05, 0.07, 0.1999]),
        spike_unit=np.array(["b", "a", "a", "c", "a", "b"]),
        spike_trial=np.array([10, 10, 2, 2, 2, 2]),
        unit=np.array(["a", "b", "c"]),
        population=np.array(["I", "E1", "E2"]),
    )
    assert_same(read(tmp_path / "my.csv")[0], read(tmp_path / "my.npz")[0])


def test_burn_in_is_predicted_and_not_scored(tmp_path):
    write_binned(tmp_path / "my.npz", raster())
    plain, _ = read(tmp_path / "my.npz", trials="go")
    recording, said = read(tmp_path / "my.npz", trials="go", burn_in=0.05)
    assert (recording.judged.sum(axis=1) == plain.lengths - 12).all() and not recording.judged[:, :12].any()
    np.testing.assert_array_equal(recording.judged[:, 12:], plain.judged[:, 12:])
    np.testing.assert_array_equal(recording.observed_spikes, plain.observed_spikes)
    assert said[1].endswith("; the first 0.048 s are predicted, but not scored.")
    recording, said = read(tmp_path / "my.npz", trials="go", burn_in=0.2)
    assert recording.lengths.tolist() == [52, 75] and recording.judged.sum() == 2 + 25
    needed = "0.04 s, the history window, 0.2 s of burn-in, and 2 bins of 0.004 s after it"
    assert f"Shorter than {needed}, and left out: trial 3." in said


# --- units and populations ---


def test_two_spikes_in_a_bin_are_counted_and_become_one(tmp_path):
    fired = np.zeros((1200, 5), np.uint8)
    fired[100::40] = 1
    fired[[401, 402, 403, 801, 802], 1] = 1  # three in bin 100, two in bin 200
    write_binned(tmp_path / "my.npz", fired)
    recording, said = read(tmp_path / "my.npz")
    assert recording.observed_spikes.max() == 1
    note = (
        "2 bins with two spikes or more of a unit; each counts as one spike (3 of 145 spikes, 2.07%, are lost to that)."
    )
    assert note in said
    row = next(line for line in said[2].splitlines() if line.startswith("7 "))
    assert row.split() == ["7", "E1", "33", f"{33 / 1.2:.2f}", "2", "9.1%", "0", "0.0%"]


def test_silent_units_and_trials_are_noted(tmp_path):
    fired = raster()
    fired[:, 2] = 0
    fired[350:720] = 0
    write_binned(tmp_path / "my.npz", fired)
    recording, said = read(tmp_path / "my.npz", trials="go")
    assert "No spike, and taken as the silence it is: unit 8." in said
    assert "No spike of any unit: trial 2." in said
    assert recording.recorded.sum() == 5 and recording.n_trials == 3


def test_a_population_without_recorded_units_gets_the_mean_of_the_others(tmp_path):
    fired = raster()
    write_binned(tmp_path / "my.npz", fired, population=np.array(["E1", "E1", "E1", "I", "noise"]), go=TRIALS)
    recording, said = read(tmp_path / "my.npz", trials="go")
    assert recording.recorded.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    A0 = recording.initial_rate
    np.testing.assert_allclose(A0[:, 1], (A0[:, 0] + A0[:, 2]) / 2, rtol=1e-12)
    _, activity = init_model(recording, MODEL, np.random.default_rng(0), width=0.012)
    for b, bins in enumerate(A + recording.lengths):
        E1, I = recording.observed_spikes[b, 0, :bins].mean(-1), recording.observed_spikes[b, 2, :bins, 0]
        for m, mean in enumerate((E1, (E1 + I) / 2, I.astype(float))):
            alone = np.maximum(gaussian_filter1d(mean, 3), 1e-5)
            np.testing.assert_allclose(activity[b, m, :bins], alone, rtol=1e-10, atol=1e-15)
    assert (activity >= 1e-5).all()
    assert "'noise' is no population of the circuit: unit 21 is left out." in said
    assert any(line.startswith("No recorded unit: E2. The mean over the other populations stands") for line in said)
    assert "E2 none of 400 neurons" in said[0]


def test_units_that_the_map_does_not_name_are_left_out(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    (tmp_path / "map.csv").write_text("population,unit\nE2,3\nI,7\n,8\n")
    recording, said = read(tmp_path / "my.npz", unit_map=str(tmp_path / "map.csv"))
    assert recording.recorded.tolist() == [[False], [True], [True]]
    assert "Without a population: 3 units (8, 10, 21) are left out." in said


def test_a_unit_of_the_map_without_spikes_in_a_list_is_silent(tmp_path):
    (tmp_path / "my.csv").write_text("time,unit\n0.01,a\n0.1,a\n0.0601,b\n")
    (tmp_path / "map.csv").write_text("unit,population\na,E1\nb,I\nc,E1\n")
    recording, said = read(tmp_path / "my.csv", unit_map=str(tmp_path / "map.csv"))
    assert recording.recorded.tolist() == [[True, True], [False, False], [True, False]]
    assert not recording.observed_spikes[0, 0, :, 1].any()
    assert "No spike, and taken as the silence it is: unit c." in said


def test_numbers_of_a_grouping_stand_for_the_populations_in_their_order(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    (tmp_path / "map.csv").write_text("unit,population\n3,1\n7,0\n8,1\n10,2\n21,0\n")
    recording, said = read(tmp_path / "my.npz", unit_map=str(tmp_path / "map.csv"))
    assert_same(read(tmp_path / "my.npz")[0], recording)
    assert "Labels 0, 1, 2 stand for the populations E1, E2, I, in this order." in said


def test_another_column_can_hold_the_population(tmp_path):
    fired = raster()
    write_listed(tmp_path / "my.npz", fired, population=None, type=np.array(LABELS))
    recording, _ = read(tmp_path / "my.npz", population_column="type")
    write_listed(tmp_path / "other.npz", fired)
    assert_same(read(tmp_path / "other.npz")[0], recording)
    write_csv(tmp_path / "my.csv", fired)
    text = (tmp_path / "my.csv").read_text().replace("population", "Type")
    (tmp_path / "my.csv").write_text(text)
    assert_same(recording, read(tmp_path / "my.csv", population_column="Type", end_timepoint=LENGTH)[0])


def test_units_of_one_population_need_no_label(tmp_path):
    write_listed(tmp_path / "my.npz", raster(), population=None)
    model = Model([100], [300.0], [[1]], dt=DT, window_bins=A)
    assert read(tmp_path / "my.npz", model)[0].observed_spikes.shape == (1, 1, BINS, 5)


def test_times_out_of_order_are_sorted_and_noted(tmp_path):
    fired = raster()
    write_listed(tmp_path / "my.npz", fired)
    backwards = np.concatenate([train[::-1] for train in trains(fired)])
    write_listed(tmp_path / "backwards.npz", fired, spike_times=backwards)
    recording, said = read(tmp_path / "backwards.npz", trials="go")
    assert_same(read(tmp_path / "my.npz", trials="go")[0], recording)
    assert "Spike times out of order, now sorted: of unit 3, 7, 8, 10, 21." in said


def test_spikes_after_the_end_are_left_out_and_noted(tmp_path):
    fired = raster()
    write_listed(tmp_path / "my.npz", fired, end=1.0)
    recording, said = read(tmp_path / "my.npz")
    assert_same(read(tmp_path / "my.npz", end_timepoint=1.0)[0], recording)
    assert recording.n_bins == 250 - A
    assert f"{fired[1000:].sum()} spikes after the end of the recording are left out." in said


def test_milliseconds_are_asked_about(tmp_path):
    write_listed(tmp_path / "my.npz", raster(), end=None)
    arrays = dict(np.load(tmp_path / "my.npz"))
    save_arrays(tmp_path / "ms.npz", **{**arrays, "spike_times": 1000 * arrays["spike_times"]})
    with pytest.raises(InputError, match=r"expected spike times in s, got .*; in ms it would be .* Hz over 1.2 s"):
        read(tmp_path / "ms.npz")
    assert_same(read(tmp_path / "my.npz")[0], read(tmp_path / "ms.npz", ticks_per_second=1000)[0])
    assert read(tmp_path / "ms.npz", ticks_per_second=1)[0].n_bins > 290_000


def test_tables_that_trials_could_name_are_listed(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    assert read(tmp_path / "my.npz")[1][-1] == "Tables of intervals that --trials could name: go (3)."


def test_with_input_there_is_none(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    recording, said = read(tmp_path / "my.npz", with_input=True)
    assert "--with_input: the data have no external input, it is zero throughout" in said


def test_rows_of_a_table_without_an_end_are_left_out(tmp_path):
    write_listed(tmp_path / "my.npz", raster(), go=np.array([[0.1, 0.3], [0.3, np.nan], [0.5, 0.7]]))
    recording, said = read(tmp_path / "my.npz", trials="go")
    assert recording.n_trials == 2
    assert "Without a start or an end, and left out: trial 2." in said


def test_the_example_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs/data.md").read_text()
    examples = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    (python,) = [code for language, code in examples if language == "python"]
    exec(python, {})
    recording, said = read("my.npz")
    assert recording.recorded is None and recording.observed_spikes.sum() == 4
    assert any("unit u3" in line for line in said)
    tables = [table for language, table in examples if not language]
    for name, table in zip(("my.csv", "map.csv", "go.csv"), tables, strict=True):
        Path(name).write_text(table + ("12.9,u1,E1\n" if name == "my.csv" else ""))  # one in the first trial
    recording, _ = read("my.csv", unit_map="map.csv", end_timepoint=30.0, trials="go.csv")
    assert recording.lengths.tolist() == [375, 550]
