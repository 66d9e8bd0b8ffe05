"""Schemes: how the continuous time of the population equations is cut into bins.

NumPy and TensorFlow take from here what distinguishes one scheme from another, and share all the rest.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scheme:
    """A discretisation.

    Parameters
    ----------
    name : str
    exact_step : bool
        Whether leak and input are integrated exactly over a bin; if not, by an explicit Euler step.
    small_hazard : float
        A neuron fires with probability lambda dt where that is less than this, else with 1 - exp(-lambda dt).
    start_step : float or None, s
        Grid on which the hazard is summed for the stationary start; None is the grid of the bins.
    keeps_old : bool
        Whether neurons older than the history window are kept, as a pool at the free potential, or dropped.
    noise : str
        How the activity is drawn in free simulation, if nothing else is said: see `src.LIFmesoCell.LIFmesoCell`.
    window : float, s
        History window, if nothing else is said.
    """

    name: str
    exact_step: bool
    small_hazard: float
    start_step: float | None
    keeps_old: bool
    noise: str
    window: float

    def leak_and_gain(self, membrane_rate: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """Return g and k of the potential's step V <- g V + k (alpha mu + h), (M,), for alpha (M,) in 1/s."""
        if self.exact_step:
            return np.exp(-membrane_rate * dt), -np.expm1(-membrane_rate * dt) / membrane_rate
        return 1 - membrane_rate * dt, np.full_like(membrane_rate, dt)

    def leak_and_gain_slopes(self, membrane_rate: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """Return dg/dalpha and dk/dalpha, (M,)."""
        if self.exact_step:
            leak, gain = self.leak_and_gain(membrane_rate, dt)
            return -dt * leak, (dt * leak - gain) / membrane_rate
        return np.full_like(membrane_rate, -dt), np.zeros_like(membrane_rate)


PUBLISHED = Scheme(
    "published", exact_step=False, small_hazard=0.01, start_step=0.001, keeps_old=False, noise="gaussian", window=1.0
)
"""The scheme of the paper's scripts."""

CONSISTENT = Scheme(
    "consistent", exact_step=True, small_hazard=0.0, start_step=None, keeps_old=True, noise="binomial", window=0.16
)
"""A scheme that converges to the network as bins shrink, and whose likelihood is smooth in the parameters."""

SCHEMES = {scheme.name: scheme for scheme in (PUBLISHED, CONSISTENT)}
