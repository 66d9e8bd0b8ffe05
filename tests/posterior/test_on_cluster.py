"""Evaluations elsewhere are those of here, in the same order."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from src.helper import to_X
from src.model.scheme import CONSISTENT
from src.posterior.likelihood import likelihood_of
from src.posterior.on_cluster import OnCluster
from src.posterior.target import Target
from src.utils.exceptions import FitError
from tests.cases import random_case

CASE = random_case(M=1, scheme=CONSISTENT)


def test_the_numbers_do_not_depend_on_where():
    model, recording = CASE.model, CASE.recording
    ln_p, _ = likelihood_of(model, recording)
    X = to_X(CASE.parameters, model) * np.linspace(0.9, 1.1, 6)[:, None]
    given = model, recording, ln_p, 7, 1

    def likelihood(model):
        return likelihood_of(model, recording)[0]

    here = Target(*given, None, likelihood)
    with ThreadPoolExecutor(2) as pool:
        there = Target(*given, OnCluster(pool, recording, 7), likelihood)
        for share in (1, 1, 0.5):  # with other numbers each time
            (one, numbers), (other, others) = here.smaller(share).ln_p(X, 16), there.smaller(share).ln_p(X, 16)
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(numbers, others)
    assert len(set(one)) == 6 and numbers[0] == 12


def test_workers_that_die_again_and_again_are_one_line(monkeypatch):
    class Dies:
        def map(self, *_):
            raise KeyError("tcp://a:1")

    monkeypatch.setattr("src.posterior.on_cluster.killed_there", lambda: (KeyError,))
    with pytest.raises(FitError, match="^scheduler: workers died again and again"):
        OnCluster(Dies(), CASE.recording, 1)(CASE.model, np.ones((2, 3)), np.arange(2), 4)
