"""Reading and writing: whole files or none, NumPy archives, JSON, and pickled arrays without running their code."""

import io
import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from src.settings import InputError


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
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_arrays(path: str | Path, compress: bool = False, **arrays: Any) -> None:
    """Save arrays as a NumPy archive that `load_arrays` and ``np.load(path, allow_pickle=False)`` read."""
    save: Callable[..., None] = np.savez_compressed if compress else np.savez
    write_whole(path, lambda file: save(file, **{key: np.asarray(value) for key, value in arrays.items()}))


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
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
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
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if head.startswith(b"PK"):
        try:
            # Opened here: of a broken archive, np.load leaves the file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: expected a whole NumPy archive of plain arrays, but {error}") from None
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
    """An unpickler that can make NumPy arrays and plain containers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Allow the few names that a pickled array needs."""
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return _reconstruct
        if (module, name) == ("numpy.core.multiarray", "scalar"):
            return _scalar
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 stores bytes
            return _latin1
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only arrays and plain containers are read")


def _reconstruct(subtype: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    if subtype is not np.ndarray or np.dtype(dtype).hasobject:
        raise pickle.UnpicklingError("it holds an array of Python objects")
    return np.ndarray(shape, dtype)


def _scalar(dtype: np.dtype, content: bytes) -> Any:
    if dtype.hasobject:
        raise pickle.UnpicklingError("it holds a scalar Python object")
    return np.frombuffer(content, dtype)[0]


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def load_pickled_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read a pickled dictionary of arrays, as the published data set is, without ever executing code from it.

    Raises
    ------
    InputError
        The pickle is broken, or holds anything but a dictionary of plain NumPy arrays.
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(Path(path).read_bytes()), encoding="latin1").load()
    except Exception as error:  # noqa: BLE001 - a malformed pickle can raise anything
        raise InputError(f"{path}: expected a pickled dictionary of NumPy arrays, but {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a pickled dictionary of NumPy arrays, got a {type(content).__name__}")
    arrays = {str(key): np.asarray(value) for key, value in content.items()}
    for key, value in arrays.items():
        if value.dtype.hasobject:
            raise InputError(f"{path}: expected plain arrays, but {key} holds Python objects")
    return arrays
