"""Binomial counts by inversion, in TensorFlow operations that XLA compiles."""

import tensorflow as tf

from src.model.tf_filters import Tensor


def binomial_count(uniform: Tensor, p: Tensor, N: Tensor) -> Tensor:
    """Return the counts of successes that uniform numbers stand for; one number per count, however many trials.

    The counts are listed from the most probable one outwards, above and below in turn. The one in which the running
    sum of their probabilities passes the uniform number is the draw. So the number of steps is about the
    distance from the most probable count, at most a few standard deviations.

    Parameters
    ----------
    uniform : float64 tensor
        In [0, 1).
    p : tensor of the same shape
        Probability of success, 0 and 1 included.
    N : float64 tensor
        Trials, whole numbers; of a shape that broadcasts to that of `p`.

    Returns
    -------
    count : float64 tensor
        Whole numbers from 0 to N.
    """
    p, tiny = tf.cast(p, tf.float64), tf.constant(1e-300, tf.float64)
    up, down = p / tf.maximum(1 - p, tiny), (1 - p) / tf.maximum(p, tiny)
    mode = tf.minimum(tf.floor((N + 1) * p), N)
    ln_choices = tf.math.lgamma(N + 1) - tf.math.lgamma(mode + 1) - tf.math.lgamma(N - mode + 1)
    P_mode = tf.exp(ln_choices + tf.math.xlogy(mode, p) + tf.math.xlog1py(N - mode, -p))

    def undecided(left: Tensor, count: Tensor, low: Tensor, P_low: Tensor, high: Tensor, P_high: Tensor) -> Tensor:
        # rounding may leave less than nothing of the probabilities to a uniform number next to 1: its draw is the mode
        return tf.reduce_any((left >= 0) & (P_low + P_high > 0))

    def further(left: Tensor, count: Tensor, low: Tensor, P_low: Tensor, high: Tensor, P_high: Tensor) -> tuple:
        # P(k+1) / P(k) = p / (1-p) (N-k) / (k+1): zero beyond N, and likewise below 0
        high, P_high = high + 1, P_high * up * (N - high) / (high + 1)
        count, left = tf.where((left >= 0) & (left < P_high), high, count), left - P_high
        low, P_low = low - 1, P_low * down * low / (N - low + 1)
        count, left = tf.where((left >= 0) & (left < P_low), low, count), left - P_low
        return left, count, low, P_low, high, P_high

    start = (uniform - P_mode, mode, mode, P_mode, mode, P_mode)
    return tf.while_loop(undecided, further, start)[1]
