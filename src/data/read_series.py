"""A known stimulus from an NWB file: any TimeSeries, through pynapple as in `src.data.read_nwb`."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from src.data.read_nwb import INSTALL_PYNAPPLE
from src.data.samples import Stimulus, samples_of
from src.utils.exceptions import InputError
from src.utils.text import some, wrong_with


def stimulus_of_nwb(path: str | Path, name: str) -> Stimulus | None:
    """Read a TimeSeries of an NWB file: acquisition, stimulus, or of a processing module, by its name or its path.

    Returns
    -------
    Stimulus or None
        None if there is no series of that name.

    Raises
    ------
    InputError
        pynapple is missing, the file cannot be read, several series have that name, or it holds no numbers.
    """
    with _opened(path) as series:
        found = [where for where in series if name in (where, where.rpartition("/")[2])]
        if len(found) > 1:
            raise InputError(f"stimulus: expected one series of {path}, got {name!r} for {some(sorted(found))}")
        return _stimulus_of(f"{path}: {found[0]}", series[found[0]]) if found else None


def series_of_nwb(path: str | Path) -> list[str]:
    """Return the paths of all TimeSeries of an NWB file, such as ``stimulus/grating``."""
    with _opened(path) as series:
        return sorted(series)


@contextmanager
def _opened(path: str | Path) -> Iterator[dict[str, Any]]:
    """Open an NWB file, and give its TimeSeries by their paths."""
    try:
        import pynapple
    except ImportError as error:
        raise InputError(f"{path}: NWB files need pynapple ({error}); install it with: {INSTALL_PYNAPPLE}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in `src.data.read_nwb`
            file = pynapple.load_file(str(path))
            every = [each for each in file.nwb.objects.values() if hasattr(each, "starting_time")]
            series = {_path_of(each): each for each in every}
    except Exception as error:  # noqa: BLE001 - a damaged file can raise nearly anything
        raise InputError(f"{path}: expected an NWB file, but {wrong_with(error)}") from None
    try:
        yield series
    finally:
        file.close()


def _path_of(series: Any) -> str:
    """Return where a series lies: ``acquisition/lick``, ``processing/behavior/Position/head``."""
    parts, here = [], series
    while here.parent is not None:
        parts.append(str(here.name))
        here = here.parent
    root = here
    places = {"acquisition": root.acquisition, "stimulus": root.stimulus, "processing": root.processing}
    begin = [place for place, held in places.items() if parts[-1] in held]
    return "/".join([*begin[:1], *reversed(parts)])


def _stimulus_of(where: str, series: Any) -> Stimulus:
    try:
        values = np.asarray(series.data[:])
        if values.dtype.kind in "biuf":
            values = values * float(series.conversion) + float(series.offset or 0.0)
        if series.timestamps is not None:
            time = np.asarray(series.timestamps[:], float)
        else:
            time = float(series.starting_time or 0.0) + np.arange(len(values)) / float(series.rate)
    except Exception as error:  # noqa: BLE001 - what a file lacks shows in many ways
        raise InputError(f"{where}: expected numbers with times or a rate, but {wrong_with(error)}") from None
    return Stimulus(where, None, {"": samples_of(where, time, values)})


def is_nwb(path: str) -> bool:
    """Tell whether a file is of that format."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(4) == b"\x89HDF"
