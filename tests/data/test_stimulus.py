"""A known stimulus: the same from every format, in bins by its mean; and what is refused, in one line."""

from datetime import datetime, timezone

import numpy as np
import pytest

from src.data.options import DataOptions
from src.data.samples import Samples, in_bins, samples_of
from src.evaluation.candidates import candidates
from src.evaluation.folds import prepare, read_trains_once
from src.model.circuit import for_fit
from src.model.circuit_file import WINNER_TAKE_ALL, load_circuit
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from tests.recordings import DT, LENGTH, MODEL, TRIALS, A, raster, read, trains, write_binned, write_csv, write_listed

FINE = 0.001
T = round(LENGTH / DT) - A


def stimulus(columns=3, n=1200, seed=0):
    return np.random.default_rng(seed).normal(0, 20, (n, columns))


def by_hand(values, start=A * DT, bins=T):
    """The mean in each bin of samples of 1 ms that begin at 0 s."""
    first = round(start / FINE)
    return values[first : first + 4 * bins].reshape(bins, 4, -1).mean(axis=1).T


def write_stimulus_csv(path, values, header="time (s),E1,E2,I", begin=0.0, step=FINE):
    rows = [",".join(f"{x!r}" for x in (begin + step * k, *row)) for k, row in enumerate(values.tolist())]
    path.write_text("\n".join([header, *rows, ""]))


def assert_driven(recording, expected):
    np.testing.assert_allclose(recording.external_input, expected, rtol=1e-9, atol=1e-9)


def test_an_archive_of_its_own_or_with_the_spikes_or_a_csv_file_are_the_same(tmp_path):
    values = stimulus()
    more = {"stimulus": values, "stimulus_time": FINE * np.arange(len(values))}
    write_listed(tmp_path / "both.npz", raster(), **more)
    write_binned(tmp_path / "binned.npz", raster(), external_input=values)  # in the bins of the spikes
    write_listed(tmp_path / "my.npz", raster())
    np.savez(tmp_path / "s.npz", external_input=values, input_dt=FINE)
    write_stimulus_csv(tmp_path / "s.csv", values)
    for name, options in (
        ("both.npz", {"with_input": True}),
        ("both.npz", {"stimulus": "stimulus"}),
        ("binned.npz", {"with_input": True}),
        ("my.npz", {"stimulus": str(tmp_path / "s.npz")}),
        ("my.npz", {"stimulus": str(tmp_path / "s.csv")}),
    ):
        recording, said = read(tmp_path / name, **options)
        assert_driven(recording, by_hand(values)[None])
        assert any(line.startswith("Stimulus: ") and "1200 samples of 1 ms, to E1, E2, I" in line for line in said)


def test_a_stimulus_that_nobody_asks_for_is_not_used_and_said(tmp_path):
    write_listed(tmp_path / "my.npz", raster(), stimulus=stimulus(2), stimulus_dt=FINE)
    recording, said = read(tmp_path / "my.npz")
    assert not recording.external_input.any()
    assert any("my.npz: stimulus: not known to the fit, which takes it to be zero; see --with_input" in s for s in said)
    assert not any("--trials could name" in line and "stimulus" in line for line in said)  # (n, 2), but no intervals


def test_trials_get_the_part_that_was_shown_in_them(tmp_path):
    values = stimulus()
    write_listed(tmp_path / "my.npz", raster(), stimulus=values, stimulus_dt=FINE)
    recording, _ = read(tmp_path / "my.npz", with_input=True, trials="go")
    for b, (start, end) in enumerate(TRIALS):
        bins = int((end - start) / DT + 1e-6)
        assert_driven(
            recording.trials(slice(b, b + 1)), np.pad(by_hand(values, start, bins), [(0, 0), (0, 75 - bins)])[None]
        )


def test_times_that_count_from_the_begin_of_each_trial(tmp_path):
    rows = [f"{t!r},{u},{k},{label}" for k in ("a", "b") for u, label, t in (("1", "E1", 0.1), ("2", "I", 0.38))]
    (tmp_path / "my.csv").write_text("\n".join(["time,unit,trial,population", *rows, ""]))
    shown = {"b": stimulus(1, 400, 1), "a": stimulus(1, 400, 2)}
    lines = [f"{FINE * i!r},{x!r},{k}" for k, part in shown.items() for i, x in enumerate(part[:, 0].tolist())]
    (tmp_path / "s.csv").write_text("\n".join(["time,light,trial", *lines, ""]))
    options = {"stimulus": str(tmp_path / "s.csv"), "input_to": "E2"}
    recording, _ = read(tmp_path / "my.csv", **options)
    bins = recording.n_bins
    for b, k in enumerate("ab"):
        np.testing.assert_allclose(
            recording.external_input[b, 1], by_hand(shown[k], bins=bins)[0], rtol=1e-9, atol=1e-9
        )
    assert not recording.external_input[:, [0, 2]].any()
    (tmp_path / "s.csv").write_text("\n".join(["time,light", *[f"{FINE * i!r},{i % 7}" for i in range(400)], ""]))
    same, _ = read(tmp_path / "my.csv", **options)  # the same in every trial
    np.testing.assert_array_equal(*same.external_input)


@pytest.mark.parametrize(
    ("columns", "options", "reached"),
    [
        (["e2"], {}, [1]),
        (["I", "E1"], {}, [2, 0]),
        (["odour"], {}, [0, 0, 0]),
        (["odour"], {"input_to": "E1, I"}, [0, 0]),
        (["a", "b"], {"input_to": "I,E2"}, [2, 1]),
    ],
)
def test_which_population_gets_which_column(tmp_path, columns, options, reached):
    values = stimulus(len(columns))
    write_listed(tmp_path / "my.npz", raster())
    write_stimulus_csv(tmp_path / "s.csv", values, f"time,{','.join(columns)}")
    recording, said = read(tmp_path / "my.npz", stimulus=str(tmp_path / "s.csv"), **options)
    expected = np.zeros((3, T))
    if columns == ["odour"]:
        to = [0, 2] if options else [0, 1, 2]
        expected[to] = by_hand(values)
        assert bool(options) != any("one column, taken to reach all populations" in line for line in said)
    else:
        expected[reached] = by_hand(values)
    assert_driven(recording, expected[None])


def test_an_input_that_comes_later_is_that_of_earlier(tmp_path):
    values = stimulus()
    (tmp_path / "c.toml").write_text(
        WINNER_TAKE_ALL.read_text() + "\n[input_gain]\nbounds = [-3, 3]\nlag = { E2 = 0.0135, I = 0.02 }\n"
    )
    circuit = load_circuit(tmp_path / "c.toml")
    _, model = for_fit(circuit, FitSettings(a_cutoff=A * DT))
    write_listed(tmp_path / "my.npz", raster(), stimulus=values, stimulus_dt=FINE)
    recording, said = read(tmp_path / "my.npz", model, with_input=True)
    finer = np.repeat(values, 2, axis=0)
    for m, lag in enumerate((0, 27, 40)):  # in steps of 0.5 ms
        begin = round(2000 * A * DT) - lag
        expected = finer[begin : begin + 8 * T, m].reshape(T, 8).mean(axis=1)
        np.testing.assert_allclose(recording.external_input[0, m], expected, rtol=1e-8, atol=1e-8)
    assert any("0, 13.5, 20 ms later" in line for line in said)


def test_samples_hold_until_the_next_and_bins_take_their_mean():
    samples = samples_of("s", np.array([0.0, 0.1, 0.3, 0.35]), np.array([1.0, 5.0, 0.0, 2.0]))
    assert samples.edges[-1] == pytest.approx(0.45)  # the last one lasts as long as the median
    means, lost = in_bins(samples, -0.05, 6, 0.1)
    np.testing.assert_allclose(means, [0.5, 3.0, 5.0, 2.5, 2.0, 0.0], atol=1e-12)
    assert lost == pytest.approx(0.15)
    assert in_bins(Samples(np.array([0.0, 1.0]), np.ones((1, 1))), 0.0, 10, 0.1)[1] == 0


def test_a_little_that_is_missing_counts_as_zero_and_more_is_refused(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    values = np.ones((1200, 3))
    write_stimulus_csv(tmp_path / "s.csv", values[:1192])
    recording, said = read(tmp_path / "my.npz", stimulus=str(tmp_path / "s.csv"))
    assert not recording.external_input[..., -2:].any() and recording.external_input[..., :-2].all()
    assert any("s.csv: missing for 0.008 s, 0.69% of what is fitted; zero there." in line for line in said)
    write_stimulus_csv(tmp_path / "s.csv", values[:1000])
    with pytest.raises(InputError, match=r"what is fitted, 0.04 to 1.2 s, got 0 to 1 s: 17.2% is missing; see --end"):
        read(tmp_path / "my.npz", stimulus=str(tmp_path / "s.csv"))
    with pytest.raises(InputError, match=r"missing of trial 3 \(0.1 s\)"):
        read(tmp_path / "my.npz", stimulus=str(tmp_path / "s.csv"), trials="go")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("time,E1\n0,1\n0.1,nan\n0.2,2\n", {}, "s.csv, line 3: E1: expected a finite number, got 'nan'"),
        ("time,E1\n0,1\n0.1,x\n", {}, "s.csv, line 3: E1: expected a finite number, got 'x'"),
        ("time,E1\n0,1\n0.1,2,3\n", {}, "s.csv, line 3: expected 2 fields, got 3"),
        ("time,E1\n0,1\n2,1\n1,2\n", {}, "expected times that increase, got 1 s after 2 s"),
        ("time,E1\n0,1\n", {}, "expected two samples or more, got 1"),
        ("time,E1\n", {}, "expected two samples or more, got none"),
        ("", {}, "expected a header with time and one column or more, got an empty file"),
        ("x,E1\n0,1\n1,1\n", {}, "expected a header with time and one column or more, got 'x,E1'"),
        ("start,end,E1\n0,1,1\n1,2,1\n", {}, "expected a header with time and one column or more, got 'start,end,E1'"),
        ("time (foo),E1\n0,1\n1,1\n", {}, "time: expected times in s or ms, got 'foo'"),
        ("time,E1,E1\n0,1,1\n2,1,1\n", {}, "expected each column once, got 'E1' twice"),
        ("time,E1,e1\n0,1,1\n2,1,1\n", {}, "expected each column once, got 'E1' twice"),
        ("time,E1,odour\n0,1,1\n2,1,1\n", {}, "expected columns among E1, E2, I, got odour; say where it goes by"),
        ("time,a,b\n0,1,1\n2,1,1\n", {}, "expected columns among E1, E2, I, got a, b; say where it goes by"),
        (
            "time,a\n0,1\n2,1\n",
            {"input_to": "E3"},
            "input_to: expected populations among E1, E2, I, each once, got 'E3'",
        ),
        (
            "time,a,b\n0,1,1\n2,1,1\n",
            {"input_to": "E1"},
            "input_to: expected a population for each of 2 columns, got 1",
        ),
        ("time,a,trial\n0,1,x\n2,1,x\n", {}, "trial: expected times that count over the whole recording, got trial x"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, text, options, message):
    write_csv(tmp_path / "my.csv", raster())
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(InputError) as error:
        read(tmp_path / "my.csv", stimulus=str(tmp_path / "s.csv"), **options)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"stimulus": np.zeros((1200, 3))},
            "stimulus: expected stimulus_time (samples,) or stimulus_dt, in s, got neither",
        ),
        ({"stimulus": np.zeros((9, 3)), "stimulus_dt": -1.0}, "stimulus_dt: expected a positive number in s, got -1"),
        ({"stimulus": np.zeros((9, 3)), "stimulus_dt": [1.0, 2.0]}, "stimulus_dt: expected one finite number in s"),
        ({"stimulus": np.zeros((9, 3)), "stimulus_time": np.arange(8.0)}, "expected a time in s for each of 9 samples"),
        (
            {"stimulus": np.zeros((3, 3, 3)), "stimulus_dt": 1.0},
            "expected numbers (samples,) or (samples, columns), got",
        ),
        (
            {"stimulus": np.array(["a", "b"]), "stimulus_dt": 1.0},
            "expected numbers (samples,) or (samples, columns), got",
        ),
        ({"stimulus": np.float64(3.0), "stimulus_dt": 1.0}, "expected numbers (samples,) or (samples, columns), got"),
        (
            {"external_input": np.zeros((9, 2)), "input_dt": 1.0},
            "expected one column, or one for each of E1, E2, I, got 2",
        ),
        (
            {"stimulus": np.zeros((9, 2)), "stimulus_dt": 1.0, "stimulus_population": np.array(["E1"])},
            "stimulus_population: expected 2 names, got 1",
        ),
        (
            {"stimulus": np.zeros((3, 1200)), "stimulus_time": np.arange(1200.0)},
            "for each of 3 samples, got float64 of shape (1200,); transpose what is (columns, samples)",
        ),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, more, message):
    write_listed(tmp_path / "my.npz", raster(), **more)
    with pytest.raises(InputError) as error:
        read(tmp_path / "my.npz", with_input=True)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_single_number_beside_spikes_in_bins(tmp_path):
    write_binned(tmp_path / "my.npz", raster(), stimulus=1.0)
    with pytest.raises(InputError, match="expected stimulus_time .* or stimulus_dt, in s, got neither"):
        read(tmp_path / "my.npz", with_input=True)


def test_arrays_as_matlab_has_them(tmp_path):
    """Lists are columns or rows there."""
    values, time = stimulus(), FINE * np.arange(1200)
    names = np.array(["E1", "E2", "I"])
    for turned in (np.transpose, np.asarray):
        more = {"stimulus_time": turned(time[:, None]), "stimulus_population": turned(names[:, None])}
        write_listed(tmp_path / "my.npz", raster(), stimulus=values, **more)
        assert_driven(read(tmp_path / "my.npz", with_input=True)[0], by_hand(values)[None])
        more["stimulus_population"] = names[:1]
        write_listed(tmp_path / "my.npz", raster(), stimulus=turned(values[:, :1]), **more)
        recording, _ = read(tmp_path / "my.npz", with_input=True)
        assert_driven(recording, (by_hand(values) * [[1], [0], [0]])[None])


def test_a_stimulus_begins_with_a_recording_in_ms(tmp_path):
    values, times = stimulus(), [1000 * (train + 5) for train in trains(raster())]
    more = {"begin": 5000.0, "end": 6200.0, "spike_times": np.concatenate(times)}
    write_listed(tmp_path / "my.npz", raster(), **more, stimulus=values, stimulus_dt=FINE)
    for options in ({"with_input": True}, {"stimulus": "stimulus"}):
        recording, _ = read(tmp_path / "my.npz", ticks_per_second=1000.0, **options)
        assert_driven(recording, by_hand(values)[None])


@pytest.mark.parametrize("header", ["t,E1,E2,I", "Timestamp (s),E1,E2,I", "time_ms,E1,E2,I", "time,t,E2,I"])
def test_the_time_of_a_csv_file_under_other_names(tmp_path, header):
    values, step = stimulus(), 1.0 if "ms" in header else FINE
    write_csv(tmp_path / "my.csv", raster())
    write_stimulus_csv(tmp_path / "s.csv", values, header, step=step)
    told = {"input_to": "E1,E2,I"} if header.startswith("time,t") else {}  # there, t is a column like others
    recording, _ = read(tmp_path / "my.csv", stimulus=str(tmp_path / "s.csv"), end_timepoint=1.19, **told)
    np.testing.assert_allclose(recording.external_input[0], by_hand(values)[:, : recording.n_bins], rtol=0, atol=1e-8)


def test_a_stimulus_in_ms_is_asked_about(tmp_path):
    write_listed(tmp_path / "my.npz", raster(), stimulus=stimulus(), stimulus_time=np.arange(1200.0))
    _, said = read(tmp_path / "my.npz", with_input=True)
    assert any("it lasts 1200 s, and the recording 1.2 s; are its times in s?" in line for line in said)


def test_names_that_are_not_there(tmp_path):
    write_listed(tmp_path / "my.npz", raster())
    with pytest.raises(InputError, match=r"stimulus: expected a CSV file or a NumPy archive, got 'no.csv'"):
        read(tmp_path / "my.npz", stimulus="no.csv")
    with pytest.raises(InputError, match=r"input_to: expected a stimulus, see --stimulus, got none for 'E1'"):
        read(tmp_path / "my.npz", input_to="E1")
    np.savez(tmp_path / "s.npz", other=np.zeros(3))
    with pytest.raises(InputError, match=r"s.npz: expected the array stimulus or external_input, found none"):
        read(tmp_path / "my.npz", stimulus=str(tmp_path / "s.npz"))


def test_gains_need_an_input_that_changes(tmp_path):
    (tmp_path / "c.toml").write_text(WINNER_TAKE_ALL.read_text() + "\n[input_gain]\nbounds = [-3, 3]\n")
    _, model = for_fit(load_circuit(tmp_path / "c.toml"), FitSettings(a_cutoff=A * DT))
    write_listed(tmp_path / "my.npz", raster(), stimulus=stimulus(1), stimulus_dt=FINE)
    with pytest.raises(InputError, match="input_gain E1: expected a stimulus to be weighed, got none; see --stimulus"):
        read(tmp_path / "my.npz", model)
    _, said = read(tmp_path / "my.npz", model, with_input=True, input_to="E1,I")
    assert "The stimulus of E2 never changes, so that nothing tells the gain." in said
    assert any("in units that input gains weigh" in line for line in said)


# --- NWB ---


@pytest.fixture
def nwb(tmp_path):
    """A session with a series as stimulus, one in a container of a processing module, and two of one name."""
    pynwb = pytest.importorskip("pynwb")
    from pynwb.behavior import BehavioralTimeSeries

    file = pynwb.NWBFile("a session", "id", datetime(2022, 6, 1, tzinfo=timezone.utc))
    file.add_unit_column("population", "of the unit")
    for train, label in zip(trains(raster()), ("E2", "E1", "E2", "I", "E1"), strict=True):
        file.add_unit(spike_times=train, population=label, obs_intervals=np.array([[0.0, LENGTH]]))
    values = stimulus()
    series = pynwb.TimeSeries(name="grating", data=values, unit="V", rate=1000.0, starting_time=0.0, conversion=0.5)
    file.add_stimulus(series)
    time = FINE * np.arange(1200)
    wheel = BehavioralTimeSeries(name="running")
    wheel.add_timeseries(pynwb.TimeSeries(name="speed", data=values[:, 0], unit="m/s", timestamps=time))
    file.create_processing_module("behavior", "what it did").add(wheel)
    for name, data in (("words", np.array(["a"] * 1200)), ("speed", values[:, 1])):
        file.add_acquisition(pynwb.TimeSeries(name=name, data=data, unit="-", timestamps=time))
    with pynwb.NWBHDF5IO(str(tmp_path / "my.nwb"), "w") as io:
        io.write(file)
    return tmp_path / "my.nwb", values


def test_a_series_of_an_nwb_file_by_its_name_or_its_path(nwb):
    path, values = nwb
    assert_driven(read(path, stimulus="grating")[0], by_hand(values / 2)[None])
    for name, column in (("processing/behavior/running/speed", 0), ("acquisition/speed", 1)):
        recording, said = read(path, stimulus=name, input_to="I")
        np.testing.assert_allclose(recording.external_input[0, 2], by_hand(values)[column], rtol=1e-9, atol=1e-9)
        assert any(f"my.nwb: {name}, 1200 samples of 1 ms, to I" in line for line in said)


def test_marks_of_intervals_are_on_and_off(tmp_path, nwb):
    """NWB marks where they end by -1, which is no stimulus of that strength."""
    import pynwb

    path, _ = nwb
    with pynwb.NWBHDF5IO(str(path), "a") as io:
        file = io.read()
        marks = np.array([1, -1, 1, -1], np.int8)
        file.add_stimulus(pynwb.misc.IntervalSeries(name="light", data=marks, timestamps=[0.0, 0.5, 0.7, 1.2]))
        io.write(file)
    recording, _ = read(path, stimulus="light", input_to="I")
    np.testing.assert_allclose(recording.external_input[0, 2], [1.0] * 115 + [0.0] * 50 + [1.0] * 125, atol=1e-9)


def test_series_of_an_nwb_file_that_are_not_there_or_no_numbers(nwb):
    path, _ = nwb
    there = r"acquisition/speed, acquisition/words, processing/behavior/running/speed, stimulus/grating"
    with pytest.raises(InputError, match=rf"a TimeSeries of .*my.nwb \(there: {there}\), got 'bar'"):
        read(path, stimulus="bar")
    with pytest.raises(InputError, match=r"expected one series of .*my.nwb, got 'speed' for acquisition/speed, proc"):
        read(path, stimulus="speed")
    with pytest.raises(InputError, match=r"acquisition/words: expected numbers"):
        read(path, stimulus="words")
    assert any(f"series that --stimulus can name: {there}" in line for line in read(path, with_input=True)[1])


def test_a_series_without_a_rate(nwb):
    h5py = pytest.importorskip("h5py")
    with h5py.File(nwb[0], "a") as file:
        del file["stimulus/presentation/grating/starting_time"].attrs["rate"]
    with pytest.raises(
        InputError, match="stimulus/grating: expected numbers with times or a rate, but its rate is miss"
    ):
        read(nwb[0], stimulus="grating")


def test_the_model_of_these_tests_has_no_gains():
    assert not MODEL.has_gains


def test_circuits_with_other_lags_can_be_compared_on_one_stimulus(tmp_path):
    values = stimulus()
    write_listed(tmp_path / "my.npz", raster(), stimulus=values, stimulus_dt=FINE)
    for name, lag in (("early", 0.0), ("late", 0.012)):
        text = f"{WINNER_TAKE_ALL.read_text()}\n[input_gain]\nbounds = [-3, 3]\nlag = {lag}\n"
        (tmp_path / f"{name}.toml").write_text(text)
    found = candidates([str(tmp_path / f"{name}.toml") for name in ("early", "late")])
    options = DataOptions(data=str(tmp_path / "my.npz"), with_input=True, trials="go")
    trains, options = read_trains_once(options, found[0])
    (early, late), said = prepare(found, trains, options, FitSettings(a_cutoff=A * DT), 3)
    assert any(line.startswith("Stimulus: ") for line in said)
    came, expected = late.recording.external_input[1, :, 3:75], early.recording.external_input[1, :, :72]
    np.testing.assert_allclose(came, expected, atol=1e-9)
