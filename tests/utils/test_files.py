"""Files are written whole or not at all, and reading one never runs code from it."""

import builtins
import io
import os
import pickle
import pickletools
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from src.runs.load import load_runs
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, load_json, remove_half_written, save_arrays, save_json, write_whole

ROOT = Path(__file__).resolve().parents[2]
CONTENT = {
    "A_t_pop": np.random.default_rng(0).random((40, 3)),
    "sampled_spikes": np.random.default_rng(1).integers(0, 2, (3, 40, 5)).astype(np.uint8),
    "I_ext": np.asfortranarray(np.random.default_rng(2).normal(size=(40, 3))),
    "dt": np.float64(0.0002),
    "big_endian": np.arange(5, dtype=">i4"),
    "text": np.array("words"),
}


def same(arrays, content=CONTENT):
    assert list(arrays) == list(content)
    for key, value in content.items():
        np.testing.assert_array_equal(arrays[key], value)
        assert arrays[key].shape == np.shape(value)


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("before", [None, b"earlier"])
def test_a_failing_writer_leaves_what_was_there(tmp_path, before, error):
    path = tmp_path / "file"
    if before:
        path.write_bytes(before)

    def write(file):
        file.write(b"half of")
        raise error(28, "No space left on device")

    with pytest.raises(error) as raised:
        write_whole(path, write)
    if error is OSError:
        assert raised.value.filename == str(path)
    assert [each.name for each in tmp_path.iterdir()] == (["file"] if before else [])
    assert not before or path.read_bytes() == before


def test_nothing_is_at_the_place_while_it_is_written(tmp_path):
    path = tmp_path / "new" / "file"

    def write(file):
        file.write(b"all")
        (part,) = path.parent.iterdir()
        assert part.name.startswith(".file.") and part.name.endswith(".part")

    write_whole(path, write)
    assert [each.name for each in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"all"


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_come_back(tmp_path, compress):
    save_arrays(tmp_path / "a", compress, **CONTENT)
    same(load_arrays(tmp_path / "a", ("dt", "text")))
    with np.load(tmp_path / "a", allow_pickle=False) as archive:
        same({key: archive[key] for key in archive.files})


def test_arrays_of_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="plain numbers or text"):
        save_arrays(tmp_path / "a", x=np.array([{}, None]))
    assert list(tmp_path.iterdir()) == []


def test_json_comes_back_and_holds_no_nan(tmp_path):
    content = {"a": 1.5, "b": [None, True], "µ": {"c": "words"}}
    save_json(tmp_path / "j", content)
    assert load_json(tmp_path / "j") == content
    with pytest.raises(ValueError, match="JSON"):
        save_json(tmp_path / "j", {"a": float("nan")})
    assert load_json(tmp_path / "j") == content


@pytest.mark.parametrize(
    ("text", "words"), [("{", "expected JSON, but"), ("[1]", "expected a JSON object, got list"), ("\xff", "JSON")]
)
def test_json_that_is_none(tmp_path, text, words):
    (tmp_path / "j").write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match=words):
        load_json(tmp_path / "j")
    with pytest.raises(InputError, match=r"missing: cannot be read \(No such file"):
        load_json(tmp_path / "missing")


@pytest.mark.parametrize("load", [load_arrays, load_json, load_runs])
def test_a_missing_relative_path_comes_with_the_folder_it_was_looked_for_in(tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        load("data/x")
    assert str(error.value).startswith("data/x: ") and str(error.value).endswith(f", looked for in {tmp_path}")
    with pytest.raises(InputError) as error:
        load(tmp_path / "data/x")
    assert "looked for" not in str(error.value)


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a"
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import numpy as np\n"
        "from src.utils.files import save_arrays; k = 0\n"
        f"while True: k += 1; save_arrays({str(path)!r}, x=np.full(300_000, k))"
    )
    for delay in (0.0, 0.013, 0.05):
        path.unlink(missing_ok=True)
        child = subprocess.Popen([sys.executable, "-c", code])
        try:
            while not path.exists():
                assert child.poll() is None
                time.sleep(0.001)
            time.sleep(delay)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        x = load_arrays(path)["x"]
        assert x.shape == (300_000,) and len(set(x.tolist())) == 1
        assert all(each.name == "a" or each.suffix == ".part" for each in tmp_path.iterdir())
        remove_half_written(tmp_path)  # as the next process does that writes there
        assert [each.name for each in tmp_path.iterdir()] == ["a"]


# --- reading archives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_truncated_archives(tmp_path, part, compress):
    save_arrays(tmp_path / "a", compress, **CONTENT)
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match="a: expected a "):
        load_arrays(tmp_path / "a")
    (tmp_path / "a").write_bytes(whole[:-1])
    with pytest.raises(InputError, match="a: expected a whole NumPy archive"):
        load_arrays(tmp_path / "a")


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # of damaged headers
@pytest.mark.parametrize("kind", ["stored", "compressed", "pickle"])
def test_damaged_files_give_plain_arrays_or_one_line(tmp_path, kind):
    path, rng = tmp_path / "a", np.random.default_rng(5)
    if kind == "pickle":
        whole = pickle.dumps(CONTENT, protocol=4)
    else:
        save_arrays(path, kind == "compressed", **CONTENT)
        whole = path.read_bytes()
    refused = 0
    for k in range(400):
        damaged = bytearray(whole)
        end = 300 if k % 2 else len(whole)
        damaged[rng.integers(1 + (kind != "pickle"), end)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            arrays = load_arrays(path)
        except InputError as error:
            refused += 1
            assert str(path) in str(error)
            assert "\n" not in str(error)
        else:
            assert all(array.dtype.kind in "biufcSU" for array in arrays.values())
    assert 100 < refused


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\x93NUMPY\x01\x00", b"\x1f\x8b\x08\x00"])
def test_other_formats(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match="a: expected a NumPy archive or a pickled dictionary of arrays, got neither"):
        load_arrays(tmp_path / "a")


def test_missing_things(tmp_path):
    with pytest.raises(InputError, match=r"b: cannot be read \(No such file"):
        load_arrays(tmp_path / "b")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory"):
        load_arrays(tmp_path)
    save_arrays(tmp_path / "a", x=1, y=2)
    with pytest.raises(InputError, match=r"expected the arrays x, z, w; z, w missing, found x, y"):
        load_arrays(tmp_path / "a", ("x", "z", "w"))


def test_an_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("x.npy", b"no header")
    array = load_arrays(tmp_path / "a").get("x", np.array(""))
    assert array.dtype.kind in "SU"
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x01\x00x")
    with pytest.raises(InputError, match="whole NumPy archive"):
        load_arrays(tmp_path / "a")


@pytest.mark.parametrize("array", [np.array([1, None]), np.zeros(2, "f8,i4"), np.array([0], "M8[s]")])
def test_archives_of_other_than_plain_arrays(tmp_path, array):
    np.savez(tmp_path / "a.npz", x=array)
    with pytest.raises(InputError, match="whole NumPy archive of plain arrays"):
        load_arrays(tmp_path / "a.npz")


# --- reading pickles --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("module", ["numpy._core", "numpy.core"])  # of NumPy 2 and before
def test_pickled_arrays_come_back(tmp_path, protocol, module):
    content = CONTENT | {"list": [1.0, 2.0], "number": 3, "bytes": np.bytes_(b"raw"), "one": np.int16(7)}
    data = pickle.dumps(content, protocol=protocol)
    if protocol < 4:  # lines, not lengths
        data = data.replace(b"numpy._core", module.encode())
        assert module.encode() + b"." in data
    (tmp_path / "p").write_bytes(data)
    same(load_arrays(tmp_path / "p", ("I_ext",)), content)


def test_a_pickle_of_python_2(tmp_path):
    x = np.array([1.0, -2.5, 1e300])
    raw = x.tobytes()
    (tmp_path / "p").write_bytes(
        b"\x80\x02}U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x03\x85"
        b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
        + bytes([len(raw)])
        + raw
        + b"tbs."
    )
    np.testing.assert_array_equal(load_arrays(tmp_path / "p")["x"], x)


class Runs:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def bad_calls(mark):
    return {
        "system": Runs(os.system, f"touch {mark}"),
        "eval": Runs(builtins.eval, f"open({str(mark)!r}, 'w')"),
        "exec": Runs(builtins.exec, f"open({str(mark)!r}, 'w')"),
        "open": Runs(io.open, str(mark), "w"),
        "path": Runs(Path.touch, Path(mark)),
        "subprocess": Runs(subprocess.call, ["touch", str(mark)]),
        "getattr": Runs(getattr, "x", "upper"),
        "numpy function": Runs(np.save, str(mark), 1),
        "numpy.load": Runs(np.load, str(mark)),
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", bad_calls(""))
@pytest.mark.parametrize("nested", [False, True])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, name, protocol, nested):
    mark = tmp_path / "mark"
    call = bad_calls(mark)[name]
    data = pickle.dumps({**CONTENT, "x": [call] if nested else call}, protocol=protocol)
    assert any(op.name in ("GLOBAL", "STACK_GLOBAL") for op, *_ in pickletools.genops(data))
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(InputError, match="p: expected a pickled dictionary of NumPy arrays, but it asks for "):
        load_arrays(tmp_path / "p")
    assert not mark.exists()


def test_the_calls_above_would_have_run(tmp_path):
    for name, call in bad_calls(tmp_path / "mark").items():
        if name in ("system", "eval", "open", "path"):
            result = pickle.loads(pickle.dumps(call))
            getattr(result, "close", lambda: None)()
            (tmp_path / "mark").unlink()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"x": np.array([1, None])}, "array of object"),
        ({"x": np.zeros(2, "f8,O")}, "not plain numbers or text"),
        ({"x": np.zeros(2, "f8,i4")}, "not plain numbers or text"),
        ({"x": None}, "array of object"),
        ({"x": {"y": 1}}, "array of object"),
        ({"x": [[1], [1, 2]]}, "inhomogeneous"),
        ([1, 2], "it is a list"),
        (np.arange(3), "it is a Array"),
        (np.dtype("f8"), "it is a Type"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_other_than_plain_arrays(tmp_path, content, words, protocol):
    (tmp_path / "p").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(InputError, match=words):
        load_arrays(tmp_path / "p")


@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_truncated_pickles(tmp_path, part):
    data = pickle.dumps(CONTENT)
    (tmp_path / "p").write_bytes(data[: int(part * len(data))])
    with pytest.raises(InputError, match="p: expected a pickled dictionary of NumPy arrays, but"):
        load_arrays(tmp_path / "p")


def test_a_forged_type_does_no_harm(tmp_path):
    """NumPy's own unpickling believes these flags and follows the numbers as addresses, or crashes."""
    forged = (
        b"\x80\x02}X\x01\x00\x00\x00xcnumpy\nndarray\nK\x02\x85R(K\x01K\x02\x85cnumpy\ndtype\nX\x02\x00\x00\x00f8"
        b"K\x00K\x01\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb\x89c_codecs\nencode\n"
        b"X\x10\x00\x00\x00AAAAAAAABBBBBBBBX\x06\x00\x00\x00latin1\x86Rtbs."
    )
    (tmp_path / "p").write_bytes(forged)
    x = load_arrays(tmp_path / "p")["x"]
    assert x.dtype == np.float64 and not x.dtype.hasobject
    np.testing.assert_array_equal(x, np.frombuffer(b"AAAAAAAABBBBBBBB", "<f8"))
