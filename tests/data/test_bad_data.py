"""Recordings that cannot be used are refused in one line that says what is wrong; random ones never end otherwise."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import train_meso
from src.utils.exceptions import InputError
from src.utils.files import save_arrays
from src.utils.settings import run_script
from tests.recordings import LABELS, raster, read, write_binned, write_csv, write_listed
from tests.test_bad_input import Opens

HEAD = "time,unit,population\n"
GOOD = HEAD + "0.01,a,E1\n0.1,a,E1\n0.15,b,I\n"


def text(folder, content, name="my.csv"):
    """Write text or bytes, and return the options that read it."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return {"data": name}


def listed(folder, **more):
    write_listed(folder / "my.npz", raster(), **more)
    return {"data": "my.npz"}


def binned(folder, **more):
    write_binned(folder / "my.npz", raster(), **more)
    return {"data": "my.npz"}


def intervals(folder, content, make=listed, **more):
    return {**make(folder, **more), "trials": text(folder, content, "go.csv")["data"]}


def mapped(folder, content, make=listed):
    return {**make(folder, population=None), "unit_map": text(folder, content, "map.csv")["data"]}


def spikes(**content):
    """Save an archive of few spikes."""

    def make(folder):
        usual = {
            "spike_times": np.array([0.01, 0.1]),
            "spike_unit": np.array([0, 1]),
            "population": np.array(["I", "I"]),
        }
        save_arrays(folder / "my.npz", **{key: v for key, v in {**usual, **content}.items() if v is not None})
        return {"data": "my.npz"}

    return make


BAD = [
    # CSV of spikes
    (lambda f: {"data": "missing.csv"}, "missing.csv: cannot be read (No such file or directory), looked for in "),
    (lambda f: text(f, ""), "my.csv: expected a header with time, unit, got an empty file"),
    (lambda f: text(f, "\n\n , \n"), "my.csv: expected a header with time, unit, got an empty file"),
    (lambda f: text(f, "0.1,3\n0.2,4\n"), "my.csv: expected a header with time, unit, got '0.1,3'"),
    (lambda f: text(f, "time,brain\n0.1,3\n"), "my.csv: expected a header with time, unit, got 'time,brain'"),
    (
        lambda f: text(f, "time,cell,cluster\n0.1,3,1\n"),
        "my.csv: expected a column unit, got several that may be it: cell, cluster",
    ),
    (lambda f: text(f, "time,unit,time\n0.1,3,1\n"), "my.csv: expected one column time, got 2"),
    (
        lambda f: text(f, "time (ticks),unit\n100,3\n"),
        "my.csv: time: expected times in s or ms, got 'ticks'; see --tic",
    ),
    (lambda f: text(f, HEAD + "0.2,b\n"), "my.csv, line 2: expected 3 fields, got 2"),
    (lambda f: text(f, HEAD + "0.2,b,I,x\n"), "my.csv, line 2: expected 3 fields, got 4"),
    (lambda f: text(f, HEAD + "soon,b,I\n"), "my.csv, line 2: time: expected a finite number in s, got 'soon'"),
    (lambda f: text(f, HEAD + "nan,b,I\n"), "my.csv, line 2: time: expected a finite number in s, got 'nan'"),
    (lambda f: text(f, HEAD + "\ninf,b,I\n"), "my.csv, line 3: time: expected a finite number in s, got 'inf'"),
    (lambda f: text(f, HEAD + ",b,I\n"), "my.csv, line 2: time: expected a finite number in s, got ''"),
    (
        lambda f: text(f, HEAD + "0,2,b,I\n0,31,b,I\n"),
        "my.csv, line 2: expected 3 fields, got 4; decimal commas between commas cannot be told apart",
    ),
    (
        lambda f: text(f, HEAD + "0.2;b;I\n"),
        "my.csv, line 2: expected 3 fields, got 1; the header is separated by commas",
    ),
    (
        lambda f: text(f, "time;unit\n0,2;b\n0.3;b\n"),
        "my.csv: time: expected one mark for decimals, got '0,2' and '0.3'",
    ),
    (
        lambda f: text(f, "time;unit\n1.000,2;b\n"),
        "my.csv: time: expected numbers without marks between thousands, got",
    ),
    (
        lambda f: text(f, GOOD + "-0.2,b,I\n"),
        "my.csv: unit b: expected spike times from 0 s on, where the recording begins, got",
    ),
    (lambda f: text(f, HEAD + "0.2,,I\n"), "my.csv, line 2: unit: expected a name, got nothing"),
    (lambda f: text(f, GOOD + "0.2,b,E1\n"), "my.csv, line 5: population: expected 'I' for unit b as before, got 'E1'"),
    (lambda f: text(f, HEAD), "my.csv: expected spikes, found none"),
    (lambda f: text(f, b"\xff\xfe\x00time"), "my.csv: expected text, got what begins like UTF-16 and is not"),
    (lambda f: text(f, b"time\x01\xff\x02"), "my.csv: expected text in UTF-8 or UTF-16, got a binary file"),
    (lambda f: text(f, b"\x01\x00\x00\x02\x05\x06\x07"), "my.csv: expected text, got a binary file of a kind"),
    (
        lambda f: text(f, GOOD + '0.2,"b,I\n'),
        "my.csv, line 5: expected comma-separated values, but its quotes do not match",
    ),
    (
        lambda f: text(f, HEAD + "0.1," + 200000 * "b" + ",I\n"),
        "my.csv, line 2: expected comma-separated values, but a field is very long",
    ),
    (lambda f: text(f, "trial,time,unit\n,0.1,a\n,0.2,b\n"), "my.csv, line 2: trial: expected a name, got nothing"),
    (
        lambda f: text(f, "trial,time,unit\n1,0.1,a\n2,5.1,a\n3,9.1,b\n"),
        "my.csv: trial: expected times counted from the begin of each trial, got times that go on from one trial",
    ),
    (
        lambda f: text(f, "time,unit\n0.1,a\n"),
        "my.csv: expected to know which population each unit is of: give a column",
    ),
    (
        lambda f: text(f, HEAD + "0.2,a,E3\n0.1,b,\n"),
        "my.csv: expected units of the populations E1, E2, I, got E3 for all 2",
    ),
    (
        lambda f: text(f, HEAD + "0.2,a,\n0.1,b,\n"),
        "my.csv: expected units of the populations E1, E2, I, got no label for all",
    ),
    (
        lambda f: text(f, HEAD + "0.01,a,E1\n"),
        "my.csv: expected at least one trial of 0.04 s, the history window, and 2 bins",
    ),
    (
        lambda f: {**text(f, GOOD), "population_column": "type"},
        "--population_column: expected a column of my.csv, got 'type'",
    ),
    (
        lambda f: text(f, HEAD + "1e7,a,E1\n1e9,b,I\n"),
        "my.csv: expected what fits into memory, got 1 trials of up to 1e+09 s",
    ),
    (
        lambda f: text(f, HEAD + "1e308,b,I\n"),
        "my.csv: expected what fits into memory, got 1 trials of up to 4e+12 s and",
    ),
    # NumPy archives
    (
        spikes(spike_unit=None),
        "my.npz: expected the arrays spike_times and spike_unit, or spikes (bins, units) and dt; found",
    ),
    (
        spikes(spike_times=np.array([0.1, -0.1])),
        "my.npz: unit 1: expected spike times from 0 s on, where the recording begins",
    ),
    (
        spikes(spike_times=np.array(["a", "b"])),
        "my.npz: spike_times: expected a list of numbers in s, got <U1 of shape (2,)",
    ),
    (
        spikes(spike_times=np.ones((2, 2))),
        "my.npz: spike_times: expected a list of numbers in s, got float64 of shape (2, 2)",
    ),
    (spikes(spike_unit=np.array([0])), "my.npz: spike_unit: expected 2 entries, one a spike, got 1"),
    (
        spikes(spike_unit=np.array([0.5, 1])),
        "my.npz: spike_unit: expected a list of names or whole numbers, got float64",
    ),
    (spikes(spike_unit=np.array(["", "a"])), "my.npz: spike_unit: expected names, got an empty one"),
    (spikes(unit=np.array([0, 2])), "my.npz: spike_unit: expected names that stand in unit, got 1"),
    (spikes(unit=np.array([0, 1, 1])), "my.npz: population: expected 3 labels, one a unit, got 2"),
    (
        lambda f: listed(f, unit=np.array([3, 7, 8, 10, 21, 21]), population=None),
        "my.npz: units: expected every name once, got 21 more",
    ),
    (spikes(population=np.array(["I"])), "my.npz: population: expected 2 labels, one a unit, got 1"),
    (spikes(spike_trial=np.array([0])), "my.npz: spike_trial: expected 2 entries, one a spike, got 1"),
    (spikes(end=np.nan), "my.npz: end: expected one finite number in s, got nan"),
    (spikes(end=-1.0), "my.npz: expected an end after the begin, got 0 to -1 s"),
    (spikes(begin=0.05), "my.npz: unit 0: expected spike times from 0.05 s on, where the recording begins, got 0.01 s"),
    (
        spikes(spike_times=np.empty(0), spike_unit=np.empty(0, int), population=None),
        "my.npz: expected spikes, found none",
    ),
    (
        lambda f: text(f, b"PK\x03\x04rest", "my.npz"),
        "my.npz: expected a whole NumPy archive of plain arrays, but it is damaged, or its copy broke off",
    ),
    (
        lambda f: text(f, "words", "my.npz"),
        "my.npz: expected a NumPy archive or a pickled dictionary of arrays, got neither",
    ),
    (lambda f: binned(f, dt=0.0), "my.npz: dt: expected one positive bin width in s, got 0.0"),
    (lambda f: binned(f, dt=np.ones(2)), "my.npz: dt: expected one finite number in s, got [1.0, 1.0]"),
    (lambda f: binned(f, dt=0.003), "--dt: expected a multiple of the bins of my.npz, 0.003 s, got 0.004"),
    (lambda f: binned(f, dt=0.008), "--dt: expected a multiple of the bins of my.npz, 0.008 s, got 0.004"),
    (
        lambda f: binned(f, spikes=2 * raster()),
        "my.npz: spikes: expected 0 and 1; give spike_times where a bin holds more",
    ),
    (lambda f: binned(f, spikes=raster()[None]), "my.npz: spikes: expected (bins, units), got shape (1, 1200, 5)"),
    (lambda f: binned(f, unit=np.array(["a"])), "my.npz: unit: expected 5 names, one a column of spikes, got 1"),
    (lambda f: binned(f, spikes=0 * raster()), "my.npz: expected spikes, found none in 5 units"),
    (
        lambda f: text(f, pickle.dumps({"spike_times": Opens()}), "my.npz"),
        "my.npz: expected a pickled dictionary of NumPy arrays, but it asks for ",
    ),
    # trials
    (
        lambda f: {**listed(f), "trials": "trials"},
        "--trials: expected a CSV file, or a table of intervals in my.npz (there: go)",
    ),
    (lambda f: {**listed(f), "trials": "none.csv"}, "none.csv: cannot be read (No such file or directory)"),
    (lambda f: intervals(f, "start,end\n"), "go.csv: expected at least one interval, got none"),
    (lambda f: intervals(f, "start,length\n0.1,0.2\n"), "go.csv: expected a header with start, end, got 'start,len"),
    (
        lambda f: intervals(f, "start,end\n0.3,0.2\n"),
        "go.csv, line 2: expected a start before an end, got 0.3 to 0.2 s",
    ),
    (lambda f: intervals(f, "start,end\n0.3,\n"), "go.csv, line 2: end: expected a finite number in s, got ''"),
    (
        lambda f: intervals(f, "start,end\n0.3,3\n"),
        "--trials: trial 1: expected an interval within my.npz, from 0 s to 1.2 s",
    ),
    (
        lambda f: intervals(f, "start,end\n-1,0.3\n"),
        "--trials: trial 1: expected an interval within my.npz, from 0 s to 1.2 s",
    ),
    (
        lambda f: intervals(f, "start,end\n0.5,0.504\n"),
        "my.npz: expected at least one trial of 0.04 s, the history window",
    ),
    (
        lambda f: intervals(f, "start,end\n50,60\n", end=None),
        "my.npz: expected spikes in the trials, got none in 1; are times in s?",
    ),
    (
        lambda f: {**listed(f, go=np.full((2, 2), np.nan)), "trials": "go"},
        "--trials: expected at least one interval in go",
    ),
    (
        lambda f: {**listed(f, go=np.array([[0.3, 0.1]])), "trials": "go"},
        "--trials: trial 1: expected a start before an end",
    ),
    (
        lambda f: {**listed(f), "trials": "go", "trial_length": 0.1},
        "--trial_length: expected data without trials, which have",
    ),
    (
        lambda f: {**listed(f), "trial_length": 2.0},
        "--trial_length: expected 0.008 s, 2 bins, to 1.16 s, which is what the",
    ),
    (
        lambda f: {**listed(f), "trial_length": 0.1001},
        "--trial_length: expected a multiple of dt, 0.004 s, got 0.1001",
    ),
    (
        lambda f: {**listed(f), "end_timepoint": 2.0},
        "--end_timepoint: expected at most 1.2 s, the length of my.npz, got 2",
    ),
    (
        lambda f: {**listed(f), "end_timepoint": 0.04},
        "my.npz: expected at least one trial of 0.04 s, the history window",
    ),
    (
        lambda f: listed(f, invalid_times=np.array([[0.1, 0.5, 0.9], [0.2, 0.6, 1.0]])),
        "my.npz: invalid_times: expected starts and ends in s, (n, 2), got float64 of shape (2, 3)",
    ),
    (
        lambda f: listed(f, invalid_times=np.array([0.1, 0.2])),
        "my.npz: invalid_times: expected starts and ends in s, (n, 2), got float64 of shape (2,)",
    ),
    (
        lambda f: listed(f, invalid_times=np.array([["0.1", "0.2"]])),
        "my.npz: invalid_times: expected starts and ends in s, (n, 2), got <U3 of shape (1, 2)",
    ),
    (
        lambda f: {**binned(f), "ticks_per_second": 1000},
        "--ticks_per_second: goes with spike times, and my.npz holds spikes in bins of 0.001 s",
    ),
    (
        lambda f: {**listed(f), "end_timepoint": -1.0},
        "--end_timepoint: expected more than 0 s, where what is used of my.npz begins, got -1",
    ),
    (
        lambda f: {**text(f, GOOD), "start_timepoint": 0.12, "end_timepoint": 0.1},
        "--end_timepoint: expected more than 0.12 s, where what is used of my.csv begins, got 0.1",
    ),
    (
        lambda f: {**text(f, GOOD), "start_timepoint": 50},
        "my.csv: expected spikes in the time that is used, got none: 3 before its begin",
    ),
    (
        lambda f: {**text(f, GOOD), "invalid_times": text(f, "start,end\n0,9\n", "bad.csv")["data"]},
        "my.csv: expected spikes in the time that is used, got none: 3 in time that was not observed",
    ),
    (
        lambda f: {**text(f, GOOD), "observed": text(f, "unit,start,end\na,5,9\nb,5,9\n", "seen.csv")["data"]},
        "my.csv: expected spikes in the time that is used, got none: 3 in time that was not observed",
    ),
    (
        lambda f: {**listed(f), "burn_in": 1.2},
        "my.npz: expected at least one trial of 0.04 s, the history window, 1.2 s of burn-in, and 2 bins of 0.004 s",
    ),
    (
        lambda f: {**listed(f), "trial_length": 0.1, "burn_in": 0.1},
        "--burn_in: expected at most 0.092 s, two bins less than the shortest trial, got 0.1",
    ),
    (lambda f: {**listed(f), "burn_in": -0.1}, "--burn_in: expected at least 0 s, got -0.1"),
    (
        lambda f: {
            **text(f, "trial,time,unit,population\n1,0.2,a,I\n2,0.1,a,I\n"),
            **intervals(f, "start,end\n0,1\n", lambda f: {}),
        },
        "go.csv: expected a column trial, because the times of my.csv count from trials' begins",
    ),
    (
        lambda f: {
            **text(f, "trial,time,unit,population\n1,0.2,a,I\n2,0.1,a,I\n"),
            **intervals(f, "trial,start,end\n3,0,1\n", lambda f: {}),
        },
        "go.csv: trial: expected trials of my.csv (1, 2), got 3",
    ),
    # units and populations
    (lambda f: mapped(f, "unit,population\n"), "map.csv: expected at least one unit, got none"),
    (lambda f: mapped(f, "unit,type\n3,E1\n"), "map.csv: expected a header with unit, population, got 'unit,type'"),
    (lambda f: mapped(f, "unit,population\n3,E1\n3,I\n"), "map.csv, line 3: expected every unit once, got 3 again"),
    (lambda f: mapped(f, "unit,population\n,E1\n"), "map.csv, line 2: unit: expected a name, got nothing"),
    (
        lambda f: mapped(f, "unit,population\n4,E1\n"),
        "map.csv: expected units of my.npz (3, 7, 8, 10, 21), got 4, not among",
    ),
    (
        lambda f: mapped(f, "unit,population\n3,A\n7,\n"),
        "my.npz: expected units of the populations E1, E2, I, got A for all 5",
    ),
    (
        lambda f: {**listed(f), "population_column": "kind"},
        "--population_column: expected a column of my.npz, got 'kind'",
    ),
    (
        lambda f: {"trials": "go.csv"},
        "--trials: goes with spike times in --data, and dataset/3pop_noinput_small is a data set",
    ),
    (lambda f: {**listed(f), "param": "population_size E1=1"}, "population_size: expected at least as many neurons as"),
    # NWB
    (
        lambda f: text(f, b"\x89HDF\r\n\x1a\nrest", "my.nwb"),
        "my.nwb: expected an NWB file that can be read, got one that",
    ),
    (
        lambda f: text(f, "time,unit\n", "my.nwb"),
        "my.nwb: expected an NWB file, got a file without the signature of HDF5",
    ),
    (lambda f: text(f, "", "my.nwb"), "my.nwb: expected an NWB file, got an empty file"),
]


@pytest.mark.parametrize(("make", "words"), BAD, ids=[words[:50] for _, words in BAD])
def test_one_line_and_nothing_written(tmp_path, monkeypatch, capsys, make, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_meso, "use_tensorflow", lambda threads: pytest.fail("it went on"))
    options = {"a_cutoff": 0.04, "SAVE_DIR": "out", **make(tmp_path)}
    argv = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    with pytest.raises(SystemExit) as end:
        run_script(lambda: train_meso.main(argv), "train_meso.py")
    said = capsys.readouterr()
    assert end.value.code == 2
    assert said.err.startswith(f"train_meso.py: error: {words}")
    assert said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "out").exists() and not (tmp_path / "ran.txt").exists()


def test_the_files_of_these_cases_are_fine_otherwise(tmp_path):
    (tmp_path / "map.csv").write_text("unit,population\n3,E1\n7,\n")
    (tmp_path / "go.csv").write_text("start,end\n0.1,0.4\n")
    for make in (listed, binned, spikes(), lambda f: text(f, GOOD)):
        assert read(tmp_path / make(tmp_path)["data"])[0].n_trials == 1
    options = {"unit_map": str(tmp_path / "map.csv"), "trials": str(tmp_path / "go.csv")}
    assert read(tmp_path / listed(tmp_path)["data"], **options)[0].recorded.sum() == 1


# --- random files -----------------------------------------------------------------------------------------------------

SHORT = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FIELD = st.one_of(
    st.sampled_from(
        ["time", "unit", "trial", "population", "start", "end", "time (s)", "E1", "I", "0", "1", "", "nan", '"']
    ),
    st.floats(-1, 3).map(repr),
    st.text(max_size=4),
)
TABLE = st.lists(st.lists(FIELD, min_size=1, max_size=4).map(",".join), max_size=8).map("\n".join)
NUMBER = st.one_of(st.floats(0, 1).map(repr), FIELD)
ROWS = st.lists(st.tuples(NUMBER, NUMBER, st.sampled_from(["E1", "E2", "I", "", "x"])).map(",".join), max_size=12)


def reads_or_says_why(path, **options):
    try:
        recording, said = read(path, **options)
    except InputError as error:
        assert str(error)
    else:
        assert recording.observed_spikes.max() == 1 and recording.n_judged >= 2 and said


@SHORT
@given(
    content=st.one_of(TABLE, st.binary(max_size=60), ROWS.map(lambda rows: "\n".join(["time,unit,population", *rows])))
)
def test_any_csv_of_spikes(tmp_path, content):
    text(tmp_path, content)
    reads_or_says_why(tmp_path / "my.csv")


@SHORT
@given(
    content=st.one_of(
        TABLE, ROWS.map(lambda rows: "\n".join(["trial,time,unit,population", *(f"1,{row}" for row in rows)]))
    )
)
def test_any_csv_of_trials(tmp_path, content):
    text(tmp_path, content)
    reads_or_says_why(tmp_path / "my.csv")


@SHORT
@given(content=st.one_of(TABLE, ROWS.map(lambda rows: "\n".join(["start,end,trial", *rows]))))
def test_any_csv_of_intervals(tmp_path, content):
    listed(tmp_path)
    text(tmp_path, content, "go.csv")
    reads_or_says_why(tmp_path / "my.npz", trials=str(tmp_path / "go.csv"))


@SHORT
@given(content=st.one_of(TABLE, ROWS.map(lambda rows: "\n".join(["unit,x,population", *rows]))))
def test_any_unit_map(tmp_path, content):
    write_csv(tmp_path / "my.csv", raster())
    text(tmp_path, content, "map.csv")
    reads_or_says_why(tmp_path / "my.csv", unit_map=str(tmp_path / "map.csv"))


def test_random_files_can_be_good(tmp_path):
    """What the strategies above make is not all refused at the header."""
    rows = [f"{t},{u},{p}" for t, u, p in zip((0.1, 0.2, 0.9, 0.3), "aabc", (*LABELS[:1], "E2", "I", ""), strict=True)]
    text(tmp_path, "\n".join(["time,unit,population", *rows]))
    assert read(tmp_path / "my.csv")[0].recorded.sum() == 2
