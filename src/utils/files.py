"""Reading and writing: whole files or none, NumPy archives, JSON, and pickled arrays without running their code."""

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from src.utils.exceptions import InputError
from src.utils.pickles import load_pickled_arrays, plain_array, texts_in_pickle
from src.utils.text import error_in_words

HALF_WRITTEN = ".part"


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
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=HALF_WRITTEN)
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


def remove_half_written(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder that is ours alone."""
    for left in folder.glob(f".*{HALF_WRITTEN}"):
        left.unlink(missing_ok=True)


def check_can_be_folder(folder: Path) -> None:
    """Raise an error if a folder of results cannot be one."""
    if any(each.is_file() for each in (folder, *folder.parents)):
        raise InputError(f"output: expected a folder, got {folder}, which cannot be one")


def save_arrays(path: str | Path, compress: bool = False, **arrays: Any) -> None:
    """Save arrays as a NumPy archive that `load_arrays` and ``np.load(path, allow_pickle=False)`` read."""
    save: Callable[..., None] = np.savez_compressed if compress else np.savez
    plain = {key: plain_array(value) for key, value in arrays.items()}
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


def _member(archive: Any, key: str) -> np.ndarray:
    """Return one array of an open archive; one of objects, which NumPy pickles, if all of them are text or numbers."""
    try:
        return np.asarray(archive[key])
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
    try:
        with archive.zip.open(f"{key}.npy") as file:
            major, _ = np.lib.format.read_magic(file)
            reader = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[major]
            shape, _, _ = reader(file)
            return texts_in_pickle(file.read()).reshape(shape)
    except Exception:  # noqa: BLE001 - a malformed pickle can raise anything
        raise ValueError(
            f"{key} holds Python objects, which are not read; save it as plain text or numbers, for instance by "
            f"{key}=np.array({key}, dtype=str), and lists of unequal lengths end to end"
        ) from None


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
                arrays = {key: plain_array(_member(archive, key)) for key in archive.files}
        except Exception as error:  # noqa: BLE001 - a damaged archive can raise nearly anything
            broken = isinstance(error, zipfile.BadZipFile)
            why = "it is damaged, or its copy broke off" if broken else error_in_words(error)
            raise InputError(f"{path}: expected a whole NumPy archive of plain arrays, but {why}") from None
    elif head.startswith(b"\x80"):
        arrays = load_pickled_arrays(path)
    else:
        raise InputError(f"{path}: expected a NumPy archive or a pickled dictionary of arrays, got neither")
    missing = [key for key in keys if key not in arrays]
    if missing:
        found = ", ".join(arrays) or "nothing"
        raise InputError(f"{path}: expected the arrays {', '.join(keys)}; {', '.join(missing)} missing, found {found}")
    return arrays
