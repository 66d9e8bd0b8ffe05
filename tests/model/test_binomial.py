"""Binomial counts: the inversion against SciPy's probabilities, and the cell's draws against the distribution."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from src.LIFmesoCell import LIFmesoCell
from src.model.binomial import binomial_count
from src.model.circuit_file import reference_parameters, winner_take_all
from src.model.scheme import CONSISTENT

REFERENCE = reference_parameters()

SIZES = np.array([1, 2, 7, 200, 400, 10_000, 100_000])
BELOW_ONE = 1 - 2.0**-53
counts_of = tf.function(binomial_count, jit_compile=True, reduce_retracing=True)


def counts(uniform, p, N):
    """Draw for every uniform number (rows) and every number of trials (columns)."""
    shape = (len(uniform), len(N))
    given = (np.broadcast_to(part, shape) for part in (np.asarray(uniform)[:, None], p))
    return counts_of(*map(tf.constant, given), tf.constant(N, tf.float64)).numpy()


@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-5, 0.003, 0.075, 0.5, 0.97, 1 - 1e-5, BELOW_ONE, 1.0])
def test_every_count_takes_its_probability_of_the_unit_interval(p):
    """Each count has one interval of uniform numbers, so that a grid of n meets it with an error of less than 1 / n."""
    n = 20000
    drawn = counts((np.arange(n) + 0.5) / n, p, SIZES)
    for N, column in zip(SIZES, drawn.T, strict=True):
        share = np.bincount(column.astype(int), minlength=N + 1) / n
        np.testing.assert_allclose(share, stats.binom.pmf(np.arange(N + 1), N, p), rtol=0, atol=1 / n)


def test_the_ends_of_the_unit_interval_and_of_the_probabilities():
    ends = [0.0, 1e-300, 0.5, BELOW_ONE]
    np.testing.assert_array_equal(counts(ends, 0.0, SIZES), np.zeros((4, len(SIZES))))
    np.testing.assert_array_equal(counts(ends, 1.0, SIZES), np.tile(SIZES, (4, 1)))
    for p in (1e-5, 0.3, 0.999):
        drawn = counts(ends, p, SIZES)
        np.testing.assert_array_equal(drawn[0], np.floor((SIZES + 1) * p))  # the most probable count comes first
        assert (drawn >= 0).all() and (drawn <= SIZES).all()
        np.testing.assert_array_equal(drawn, np.round(drawn))


# --- in the cell ---

NEURONS = np.array([2, 60, 500])
NBAR = np.array([0.3, 0.02, 0.08])


def draw(tick, batch, seed=0, dtype="float32", nbar=NBAR):
    """Return counts (batch, M) of one bin and spikes (batch, M, 2), at fixed means."""
    model = replace(winner_take_all(window=0.1, scheme=CONSISTENT), population_size=NEURONS)
    cell = LIFmesoCell(REFERENCE, model, np.full(3, 10.0), 2, noise="binomial", seed=seed, dtype=dtype)
    H = tf.fill((batch, 3, 2), tf.constant(0.5, dtype))
    clock = tf.fill((batch, 1), tf.constant(tick, dtype))
    n, y = cell.draw(tf.constant(np.tile(nbar, (batch, 1)), dtype), H, clock)
    np.testing.assert_allclose(n * NEURONS, np.round(n * NEURONS), atol=1e-3)
    return np.round(n.numpy() * NEURONS), y.numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_have_the_distribution_of_each_population(dtype):
    n, _ = draw(7, 20000, dtype=dtype)
    for column, N, p in zip(n.T, NEURONS, NBAR, strict=True):
        expected = 20000 * stats.binom.pmf(np.arange(N + 1), N, p)
        kept = expected > 5
        observed = np.bincount(column.astype(int), minlength=N + 1)
        pairs = [np.append(part[kept], part[~kept].sum()) for part in (observed, expected)]
        chi2 = ((pairs[0] - pairs[1]) ** 2 / np.maximum(pairs[1], 1e-9))[pairs[1] > 1e-9].sum()
        assert stats.chi2.sf(chi2, kept.sum()) > 1e-3


def test_draws_of_populations_bins_trials_and_recorded_neurons_are_independent():
    size = 20000
    n, y = draw(7, size)
    following, _ = draw(8, size)
    columns = np.column_stack([n, following, np.roll(n, 1, axis=0), y.reshape(size, -1)])
    off_diagonal = np.corrcoef(columns.T)[np.triu_indices(columns.shape[1], 1)]
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(size)


def test_draws_depend_on_the_seed_and_the_bin():
    first = draw(3, 50)[0]
    np.testing.assert_array_equal(first, draw(3, 50)[0])
    assert (first != draw(3, 50, seed=1)[0]).any() and (first != draw(4, 50)[0]).any()


def test_nobody_or_everybody_fires_where_the_mean_says_so():
    n, _ = draw(0, 200, nbar=np.array([1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(n, np.tile([2, 0, 500], (200, 1)))
