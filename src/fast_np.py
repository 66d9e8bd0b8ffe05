"""Likelihoods in NumPy, with exact gradients: what the M-step minimises (paper, Eq. 4b).

The activity is given, so nothing is sequential in time but two first-order filters. All bins are handled at once, one
age after the other: a cohort's potential and survival at age a and bin s follow from those at age a-1 and bin s-1.

Symbols, as in the equations of the paper and of Schwalger et al. 2017: n activity, x synaptic variable, h input, V
potential, H = lambda dt, E = exp(-H), P firing probability, S survival, m and v = (1-S) m the mass of a cohort and its
variance. A name with `_bar` is the derivative of the loss with respect to that quantity.
"""

from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

from src.helper import Model, Parameters, Recording, from_X, gradient_to_X

REFRACTORY_HAZARD = 1e-8  # 1/s
SMALL_HAZARD = 0.01  # below this, P = lambda dt
CEILING = 80.0  # of ln H, lest exp overflow in float32; P = 1 to all digits from 4 on
START_STEP = 0.001  # s; grid of the hazard at the stationary start
CHUNK = 8192  # numbers per array in the age loop: they stay in the processor's cache


class Loss(NamedTuple):
    """A loss per population and bin, and its gradients, empty where they were not asked for.

    `parameters` has the order of `Parameters.flat`; `activity` has shape (B, M, T).
    """

    value: float
    parameters: np.ndarray = np.empty(0)
    activity: np.ndarray = np.empty(0)


# --- the equations, elementwise --------------------------------------------------------------------------------------


def leak_and_gain(membrane_rate: np.ndarray, dt: float) -> tuple[np.ndarray, float]:
    """Return g and k of the potential's step V <- g V + k (alpha mu + h): explicit Euler."""
    return 1 - membrane_rate * dt, dt


def hazard(V: np.ndarray, threshold: np.ndarray, dt: float) -> np.ndarray:
    """Return H = lambda dt, lambda = exp(V - theta)."""
    ln_H = V - (threshold - np.log(dt))
    return np.exp(np.minimum(ln_H, CEILING, out=ln_H), out=ln_H)


def firing(H: np.ndarray, E: np.ndarray) -> np.ndarray:
    """Return the probability P of a spike in a bin, E = exp(-H): lambda dt where that is small, else 1 - E."""
    P = 1 - E
    np.copyto(P, H, where=H < SMALL_HAZARD)
    return P


def firing_slope(H: np.ndarray, E: np.ndarray) -> np.ndarray:
    """Return dP/dH."""
    slope = E.copy()
    np.copyto(slope, 1.0, where=H < SMALL_HAZARD)
    return slope


def log_firing(V: np.ndarray, H: np.ndarray, threshold: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ln P, and its derivative in V."""
    small = H < SMALL_HAZARD
    H_safe = np.where(small, 1.0, H)
    ln_P = np.where(small, V - threshold + np.log(dt), np.log(-np.expm1(-H_safe)))
    return ln_P, np.where(small, 1.0, H_safe * np.exp(-H_safe) / -np.expm1(-H_safe))


# --- the input -------------------------------------------------------------------------------------------------------


def low_pass(signal: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """Return y(s) = decay y(s-1) + signal(s), (B, M, T), with y(-1) = 0 and one `decay` per population, (M,)."""
    out = np.empty_like(signal)
    for m, factor in enumerate(decay):
        out[:, m] = lfilter([1.0], [1.0, -factor], signal[:, m], axis=-1)
    return out


def low_pass_adjoint(y_bar: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """Carry a derivative back through `low_pass`: the same filter, backwards in time."""
    return low_pass(y_bar[..., ::-1], decay)[..., ::-1]


def synapse(activity: np.ndarray, initial_rate: np.ndarray, model: Model) -> np.ndarray:
    """Return the synaptic variable x, (B, M, T), in Hz; it rests at A0 until the delay has passed."""
    decay, lag = np.exp(-model.synaptic_rate * model.dt), 1 + model.delay_bins
    A0 = initial_rate[..., None]
    excess = np.zeros_like(activity)
    excess[..., lag:] = (activity / model.dt - A0)[..., :-lag] * (1 - decay)[:, None]
    return A0 + low_pass(excess, decay)


def synapse_adjoint(x_bar: np.ndarray, model: Model) -> np.ndarray:
    """Carry a derivative with respect to x back to the activity."""
    decay, lag = np.exp(-model.synaptic_rate * model.dt), 1 + model.delay_bins
    n_bar = np.zeros_like(x_bar)
    n_bar[..., :-lag] = low_pass_adjoint(x_bar, decay)[..., lag:] * ((1 - decay) / model.dt)[:, None]
    return n_bar


# --- the stationary start --------------------------------------------------------------------------------------------


class Start(NamedTuple):
    """Potential and survival of every age at s = 0, (B, M, A), and their derivatives in hbar, alpha (and theta)."""

    V0: np.ndarray
    S0: np.ndarray
    V0_slopes: tuple[np.ndarray, ...]
    S0_slopes: tuple[np.ndarray, ...]


def stationary_start(parameters: Parameters, initial_rate: np.ndarray, model: Model) -> Start:
    """Return the state of populations that have fired at the constant rates A0, (B, M), in Hz."""
    alpha = parameters.membrane_rate[:, None]
    hbar = (parameters.resting_potential + initial_rate @ parameters.coupling / parameters.membrane_rate)[..., None]

    def potential(t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        free = t > model.refractory_bins * model.dt - 1e-9
        decay = np.exp(-alpha * t)
        V_hbar = np.broadcast_to(free * (1 - decay), hbar.shape[:-1] + t.shape)
        return hbar * V_hbar, V_hbar, hbar * (free * t * decay)

    age = np.arange(model.window_bins) * model.dt
    fine_bin = (age / START_STEP + 1e-6).astype(int)
    V, V_hbar, V_alpha = potential(np.arange(fine_bin[-1] + 1) * START_STEP)
    H = np.where(V == 0, 0.0, hazard(V, parameters.threshold[:, None], START_STEP))
    S0 = np.exp(-np.cumsum(H, -1)[..., fine_bin])
    S0[..., 0] = 0
    S0_slopes = tuple(-S0 * np.cumsum(H * slope, -1)[..., fine_bin] for slope in (V_hbar, V_alpha, -1.0))
    V0, *V0_slopes = potential(age)
    return Start(V0, S0, tuple(V0_slopes), S0_slopes)


# --- what both parts of the likelihood share: from parameters and activity to the drive, and back ---------------------


class Drive(NamedTuple):
    """The step V <- leak V + drive and what went into it: x and drive (B, M, T), leak (M,)."""

    x: np.ndarray
    drive: np.ndarray
    leak: np.ndarray
    start: Start


class DriveBar(NamedTuple):
    """Derivatives of a loss: drive and n (B, M, T), leak and theta (B, M), V0 and S0 (B, M, A)."""

    drive: np.ndarray
    leak: np.ndarray
    theta: np.ndarray
    V0: np.ndarray
    S0: np.ndarray
    n: np.ndarray


def drive_of(parameters: Parameters, activity: np.ndarray, recording: Recording, model: Model) -> Drive:
    """Return what moves the potentials, with h = sum_j J_jm x_j + I_m."""
    x = synapse(activity, recording.initial_rate, model)
    h = np.einsum("bjs,jm->bms", x, parameters.coupling) + recording.external_input
    leak, gain = leak_and_gain(parameters.membrane_rate, model.dt)
    rest = parameters.membrane_rate * parameters.resting_potential
    return Drive(x, gain * (rest[:, None] + h), leak, stationary_start(parameters, recording.initial_rate, model))


def gradients(
    bar: DriveBar, drive: Drive, parameters: Parameters, recording: Recording, model: Model, wrt: str
) -> tuple[np.ndarray, np.ndarray]:
    """Carry derivatives with respect to the drive back to parameters and activity."""
    alpha, J, mu = parameters.membrane_rate, parameters.coupling, parameters.resting_potential
    _, gain = leak_and_gain(alpha, model.dt)
    h_bar = gain * bar.drive
    g_parameters = g_activity = np.empty(0)
    if wrt in ("activity", "both"):
        g_activity = bar.n + synapse_adjoint(np.einsum("bms,jm->bjs", h_bar, J), model)
    if wrt in ("parameters", "both"):
        V0_hbar, V0_alpha = drive.start.V0_slopes
        S0_hbar, S0_alpha, S0_theta = drive.start.S0_slopes
        hbar_bar = (bar.V0 * V0_hbar + bar.S0 * S0_hbar).sum(-1)
        A0, h_sum = recording.initial_rate, h_bar.sum(-1)
        alpha_bar = h_sum * mu - model.dt * bar.leak - hbar_bar * (A0 @ J) / alpha**2
        alpha_bar += (bar.V0 * V0_alpha + bar.S0 * S0_alpha).sum(-1)
        J_bar = np.einsum("bjs,bms->jm", drive.x, h_bar) + np.einsum("bj,bm->jm", A0, hbar_bar / alpha)
        mu_bar = h_sum * alpha + hbar_bar
        theta_bar = bar.theta + (bar.S0 * S0_theta).sum(-1)
        g_parameters = Parameters(alpha_bar.sum(0), J_bar, mu_bar.sum(0), theta_bar.sum(0)).flat()
    return g_parameters, g_activity


# --- part (b): the population activity, given its past ---------------------------------------------------------------


def fast_lossZ(
    parameters: Parameters,
    activity: np.ndarray,
    recording: Recording,
    model: Model,
    wrt: str = "none",
    work: np.ndarray | None = None,
) -> Loss:
    """Negative log-likelihood of the population activity, per population and bin.

    Parameters
    ----------
    parameters : Parameters
    activity : array, (B, M, T)
        Fraction of each population that fires in each fitted bin.
    recording : Recording
    model : Model
    wrt : {"none", "parameters", "activity", "both"}
        Which gradients to return.
    work : array, optional
        From `workspace`.

    Returns
    -------
    Loss
        Mean over trials, populations and bins of (n - nbar)^2 / 2q + ln(2 pi q) / 2, q = (nbar + 0.1 dt) / N.
    """
    drive = drive_of(parameters, activity, recording, model)
    every = _rows_of(drive, parameters, activity, recording, model)
    work = workspace(activity, model) if work is None else work
    value, bars = 0.0, []
    for first in range(0, len(every.drive), work.shape[2]):
        rows = _Rows(*(part[first : first + work.shape[2]] for part in every))
        ages, sums = _forward(rows, model, work)
        loss, n_bar, nbar_bar = _bin_loss(rows.n_past[:, model.window_bins :], _expected(sums)[0], rows.N, model.dt)
        value += float(loss.sum()) / activity.size
        if wrt != "none":
            *bar, past_bar = _backward(rows, ages, sums, nbar_bar, model.refractory_bins, wrt != "parameters")
            bars.append((*bar, past_bar + n_bar))
    if wrt == "none":
        return Loss(value)
    joined = (np.concatenate(bar) / activity.size for bar in zip(*bars, strict=True))
    total = DriveBar(*(part.reshape(*activity.shape[:2], *part.shape[1:]) for part in joined))
    return Loss(value, *gradients(total, drive, parameters, recording, model, wrt))


class _Rows(NamedTuple):
    """R rows, each one population in one trial, as the age loop takes them."""

    drive: np.ndarray  # (R, T)
    n_past: np.ndarray  # (R, A+T): the window, then the activity
    V0: np.ndarray  # (R, A)
    S0: np.ndarray  # (R, A)
    leak: np.ndarray  # (R, 1)
    theta: np.ndarray  # (R, 1)
    N: np.ndarray  # (R, 1)

    def activity_of_age(self, a: int) -> slice:
        """Return where in `n_past` the cohorts of age a were born: n(s-1-a) for s = 0 ... T-1."""
        A, T = self.V0.shape[1], self.drive.shape[1]
        return slice(A - 1 - a, A - 1 - a + T)


class _Ages(NamedTuple):
    """Potential, survival before the bin, and H, of every age and bin, (A, R, T)."""

    V: np.ndarray
    S: np.ndarray
    H: np.ndarray


def _rows_of(drive: Drive, parameters: Parameters, activity: np.ndarray, recording: Recording, model: Model) -> _Rows:
    """Lay trials and populations out as rows."""
    B, M, _ = activity.shape
    window = np.broadcast_to(recording.initial_rate[..., None] * model.dt, (B, M, model.window_bins))
    by_bin = (drive.drive, np.concatenate([window, activity], axis=-1), drive.start.V0, drive.start.S0)
    by_population = (drive.leak, parameters.threshold, model.population_size)
    return _Rows(
        *(part.reshape(B * M, -1) for part in by_bin),
        *(np.broadcast_to(part, (B, M)).reshape(B * M, 1) for part in by_population),
    )


def workspace(activity: np.ndarray, model: Model) -> np.ndarray:
    """Return memory that repeated calls of `fast_lossZ` and `fast_lossM` can share, to save its allocation."""
    (B, M, T) = activity.shape
    return np.empty((3, model.window_bins, min(B * M, max(1, CHUNK // T)), T))


def _forward(rows: _Rows, model: Model, work: np.ndarray) -> tuple[_Ages, np.ndarray]:
    """Step all cohorts from age to age; return their states and the four sums over ages, (4, R, T)."""
    (R, T), A, r = rows.drive.shape, model.window_bins, model.refractory_bins
    V, S, H = ages = _Ages(*work[:, :, :R])
    sums = np.zeros((4, R, T))
    S[0, :, 0], S[0, :, 1:] = rows.S0[:, 0], 1
    for a in range(A):
        if a < r:
            V[a], H[a] = 0, REFRACTORY_HAZARD * model.dt
        else:
            np.multiply(V[a - 1, :, :-1], rows.leak, out=V[a, :, 1:])
            V[a, :, 0] = rows.leak[:, 0] * rows.V0[:, a]
            V[a] += rows.drive
            H[a] = hazard(V[a], rows.theta, model.dt)
        E = np.exp(-H[a])
        P = firing(H[a], E)
        m = S[a] * rows.n_past[:, rows.activity_of_age(a)]
        v = m - S[a] * m
        sums[0] += m
        sums[1] += m * P
        sums[2] += v
        sums[3] += v * P
        if a + 1 < A:
            np.multiply(S[a, :, :-1], E[:, :-1], out=S[a + 1, :, 1:])
            S[a + 1, :, 0] = rows.S0[:, a + 1]
    return ages, sums


def _expected(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected activity before it is clipped, and Lambda, the firing probability of the missing mass."""
    m, mP, v, vP = sums
    missing = np.divide(vP, v, out=np.zeros_like(v), where=v > 0)
    return mP + missing * (1 - m), missing


def _bin_loss(n: np.ndarray, expected: np.ndarray, N: np.ndarray, dt: float) -> tuple[np.ndarray, ...]:
    """Return the loss of every bin, and its derivatives in n and in the expected activity."""
    nbar = np.clip(expected, 0, 1)
    q = (nbar + 0.1 * dt) / N
    error = n - nbar
    loss = error**2 / (2 * q) + 0.5 * np.log(2 * np.pi * q)
    nbar_bar = -error / q + (1 - error**2 / q) / (2 * q * N)
    return loss, error / q, np.where(nbar == expected, nbar_bar, 0.0)


def _backward(
    rows: _Rows, ages: _Ages, sums: np.ndarray, nbar_bar: np.ndarray, r: int, wrt_activity: bool
) -> tuple[np.ndarray, ...]:
    """Carry `nbar_bar`, (R, T), back through `_forward`; return the derivatives in the order of `DriveBar`."""
    (A, R, T), (sum_m, _, sum_v, _) = ages.V.shape, sums
    _, missing = _expected(sums)
    m_bar0 = -missing * nbar_bar  # derivatives with respect to the four sums; that of the sum of m P is nbar_bar
    vP_bar = np.divide(nbar_bar * (1 - sum_m), sum_v, out=np.zeros((R, T)), where=sum_v > 0)
    v_bar0 = -missing * vP_bar

    drive_bar, n_bar = np.zeros((R, T)), np.zeros((R, A + T))
    V0_bar, S0_bar = np.zeros((2, R, A))
    leak_bar, theta_bar = np.zeros((2, R))
    V_bar, S_bar = np.zeros((2, R, T + 1))  # one bin longer: nothing comes from beyond the end
    for a in range(A - 1, -1, -1):
        V_before, S, H = ages.V[a - 1], ages.S[a], ages.H[a]
        past = rows.activity_of_age(a)
        n, E, dead = rows.n_past[:, past], np.exp(-H), 1 - S
        P, later = firing(H, E), S_bar[:, 1:] * E
        mP_bar = nbar_bar + dead * vP_bar  # of m P, by way of v too
        Sv_bar = S * (vP_bar * P + v_bar0)
        m_bar = mP_bar * P + m_bar0 + dead * v_bar0
        if a >= r:
            V_now_bar = H * S * (n * mP_bar * firing_slope(H, E) - later)
            theta_bar -= V_now_bar.sum(-1)
            V_bar[:, :-1] = V_now_bar + rows.leak * V_bar[:, 1:]
            drive_bar += V_bar[:, :-1]
            leak_bar += np.vecdot(V_bar[:, 1:-1], V_before[:, :-1]) + V_bar[:, 0] * rows.V0[:, a]
            V0_bar[:, a] = rows.leak[:, 0] * V_bar[:, 0]
        if wrt_activity:
            n_bar[:, past] += S * m_bar
        S_bar[:, :-1] = n * (m_bar - Sv_bar) + later
        S0_bar[:, a] = S_bar[:, 0]
    return drive_bar, leak_bar, theta_bar, V0_bar, S0_bar, n_bar[:, A:]


# --- part (a): the recorded spikes, given their own past and that of the activity ------------------------------------


def last_spike(observed_spikes: np.ndarray, n_bins: int) -> np.ndarray:
    """Return for every recorded neuron and fitted bin the bin of its last spike before, (B, M, n_obs, T).

    Bins count from the first fitted one; -1, an age of zero at s = 0, for a neuron silent so far.
    """
    spikes = np.moveaxis(observed_spikes, -1, 2)
    A = spikes.shape[-1] - n_bins
    bins = np.where(spikes, np.arange(-A, n_bins), -A - 1)
    last = np.maximum.accumulate(bins, axis=-1)[..., A - 1 : -1]
    return np.where(last < -A, -1, last)


def fast_lossy(
    parameters: Parameters, activity: np.ndarray, recording: Recording, model: Model, wrt: str = "none"
) -> Loss:
    """Negative log-likelihood of the recorded spikes, per population and bin.

    Parameters and result as in `fast_lossZ`; the loss is minus the mean over trials, populations and bins of the sum
    over recorded neurons of y ln P - (1 - y) lambda dt.

    Notes
    -----
    With u(s) = g u(s-1) + drive(s), u(-1) = 0, a neuron whose potential was last zero in bin p has
    V(s) = u(s) - g^(s-p) u(p); one that has not been reset since the start has V(s) = u(s) + g^(s+1) V0.
    """
    drive = drive_of(parameters, activity, recording, model)
    (B, M, T), A, r = activity.shape, model.window_bins, model.refractory_bins
    y = np.moveaxis(recording.observed_spikes[..., A:, :], -1, 2)
    last = last_spike(recording.observed_spikes, T)
    zero = last + r  # the last bin of refractoriness
    u = low_pass(drive.drive, drive.leak)[:, :, None]
    bins = np.arange(T)
    reset, free = zero >= 0, bins > zero
    from_start = np.take_along_axis(drive.start.V0[:, :, None], np.maximum(-1 - last, 0), -1)
    base = np.where(reset, -np.take_along_axis(u, np.clip(zero, 0, T - 1), -1), from_start)
    elapsed = np.where(reset, np.maximum(bins - zero, 0), bins + 1)
    g = drive.leak[:, None, None]
    faded = g**elapsed
    V = np.where(free, u + faded * base, 0.0)
    theta = parameters.threshold[:, None, None]
    H = np.where(free, hazard(V, theta, model.dt), REFRACTORY_HAZARD * model.dt)
    ln_P, ln_P_slope = log_firing(V, H, theta, model.dt)
    value = -float((y * ln_P - (1 - y) * H).sum()) / activity.size
    if wrt == "none":
        return Loss(value)

    V_bar = -(y * ln_P_slope - (1 - y) * H) / activity.size
    theta_bar = -(V_bar * (free | (y > 0))).sum((2, 3))
    V_bar = V_bar * free
    base_bar = V_bar * faded
    u_bar = V_bar.sum(2)
    rows = np.broadcast_to(np.arange(B * M).reshape(B, M, 1, 1), last.shape)
    where = (rows * T + np.clip(zero, 0, T - 1))[reset]
    u_bar -= np.bincount(where, base_bar[reset], minlength=B * M * T).reshape(B, M, T)
    leak_bar = (V_bar * base * elapsed * g ** np.maximum(elapsed - 1, 0)).sum((2, 3))
    rows_V0 = (rows * A + np.maximum(-1 - last, 0))[~reset]
    V0_bar = np.bincount(rows_V0, base_bar[~reset], minlength=B * M * A).reshape(B, M, A)
    drive_bar = low_pass_adjoint(u_bar, drive.leak)
    leak_bar += (drive_bar[..., 1:] * u[:, :, 0, :-1]).sum(-1)
    bar = DriveBar(drive_bar, leak_bar, theta_bar, V0_bar, np.zeros_like(V0_bar), np.zeros_like(activity))
    return Loss(value, *gradients(bar, drive, parameters, recording, model, wrt))


def fast_lossM(
    X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model, work: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Return the loss that the M-step minimises, and its gradient with respect to the fitted numbers X, (4 M,)."""
    parameters = from_X(X, model)
    y = fast_lossy(parameters, activity, recording, model, "parameters")
    Z = fast_lossZ(parameters, activity, recording, model, "parameters", work)
    return y.value + Z.value, gradient_to_X(y.parameters + Z.parameters, model)
