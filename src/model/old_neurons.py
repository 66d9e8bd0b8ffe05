"""Neurons older than the history window, as one pool at the free potential (consistent scheme), and its adjoint.

Differs from the paper: its scheme drops them. The pool has mass m and squared-survival mass z, which obey

    m <- E m + S_A n(s-A),   z <- E^2 z + S_A^2 n(s-A),

where a cohort that was born A bins ago joins with its survival S_A, and E is the pool's survival of a bin.
"""

from typing import NamedTuple

import numpy as np

from src.model.containers import Model
from src.model.escape_noise import firing, hazard, through_firing
from src.model.filters import linear_recursion, low_pass, low_pass_adjoint
from src.model.stationary import stationary_pool


class Pool(NamedTuple):
    """The pool in R rows, each one population in one trial, over T bins, and what it was made from.

    Free potential u, H = lambda dt and P, mass m, squared-survival mass z, and v = m - z, all (R, T). `entering` is the
    survival of the cohort that joins after each bin, `born` the activity in its bin of birth, both (R, T). `leak` and
    `theta`, (R, 1), are of the potential's step; free potential and survival at the start, and the stationary activity,
    `free`, `S_A` and `n`, too.
    """

    u: np.ndarray
    H: np.ndarray
    P: np.ndarray
    m: np.ndarray
    z: np.ndarray
    v: np.ndarray
    entering: np.ndarray
    born: np.ndarray
    leak: np.ndarray
    theta: np.ndarray
    free: np.ndarray
    S_A: np.ndarray
    n: np.ndarray


class PoolBar(NamedTuple):
    """Derivatives of a loss.

    With respect to drive (R, T), leak and theta (R,), free potential and survival at the start (R,), and survival and
    birth (R, T) of the cohorts that join.
    """

    drive: np.ndarray
    leak: np.ndarray
    theta: np.ndarray
    free: np.ndarray
    S_A: np.ndarray
    entering: np.ndarray
    born: np.ndarray


def pool_of_old(
    drive: np.ndarray,
    leak: np.ndarray,
    theta: np.ndarray,
    start: tuple[np.ndarray, np.ndarray, np.ndarray],
    entering: np.ndarray,
    born: np.ndarray,
    model: Model,
) -> Pool:
    """Return the pool: stationary at first, then joined by the oldest cohorts.

    Parameters
    ----------
    drive, entering, born : array, (R, T)
        Drive of the potential; survival of the cohort that joins after each bin, and activity in its bin of birth.
    leak, theta : array, (R, 1)
    start : tuple of three arrays, (R, 1)
        Free potential and survival of neurons of the age of the window at s = 0, and the stationary activity.
    model : Model
    """
    (free, S_A, n), T = start, drive.shape[1]
    u = low_pass(drive[None], leak[:, 0])[0]
    u += leak ** np.arange(1, T + 1) * free
    H = hazard(u, theta, model.dt)
    P, E = firing(H, model.scheme)
    joining = entering * born
    before = np.concatenate([np.zeros_like(free), E[:, :-1]], axis=1)
    m0, z0 = stationary_pool(free, S_A, n, theta, model)
    m = linear_recursion(before, np.concatenate([m0, joining[:, :-1]], axis=1))
    z = linear_recursion(before**2, np.concatenate([z0, (entering * joining)[:, :-1]], axis=1))
    return Pool(u, H, P, m, z, m - z, entering, born, leak, theta, free, S_A, n)


def pool_backward(pool: Pool, missing: np.ndarray, mP_bar: np.ndarray, vP_bar: np.ndarray, model: Model) -> PoolBar:
    """Carry the derivatives with respect to the sums of m P and v P, (R, T), back through `pool_of_old`.

    `missing`, (R, T), is Lambda, the firing probability of the missing mass.
    """
    leak, free, S_A, A0_dt = pool.leak, pool.free[:, 0], pool.S_A[:, 0], pool.n[:, 0]
    _, E = firing(pool.H, model.scheme)
    v_bar = vP_bar * (pool.P - missing)

    def back(factor: np.ndarray, y_bar: np.ndarray) -> np.ndarray:
        """Carry a derivative back through `linear_recursion`: the same, backwards in time."""
        return linear_recursion(factor[:, ::-1], y_bar[:, ::-1])[:, ::-1]

    m_bar, z_bar = back(E, mP_bar * (pool.P - missing) + v_bar), back(E**2, -v_bar)
    m_next, z_next = (np.pad(bar[:, 1:], ((0, 0), (0, 1))) for bar in (m_bar, z_bar))
    E_bar = m_next * pool.m + 2 * E * z_next * pool.z
    P_bar = mP_bar * pool.m + vP_bar * pool.v
    u_now_bar = pool.H * (through_firing(P_bar, pool.H, E, model.scheme) - E * E_bar)
    u_bar = low_pass_adjoint(u_now_bar[None], leak[:, 0])[0]

    H0 = hazard(free, pool.theta[:, 0], model.dt)
    P0, E0 = firing(H0, model.scheme)
    m0_bar, z0_bar = m_bar[:, 0] * A0_dt / P0, z_bar[:, 0] * A0_dt / (P0 * (1 + E0))
    P0_bar = -m0_bar * S_A / P0 - z0_bar * S_A**2 * 2 * E0 / (P0 * (1 + E0))
    free_now_bar = H0 * E0 * P0_bar
    return PoolBar(
        drive=u_bar,
        leak=(u_bar[:, 1:] * pool.u[:, :-1]).sum(-1) + u_bar[:, 0] * free,
        theta=-u_now_bar.sum(-1) - free_now_bar,
        free=leak[:, 0] * u_bar[:, 0] + free_now_bar,
        S_A=m0_bar + 2 * z0_bar * S_A,
        entering=pool.born * (m_next + 2 * pool.entering * z_next),
        born=pool.entering * (m_next + pool.entering * z_next),
    )
