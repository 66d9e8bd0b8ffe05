"""ln p of the spikes as it ranks fits: the same number with and without numba, and its error."""

from dataclasses import replace

import numpy as np
import pytest

from src.inference import spike_likelihood as module
from src.inference.spike_likelihood import mean_of_filters, spike_likelihood
from src.model.scheme import CONSISTENT, PUBLISHED
from tests.cases import random_case

pytest.importorskip("numba")


@pytest.fixture
def case():
    case = random_case(M=2, B=2, T=200, A=40, scheme=CONSISTENT)
    J = np.array([[2.0, 3.0], [-3.0, -2.0]])
    parameters = replace(case.parameters, coupling=J, resting_potential=np.array([5.0, 4.0]))
    return case._replace(parameters=parameters)


def test_with_and_without_numba_it_is_the_same_within_its_error(case, monkeypatch):
    fast = spike_likelihood(case.model, case.recording)(case.parameters)
    monkeypatch.setattr(module, "has_numba", lambda: False)
    slow = spike_likelihood(case.model, case.recording)(case.parameters)
    assert fast.ln_p == pytest.approx(slow.ln_p, abs=5 * np.hypot(fast.error, slow.error) + 0.05)
    assert 0 < fast.error < 1 and 0 < slow.error < 1


def test_it_is_that_of_the_consistent_scheme_after_the_burn_in(case):
    known = spike_likelihood(case.model, case.recording)
    assert known(case.parameters) == known(case.parameters)
    assert spike_likelihood(replace(case.model, scheme=PUBLISHED), case.recording)(case.parameters) == known(
        case.parameters
    )
    later = case.recording.judged_from(125)
    assert later.is_judged.sum() == 2 * (200 - 125) and later.is_judged[:, 125:].all()
    assert spike_likelihood(case.model, later)(case.parameters) == known(case.parameters)
    spikes = case.recording.observed_spikes.copy()
    spikes[:, :, 40 : 40 + 100] = 0  # other spikes in the burn-in are other information, but cost nothing by themselves
    other = spike_likelihood(case.model, replace(case.recording, observed_spikes=spikes))(case.parameters)
    assert other.ln_p == pytest.approx(known(case.parameters).ln_p, abs=5)


def test_a_recording_shorter_than_the_burn_in_is_judged_whole(case):
    short = replace(
        case.recording,
        observed_spikes=case.recording.observed_spikes[:, :, : 40 + 100],
        external_input=case.recording.external_input[..., :100],
    )
    assert spike_likelihood(case.model, short)(case.parameters).ln_p < -10


def test_the_mean_is_one_of_likelihoods_in_each_part():
    mean, error = mean_of_filters(np.log(np.array([[1.0, 4.0], [3.0, 4.0]])))
    assert mean == pytest.approx(np.log(2 * 4))
    assert error == pytest.approx(np.sqrt(np.log(3) ** 2 / 2 / 2))
    assert mean_of_filters(np.array([[-3.0, -4.0]])) == (-7.0, 0.0)
