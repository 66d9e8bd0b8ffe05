"""Reading and writing: whole files or none, NumPy archives, JSON, and pickled arrays without running their code."""

import io
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from src.utils.settings import InputError

PLAIN = "biufcSU"
"""Kinds of NumPy types that are read: numbers and text."""


def write_whole(path: str | Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file whole or not at all: into a temporary file beside it, then rename.

    Parameters
    ----------
    path : path
        The file; its folder is made if needed.
    write : callable
        Gets the open binary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say which file it was
            error.filename = str(path)
        raise


def make_folder(folder: Path) -> None:
    """Make a folder to write to.

    Raises
    ------
    InputError
        It cannot be made, or is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder ({error.strerror})") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: expected a folder to write to, got one that is read-only")


def save_arrays(path: str | Path, compress: bool = False, **arrays: Any) -> None:
    """Save arrays as a NumPy archive that `load_arrays` and ``np.load(path, allow_pickle=False)`` read."""
    save: Callable[..., None] = np.savez_compressed if compress else np.savez
    plain = {key: _plain(value) for key, value in arrays.items()}
    write_whole(path, lambda file: save(file, **plain))


def looked_for(path: str | Path) -> str:
    """Return where a missing file was looked for, as the end of a message; nothing if the path says so or it exists."""
    return "" if Path(path).is_absolute() or os.path.lexists(path) else f", looked for in {Path.cwd()}"


def save_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Save a dictionary as indented JSON."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def load_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        The file is missing, or is not a JSON object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}){looked_for(path)}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a nesting beyond all measure
        raise InputError(f"{path}: expected JSON, but {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def load_arrays(path: str | Path, keys: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Read a NumPy archive, or the published pickled dictionary of arrays, without running code from it.

    Parameters
    ----------
    path : path
        The file.
    keys : iterable of str
        Arrays that must be there.

    Raises
    ------
    InputError
        The file is missing, truncated, of another format, holds anything but plain arrays, or lacks a key.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}){looked_for(path)}") from None
    if head.startswith(b"PK"):
        try:
            # Opened here: of a broken archive, np.load leaves the file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {key: _plain(archive[key]) for key in archive.files}
        except Exception as error:  # noqa: BLE001 - a damaged archive can raise nearly anything
            raise InputError(
                f"{path}: expected a whole NumPy archive of plain arrays, but {_in_one_line(error)}"
            ) from None
    elif head.startswith(b"\x80"):
        arrays = load_pickled_arrays(path)
    else:
        raise InputError(f"{path}: expected a NumPy archive or a pickled dictionary of arrays, got neither")
    missing = [key for key in keys if key not in arrays]
    if missing:
        found = ", ".join(arrays) or "nothing"
        raise InputError(f"{path}: expected the arrays {', '.join(keys)}; {', '.join(missing)} missing, found {found}")
    return arrays


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that can make arrays and plain containers, and nothing else.

    NumPy's own ``__setstate__`` are not called: they believe what the file says, and a forged type makes them crash.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Allow the few names that a pickled array needs, each by a stand-in."""
        module = module.replace("numpy._core", "numpy.core")
        try:
            return _STAND_INS[module, name]
        except KeyError:
            wanted = f"{module}.{name}"
        raise pickle.UnpicklingError(f"it asks for {wanted}, and only arrays and plain containers are read")


class _Type:
    """Stands in for numpy.dtype: a type of plain numbers or text."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        self.value = np.dtype(str(code))
        if self.value.kind not in PLAIN:
            raise pickle.UnpicklingError(f"it holds an array of {self.value}, which are not plain numbers or text")

    def __setstate__(self, state: tuple) -> None:
        self.value = self.value.newbyteorder("=" if state[1] == "|" else state[1])


class _Array:
    """Stands in for numpy.ndarray."""

    def __init__(self, *_: Any) -> None:  # what numpy calls with an empty shape; the state follows
        self.value = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, content = state
        self.value = _from_bytes(content, kind, shape, "F" if fortran else "C").value


def _from_bytes(content: bytes | str, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    raw = content.encode("latin1") if isinstance(content, str) else content  # text in pickles of Python 2
    array = _Array()
    array.value = np.frombuffer(raw, kind.value).reshape(shape, order="F" if order == "F" else "C")
    return array


def _scalar(kind: _Type, content: bytes | str) -> _Array:
    return _from_bytes(content, kind, (), "C")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_STAND_INS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_bytes,  # protocol 5
    ("_codecs", "encode"): _latin1,  # how protocol 2 stores bytes
}


def load_pickled_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read a pickled dictionary of arrays, as the published data set is, without ever executing code from it.

    Raises
    ------
    InputError
        The pickle is broken, or holds anything but a dictionary of plain NumPy arrays.
    """
    expected = f"{path}: expected a pickled dictionary of NumPy arrays, but"
    try:
        content = _ArrayUnpickler(io.BytesIO(Path(path).read_bytes()), encoding="latin1").load()
    except Exception as error:  # noqa: BLE001 - a malformed pickle can raise anything
        raise InputError(f"{expected} {_in_one_line(error)}") from None
    if not isinstance(content, dict):
        raise InputError(f"{expected} it is a {type(content).__name__.strip('_')}")
    try:
        return {str(key): _plain(value.value if isinstance(value, _Array) else value) for key, value in content.items()}
    except Exception as error:  # noqa: BLE001 - likewise, lists of uneven lengths
        raise InputError(f"{expected} {_in_one_line(error)}") from None


def _plain(value: Any) -> np.ndarray:
    """Return an array of plain numbers or text; ValueError if it is something else."""
    array = np.asarray(value)
    if array.dtype.kind not in PLAIN:
        raise ValueError(f"it holds an array of {array.dtype}, which are not plain numbers or text")
    return array


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
