"""A known stimulus from an NWB file: any TimeSeries, read as the file has it, as in `src.data.read_nwb`."""

from pathlib import Path
from typing import Any

import numpy as np

from src.data.formats import NWB, kind_of
from src.data.read_nwb import opened
from src.data.samples import Stimulus, samples_of
from src.utils.exceptions import InputError
from src.utils.text import some, wrong_with

PLACES = ("acquisition/", "stimulus/presentation/", "stimulus/templates/", "processing/")
"""Where a file keeps them."""


def stimulus_of_nwb(path: str | Path, name: str) -> Stimulus | None:
    """Read a TimeSeries of an NWB file: acquisition, stimulus, or of a processing module, by its name or its path.

    Returns
    -------
    Stimulus or None
        None if there is no series of that name.

    Raises
    ------
    InputError
        The file cannot be read, several series have that name, or it holds no numbers.
    """
    with opened(path) as file:
        series = _series_in(file)
        found = [where for where in series if name in (where, where.rpartition("/")[2], series[where].name.strip("/"))]
        if len(found) > 1:
            raise InputError(f"stimulus: expected one series of {path}, got {name!r} for {some(sorted(found))}")
        return _stimulus_of(f"{path}: {found[0]}", series[found[0]]) if found else None


def series_of_nwb(path: str | Path) -> list[str]:
    """Return the paths of all TimeSeries of an NWB file, such as ``stimulus/grating``."""
    with opened(path) as file:
        return sorted(_series_in(file))


def is_nwb(path: str | Path) -> bool:
    """Tell whether there is such a file of that format."""
    return Path(path).is_file() and kind_of(str(path)) == NWB


def _series_in(file: Any) -> dict[str, Any]:
    """Return the TimeSeries of an open file by their paths: groups with data that have times, or a rate."""
    import h5py

    found: dict[str, Any] = {}

    def look(where: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and where.startswith(PLACES) and "data" in item:
            if "timestamps" in item or "starting_time" in item:
                found[where.replace("stimulus/presentation/", "stimulus/", 1)] = item

    file.visititems(look)
    return found


def _type_of(series: Any) -> str:
    kind = series.attrs.get("neurodata_type", "")
    return kind.decode() if isinstance(kind, bytes) else str(kind)


def _stimulus_of(where: str, series: Any) -> Stimulus:
    try:
        data = series["data"]
        values = np.asarray(data[()])
        if values.dtype.kind in "biuf":
            values = values * float(data.attrs.get("conversion", 1.0)) + float(data.attrs.get("offset", 0.0))
        if _type_of(series) == "IntervalSeries":
            values = np.maximum(values, 0)  # it marks where intervals begin by 1, 2, ... and where they end by -1, ...
        if "timestamps" in series:
            time = np.asarray(series["timestamps"][()], float)
        else:
            begin = series["starting_time"]
            if "rate" not in begin.attrs:
                raise KeyError("its rate")
            time = float(begin[()]) + np.arange(len(values)) / float(begin.attrs["rate"])
    except Exception as error:  # noqa: BLE001 - what a file lacks shows in many ways
        raise InputError(f"{where}: expected numbers with times or a rate, but {wrong_with(error)}") from None
    return Stimulus(where, None, {"": samples_of(where, time, values)})
