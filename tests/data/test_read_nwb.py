"""NWB files that pynwb wrote give what stands in them: times, units, labels, trials."""

from dataclasses import replace
from datetime import datetime, timezone

import h5py
import numpy as np
import pytest

from src.model.containers import Model
from src.utils.exceptions import InputError
from tests.recordings import (
    DT,
    LABELS,
    LENGTH,
    TRIALS,
    UNITS,
    A,
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
    assert recording.unit_names.tolist() == [["7", "21"], ["3", "8"], ["10", ""]]
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


def change(path, **columns):
    """Replace columns of the units; return these."""
    with h5py.File(path, "a") as file:
        for name, values in columns.items():
            if name in file["units"]:
                del file["units"][name]
            file["units"][name] = values
    return path


def test_columns_of_another_length_are_named(tmp_path):
    write(tmp_path / "my.nwb", raster())
    change(tmp_path / "my.nwb", population=[b"E1", b"E2", b"I"])
    with pytest.raises(InputError, match="my.nwb: units: population: expected 5 labels, one a unit, got 3"):
        read(tmp_path / "my.nwb")
    write(tmp_path / "my.nwb", raster())
    change(tmp_path / "my.nwb", obs_intervals_index=[1, 2])
    with pytest.raises(InputError, match="my.nwb: units: obs_intervals: expected 5 lists, one a unit, got 2"):
        read(tmp_path / "my.nwb")


def test_spike_times_of_no_unit_are_counted(tmp_path):
    write(tmp_path / "my.nwb", raster())
    with h5py.File(tmp_path / "my.nwb") as file:
        number, ends = len(file["units/spike_times"]), file["units/spike_times_index"][()]
    change(tmp_path / "my.nwb", spike_times_index=np.minimum(ends, number - 7))
    _, said = read(tmp_path / "my.nwb")
    assert any(
        line.endswith("7 spike times behind the last that spike_times_index names are left out.") for line in said
    )


def test_invalid_times_that_are_no_numbers(tmp_path):
    """Nobody need ask for them, so that they must not be passed over."""
    write(tmp_path / "my.nwb", raster())
    with h5py.File(tmp_path / "my.nwb", "a") as file:
        table = file.create_group("intervals/invalid_times")
        table["start_time"], table["stop_time"] = [0.2, 0.5], [0.3]
    with pytest.raises(InputError, match="my.nwb: intervals/invalid_times: expected a start_time and a stop_time in s"):
        read(tmp_path / "my.nwb")


def test_enumerated_labels_are_those_that_the_numbers_stand_for(tmp_path):
    write(tmp_path / "my.nwb", raster())
    expected, _ = read(tmp_path / "my.nwb")
    names = [b"I", b"E1", b"E2"]
    numbers = np.array([names.index(label.encode()) for label in LABELS], np.uint8)
    change(tmp_path / "my.nwb", population=numbers, population_elements=names)
    with h5py.File(tmp_path / "my.nwb", "a") as file:
        file["units/population"].attrs["elements"] = file["units/population_elements"].ref
    assert_same(expected, read(tmp_path / "my.nwb")[0])


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


# --- files as they come ---

ONE = Model([100], [300.0], [[1]], dt=DT, window_bins=A)


def session(path, add, **more):
    """Write a session to which `add` adds."""
    file = pynwb.NWBFile("a session", "id", datetime(2022, 6, 1, tzinfo=timezone.utc), **more)
    add(file)
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)


def test_gaps_of_one_unit_mask_it_and_those_of_all_cut(tmp_path):
    times = trains(raster(10))[:2]

    def add(file, first):
        file.add_unit(spike_times=times[0], obs_intervals=first)
        file.add_unit(spike_times=times[1], obs_intervals=[[0.8, 1.2], [0.0, 0.4]])

    session(tmp_path / "one.nwb", lambda file: add(file, [[0.0, 1.2]]))
    recording, said = read(tmp_path / "one.nwb", ONE)
    bins = np.arange(300)
    np.testing.assert_array_equal(recording.observed[0, 0, :, 1], (bins < 100) | (bins >= 200))
    assert recording.observed[0, 0, :, 0].all() and "66.7%" in said[2]
    session(tmp_path / "all.nwb", lambda file: add(file, [[0.0, 0.4], [0.8, 1.2]]))
    recording, said = read(tmp_path / "all.nwb", ONE)
    assert recording.lengths.tolist() == [90, 90] and recording.observed is None
    assert "No unit was observed from 0.4 to 0.8 s: cut there into 2 trials." in said


def test_broken_intervals_of_a_unit_are_its_own(tmp_path):
    times = trains(raster(11))[:3]
    watched = ([[0.0, 0.4], [0.6, 1.2]], [[np.nan, np.nan]], [[0.0, 1.0], [0.5, np.nan]])

    def add(file):
        for train, intervals in zip(times, watched, strict=True):
            file.add_unit(spike_times=train, obs_intervals=intervals)

    session(tmp_path / "my.nwb", add)
    recording, said = read(tmp_path / "my.nwb", ONE)
    assert recording.observed[0, 0].sum(axis=0).tolist() == [250, 300, 250]
    assert "obs_intervals without a start before an end, and ignored: of unit 1, 2." in said
    assert "No obs_intervals, and taken as observed throughout: unit 1." in said


def test_invalid_times_are_not_judged(tmp_path):
    def add(file):
        for train in trains(raster(12))[:2]:
            file.add_unit(spike_times=train, obs_intervals=[[0.0, 1.2]])
        file.add_invalid_time_interval(0.5, 0.9)
        for start, stop in ((0.1, 0.4), (0.6, 0.8), (0.3, 0.7)):
            file.add_trial(start, stop)

    session(tmp_path / "my.nwb", add)
    recording, said = read(tmp_path / "my.nwb", ONE, trials="trials")
    assert recording.lengths.tolist() == [75, 100]
    assert "In time that is invalid or was not observed, and left out: trial 2, 0.6 to 0.8 s." in said
    np.testing.assert_array_equal(recording.observed[1, 0, :, 0], np.arange(110) < 10 + 50)


def test_any_column_can_name_units_or_populations(tmp_path):
    def add(file):
        device = file.create_device("probe")
        groups = [file.create_electrode_group(name, "d", "l", device) for name in ("E", "I")]
        for k in range(2):
            file.add_electrode(location="l", group=groups[k])
        file.add_unit_column("unit_name", "by hand")
        for k, train in enumerate(trains(raster(13))[:4]):
            file.add_unit(
                spike_times=train,
                unit_name=f"n{k}",
                electrodes=[k % 2],
                electrode_group=groups[k % 2],
                waveform_mean=np.zeros(5),
            )

    session(tmp_path / "my.nwb", add)
    two = Model([100, 100], [300.0, 300.0], [[1, 1], [-1, -1]], dt=DT, window_bins=A, names=("E", "I"))
    by_group, _ = read(tmp_path / "my.nwb", two, population_column="electrode_group")
    assert by_group.observed_spikes.shape[-1] == 2
    by_number, _ = read(tmp_path / "my.nwb", two, population_column="electrodes")  # 0 and 1 stand for E and I
    assert_same(by_group, by_number)
    (tmp_path / "map.csv").write_text("unit,population\nn0,E\nn1,I\nn2,E\nn3,I\n")
    options = {"unit_map": str(tmp_path / "map.csv")}
    by_name, _ = read(tmp_path / "my.nwb", two, unit_column="unit_name", **options)
    assert by_name.unit_names.tolist() == [["n0", "n2"], ["n1", "n3"]]
    assert by_group.unit_names.tolist() == [["0", "2"], ["1", "3"]]
    assert_same(by_group, replace(by_name, unit_names=by_group.unit_names))
    with pytest.raises(InputError, match="not among them; but in column unit_name, see --unit_column unit_name"):
        read(tmp_path / "my.nwb", two, **options)
    with pytest.raises(InputError, match="expected units of the populations E, I, got probe_x|got n0, n1, n2, n3"):
        read(tmp_path / "my.nwb", two, population_column="unit_name")
    for option in ("population_column", "unit_column"):
        with pytest.raises(InputError, match=f"{option}: expected a column of names in the units of .*, got lists"):
            read(tmp_path / "my.nwb", two, **{option: "waveform_mean"})
        with pytest.raises(
            InputError, match=rf"{option}: expected a column of the units of .* \(electrode_group, elec"
        ):
            read(tmp_path / "my.nwb", two, **{option: "area"})


def test_units_that_lie_elsewhere(tmp_path):
    def add(file, names=("units",)):
        module = file.create_processing_module("ecephys", "d")
        for name in names:
            units = pynwb.misc.Units(name=name, description="d")
            for train in trains(raster(14))[:2]:
                units.add_unit(spike_times=train)
            module.add(units)

    session(tmp_path / "my.nwb", add)
    recording, said = read(tmp_path / "my.nwb", ONE)
    assert recording.observed_spikes.sum() > 0
    assert any("the units are taken from processing/ecephys/units" in line for line in said)
    session(tmp_path / "two.nwb", lambda file: add(file, ("mua", "sua")))
    with pytest.raises(
        InputError, match="expected one table of units with spike_times, got processing/ecephys/mua, pro"
    ):
        read(tmp_path / "two.nwb", ONE)


def test_tables_that_pynwb_cannot_build(tmp_path):
    path = tmp_path / "my.nwb"
    write(path, raster(15), intervals=[(0.1, 0.3)])
    expected, _ = read(path)
    with h5py.File(path, "a") as file:
        file["units"].attrs["colnames"] = ["spike_times", "spike_times_index", "gone"]
        del file["units/spike_times"].attrs["description"]
        file.attrs["nwb_version"] = "9.9"
    assert_same(expected, read(path)[0])
    with h5py.File(path, "a") as file:
        file["units/spike_times_index"][-1] = 10**4
    with pytest.raises(InputError, match="units: spike_times_index: expected rising numbers up to 300, got others"):
        read(path)
    with h5py.File(path, "a") as file:
        del file["units/spike_times_index"]
    with pytest.raises(InputError, match="units: expected spike_times_index, which says which of the 300 spike_times"):
        read(path)
    with h5py.File(path, "a") as file:
        del file["units/spike_times"]
        file["units/spike_times"] = ["a", "b"]
        file["units/spike_times_index"] = [1, 2]
    with pytest.raises(InputError, match="units: spike_times: expected numbers, got text or objects"):
        read(path)
    with h5py.File(path, "a") as file:
        del file["units"]
    with pytest.raises(InputError, match="expected a units table with spike_times, got none; the file holds "):
        read(path)


def test_a_late_begin_and_times_trial_by_trial(tmp_path):
    late = [1e5 + train for train in trains(raster(16))[:2]]
    session(tmp_path / "late.nwb", lambda file: [file.add_unit(spike_times=train) for train in late])
    recording, said = read(tmp_path / "late.nwb", ONE)
    assert recording.n_bins + A <= 300 and any("begin with its first spike, at 100000" in line for line in said)
    again = np.concatenate([train - 0.4 for train in trains(raster(17))])
    session(tmp_path / "again.nwb", lambda file: file.add_unit(spike_times=again))
    with pytest.raises(InputError, match="expected spike times of one clock, got times that start over 4 times"):
        read(tmp_path / "again.nwb", ONE)
