"""First-order filters over all bins at once, and their adjoints, in NumPy."""

import numpy as np
import scipy


def low_pass(signal: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """Return y(s) = decay y(s-1) + signal(s), (B, M, T), with y(-1) = 0 and one `decay` per population, (M,)."""
    out = np.empty_like(signal)
    for m, factor in enumerate(decay):
        out[:, m] = recursion(np.full(signal.shape[-1], factor), signal[:, m])
    return out


def low_pass_adjoint(y_bar: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """Carry a derivative back through `low_pass`: the same filter, backwards in time."""
    return low_pass(y_bar[..., ::-1], decay)[..., ::-1]


def recursion(factor: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Return y(s) = factor(s) y(s-1) + added(s), y(-1) = 0, for several signals with the same factors.

    It is a triangular system of equations with two bands: one call of LAPACK.

    Parameters
    ----------
    factor : array, (T,)
    added : array, (k, T)

    Returns
    -------
    array, (k, T)
    """
    bands = np.ones((2, len(factor)), order="F")
    bands[1, :-1] = -factor[1:]
    y, _ = scipy.linalg.lapack.dtbtrs(bands, np.asfortranarray(added.T), uplo="L", diag="U")
    return y.T


def recursion_adjoint(factor: np.ndarray, y_bar: np.ndarray) -> np.ndarray:
    """Carry a derivative, (k, T), back through `recursion`: y_bar(s) + factor(s+1) times the same of the next bin."""
    later = np.concatenate([np.zeros(1), factor[:0:-1]])
    return recursion(later, y_bar[:, ::-1])[:, ::-1]
