"""Coordinates in which the posterior is nearly round, so that a random walk gets about.

A change of a single number by a percent costs tens of nats where it changes a population's rate. So the resting
potential of each population is replaced by the rate that it leads to,

    eta_m = ln(stationary rate of population m at the observed inputs / its observed rate).

Where the recording visits several states, as winner-take-all circuits do, it is the mean rate over two of them. All
other numbers are taken by their logarithm, or as they are where they may be negative. The rate is worked out on a grid
of `NODES` ages. As a coordinate it needs no more: density and inverse are those of this very function.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from src.model.containers import Model, Recording, mean_of_recorded
from src.model.flat_order import INPUT_GAIN, places, slices
from src.statistics.smoothing import smooth

NODES, SPAN = 12, 3.0
"""Ages at which the hazard of a neuron is taken, and up to how many membrane time constants."""
STATE_WIDTH = 0.25
"""Standard deviation of the Gaussian that smooths the rates to tell states apart, in s."""
LEAST_SHARE = 0.1
"""Of time, for a state to count."""
CLOSE = 1e-9
"""To which eta is solved for."""
LEAST_OBSERVED = 0.2
"""Hz; observed rates below count as this."""


def stationary_rate(
    alpha: np.ndarray, h: np.ndarray, theta: np.ndarray, refractory: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rate of neurons at the constant free potential h, in Hz, and its derivative in h; any shapes.

    The rate is one over the mean interval, the integral of the survival exp(-int e^(V - theta) dt).
    """
    step, rise = SPAN / NODES, -np.expm1(-(np.arange(NODES) + 0.5) * SPAN / NODES)
    H = np.exp(np.clip(h[..., None] * rise - theta[..., None], -50.0, 50.0)) * (step / alpha)[..., None]
    slope = H * rise
    total, total_slope = np.cumsum(H, axis=-1), np.cumsum(slope, axis=-1)
    S = np.exp(-(total - H / 2))
    last = np.exp(-total[..., -1] - np.clip(h - theta, -50.0, 50.0))  # the rest of the interval, at the free potential
    interval = refractory + step / alpha * S.sum(axis=-1) + last
    interval_slope = -step / alpha * (S * (total_slope - slope / 2)).sum(axis=-1) - last * (total_slope[..., -1] + 1)
    return 1 / interval, -interval_slope / interval**2


class States(NamedTuple):
    """What the recording visits, S states: share of time (S,), rates (S, M) in Hz, and external input (S, M)."""

    share: np.ndarray
    rate: np.ndarray
    external_input: np.ndarray


def visited_states(recording: Recording, model: Model) -> States:
    """Tell two states of a recording apart by the sign of the main way in which its smoothed rates vary.

    A state that takes less than `LEAST_SHARE` of the time does not count: then there is one state, the mean.
    """
    A, judged = model.window_bins, recording.is_judged
    observed = None if recording.observed is None else recording.observed[:, :, A:]
    rate = mean_of_recorded(recording.observed_spikes[:, :, A:], recording.recorded, observed) / model.dt
    smoothed = np.stack([smooth(trial, model.dt, STATE_WIDTH) for trial in rate])
    by_bin, raw = (np.moveaxis(array, 1, -1)[judged] for array in (smoothed, rate))  # (judged bins, M)
    driven = np.moveaxis(recording.external_input, 1, -1)[judged]
    centred = by_bin - by_bin.mean(axis=0)
    main = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    along = centred @ main
    groups = [along > 0, along <= 0]
    if len(rate[0]) == 1 or min(group.mean() for group in groups) < LEAST_SHARE:
        groups = [np.ones(len(along), bool)]
    parts = [(group.mean(), raw[group].mean(axis=0), driven[group].mean(axis=0)) for group in groups]
    return States(*(np.array(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Place:
    """Points in both descriptions, and how one stretches to the other.

    Parameters
    ----------
    X : array, (k, n)
        Fitted numbers.
    p : array, (k, n)
        Coordinates.
    ln_stretch : array, (k, n)
        ln |dX / dp| of each number, the other coordinates kept; the sum over numbers is that of the whole map.
    """

    X: np.ndarray
    p: np.ndarray
    ln_stretch: np.ndarray

    def where(self, taken: np.ndarray, other: "Place") -> "Place":
        """Return the other place where `taken`, (k,), and this elsewhere."""
        rows = taken[:, None]
        return Place(**{key: np.where(rows, getattr(other, key), mine) for key, mine in vars(self).items()})

    @classmethod
    def together(cls, parts: Sequence["Place"]) -> "Place":
        """Return several places as one."""
        return cls(**{key: np.concatenate([getattr(part, key) for part in parts]) for key in vars(parts[0])})

    def __getitem__(self, which: np.ndarray) -> "Place":
        return Place(self.X[which], self.p[which], self.ln_stretch[which])


class Coordinates:
    """The map between fitted numbers and coordinates.

    Parameters
    ----------
    model : Model
        `model.fitted` says which numbers are fitted.
    recording : Recording
        Gives the observed rates.
    """

    def __init__(self, model: Model, recording: Recording) -> None:
        free = model.fitted
        self.model, self.free = model, free
        M = model.n_populations
        self.states = visited_states(recording, model)
        self.observed = np.maximum(self.states.share @ self.states.rate, LEAST_OBSERVED)
        self.refractory = model.refractory_bins * model.dt
        of_rest = free.matrix[:, places("resting_potential", M)]  # (n, M)
        elsewhere = (free.matrix != 0).sum(axis=1) > (of_rest != 0).sum(axis=1)
        self.of_rest = np.where(elsewhere[:, None], 0, of_rest)
        self.is_rate = np.asarray((self.of_rest > 0).any(axis=1))
        self.is_log = ~self.is_rate & (free.lower >= 0)

    def of(self, X: np.ndarray) -> Place:
        """Return the place of fitted numbers, (k, n)."""
        X = np.asarray(X, float)
        p, ln_stretch = X / self.free.scale, np.broadcast_to(np.log(self.free.scale), X.shape).copy()
        logs = np.log(np.maximum(X[:, self.is_log], 1e-300))
        p[:, self.is_log], ln_stretch[:, self.is_log] = logs, logs
        if self.is_rate.any():
            eta, slope = self._eta(X)
            p[:, self.is_rate], ln_stretch[:, self.is_rate] = eta, -np.log(slope)
        return Place(X, p, ln_stretch)

    def back(self, p: np.ndarray, near: np.ndarray | None = None) -> Place:
        """Return the place of coordinates, (k, n); numbers that lie outside their bounds are only roughly so.

        `near`, (k, n), are fitted numbers to begin the search from.
        """
        free = self.free
        X = p * free.scale
        X[:, self.is_log] = np.exp(np.minimum(p[:, self.is_log], 100.0))
        ln_stretch = np.broadcast_to(np.log(free.scale), X.shape).copy()
        ln_stretch[:, self.is_log] = p[:, self.is_log]
        if self.is_rate.any():
            X[:, self.is_rate], slope = self._solve(X, p[:, self.is_rate], near)
            ln_stretch[:, self.is_rate] = -np.log(slope)
        return Place(X, p.copy(), ln_stretch)

    def _parts(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return alpha and theta (k, 1, M), mu (k, M), and what input adds to it in each state, (k, S, M)."""
        M = self.model.n_populations
        flat, at = self.free.fixed + X @ self.free.matrix, slices(M)
        alpha = np.maximum(flat[:, at["membrane_rate"]], 1e-9)[:, None]
        J = flat[:, at["coupling"]].reshape(-1, M, M)
        driven = self.states.external_input
        if self.model.has_gains:
            driven = driven * flat[:, slices(M, gains=True)[INPUT_GAIN]][:, None]
        given = np.einsum("sj,kjm->ksm", self.states.rate, J) + driven
        return alpha, flat[:, at["threshold"]][:, None], flat[:, at["resting_potential"]], given / alpha

    def _eta(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return eta of the numbers that have one, and its derivative in them, both (k, those)."""
        alpha, theta, mu, given = self._parts(X)
        return self._eta_at(mu, alpha, theta, given)

    def _eta_at(
        self, mu: np.ndarray, alpha: np.ndarray, theta: np.ndarray, given: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        h = mu[:, None] + given
        rate, slope = stationary_rate(
            np.broadcast_to(alpha, h.shape), h, np.broadcast_to(theta, h.shape), self.refractory
        )
        ratio, ratio_slope = (np.einsum("s,ksm->km", self.states.share, part) / self.observed for part in (rate, slope))
        tied = self.of_rest[self.is_rate]
        some = (tied > 0) / (tied > 0).sum(axis=1, keepdims=True)
        mean = np.maximum(ratio @ some.T, 1e-30)
        return np.log(mean), np.maximum(ratio_slope @ (some * tied).T / mean, 1e-12)

    def _solve(self, X: np.ndarray, eta: np.ndarray, near: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers that lead to eta, (k, those), and the derivative of eta in them: Newton, safeguarded."""
        free, tied = self.free, self.of_rest[self.is_rate]
        lower, upper = free.lower[self.is_rate], free.upper[self.is_rate]
        reach = np.where(np.isfinite(upper - lower), upper - lower, 50 * free.scale[self.is_rate])
        low = np.broadcast_to(np.where(np.isfinite(lower), lower, -reach) - reach, eta.shape).copy()
        high = np.broadcast_to(np.where(np.isfinite(upper), upper, reach) + reach, eta.shape).copy()
        x = (low + high) / 2 if near is None else np.clip(near[:, self.is_rate], low, high)
        known = np.zeros_like(X)
        known[:, ~self.is_rate] = X[:, ~self.is_rate]
        alpha, theta, mu0, given = self._parts(known)
        slopes, left = np.empty_like(eta), np.arange(len(X))
        for _ in range(60):
            at = x[left]
            found, slope = self._eta_at(mu0[left] + at @ tied, alpha[left], theta[left], given[left])
            wrong = found - eta[left]
            slopes[left] = slope
            high[left], low[left] = np.where(wrong > 0, at, high[left]), np.where(wrong > 0, low[left], at)
            new = at - wrong / slope
            new = np.where((new > low[left]) & (new < high[left]), new, (low[left] + high[left]) / 2)
            open_ = (np.abs(wrong) > CLOSE) & (high[left] - low[left] > CLOSE * reach)
            x[left] = np.where(open_, new, at)
            left = left[open_.any(axis=1)]
            if not len(left):
                break
        return x, slopes
