"""First-order filters over all bins at once, and their adjoints, in NumPy."""

import numpy as np
from scipy.signal import lfilter


def low_pass(signal: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """Return y(s) = decay y(s-1) + signal(s), (B, M, T), with y(-1) = 0 and one `decay` per population, (M,)."""
    out = np.empty_like(signal)
    for m, factor in enumerate(decay):
        out[:, m] = lfilter([1.0], [1.0, -factor], signal[:, m], axis=-1)
    return out


def low_pass_adjoint(y_bar: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """Carry a derivative back through `low_pass`: the same filter, backwards in time."""
    return low_pass(y_bar[..., ::-1], decay)[..., ::-1]


def linear_recursion(factor: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Return y(s) = factor(s) y(s-1) + added(s) along the last axis, y(-1) = 0, in log2(T) sweeps over all bins.

    `factor` and `added` have one shape. Each sweep doubles how far back y(s) reaches.
    Factors between 0 and 1 keep it stable.
    """
    y, factor, reach = added.copy(), factor.copy(), 1
    while reach < y.shape[-1]:
        y[..., reach:] += factor[..., reach:] * y[..., :-reach]
        factor[..., reach:] = factor[..., reach:] * factor[..., :-reach]
        factor[..., :reach] = 0
        reach *= 2
    return y
