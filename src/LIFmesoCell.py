"""The mesoscopic model in TensorFlow: elementwise steps, a recurrent cell that runs them, and the E-step's loss.

The step functions are the model, one bin at a time and indifferent to the layout of their arguments. The cell applies
them with ages on the last axis, one bin after the other; the E-step's loss applies the same functions with time on the
last axis, one age after the other. Symbols as in `src.fast_np`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from src.fast_np import COUNT_RANGE, NOTHING, neuron_bins
from src.model.binomial import binomial_count
from src.model.containers import COUNTS, Model, Parameters, Recording
from src.model.escape_noise import CEILING, REFRACTORY_HAZARD
from src.model.scheme import Scheme
from src.model.stationary import LEAST_RATE, stationary_pool, stationary_start
from src.model.tf_age_loop import tf_sums_over_ages
from src.model.tf_filters import Tensor, shift_right, tf_linear_recursion, tf_low_pass
from src.model.time_chunks import chunk_bins
from src.utils.exceptions import InputError

MOST_BINS = 2**24  # the clock is kept in single precision, as Keras wants its states

# --- the equations, elementwise --------------------------------------------------------------------------------------


def cohort_step(
    V: Tensor, S: Tensor, n: Tensor, drive: Tensor, leak: Tensor, threshold: Tensor, refractory: Tensor, model: Model
) -> tuple[Tensor, ...]:
    """Take cohorts through one bin.

    Parameters
    ----------
    V, S, n : tensor
        Potential and survival before the bin, and activity in the bin of birth.
    drive, leak : tensor
        Of the step V <- leak V + drive.
    threshold : tensor
    refractory : bool tensor
        True where the age is less than the refractory time.
    model : Model
        Gives the bin width and the scheme.

    Returns
    -------
    V, S : tensor
        After the bin.
    m, mP, v, vP : tensor
        What the cohorts add to the four sums over ages.
    """
    V, H = neuron_step(V, drive, leak, threshold, refractory, model.dt)
    P, E = tf_firing(H, model.scheme)
    m = S * n
    v = (1 - S) * m
    return V, S * E, m, m * P, v, v * P


def neuron_step(
    V: Tensor, drive: Tensor, leak: Tensor, threshold: Tensor, refractory: Tensor, dt: float
) -> tuple[Tensor, Tensor]:
    """Take potentials through one bin; return them and H = lambda dt, both shaped like V."""
    V = tf.where(refractory, tf.zeros_like(V), leak * V + drive)
    return V, tf_hazard(V, threshold, refractory, dt)


def tf_hazard(V: Tensor, threshold: Tensor, refractory: Tensor, dt: float) -> Tensor:
    """Return H = lambda dt, lambda = exp(V - theta), or the refractory one."""
    H = tf.exp(tf.minimum(V - (threshold - np.log(dt)), CEILING))
    return tf.where(refractory, tf.constant(REFRACTORY_HAZARD * dt, V.dtype), H)


def tf_firing(H: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Return the firing probability P in a bin, and the survival E = exp(-H) of the bin, both shaped like H."""
    if scheme.small_hazard == 0:
        P = -tf.math.expm1(-H)
        return P, 1 - P
    E = tf.exp(-H)
    return tf.where(H < scheme.small_hazard, H, 1 - E), E


def pool_sums(m: Tensor, z: Tensor, P: Tensor) -> tuple[Tensor, ...]:
    """Return what neurons older than the window, of mass m and squared-survival mass z, add to the four sums.

    These are m, m P, v = m - z and v P, each shaped like m.
    """
    return m, m * P, m - z, (m - z) * P


def expected_activity(m: Tensor, mP: Tensor, v: Tensor, vP: Tensor) -> Tensor:
    """Return nbar from the four sums over ages."""
    # guarded twice: the gradient of the branch not taken would be NaN
    some = v > (1e-20 if v.dtype == tf.float32 else NOTHING)
    missing = tf.where(some, vP / tf.where(some, v, tf.ones_like(v)), tf.zeros_like(v))
    return tf.clip_by_value(mP + missing * (1 - m), 0.0, 1.0)


def activity_variance(nbar: Tensor, N: Tensor, model: Model) -> Tensor:
    """Return q, the variance of the activity in a bin, of which a little is there even where nothing is expected."""
    return (nbar + 0.1 * model.dt) / N


def activity_loss(n: Tensor, nbar: Tensor, N: Tensor, model: Model) -> Tensor:
    """Return minus the log-density of the activity in each bin; a binomial count is continued to real numbers."""
    if model.counts == "binomial":
        p, fired, silent = tf.clip_by_value(nbar, *COUNT_RANGE), N * n, N - N * n
        choices = tf.math.lgamma(N + 1) - tf.math.lgamma(fired + 1) - tf.math.lgamma(silent + 1)
        return -(choices + fired * tf.math.log(p) + silent * tf.math.log1p(-p)) - tf.math.log(N)
    q = activity_variance(nbar, N, model)
    return tf.square(n - nbar) / (2 * q) + 0.5 * tf.math.log(2 * np.pi * q)


def spike_loss(y: Tensor, V: Tensor, H: Tensor, threshold: Tensor, model: Model) -> Tensor:
    """Return minus the log-probability of each recorded neuron's spike, or silence, in each bin."""
    small = H < model.scheme.small_hazard
    H_safe = tf.where(small, tf.ones_like(H), H)
    ln_P = tf.where(small, V - threshold + np.log(model.dt), tf.math.log(-tf.math.expm1(-H_safe)))
    return tf.where(y > 0, -ln_P, H)


def synapse_step(x: Tensor, n: Tensor, decay: Tensor, dt: float) -> Tensor:
    """Take the synaptic variable, in Hz, through one bin in which the activity n arrives."""
    return decay * x + (1 - decay) / dt * n


def potential_drive(x: Tensor, external_input: Tensor, J: Tensor, rest: Tensor, gain: Tensor, equation: str) -> Tensor:
    """Return the drive k (alpha mu + h), h = sum_j J_jm x_j + I_m; `equation` names the axes for einsum."""
    return gain * (rest + tf.einsum(equation, x, J) + external_input)


# --- the recurrent cell ----------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="neuLVM")
class LIFmesoCell(keras.layers.Layer):
    """The model as a cell for `keras.layers.RNN`, one bin a step.

    Parameters
    ----------
    parameters : Parameters
        Or its dictionary, as `get_config` gives it.
    model : Model
        Likewise.
    initial_rate : array, (M,), Hz
        Rate A0 of the stationary start.
    n_observed : int
        Recorded neurons in each population.
    follow : bool
        False: draw the activity and the recorded spikes. True: take them from the inputs.
    noise : {"gaussian", "binomial"} or None
        How the activity is drawn: from a normal distribution cut at 0, or as a count; None is the scheme's choice.
    seed : int
        Of the draws, which depend on nothing else but the clock in the state and the place in the batch.

    Notes
    -----
    Inputs, (batch, M) or, to follow, (batch, 2 M + M n_observed): external input in 1/s (or the stimulus that input
    gains weigh), then activity, then spikes.
    Outputs, (batch, 4 M + M n_observed): nbar, activity, loss_Z, loss_y (minus log-probabilities), spikes; `unpack`
    takes them apart.
    """

    def __init__(
        self,
        parameters: Parameters | dict[str, Any],
        model: Model | dict[str, Any],
        initial_rate: np.ndarray,
        n_observed: int = 0,
        follow: bool = False,
        noise: str | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(parameters, dict):
            parameters = Parameters(**{key: np.asarray(value) for key, value in parameters.items()})
        self.parameters, self.model = parameters, Model.from_dict(model) if isinstance(model, dict) else model
        self.initial_rate = np.asarray(initial_rate, float)
        self.n_observed, self.follow, self.seed = n_observed, follow, seed
        self.noise = noise or self.model.scheme.noise
        if self.noise not in COUNTS:
            raise InputError(f"noise: expected one of {', '.join(COUNTS)}, got {self.noise!r}")
        M, A, d = self.model.n_populations, self.model.window_bins, self.model.delay_bins
        self.state_size = [(M, A)] * 3 + [(M,)] * 4 + [(M, d + 1), (M, n_observed), (M, n_observed), (1,)]
        self.output_size = 4 * M + M * n_observed

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs, in plain numbers."""
        plain = {key: np.asarray(value).tolist() for key, value in self.parameters.parts().items()}
        return {
            **super().get_config(),
            "parameters": plain,
            "model": self.model.as_dict(),
            "initial_rate": self.initial_rate.tolist(),
            "n_observed": self.n_observed,
            "follow": self.follow,
            "noise": self.noise,
            "seed": self.seed,
        }

    def get_initial_state(self, batch_size: Any = 1) -> list[Tensor]:
        """Return the stationary start, for every member of the batch, with all recorded neurons at age zero."""
        silent = np.zeros((1, self.model.n_populations, self.n_observed))
        state = self._state(self.initial_rate[None], silent, silent)
        return [tf.repeat(part, batch_size, axis=0) for part in state]

    def initial_state_of(self, recording: Recording) -> list[Tensor]:
        """Return the start of every trial of a recording: its rates A0, its recorded neurons' last spikes."""
        age = -1 - neuron_bins(recording, self.model).last[..., 0]
        V0 = stationary_start(self.parameters, recording.initial_rate, self.model).V0
        return self._state(recording.initial_rate, np.take_along_axis(V0, age, axis=-1), age)

    def _state(self, A0: np.ndarray, V_obs: np.ndarray, age_obs: np.ndarray) -> list[Tensor]:
        """Return the state at s = 0 of trials with the rates A0, (B, M)."""
        start, dt = stationary_start(self.parameters, A0, self.model), self.model.dt
        free, S_A = start.V0[..., -1], start.S0[..., -1]
        pool = stationary_pool(free, S_A, A0 * dt, self.parameters.threshold, self.model)
        past = np.repeat(A0[..., None] * dt, self.model.window_bins, axis=-1)
        waiting = np.repeat(A0[..., None] * dt, self.model.delay_bins + 1, axis=-1)
        cohorts = (start.V0[..., :-1], start.S0[..., :-1], past)
        arrays = [*cohorts, free, *pool, A0, waiting, V_obs, age_obs, np.zeros((len(A0), 1))]
        return [tf.constant(array, self.compute_dtype) for array in arrays]

    def call(self, inputs: Tensor, states: list[Tensor], training: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Take the populations and the recorded neurons through one bin; return the packed outputs and the states."""
        model, n_obs = self.model, self.n_observed
        M = model.n_populations
        nbar, V_obs, H_obs, states = self.expect(inputs[:, :M], states)
        if self.follow:
            n, y = inputs[:, M : 2 * M], tf.reshape(inputs[:, 2 * M :], tf.shape(H_obs))
        else:
            n, y = self.draw(nbar, H_obs, states[-1])
        theta, N = self.parameters.threshold[:, None], model.population_size
        loss_Z = activity_loss(n, nbar, tf.constant(N, n.dtype), model)
        loss_y = tf.reduce_sum(spike_loss(y, V_obs, H_obs, tf.constant(theta, n.dtype), model), axis=-1)
        packed = tf.concat([nbar, n, loss_Z, loss_y, tf.reshape(y, (tf.shape(y)[0], M * n_obs))], axis=-1)
        return packed, self.age(n, y, states)

    def expect(self, external_input: Tensor, states: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Take potentials and survivals through one bin; what is drawn in it comes in between this and `age`.

        Returns
        -------
        nbar : tensor, (batch, M)
        V_obs, H_obs : tensor, (batch, M, n_observed)
            Potential and H = lambda dt of the recorded neurons.
        states : list of tensor
        """
        V, S, n_past, u, m_old, z_old, x, waiting, V_obs, age_obs, clock = states
        model, dtype, dt = self.model, V.dtype, self.model.dt
        known = (self.parameters.membrane_rate, self.parameters.coupling, self.parameters.resting_potential)
        by_scheme = model.scheme.leak_and_gain(self.parameters.membrane_rate, dt)
        constants = (*known, self.parameters.threshold, *by_scheme)
        alpha, J, mu, theta, leak, gain = (tf.constant(value, dtype) for value in constants)
        if self.parameters.input_gain is not None:
            external_input *= tf.constant(self.parameters.input_gain, dtype)
        drive = potential_drive(x, external_input, J, alpha * mu, gain, "bj,jm->bm")

        refractory = tf.range(model.window_bins) < model.refractory_bins
        cohorts = (V, S, n_past, drive[..., None], leak[:, None], theta[:, None], refractory, model)
        V, S, *terms = cohort_step(*cohorts)
        sums = tf.unstack(tf.reduce_sum(tf.stack(terms), axis=-1))
        if model.scheme.keeps_old:
            u, H_old = neuron_step(u, drive, leak, theta, tf.constant(False), dt)
            P_old, E_old = tf_firing(H_old, model.scheme)
            sums = [both + old for both, old in zip(sums, pool_sums(m_old, z_old, P_old), strict=True)]
            m_old = E_old * m_old + S[..., -1] * n_past[..., -1]
            z_old = E_old**2 * z_old + S[..., -1] ** 2 * n_past[..., -1]
        refractory_obs = age_obs < model.refractory_bins
        V_obs, H_obs = neuron_step(V_obs, drive[..., None], leak[:, None], theta[:, None], refractory_obs, dt)
        states = [V, S, n_past, u, m_old, z_old, x, waiting, V_obs, age_obs, clock]
        return expected_activity(*sums), V_obs, H_obs, states

    def age(self, n: Tensor, y: Tensor, states: list[Tensor]) -> list[Tensor]:
        """Make all neurons a bin older; those that fired, the fractions n (batch, M) and y of the recorded, are new."""
        V, S, n_past, u, m_old, z_old, x, waiting, V_obs, age_obs, clock = states
        quiet = y == 0
        age_obs = tf.where(quiet, age_obs + 1, tf.zeros_like(age_obs))
        V_obs = tf.where(quiet, V_obs, tf.zeros_like(V_obs))
        birth = tf.zeros_like(V[..., :1])
        V = tf.concat([birth, V[..., :-1]], axis=-1)
        S = tf.concat([birth + 1, S[..., :-1]], axis=-1)
        n_past = tf.concat([n[..., None], n_past[..., :-1]], axis=-1)
        waiting = tf.concat([n[..., None], waiting[..., :-1]], axis=-1)
        decay = tf.exp(-tf.constant(self.model.synaptic_rate, x.dtype) * self.model.dt)
        x = synapse_step(x, waiting[..., -1], decay, self.model.dt)
        return [V, S, n_past, u, m_old, z_old, x, waiting, V_obs, age_obs, clock + 1]

    def draw(self, nbar: Tensor, H_obs: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the activity of a bin, (batch, M), and the spikes of the recorded neurons, (batch, M, n_observed)."""
        N = tf.constant(self.model.population_size, nbar.dtype)
        if self.noise == "binomial":
            neurons = tf.constant(np.round(self.model.population_size), tf.float64)
            uniform = self.uniform(0, clock, tf.shape(nbar), tf.float64)
            n = tf.cast(binomial_count(uniform, nbar, neurons), nbar.dtype) / N
        else:
            xi = tf.random.stateless_normal(tf.shape(nbar), self._key(1, clock), dtype=nbar.dtype, alg="philox")
            n = tf.maximum(nbar + tf.sqrt(nbar / N) * xi, 0.0)
        P, _ = tf_firing(H_obs, self.model.scheme)
        return n, tf.cast(self.uniform(2, clock, tf.shape(P), P.dtype) < P, nbar.dtype)

    def uniform(self, stream: int, clock: Tensor, shape: Any, dtype: Any) -> Tensor:
        """Return random numbers in [0, 1) that depend on seed, bin and stream, which is 0 to 3."""
        return tf.random.stateless_uniform(shape, self._key(stream, clock), dtype=dtype, alg="philox")

    def _key(self, stream: int, clock: Tensor) -> Tensor:
        return tf.stack([tf.constant(self.seed), 4 * tf.cast(clock[0, 0], tf.int32) + stream])

    def unpack(self, outputs: Tensor) -> dict[str, Tensor]:
        """Take the packed outputs (batch, time, features) apart, into (batch, M, time) and (batch, M, time, n_obs)."""
        M = self.model.n_populations
        parts = tf.split(outputs, [M, M, M, M, M * self.n_observed], axis=-1)
        named = dict(
            zip(
                ("nbar", "activity", "loss_Z", "loss_y"),
                (tf.transpose(part, (0, 2, 1)) for part in parts),
                strict=False,
            )
        )
        spikes = tf.reshape(parts[-1], (*outputs.shape[:2], M, self.n_observed))
        return {**named, "spikes": tf.transpose(spikes, (0, 2, 1, 3))}


def simulate(
    parameters: Parameters,
    model: Model,
    n_bins: int,
    seed: int,
    *,
    external_input: np.ndarray | None = None,
    initial_rate: np.ndarray | None = None,
    n_observed: int = 0,
    noise: str | None = None,
    dtype: str = "float32",
) -> tuple[np.ndarray, np.ndarray]:
    """Let the model run freely.

    Parameters
    ----------
    parameters : Parameters
    model : Model
    n_bins : int
    seed : int
        The same seed gives the same result.
    external_input : array, (M, n_bins), 1/s, optional
    initial_rate : array, (M,), Hz, optional
        Of the stationary start; 10 Hz if not given.
    n_observed : int
        Recorded neurons to simulate in each population.
    noise : {"gaussian", "binomial"} or None
        None is the scheme's choice.
    dtype : {"float32", "float64"}

    Returns
    -------
    activity : array, (M, n_bins)
        Fraction of each population that fires in each bin.
    spikes : array of 0 and 1, (M, n_bins, n_observed)
    """
    if n_bins > MOST_BINS:
        raise InputError(f"n_bins: expected at most {MOST_BINS}, which the clock of the cell can count, got {n_bins}")
    M = model.n_populations
    external_input = np.zeros((M, n_bins)) if external_input is None else external_input
    initial_rate = np.full(M, 10.0) if initial_rate is None else np.maximum(initial_rate, LEAST_RATE)
    cell = LIFmesoCell(parameters, model, initial_rate, n_observed, noise=noise, seed=seed, dtype=dtype)
    layer = keras.layers.RNN(cell, return_sequences=True, dtype=dtype)
    run = tf.function(layer, autograph=False, jit_compile=True)
    outputs = cell.unpack(run(tf.constant(external_input.T[None], dtype)))
    return outputs["activity"][0].numpy().astype(float), outputs["spikes"][0].numpy().astype(np.uint8)


def simulate_batch(
    parameters: Parameters,
    model: Model,
    external_input: np.ndarray,
    seed: int,
    initial_rate: np.ndarray,
    n_observed: int,
    times: int = 1,
) -> Iterator[np.ndarray]:
    """Let copies of the model run freely side by side, and that several times; give the spikes of each time.

    Parameters
    ----------
    parameters : Parameters
    model : Model
    external_input : array, (copies, M, n_bins), 1/s
    seed : int
    initial_rate : array, (copies, M), Hz
        Of the stationary start.
    n_observed : int
        Recorded neurons to simulate in each population.
    times : int
        Noise never repeats: the clock, on which it depends, goes on from one time to the next.

    Yields
    ------
    bool array, (copies, M, n_bins, n_observed)
    """
    copies, M, n_bins = external_input.shape
    if times * n_bins > MOST_BINS:
        raise InputError(f"n_bins: expected at most {MOST_BINS // times}, the clock of the cell, got {n_bins}")
    cell = LIFmesoCell(parameters, model, initial_rate[0], n_observed, seed=seed)
    layer = keras.layers.RNN(cell, return_sequences=True)
    silent = np.zeros((copies, M, n_observed))
    *start, clock = cell._state(np.maximum(initial_rate, LEAST_RATE), silent, silent)
    run = tf.function(lambda driven, state: layer(driven, initial_state=state), autograph=False, jit_compile=True)
    driven = tf.constant(external_input.transpose(0, 2, 1), "float32")
    for again in range(times):
        outputs = run(driven, [*start, clock + again * n_bins])
        yield cell.unpack(outputs)["spikes"].numpy().astype(bool)


# --- the E-step's loss, over ages ------------------------------------------------------------------------------------


class Given(NamedTuple):
    """What a compiled loss takes of a recording; B trials, M populations, T bins.

    Spikes (B, M, n_obs, T), the last bin of refractoriness before each bin, (B, M, n_obs, T), external input (B, M, T),
    rates A0 (B, M, 1), which neurons and bins count, (B, M, n_obs, T) and (B, T), None where all do, and the number of
    populations times judged bins.
    """

    spikes: Tensor
    zero: Tensor
    external_input: Tensor
    A0: Tensor
    scored: Tensor | None
    judged: Tensor | None
    size: Tensor


class MesoProgram:
    """loss_y and loss_Z of a given activity, and their gradient, as XLA compiles them: once for each shape of data.

    Parameters
    ----------
    model : Model
    dtype : {"float32", "float64"}
    """

    def __init__(self, model: Model, dtype: str) -> None:
        self.model, self.dtype = model, dtype
        self.value_and_gradient = tf.function(self._value_and_gradient, autograph=False, jit_compile=True)

    def _value_and_gradient(self, activity: Tensor, constants: list[Tensor], given: Given) -> tuple[Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(activity)
            loss_y, loss_Z = self.losses(activity, constants, given)
            loss = loss_y + loss_Z
        return loss_y, loss_Z, tape.gradient(loss, activity)

    def losses(self, activity: Tensor, constants: list[Tensor], given: Given) -> tuple[Tensor, Tensor]:
        """Return loss_y and loss_Z, both (), of an activity, (B, M, T), per population and judged bin."""
        nbar, V, H = self.predict(activity, constants, given)
        N = tf.constant(self.model.population_size[:, None], self.dtype)
        loss_Z, loss_y = activity_loss(activity, nbar, N, self.model), self.spike_losses(V, H, constants, given)
        if given.judged is not None:
            loss_Z = tf.where(given.judged[:, None], loss_Z, tf.zeros_like(loss_Z))
        return tf.reduce_sum(loss_y) / given.size, tf.reduce_sum(loss_Z) / given.size

    def spike_losses(self, V: Tensor, H: Tensor, constants: list[Tensor], given: Given) -> Tensor:
        """Return the loss of every recorded neuron and bin, (B, M, n_obs, T), from what `predict` returns."""
        _, _, _, _, theta, *_ = constants
        loss_y = spike_loss(given.spikes, V, H, theta[:, None], self.model)
        return loss_y if given.scored is None else tf.where(given.scored, loss_y, tf.zeros_like(loss_y))

    def predict(self, activity: Tensor, constants: list[Tensor], given: Given) -> tuple[Tensor, Tensor, Tensor]:
        """Return nbar (B, M, T), and V and H of every recorded neuron, (B, M, n_obs, T), given the activity before."""
        J, leak, gain, rest, theta, input_gain, V0, S0, from_start, m0, z0 = constants
        model, dt = self.model, self.model.dt
        decay = tf.constant(np.exp(-model.synaptic_rate * dt)[:, None], self.dtype)
        excess = shift_right(activity - given.A0 * dt, 1 + model.delay_bins)
        x = given.A0 + tf_low_pass(synapse_step(tf.zeros_like(excess), excess, decay, dt), decay)
        drive = potential_drive(x, input_gain * given.external_input, J, rest, gain, "bjs,jm->bms")
        n_past = tf.concat([tf.repeat(given.A0 * dt, model.window_bins, axis=-1), activity], axis=-1)
        *sums, entering = self._sums_over_ages(drive, n_past, leak, theta, V0, S0)
        if model.scheme.keeps_old:
            old = self._pool(drive, n_past, entering, leak, theta, V0[..., -1:], m0, z0)
            sums = [both + part for both, part in zip(sums, old, strict=True)]
        return expected_activity(*sums), *self._neurons(drive, leak, theta, from_start, given.zero)

    def _neurons(
        self, drive: Tensor, leak: Tensor, theta: Tensor, from_start: Tensor, zero: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return V and H of every recorded neuron, (B, M, n_obs, T); see `src.fast_np.neuron_potentials`."""
        bins = tf.range(drive.shape[-1])
        u = tf_low_pass(drive, leak)
        at_zero = tf.gather(u, tf.clip_by_value(zero, 0, drive.shape[-1] - 1), batch_dims=2)
        elapsed = tf.where(zero >= 0, tf.maximum(bins - zero, 0), bins + 1)
        faded = leak[:, None] ** tf.cast(elapsed, self.dtype)
        V = u[:, :, None] + faded * tf.where(zero >= 0, -at_zero, from_start)
        refractory = bins <= zero
        V = tf.where(refractory, tf.zeros_like(V), V)
        return V, tf_hazard(V, theta[:, None], refractory, self.model.dt)

    def _pool(
        self,
        drive: Tensor,
        n_past: Tensor,
        entering: Tensor,
        leak: Tensor,
        theta: Tensor,
        free: Tensor,
        m0: Tensor,
        z0: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return what neurons older than the window add to the four sums, (B, M, T); see `src.model.old_neurons`."""
        first = tf.concat([leak * free, tf.zeros_like(drive[..., 1:])], axis=-1)
        u = tf_low_pass(drive + first, leak)
        P, E = tf_firing(tf_hazard(u, theta, tf.constant(False), self.model.dt), self.model.scheme)
        born = n_past[..., : drive.shape[-1]]
        before = shift_right(E, 1)
        m = tf_linear_recursion(before, tf.concat([m0, (entering * born)[..., :-1]], axis=-1))
        z = tf_linear_recursion(before**2, tf.concat([z0, (entering**2 * born)[..., :-1]], axis=-1))
        return pool_sums(m, z, P)

    def _sums_over_ages(
        self, drive: Tensor, n_past: Tensor, leak: Tensor, theta: Tensor, V0: Tensor, S0: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the four sums of `cohort_step` over ages, and the survival of the oldest after each bin, (B, M, T)."""
        refractory = self.model.refractory_bins

        def step(a: Tensor, V: Tensor, S: Tensor, n: Tensor, drive: Tensor) -> tuple[Tensor, ...]:
            return cohort_step(V, S, n, drive, leak, theta, a < refractory, self.model)

        B, M, T = drive.shape
        return tf_sums_over_ages(step, drive, n_past, V0, S0, chunk_bins(T, B * M))


_PROGRAMS: dict[tuple, Any] = {}
MOST_PROGRAMS = 8  # a compiled program takes some MiB


def program_of(kind: type[MesoProgram], model: Model, dtype: str) -> Any:
    """Return the programs of a model: the same ones for all recordings and fits, so that each is compiled once."""
    grid = (model.scheme, model.counts, model.dt, model.window_bins, model.refractory_bins, model.delay_bins)
    key = (kind, dtype, *grid, model.population_size.tobytes(), model.synaptic_rate.tobytes())
    if key not in _PROGRAMS:
        if len(_PROGRAMS) == MOST_PROGRAMS:
            del _PROGRAMS[next(iter(_PROGRAMS))]  # the first one
        _PROGRAMS[key] = kind(model, dtype)
    return _PROGRAMS[key]


class MesoLoss:
    """loss_y and loss_Z of the activity of a recording, and their gradient: the same numbers as `src.fast_np`.

    Parameters
    ----------
    recording : Recording
    model : Model
    dtype : {"float32", "float64"}
    """

    kind = MesoProgram

    def __init__(self, recording: Recording, model: Model, dtype: str = "float32") -> None:
        self.recording, self.model, self.dtype = recording, model, dtype
        spikes, last, self.scored = neuron_bins(recording, model)
        self._first_age = np.maximum(-1 - last, 0)
        self.given = Given(
            tf.constant(spikes, dtype),
            tf.constant(last + model.refractory_bins, tf.int32),
            tf.constant(recording.external_input, dtype),
            tf.constant(recording.initial_rate[..., None], dtype),
            None if self.scored is None else tf.constant(self.scored),
            None if recording.judged is None else tf.constant(recording.judged),
            tf.constant(model.n_populations * recording.n_judged, dtype),
        )
        self.program = program_of(self.kind, model, dtype)

    def constants(self, parameters: Parameters) -> list[Tensor]:
        """Return what the compiled loss takes of the parameters."""
        start = stationary_start(parameters, self.recording.initial_rate, self.model)
        leak, gain = self.model.scheme.leak_and_gain(parameters.membrane_rate, self.model.dt)
        rest = parameters.membrane_rate * parameters.resting_potential
        from_start = np.take_along_axis(start.V0[:, :, None], self._first_age, axis=-1)
        theta, A0_dt = parameters.threshold[:, None], self.recording.initial_rate[..., None] * self.model.dt
        pool = stationary_pool(start.V0[..., -1:], start.S0[..., -1:], A0_dt, theta, self.model)
        input_gain = parameters.driven_by(np.ones((self.model.n_populations, 1)))
        by_population = (leak[:, None], gain[:, None], rest[:, None], theta, input_gain)
        arrays = (parameters.coupling, *by_population, start.V0, start.S0, from_start, *pool)
        return [tf.constant(array, self.dtype) for array in arrays]

    def __call__(self, activity: Tensor, constants: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss_y, loss_Z and the gradient of their sum with respect to the activity, (B, M, T)."""
        return self.program.value_and_gradient(tf.convert_to_tensor(activity), constants, self.given)
