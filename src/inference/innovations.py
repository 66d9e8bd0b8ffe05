"""EM on the innovations: an E-step that may be driven to convergence, and the M-step that goes with it.

Differs from the paper: its E-step maximises the joint density of spikes and activity n, which has its highest values at
activities smoother and lower than any real one, so that it must be stopped early. Here the unknown is not n but the
innovations xi, of which the model makes the activity: n = nbar + sqrt(q) xi, xi normal. The same density, of xi, is

    exp(-F),  F = sum over bins of xi^2 / 2 + loss_y (xi),

and the term ln q / 2 is gone; xi stands in for n, one to one, so that F is still computed from n, without a loop over
time. Its minimum is the mode, the estimate of the activity.

The M-step minimises the expected loss, loss_y + loss_Z, over activities drawn from the Gaussian approximation at the
mode, because the mode alone has innovations that are too small. A draw is the minimum of a perturbed F (perturb and
optimise: Papandreou & Yuille 2010; randomise then optimise: Bardsley et al. 2014),

    sum (xi - xi_0)^2 / 2 + loss_y - sum e V,  xi_0 normal with variance 1, e normal with variance lambda dt;

were F quadratic, such minima would have exactly the Gaussian's mean and curvature. Being made by the model, a draw has
the fluctuations of a real activity, with their effect on everything after them.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy
import tensorflow as tf
from tqdm import tqdm

from src.helper import from_X
from src.inference.em import Best, FitObserver, FittedTo
from src.inference.fast_filter import is_fast
from src.inference.linear_response import Whitening, activity_response, potential_response
from src.inference.spike_likelihood import SpikeLikelihood, spike_likelihood
from src.LIFmesoCell import Given, MesoLoss, MesoProgram, activity_variance
from src.model.containers import ACTIVITY_RANGE, Model, Parameters, Recording
from src.model.scheme import CONSISTENT
from src.model.tf_filters import Tensor
from src.model.time_chunks import is_cut
from src.utils.exceptions import FitError

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

ENOUGH, IDLE = 1.0, 2
"""Gain, in nats, that counts as one, because no recording could tell less apart, and the EM iterations without any that
end it. (F is exact, and a single one does.)"""
FURTHER, DOUBLINGS = 2.0, 6
"""Gain, in nats, for which an M-step is doubled, more than the filter scatters; and how often at most."""
LBFGS: dict[str, float] = {"maxfun": 10**6, "maxcor": 8, "ftol": 3e-6, "gtol": 0.0}
"""An E-step is over when an iteration gains less than the part `ftol` of F. More pairs than eight gain nothing."""
REMEMBERED = 0.8
"""Time in s over which the linear response is followed."""


def start_from(activity: np.ndarray, recording: Recording, model: Model, width: float) -> tuple[np.ndarray, Recording]:
    """Take from the changes of a smoothed mean over recorded neurons what is noise of these few.

    For a population that hardly changes that is almost everything, and a noisy input makes its coupling look weaker
    than it is (errors in variables). An input that is shrunk to its mean, by the share that noise has in its variance,
    does not (regression calibration).

    Parameters
    ----------
    activity : array, (B, M, A+T)
        As from `src.helper.init_model`.
    recording : Recording
    model : Model
    width : float, s
        Standard deviation of the Gaussian that smoothed it.

    Returns
    -------
    activity : array, (B, M, A+T)
    recording : Recording
        With the rates A0 of this activity: spikes of so short a window would hardly give them.
    """
    mean = activity.mean(axis=(0, 2), keepdims=True)
    activity = mean + common_share(recording, model, width)[:, None] * (activity - mean)
    A0 = activity[..., : model.window_bins].mean(axis=-1) / model.dt
    return activity, replace(recording, initial_rate=A0)


def common_share(recording: Recording, model: Model, width: float) -> np.ndarray:
    """Return the share, (M,), that neurons have in common in the variance of their mean smoothed spike train.

    It is the mean covariance of pairs over the variance of the mean. Of a single neuron, what a Poisson process of its
    rate r would add is taken for its own: a variance of r / (2 sqrt(pi) width).
    """
    spikes, observed = recording.observed_spikes.astype(float), recording.observed
    if observed is not None:  # unwatched time adds no changes
        bins = np.maximum(observed.sum(axis=(0, 2), keepdims=True), 1)
        spikes = np.where(observed, spikes, (spikes * observed).sum(axis=(0, 2), keepdims=True) / bins)
    rates = scipy.ndimage.gaussian_filter1d(spikes, width / model.dt, axis=2) / model.dt
    shares = np.zeros(model.n_populations)
    for m in range(model.n_populations):
        each = np.moveaxis(rates[:, m][..., recording.is_recorded[m]], -1, 0).reshape(-1, rates[:, m, :, 0].size)
        K = len(each)
        if K == 0:
            continue
        total = each.mean(axis=0).var()
        own = each.var(axis=1).mean() if K > 1 else each.mean() / (2 * np.sqrt(np.pi) * width)
        common = (K * total - own) / (K - 1) if K > 1 else total - own
        shares[m] = np.clip(common / total, 0, 1) if total > 0 else 0.0
    return shares


class InnovationProgram(MesoProgram):
    """F, perturbed or not, of every trial, and its gradient; compiled. Parameters as in `MesoProgram`."""

    def __init__(self, model: Model, dtype: str) -> None:
        super().__init__(model, dtype)
        self.perturbed = tf.function(self._perturbed, autograph=False, jit_compile=True)

    def _perturbed(
        self, activity: Tensor, constants: list[Tensor], given: Given, target: Tensor, push: Tensor
    ) -> tuple[Tensor, ...]:
        N = tf.constant(self.model.population_size[:, None], self.dtype)
        with tf.GradientTape() as tape:
            tape.watch(activity)
            nbar, V, H = self.predict(activity, constants, given)
            xi = (activity - nbar) / tf.sqrt(activity_variance(nbar, N, self.model))
            # In single precision, a sum over all bins would not tell one iteration from the next.
            loss_y, loss_xi, pushed = (
                tf.cast(part, tf.float64)
                for part in (self.spike_losses(V, H, constants, given), tf.square(xi - target) / 2, push * V)
            )
            loss_y, loss_xi = tf.reduce_sum(loss_y, axis=(1, 2, 3)), tf.reduce_sum(loss_xi, axis=(1, 2))
            value = tf.reduce_sum(loss_y) + tf.reduce_sum(loss_xi) - tf.reduce_sum(pushed)
        return value, tape.gradient(value, activity), loss_y, loss_xi, H


class InnovationLoss(MesoLoss):
    """F, perturbed or not, of the trials of a recording. Parameters as in `MesoLoss`."""

    kind = InnovationProgram

    def perturbed(self, activity: Tensor, constants: list[Tensor], target: Tensor, push: Tensor) -> tuple[Tensor, ...]:
        """Return the perturbed F and its parts.

        Parameters
        ----------
        activity : tensor, (B, M, T)
        constants : list of tensor
            From `constants`.
        target, push : tensor, (B, M, T) and (B, M, n_obs, T)
            xi_0 and e; zero for the mode.

        Returns
        -------
        value : tensor of float64, ()
            Sum of F over trials, nats.
        gradient : tensor, (B, M, T)
        loss_y, loss_xi : tensor of float64, (B,)
            Parts of F, perturbations of loss_y left out.
        H : tensor, (B, M, n_obs, T)
            lambda dt of every recorded neuron.
        """
        return self.program.perturbed(activity, constants, self.given, target, push)


class ModeFound(NamedTuple):
    """What an E-step finds.

    Mode (B, M, T); its loss_y and loss_xi, (2,), per population and bin; iterations.
    """

    mode: np.ndarray
    losses: np.ndarray
    iterations: int


class _Batch:
    """Some trials: one copy whose F is not perturbed, then the copies for the draws.

    All copies are one program, and their F is one sum. Of recordings that are cut in time, one copy is minimised after
    the other: program and optimiser of all together would take several GiB.
    """

    def __init__(
        self, recording: Recording, model: Model, n_draws: int, rng: np.random.Generator, precision: str
    ) -> None:
        B, (_, M, _, n_obs), T = recording.n_trials, recording.observed_spikes.shape, recording.n_bins
        self.n_trials, self.model = B, model
        at_once = 1 if is_cut(T) else 1 + n_draws
        self.loss = InnovationLoss(recording.trials(np.tile(np.arange(B), at_once)), model, precision)
        self.groups = [slice(first * B, (first + at_once) * B) for first in range(0, 1 + n_draws, at_once)]

        def normal(*shape: int) -> np.ndarray:
            """Draw pairs of opposite sign, whose mean is right to first order; none for the mode."""
            half = rng.standard_normal((-(-n_draws // 2), B, *shape))
            both = np.concatenate([np.zeros((1, B, *shape)), half, -half])[: 1 + n_draws]
            return both.reshape(len(both) * B, *shape)

        self.target = normal(M, T)
        self.unit_push = normal(M, n_obs, T)
        if self.loss.scored is not None:
            for group in self.groups:
                self.unit_push[group] *= self.loss.scored
        self.copies: np.ndarray | None = None

    def minimise(self, parameters: Parameters, activity: np.ndarray, most: int, follow: Callable) -> tuple:
        """Bring all copies to the minima of their F, from where the last call left them, or from the activity."""
        constants, dtype, mode = self.loss.constants(parameters), self.loss.dtype, self.groups[0]
        sd = np.sqrt(np.maximum(activity.mean(axis=(0, 2)), ACTIVITY_RANGE[0]) / self.model.population_size)[:, None]
        if self.copies is None:
            self.copies = np.clip(np.tile(activity, (len(self.target) // self.n_trials, 1, 1)), *ACTIVITY_RANGE)
        target, none = tf.constant(self.target[mode], dtype), tf.zeros(self.unit_push[mode].shape, dtype)
        *_, H = self.loss.perturbed(tf.constant(self.copies[mode], dtype), constants, target, none)
        expected = H.numpy()[: self.n_trials].astype(float)
        del none, H
        whitening = self._whitening(parameters, sd, expected)
        ends = [self._minimise(group, constants, expected, whitening, sd, most, follow) for group in self.groups]
        parts, iterations = ends[0]
        return self.copies[: self.n_trials], parts, iterations

    def _minimise(
        self,
        group: slice,
        constants: list[Tensor],
        expected: np.ndarray,
        whitening: Whitening,
        sd: np.ndarray,
        most: int,
        follow: Callable,
    ) -> tuple[np.ndarray, int]:
        """Bring some copies to the minima of their F; return parts of that of the first one, and iterations.

        The first half of the iterations is in coordinates that the linear response makes round, where one gets near the
        minimum in a third of the iterations. They know no bounds: the last half finds which bins are at one.
        """
        assert self.copies is not None
        dtype, copies = self.loss.dtype, self.copies[group]
        spread = np.sqrt(np.tile(expected, (len(copies) // self.n_trials, 1, 1, 1)))
        target, push = (tf.constant(part, dtype) for part in (self.target[group], self.unit_push[group] * spread))
        parts: list[np.ndarray] = []

        def F(n: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient, loss_y, loss_xi, _ = self.loss.perturbed(tf.constant(n, dtype), constants, target, push)
            parts[:] = (np.stack([loss_y, loss_xi])[:, : self.n_trials].sum(axis=1),)
            return float(value), gradient.numpy().astype(float)

        def told(_: Any) -> None:
            if group.start == 0:  # the mode is among them
                follow(parts[0])

        copies, first = _minimise_whitened(F, copies, whitening, sd / 2, -(-most // 2), told)
        self.copies[group], last = _minimise_bounded(F, copies, sd, most - first, told)
        F(self.copies[group])
        return parts[0], first + last

    def _whitening(self, parameters: Parameters, sd: np.ndarray, expected: np.ndarray) -> Whitening:
        """Return round coordinates about the mean of the mode, where so many spikes are expected, (B, M, n_obs, T)."""
        assert self.copies is not None
        recording, model = self.loss.recording, self.model
        rates = self.copies[: self.n_trials].mean(axis=(0, 2)) / model.dt
        lags = round(REMEMBERED / model.dt)
        n_response = activity_response(parameters, rates, recording.external_input.mean(axis=(0, 2)), model, lags)
        V_response = potential_response(parameters, rates, model, lags)
        if self.loss.scored is not None:
            expected = expected * self.loss.scored[: self.n_trials]
        return Whitening(n_response, sd, V_response, expected.sum(axis=2).mean(axis=(0, 2)), recording.n_bins)


def _minimise_whitened(
    F: Callable, n: np.ndarray, whitening: Whitening, width: np.ndarray, most: int, told: Callable
) -> tuple[np.ndarray, int]:
    """Minimise F over activities (copies, M, T), from n on; return the last one, and how many iterations it took.

    An activity is width ln(1 + exp(y / width)), `width` (M, 1), and so never below zero. The coordinates are those of y
    less its start.
    """
    start = n + width * np.log(-np.expm1(-n / width))

    def at(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y = start + whitening(z.reshape(n.shape))
        return y, np.clip(width * np.logaddexp(0, y / width), *ACTIVITY_RANGE)

    def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
        y, n = at(z)
        value, n_bar = F(n)
        return value, whitening.adjoint(n_bar * scipy.special.expit(y / width)).ravel()

    options = LBFGS | {"maxiter": most}
    found = scipy.optimize.minimize(loss, np.zeros(n.size), jac=True, method="L-BFGS-B", callback=told, options=options)
    return at(found.x)[1], found.nit


def _minimise_bounded(F: Callable, n: np.ndarray, sd: np.ndarray, most: int, told: Callable) -> tuple[np.ndarray, int]:
    """Minimise F within the bounds of an activity, over n / sd, with `sd` (M, 1); otherwise as `_minimise_whitened`."""
    if most < 1:
        return n, 0

    def loss(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        value, n_bar = F(scaled.reshape(n.shape) * sd)
        return value, (n_bar * sd).ravel()

    bounds = np.stack([np.broadcast_to(limit / sd, n.shape).ravel() for limit in ACTIVITY_RANGE], axis=-1)
    options = LBFGS | {"maxiter": most}
    found = scipy.optimize.minimize(
        loss, (n / sd).ravel(), jac=True, method="L-BFGS-B", bounds=bounds, callback=told, options=options
    )
    return np.clip(found.x.reshape(n.shape) * sd, *ACTIVITY_RANGE), found.nit


class InnovationEStep:
    """The E-step. Its draws belong to the same random numbers in every EM iteration, so that EM can converge.

    EM goes on while ln p(spikes) gains at least `ENOUGH`. Its result is the parameters with the highest one, and their
    activity. F is no measure of that: on a recording in which nothing switches it has its lowest values a hundred nats
    below the truth, and EM would end there. (It has to do for the published scheme, for which there is no fast filter.)
    The first M-step does not compete: it has seen the spikes alone, and with them a smooth start for the activity.

    Parameters
    ----------
    recording : Recording
    model : Model
    settings : FitSettings
        Says how many draws, none for the mode alone; trials whose gradient is computed at once; and most iterations.
    rng : Generator
        Of the draws.
    """

    def __init__(self, recording: Recording, model: Model, settings: Any, rng: np.random.Generator) -> None:
        self.recording, self.model, self.settings = recording, model, settings
        self.n_draws, self.size = settings.E_draws, model.n_populations * recording.n_judged
        batches = recording.in_batches(settings.t_perbatch, model.dt)
        self.batches = [_Batch(batch, model, self.n_draws, rng, settings.precision) for batch in batches]
        self.repeated = recording.trials(np.tile(np.arange(recording.n_trials), self.n_draws))
        self.ended = ""
        self.best: Best | None = None
        self.reached, self.idle = -np.inf, 0
        self.likelihood = spike_likelihood(model, recording) if model.scheme is CONSISTENT else None
        self._known: dict[bytes, SpikeLikelihood] = {}

    @property
    def memory(self) -> dict[str, np.ndarray]:
        """What the next E-step needs of those before it: where they ended, and the best of them."""
        ends = {str(i): batch.copies for i, batch in enumerate(self.batches) if batch.copies is not None}
        if self.best is None:
            return ends
        best = {f"best_{name}": np.asarray(value) for name, value in self.best._asdict().items()}
        return ends | best | {"reached": np.array(self.reached), "idle": np.array(self.idle)}

    @memory.setter
    def memory(self, known: dict[str, np.ndarray]) -> None:
        if "best_X" in known:
            EMstep, X, loss, activity, iterations, *ln_p = (known[f"best_{name}"] for name in Best._fields)
            self.best = Best(int(EMstep), X, float(loss), activity, int(iterations), *map(float, ln_p))
            self.reached, self.idle = float(known["reached"]), int(known["idle"])
        for i, batch in enumerate(self.batches):
            batch.copies = known.get(str(i))

    def fitted_to(self, activity: np.ndarray) -> FittedTo:
        """Return what the next M-step takes: draws about the mode, or at first the start (B, M, A+T).

        The start is smooth, and the likelihood of the activity would take its lack of fluctuations for a property of
        the circuit. Its slow changes are input to the recorded neurons, and good enough for the spikes alone.
        """
        if any(batch.copies is None for batch in self.batches):
            return FittedTo(activity[..., self.model.window_bins :], self.recording, spikes_only=True)
        return FittedTo(self.draws(), self.repeated)

    def judge(self, EMstep: int, X: np.ndarray, M_step: "OptimizeResult") -> np.ndarray:
        """Return what the M-step found, (n,), or go further in its direction while the spikes gain by it.

        EM is slow where the activity nearly tells the parameters: it moves input gains by a hundredth of the way. So
        the step is doubled as long as ln p(spikes) gains `FURTHER` (adaptive over-relaxation, Salakhutdinov & Roweis
        2003). The first M-step knows no activity yet. Without the fast filter it would take minutes.
        """
        found: np.ndarray = M_step.x
        if self.best is None or not (self.likelihood and is_fast(self.model)):
            return found
        free, step = self.model.fitted, found - X
        reached = self._ln_p(found).ln_p - free.prior_loss(found)[0]
        for doubled in 2.0 ** np.arange(1, DOUBLINGS + 1):
            further = np.clip(X + doubled * step, free.lower, free.upper)
            now = self._ln_p(further).ln_p - free.prior_loss(further)[0]
            if not now - reached >= FURTHER:
                break
            found, reached = further, now
        return found

    def _ln_p(self, X: np.ndarray) -> SpikeLikelihood:
        """Return ln p(spikes) at X, (n,), and its error; those of the last M-step are known."""
        assert self.likelihood
        if X.tobytes() not in self._known:
            self._known[X.tobytes()] = self.likelihood(from_X(X, self.model))
        return self._known[X.tobytes()]

    def __call__(self, X: np.ndarray, activity: np.ndarray, EMstep: int, observer: FitObserver) -> np.ndarray:
        """Return the mode at the parameters X, (n,), after the window of an activity (B, M, A+T)."""
        A = self.model.window_bins
        estimate = self.estimate(X, activity[..., A:], EMstep, observer)
        activity = np.concatenate([activity[..., :A], estimate.mode], axis=-1)
        observer.E_step(EMstep, estimate.iterations, activity, estimate.losses.tolist())
        now = Best(EMstep - 1, X, float(estimate.losses.sum()), activity, estimate.iterations)
        if self.likelihood:
            ln_p, error = self._ln_p(X)
            self._known.clear()
            observer.likelihood(EMstep, ln_p, error)
            now = now._replace(ln_p=ln_p, ln_p_error=error)
        self.ended = self._compare(now)
        if not self.ended and EMstep == self.settings.max_EMsteps:
            self.ended = f"{EMstep} EM iterations"
        return activity

    def _nats(self, found: Best) -> float:
        return found.ln_p if self.likelihood else -found.loss * self.size

    def _compare(self, now: Best) -> str:
        """Keep the best result so far, and return why EM is over; nothing if it is not."""
        nats, before = self._nats(now), self.best
        first = before is None or before.EMstep == 0
        if before is None or first or nats > self._nats(before):
            self.best = now
        gain = np.inf if first else nats - self.reached
        if gain >= ENOUGH:
            self.reached, self.idle = nats, 0
            return ""
        self.idle += 1
        if not self.likelihood:
            return f"E-step {now.EMstep + 1} gained {gain:.2g} nats"
        return f"ln p(spikes) gained less than {ENOUGH:g} nat in {IDLE} EM iterations" if self.idle == IDLE else ""

    def estimate(self, X: np.ndarray, n: np.ndarray, EMstep: int, observer: FitObserver) -> ModeFound:
        """Return the mode at the parameters X, (n,), starting from an activity (B, M, T) or where the last call ended.

        Raises
        ------
        FitError
            F is not finite; names the EM step.
        """
        parameters, results, first, most = from_X(X, self.model), [], 0, self.settings.E_steps
        with tqdm(total=most, desc=f"EM {EMstep}, E-step", unit="it", leave=False, disable=None) as bar:
            for number, batch in enumerate(self.batches):
                here = n[first : first + batch.n_trials]
                first += batch.n_trials

                def follow(parts: np.ndarray, number: int = number, here: np.ndarray = here) -> None:
                    if number == 0:
                        observer.E_log(EMstep, 0, (parts / self.size).tolist(), here)
                    bar.update()

                results.append(batch.minimise(parameters, here, most, follow))
        modes, parts, found = zip(*results, strict=True)
        losses = np.sum(parts, axis=0) / self.size
        if not np.isfinite(losses).all():
            raise FitError(f"E-step {EMstep}: expected a finite F, got parts {losses[0]:g} and {losses[1]:g}")
        return ModeFound(np.concatenate(modes), losses, max(found))

    def draws(self) -> np.ndarray:
        """Return the draws that belong to the last mode, (draws B, M, T), draw by draw."""
        by_draw = []
        for batch in self.batches:
            assert batch.copies is not None
            drawn = batch.copies[batch.n_trials :]
            by_draw.append(drawn.reshape(self.n_draws, batch.n_trials, *drawn.shape[1:]))
        joined = np.concatenate(by_draw, axis=1)
        return joined.reshape(-1, *joined.shape[2:])
