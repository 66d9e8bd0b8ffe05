"""What times count is asked where they can hardly be seconds; clocks that start over are refused; begins are found."""

import numpy as np
import pytest

from src.data.checked import checked
from src.data.odd_spikes import padding_of, without_odd_spikes
from src.data.spike_trains import SpikeTrains, Stretch
from src.data.time_axis import check_order, with_begin
from src.model.containers import Model
from src.utils.exceptions import InputError
from src.utils.files import save_arrays
from tests.recordings import read

MODEL = Model([100], [300.0], [[1]], dt=0.004, window_bins=40)


def poisson(seconds=30.0, rate=8.0, units=3, seed=0):
    rng = np.random.default_rng(seed)
    return [np.sort(rng.uniform(0, seconds, round(rate * seconds))) for _ in range(units)]


def trains(every, begin=None, end=None, names=("",)):
    stretches = tuple(
        Stretch(tuple(np.asarray(times, float) for times in each), begin, end, name) for each, name in every
    )
    return SpikeTrains("rec", tuple(f"u{i}" for i in range(len(stretches[0].times))), stretches)


def one(every, begin=None, end=None):
    return trains([(every, "")], begin, end)


# --- units of time ---


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (1e3, r"in ms it would be .* Hz over 30 s; say what they are by --ticks_per_second: 1000 for ms"),
        (1e6, r"in µs it would be .* Hz over 30 s"),
        (1 / 60, None),  # 480 Hz: nobody can tell
        (1 / 3600, r"in h it would be .* Hz over 30 s"),
    ],
)
def test_units_of_time_are_asked_about_by_rate_and_span(scale, words):
    scaled = one([scale * times for times in poisson()])
    if words is None:
        checked(scaled)
        return
    with pytest.raises(InputError, match=f"rec: expected spike times in s, got .*{words}"):
        checked(scaled)
    found = checked(scaled, ticks=scale)
    for came, times in zip(found.stretches[0].times, poisson(), strict=True):
        np.testing.assert_allclose(came, times, rtol=1e-12)


def test_samples_are_whole_numbers():
    samples = one([np.round(30000 * times) for times in poisson(seconds=3, rate=200)])
    with pytest.raises(InputError, match="whole numbers; .*the sampling rate for samples"):
        checked(samples)
    assert checked(samples, ticks=30000).stretches[0].times[0].max() < 3


def test_a_fast_unit_in_ms_looks_slow_but_for_its_refractory_time():
    rng = np.random.default_rng(1)
    fast = np.cumsum(2 + rng.exponential(4, 400))  # ms: 170 Hz
    with pytest.raises(InputError, match=r"never within 2\.\d+ s; in ms"):
        checked(one([fast]))
    checked(one([np.cumsum(rng.exponential(6, 400))]))  # a slow one in s


@pytest.mark.parametrize("rate", [0.2, 1, 50, 300])
def test_usual_rates_are_not_asked_about(rate):
    checked(one(poisson(seconds=60 if rate > 1 else 600, rate=rate)))


def test_intervals_and_ends_of_the_source_are_in_the_same_units():
    source = SpikeTrains(
        "rec", ("u0",), (Stretch((1e3 * poisson()[0],), 0.0, 30e3),), intervals={"go": np.array([[1e3, 2e3]])}
    )
    found = checked(source, ticks=1000)
    assert found.stretches[0].end == 30 and found.intervals["go"].tolist() == [[1.0, 2.0]]


# --- clocks that start over ---


def aligned(trials=20, rate=15, before=2.0, after=3.0, units=3, seed=2):
    rng = np.random.default_rng(seed)
    return [
        np.concatenate(
            [np.sort(rng.uniform(-before, after, rng.poisson(rate * (before + after)))) for _ in range(trials)]
        )
        for _ in range(units)
    ]


@pytest.mark.parametrize("options", [{}, {"before": 0.0}, {"rate": 1.0, "trials": 60}, {"trials": 2}, {"units": 1}])
def test_trials_one_after_another_are_refused(options):
    with pytest.raises(InputError, match=r"expected spike times of one clock, got times that start over \d+ times"):
        check_order(one(aligned(**options)))


def shuffled(times):
    return np.random.default_rng(3).permutation(times)


def late_block_first(times):
    return np.concatenate([times[len(times) // 2 :], times[: len(times) // 2]])


def swapped(times):
    out = times.copy()
    out[10], out[11] = times[11], times[10]
    return out


@pytest.mark.parametrize("order", [shuffled, late_block_first, swapped, np.flip])
def test_one_session_out_of_order_is_sorted(order):
    found = checked(one([order(times) for times in poisson()], begin=0.0))
    assert all((np.diff(times) > 0).all() for times in found.stretches[0].times)
    assert any("out of order, now sorted" in note for note in found.notes)


def test_two_merged_clusters_in_one_unit_of_many_are_sorted():
    every = poisson(units=5)
    every[0] = np.concatenate([np.sort(every[0][::2]), np.sort(every[0][1::2])])
    assert any("now sorted: of unit u0" in note for note in checked(one(every, begin=0.0)).notes)


# --- begins ---


def test_a_late_first_spike_is_where_a_recording_begins_that_does_not_say_it(tmp_path):
    for offset, begins in ((1e5, True), (60.0, True), (0.3, False), (4.0, False)):
        found = with_begin(one([offset + times for times in poisson()]), None)
        assert (found.stretches[0].begin > 0) == begins
        assert any("does not say when it begins" in note for note in found.notes) == begins
    (tmp_path / "late.csv").write_text("time,unit\n" + "".join(f"{1e5 + t},a\n" for t in poisson()[0]))
    recording, said = read(tmp_path / "late.csv", MODEL)
    assert recording.n_bins < 7500 and any("taken to begin with its first spike, at 100000" in line for line in said)


def test_a_trial_long_after_the_last_spike_is_asked_about(tmp_path):
    """A list of spikes does not say when it ends, and a table of trials may be of a longer session."""
    times, unit = np.concatenate(poisson()), np.repeat(["u0", "u1", "u2"], 240)
    (tmp_path / "go.csv").write_text("start,end\n1,4\n25,80\n29,30.2\n")
    words = "is taken to be silent from its last spike to the end of trial 2 (50 s); was it recorded so long?"
    for end, asked in (({}, True), ({"end": 90.0}, False)):
        save_arrays(tmp_path / "my.npz", spike_times=times, spike_unit=unit, **end)
        recording, said = read(tmp_path / "my.npz", MODEL, trials=str(tmp_path / "go.csv"))
        assert recording.lengths.tolist() == [750, 13750, 300]
        assert any(line.endswith(words) for line in said) == asked


def test_seconds_since_1970_are_told_apart(tmp_path):
    """Trials, one of them a little before the recording, are left out or used, with their times."""
    begin = 1.7e9
    times = [begin + each for each in poisson()]
    unit = np.repeat(["u0", "u1", "u2"], [len(each) for each in times])
    go = begin + np.array([[-1.0, 3.0], [4.0, 8.5], [28.5, 31.0]])
    save_arrays(
        tmp_path / "my.npz", spike_times=np.concatenate(times), spike_unit=unit, begin=begin, end=begin + 30, go=go
    )
    recording, said = read(tmp_path / "my.npz", MODEL, trials="go")
    assert recording.lengths.tolist() == [1125]
    within = "Not within the recording, from 1700000000 s to 1700000030 s, and left out: "
    assert f"{within}trial 1, 1699999999 to 1700000003 s." in said
    assert f"{within}trial 3, 1700000028.5 to 1700000031 s." in said


def test_sparse_recordings_begin_at_0():
    rng = np.random.default_rng(4)
    found = with_begin(one([40 + np.cumsum(rng.exponential(10, 50))]), None)  # 0.1 Hz: silence of 40 s says nothing
    assert found.stretches[0].begin == 0
    found = with_begin(one([12 + np.cumsum(rng.exponential(0.05, 50)), np.array([40.0, 400.0])]), None)
    assert found.stretches[0].begin == 0  # as long a pause comes later, too


def test_what_is_said_counts():
    late = [100 + times for times in poisson()]
    assert with_begin(one(late, begin=0.0), None).stretches[0].begin == 0
    assert with_begin(one(late), 90.0).stretches[0].begin == 90
    assert with_begin(one(late), None, earliest=98.0).stretches[0].begin == 98  # a trial begins there
    with pytest.raises(InputError, match="start_timepoint: expected at least 5 s, where rec begins, got 4"):
        with_begin(one(late, begin=5.0), 4.0)
    with pytest.raises(InputError, match="start_timepoint: expected less than 200 s, where rec ends, got 300"):
        with_begin(one(late, begin=5.0, end=200.0), 300.0)
    found = checked(one(late), start=110.0)
    assert min(times.min() for times in found.stretches[0].times) >= 110
    assert any("spikes before the begin of the recording are left out" in note for note in found.notes)


def test_times_about_an_event(tmp_path):
    with pytest.raises(InputError, match=r"expected spike times from 0 s on, .*; times about an event need the trial"):
        with_begin(one([times - 1 for times in poisson()]), None)
    assert with_begin(one([times - 1 for times in poisson()]), -1.0).stretches[0].begin == -1
    found = with_begin(trains([([times[:20] - 1 for times in poisson()], "1"), (poisson(seed=5), "2")]), None)
    first = min(times.min() for stretch in found.stretches for times in stretch.times)
    assert [stretch.begin for stretch in found.stretches] == [first, first] and first < 0
    rows = [f"{t - 1},a,{k}\n" for k in (1, 2) for t in poisson(seconds=4, seed=k)[0]]
    (tmp_path / "my.csv").write_text("time,unit,trial\n" + "".join(rows))
    recording, said = read(tmp_path / "my.csv", MODEL, start_timepoint=-1.0, end_timepoint=2.5)
    assert recording.n_trials == 2 and recording.n_bins + 40 == 875
    assert any(
        "every trial is taken to begin with its first spike" in line for line in read(tmp_path / "my.csv", MODEL)[1]
    )


def session(parts):
    """Spikes of one session, by the trial that `parts` say: names, and from where to where, in s."""
    every = poisson()
    return [([times[(times >= a) & (times < b)] for times in every], name) for name, a, b in parts]


@pytest.mark.parametrize(
    "parts",
    [
        [("1", 0, 15), ("2", 15, 30)],
        [(f"go{(7 * k) % 10}", 3 * k, 3 * k + 3) for k in range(10)],
        [(str(k), max(3 * k - 1, 0), 3 * k + 3) for k in range(10)],
        [("-1", 0, 30), *((str(k), 3 * k, 3 * k + 2.5) for k in range(10))],
    ],
    ids=["two", "in no order", "overlapping", "between trials"],
)
def test_times_that_go_on_from_trial_to_trial_are_refused(tmp_path, parts):
    """Read as counted from the begin of each, every trial would be the session, and nearly all of it silence."""
    every = session(parts)
    words = "trial: expected times counted from the begin of each trial, got times that go on from one trial to the"
    with pytest.raises(InputError, match=words):
        checked(trains(every))
    listed = [(t, f"u{i}", name) for each, name in every for i, times in enumerate(each) for t in times]
    time, unit, trial = (np.array(column) for column in zip(*listed, strict=True))
    save_arrays(tmp_path / "my.npz", spike_times=time, spike_unit=unit, spike_trial=trial)
    with pytest.raises(InputError, match=f"my.npz: {words}"):
        read(tmp_path / "my.npz", MODEL)
    begins = {name: a for name, a, _ in parts}
    checked(trains([([times - begins[name] for times in each], name) for each, name in every]))


def test_trials_with_early_or_late_bursts_are_trials():
    rng = np.random.default_rng(0)
    every = [([np.sort(rng.uniform(2 * (k % 2), 2 * (k % 2) + 1, 12)) for _ in range(3)], str(k)) for k in range(8)]
    assert len(checked(trains(every)).stretches) == 8


# --- entries that are no spikes ---


@pytest.mark.parametrize("value", [0.0, -1.0, 9999.0, np.nan, np.inf])
def test_padding_is_no_spike(value):
    times = poisson()[0]
    padded = one([np.append(times, np.full(100, value)), poisson(seed=6)[0]])
    found = without_odd_spikes(padded)
    np.testing.assert_array_equal(found.stretches[0].times[0], times)
    (note,) = found.notes
    assert "100 of 580 spikes (17.24%)" in note and "u0" in note and "u1" not in note


def test_a_unit_of_two_names_is_asked_about():
    first, second, _ = poisson()
    words = "The same spikes throughout: unit u0 and u2; is it one unit, of several names?"
    assert words in without_odd_spikes(one([first, second, first[::-1]])).notes
    assert not without_odd_spikes(one([first, second, first[1:]])).notes
    assert not without_odd_spikes(one([first, [], [], [1.0], [1.0]])).notes  # silence is no sign of it
    both = [([first, second, first], "1"), ([first, second, second], "2")]
    assert not without_odd_spikes(trains(both)).notes


def test_a_spike_at_0_is_one():
    times = np.append(0.0, poisson()[0])
    assert padding_of(times) is None and padding_of(np.append(times, times)) is None
    assert len(without_odd_spikes(one([times])).stretches[0].times[0]) == len(times)


@pytest.mark.parametrize("times", [2, 3])
def test_copies_are_called_so(times):
    every = [np.tile(each, times) for each in poisson()]
    found = checked(one(every, begin=0.0))
    assert [len(each) for each in found.stretches[0].times] == [240] * 3
    share = f"{720 * (times - 1)} of {720 * times} spikes"
    assert any(note.startswith("Copies") and share in note for note in found.notes)
    assert not any("out of order" in note for note in found.notes)
