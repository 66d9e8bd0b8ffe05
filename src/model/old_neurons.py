"""Neurons for which nothing remains of the reset, as one pool at the free potential, and its derivatives.

From some age K on, the potentials of all cohorts are equal to the free one, u, up to a tolerance. Then all share one
firing probability, and their sums M = sum S n and Z = sum S^2 n obey, with E the survival of a bin,

    M <- E M + S_K n(s-K) - S_A n(s-A),   Z <- E^2 Z + S_K^2 n(s-K) - S_A^2 n(s-A).

A cohort joins at age K with its survival S_K. The published scheme drops it at age A, the length of the window. The
consistent scheme keeps it, without the last terms. Differs from the paper: its code follows each cohort up to age A.
"""

from typing import NamedTuple

import numpy as np

from src.model.containers import Model
from src.model.escape_noise import firing, firing_slope, hazard
from src.model.filters import recursion, recursion_adjoint
from src.model.stationary import stationary_pool

TAIL = 1e-10
"""Part of a reset below which nothing remains of it: losses then keep eleven digits."""
NOBODY = 40.0
"""H of a bin that nobody survives; larger ones would cost the cumulative hazard its digits."""


def limit_ages(leak: np.ndarray, model: Model, tolerance: float) -> np.ndarray:
    """Return the age K in bins, (R,), from which on V is the free potential, for leaks (R,) of the step in V.

    A reset leaves the fraction |leak| a bin, to the power of the age. K is the window where the reset outlasts it, and
    for a tolerance of 0.
    """
    slowest = np.abs(leak)
    if not model.scheme.exact_step:  # the stationary start misses exp(-alpha dt) of hbar, at most exp(leak - 1)
        slowest = np.maximum(slowest, np.exp(leak - 1))
    with np.errstate(divide="ignore"):
        bins = np.log(tolerance) / np.log(np.clip(slowest, 1e-300, 1 - 1e-12))
    return np.minimum(model.window_bins, model.refractory_bins + 1 + np.ceil(bins)).astype(int)


class Row(NamedTuple):
    """A population in a trial: drive (T,), activity with its window (A+T,), start (A+1,), leak, theta, and age K."""

    drive: np.ndarray
    n_past: np.ndarray
    V0: np.ndarray
    S0: np.ndarray
    leak: float
    theta: float
    limit: int


class Pool(NamedTuple):
    """The pool of a row over T bins: each (T,), but for `start`.

    Free potential u, H = lambda dt, its survival E and P; sums M and Z, and v = M - Z. `S_K` and `S_A` are survivals of
    the cohorts that join and leave, `joins` and `leaves` the activities in their bins of birth; all are 0 where none
    does. `cumulative` is the sum of H over the bins before. `start` is the mass and squared-survival mass of those that
    were older than the window at s = 0.
    """

    u: np.ndarray
    H: np.ndarray
    E: np.ndarray
    P: np.ndarray
    M: np.ndarray
    Z: np.ndarray
    v: np.ndarray
    S_K: np.ndarray
    S_A: np.ndarray
    joins: np.ndarray
    leaves: np.ndarray
    cumulative: np.ndarray
    start: tuple[float, float]

    @property
    def before(self) -> np.ndarray:
        """Survival of the bin before, (T,): the factor of the recursion."""
        return np.concatenate([np.zeros(1), self.E[:-1]])


class PoolBar(NamedTuple):
    """Derivatives of a loss: drive, S_K (T,), V0, S0 (A+1,), n (A+T,), leak, theta."""

    drive: np.ndarray
    S_K: np.ndarray
    V0: np.ndarray
    S0: np.ndarray
    n: np.ndarray
    leak: float
    theta: float


class Tangents(NamedTuple):
    """Derivatives in p parameters of a row's drive (p, T), leak (p,), theta (p,), V0 and ln S0 (p, A+1)."""

    drive: np.ndarray
    leak: np.ndarray
    theta: np.ndarray
    V0: np.ndarray
    ln_S0: np.ndarray


def pool_of_old(row: Row, S_K: np.ndarray, model: Model) -> Pool:
    """Return the pool of neurons of age K and more; `S_K`, (T,), is the survival at that age before each bin."""
    (A, T), K = (len(row.V0) - 1, len(row.drive)), row.limit
    L, n0 = A - K, row.n_past[0]
    u = recursion(np.full(T, row.leak), _with_first(row.drive, row.leak * row.V0[A])[None])[0]
    H = hazard(u, np.array(row.theta), model.dt)
    P, E = firing(H, model.scheme)
    cumulative = np.concatenate([np.zeros(1), np.cumsum(np.minimum(H, NOBODY))[:-1]])
    joins, leaves, S_A = np.zeros((3, T))
    joins[1:] = row.n_past[L : L + T - 1]
    if not model.scheme.keeps_old:
        leaves[1:] = row.n_past[: T - 1]
        early = min(L, T)
        S_A[:early] = row.S0[A - np.arange(early)] * np.exp(-cumulative[:early])
        S_A[early:] = S_K[: T - early] * np.exp(cumulative[: T - early] - cumulative[early:])
    m, left = S_K * joins, S_A * leaves
    start = stationary_pool(row.V0[A:], row.S0[A:], row.n_past[:1], np.array([row.theta]), model)
    m0, z0 = (float(part[0]) for part in start)
    old = row.S0[K:A]
    before = np.concatenate([np.zeros(1), E[:-1]])
    M = recursion(before, _first_is(m - left, m0 + n0 * old.sum())[None])[0]
    Z = recursion(before**2, _first_is(S_K * m - S_A * left, z0 + n0 * (old**2).sum())[None])[0]
    return Pool(u, H, E, P, M, Z, np.maximum(M - Z, 0), S_K, S_A, joins, leaves, cumulative, (m0, z0))


def _with_first(signal: np.ndarray, more: np.ndarray | float) -> np.ndarray:
    """Return a signal (..., T) with something added to its first bin."""
    signal = signal.copy()
    signal[..., 0] += more
    return signal


def _first_is(signal: np.ndarray, value: np.ndarray | float) -> np.ndarray:
    """Return a signal (..., T) with another first bin."""
    signal[..., 0] = value
    return signal


def pool_backward(
    pool: Pool, row: Row, missing: np.ndarray, mP_bar: np.ndarray, vP_bar: np.ndarray, model: Model
) -> PoolBar:
    """Carry the derivatives with respect to the sums of m P and v P, (T,), back through `pool_of_old`.

    `missing`, (T,), is Lambda, the firing probability of the missing mass.
    """
    (A, T), K = (len(row.V0) - 1, len(row.drive)), row.limit
    L, n0, E, old = A - K, row.n_past[0], pool.E, slice(K, A)
    v_bar = vP_bar * (pool.P - missing)
    M_bar = recursion_adjoint(pool.before, (mP_bar * (pool.P - missing) + v_bar)[None])[0]
    Z_bar = recursion_adjoint(pool.before**2, -v_bar[None])[0]
    M_next, Z_next = (np.append(bar[1:], 0.0) for bar in (M_bar, Z_bar))
    V0_bar, S0_bar, n_bar = np.zeros(A + 1), np.zeros(A + 1), np.zeros(A + T)
    E_bar = M_next * pool.M + 2 * E * Z_next * pool.Z
    P_bar = mP_bar * pool.M + vP_bar * pool.v
    H_bar = P_bar * firing_slope(pool.H, E, model.scheme) - E * E_bar

    S0_bar[old] = n0 * (M_bar[0] + 2 * Z_bar[0] * row.S0[old])
    S_K_bar = _first_is(pool.joins * (M_bar + 2 * Z_bar * pool.S_K), 0.0)
    n_bar[L : L + T - 1] += (pool.S_K * (M_bar + pool.S_K * Z_bar))[1:]
    if not model.scheme.keeps_old:
        early = min(L, T)
        n_bar[: T - 1] -= (pool.S_A * (M_bar + pool.S_A * Z_bar))[1:]
        S_A_bar = _first_is(-pool.leaves * (M_bar + 2 * Z_bar * pool.S_A), 0.0)
        S0_bar[A - np.arange(early)] += S_A_bar[:early] * np.exp(-pool.cumulative[:early])
        S_K_bar[: T - early] += S_A_bar[early:] * np.exp(pool.cumulative[: T - early] - pool.cumulative[early:])
        lost = pool.S_A * S_A_bar
        cumulative_bar = -lost
        cumulative_bar[: T - early] += lost[early:]
        H_bar[:-1] += np.cumsum(cumulative_bar[:0:-1])[::-1] * (pool.H < NOBODY)[:-1]
    S0_bar[K] += S_K_bar[0]
    u_now_bar = pool.H * H_bar
    theta_bar = -float(u_now_bar.sum())
    drive_bar = recursion_adjoint(np.full(T, row.leak), u_now_bar[None])[0]
    leak_bar = float(drive_bar[1:] @ pool.u[:-1] + drive_bar[0] * row.V0[A])
    V0_bar[A] = row.leak * drive_bar[0]
    if model.scheme.keeps_old:
        free_bar = _start_backward(row, M_bar[0], Z_bar[0], S0_bar, model)
        V0_bar[A] += free_bar
        theta_bar -= free_bar
    return PoolBar(drive_bar, S_K_bar, V0_bar, S0_bar, n_bar, leak_bar, theta_bar)


def _start_backward(row: Row, m_bar: float, z_bar: float, S0_bar: np.ndarray, model: Model) -> float:
    """Carry derivatives back through `stationary_pool`: into `S0_bar`, and to the free potential less threshold."""
    H = hazard(row.V0[-1:], np.array([row.theta]), model.dt)
    (P,), (E,) = firing(H, model.scheme)
    S_A, n = row.S0[-1], row.n_past[0]
    m_bar, z_bar = m_bar * n / P, z_bar * n / (P * (1 + E))
    S0_bar[-1] += m_bar + 2 * z_bar * S_A
    P_bar = -m_bar * S_A / P - z_bar * S_A**2 * 2 * E / (P * (1 + E))
    return float(H[0] * E * P_bar)


def pool_tangents(
    pool: Pool,
    row: Row,
    tangents: Tangents,
    ln_S_K: np.ndarray,
    coefficients: tuple[np.ndarray, np.ndarray],
    model: Model,
) -> np.ndarray:
    """Return what the pool adds to the derivatives of nbar, (p, T), in p parameters.

    Parameters
    ----------
    pool : Pool
    row : Row
    tangents : Tangents
    ln_S_K : array, (p, T)
        Derivatives of the logarithm of the survival at age K.
    coefficients : two arrays, (T,)
        Lambda, the firing probability of the missing mass, and the missing mass over the sum of v.
    model : Model
    """
    (A, T), K = (len(row.V0) - 1, len(row.drive)), row.limit
    L, n0, old, (missing, per_v) = A - K, row.n_past[0], slice(K, A), coefficients
    drive = tangents.drive.copy()
    drive[:, 1:] += tangents.leak[:, None] * pool.u[:-1]
    drive[:, 0] += row.leak * tangents.V0[:, A] + tangents.leak * row.V0[A]
    excess = recursion(np.full(T, row.leak), drive) - tangents.theta[:, None]  # of u over the threshold
    d_cumulative = np.zeros_like(drive)
    np.cumsum((pool.H * (pool.H < NOBODY) * excess)[:, :-1], axis=1, out=d_cumulative[:, 1:])
    # With D = d_cumulative, dM + D M obeys the recursion of M, without the derivative of its factor.
    m_in = (ln_S_K + d_cumulative) * (pool.S_K * pool.joins)
    z_in = 2 * pool.S_K * m_in
    if not model.scheme.keeps_old:
        early = min(L, T)
        ln_S_A = np.empty_like(drive)
        ln_S_A[:, :early] = tangents.ln_S0[:, A - np.arange(early)]
        ln_S_A[:, early:] = (ln_S_K + d_cumulative)[:, : T - early]
        left = ln_S_A * (pool.S_A * pool.leaves)
        m_in -= left
        z_in -= 2 * pool.S_A * left
    m_in[:, 0] = tangents.ln_S0[:, old] @ (n0 * row.S0[old])
    z_in[:, 0] = tangents.ln_S0[:, old] @ (2 * n0 * row.S0[old] ** 2)
    if model.scheme.keeps_old:
        H = hazard(row.V0[A:], np.array([row.theta]), model.dt)
        P, E = firing(H, model.scheme)
        ln_S_A, free = tangents.ln_S0[:, A], H * (tangents.V0[:, A] - tangents.theta)
        m_in[:, 0] += pool.start[0] * (ln_S_A - E / P * free)
        z_in[:, 0] += pool.start[1] * (2 * ln_S_A - 2 * E**2 / (P * (1 + E)) * free)
    dM = recursion(pool.before, m_in) - d_cumulative * pool.M
    dZ = recursion(pool.before**2, z_in) - 2 * d_cumulative * pool.Z
    more = pool.P - missing
    slope = pool.H * firing_slope(pool.H, pool.E, model.scheme)
    return dM * (more * (1 + per_v)) - dZ * (more * per_v) + excess * (slope * (pool.M + per_v * pool.v))
