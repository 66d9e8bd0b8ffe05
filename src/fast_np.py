"""Likelihoods in NumPy, with exact gradients: what the M-step minimises (paper, Eq. 4b).

The activity is given, so nothing is sequential in time but two first-order filters. All bins are handled at once, one
age after the other: a cohort's potential and survival at age a and bin s follow from those at age a-1 and bin s-1. Of
long recordings, chunks of bins are handled one after the other; see `src.model.time_chunks`.

Symbols, as in the equations of the paper and of Schwalger et al. 2017: n activity, x synaptic variable, h input, V
potential, H = lambda dt, E = exp(-H), P firing probability, S survival, m and v = (1-S) m the mass of a cohort and its
variance. A name with `_bar` is the derivative of the loss with respect to that quantity.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy

from src.helper import from_X, gradient_to_X
from src.model.containers import Model, Parameters, Recording
from src.model.escape_noise import CEILING, REFRACTORY_HAZARD, firing, firing_slope, hazard, log_firing
from src.model.filters import low_pass, low_pass_adjoint
from src.model.old_neurons import TAIL, Pool, Row, limit_ages, pool_backward, pool_of_old
from src.model.stationary import Start, stationary_start
from src.model.time_chunks import AT_ONCE, chunk_bins, chunks_of
from src.utils.exceptions import InputError

GRADIENTS = ("none", "parameters", "activity", "both")
COUNT_RANGE = (1e-9, 1 - 1e-6)  # of the mean of a binomial count: at 0 or 1, any other count would be impossible
NOTHING = 1e-200  # a sum of v up to here counts as none: 1 / v would overflow


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

    With input gains, I_m is that of the population times its stimulus.

    Parameters
    ----------
    parameters : Parameters
    activity : array, (B, M, T)
        Fraction of each population that fires in each fitted bin.
    recording : Recording
        Gives the external input or the stimulus, and the rates A0.
    model : Model
    """
    x = synapse(activity, recording.initial_rate, model)
    h = np.einsum("bjs,jm->bms", x, parameters.coupling) + parameters.driven_by(recording.external_input)
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
        input_bar = None
        if parameters.input_gain is not None:
            input_bar = np.einsum("bms,bms->m", recording.external_input, h_bar)
        g_parameters = Parameters(alpha_bar.sum(0), J_bar, mu_bar.sum(0), theta_bar.sum(0), input_bar).flat()
    return g_parameters, g_activity


# --- part (b): the population activity, given its past ---------------------------------------------------------------


def fast_lossZ(
    parameters: Parameters,
    activity: np.ndarray,
    recording: Recording,
    model: Model,
    wrt: str = "none",
    work: np.ndarray | None = None,
    tolerance: float = TAIL,
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
    tolerance : float
        Neurons count as old once a reset has left less than this part of the potential; see `src.model.old_neurons`.

    Returns
    -------
    Loss
        Mean over trials, populations and judged bins of (n - nbar)^2 / 2q + ln(2 pi q) / 2, q = (nbar + 0.1 dt) / N;
        or, if the model says so, of minus the log-probability of a binomial count.
    """
    _check(wrt)
    size = model.n_populations * recording.n_judged
    drive = drive_of(parameters, activity, recording, model)
    every = rows_of(drive, parameters, activity, recording, model, tolerance)
    work = workspace(activity, model) if work is None else work
    value, bars = 0.0, []
    for rows in every.in_chunks(work.shape[2]):
        forward = step_ages(rows, model, work)
        loss, n_bar, nbar_bar = judged_loss(rows, forward, model)
        value += float(loss.sum()) / size
        if wrt != "none":
            *bar, past_bar = rows_backward(rows, forward, nbar_bar, model, wrt != "parameters")
            bars.append((*bar, past_bar + n_bar))
    if wrt == "none":
        return Loss(value)
    (B, M, _), back = activity.shape, np.argsort(every.place)
    joined = (np.concatenate(bar)[back] / size for bar in zip(*bars, strict=True))
    total = DriveBar(*(part.reshape(B, M, *part.shape[1:]) for part in joined))
    return Loss(value, *gradients(total, drive, parameters, recording, model, wrt))


def _check(wrt: str) -> None:
    if wrt not in GRADIENTS:
        raise InputError(f"wrt: expected one of {', '.join(GRADIENTS)}, got {wrt!r}")


class Rows(NamedTuple):
    """R rows, each one population in one trial, as the age loop takes them: those with the latest limit first."""

    drive: np.ndarray  # (R, T)
    n_past: np.ndarray  # (R, A+T): the window, then the activity
    V0: np.ndarray  # (R, A+1)
    S0: np.ndarray  # (R, A+1)
    leak: np.ndarray  # (R, 1)
    theta: np.ndarray  # (R, 1)
    N: np.ndarray  # (R, 1)
    judged: np.ndarray  # (R, T), or (R, 1) where all bins are
    limit: np.ndarray  # (R,): the age from which on neurons are old
    place: np.ndarray  # (R,): trial times M plus population

    def activity_of_age(self, a: int) -> slice:
        """Return where in `n_past` the cohorts of age a were born: n(s-1-a) for s = 0 ... T-1."""
        A, T = self.V0.shape[1] - 1, self.drive.shape[1]
        return slice(A - 1 - a, A - 1 - a + T)

    def in_chunks(self, at_once: int) -> Iterator["Rows"]:
        """Yield so many rows at once."""
        for first in range(0, len(self.drive), at_once):
            yield Rows(*(part[first : first + at_once] for part in self))

    def at(self, bins: slice, V0: np.ndarray, S0: np.ndarray) -> "Rows":
        """Return some bins of the rows, from the state of all ages before the first one on, (R, A+1) each."""
        past = slice(bins.start, bins.stop + self.V0.shape[1] - 1)
        return self._replace(drive=self.drive[:, bins], n_past=self.n_past[:, past], V0=V0, S0=S0)

    def younger(self, a: int) -> int:
        """Return how many rows follow cohorts of age a: the first ones."""
        return int((self.limit > a).sum())

    def row(self, i: int) -> Row:
        """Return one of them."""
        leak, theta = float(self.leak[i, 0]), float(self.theta[i, 0])
        return Row(self.drive[i], self.n_past[i], self.V0[i], self.S0[i], leak, theta, int(self.limit[i]))


class Forward(NamedTuple):
    """What `step_ages` finds.

    The rows of each chunk of bins, with the state that it starts from. V, S before the bin, H, E and P of every age and
    bin, (A, R, bins), up to the limits, of the last chunk; the memory that holds them; survival S_K at the limit,
    (R, T); the pool of the old of each row, None where there are no old; four sums over all neurons, (4, R, T).
    """

    chunks: list[tuple[slice, Rows]]
    V: np.ndarray
    S: np.ndarray
    H: np.ndarray
    E: np.ndarray
    P: np.ndarray
    work: np.ndarray
    S_K: np.ndarray
    pools: list[Pool | None]
    sums: np.ndarray

    def ages_of(self, number: int, model: Model, *, backward: bool) -> tuple[np.ndarray, ...]:
        """Return V, S, H, E and P of a chunk. All but the last chunk are computed anew, and so is that, if not first.

        Parameters
        ----------
        number : int
            Of the chunk.
        model : Model
        backward : bool
            Whether the last chunk is asked for first, or the first one.
        """
        bins, rows = self.chunks[number]
        if number + 1 < len(self.chunks) or not (backward or number == 0):
            step_chunk(rows, model, self.work, np.empty_like(self.S_K[:, bins]))
        return tuple(self.work[:, :, : len(rows.drive), : rows.drive.shape[1]])


def rows_of(
    drive: Drive, parameters: Parameters, activity: np.ndarray, recording: Recording, model: Model, tolerance: float
) -> Rows:
    """Lay trials and populations out as rows."""
    B, M, _ = activity.shape
    window = np.broadcast_to(recording.initial_rate[..., None] * model.dt, (B, M, model.window_bins))
    by_bin = (drive.drive, np.concatenate([window, activity], axis=-1), drive.start.V0, drive.start.S0)
    by_population = (drive.leak, parameters.threshold, model.population_size)
    judged = np.ones((B, 1), bool) if recording.judged is None else recording.judged
    limit = np.tile(limit_ages(drive.leak, model, tolerance), B)
    place = np.argsort(-limit, kind="stable")
    rows = [
        *(part.reshape(B * M, -1) for part in by_bin),
        *(np.broadcast_to(part, (B, M)).reshape(B * M, 1) for part in by_population),
        *(np.repeat(judged, M, axis=0), limit, np.arange(B * M)),
    ]
    return Rows(*(part[place] for part in rows))


def workspace(activity: np.ndarray, model: Model) -> np.ndarray:
    """Return memory that repeated calls of `fast_lossZ` and `fast_lossM` can share, to save its allocation.

    Its content is undefined: (5, A, rows at once, bins at once) for V, S, H, E and P of every age, of an activity
    (B, M, T).
    """
    (B, M, T) = activity.shape
    return np.empty((5, model.window_bins, min(B * M, max(1, AT_ONCE // T)), chunk_bins(T, 1)))


def step_ages(rows: Rows, model: Model, work: np.ndarray) -> Forward:
    """Step all cohorts from age to age until they are old, and take the old as a pool."""
    (R, T), A = rows.drive.shape, model.window_bins
    S_K, sums = np.zeros((R, T)), np.zeros((4, R, T))
    chunks, state = [], (rows.V0, rows.S0)
    for bins in chunks_of(T, work.shape[3]):
        chunks.append((bins, rows.at(bins, *state)))
        step_chunk(chunks[-1][1], model, work, S_K[:, bins], sums[..., bins])
        if bins.stop < T:
            state = _state_after(chunks[-1][1], work)
    pools: list[Pool | None] = [None] * R
    for i in range(R):
        if model.scheme.keeps_old or rows.limit[i] < A:
            pools[i] = pool = pool_of_old(rows.row(i), S_K[i], model)
            sums[:, i] += pool.M, pool.M * pool.P, pool.v, pool.v * pool.P
    V, S, H, E, P = work[:, :, :R, : bins.stop - bins.start]
    return Forward(chunks, V, S, H, E, P, work, S_K, pools, sums)


def step_chunk(rows: Rows, model: Model, work: np.ndarray, S_K: np.ndarray, sums: np.ndarray | None = None) -> None:
    """Step all cohorts through a chunk of bins: V, S, H, E and P go to `work`, the survival at the limit to `S_K`.

    The four sums over ages are added to `sums`, (4, R, bins), if they are asked for.
    """
    (R, T), r = rows.drive.shape, model.refractory_bins
    V, S, H, E, P = work[:, :, :R, :T]
    S[0, :, 0], S[0, :, 1:] = rows.S0[:, 0], 1
    for a in range(rows.limit[0]):
        k, stay = rows.younger(a), rows.younger(a + 1)
        now = a, slice(k)
        if a < r:
            V[now], H[now] = 0, REFRACTORY_HAZARD * model.dt
        else:
            np.multiply(V[a - 1, :k, :-1], rows.leak[:k], out=V[a, :k, 1:])
            V[a, :k, 0] = rows.leak[:k, 0] * rows.V0[:k, a]
            V[now] += rows.drive[:k]
            hazard(V[now], rows.theta[:k], model.dt, out=H[now])
        firing(H[now], model.scheme, out=(P[now], E[now]))
        if sums is not None:
            m = S[now] * rows.n_past[:k, rows.activity_of_age(a)]
            v = 1 - S[now]
            v *= m
            sums[0, :k] += m
            sums[2, :k] += v
            m *= P[now]
            v *= P[now]
            sums[1, :k] += m
            sums[3, :k] += v
        for older, first, last in ((S[a + 1] if stay else S_K, 0, stay), (S_K, stay, k)):
            np.multiply(S[a, first:last, :-1], E[a, first:last, :-1], out=older[first:last, 1:])
            older[first:last, 0] = rows.S0[first:last, a + 1]


def _state_after(rows: Rows, work: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return potential and survival of every age after the last bin of a chunk, (R, A+1) each: all are a bin older.

    Of the old nothing is known here, and nothing asked: they are in the pool.
    """
    (R, T), most = rows.drive.shape, rows.limit[0]
    V, S, _, E, _ = work[:, :most, :R, T - 1].swapaxes(1, 2)
    young = np.arange(most) < rows.limit[:, None]
    V_after, S_after = np.zeros((2, *rows.V0.shape))
    np.copyto(V_after[:, 1 : most + 1], V, where=young)
    np.multiply(S, E, out=S_after[:, 1 : most + 1], where=young)
    S_after[:, 0] = 1
    return V_after, S_after


def expected_activity(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected activity before it is clipped, and Lambda, the firing probability of the missing mass.

    Both are (R, T), from the four sums over ages, (4, R, T).
    """
    m, mP, v, vP = sums
    missing = np.divide(vP, v, out=np.zeros_like(v), where=v > NOTHING)
    return mP + missing * (1 - m), missing


def per_variance(quantity: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return a quantity times the missing mass over the sum of v, (R, T); 0 where there is no variance."""
    return np.divide(quantity * (1 - sums[0]), sums[2], out=np.zeros_like(sums[2]), where=sums[2] > NOTHING)


def judged_loss(rows: Rows, forward: Forward, model: Model) -> tuple[np.ndarray, ...]:
    """Return what `bin_loss` does, each (R, T), with zeros where bins are not judged."""
    n = rows.n_past[:, model.window_bins :]
    parts = bin_loss(n, expected_activity(forward.sums)[0], rows.N, model)
    return parts if rows.judged.all() else tuple(np.where(rows.judged, part, 0) for part in parts)


def bin_loss(n: np.ndarray, expected: np.ndarray, N: np.ndarray, model: Model) -> tuple[np.ndarray, ...]:
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

    And its derivatives, as `bin_loss` does.
    """
    p = np.clip(expected, *COUNT_RANGE)
    fired, silent = N * n, N - N * n
    choices = scipy.special.gammaln(N + 1) - scipy.special.gammaln(fired + 1) - scipy.special.gammaln(silent + 1)
    loss = -(choices + fired * np.log(p) + silent * np.log1p(-p)) - np.log(N)
    n_bar = N * (scipy.special.digamma(fired + 1) - scipy.special.digamma(silent + 1) - np.log(p) + np.log1p(-p))
    return loss, n_bar, np.where(p == expected, silent / (1 - p) - fired / p, 0.0)


def rows_backward(
    rows: Rows, forward: Forward, nbar_bar: np.ndarray, model: Model, wrt_activity: bool
) -> tuple[np.ndarray, ...]:
    """Carry `nbar_bar`, (R, T), back through `step_ages`; return the derivatives in the order of `DriveBar`."""
    (R, T), A = rows.drive.shape, model.window_bins
    _, missing = expected_activity(forward.sums)
    # derivatives with respect to the sums of m P and v P; those of m and v are -missing times these
    vP_bar = per_variance(nbar_bar, forward.sums)

    drive_bar, n_bar = np.zeros((R, T)), np.zeros((R, A + T))
    V0_bar, S0_bar = np.zeros((2, R, A + 1))
    leak_bar, theta_bar = np.zeros((2, R))
    S_K_bar = np.zeros((R, T + 1))  # one bin longer: nothing comes from beyond the end
    for i, pool in enumerate(forward.pools):
        if pool is not None:
            bar = pool_backward(pool, rows.row(i), missing[i], nbar_bar[i], vP_bar[i], model)
            drive_bar[i], S_K_bar[i, :-1], V0_bar[i], S0_bar[i], n_bar[i], leak_bar[i], theta_bar[i] = bar
    after = np.zeros((2, R, A + 1))
    for number in range(len(forward.chunks) - 1, -1, -1):
        bins, part = forward.chunks[number]
        before = np.stack([V0_bar, S0_bar]) if number == 0 else np.zeros((2, R, A + 1))
        totals = (drive_bar[:, bins], n_bar[:, bins.start : bins.stop + A], leak_bar, theta_bar, *before)
        given = (S_K_bar[:, bins.start : bins.stop + 1], missing[:, bins], nbar_bar[:, bins], vP_bar[:, bins])
        ages = forward.ages_of(number, model, backward=True)
        _chunk_backward(part, ages, given, after, totals, model, wrt_activity)
        after = before
    return drive_bar, leak_bar, theta_bar, *after, n_bar[:, A:]


def _chunk_backward(
    rows: Rows,
    ages: tuple[np.ndarray, ...],
    given: tuple[np.ndarray, ...],
    after: np.ndarray,
    totals: tuple[np.ndarray, ...],
    model: Model,
    wrt_activity: bool,
) -> None:
    """Carry derivatives back through `step_chunk`, and add them up in `totals`.

    Parameters
    ----------
    rows : Rows
        Of a chunk of T bins.
    ages : tuple of array
        V, S, H, E and P.
    given : tuple of array
        Derivative with respect to S_K, (R, T+1), with that of the first bin after; Lambda, and derivatives with respect
        to the expected activity and to the sum of v P, (R, T).
    after : array, (2, R, A+1)
        Derivatives with respect to V and S of every age after the chunk.
    totals : tuple of array
        Derivatives with respect to drive (R, T), activity with its window (R, A+T), leak and theta (R,), V0 and S0.
    model : Model
    wrt_activity : bool
        Whether that of the activity is asked for.
    """
    drive_bar, n_bar, leak_bar, theta_bar, V0_bar, S0_bar = totals
    S_K_bar, missing, nbar_bar, vP_bar = given
    V_bar, S_bar = np.zeros_like(S_K_bar), S_K_bar.copy()
    for a in range(rows.limit[0] - 1, -1, -1):
        k, stay = rows.younger(a), rows.younger(a + 1)
        past = rows.activity_of_age(a)
        S, H, E, P = (part[a, :k] for part in ages[1:])
        n, leak = rows.n_past[:k, past], rows.leak[:k]
        S_bar[:stay, -1] = after[1, :stay, a + 1]
        later = S_bar[:k, 1:] * E
        mP_bar = nbar_bar[:k] + (1 - S) * vP_bar[:k]  # of m P, by way of v P too
        excess = P - missing[:k]  # what a neuron of this age adds, less what one of the missing mass would
        if a >= model.refractory_bins:
            V_now_bar = H * S * (n * mP_bar * firing_slope(H, E, model.scheme) - later)
            theta_bar[:k] -= V_now_bar.sum(-1)
            V_bar[:k, :-1] = V_now_bar + leak * V_bar[:k, 1:]
            V_bar[:k, -2] += after[0, :k, a + 1]
            drive_bar[:k] += V_bar[:k, :-1]
            leak_bar[:k] += np.vecdot(V_bar[:k, 1:-1], ages[0][a - 1, :k, :-1]) + V_bar[:k, 0] * rows.V0[:k, a]
            V0_bar[:k, a] += leak[:, 0] * V_bar[:k, 0]
        if wrt_activity:
            n_bar[:k, past] += S * excess * mP_bar
        S_bar[:k, :-1] = n * excess * (mP_bar - S * vP_bar[:k]) + later
        S0_bar[:k, a] += S_bar[:k, 0]


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

    def at(self, bins: slice, trials: slice = slice(None)) -> "NeuronBins":
        """Return some of the bins, of all trials or of some."""
        scored = None if self.scored is None else self.scored[trials, ..., bins]
        return NeuronBins(self.spikes[trials, ..., bins], self.last[trials, ..., bins], scored)


def neuron_bins(recording: Recording, model: Model) -> NeuronBins:
    """Bring the recorded neurons from the order of `Recording`, (B, M, bins, n_obs), to that of the kernels."""
    every, A = np.moveaxis(recording.observed_spikes, -1, 2), model.window_bins
    bins = np.where(every, np.arange(-A, every.shape[-1] - A), -A - 1)
    last = np.maximum.accumulate(bins, axis=-1)[..., A - 1 : -1]
    if not model.scheme.keeps_old:
        last = np.where(last < -A, -1, last)
    scored = recording.scored
    scored = None if scored is None else np.ascontiguousarray(np.moveaxis(scored, -1, 2))
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
    (B, M, T), A = activity.shape, model.window_bins
    known, u = neuron_bins(recording, model), low_pass(drive.drive, drive.leak)
    theta, size = parameters.threshold[:, None, None], M * recording.n_judged
    value, u_bar = 0.0, np.zeros_like(u)
    leak_bar, theta_bar = np.zeros((2, B, M))
    V0_bar = np.zeros((B, M, A + 1))
    for bins in chunks_of(T, chunk_bins(T, known.spikes[..., 0].size)):
        part = known.at(bins)
        at = neuron_potentials(drive, part, model, u, bins.start)
        loss, V_bar = _spike_loss(at, part, theta, model, wrt)
        value += loss
        if wrt != "none":
            V_bar /= size
            theta_bar -= V_bar.sum((2, 3))
            V_bar *= at.free
            leak_bar += (V_bar * at.base * at.faded_slope).sum((2, 3))
            _potentials_backward(V_bar, at, bins, u_bar, V0_bar)
    if wrt == "none":
        return Loss(value / size)
    drive_bar = low_pass_adjoint(u_bar, drive.leak)
    leak_bar += (drive_bar[..., 1:] * u[..., :-1]).sum(-1)
    bar = DriveBar(drive_bar, leak_bar, theta_bar, V0_bar, np.zeros_like(V0_bar), np.zeros_like(activity))
    return Loss(value / size, *gradients(bar, drive, parameters, recording, model, wrt))


def _spike_loss(
    at: "NeuronPotentials", known: NeuronBins, theta: np.ndarray, model: Model, wrt: str
) -> tuple[float, np.ndarray]:
    """Return the loss of some bins, summed, and its derivative in V less theta, (B, M, n_obs, bins)."""
    V, (y, _, scored) = at.V, known
    H = np.where(at.free, hazard(V, theta, model.dt), REFRACTORY_HAZARD * model.dt)
    fired = np.nonzero(y if scored is None else y * scored)
    ln_P, ln_P_slope = log_firing(H[fired], (V - theta)[fired] + np.log(model.dt), model.scheme)
    H[fired] = 0  # from here on, that of the bins without a spike
    if scored is not None:
        H[~scored] = 0
    value = float(H.sum() - ln_P.sum())
    if wrt == "none":
        return value, H
    V_bar = H * (at.free & (V - theta + np.log(model.dt) < CEILING))
    V_bar[fired] = -ln_P_slope
    if model.scheme.small_hazard == 0:
        V_bar *= at.free  # in the published scheme, ln P of a refractory spike depends on theta
    return value, V_bar


def _potentials_backward(
    V_bar: np.ndarray, at: "NeuronPotentials", bins: slice, u_bar: np.ndarray, V0_bar: np.ndarray
) -> None:
    """Carry a derivative in the potentials of some bins back to u, (B, M, T), and V0, (B, M, A+1), and add it there."""
    B, M, A = *u_bar.shape[:2], V0_bar.shape[-1] - 1
    base_bar = V_bar * at.faded
    u_bar[..., bins] += V_bar.sum(2)
    rows = np.broadcast_to(np.arange(B * M).reshape(B, M, 1, 1), at.zero.shape)
    first = int(at.zero.min(where=at.reset, initial=bins.start))
    span = bins.stop - first
    where = (rows * span + at.zero - first)[at.reset]
    u_bar[..., first : bins.stop] -= np.bincount(where, base_bar[at.reset], minlength=B * M * span).reshape(B, M, span)
    rows_V0 = (rows * (A + 1) + at.age_at_start)[~at.reset]
    V0_bar += np.bincount(rows_V0, base_bar[~at.reset], minlength=B * M * (A + 1)).reshape(B, M, A + 1)


class NeuronPotentials(NamedTuple):
    """Potentials of the recorded neurons, V = u + faded base where they are free, and what they are made of.

    `V`, where the neuron is `free` of refractoriness, `faded` = g^k and its slope in g, and `base`, (B, M, n_obs,
    bins): minus u in the bin `zero` where there was a `reset`, else V0 at the age `age_at_start`. `u` is (B, M, T).
    """

    V: np.ndarray
    free: np.ndarray
    faded: np.ndarray
    faded_slope: np.ndarray
    base: np.ndarray
    reset: np.ndarray
    zero: np.ndarray
    age_at_start: np.ndarray
    u: np.ndarray


def neuron_potentials(
    drive: Drive, known: NeuronBins, model: Model, u: np.ndarray | None = None, first: int = 0
) -> NeuronPotentials:
    """Return the potentials of the recorded neurons, given their last spikes; see the notes of `fast_lossy`.

    Parameters
    ----------
    drive : Drive
    known : NeuronBins
        Of some bins, or of all.
    model : Model
    u : array, (B, M, T), optional
        The filtered drive, where it is known.
    first : int
        Where the bins of `known` begin.
    """
    last = known.last
    zero = last + model.refractory_bins  # the last bin of refractoriness
    u = low_pass(drive.drive, drive.leak) if u is None else u
    bins = np.arange(first, first + last.shape[-1])
    reset, free, at = zero >= 0, bins > zero, np.clip(zero, 0, bins[-1])
    age_at_start = np.maximum(-1 - last, 0)
    from_start = np.take_along_axis(drive.start.V0[:, :, None], age_at_start, -1)
    base = np.where(reset, -np.take_along_axis(u[:, :, None], at, -1), from_start)
    elapsed = np.where(reset, np.maximum(bins - zero, 0), bins + 1)
    powers = (drive.leak[:, None] ** np.arange(elapsed.max(initial=0) + 1))[None, :, None]
    faded = np.take_along_axis(powers, elapsed, axis=-1)
    slower = np.take_along_axis(powers, np.maximum(elapsed - 1, 0), axis=-1)  # the leak may be 0
    V = np.where(free, u[:, :, None, bins[0] : bins[-1] + 1] + faded * base, 0.0)
    return NeuronPotentials(V, free, faded, elapsed * slower, base, reset, at, age_at_start, u)


def fast_lossM(
    X: np.ndarray,
    activity: np.ndarray,
    recording: Recording,
    model: Model,
    work: np.ndarray | None = None,
    spikes_only: bool = False,
    tolerance: float = TAIL,
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
    spikes_only : bool
        Leave out the likelihood of the activity, and take it as an input to the recorded neurons.
    tolerance : float
        As in `fast_lossZ`.
    """
    given = from_X(X, model), activity, recording, model
    loss = fast_lossy(*given, "parameters")
    value, gradient = loss.value, loss.parameters
    if not spikes_only:
        loss = fast_lossZ(*given, "parameters", work, tolerance)
        value, gradient = value + loss.value, gradient + loss.parameters
    return value, gradient_to_X(gradient, model)
