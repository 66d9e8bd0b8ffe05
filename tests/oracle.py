"""Both schemes as naive loops over time, straight from section 3 of the specification.

Slow, plain and independent of everything in ``src``: it shares no line with the code it checks.
"""

import numpy as np


def stationary_start(alpha, J, mu, theta, A0, A, r, dt):
    """Potential and survival of every age at s = 0: ``V0, S0`` of shape (M, A)."""
    M = len(alpha)
    V0, S0 = np.zeros((M, A)), np.zeros((M, A))
    fine = 0.001
    for m in range(M):
        hbar = mu[m] + sum(J[j, m] * A0[j] for j in range(M)) / alpha[m]
        free = lambda t: 0.0 if t < r * dt - 1e-12 else hbar * (1 - np.exp(-alpha[m] * t))  # noqa: B023, E731
        for a in range(A):
            V0[m, a] = free(a * dt)
            steps = int(round(a * dt / fine))
            hazard = 0.0
            for k in range(steps + 1):
                V = free(k * fine)
                if V != 0.0:
                    hazard += fine * np.exp(V - theta[m])
            S0[m, a] = np.exp(-hazard)
        S0[m, 0] = 0.0
    return V0, S0


def counts(mask, row, column):
    """Whether something counts, as a mask says that need not be there."""
    return mask is None or mask[row][column]


def watched(y, observed, A):
    """In which bins a neuron counts, (B, M, T, n_obs): it is watched, and when it last fired is known."""
    B, M, bins, n_obs = y.shape
    found = np.zeros((B, M, bins - A, n_obs), bool)
    for b in range(B):
        for m in range(M):
            for i in range(n_obs):
                known, silent = True, 0
                for s in range(bins):
                    seen = observed is None or observed[b, m, s, i]
                    if s >= A:
                        found[b, m, s - A, i] = seen and known
                    silent = 0 if not seen or y[b, m, s, i] else silent + 1
                    if not seen:
                        known = False
                    elif y[b, m, s, i] or silent >= A:
                        known = True
    return found


def parts(theta_vector, M):
    """alpha, J, mu, theta and input gains, which are one where the vector ends with theta."""
    alpha, J, mu, th, gain = np.split(np.asarray(theta_vector, float), np.cumsum([M, M * M, M, M]))
    return alpha, J.reshape(M, M), mu, th, gain if len(gain) else np.ones(M)


def losses(theta_vector, y, n, I, sigma, N, dt, r, d, A0, judged=None, recorded=None, observed=None):
    """``(loss_y, loss_Z)``; arrays as in the golden files, one trial after the other.

    Bins that are not `judged` (B, T), neurons that are not `recorded` (M, n_obs), and those for the time that they are
    not `observed` (B, M, A+T, n_obs), add nothing.
    """
    B, M, _ = n.shape
    T = I.shape[-1]
    A = n.shape[-1] - T
    seen = watched(y, observed, A)
    alpha, J, mu, th, gain = parts(theta_vector, M)
    loss_y, loss_Z, terms = 0.0, 0.0, 0
    for b in range(B):
        V, S = stationary_start(alpha, J, mu, th, A0[b], A, r, dt)
        past = np.tile(A0[b][:, None] * dt, (1, A))  # past[:, a] = n(s-1-a)
        x = np.array(A0[b], float)
        n_obs = y.shape[-1]
        V_obs, age_obs = np.zeros((M, n_obs)), np.zeros((M, n_obs), int)
        for m in range(M):
            for i in range(n_obs):
                last = np.flatnonzero(y[b, m, :A, i])
                age_obs[m, i] = A - 1 - last[-1] if len(last) else 0
                V_obs[m, i] = V[m, age_obs[m, i]]
        for s in range(T):
            if s > d:
                x = np.exp(-sigma * dt) * x + (1 - np.exp(-sigma * dt)) * n[b, :, A + s - 1 - d] / dt
            h = J.T @ x + gain * I[b, :, s]
            for m in range(M):
                new = []
                for i in range(n_obs):
                    a = age_obs[m, i]
                    v = V_obs[m, i] + dt * (alpha[m] * (mu[m] - V_obs[m, i]) + h[m])
                    v = 0.0 if a < r else v
                    lam = 1e-8 if a < r else np.exp(v - th[m])
                    if lam * dt < 0.01:
                        lnP = v - th[m] + np.log(dt)
                    else:
                        lnP = np.log(1 - np.exp(-lam * dt))
                    spike = y[b, m, A + s, i]
                    if counts(judged, b, s) and counts(recorded, m, i) and seen[b, m, s, i]:
                        loss_y -= lnP if spike else -lam * dt
                    new.append((0.0, 0) if spike else (v, a + 1))
                for i in range(n_obs):
                    V_obs[m, i], age_obs[m, i] = new[i]
                V[m] += dt * (alpha[m] * (mu[m] - V[m]) + h[m])
                V[m, :r] = 0.0
                lam = np.exp(V[m] - th[m])
                lam[:r] = 1e-8
                P = np.where(lam * dt < 0.01, lam * dt, 1 - np.exp(-lam * dt))
                mass = S[m] * past[m]
                v = (1 - S[m]) * mass
                Lam = (v * P).sum() / v.sum() if v.sum() > 0 else 0.0
                nbar = np.clip((mass * P).sum() + Lam * (1 - mass.sum()), 0, 1)
                q = nbar / N[m] + 0.1 * dt / N[m]
                if counts(judged, b, s):
                    loss_Z += (n[b, m, A + s] - nbar) ** 2 / (2 * q) + 0.5 * np.log(q) + 0.5 * np.log(2 * np.pi)
                    terms += 1
                S[m, 1:] = (S[m] * np.exp(-lam * dt))[:-1]
                S[m, 0] = 1.0
                V[m, 1:] = V[m, :-1].copy()
                V[m, 0] = 0.0
                past[m, 1:] = past[m, :-1].copy()
                past[m, 0] = n[b, m, A + s]
    return loss_y / terms, loss_Z / terms


def consistent_losses(theta_vector, y, n, I, sigma, N, dt, r, d, A0, judged=None, recorded=None, observed=None):
    """``(loss_y, loss_Z)`` of the consistent scheme, section 3.3: one bin after the other, with the pool of the old."""
    B, M, _ = n.shape
    T = I.shape[-1]
    A = n.shape[-1] - T
    seen = watched(y, observed, A)
    alpha, J, mu, th, gain = parts(theta_vector, M)
    g = np.exp(-alpha * dt)
    refractory = 1e-8 * dt
    loss_y, loss_Z, terms = 0.0, 0.0, 0
    for b in range(B):
        hbar = np.array([mu[m] + sum(J[j, m] * A0[b, j] for j in range(M)) / alpha[m] for m in range(M)])
        V, S, n_obs = np.zeros((M, A)), np.zeros((M, A)), y.shape[-1]
        x_pool, z_pool, u = np.zeros(M), np.zeros(M), hbar.copy()
        for m in range(M):  # a neuron that spiked a + 1 bins ago, in a network that stood still
            v, survived = 0.0, 1.0
            for a in range(A):
                V[m, a], S[m, a] = v, survived
                v = 0.0 if a < r else g[m] * v + (1 - g[m]) * hbar[m]
                survived *= np.exp(-(refractory if a < r else dt * np.exp(v - th[m])))
            P = 1 - np.exp(-dt * np.exp(hbar[m] - th[m]))
            x_pool[m] = survived * A0[b, m] * dt / P
            z_pool[m] = survived**2 * A0[b, m] * dt / (1 - (1 - P) ** 2)
        past = np.tile(A0[b][:, None] * dt, (1, A))
        x = np.array(A0[b], float)
        V_obs, age_obs = np.zeros((M, n_obs)), np.zeros((M, n_obs), int)
        for m in range(M):
            for i in range(n_obs):
                last = np.flatnonzero(y[b, m, :A, i])
                age_obs[m, i] = A - 1 - last[-1] if len(last) else 10**6
                V_obs[m, i] = V[m, age_obs[m, i]] if len(last) else hbar[m]
        for s in range(T):
            if s > d:
                x = np.exp(-sigma * dt) * x + (1 - np.exp(-sigma * dt)) * n[b, :, A + s - 1 - d] / dt
            h = J.T @ x + gain * I[b, :, s]
            for m in range(M):
                free = mu[m] + h[m] / alpha[m]
                for i in range(n_obs):
                    a = age_obs[m, i]
                    V_obs[m, i] = 0.0 if a < r else g[m] * V_obs[m, i] + (1 - g[m]) * free
                    H = refractory if a < r else dt * np.exp(V_obs[m, i] - th[m])
                    spike = y[b, m, A + s, i]
                    if counts(judged, b, s) and counts(recorded, m, i) and seen[b, m, s, i]:
                        loss_y -= np.log(-np.expm1(-H)) if spike else -H
                    age_obs[m, i] = 0 if spike else a + 1
                    V_obs[m, i] = 0.0 if spike else V_obs[m, i]
                V[m] = g[m] * V[m] + (1 - g[m]) * free
                V[m, :r] = 0.0
                u[m] = g[m] * u[m] + (1 - g[m]) * free
                H = dt * np.exp(V[m] - th[m])
                H[:r] = refractory
                P, P_u = 1 - np.exp(-H), 1 - np.exp(-dt * np.exp(u[m] - th[m]))
                mass = S[m] * past[m]
                v, v_pool = (1 - S[m]) * mass, x_pool[m] - z_pool[m]
                Lam = ((v * P).sum() + v_pool * P_u) / (v.sum() + v_pool)
                nbar = (mass * P).sum() + x_pool[m] * P_u + Lam * (1 - mass.sum() - x_pool[m])
                nbar = np.clip(nbar, 0, 1)
                q = nbar / N[m] + 0.1 * dt / N[m]
                if counts(judged, b, s):
                    loss_Z += (n[b, m, A + s] - nbar) ** 2 / (2 * q) + 0.5 * np.log(q) + 0.5 * np.log(2 * np.pi)
                    terms += 1
                S_next = S[m] * np.exp(-H)
                x_pool[m] = (1 - P_u) * x_pool[m] + S_next[-1] * past[m, -1]
                z_pool[m] = (1 - P_u) ** 2 * z_pool[m] + S_next[-1] ** 2 * past[m, -1]
                S[m, 1:], S[m, 0] = S_next[:-1], 1.0
                V[m, 1:], V[m, 0] = V[m, :-1].copy(), 0.0
                past[m, 1:], past[m, 0] = past[m, :-1].copy(), n[b, m, A + s]
    return loss_y / terms, loss_Z / terms
