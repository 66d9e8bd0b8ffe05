"""NWB files that pynwb wrote give what stands in them: times, units, labels, trials."""

from datetime import datetime, timezone

import numpy as np
import pytest

from src.utils.exceptions import InputError
from tests.recordings import (
    LABELS,
    LENGTH,
    TRIALS,
    UNITS,
    assert_same,
    raster,
    read,
    trains,
    write_intervals,
    write_listed,
)

pynwb = pytest.importorskip("pynwb")


def write(
    path, fired=None, *, ids=UNITS, labels=LABELS, column="population", times=None, observed=True, intervals=TRIALS
):
    """Write a session of units and trials; `labels` None leaves the column out, `times` replaces those of `fired`."""
    file = pynwb.NWBFile("a session", "id", datetime(2022, 6, 1, tzinfo=timezone.utc))
    if labels is not None:
        file.add_unit_column(column, "population of the unit")
    for i, train in enumerate(trains(fired) if times is None else times):
        more = {} if labels is None else {column: labels[i]}
        more |= {"obs_intervals": np.array([[0.0, LENGTH]])} if observed else {}
        file.add_unit(spike_times=train, id=int(ids[i]), **more)
    for start, stop in intervals:
        file.add_trial(start_time=start, stop_time=stop)
    file.add_epoch(0.2, 1.0, ["all of it"])
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)


@pytest.mark.parametrize("options", [{}, {"trial_length": 0.2}, {"trials": "go", "burn_in": 0.02}], ids=str)
def test_the_same_as_from_other_formats(tmp_path, options):
    fired = raster(5)
    write(tmp_path / "my.nwb", fired)
    write_listed(tmp_path / "my.npz", fired)
    expected, said_of_other = read(tmp_path / "my.npz", **options)
    options = {**options, **({"trials": "trials"} if "trials" in options else {})}
    recording, said = read(tmp_path / "my.nwb", **options)
    assert_same(expected, recording)
    assert said[:3] == said_of_other[:3]


def test_trials_that_touch_begin_where_the_file_says(tmp_path):
    """And so do those of a CSV file."""
    fired, touching = raster(6), np.array([[0.1, 0.3], [0.3, 0.5], [0.5, 0.7]])
    write(tmp_path / "my.nwb", fired, intervals=touching)
    write_listed(tmp_path / "my.npz", fired, go=touching)
    recording, _ = read(tmp_path / "my.nwb", trials="trials")
    assert_same(read(tmp_path / "my.npz", trials="go")[0], recording)
    write_intervals(tmp_path / "go.csv", touching)
    assert_same(recording, read(tmp_path / "my.nwb", trials=str(tmp_path / "go.csv"))[0])


def test_epochs_are_a_table_too_and_tables_are_listed(tmp_path):
    write(tmp_path / "my.nwb", raster(7))
    recording, _ = read(tmp_path / "my.nwb", trials="epochs")
    assert recording.lengths.tolist() == [200]
    assert read(tmp_path / "my.nwb")[1][-1] in (
        "Tables of intervals that --trials could name: trials (3), epochs (1).",
        "Tables of intervals that --trials could name: epochs (1), trials (3).",
    )


def test_trials_that_were_aborted_are_left_out(tmp_path):
    write(tmp_path / "my.nwb", raster(7), intervals=[(0.1, 0.3), (0.4, np.nan), (0.6, 0.8)])
    recording, said = read(tmp_path / "my.nwb", trials="trials")
    assert recording.n_trials == 2 and "Without a start or an end, and left out: trial 2." in said


def test_another_column_numbers_in_it_and_units_without_a_label(tmp_path):
    fired = raster(8)
    write(tmp_path / "my.nwb", fired, column="cluster", labels=[1.0, 0.0, 1.0, np.nan, 0.0])
    recording, said = read(tmp_path / "my.nwb", population_column="cluster")
    assert recording.recorded.tolist() == [[True, True], [True, True], [False, False]]
    assert "Without a population: unit 10 is left out." in said
    assert "Labels 0, 1, 2 stand for the populations E1, E2, I, in this order." in said


def test_silent_units_and_unknown_ends_and_times_before_zero(tmp_path):
    times = [[-0.02, 0.013], [0.2999, 0.1], [], [0.1], [0.2]]
    write(tmp_path / "my.nwb", times=times, observed=False)
    recording, said = read(tmp_path / "my.nwb")
    spikes = recording.observed_spikes[0]
    assert recording.recorded.sum() == 5
    assert spikes[1, :, 0].nonzero()[0].tolist() == [0, 8]  # counted from -0.02 s
    assert spikes[0, :, 0].nonzero()[0].tolist() == [30, 79] and spikes.shape[1] == 80
    assert "Spike times out of order, now sorted: of unit 7." in said
    assert "No spike, and taken as the silence it is: unit 8." in said
    assert any("does not say when it ends" in line for line in said)


def test_spikes_outside_what_was_observed(tmp_path):
    times = [train.copy() for train in trains(raster(9))]
    times[0] = np.append(times[0], [LENGTH + 0.1, LENGTH + 0.2])
    write(tmp_path / "my.nwb", times=times)
    recording, said = read(tmp_path / "my.nwb")
    assert "2 spikes after the end of the recording are left out." in said
    write_listed(tmp_path / "my.npz", raster(9))
    assert_same(read(tmp_path / "my.npz")[0], recording)


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"ids": ["1", "2", "2", "3", "4"]}, {}, "units: expected every name once, got 2 more than once"),
        (
            {"labels": None},
            {},
            "expected to know which population each unit is of: give a column by --population_column",
        ),
        ({}, {"population_column": "type"}, r"population_column: expected a column of the units of .*, got 'type'"),
        ({"times": [[np.nan]] * 5}, {}, "expected spikes, found none in 5 units"),
        ({"times": [], "labels": None}, {}, "expected a units table with spike_times, got none"),
        ({}, {"trials": "sessions"}, r"trials: expected a CSV file, or a table of intervals in .* got 'sessions'"),
    ],
)
def test_bad_files(tmp_path, changes, options, words):
    write(tmp_path / "my.nwb", **{"fired": raster(), **changes})
    with pytest.raises(InputError, match=words):
        read(tmp_path / "my.nwb", **options)


def test_a_truncated_file_is_one_line(tmp_path):
    write(tmp_path / "my.nwb", raster())
    whole = (tmp_path / "my.nwb").read_bytes()
    for part in (0.1, 0.5, 0.9):
        (tmp_path / "part.nwb").write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(
            InputError, match="part.nwb: expected an NWB file that can be read, got one that is "
        ) as error:
            read(tmp_path / "part.nwb")
        assert "\n" not in str(error.value)
