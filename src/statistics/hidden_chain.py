"""Filtering and smoothing of a hidden Markov chain whose observations have any likelihood.

With q_t = p(state in bin t | observations before it), b_t the likelihood of the observation in each state and P the
transition matrix, q_{t+1} is in proportion to q_t N_t, N_t = diag(b_t) P. With e_t = p(observations from bin t on |
state), e_t = N_t e_{t+1}. Both are products of matrices. Time is therefore cut into about sqrt(T) blocks, of which all
take their first step at once, then all their second: 3 sqrt(T) steps of NumPy instead of 2 T.
"""

from dataclasses import dataclass

import numpy as np

LEAST = 1e-300
"""Sums of probabilities are divided by this at least."""


@dataclass(frozen=True)
class Chain:
    """What observations say about hidden states.

    Parameters
    ----------
    ln_p : array, (..., T)
        ln p(observation in the bin | those before it), in nats. The sum is ln p(observations).
    predicted : array, (..., T, K)
        p(state | observations in earlier bins).
    smoothed : array, (..., T, K)
        p(state | all observations).
    transitions : array, (..., K, K)
        Expected number of steps from one state (row) to another (column), in `counted` bins.
    """

    ln_p: np.ndarray
    predicted: np.ndarray
    smoothed: np.ndarray
    transitions: np.ndarray


def run_chain(
    ln_likelihood: np.ndarray, transition: np.ndarray, start: np.ndarray, counted: np.ndarray | None = None
) -> Chain:
    """Filter and smooth.

    Parameters
    ----------
    ln_likelihood : array, (..., T, K)
        Of the observation in each bin, given the state, in nats; 0 where there is none.
    transition : array, (..., K, K)
        Probability of each state (column) in the bin after one with another (row); positive.
    start : array, (..., K)
        Probability of each state in the first bin; positive.
    counted : array of bool, (..., T), or None
        Bins whose step to the next one counts in `Chain.transitions`, as a trial may end before its last bin. None: all
        but the last.
    """
    T = ln_likelihood.shape[-2]
    most = ln_likelihood.max(axis=-1, keepdims=True)
    b = _in_blocks(np.exp(ln_likelihood - most))
    starts, ends = _between_blocks(b, transition, start)
    q, e = _within_blocks(b, transition, starts, ends)
    b, q, e = (array.reshape(*array.shape[:-3], -1, array.shape[-1])[..., :T, :] for array in (b, q, e))
    seen = q * b
    ln_p = np.log(np.maximum(seen.sum(axis=-1), LEAST)) + most[..., 0]
    smoothed = _normal(q * e)
    step = seen[..., :-1, :]  # in proportion to p(state in t, observations until t); e follows one bin later
    later = e[..., 1:, :]
    both = step / np.maximum((step * (later @ np.swapaxes(transition, -1, -2))).sum(axis=-1, keepdims=True), LEAST)
    if counted is not None:
        both = both * counted[..., :-1, None]
    return Chain(ln_p, q, smoothed, transition * (np.swapaxes(both, -1, -2) @ later))


def _normal(weights: np.ndarray) -> np.ndarray:
    return weights / np.maximum(weights.sum(axis=-1, keepdims=True), LEAST)


def _in_blocks(b: np.ndarray) -> np.ndarray:
    """Return the likelihoods, (..., T, K), as (..., blocks, bins, K); what fills up the last block says nothing."""
    *lead, T, K = b.shape
    length = int(np.ceil(np.sqrt(T)))
    blocks = -(-T // length)
    filled = np.concatenate([b, np.ones((*lead, blocks * length - T, K))], axis=-2)
    return filled.reshape(*lead, blocks, length, K)


def _between_blocks(b: np.ndarray, P: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return q in the first bin of each block, and e in the bin after its last, both (..., blocks, K)."""
    *lead, blocks, length, K = b.shape
    product = np.broadcast_to(np.eye(K), (*lead, blocks, K, K))
    for s in range(length):
        product = (product * b[..., s, None, :]) @ P[..., None, :, :]
        product = product / product.sum(axis=(-1, -2), keepdims=True)
    starts, ends = np.empty((2, *lead, blocks, K))
    starts[..., 0, :], ends[..., -1, :] = start, 1.0
    for k in range(1, blocks):
        starts[..., k, :] = _normal((starts[..., k - 1, None, :] @ product[..., k - 1, :, :])[..., 0, :])
        ends[..., -1 - k, :] = _normal((product[..., -k, :, :] @ ends[..., -k, :, None])[..., 0])
    return starts, ends


def _within_blocks(b: np.ndarray, P: np.ndarray, q: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return q and e in every bin, (..., blocks, bins, K), from those at the ends of the blocks."""
    all_q, all_e = np.empty((2, *b.shape))
    back, length = np.swapaxes(P, -1, -2), b.shape[-2]
    for s in range(length):
        all_q[..., s, :] = q
        q = _normal((q * b[..., s, :]) @ P)
        last = length - 1 - s
        e = _normal(b[..., last, :] * (e @ back))
        all_e[..., last, :] = e
    return all_q, all_e
