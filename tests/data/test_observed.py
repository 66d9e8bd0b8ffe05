"""When each unit was watched: intervals, bins, gaps that cut a recording, and what is said of them."""

import numpy as np
import pytest

from src.data.observed import both, inside, minus, observed_bins, segments, union, watched_by_all
from src.data.options import SourceOptions
from src.data.read import read_units
from src.data.spike_trains import Stretch
from src.grouping.group import used_part
from src.model.containers import Model, age_known
from src.utils.exceptions import InputError
from src.utils.files import save_arrays
from tests.recordings import read

MODEL = Model([100], [300.0], [[1]], dt=0.004, window_bins=40)
SECONDS = 30.0
GRID = np.arange(0, SECONDS, 0.001) + 0.0005


def intervals(*pairs):
    return np.array(pairs, float).reshape(-1, 2)


def some(rng):
    starts = rng.uniform(0, SECONDS, rng.integers(0, 8))
    return union(np.stack([starts, starts + rng.uniform(0, 4, len(starts))], axis=-1))


@pytest.mark.parametrize("seed", range(10))
def test_sets_of_intervals_against_a_fine_grid(seed):
    rng = np.random.default_rng(seed)
    a, b = some(rng), some(rng)
    np.testing.assert_array_equal(inside(GRID, minus(a, b)), inside(GRID, a) & ~inside(GRID, b))
    np.testing.assert_array_equal(inside(GRID, both(a, b)), inside(GRID, a) & inside(GRID, b))
    np.testing.assert_array_equal(inside(GRID, union(np.concatenate([b, a]))), inside(GRID, a) | inside(GRID, b))
    assert (np.diff(minus(a, b)) > 0).all()


def test_the_artefacts_of_twenty_thousand_pulses_are_taken_from_what_was_watched():
    """As those of light: each with each, they would be minutes for every unit."""
    pulses = 0.1 * np.arange(20_000)[:, None] + [0.02, 0.03]
    left = minus(intervals((-np.inf, np.inf)), pulses)
    assert len(left) == 20_001
    np.testing.assert_array_equal(left[:2], [[-np.inf, 0.02], [0.03, pulses[1, 0]]])
    np.testing.assert_array_equal(left[-1], [pulses[-1, 1], np.inf])
    assert not both(left, pulses).size
    odd = np.concatenate([pulses[::-1], pulses[:9], [[7.5, 7.5], [9, 8]]])  # of no length, and reversed
    np.testing.assert_array_equal(union(odd), pulses)


def test_only_bins_that_were_watched_throughout_count():
    came = observed_bins(intervals((-np.inf, 0.1), (0.2, 0.301), (0.3989, np.inf)), -0.05, 0.05, 12)
    assert came.tolist() == [True, True, True, False, False, True, True, False, False, True, True, True]
    assert not observed_bins(intervals((0.01, 0.04)), 0, 0.05, 3).any()
    touching = union(intervals((0, 0.1), (0.1, 0.3)))
    assert observed_bins(touching, 0.075, 0.05, 3).tolist() == [True] * 3


def test_gaps_of_all_units_cut_a_stretch():
    times = (np.empty(0), np.empty(0))
    watched = (intervals((0, 10), (12, 30)), intervals((0, 11), (20, 30)))
    stretch = Stretch(times, 0.0, 30.0, observed=watched)
    assert segments(stretch, 0.5).tolist() == [[0, 11], [12, 30]]
    assert segments(stretch, 1.0).tolist() == [[0, 30]]
    assert watched_by_all(stretch, 25.0).tolist() == [[0, 10], [20, 25]]
    assert segments(Stretch(times, 0.0, None), 1.0).tolist() == [[0, np.inf]]


def poisson(units=2, seed=0):
    rng = np.random.default_rng(seed)
    return [np.sort(rng.uniform(0, SECONDS, 240)) for _ in range(units)]


def write(path, **more):
    times = poisson()
    save_arrays(
        path,
        spike_times=np.concatenate(times),
        spike_unit=np.repeat(["a", "b"], [len(train) for train in times]),
        unit=np.array(["a", "b"]),
        end=SECONDS,
        **more,
    )
    return path


def test_a_mask_per_unit_and_bin(tmp_path):
    write(tmp_path / "my.npz")
    (tmp_path / "watched.csv").write_text("unit,start,end\nb,0,10\nb,20.001,30\n")
    recording, said = read(tmp_path / "my.npz", MODEL, observed=str(tmp_path / "watched.csv"))
    bins = np.arange(7500)
    assert recording.observed[0, 0, :, 0].all()
    np.testing.assert_array_equal(recording.observed[0, 0, :, 1], (bins < 2500) | (bins > 5000))
    assert not recording.observed_spikes[~recording.observed].any()
    whole, _ = read(tmp_path / "my.npz", MODEL)
    assert whole.observed is None and whole.scored is None
    np.testing.assert_array_equal(recording.observed_spikes, whole.observed_spikes * recording.observed)
    known = age_known(recording.observed_spikes, recording.observed, 40)
    np.testing.assert_array_equal(recording.scored, (recording.observed & known)[:, :, 40:])
    lost = int(((poisson()[1] >= 10) & (poisson()[1] < 20.001)).sum())
    assert any(f"not observed, and left out: {lost} of 480 spikes" in line for line in said)
    assert [line.split()[-1] for line in said[2].splitlines()] == ["observed", "100.0%", "66.7%"]
    rates = [float(line.split()[4]) for line in said[2].splitlines()[1:]]
    assert rates[1] == pytest.approx((240 - lost) / (7499 * 0.004 - 10), abs=0.02)
    overall = recording.observed_spikes.sum() / (recording.observed.sum() * 0.004)
    assert overall > 7.9 and f"at {overall:.1f} Hz" in said[0]


def test_gaps_of_all_are_no_silence(tmp_path):
    write(tmp_path / "my.npz", invalid_times=np.array([[10.0, 20.0], [np.nan, 25.0], [25.0, 24.0]]))
    recording, said = read(tmp_path / "my.npz", MODEL)
    assert recording.lengths.tolist() == [2460, 2460] and recording.observed is None
    assert "Invalid, and not judged: 10 s in 1 interval." in said
    assert "Invalid times without a start before an end, and ignored: 2 of 3." in said
    assert "No unit was observed from 10 to 20 s: cut there into 2 trials." in said
    cut, _ = read(tmp_path / "my.npz", MODEL, trial_length=4.0)
    assert cut.n_trials == 4 and cut.n_bins == 1000
    short, said = read(write(tmp_path / "short.npz", invalid_times=np.array([[10.0, 10.1]])), MODEL)
    assert short.n_trials == 1 and (~short.observed[0, 0, :, 0]).sum() == 25  # shorter than the window: masked


def test_trials_in_invalid_time_are_left_out_and_others_masked(tmp_path):
    go = np.array([[1.0, 4.0], [12.0, 18.0], [8.0, 12.0], [19.0, 24.0]])
    write(tmp_path / "my.npz", invalid_times=np.array([[10.0, 20.0]]), go=go)
    recording, said = read(tmp_path / "my.npz", MODEL, trials="go")
    assert recording.lengths.tolist() == [750, 1000, 960]  # the last begins a window after the gap
    assert "In time that is invalid or was not observed, and left out: trial 2, 12 to 18 s." in said
    assert recording.observed[1, 0, : 40 + 500].all() and not recording.observed[1, 0, 40 + 500 :].any()
    assert recording.observed[0].all() and recording.observed[2].all()
    (tmp_path / "bad.csv").write_text("start;end\n10;20\n")
    write(tmp_path / "other.npz", go=go)
    other, _ = read(tmp_path / "other.npz", MODEL, trials="go", invalid_times=str(tmp_path / "bad.csv"))
    np.testing.assert_array_equal(other.observed, recording.observed)


def test_units_are_found_though_a_spreadsheet_changed_their_names(tmp_path):
    write(tmp_path / "my.npz")
    (tmp_path / "watched.csv").write_text("unit,start,end\nB,10,30\n")
    recording, said = read(tmp_path / "my.npz", MODEL, observed=str(tmp_path / "watched.csv"))
    assert recording.observed[0, 0].mean(axis=0).tolist() == [1, pytest.approx(2 / 3, abs=1e-3)]
    assert any("observed: units taken as those of" in line and line.endswith(": B for b.") for line in said)


def test_a_unit_of_which_no_row_can_be_used_is_named(tmp_path):
    """A row without an end may say that it was watched until the end, or that nobody knows."""
    write(tmp_path / "my.npz")
    (tmp_path / "watched.csv").write_text("unit,start,end\na,5,20\nb,10,\n")
    recording, said = read(tmp_path / "my.npz", MODEL, observed=str(tmp_path / "watched.csv"))
    assert recording.observed[0, 0, :, 1].all()
    assert any("no interval that can be used, and taken as observed throughout: unit b." in line for line in said)


def write_trials(path, **more):
    """Three trials of the same 10 s, each with times from its begin."""
    every = [times[times < 10] for k in range(3) for times in poisson(seed=k)]
    number = [len(times) for times in every]
    save_arrays(
        path,
        spike_times=np.concatenate(every),
        spike_unit=np.repeat(["a", "b"] * 3, number),
        spike_trial=np.repeat([1, 1, 2, 2, 3, 3], number),
        end=10.0,
        **more,
    )


def test_invalid_times_of_one_trial_are_of_no_other(tmp_path):
    write_trials(tmp_path / "my.npz")
    (tmp_path / "bad.csv").write_text("trial,start,end\n2,6,8\n3,7.5,12\n")
    recording, said = read(tmp_path / "my.npz", MODEL, invalid_times=str(tmp_path / "bad.csv"))
    assert recording.lengths.tolist() == [2460, 1460, 460, 1835]
    assert "Invalid, and not judged: 4.5 s in 2 intervals, over 3 trials." in said
    (tmp_path / "bad.csv").write_text("trial,start,end\n4,6,8\n")
    with pytest.raises(InputError, match=r"bad.csv: trial: expected trials of .* \(1, 2, 3\), got 4"):
        read(tmp_path / "my.npz", MODEL, invalid_times=str(tmp_path / "bad.csv"))
    (tmp_path / "bad.csv").write_text("start,end\n6,10\n")
    recording, said = read(tmp_path / "my.npz", MODEL, invalid_times=str(tmp_path / "bad.csv"))
    assert recording.lengths.tolist() == [1460] * 3
    assert "Invalid, and not judged: 12 s in 3 intervals, over 3 trials." in said


def test_a_table_that_does_not_say_of_which_trial_it_is(tmp_path):
    """Its intervals were all taken from the first trial."""
    write_trials(tmp_path / "my.npz", go=np.array([[1.0, 4.0], [5.0, 9.0]]))
    words = "go: expected a column trial, because the times of .* count from trials' begins; give a CSV file"
    with pytest.raises(InputError, match=words):
        read(tmp_path / "my.npz", MODEL, trials="go")


def test_invalid_times_count_as_far_as_they_were_recorded(tmp_path):
    write(tmp_path / "my.npz", invalid_times=np.array([[-5.0, 1.0], [28.0, 99.0]]))
    assert "Invalid, and not judged: 3 s in 2 intervals." in read(tmp_path / "my.npz", MODEL)[1]
    write(tmp_path / "my.npz", invalid_times=np.array([[1000.0, 3000.0]]))  # in ms
    recording, said = read(tmp_path / "my.npz", MODEL)
    assert recording.observed is None
    assert "Invalid times, 1000 to 3000 s, are all outside of the recording." in said


def test_units_that_were_never_watched_are_left_out(tmp_path):
    write(tmp_path / "my.npz", go=np.array([[1.0, 4.0]]))
    (tmp_path / "watched.csv").write_text("unit,start,end\nb,10,30\nx,0,1\n")
    recording, said = read(tmp_path / "my.npz", MODEL, trials="go", observed=str(tmp_path / "watched.csv"))
    assert recording.observed_spikes.shape[-1] == 1
    assert "Never observed in what is fitted, and left out: unit b." in said
    assert any("Observed, but not in" in line and line.endswith("ignored: unit x.") for line in said)
    (tmp_path / "none.csv").write_text("unit,start,end\nx,0,1\n")
    with pytest.raises(InputError, match=r"observed: expected units of .* \(a, b\), got x"):
        read(tmp_path / "my.npz", MODEL, observed=str(tmp_path / "none.csv"))


def test_grouping_sees_only_time_in_which_all_units_were_watched(tmp_path):
    write(tmp_path / "my.npz", go=np.array([[1.0, 8.0], [7.0, 22.0]]))
    (tmp_path / "watched.csv").write_text("unit,start,end\nb,0,10\nb,20,30\n")
    options = SourceOptions(observed=str(tmp_path / "watched.csv"))
    read_trains, _ = read_units(str(tmp_path / "my.npz"), 3, options)
    used, notes = used_part(read_trains, None)
    assert [(stretch.begin, stretch.end) for stretch in used.stretches] == [(0, 10), (20, 30)]
    assert "All units were observed together in 20 of 30 s, and nothing else is used." in notes
    used, _ = used_part(read_trains, None, "go")
    assert [(stretch.begin, stretch.end) for stretch in used.stretches] == [(1, 10), (20, 22)]
    with pytest.raises(InputError, match="trials: expected a CSV file, or a table of intervals"):
        used_part(read_trains, None, "gone")


def test_spikes_in_bins_that_were_watched_in_part_are_left_out(tmp_path):
    times = np.append(poisson()[0], 20.002)
    save_arrays(tmp_path / "my.npz", spike_times=np.sort(times), spike_unit=np.zeros(len(times), int), end=SECONDS)
    (tmp_path / "watched.csv").write_text("unit,start,end\n0,0,19.95\n0,20.001,30\n")
    recording, said = read(tmp_path / "my.npz", MODEL, observed=str(tmp_path / "watched.csv"))
    assert not recording.observed[0, 0, 5000, 0] and not recording.observed_spikes[0, 0, 5000, 0]
    assert "1 spikes in bins that were not wholly observed are left out." in said
