"""The table of a posterior whose every number is known, and other priors that are known to move it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from src.model.priors import Gaussian, LogNormal, Uniform
from src.posterior.reweighting import reweighted, weighted_median
from src.posterior.table import marginals, posterior_table, table_as_dict, table_rows
from tests.ridge_posterior import of_numbers, on_ridge

Z = norm.ppf(0.95)


def gaussian_logs(sd, n=1, sweeps=20, walkers=500, seed=0, centre=0.0):
    return centre + sd * np.random.default_rng(seed).standard_normal((sweeps, walkers, n))


def test_numbers_of_the_table_are_those_of_a_known_distribution():
    sd, bound = np.array([0.1, 0.4]), 10.0
    posterior = of_numbers(gaussian_logs(sd, n=2), 1 / bound, bound)
    for row, s in zip(marginals(posterior), sd, strict=True):
        np.testing.assert_allclose([row.low, row.median, row.high], np.exp(np.array([-Z, 0, Z]) * s), rtol=0.02)
        assert row.width == pytest.approx(2 * Z * s / (0.9 * 2 * np.log(bound)), rel=0.03)
        assert 7000 < row.effective <= 10000 and row.r_hat == pytest.approx(1, abs=0.01)
        assert row.near_lower == row.near_upper == 0 and row.true is None and row.unit == "1/s"


def test_share_near_a_bound():
    uniform = np.random.default_rng(0).uniform(np.log(0.4), np.log(2), (50, 400, 1))
    row = marginals(of_numbers(uniform, 0.4, 2))[0]
    assert row.near_lower == pytest.approx(0.02, abs=0.004) and row.near_upper == pytest.approx(0.02, abs=0.004)
    assert row.width == pytest.approx(1, abs=0.02)
    piled = np.log(0.4) + 0.1 * np.random.default_rng(0).exponential(size=(50, 400, 1)).clip(0, 16)
    row = marginals(of_numbers(piled, 0.4, 2))[0]
    assert row.near_lower == pytest.approx(1 - np.exp(-0.2 * np.log(5)), abs=0.02) and row.near_upper < 0.001


def test_prior_without_bounds_has_none_to_be_near():
    for prior in (LogNormal(1, 0.5), Gaussian(1, 0.5)):
        row = marginals(of_numbers(gaussian_logs(0.1), -np.inf, np.inf, priors=(prior,)))[0]
        assert row.near_lower == row.near_upper == 0 and row.width == pytest.approx(0.2, rel=0.05)


def test_table_says_what_is_true_where_that_is_known():
    posterior = on_ridge()
    rows = table_rows(marginals(posterior))
    assert "true" in rows[0] and {len(row) for row in rows} == {len(rows[0])}
    by_name = {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows}
    assert by_name["coupling I"]["true"] == "19.97" and by_name["membrane_rate E1"]["unit"] == "1/s"
    uneven = replace(posterior, true=np.where(np.arange(12) == 5, np.nan, posterior.true))
    assert [row[5] for row in table_rows(marginals(uneven))][6] == "unknown"
    assert "true" not in table_rows(marginals(replace(posterior, true=None)))[0]
    text = posterior_table(posterior)
    assert text.startswith("Posterior: 1000 draws of 100 walkers from 2 origins.\n")
    line = next(line for line in text.splitlines() if line.startswith("coupling I "))
    assert line.split() == " ".join(rows[6]).split()


def test_table_as_JSON():
    posterior = replace(on_ridge(), origin=np.zeros(100, int), true=None)
    content = json.loads(json.dumps(table_as_dict(posterior), allow_nan=False))
    assert list(content) == list(posterior.model.fitted.names)
    assert content["coupling I"]["r_hat"] is None and content["coupling I"]["true"] is None
    assert content["coupling I"]["median"] == pytest.approx(np.median(posterior.draws[:, 5]))


def test_weighted_median():
    X = np.array([[3.0, 1], [1, 2], [2, 3]])
    np.testing.assert_array_equal(weighted_median(X, np.array([0.2, 0.2, 0.6])), [2, 3])
    np.testing.assert_array_equal(weighted_median(X, np.array([0.7, 0.2, 0.1])), [3, 1])


def test_another_prior_moves_the_median_as_it_must():
    sd, sigma = 0.3, 0.5
    posterior = of_numbers(gaussian_logs(sd, centre=0.4, sweeps=40), 0.01, 100)
    found = {each.kind: each for each in reweighted(posterior)}
    assert set(found) == {"uniform", "log-normal"}
    assert np.log(found["uniform"].medians[0]) == pytest.approx(0.4 + sd**2, abs=0.02)
    towards = 0.4 / sd**2 / (1 / sd**2 + 1 / sigma**2)
    assert np.log(found["log-normal"].medians[0]) == pytest.approx(towards, abs=0.02)
    assert found["uniform"].effective == pytest.approx(20000 * np.exp(-(sd**2)), rel=0.1)


def test_priors_that_were_given_are_kept():
    logs = gaussian_logs(0.3, n=3)
    posterior = of_numbers(logs, 0.1, 10, priors=(LogNormal(1, 0.5), Uniform(0.1, 10), None))
    found = {each.kind: each for each in reweighted(posterior)}
    changed = {kind: each.changed.tolist() for kind, each in found.items()}
    assert changed == {
        "log-uniform": [False, True, False],
        "log-normal": [False, True, True],
        "uniform": [False, False, True],
    }
    assert np.log(found["log-uniform"].medians[1]) == pytest.approx(np.median(logs[..., 1]) - 0.09, abs=0.02)
    for each in found.values():
        assert each.medians[0] == pytest.approx(np.exp(np.median(logs[..., 0])), rel=0.02)
