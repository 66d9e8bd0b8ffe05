"""The posterior as ArviZ reads it back from its NetCDF file."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from src.posterior import inference_data
from src.posterior.diagnostics import effective_samples
from src.posterior.inference_data import FILE, has_arviz, save_inference_data, to_inference_data
from src.utils.exceptions import InputError
from tests.ridge_posterior import of_numbers, on_ridge

needs_arviz = pytest.mark.skipif(not has_arviz(), reason="ArviZ is not installed")


@needs_arviz
def test_what_the_file_holds(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    posterior = on_ridge(sweeps=8, walkers=20)
    ln_p = np.random.default_rng(0).standard_normal((8, 20))
    spikes = np.random.default_rng(0).integers(0, 2, posterior.recording.observed_spikes.shape)
    posterior = replace(posterior, ln_p=ln_p, recording=replace(posterior.recording, observed_spikes=spikes))
    assert save_inference_data(tmp_path, posterior) == tmp_path / FILE
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    found = arviz.from_netcdf(str(tmp_path / FILE))
    assert dict(found.posterior.sizes) == {"chain": 20, "draw": 8}
    for k, name in enumerate(posterior.model.fitted.names):
        np.testing.assert_array_equal(found.posterior[name].values, posterior.X[:, :, k].T)
    assert found.posterior["membrane_rate E1"].attrs["units"] == "1/s"
    np.testing.assert_array_equal(found.sample_stats["lp"].values, ln_p.T)
    np.testing.assert_array_equal(found.observed_data["spikes"].values, spikes)
    assert found.observed_data["spikes"].dims == ("trial", "population", "bin", "neuron")
    assert list(found.observed_data["population"].values) == ["E1", "E2", "I"]
    found.close()


@needs_arviz
def test_names_that_NetCDF_would_take_for_folders(tmp_path):
    logs = 0.1 * np.random.default_rng(0).standard_normal((5, 6, 1))
    posterior = of_numbers(logs, 0.1, 10, names=("membrane_rate L2/3",))
    save_inference_data(tmp_path, posterior)
    assert list(to_inference_data(posterior).posterior) == ["membrane_rate L2|3"]
    assert effective_samples(posterior.X)[0] <= 30


def test_without_ArviZ_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(inference_data, "has_arviz", lambda: False)
    with pytest.raises(InputError, match="expected ArviZ and h5netcdf, found .* python -m pip install"):
        save_inference_data(tmp_path, on_ridge(sweeps=2, walkers=2))
    assert not list(tmp_path.iterdir())
