"""Likelihoods in NumPy, with exact gradients: what the M-step minimises (paper, Eq. 4b).

The activity is given, so nothing is sequential in time but two first-order filters. All bins are handled at once, one
age after the other: a cohort's potential and survival at age a and bin s follow from those at age a-1 and bin s-1.

Symbols, as in the equations of the paper and of Schwalger et al. 2017: n activity, x synaptic variable, h input, V
potential, H = lambda dt, E = exp(-H), P firing probability, S survival, m and v = (1-S) m the mass of a cohort and its
variance. A name with `_bar` is the derivative of the loss with respect to that quantity.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, gammaln

from src.helper import from_X, gradient_to_X
from src.model.containers import Model, Parameters, Recording
from src.model.escape_noise import CEILING, REFRACTORY_HAZARD, firing, hazard, log_firing, through_firing
from src.model.filters import low_pass, low_pass_adjoint
from src.model.old_neurons import Pool, pool_backward, pool_of_old
from src.model.stationary import Start, stationary_start
from src.utils.exceptions import InputError

GRADIENTS = ("none", "parameters", "activity", "both")
COUNT_RANGE = (1e-9, 1 - 1e-6)  # of the mean of a binomial count: at 0 or 1, any other count would be impossible
NOTHING = 1e-200  # a sum of v up to here counts as none: 1 / v would overflow
CHUNK = 8192  # numbers per array in the age loop: they stay in the processor's cache


class Loss(NamedTuple):
    """A loss per population and judged bin, and its gradients, empty where they were not asked for.

    `parameters` has the order of `Parameters.flat`; `activity` has shape (B, M, T).
    """

    value: float
    parameters: np.ndarray = np.empty(0)
    activity: np.ndarray = np.empty(0)


# --- the input -------------------------------------------------------------------------------------------------------


def synapse(activity: np.ndarray, initial_rate: np.ndarray, model: Model) -> np.ndarray:
    """Return the synaptic variable x of each presynaptic population, (B, M, T) in Hz.

    It rests at A0 until the delay has passed; then x <- e^(-sigma dt) x + (1 - e^(-sigma dt)) n / dt.

    Parameters
    ----------
    activity : array, (B, M, T)
        Fraction of each population that fires in each fitted bin.
    initial_rate : array, (B, M), Hz
        A0.
    model : Model
    """
    decay, lag = np.exp(-model.synaptic_rate * model.dt), 1 + model.delay_bins
    A0 = initial_rate[..., None]
    excess = np.zeros_like(activity)
    excess[..., lag:] = (activity / model.dt - A0)[..., :-lag] * (1 - decay)[:, None]
    return A0 + low_pass(excess, decay)


def synapse_adjoint(x_bar: np.ndarray, model: Model) -> np.ndarray:
    """Carry a derivative with respect to x, (B, M, T), back to the activity, (B, M, T)."""
    decay, lag = np.exp(-model.synaptic_rate * model.dt), 1 + model.delay_bins
    n_bar = np.zeros_like(x_bar)
    n_bar[..., :-lag] = low_pass_adjoint(x_bar, decay)[..., lag:] * ((1 - decay) / model.dt)[:, None]
    return n_bar


# --- what both parts of the likelihood share: from parameters and activity to the drive, and back ---------------------


class Drive(NamedTuple):
    """The step V <- leak V + drive and what went into it: x (B, M, T) in Hz, drive (B, M, T), leak (M,), the start."""

    x: np.ndarray
    drive: np.ndarray
    leak: np.ndarray
    start: Start


class DriveBar(NamedTuple):
    """Derivatives of a loss: drive and n (B, M, T), leak and theta (B, M), V0 and S0 (B, M, A+1)."""

    drive: np.ndarray
    leak: np.ndarray
    theta: np.ndarray
    V0: np.ndarray
    S0: np.ndarray
    n: np.ndarray


def drive_of(parameters: Parameters, activity: np.ndarray, recording: Recording, model: Model) -> Drive:
    """Return what moves the potentials: V <- leak V + drive, drive = gain (alpha mu + h), h = sum_j J_jm x_j + I_m.

    Parameters
    ----------
    parameters : Parameters
    activity : array, (B, M, T)
        Fraction of each population that fires in each fitted bin.
    recording : Recording
        Gives the external input, 1/s, and the rates A0.
    model : Model
    """
    x = synapse(activity, recording.initial_rate, model)
    h = np.einsum("bjs,jm->bms", x, parameters.coupling) + recording.external_input
    leak, gain = model.scheme.leak_and_gain(parameters.membrane_rate, model.dt)
    rest = parameters.membrane_rate * parameters.resting_potential
    return Drive(
        x, gain[:, None] * (rest[:, None] + h), leak, stationary_start(parameters, recording.initial_rate, model)
    )


def gradients(
    bar: DriveBar, drive: Drive, parameters: Parameters, recording: Recording, model: Model, wrt: str
) -> tuple[np.ndarray, np.ndarray]:
    """Carry derivatives with respect to the drive back to parameters and activity.

    Returns
    -------
    parameters : array, (F,)
        In the order of `Parameters.flat`; empty unless `wrt` asks for it, as in `fast_lossZ`.
    activity : array, (B, M, T)
        Likewise.
    """
    alpha, J, mu = parameters.membrane_rate, parameters.coupling, parameters.resting_potential
    _, gain = model.scheme.leak_and_gain(alpha, model.dt)
    h_bar = gain[:, None] * bar.drive
    g_parameters = g_activity = np.empty(0)
    if wrt in ("activity", "both"):
        g_activity = bar.n + synapse_adjoint(np.einsum("bms,jm->bjs", h_bar, J), model)
    if wrt in ("parameters", "both"):
        V0_hbar, V0_alpha = drive.start.V0_slopes
        S0_hbar, S0_alpha, S0_theta = drive.start.S0_slopes
        hbar_bar = (bar.V0 * V0_hbar + bar.S0 * S0_hbar).sum(-1)
        A0, h_sum = recording.initial_rate, h_bar.sum(-1)
        leak_alpha, gain_alpha = model.scheme.leak_and_gain_slopes(alpha, model.dt)
        gain_bar = (bar.drive * drive.drive).sum(-1) / gain
        alpha_bar = h_sum * mu + leak_alpha * bar.leak + gain_alpha * gain_bar - hbar_bar * (A0 @ J) / alpha**2
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
        Mean over trials, populations and judged bins of (n - nbar)^2 / 2q + ln(2 pi q) / 2, q = (nbar + 0.1 dt) / N;
        or, if the model says so, of minus the log-probability of a binomial count.
    """
    _check(wrt)
    size = model.n_populations * recording.n_judged
    judged = None if recording.judged is None else np.repeat(recording.judged, model.n_populations, axis=0)
    drive = drive_of(parameters, activity, recording, model)
    every = _rows_of(drive, parameters, activity, recording, model)
    work = workspace(activity, model) if work is None else work
    value, bars = 0.0, []
    for first in range(0, len(every.drive), work.shape[2]):
        chunk = slice(first, first + work.shape[2])
        rows = _Rows(*(part[chunk] for part in every))
        ages, pool, sums = _forward(rows, model, work)
        parts = _bin_loss(rows.n_past[:, model.window_bins :], _expected(sums)[0], rows.N, model)
        loss, n_bar, nbar_bar = parts if judged is None else (np.where(judged[chunk], part, 0) for part in parts)
        value += float(loss.sum()) / size
        if wrt != "none":
            *bar, past_bar = _backward(rows, ages, pool, sums, nbar_bar, model, wrt != "parameters")
            bars.append((*bar, past_bar + n_bar))
    if wrt == "none":
        return Loss(value)
    joined = (np.concatenate(bar) / size for bar in zip(*bars, strict=True))
    total = DriveBar(*(part.reshape(*activity.shape[:2], *part.shape[1:]) for part in joined))
    return Loss(value, *gradients(total, drive, parameters, recording, model, wrt))


def _check(wrt: str) -> None:
    if wrt not in GRADIENTS:
        raise InputError(f"wrt: expected one of {', '.join(GRADIENTS)}, got {wrt!r}")


class _Rows(NamedTuple):
    """R rows, each one population in one trial, as the age loop takes them."""

    drive: np.ndarray  # (R, T)
    n_past: np.ndarray  # (R, A+T): the window, then the activity
    V0: np.ndarray  # (R, A+1)
    S0: np.ndarray  # (R, A+1)
    leak: np.ndarray  # (R, 1)
    theta: np.ndarray  # (R, 1)
    N: np.ndarray  # (R, 1)

    def activity_of_age(self, a: int) -> slice:
        """Return where in `n_past` the cohorts of age a were born: n(s-1-a) for s = 0 ... T-1."""
        A, T = self.V0.shape[1] - 1, self.drive.shape[1]
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
    """Return memory that repeated calls of `fast_lossZ` and `fast_lossM` can share, to save its allocation.

    Its content is undefined: (3, A, rows at once, T) for V, S and H of every age, of an activity (B, M, T).
    """
    (B, M, T) = activity.shape
    return np.empty((3, model.window_bins, min(B * M, max(1, CHUNK // T)), T))


def _settled(rows: _Rows, model: Model) -> int:
    """Return the age from which on V no longer depends on age, but for rounding: nothing remains of the reset."""
    # per bin, the potential keeps the fraction |leak|, and V0 misses exp(-alpha dt) of hbar, at most exp(leak - 1)
    slowest = float(np.maximum(np.abs(rows.leak), np.exp(rows.leak - 1)).max())
    if slowest >= 1:
        return model.window_bins - 1
    return min(model.window_bins - 1, model.refractory_bins + math.ceil(math.log(1e-17) / math.log(slowest)))


def _forward(rows: _Rows, model: Model, work: np.ndarray) -> tuple[_Ages, Pool | None, np.ndarray]:
    """Step all cohorts from age to age; return their states, the pool of the old and four sums over all, (4, R, T)."""
    (R, T), A, r = rows.drive.shape, model.window_bins, model.refractory_bins
    V, S, H = ages = _Ages(*work[:, :, :R])
    sums = np.zeros((4, R, T))
    S[0, :, 0], S[0, :, 1:] = rows.S0[:, 0], 1
    settled = _settled(rows, model)
    for a in range(A):
        if a < r:
            V[a], H[a] = 0, REFRACTORY_HAZARD * model.dt
        elif a <= settled:
            np.multiply(V[a - 1, :, :-1], rows.leak, out=V[a, :, 1:])
            V[a, :, 0] = rows.leak[:, 0] * rows.V0[:, a]
            V[a] += rows.drive
            hazard(V[a], rows.theta, model.dt, out=H[a])
        if a <= settled:  # P and E of older cohorts are the same in every bin
            P, E = firing(H[a], model.scheme)
        m = S[a] * rows.n_past[:, rows.activity_of_age(a)]
        v = m - S[a] * m
        sums[0] += m
        sums[1] += m * P
        sums[2] += v
        sums[3] += v * P
        if a + 1 < A:
            np.multiply(S[a, :, :-1], E[:, :-1], out=S[a + 1, :, 1:])
            S[a + 1, :, 0] = rows.S0[:, a + 1]
    pool = None
    if model.scheme.keeps_old:
        start = rows.V0[:, A:], rows.S0[:, A:], rows.n_past[:, :1]
        pool = pool_of_old(rows.drive, rows.leak, rows.theta, start, S[-1] * E, rows.n_past[:, :T], model)
        sums += pool.m, pool.m * pool.P, pool.v, pool.v * pool.P
    return ages, pool, sums


def _expected(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected activity before it is clipped, and Lambda, the firing probability of the missing mass.

    Both are (R, T), from the four sums over ages, (4, R, T).
    """
    m, mP, v, vP = sums
    missing = np.divide(vP, v, out=np.zeros_like(v), where=v > NOTHING)
    return mP + missing * (1 - m), missing


def _bin_loss(n: np.ndarray, expected: np.ndarray, N: np.ndarray, model: Model) -> tuple[np.ndarray, ...]:
    """Return the loss of every bin, and its derivatives in n and in the expected activity, each (R, T)."""
    if model.counts == "binomial":
        return _binomial_loss(n, expected, N)
    nbar = np.clip(expected, 0, 1)
    q = (nbar + 0.1 * model.dt) / N
    error = n - nbar
    loss = error**2 / (2 * q) + 0.5 * np.log(2 * np.pi * q)
    nbar_bar = -error / q + (1 - error**2 / q) / (2 * q * N)
    return loss, error / q, np.where(nbar == expected, nbar_bar, 0.0)


def _binomial_loss(n: np.ndarray, expected: np.ndarray, N: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return minus the log-probability of a count N n out of N, continued to real counts, as a density of n.

    And its derivatives, as `_bin_loss` does.
    """
    p = np.clip(expected, *COUNT_RANGE)
    fired, silent = N * n, N - N * n
    choices = gammaln(N + 1) - gammaln(fired + 1) - gammaln(silent + 1)
    loss = -(choices + fired * np.log(p) + silent * np.log1p(-p)) - np.log(N)
    n_bar = N * (digamma(fired + 1) - digamma(silent + 1) - np.log(p) + np.log1p(-p))
    return loss, n_bar, np.where(p == expected, silent / (1 - p) - fired / p, 0.0)


def _backward(
    rows: _Rows,
    ages: _Ages,
    pool: Pool | None,
    sums: np.ndarray,
    nbar_bar: np.ndarray,
    model: Model,
    wrt_activity: bool,
) -> tuple[np.ndarray, ...]:
    """Carry `nbar_bar`, (R, T), back through `_forward`; return the derivatives in the order of `DriveBar`."""
    (A, R, T), (sum_m, _, sum_v, _), r, scheme = ages.V.shape, sums, model.refractory_bins, model.scheme
    _, missing = _expected(sums)
    # derivatives with respect to the sums of m P and v P; those of m and v are -missing times these
    vP_bar = np.divide(nbar_bar * (1 - sum_m), sum_v, out=np.zeros((R, T)), where=sum_v > NOTHING)

    drive_bar, n_bar = np.zeros((R, T)), np.zeros((R, A + T))
    V0_bar, S0_bar = np.zeros((2, R, A + 1))
    leak_bar, theta_bar = np.zeros((2, R))
    V_bar, S_bar = np.zeros((2, R, T + 1))  # one bin longer: nothing comes from beyond the end
    if pool is not None:
        parts = pool_backward(pool, missing, nbar_bar, vP_bar, model)
        drive_bar, leak_bar, theta_bar, V0_bar[:, A], S0_bar[:, A], S_bar[:, 1:], n_bar[:, :T] = parts
    settled, settled_bar = _settled(rows, model), np.zeros((R, T))
    P, E = firing(ages.H[settled], scheme)
    for a in range(A - 1, -1, -1):
        V_before, S, H = ages.V[a - 1], ages.S[a], ages.H[min(a, settled)]
        past = rows.activity_of_age(a)
        n, dead = rows.n_past[:, past], 1 - S
        if a < settled:
            P, E = firing(H, scheme)
        later = S_bar[:, 1:] * E
        mP_bar = nbar_bar + dead * vP_bar  # of m P, by way of v P too
        excess = P - missing  # what a neuron of this age adds, less what one of the missing mass would
        if a >= r:
            V_now_bar = H * S * (through_firing(n * mP_bar, H, E, scheme) - later)
            theta_bar -= V_now_bar.sum(-1)
            if a >= settled:
                settled_bar += V_now_bar
                V_now_bar = settled_bar
        if r <= a <= settled:
            V_bar[:, :-1] = V_now_bar + rows.leak * V_bar[:, 1:]
            drive_bar += V_bar[:, :-1]
            leak_bar += np.vecdot(V_bar[:, 1:-1], V_before[:, :-1]) + V_bar[:, 0] * rows.V0[:, a]
            V0_bar[:, a] = rows.leak[:, 0] * V_bar[:, 0]
        if wrt_activity:
            n_bar[:, past] += S * excess * mP_bar
        S_bar[:, :-1] = n * excess * (mP_bar - S * vP_bar) + later
        S0_bar[:, a] = S_bar[:, 0]
    return drive_bar, leak_bar, theta_bar, V0_bar, S0_bar, n_bar[:, A:]


# --- part (a): the recorded spikes, given their own past and that of the activity ------------------------------------


class NeuronBins(NamedTuple):
    """The recorded neurons as kernels take them: fitted bins last, (B, M, n_obs, T), and not neurons.

    A neuron's bins lie side by side there. They are accumulated and gathered along, and sums keep their order.

    `spikes` are 0 or 1. `last` is the bin of the last spike before, counted from the first fitted bin. A neuron silent
    so far counts as older than the window, at the free potential, if the scheme keeps old neurons; if not, its age is
    zero at s = 0. `scored` is False where neurons do not count, None if all do.
    """

    spikes: np.ndarray
    last: np.ndarray
    scored: np.ndarray | None


def neuron_bins(recording: Recording, model: Model) -> NeuronBins:
    """Bring the recorded neurons from the order of `Recording`, (B, M, bins, n_obs), to that of the kernels."""
    every, A = np.moveaxis(recording.observed_spikes, -1, 2), model.window_bins
    bins = np.where(every, np.arange(-A, every.shape[-1] - A), -A - 1)
    last = np.maximum.accumulate(bins, axis=-1)[..., A - 1 : -1]
    if not model.scheme.keeps_old:
        last = np.where(last < -A, -1, last)
    scored = None if recording.scored is None else np.ascontiguousarray(np.moveaxis(recording.scored, -1, 2))
    return NeuronBins(every[..., A:], last, scored)


def fast_lossy(
    parameters: Parameters, activity: np.ndarray, recording: Recording, model: Model, wrt: str = "none"
) -> Loss:
    """Negative log-likelihood of the recorded spikes, per population and bin.

    Parameters and result as in `fast_lossZ`; the loss is minus the mean over trials, populations and judged bins of the
    sum over recorded neurons of y ln P - (1 - y) lambda dt.

    Notes
    -----
    With u(s) = g u(s-1) + drive(s), u(-1) = 0, a neuron whose potential was last zero in bin p has
    V(s) = u(s) - g^(s-p) u(p); one that has not been reset since the start has V(s) = u(s) + g^(s+1) V0.
    """
    _check(wrt)
    drive = drive_of(parameters, activity, recording, model)
    (B, M, T), A, r = activity.shape, model.window_bins, model.refractory_bins
    y, last, scored = neuron_bins(recording, model)
    zero = last + r  # the last bin of refractoriness
    u = low_pass(drive.drive, drive.leak)[:, :, None]
    bins = np.arange(T)
    reset, free = zero >= 0, bins > zero
    age_at_start = np.maximum(-1 - last, 0)
    from_start = np.take_along_axis(drive.start.V0[:, :, None], age_at_start, -1)
    base = np.where(reset, -np.take_along_axis(u, np.clip(zero, 0, T - 1), -1), from_start)
    elapsed = np.where(reset, np.maximum(bins - zero, 0), bins + 1)
    powers = drive.leak[:, None] ** np.arange(T + 1)
    faded = np.take_along_axis(powers[None, :, None], elapsed, axis=-1)
    V = np.where(free, u + faded * base, 0.0)
    theta = parameters.threshold[:, None, None]
    H = np.where(free, hazard(V, theta, model.dt), REFRACTORY_HAZARD * model.dt)
    size = M * recording.n_judged
    at = np.nonzero(y if scored is None else y * scored)
    ln_P, ln_P_slope = log_firing(H[at], (V - theta)[at] + np.log(model.dt), model.scheme)
    H[at] = 0  # from here on, that of the bins without a spike
    if scored is not None:
        H[~scored] = 0
    value = float(H.sum() - ln_P.sum()) / size
    if wrt == "none":
        return Loss(value)

    V_bar = H * (free & (V - theta + np.log(model.dt) < CEILING)) / size
    V_bar[at] = -ln_P_slope / size
    if model.scheme.small_hazard == 0:
        V_bar *= free  # in the published scheme, ln P of a refractory spike depends on theta
    theta_bar = -V_bar.sum((2, 3))
    V_bar *= free
    base_bar = V_bar * faded
    u_bar = V_bar.sum(2)
    rows = np.broadcast_to(np.arange(B * M).reshape(B, M, 1, 1), last.shape)
    where = (rows * T + np.clip(zero, 0, T - 1))[reset]
    u_bar -= np.bincount(where, base_bar[reset], minlength=B * M * T).reshape(B, M, T)
    slower = np.take_along_axis(powers[None, :, None], np.maximum(elapsed - 1, 0), axis=-1)  # the leak may be 0
    leak_bar = (V_bar * base * elapsed * slower).sum((2, 3))
    rows_V0 = (rows * (A + 1) + age_at_start)[~reset]
    V0_bar = np.bincount(rows_V0, base_bar[~reset], minlength=B * M * (A + 1)).reshape(B, M, A + 1)
    drive_bar = low_pass_adjoint(u_bar, drive.leak)
    leak_bar += (drive_bar[..., 1:] * u[:, :, 0, :-1]).sum(-1)
    bar = DriveBar(drive_bar, leak_bar, theta_bar, V0_bar, np.zeros_like(V0_bar), np.zeros_like(activity))
    return Loss(value, *gradients(bar, drive, parameters, recording, model, wrt))


def fast_lossM(
    X: np.ndarray, activity: np.ndarray, recording: Recording, model: Model, work: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Return the loss that the M-step minimises, nats per population and bin, and its gradient in X, (n,).

    Parameters
    ----------
    X : array, (n,)
        Fitted numbers.
    activity : array, (B, M, T)
    recording : Recording
    model : Model
    work : array, optional
        From `workspace`.
    """
    parameters = from_X(X, model)
    y = fast_lossy(parameters, activity, recording, model, "parameters")
    Z = fast_lossZ(parameters, activity, recording, model, "parameters", work)
    return y.value + Z.value, gradient_to_X(y.parameters + Z.parameters, model)
