"""The Fisher matrix of an M-step, and with it value and gradient of its loss, by forward tangents.

Given the activity, the loss of population m depends on its own parameters alone: alpha_m, J_jm of all j, mu_m, theta_m.
These are p = M + 3 numbers, one more where the input has a gain. Their tangents, for all populations side by side, go
through the same loop over ages as the loss (`src.fast_np`). With dn the derivatives of the expected activity in a bin,
dL / dnbar the slope of the loss and w its curvature, gradient and matrix are sums over bins of

    dn dL / dnbar   and   w dn dn^T,

and likewise for recorded neurons, with their potentials in place of nbar. What is left out is the curvature of nbar
itself, times a slope whose mean is zero where the model is right.
"""

from typing import NamedTuple

import numpy as np

from src.fast_np import (
    COUNT_RANGE,
    Drive,
    Forward,
    NeuronPotentials,
    Rows,
    drive_of,
    expected_activity,
    judged_loss,
    neuron_bins,
    neuron_potentials,
    per_variance,
    rows_of,
    step_ages,
    workspace,
)
from src.helper import from_X
from src.model.containers import Model, Parameters, Recording
from src.model.escape_noise import CEILING, REFRACTORY_HAZARD, firing_slope, log_firing
from src.model.filters import low_pass, recursion
from src.model.flat_order import of_populations
from src.model.old_neurons import TAIL, Tangents, pool_tangents
from src.model.time_chunks import chunk_bins, chunks_of

WEIGHTS = ("observed", "expected")


class Curved(NamedTuple):
    """A loss per population and judged bin, its gradient (n,), and its Fisher matrix (n, n)."""

    value: float
    gradient: np.ndarray
    matrix: np.ndarray


class _Blocks(NamedTuple):
    """The same by population: gradients (M, p), and matrices (M, p, p)."""

    value: float
    gradient: np.ndarray
    matrix: np.ndarray


def fisher(
    X: np.ndarray,
    activity: np.ndarray,
    recording: Recording,
    model: Model,
    *,
    work: np.ndarray | None = None,
    spikes_only: bool = False,
    weights: str = "observed",
    tolerance: float = TAIL,
) -> Curved:
    """Return the loss of `src.fast_np.fast_lossM`, its gradient, and its Fisher matrix.

    Parameters
    ----------
    X : array, (n,)
        Fitted numbers.
    activity : array, (B, M, T)
    recording : Recording
    model : Model
    work : array, optional
        From `src.fast_np.workspace`.
    spikes_only : bool
        Leave out the likelihood of the activity.
    weights : {"observed", "expected"}
        Curvature of the loss in the expected activity, or potential: as it is, or its mean over what the model expects
        in each bin. Where the observed one is negative, it counts as zero.
    tolerance : float
        As in `src.fast_np.fast_lossZ`.
    """
    parameters = from_X(X, model)
    drive = drive_of(parameters, activity, recording, model)
    parts = [_spikes(parameters, drive, recording, model, weights)]
    if not spikes_only:
        rows = rows_of(drive, parameters, activity, recording, model, tolerance)
        work = workspace(activity, model) if work is None else work
        parts.append(_activity(parameters, drive, rows, recording, model, weights, work))
    value, gradient, matrix = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    # from the blocks of the populations to the fitted numbers, which may be shared by several
    shares = np.moveaxis(model.fitted.matrix[:, of_populations(model.n_populations, model.has_gains)], 1, 0)
    size = model.n_populations * recording.n_judged
    return Curved(
        float(value) / size,
        (shares @ gradient[..., None]).sum(0)[:, 0] / size,
        (shares @ matrix @ shares.swapaxes(1, 2)).sum(0) / size,
    )


def _tangents(parameters: Parameters, drive: Drive, recording: Recording, model: Model, b: int, m: int) -> Tangents:
    """Return the tangents of population m in trial b, in the order of `of_populations`."""
    alpha, mu = parameters.membrane_rate[m], parameters.resting_potential[m]
    _, gains = model.scheme.leak_and_gain(parameters.membrane_rate, model.dt)
    leaks_slope, gains_slope = model.scheme.leak_and_gain_slopes(parameters.membrane_rate, model.dt)
    gain, A0 = gains[m], recording.initial_rate[b]
    by_alpha = gain * mu + gains_slope[m] / gain * drive.drive[b, m]
    by_mu, none = np.full(drive.drive.shape[-1], gain * alpha), np.zeros(drive.drive.shape[-1])
    by_input = [] if parameters.input_gain is None else [gain * recording.external_input[b, m]]
    of_drive = np.vstack([by_alpha, gain * drive.x[b], by_mu, *by_input, none])
    by_rates = [[-(A0 @ parameters.coupling[:, m]) / alpha**2], A0 / alpha, [1.0]]
    of_hbar = np.concatenate([*by_rates, np.zeros(len(by_input) + 1)])  # there was no input before the first bin
    V0_hbar, V0_alpha = (np.broadcast_to(part, drive.start.V0.shape)[b, m] for part in drive.start.V0_slopes)
    S0_hbar, S0_alpha, S0_theta = (part[b, m] for part in drive.start.S0_slopes)
    of_V0, of_S0 = of_hbar[:, None] * V0_hbar, of_hbar[:, None] * S0_hbar
    of_V0[0] += V0_alpha
    of_S0[0] += S0_alpha
    of_S0[-1] += S0_theta
    S0 = drive.start.S0[b, m]
    of_ln_S0 = np.divide(of_S0, S0, out=np.zeros_like(of_S0), where=S0 > 0)
    first, last = np.eye(len(of_drive))[[0, -1]]
    return Tangents(of_drive, leaks_slope[m] * first, last, of_V0, of_ln_S0)


def _nothing(model: Model) -> _Blocks:
    M, p = of_populations(model.n_populations, model.has_gains).shape
    return _Blocks(0.0, np.zeros((M, p)), np.zeros((M, p, p)))


def _activity(
    parameters: Parameters,
    drive: Drive,
    every: Rows,
    recording: Recording,
    model: Model,
    weights: str,
    work: np.ndarray,
) -> _Blocks:
    """Sum over the bins of the likelihood of the activity."""
    M, (value, gradient, matrix) = model.n_populations, _nothing(model)
    for rows in every.in_chunks(work.shape[2]):
        forward = step_ages(rows, model, work)
        loss, _, slope = judged_loss(rows, forward, model)
        value += float(loss.sum())
        tangents = [_tangents(parameters, drive, recording, model, *divmod(int(place), M)) for place in rows.place]
        dn = expected_tangents(rows, forward, tangents, model)
        n, (expected, _) = rows.n_past[:, model.window_bins :], expected_activity(forward.sums)
        w = count_curvature(n, expected, rows.N, model, weights) * rows.judged
        for i, m in enumerate(rows.place % M):
            gradient[m] += dn[:, i] @ slope[i]
            matrix[m] += (dn[:, i] * w[i]) @ dn[:, i].T
    return _Blocks(value, gradient, matrix)


def expected_tangents(rows: Rows, forward: Forward, tangents: list[Tangents], model: Model) -> np.ndarray:
    """Return the derivatives of the expected activity, (p, R, T): the tangent of `src.fast_np.step_ages`.

    With nbar = sum m P + Lambda (1 - sum m), Lambda = sum v P / sum v, a cohort adds to its derivative

        S n (P - Lambda) (1 + kappa (1 - 2 S)) dln S + S n (1 + kappa (1 - S)) dP,

    where kappa is the missing mass over the sum of v. All but dln S and dV is the same for all parameters.
    """
    of_drive, of_leak, _, of_V0, of_ln_S0 = (np.stack(part, axis=1) for part in zip(*tangents, strict=True))
    p, R, T = of_drive.shape
    _, missing = expected_activity(forward.sums)
    kappa = per_variance(np.ones((R, T)), forward.sums)
    dn, ln_S_K = np.zeros((2, p, R, T))
    state = of_V0, of_ln_S0
    for number, (bins, part) in enumerate(forward.chunks):
        ages = forward.ages_of(number, model, backward=False)
        given = (of_drive[..., bins], of_leak, *state, missing[:, bins], kappa[:, bins])
        state = _step_tangents(part, ages, given, (dn[..., bins], ln_S_K[..., bins]), model)
    for i, pool in enumerate(forward.pools):
        if pool is not None:
            coefficients = missing[i], kappa[i]
            dn[:, i] += pool_tangents(pool, rows.row(i), tangents[i], ln_S_K[:, i], coefficients, model)
    expected, _ = expected_activity(forward.sums)
    low, high = COUNT_RANGE if model.counts == "binomial" else (0, 1)
    return dn * ((expected >= low) & (expected <= high))


def _step_tangents(
    rows: Rows,
    ages: tuple[np.ndarray, ...],
    given: tuple[np.ndarray, ...],
    found: tuple[np.ndarray, ...],
    model: Model,
) -> tuple[np.ndarray, np.ndarray]:
    """Step the tangents of all cohorts through a chunk of bins: that of `src.fast_np.step_chunk`.

    Parameters
    ----------
    rows : Rows
        Of the chunk, of T bins.
    ages : tuple of array
        V, S, H, E and P.
    given : tuple of array
        Tangents of drive (p, R, T), leak (p, R), and V and ln S of all ages before the chunk, (p, R, A+1); Lambda and
        kappa, (R, T).
    found : tuple of array, (p, R, T)
        Gets what cohorts add to the derivatives of the expected activity, and the tangents of ln S at the limit.
    model : Model

    Returns
    -------
    V, ln_S : array, (p, R, A+1)
        Tangents of all ages after the chunk; of the old nothing is known here.
    """
    of_drive, of_leak, of_V0, of_ln_S0, missing, kappa = given
    (p, R, T), r, (dn, ln_S_K) = of_drive.shape, model.refractory_bins, found
    ln_S, older, term = np.zeros((3, p, R, T))
    V_after, ln_S_after = np.zeros((2, *of_V0.shape))
    V, risen = np.zeros((2, p - 1, R, T))  # the potential does not depend on the threshold, the last parameter
    ln_S[:, :, 0] = of_ln_S0[:, :, 0]
    for a in range(rows.limit[0]):
        k, stay = rows.younger(a), rows.younger(a + 1)
        S, H, E, P = (part[a, :k] for part in ages[1:])
        m = S * rows.n_past[:k, rows.activity_of_age(a)]
        by_v = kappa[:k] * (1 - S)
        dn[:, :k] += np.multiply(ln_S[:, :k], m * (P - missing[:k]) * (1 + by_v - kappa[:k] * S), out=term[:, :k])
        if a < r:
            older[:, :k, 1:] = ln_S[:, :k, :-1]
        else:
            np.multiply(V[:, :k, :-1], rows.leak[:k], out=risen[:, :k, 1:])
            risen[:, :k, 0] = rows.leak[:k, 0] * of_V0[:-1, :k, a]
            risen[:, :k] += of_drive[:-1, :k]
            risen[0, :k, 1:] += of_leak[0, :k, None] * ages[0][a - 1, :k, :-1]
            risen[0, :k, 0] += of_leak[0, :k] * rows.V0[:k, a]
            V, risen = risen, V
            by_V = m * (1 + by_v) * H * firing_slope(H, E, model.scheme)
            dn[:-1, :k] += np.multiply(V[:, :k], by_V, out=term[:-1, :k])
            dn[-1, :k] -= by_V
            np.multiply(V[:, :k], H, out=term[:-1, :k])
            np.negative(H, out=term[-1, :k])
            np.subtract(ln_S[:, :k, :-1], term[:, :k, :-1], out=older[:, :k, 1:])
        V_after[:-1, :k, a + 1] = V[:, :k, -1]
        ln_S_after[:, :k, a + 1] = ln_S[:, :k, -1] - (term[:, :k, -1] if a >= r else 0)
        older[:, :k, 0] = of_ln_S0[:, :k, a + 1]
        ln_S_K[:, stay:k] = older[:, stay:k]
        ln_S, older = older, ln_S
    return V_after, ln_S_after


def count_curvature(n: np.ndarray, expected: np.ndarray, N: np.ndarray, model: Model, weights: str) -> np.ndarray:
    """Return the second derivative of the loss of an activity n in the expected one, or its mean over n, (R, T)."""
    if model.counts == "binomial":
        p = np.clip(expected, *COUNT_RANGE)
        n = n if weights == "observed" else p
        return N * (n / p**2 + (1 - n) / (1 - p) ** 2)
    nbar = np.clip(expected, 0, 1)
    q = (nbar + 0.1 * model.dt) / N
    if weights == "expected":
        return 1 / q + 1 / (2 * (q * N) ** 2)
    return np.maximum((1 + (n - nbar) / (q * N)) ** 2 / q - 1 / (2 * (q * N) ** 2), 0)


def _spikes(parameters: Parameters, drive: Drive, recording: Recording, model: Model, weights: str) -> _Blocks:
    """Sum over the recorded neurons and their bins."""
    M, every, u = model.n_populations, neuron_bins(recording, model), low_pass(drive.drive, drive.leak)
    value, gradient, matrix = _nothing(model)
    for b in range(recording.n_trials):
        trial = slice(b, b + 1)
        start = drive.start._replace(V0=drive.start.V0[trial])
        of_trial = drive._replace(drive=drive.drive[trial], start=start)
        tangents = [_tangents(parameters, drive, recording, model, b, m) for m in range(M)]
        of_u = [_filtered(tangents[m], drive.leak[m], u[b, m]) for m in range(M)]
        for bins in chunks_of(u.shape[-1], chunk_bins(u.shape[-1], every.spikes[0, ..., 0].size)):
            known = every.at(bins, trial)
            at = neuron_potentials(of_trial, known, model, u[trial], bins.start)
            for m in range(M):
                excess = _potential_tangents(at, m, of_u[m], tangents[m], bins)
                V, free, fired = at.V[0, m], at.free[0, m], known.spikes[0, m] > 0
                scored = True if known.scored is None else known.scored[0, m]
                ln_H = V - parameters.threshold[m] + np.log(model.dt)
                loss, slope, w = spike_curvature(ln_H, fired, free, model, weights)
                value += float((loss * scored).sum())
                by_bin = excess.reshape(len(excess), -1)
                gradient[m] += by_bin @ (slope * scored).ravel()
                matrix[m] += (by_bin * (w * scored).ravel()) @ by_bin.T
    return _Blocks(value, gradient, matrix)


def _filtered(tangents: Tangents, leak: float, u: np.ndarray) -> np.ndarray:
    """Return the tangents, (p, T), of the filtered drive u (T,) of a population."""
    rising = tangents.drive.copy()
    rising[:, 1:] += tangents.leak[:, None] * u[:-1]
    return recursion(np.full(len(u), leak), rising)


def _potential_tangents(at: NeuronPotentials, m: int, of_u: np.ndarray, tangents: Tangents, bins: slice) -> np.ndarray:
    """Return the tangents of V less theta of the neurons of population m in some bins, (p, n_obs, bins)."""
    of_base = np.where(at.reset[0, m], -of_u[:, at.zero[0, m]], tangents.V0[:, at.age_at_start[0, m]])
    of_V = of_u[:, None, bins] + at.faded[0, m] * of_base
    of_V[0] += tangents.leak[0] * at.faded_slope[0, m] * at.base[0, m]
    return of_V * at.free[0, m] - tangents.theta[:, None, None]


def spike_curvature(
    ln_H: np.ndarray, fired: np.ndarray, free: np.ndarray, model: Model, weights: str
) -> tuple[np.ndarray, ...]:
    """Return the loss of spikes and silences, and its first and second derivative in ln H, each shaped like `ln_H`."""
    small = model.scheme.small_hazard
    H = np.where(free, np.exp(np.minimum(ln_H, CEILING)), REFRACTORY_HAZARD * model.dt)
    moves = free & (ln_H < CEILING)
    ln_P, rise = log_firing(H, ln_H, model.scheme)
    bend = np.where(H < small, 0.0, rise * (H + rise - 1))
    if weights == "expected":
        P = np.where(H < small, H, -np.expm1(-H))
        w = P * bend + (1 - P) * H
    else:
        w = np.where(fired, bend, H)
    # in the published scheme, ln P of a refractory spike depends on theta
    slope = np.where(fired, -rise * (free | (small > 0)), H * moves)
    return np.where(fired, -ln_P, H), slope, w * moves
