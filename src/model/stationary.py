"""The stationary start: populations that have fired at constant rates for ever, cohort by cohort.

A neuron reset at time 0 and driven at the constant rates A0 has V(t) = hbar (1 - exp(-alpha t)), with
hbar = mu + sum_j J_jm A0_j / alpha; its survival follows from the hazard along the way.

A stationary start knows nothing of the phase of an oscillation. All particles of a filter come to oscillate at about
the same one. If it is not that of the data, none of them explains the spikes. So where there is burn-in, particles
begin at moments that are spread over a free run.
"""

from typing import NamedTuple

import numpy as np

from src.model.containers import Model, Parameters, Recording
from src.model.escape_noise import REFRACTORY_HAZARD, firing, hazard

LEAST_RATE = 0.5
"""Hz. A population whose few recorded neurons were silent in the window is not dead, as it would be with A0 = 0.

How high the rate is taken to be hardly matters half a second later.
"""
FREE_RUN = 0.5
"""Longest free run before a trial with burn-in, in s."""


class Start(NamedTuple):
    """Potential and survival of every age at s = 0, (B, M, A+1), with derivatives in hbar, alpha and theta.

    The last entry is that of neurons older than the window; their potential is the free one, hbar.
    """

    V0: np.ndarray
    S0: np.ndarray
    V0_slopes: tuple[np.ndarray, ...]
    S0_slopes: tuple[np.ndarray, ...]


def stationary_start(parameters: Parameters, initial_rate: np.ndarray, model: Model) -> Start:
    """Return the state of populations that have fired at the constant rates A0, (B, M), in Hz."""
    alpha, theta = parameters.membrane_rate[:, None], parameters.threshold[:, None]
    hbar = (parameters.resting_potential + initial_rate @ parameters.coupling / parameters.membrane_rate)[..., None]
    dt, step, A = model.dt, model.scheme.start_step, model.window_bins
    silent = model.refractory_bins * dt

    def rise(t: np.ndarray) -> list[np.ndarray]:
        """Return V = hbar (1 - exp(-alpha t)), and its derivatives in hbar and alpha."""
        V_hbar = np.broadcast_to(-np.expm1(-alpha * t), hbar.shape[:-1] + t.shape)
        return [hbar * V_hbar, V_hbar.copy(), hbar * t * np.exp(-alpha * t)]

    age = np.arange(A + 1) * dt
    if step is None:  # the grid of the bins: free for age - silent before the bin, one bin longer in it
        V0 = rise(np.maximum(age - silent, 0))
        V, *V_slopes = rise(np.maximum(age + dt - silent, 0))
        free = age > silent - dt / 2
        H = np.where(free, hazard(V, theta, dt), REFRACTORY_HAZARD * dt)
        upto = np.arange(-1, A)
    else:
        fine = np.arange(int(age[-1] / step + 1e-6) + 1) * step
        V0 = [part * (age > silent - 1e-9) for part in rise(age)]
        V, *V_slopes = (part * (fine > silent - 1e-9) for part in rise(fine))
        free = V != 0
        H = np.where(free, hazard(V, theta, step), 0.0)
        upto = (age / step + 1e-6).astype(int)
    for part, value in zip(V0, (hbar[..., 0], 1, 0), strict=True):
        part[..., A] = value

    def total(hazards: np.ndarray) -> np.ndarray:
        return np.where(upto < 0, 0.0, np.cumsum(hazards, axis=-1)[..., upto])

    S0 = np.exp(-total(H))
    if step is not None:
        S0[..., 0] = 0  # as published
    S0_slopes = tuple(-S0 * total(H * free * slope) for slope in (*V_slopes, -1.0))
    return Start(V0[0], S0, tuple(V0[1:]), S0_slopes)


def stationary_pool(
    free: np.ndarray, S_A: np.ndarray, n: np.ndarray, threshold: np.ndarray, model: Model
) -> tuple[np.ndarray, np.ndarray]:
    """Return mass and squared-survival mass of the neurons older than the window, in populations at rest.

    With the firing probability P_u at the free potential, x = S_A n / P_u and z = S_A^2 n / (1 - (1 - P_u)^2).

    Parameters
    ----------
    free, S_A, n : array, (..., 1) or (B, M)
        Free potential, survival at the age of the window, and stationary activity A0 dt, a fraction per bin.
    threshold : array
        Broadcasts to them.
    model : Model

    Returns
    -------
    x, z : array, shaped like `n`
        Fractions of the population; zero if the scheme does not keep old neurons.
    """
    if not model.scheme.keeps_old:
        return np.zeros_like(n), np.zeros_like(n)
    P, E = firing(hazard(free, threshold, model.dt), model.scheme)
    return S_A * n / P, S_A**2 * n / (P * (1 + E))


def free_run_bins(recording: Recording, model: Model) -> np.ndarray:
    """Return how many bins the free run takes over whose moments particles begin a trial: (B,).

    It is as long as the burn-in, at most `FREE_RUN`; without burn-in, there is none, and the start is stationary.
    """
    return np.minimum(recording.burn_in, round(FREE_RUN / model.dt))
