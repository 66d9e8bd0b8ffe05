"""The published scheme written in the obvious way, which the benchmarks compare with.

NumPy: a loop over bins on arrays over ages, and finite differences for the gradient in the parameters. TensorFlow: the
recurrent cell, bin by bin, under a gradient tape. Neither knows that the loss is not sequential once the activity is
given.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.problems import Problem
from src.fast_np import neuron_bins
from src.helper import from_X, to_X
from src.model.containers import Parameters
from src.model.stationary import stationary_start

if TYPE_CHECKING:
    from src.LIFmesoCell import LIFmesoCell

FLOOR = 1e-8  # 1/s, the hazard during refractoriness
STEP = 1.5e-8  # of finite differences, relative: the square root of the precision, as SciPy's default


def loop_losses(problem: Problem, parameters: Parameters | None = None) -> tuple[float, float]:
    """Return loss_y and loss_Z by a loop over bins.

    Symbols as in `src.fast_np`; the stationary start, a hundredth of the work, is taken from there.
    """
    parameters = parameters or problem.parameters
    alpha, J, mu, theta = parameters.parts().values()
    recording, model = problem.recording, problem.model
    (B, M, T), A, dt = problem.fitted.shape, model.window_bins, model.dt
    A0, N, lag = recording.initial_rate, model.population_size, 1 + model.delay_bins
    start = stationary_start(parameters, A0, model)
    V, S = start.V0[..., :A].copy(), start.S0[..., :A].copy()
    n_past = np.repeat(A0[..., None] * dt, A, axis=-1)
    x, decay = A0, np.exp(-model.synaptic_rate * dt)
    age_obs = -1 - neuron_bins(recording, model).last[..., 0]
    V_obs = np.take_along_axis(V, age_obs, axis=-1)
    alpha_, mu_, theta_ = alpha[:, None], mu[:, None], theta[:, None]
    refractory = np.arange(A) < model.refractory_bins
    loss_y = loss_Z = 0.0
    for s in range(T):
        n, y = problem.fitted[..., s], recording.observed_spikes[:, :, A + s]
        if s >= lag:
            x = decay * x + (1 - decay) * problem.fitted[..., s - lag] / dt
        h = (x @ J + recording.external_input[..., s])[..., None]

        V_obs = np.where(age_obs < model.refractory_bins, 0.0, V_obs + dt * (alpha_ * (mu_ - V_obs) + h))
        rate = np.where(age_obs < model.refractory_bins, FLOOR, np.exp(V_obs - theta_))
        with np.errstate(divide="ignore"):
            ln_P = np.where(rate * dt < 0.01, V_obs - theta_ + np.log(dt), np.log(1 - np.exp(-rate * dt)))
        loss_y -= np.where(y, ln_P, -rate * dt).sum()
        age_obs, V_obs = np.where(y, 0, age_obs + 1), np.where(y, 0.0, V_obs)

        V = np.where(refractory, 0.0, V + dt * (alpha_ * (mu_ - V) + h))
        rate = np.where(refractory, FLOOR, np.exp(V - theta_))
        survive = np.exp(-rate * dt)
        P = np.where(rate * dt < 0.01, rate * dt, 1 - survive)
        m = S * n_past
        v = (1 - S) * m
        sum_v = v.sum(-1)
        missing = np.where(sum_v > 0, (v * P).sum(-1) / np.where(sum_v > 0, sum_v, 1), 0)
        nbar = np.clip((m * P).sum(-1) + missing * (1 - m.sum(-1)), 0, 1)
        q = (nbar + 0.1 * dt) / N
        loss_Z += ((n - nbar) ** 2 / (2 * q) + 0.5 * np.log(2 * np.pi * q)).sum()

        S = S * survive
        for state, newborn in ((V, 0.0), (S, 1.0), (n_past, n)):
            state[..., 1:] = state[..., :-1]
            state[..., 0] = newborn
    return float(loss_y) / (B * M * T), float(loss_Z) / (B * M * T)


def difference_gradient(problem: Problem) -> tuple[float, np.ndarray]:
    """Return the loss, and its gradient with respect to the fitted numbers X, (4 M,), by forward differences."""
    model = problem.model
    X = to_X(problem.parameters, model)
    value = sum(loop_losses(problem))
    gradient = np.empty_like(X)
    for k, step in enumerate(STEP * np.abs(X)):
        moved = X.copy()
        moved[k] += step
        gradient[k] = (sum(loop_losses(problem, from_X(moved, model))) - value) / (moved[k] - X[k])
    return value, gradient


def eager_gradient(problem: Problem, cell: "LIFmesoCell") -> tuple[float, np.ndarray]:
    """Return the loss, and its gradient with respect to the activity, (B, M, T), by a tape over the cell's steps.

    The cell has been made with `follow=True`.
    """
    import tensorflow as tf

    recording, A = problem.recording, problem.model.window_bins
    B, M, T = problem.fitted.shape
    spikes = np.moveaxis(recording.observed_spikes[:, :, A:], 2, 1).reshape(B, T, -1)
    external_input, y = (
        tf.constant(array, cell.compute_dtype) for array in (np.moveaxis(recording.external_input, 2, 1), spikes)
    )
    n = tf.constant(problem.fitted, cell.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(n)
        inputs = tf.concat([external_input, tf.transpose(n, (0, 2, 1)), y], axis=-1)
        outputs = eager_steps(cell, inputs, cell.initial_state_of(recording))
        loss = tf.reduce_mean(outputs[..., 2 * M : 3 * M] + outputs[..., 3 * M : 4 * M])
    return float(loss), tape.gradient(loss, n).numpy()


def eager_simulation(cell: "LIFmesoCell", n_bins: int) -> np.ndarray:
    """Return the activity, (M, n_bins), of a free simulation without external input."""
    import tensorflow as tf

    M = cell.model.n_populations
    outputs = eager_steps(cell, tf.zeros((1, n_bins, M), cell.compute_dtype), cell.get_initial_state(1))
    return outputs[0, :, M : 2 * M].numpy().T


def eager_steps(cell: "LIFmesoCell", inputs: Any, state: list[Any]) -> Any:
    """Step the cell bin by bin through inputs (batch, time, features); return its outputs, likewise."""
    import tensorflow as tf

    outputs = []
    for now in tf.unstack(inputs, axis=1):  # slices inputs[:, s] would make the tape quadratic in time
        output, state = cell.call(now, state)  # not cell(...): Keras' own checks would be a fifth of the time
        outputs.append(output)
    return tf.stack(outputs, axis=1)
