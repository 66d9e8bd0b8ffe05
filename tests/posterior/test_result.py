"""A posterior that is saved holds the recording that it is about."""

from dataclasses import replace

import numpy as np
import pytest

from src.posterior.result import load_posterior, save_posterior
from tests.fake_posterior import fake_posterior

NAMES = np.array([["17", "unit 3"], ["é,1", ""], ["20", "21"]])


@pytest.mark.parametrize("names", [NAMES, None])
def test_names_of_units_come_back_where_there_are_any(tmp_path, names):
    posterior = fake_posterior()
    recording = replace(posterior.recording, unit_names=names, recorded=NAMES != "")
    save_posterior(tmp_path, replace(posterior, recording=recording))
    found = load_posterior(tmp_path).recording
    np.testing.assert_array_equal(found.recorded, NAMES != "")
    assert (found.unit_names is None) if names is None else (found.unit_names.tolist() == NAMES.tolist())


def test_time_that_was_not_watched_is_none_in_what_comes_back_either(tmp_path):
    posterior = fake_posterior()
    spikes = posterior.recording.observed_spikes
    observed, left_out = spikes == 0, np.zeros((*spikes.shape[:2], posterior.recording.n_bins, spikes.shape[-1]), bool)
    observed[..., :7, :], left_out[..., 3, 0] = False, True
    recording = replace(posterior.recording, observed=observed, left_out=left_out)
    save_posterior(tmp_path, replace(posterior, recording=recording))
    found = load_posterior(tmp_path).recording
    np.testing.assert_array_equal(found.observed, observed)
    np.testing.assert_array_equal(found.is_scored, recording.is_scored)
    assert not found.is_scored.all()
