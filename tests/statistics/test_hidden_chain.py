"""A hidden Markov chain against sums over all paths of states, and against a loop over time."""

import itertools

import numpy as np
import pytest

from src.statistics.hidden_chain import run_chain


def random_chain(shape, T, K, seed=0, scale=1.5):
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.ones(K), K)
    return rng.normal(-3, scale, (*shape, T, K)), P, rng.dirichlet(np.ones(K))


def all_paths(ln_b, P, start):
    """ln p(observations), p(state | all), p(state | earlier), expected steps; one path of states after another."""
    T, K = ln_b.shape
    total, smoothed, steps = 0.0, np.zeros((T, K)), np.zeros((T - 1, K, K))
    predicted = np.zeros((T, K))
    for path in itertools.product(range(K), repeat=T):
        prior, before = start[path[0]], 1.0
        for t, state in enumerate(path):
            if t:
                prior *= P[path[t - 1], state]
                before *= np.exp(ln_b[t - 1, path[t - 1]])
            # all later states are summed over: each prefix is counted once for every continuation
            predicted[t, state] += prior * before / K ** (T - 1 - t)
        p = prior * before * np.exp(ln_b[-1, path[-1]])
        total += p
        smoothed[np.arange(T), path] += p
        steps[np.arange(T - 1), path[:-1], path[1:]] += p
    predicted /= predicted.sum(axis=1, keepdims=True)
    return np.log(total), predicted, smoothed / total, steps / total


@pytest.mark.parametrize(("T", "K"), [(2, 2), (3, 3), (7, 2), (7, 3), (10, 2)])
def test_sums_over_all_paths(T, K):
    ln_b, P, start = random_chain((2,), T, K)
    chain = run_chain(ln_b, P, start)
    for b in range(2):
        total, predicted, smoothed, steps = all_paths(ln_b[b], P, start)
        assert chain.ln_p[b].sum() == pytest.approx(total, rel=1e-12)
        np.testing.assert_allclose(chain.predicted[b], predicted, rtol=1e-10)
        np.testing.assert_allclose(chain.smoothed[b], smoothed, rtol=1e-10)
        np.testing.assert_allclose(chain.transitions[b], steps.sum(axis=0), rtol=1e-10)
    counted = np.arange(T) < np.array([[T - 2], [1]])
    some = run_chain(ln_b, P, start, counted)
    for b, last in enumerate((T - 2, 1)):
        steps = all_paths(ln_b[b], P, start)[3][:last].sum(axis=0)
        np.testing.assert_allclose(some.transitions[b], steps, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("T", [1, 50, 1000])
def test_many_bins_against_a_loop_with_chains_of_their_own_side_by_side(T):
    ln_b, *_ = random_chain((2, 3), T, 3, scale=20)  # far below what a float can hold in the end
    kinds = [random_chain((), 1, 3, seed)[1:] for seed in (1, 2)]
    P, start = (np.stack(parts) for parts in zip(*kinds, strict=True))
    P[0] = 1e-9 + np.eye(3) * (1 - 3e-9)  # hardly ever leaves a state
    chain = run_chain(ln_b, P[:, None], start[:, None])
    for s, b in np.ndindex(2, 3):
        q, ln_p, filtered = start[s], 0.0, []
        for t in range(T):
            np.testing.assert_allclose(chain.predicted[s, b, t], q, rtol=1e-8, atol=1e-250)
            most = ln_b[s, b, t].max()
            weights = q * np.exp(ln_b[s, b, t] - most)
            ln_p += most + np.log(weights.sum())
            filtered.append(weights / weights.sum())
            q = filtered[-1] @ P[s]
        assert chain.ln_p[s, b].sum() == pytest.approx(ln_p, rel=1e-12)
        smoothed = filtered[-1]
        for t in reversed(range(T)):
            if t < T - 1:
                joint = filtered[t][:, None] * P[s]
                smoothed = (joint / joint.sum(axis=0)) @ smoothed
            np.testing.assert_allclose(chain.smoothed[s, b, t], smoothed, rtol=1e-8, atol=1e-14)


def test_bins_without_observation_say_nothing():
    ln_b, P, start = random_chain((), 30, 2)
    ln_b[20:] = 0.0
    short, chain = run_chain(ln_b[:20], P, start), run_chain(ln_b, P, start)
    np.testing.assert_allclose(chain.smoothed[:20], short.smoothed, rtol=1e-12)
    np.testing.assert_allclose(chain.ln_p[20:], 0, atol=1e-14)
    np.testing.assert_allclose(chain.smoothed[25], chain.smoothed[19] @ np.linalg.matrix_power(P, 6), rtol=1e-10)
