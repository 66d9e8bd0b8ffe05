"""What a sampler knows, in one file, from which it goes on to the very same draws."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from src.utils.text import wrong_with

CHECKPOINT = "checkpoint"
WORDS = "words"
"""Under which all that is no array stands in the archive, as JSON."""
INSIDE = "/"


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write nested dictionaries of arrays and of what JSON can hold, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    arrays[WORDS] = np.array(json.dumps(_without_arrays(state, "", arrays)))
    save_arrays(path, False, **arrays)


def load_state(path: Path) -> dict[str, Any]:
    """Undo `save_state`.

    Raises
    ------
    InputError
        The file is missing or broken.
    """
    arrays = load_arrays(path, [WORDS])
    try:
        return dict(_with_arrays(json.loads(str(arrays.pop(WORDS))), arrays))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected the state of a sampler, but {wrong_with(error)}") from None


def _without_arrays(part: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return a part without its arrays, which go to `arrays`; each leaves its name."""
    if isinstance(part, np.ndarray):
        arrays[name] = part
        return {"array": name}
    if isinstance(part, Mapping):
        return {str(key): _without_arrays(value, f"{name}{INSIDE}{key}", arrays) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_without_arrays(value, f"{name}{INSIDE}{k}", arrays) for k, value in enumerate(part)]
    return part


def _with_arrays(part: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(part, dict):
        if set(part) == {"array"}:
            return arrays[part["array"]]
        return {key: _with_arrays(value, arrays) for key, value in part.items()}
    return [_with_arrays(value, arrays) for value in part] if isinstance(part, list) else part
