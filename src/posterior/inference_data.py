"""The posterior as an ArviZ `InferenceData`, in a NetCDF file where ArviZ is installed."""

import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from src.posterior.result import Posterior
from src.utils.exceptions import InputError
from src.utils.files import write_whole

FILE = "posterior.nc"
INSTALL = 'python -m pip install "arviz>=0.23,<1" h5netcdf'


def has_arviz() -> bool:
    """Tell whether ArviZ and what writes its files are installed, without loading them."""
    return all(find_spec(name) is not None for name in ("arviz", "h5netcdf"))


def to_inference_data(posterior: Posterior) -> Any:
    """Return an ArviZ `InferenceData`: a chain is a walker, and a draw is a sweep.

    Groups: ``posterior`` with a variable for each fitted number, by its name; ``sample_stats`` with ``lp``, the
    estimate of ln p(spikes | X); ``observed_data`` with ``spikes`` (trial, population, bin, neuron), history window
    included. In names "/" becomes "|", for NetCDF takes it for a folder.

    Raises
    ------
    InputError
        ArviZ or h5netcdf is not installed.
    """
    if not has_arviz():
        raise InputError(f"InferenceData: expected ArviZ and h5netcdf, found at least one missing: {INSTALL}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it announces ArviZ 1 whenever it is loaded
        import arviz
    model, recording = posterior.model, posterior.recording
    names = [name.replace("/", "|") for name in model.fitted.names]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "More chains", UserWarning)  # so it is: walkers are many, and short
        found = arviz.from_dict(
            posterior={name: posterior.X[:, :, k].T for k, name in enumerate(names)},
            sample_stats={"lp": posterior.ln_p.T},
            observed_data={"spikes": recording.observed_spikes.astype("uint8")},
            coords={"population": list(model.names)},
            dims={"spikes": ["trial", "population", "bin", "neuron"]},
        )
    for name, unit in zip(names, model.fitted.units, strict=True):
        found.posterior[name].attrs["units"] = unit or "1"
    return found


def save_inference_data(folder: Path, posterior: Posterior) -> Path:
    """Write ``posterior.nc`` into a folder, whole or not at all, and return its path.

    Raises
    ------
    InputError
        As `to_inference_data`.
    """
    found = to_inference_data(posterior)
    with tempfile.TemporaryDirectory() as there:
        path = Path(there) / FILE
        found.to_netcdf(str(path), engine="h5netcdf")
        content = path.read_bytes()
    write_whole(folder / FILE, lambda file: file.write(content))
    return folder / FILE
