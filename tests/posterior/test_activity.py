"""Activity with bands, at the true parameters of simulated data: coverage, correlation, masks, and files."""

from dataclasses import fields, replace

import numpy as np
import pytest

from src.inference import fast_filter
from src.inference.fast_filter import FastFilter, has_numba
from src.posterior.activity import (
    ARCHIVE,
    agreement,
    infer_activity,
    load_bands,
    save_bands,
)
from src.statistics.smoothing import smooth
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from tests.ridge_posterior import at_the_truth, simulated

pytestmark = pytest.mark.skipif(not has_numba(), reason="numba is not installed")


@pytest.fixture(scope="module")
def truth():
    """A posterior at the true parameters of 6 s, with bands and recording."""
    model, recording = simulated()
    posterior = at_the_truth(model, recording)
    return posterior, infer_activity(posterior, np.random.default_rng(0))


def test_bands_cover_what_they_should(truth):
    posterior, bands = truth
    found = agreement(bands, posterior.recording, posterior.model)
    assert ((found.coverage > 0.85) & (found.coverage < 0.96)).all()
    assert (found.correlation[:2] > 0.6).all() and (found.smoothed[:2] > 0.85).all()
    activity = smooth(posterior.recording.true_activity, posterior.model.dt, 0.02)
    inside = ((activity >= bands.smoothed_low) & (activity <= bands.smoothed_high)).mean(axis=(0, 2))
    assert ((inside > 0.8) & (inside < 0.98)).all()
    assert ((bands.low <= bands.mean) & (bands.mean <= bands.high)).all()


def test_wrong_bands_are_seen_to_be_wrong(truth):
    posterior, bands = truth
    turned = replace(bands, **{each.name: getattr(bands, each.name)[:, ::-1] for each in fields(bands)[:5]})
    found = agreement(turned, posterior.recording, posterior.model)
    assert (found.coverage[[0, 2]] < 0.6).all() and (found.smoothed[[0, 2]] < 0.3).all()
    hidden = replace(posterior.recording, true_activity=None)
    assert agreement(bands, hidden, posterior.model) is None


def test_each_draw_gives_the_path_of_its_own_evaluation():
    model, recording = simulated(seconds=0.4, trials=2)
    posterior = at_the_truth(model, recording, number=10)
    evaluation = np.array([[3, 3, 3, 8, 8, 8, 8, 8, 8, 5]])
    posterior = replace(posterior, evaluation=evaluation, X=posterior.X * np.exp(0.01 * evaluation[..., None] / 8))
    bands = infer_activity(posterior, np.random.default_rng(0), threads=2)
    np.testing.assert_array_equal(bands.evaluations, [3, 5, 8])
    run = FastFilter(model, recording, n_particles=posterior.n_particles)
    paths = {
        k: run.activity(posterior.parameters(draw), (posterior.seed, k))[0] for draw, k in ((0, 3), (3, 8), (9, 5))
    }
    np.testing.assert_allclose(bands.mean, (3 * paths[3] + 6 * paths[8] + paths[5]) / 10, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(bands.low, np.min([*paths.values()], axis=0))
    again = infer_activity(posterior, np.random.default_rng(0), threads=1)
    np.testing.assert_array_equal(bands.smoothed_low, again.smoothed_low)


def test_at_most_so_many_evaluations():
    model, recording = simulated(seconds=0.2)
    bands = infer_activity(at_the_truth(model, recording, number=40), np.random.default_rng(3), n_draws=7)
    assert len(bands.evaluations) == 7


def test_nothing_beyond_the_end_of_a_trial_counts():
    model, recording = simulated(seconds=0.8, trials=2)
    judged = np.arange(recording.n_bins) < np.array([[120], [200]])
    masked = replace(recording, judged=judged & (np.arange(recording.n_bins) >= 20))
    posterior = at_the_truth(model, masked, number=10)
    bands = infer_activity(posterior, np.random.default_rng(0))
    for band in (bands.mean, bands.low, bands.high, bands.smoothed_low, bands.smoothed_high):
        assert (band[0, :, 120:] == 0).all() and band[0, 2, :120].any() and band[1, 2, 120:].any()
    found = agreement(bands, masked, model)
    odd = masked.true_activity.copy()
    odd[0, :, 120:] = 0.9
    other = agreement(bands, replace(masked, true_activity=odd), model)
    np.testing.assert_array_equal(found.coverage, other.coverage)
    np.testing.assert_array_equal(found.smoothed, other.smoothed)


def test_files(truth, tmp_path):
    posterior, bands = truth
    assert load_bands(tmp_path, posterior) is None
    save_bands(tmp_path, bands)
    for name, array in vars(load_bands(tmp_path, posterior)).items():
        np.testing.assert_array_equal(array, getattr(bands, name))
    arrays = load_arrays(tmp_path / ARCHIVE)
    with pytest.raises(InputError, match="activity: expected activity of the posterior beside it"):
        load_bands(tmp_path, replace(posterior, evaluation=posterior.evaluation + 1000))
    save_arrays(tmp_path / ARCHIVE, **{**arrays, "low": arrays["low"][..., 1:]})
    with pytest.raises(InputError, match=r"activity: expected arrays of shape .*, got low \(1, 3, 1499\)"):
        load_bands(tmp_path, posterior)
    save_arrays(tmp_path / ARCHIVE, **{key: arrays[key] for key in ("mean", "low")})
    with pytest.raises(InputError, match="activity: .*high.* missing"):
        load_bands(tmp_path, posterior)


def test_without_numba_one_line_says_what_to_install(monkeypatch):
    model, recording = simulated(seconds=0.2)
    monkeypatch.setattr(fast_filter, "has_numba", lambda: False)
    with pytest.raises(InputError, match="expected numba, found none: python -m pip install numba"):
        infer_activity(at_the_truth(model, recording, number=10), np.random.default_rng(0))
