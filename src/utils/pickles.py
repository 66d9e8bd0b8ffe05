"""Pickled dictionaries of arrays, as the published data set is one, read without ever running code from them."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from src.utils.exceptions import InputError
from src.utils.text import error_in_words

PLAIN = "biufcSU"
"""Kinds of NumPy types that are read: numbers and text."""


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

    objects = False

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        self.value = np.dtype(str(code))
        if self.objects and self.value.kind == "O":
            return
        if self.value.kind not in PLAIN:
            raise pickle.UnpicklingError(f"it holds an array of {self.value}, which are not plain numbers or text")

    def __setstate__(self, state: tuple) -> None:
        self.value = self.value.newbyteorder("=" if state[1] == "|" else state[1])


class _TypeOfTexts(_Type):
    """Likewise, or of objects, for an array of texts."""

    objects = True


class _Array:
    """Stands in for numpy.ndarray."""

    def __init__(self, *_: Any) -> None:  # what numpy calls with an empty shape; the state follows
        self.value = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, content = state
        if kind.value.kind == "O":
            self.value = _plain_objects(content)
            return
        self.value = _from_bytes(content, kind, shape, "F" if fortran else "C").value


def _plain_objects(content: Any) -> np.ndarray:
    """Return the objects of an array as one of plain text or whole numbers, if that is what they all are."""
    if not isinstance(content, list) or not all(isinstance(each, (str, bytes, int)) for each in content):
        raise pickle.UnpicklingError("it holds objects that are no text")
    if len({type(each) for each in content}) > 1:
        raise pickle.UnpicklingError("it holds text and numbers")
    return plain_array(content)


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


class _TextUnpickler(_ArrayUnpickler):
    """The same, for an array of objects that are text or whole numbers."""

    def find_class(self, module: str, name: str) -> Any:
        """Allow the type of objects, too."""
        found = super().find_class(module, name)
        return _TypeOfTexts if found is _Type else found


def texts_in_pickle(content: bytes) -> np.ndarray:
    """Return the pickled array of texts or whole numbers, (n,), without ever executing code from it.

    Any exception means that it holds anything else.
    """
    value = _TextUnpickler(io.BytesIO(content), encoding="latin1").load()
    if not isinstance(value, _Array):
        raise pickle.UnpicklingError("it is no array")
    return plain_array(value.value)


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
        raise InputError(f"{expected} {error_in_words(error)}") from None
    if not isinstance(content, dict):
        raise InputError(f"{expected} it is a {type(content).__name__.strip('_')}")
    try:
        return {
            str(key): plain_array(value.value if isinstance(value, _Array) else value) for key, value in content.items()
        }
    except Exception as error:  # noqa: BLE001 - likewise, lists of uneven lengths
        raise InputError(f"{expected} {error_in_words(error)}") from None


def plain_array(value: Any) -> np.ndarray:
    """Return an array of plain numbers or text; ValueError if it is something else."""
    array = np.asarray(value)
    if array.dtype.kind not in PLAIN:
        raise ValueError(f"it holds an array of {array.dtype}, which are not plain numbers or text")
    return array
