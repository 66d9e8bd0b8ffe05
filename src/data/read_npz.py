"""NumPy archives of spike times, or of spikes in bins; see ``docs/data.md``."""

from pathlib import Path

import numpy as np

from src.data.read_csv import sort_into_trains
from src.data.spike_trains import UNKNOWN, SpikeTrains, Stretch, natural_order, stretch_of_bins
from src.utils.exceptions import InputError
from src.utils.text import some

KEYS = "spike_times and spike_unit, or spikes (bins, units) and dt"


def spike_trains_of(
    path: str | Path,
    arrays: dict[str, np.ndarray],
    population_column: str = "population",
    unit_column: str | None = None,
) -> SpikeTrains:
    """Return the spike trains in the arrays of an archive.

    Parameters
    ----------
    path : path
        What messages call the archive.
    arrays : dict
        ``spike_times`` (n,) in s and ``spike_unit`` (n,), the name or number of the unit that each is of, and
        optionally ``spike_trial`` (n,); or ``spikes`` (bins, units) of 0 and 1 and ``dt`` in s. With both, optionally:
        ``unit`` (units,), the names; `population_column` (units,); ``begin`` and ``end`` in s; and tables of intervals
        (n, 2) under any other name. Lists may be columns or rows, (n, 1) or (1, n).
    population_column : str
    unit_column : str or None
        The array that names the units, in their order, whatever `spike_unit` calls them; None: ``unit``.

    Raises
    ------
    InputError
        An array is missing, or has a wrong shape or value.
    """
    arrays = {key: value if key == "spikes" else as_list(value) for key, value in arrays.items()}
    names = _names(path, "unit", arrays["unit"]) if "unit" in arrays else None
    if "spikes" in arrays:
        units, stretches = _binned(path, arrays, names)
    elif "spike_times" in arrays and "spike_unit" in arrays:
        units, stretches = _listed(path, arrays, names)
    else:
        raise InputError(f"{path}: expected the arrays {KEYS}; found {some(list(arrays)) or 'nothing'}")
    labels = None
    if population_column in arrays:
        found = _of_units(path, population_column, arrays[population_column], len(units), "labels")
        labels = tuple(label or UNKNOWN for label in found)
    if unit_column is not None and unit_column != "unit":
        if unit_column not in arrays:
            raise InputError(f"unit_column: expected an array of {path} ({some(list(arrays))}), got {unit_column!r}")
        units = _of_units(path, unit_column, arrays[unit_column], len(units), "names")
    others = {
        key: value
        for key, value in arrays.items()
        if value.ndim == 2 and value.shape[1] == 2 and key not in ("spikes", "stimulus", "external_input")
    }
    intervals = {key: value.astype(float) for key, value in others.items() if value.dtype.kind in "iuf"}
    given = arrays.get("invalid_times")
    if given is not None and given.size and "invalid_times" not in intervals:
        came = f"{given.dtype} of shape {given.shape}"
        raise InputError(f"{path}: invalid_times: expected starts and ends in s, (n, 2), got {came}")
    complete = names is not None or "spikes" in arrays
    step = float(arrays["dt"]) if "spikes" in arrays else None
    return SpikeTrains(str(path), tuple(units), stretches, labels, intervals, step, complete)


def as_list(array: np.ndarray) -> np.ndarray:
    """Return a column or a row, (n, 1) or (1, n) with n > 1, as a list (n,); other arrays as they are."""
    return array.ravel() if array.ndim == 2 and 1 in array.shape and array.size > 2 else array


def _of_units(path: str | Path, name: str, array: np.ndarray, number: int, what: str) -> list[str]:
    """Return what an array says of each unit."""
    found = _names(path, name, array, True)
    if len(found) != number:
        raise InputError(f"{path}: {name}: expected {number} {what}, one a unit, got {len(found)}")
    return found


def _listed(
    path: str | Path, arrays: dict[str, np.ndarray], names: list[str] | None
) -> tuple[list[str], tuple[Stretch, ...]]:
    """Return units and stretches of an archive that lists spikes."""
    times = _numbers(path, "spike_times", arrays["spike_times"])
    of_unit = _names(path, "spike_unit", arrays["spike_unit"])
    of_trial = _names(path, "spike_trial", arrays["spike_trial"]) if "spike_trial" in arrays else None
    for name, came in (("spike_unit", of_unit), ("spike_trial", of_trial)):
        if came is not None and len(came) != len(times):
            raise InputError(f"{path}: {name}: expected {len(times)} entries, one a spike, got {len(came)}")
    units = names if names is not None else sorted(set(of_unit), key=natural_order)
    strangers = sorted(set(of_unit) - set(units), key=natural_order)
    if strangers:
        raise InputError(f"{path}: spike_unit: expected names that stand in unit, got {some(strangers)}")
    begin = _time(path, "begin", arrays, None)
    end = _time(path, "end", arrays, None)
    stretches = sort_into_trains(times, of_unit, units, of_trial)
    return units, tuple(Stretch(stretch.times, begin, end, stretch.name) for stretch in stretches)


def _binned(
    path: str | Path, arrays: dict[str, np.ndarray], names: list[str] | None
) -> tuple[list[str], tuple[Stretch, ...]]:
    """Return units and the stretch of an archive that holds spikes in bins: each becomes a time amid its bin."""
    spikes = arrays["spikes"]
    if spikes.ndim != 2:
        raise InputError(f"{path}: spikes: expected (bins, units), got shape {spikes.shape}")
    if spikes.dtype.kind not in "biuf" or not np.isin(spikes, (0, 1)).all():
        raise InputError(f"{path}: spikes: expected 0 and 1; give spike_times where a bin holds more than one spike")
    dt = _time(path, "dt", arrays, None)
    if dt is None or dt <= 0:
        raise InputError(f"{path}: dt: expected one positive bin width in s, got {'nothing' if dt is None else dt}")
    units = names if names is not None else [str(i) for i in range(spikes.shape[1])]
    if len(units) != spikes.shape[1]:
        raise InputError(f"{path}: unit: expected {spikes.shape[1]} names, one a column of spikes, got {len(units)}")
    begin = _time(path, "begin", arrays, 0.0) or 0.0
    return units, (stretch_of_bins(spikes.T, dt, begin),)


def _numbers(path: str | Path, name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise InputError(f"{path}: {name}: expected a list of numbers in s, got {array.dtype} of shape {array.shape}")
    return array.astype(float)


def _time(path: str | Path, name: str, arrays: dict[str, np.ndarray], default: float | None) -> float | None:
    if name not in arrays:
        return default
    value = arrays[name]
    if value.shape != () or value.dtype.kind not in "iuf" or not np.isfinite(value):
        raise InputError(f"{path}: {name}: expected one finite number in s, got {value.tolist()!r}")
    return float(value)


def _names(path: str | Path, name: str, array: np.ndarray, may_be_empty: bool = False) -> list[str]:
    """Return names, which may be whole numbers."""
    whole = array.dtype.kind in "iu" or (
        array.dtype.kind == "f" and (np.isfinite(array) & (array == np.round(array))).all()
    )
    if array.ndim != 1 or not (whole or array.dtype.kind in "SU"):
        raise InputError(
            f"{path}: {name}: expected a list of names or whole numbers, got {array.dtype} of shape {array.shape}"
        )
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    names = [str(value).strip() for value in (array if array.dtype.kind == "U" else array.astype(int))]
    if not may_be_empty and not all(names):
        raise InputError(f"{path}: {name}: expected names, got an empty one")
    return names
