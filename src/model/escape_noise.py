"""Escape noise: from the potential to the probability of a spike in a bin, elementwise, in NumPy.

Symbols as in the equations of the paper and of Schwalger et al. 2017: V potential, lambda = exp(V - theta) hazard in
1/s, H = lambda dt, E = exp(-H) survival of the bin, P firing probability. `src.LIFmesoCell` has the same in TensorFlow;
tests tie the two.
"""

import numpy as np

from src.model.scheme import Scheme

REFRACTORY_HAZARD = 1e-8  # 1/s
CEILING = 80.0
"""Of ln H. Differs from the paper: exp overflows in float32 beyond 88; P = 1 to all digits from ln H = 4 on."""


def hazard(V: np.ndarray, threshold: np.ndarray, dt: float, out: np.ndarray | None = None) -> np.ndarray:
    """Return H = lambda dt, lambda = exp(V - theta), for potentials of any shape; `dt` in s."""
    ln_H = np.subtract(V, threshold - np.log(dt), out=out)
    return np.exp(np.minimum(ln_H, CEILING, out=out), out=out)


def firing(
    H: np.ndarray, scheme: Scheme, out: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
) -> tuple[np.ndarray, np.ndarray]:
    """Return the firing probability P in a bin, and the survival E = exp(-H) of the bin, both shaped like H.

    P = 1 - exp(-H), or H itself where the scheme says so for small ones.
    """
    E = np.negative(H, out=out[1])
    if scheme.small_hazard == 0:
        P = np.expm1(E, out=out[0])
        np.negative(P, out=P)
        return P, np.subtract(1, P, out=E)
    P = np.subtract(1, np.exp(E, out=E), out=out[0])
    np.copyto(P, H, where=H < scheme.small_hazard)
    return P, E


def firing_slope(H: np.ndarray, E: np.ndarray, scheme: Scheme) -> np.ndarray:
    """Return dP/dH, shaped like H: E, or 1 where P = lambda dt."""
    return E if scheme.small_hazard == 0 else np.where(H < scheme.small_hazard, 1.0, E)


def log_firing(H: np.ndarray, ln_H: np.ndarray, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """Return ln P, and its derivative in ln H, both shaped like H; `ln_H` stands for ln P where the hazard is small."""
    small = H < scheme.small_hazard
    H_safe = np.where(small, 1.0, H)
    P = -np.expm1(-H_safe)
    return np.where(small, ln_H, np.log(P)), np.where(small, 1.0, H_safe * np.exp(-H_safe) / P)
