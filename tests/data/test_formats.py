"""Files of many kinds: tables as spreadsheets write them are read, others are named with the way to convert them."""

import gzip
import io
import pickle
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from src.data.csv_table import OTHER_NAMES
from src.data.options import SourceOptions
from src.data.read import read_units
from src.model.containers import Model
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from tests.recordings import assert_same, read
from tests.test_bad_input import Opens

MODEL = Model([100], [300.0], [[1]], dt=0.004, window_bins=40)


def spikes(seed=0):
    rng = np.random.default_rng(seed)
    return [(round(t, 5), f"u{i}") for i in range(3) for t in np.sort(rng.uniform(0, 12, 96)).tolist()]


def table(separator=",", decimal=".", header="time,unit", quoted=False):
    rows = [(str(t).replace(".", decimal), unit) for t, unit in spikes()]
    rows = [tuple(f'"{field}"' for field in row) for row in rows] if quoted else rows
    return "\n".join([header.replace(",", separator), *(separator.join(row) for row in rows), ""])


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "plain.csv"
    path.write_text(table())
    return read(path, MODEL)[0]


TABLES = {
    "semicolons": table(";"),
    "tabs": table("\t"),
    "bars": table("|"),
    "spaces": table(" "),
    "decimal commas": table(";", ","),
    "decimal commas and tabs": table("\t", ","),
    "quoted decimal commas": table(",", ",", quoted=True),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + table().encode(),
    "UTF-16, little": table("\t").encode("utf-16"),
    "UTF-16, big": b"\xfe\xff" + table(";", ",").encode("utf-16-be"),
    "UTF-16 without a mark": table().encode("utf-16-le"),
    "UTF-32": table().encode("utf-32"),
    "Windows lines": table(";").replace("\n", "\r\n").encode(),
    "old Mac lines": table().replace("\n", "\r").encode(),
    "text of Windows": table(header="time,unit,µ").replace(",u", ",u").encode("cp1252").replace(b"u0\n", b"u0,\xb5\n"),
    "Excel's first line": "sep=;\n" + table(";"),
    "remarks before the header": "# made by hand\n#\n\n" + table(),
    "header of numpy.savetxt": table(" ", header="# time,unit"),
    "separators at the end of lines": table().replace("\n", ",\n").replace("unit,\n", "unit\n", 1),
    "separators at the end of the header, too": table().replace("\n", ",\n"),
    "capitals": table(header="TIME,Unit"),
    "units in brackets": table(header="Time [s],unit"),
    "units behind a name": table(header="time_s,unit"),
    "other names": table(header="spike_time,cluster_id"),
    "a column of numbers in front": "\n".join(
        f"{k - 1 if k else ''},{line}" for k, line in enumerate(table().splitlines())
    ),
    "an empty line amid": table().replace("u0\n", "u0\n\n", 1),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_read_as_they_are_written(tmp_path, expected, kind):
    content = TABLES[kind]
    if kind == "text of Windows":
        content = b"\n".join(line if line.endswith(b"\xb5") else line + b"," for line in content.split(b"\n")[1:-1])
        content = b"time,unit,\xb5\n" + content
    (tmp_path / "my.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    recording, _ = read(tmp_path / "my.csv", MODEL)
    assert_same(expected, recording)


def test_times_in_ms_that_the_header_names(tmp_path, expected):
    rows = [f"{1000 * t!r},{unit}" for t, unit in spikes()]
    for header in ("time (ms),unit", "time_ms,unit", "spike_times [msec],neuron"):
        (tmp_path / "my.csv").write_text("\n".join([header, *rows]))
        recording, said = read(tmp_path / "my.csv", MODEL)
        np.testing.assert_array_equal(recording.observed_spikes, expected.observed_spikes)
        assert any("time: brought to s from ms" in line for line in said)
    (tmp_path / "my.csv").write_text("\n".join(["time (samples),unit", *rows]))
    recording, _ = read(tmp_path / "my.csv", MODEL, ticks_per_second=1000)
    np.testing.assert_array_equal(recording.observed_spikes, expected.observed_spikes)


def test_bad_rows_are_left_out_with_their_reason(tmp_path, expected):
    bad = ["soon,u0", "nan,u1", "0.3", "0.4,", "0.1,u0,x", "# the end"]
    (tmp_path / "my.csv").write_text(table() + "\n".join(bad))
    recording, said = read(tmp_path / "my.csv", MODEL)
    assert_same(expected, recording)
    (line,) = [line for line in said if "cannot be used as spikes" in line]
    assert "6 rows of 294" in line and "line 290: time: expected a finite number in s, got 'soon', and 5 more" in line


def test_numbers_that_were_put_together_from_two_tables(tmp_path):
    """Where one of them had gaps, its whole numbers are 1.0, 2.0, ..."""
    rows = [f"{t},{name},{k}\n" for k, name in enumerate(("7", "7.0", "8.0")) for t in (0.25 + k, 0.5 + k, 1.0 + k)]
    (tmp_path / "my.csv").write_text("time,unit,session\n" + "".join(rows))
    recording, said = read(tmp_path / "my.csv", MODEL)
    assert recording.observed_spikes.sum((0, 1, 2)).tolist() == [6, 3]
    assert any(line.endswith("my.csv: unit: names of one unit are taken for the same: 7.0 for 7.") for line in said)


@pytest.mark.parametrize(
    "header", ["start_time,stop_time", "start,stop", "Start (s);End (s)", "begin\tend", "id,start_time,stop_time,tags"]
)
def test_intervals_under_other_names(tmp_path, header):
    (tmp_path / "my.csv").write_text(table())
    separator = next(mark for mark in ";\t," if mark in header)
    rows = [("1", "4"), ("5", "8"), ("9", "9"), ("", "3"), ("5", "8"), ("11", "14")]
    if "id" in header:
        rows = [(str(k), *row, "x") for k, row in enumerate(rows)]
    (tmp_path / "go.csv").write_text("\n".join([header, *(separator.join(row) for row in rows)]))
    (tmp_path / "plain.csv").write_text("start,end\n1,4\n5,8\n")
    expected, _ = read(tmp_path / "my.csv", MODEL, trials=str(tmp_path / "plain.csv"), end_timepoint=12.0)
    recording, said = read(tmp_path / "my.csv", MODEL, trials=str(tmp_path / "go.csv"), end_timepoint=12.0)
    assert_same(expected, recording)
    assert any("2 rows of 6 cannot be used as intervals, and left out: line 4" in line for line in said)
    assert "The same as one before, and left out: trial 5." in said
    assert "Ends after --end_timepoint 12 s, and left out: trial 6." in said


def test_trials_in_the_data_that_cannot_be_used(tmp_path):
    go = np.array([[1.0, 3.0], [6.0, 6.0], [8.0, 12.0], [28.0, 31.0], [np.nan, 2.0], [-3.0, 1.0]])
    times = np.sort([t for t, _ in spikes()])
    save_arrays(tmp_path / "my.npz", spike_times=times, spike_unit=np.zeros(len(times), int), end=12.0, go=go)
    recording, said = read(tmp_path / "my.npz", MODEL, trials="go")
    assert recording.lengths.tolist() == [500, 1000]
    for line in (
        "Without a start or an end, and left out: trial 5.",
        "No end after the start, and left out: trial 2.",
        "Not within the recording, from 0 s to 12 s, and left out: trial 4, 28 to 31 s.",
        "Not within the recording, from 0 s to 12 s, and left out: trial 6, -3 to 1 s.",
    ):
        assert line in said
    for table_of in ([[28.0, 31.0]], [[2.0, 1.0]]):
        save_arrays(
            tmp_path / "bad.npz",
            spike_times=times,
            spike_unit=np.zeros(len(times), int),
            end=12.0,
            go=np.array(table_of),
        )
        with pytest.raises(InputError, match="trials: trial 1: expected"):
            read(tmp_path / "bad.npz", MODEL, trials="go")


# --- units by other names, labels of other case ---


def test_maps_by_other_columns_and_in_other_case(tmp_path):
    names = ("Probe A", "Probe B", "Probe C")
    times = [[t for t, unit in spikes() if unit == f"u{i}"] for i in range(3)]
    two = Model([100, 100], [300.0, 300.0], [[1, 1], [-1, -1]], dt=0.004, window_bins=40, names=("E", "I"))
    save_arrays(
        tmp_path / "my.npz",
        spike_times=np.concatenate(times),
        spike_unit=np.repeat([10, 11, 12], [len(train) for train in times]),
        unit=np.array([10, 11, 12]),
        probe=np.array(names),
    )
    (tmp_path / "number.csv").write_text("unit;population\n10.0;e\n11.0;E\n12.0;i\n")
    expected, said = read(tmp_path / "my.npz", two, unit_map=str(tmp_path / "number.csv"))
    assert expected.observed_spikes.shape[-1] == 1
    assert "'e' is no population of the circuit: unit 10 is left out." in said  # E is there, too
    (tmp_path / "number.csv").write_text("unit;population\n10.0;e\n11.0;e\n12.0;i\n")
    expected, said = read(tmp_path / "my.npz", two, unit_map=str(tmp_path / "number.csv"))
    assert expected.recorded.tolist() == [[True, True], [True, False]]
    assert "Labels of other case are taken: e for E, i for I." in said
    assert any("units taken as those of" in line and "10.0 for 10" in line for line in said)
    for header in ("unit", "probe", "Unit_ID"):
        (tmp_path / "name.csv").write_text(f"{header},population\nprobe a,E\nprobe b,E\nProbe C,I\n")
        recording, _ = read(tmp_path / "my.npz", two, unit_map=str(tmp_path / "name.csv"), unit_column="probe")
        assert recording.unit_names.tolist() == [["Probe A", "Probe B"], ["Probe C", ""]]
        assert_same(expected, replace(recording, unit_names=expected.unit_names))
    with pytest.raises(InputError, match=r"unit_column: expected an array of .*, got 'area'"):
        read(tmp_path / "my.npz", two, unit_column="area")
    (tmp_path / "my.csv").write_text(table(header="time,site"))
    read(tmp_path / "my.csv", MODEL, unit_column="Site")
    with pytest.raises(InputError, match="expected a header with area, got 'time,site'"):
        read(tmp_path / "my.csv", MODEL, unit_column="area")


# --- NumPy archives ---


def archive(**changes):
    times, units = zip(*spikes(), strict=True)
    content = {"spike_times": np.array(times), "spike_unit": np.array(units), **changes}
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


@pytest.mark.parametrize(
    "changes",
    [
        {"spike_times": np.array([[t] for t, _ in spikes()])},
        {"spike_unit": np.array([[unit for _, unit in spikes()]])},
        {"spike_unit": np.array([unit for _, unit in spikes()], object)},
        {"spike_unit": np.array([unit.encode() for _, unit in spikes()])},
        {"spike_times": np.array([t for t, _ in spikes()], np.float32)},
    ],
    ids=["column", "row", "objects", "bytes", "single precision"],
)
def test_arrays_that_leave_no_doubt(tmp_path, expected, changes):
    (tmp_path / "my.npz").write_bytes(archive(**changes))
    recording, _ = read(tmp_path / "my.npz", MODEL)
    assert (recording.observed_spikes != expected.observed_spikes).sum() <= 4  # of rounding to single precision


@pytest.mark.parametrize(
    "objects",
    [
        np.array([Opens()] * 288, object),
        np.array([None] * 288, object),
        np.array([np.arange(3), np.arange(4)], object),
        np.array(["a", 1] * 144, object),
    ],
    ids=["code", "None", "lists of unequal lengths", "text and numbers"],
)
def test_objects_are_not_unpickled(tmp_path, monkeypatch, objects):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.npz").write_bytes(archive(spike_unit=objects))
    with pytest.raises(InputError, match=r"spike_unit holds Python objects, which are not read; save it as plain text"):
        read(tmp_path / "my.npz", MODEL)
    assert not (tmp_path / "ran.txt").exists()
    with pytest.raises(InputError, match="spike_unit holds Python objects"):
        load_arrays(tmp_path / "my.npz")


# --- files of other kinds ---


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("my.csv"))
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.arange(5.0))
    return file.getvalue()


FOREIGN = [
    ("my.nwb", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of git-lfs"),
    ("my.nwb", b"/annex/objects/SHA256E-s1--0.nwb\n", "a pointer of git-annex"),
    ("my.csv", npy(), r"a single NumPy array \(.npy\); put arrays together: np.savez"),
    ("my.npy", npy(), "a single NumPy array"),
    ("my.mat", b"MATLAB 5.0 MAT-file Platform: posix".ljust(128) + b"\x00\x01IM", "a MATLAB file; read it with scipy"),
    ("my.csv", b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", "a MATLAB file of version 7.3"),
    ("my.mat", b"\x00\x00\x00\x00\x01\x00\x00\x00" + 50 * b"\x00", "a MATLAB file; read it with scipy"),
    ("my.mat", b"\x89HDF\r\n\x1a\n", "a MATLAB file of version 7.3"),
    ("my.xlsx", zipped("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook"),
    ("my.csv", zipped("xl/workbook.xml"), "an Excel workbook"),
    ("my.ods", zipped("mimetype", "content.xml"), "an OpenDocument file"),
    ("my.zip", zipped("my.csv", "other.csv"), "a zip archive of my.csv and others; unpack it first"),
    ("my.npz", zipped()[:0] + b"PK\x05\x06" + 18 * b"\x00", "an empty or split zip archive"),
    ("my.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + 50 * b"\x00", r"an Excel file \(.xls\)"),
    ("my.csv.gz", gzip.compress(b"time,unit\n"), "a file packed by gzip; unpack it first: gunzip"),
    ("my.nwb", gzip.compress(b"\x89HDF"), "a file packed by gzip"),
    ("my.bz2", b"BZh91AY", "a file packed by bzip2"),
    ("my.xz", b"\xfd7zXZ\x00", "a file packed by xz"),
    ("my.tar", tar(), "a tar archive"),
    ("my.parquet", b"PAR1\x15\x04", "a Parquet file; read it with pandas"),
    ("my.feather", b"ARROW1\x00\x00", "an Arrow or Feather file"),
    ("my.db", b"SQLite format 3\x00", "an SQLite data base"),
    ("my.json", b'{"time": [1]}', "a JSON file"),
    ("my.json", b'\n[{"time": 1}]', "a JSON file"),
    ("my.csv", b"<!DOCTYPE html><html>Sign in", "a web page, perhaps of a download that asked for a login"),
    ("my.nwb", b"<HTML>", "a web page"),
    ("my.xml", b"<?xml version='1.0'?>", "an XML file"),
    ("my.pdf", b"%PDF-1.4", "a PDF document"),
    ("my.plx", b"PLEX\x00", "a Plexon file"),
    ("my.nex", b"NEX1\x00", "a NeuroExplorer file"),
    ("my.nev", b"NEURALEV", "a Blackrock file"),
    ("my.pkl", pickle.dumps({"a": 1}, 0), "a pickle of an old protocol"),
    ("my.rds", b"RDX3\n", "a file of R"),
]


@pytest.mark.parametrize(("name", "content", "words"), FOREIGN, ids=[f"{n} {w[:25]}" for n, _, w in FOREIGN])
def test_other_files_are_named_with_what_to_do(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    expected = f"{name}: expected an NWB file, a CSV file or a NumPy archive of spike times, got {words}"
    with pytest.raises(InputError, match=expected) as error:
        read(tmp_path / name, MODEL)
    assert "\n" not in str(error.value) and "; " in str(error.value)
    with pytest.raises(InputError, match=words):
        read_units(str(tmp_path / name), 3, SourceOptions())


def test_tables_beside_the_data_are_named_too(tmp_path):
    (tmp_path / "my.csv").write_text(table())
    (tmp_path / "go.csv").write_bytes(zipped("xl/workbook.xml"))
    for option in ("trials", "unit_map", "observed", "invalid_times"):
        with pytest.raises(InputError, match=r"go.csv: expected a CSV file, got .*; save the table as CSV \(text\)$"):
            read(tmp_path / "my.csv", MODEL, **{option: str(tmp_path / "go.csv")})
    for name, what in (("go.nwb", "an NWB file"), ("go.h5", r"an HDF5 file that is no NWB file \(.h5\)")):
        (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n")
        with pytest.raises(InputError, match=f"expected a CSV file, got {what}; save the table as CSV"):
            read(tmp_path / "my.csv", MODEL, trials=str(tmp_path / name))


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "my.zarr").mkdir()
    (tmp_path / "my.zarr/.zgroup").touch()
    with pytest.raises(InputError, match="Is a directory.*in Zarr format"):
        read(tmp_path / "my.zarr", MODEL)


def test_other_names_are_of_one_column_each():
    names = [name for names in OTHER_NAMES.values() for name in names]
    assert len(names) == len(set(names)) and not set(names) & set(OTHER_NAMES)
