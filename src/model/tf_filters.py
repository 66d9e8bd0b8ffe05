"""First-order filters over all bins at once in TensorFlow, with their gradients; see `src.model.filters`."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Tensor = Any
"""tf.Tensor, which mypy cannot see into."""


@tf.custom_gradient
def tf_linear_recursion(factor: Tensor, added: Tensor) -> tuple[Tensor, Callable]:
    """Return y(s) = factor(s) y(s-1) + added(s), (B, M, T), y(-1) = 0; see `src.model.filters.recursion`."""
    y = _recursion(factor, added)

    def backward(y_bar: Tensor) -> tuple[Tensor, Tensor]:
        flipped = (tf.reverse(part, [-1]) for part in (shift_left(factor), y_bar))
        added_bar = tf.reverse(_recursion(*flipped), [-1])
        return added_bar * shift_right(y, 1), added_bar

    return y, backward


def _recursion(factor: Tensor, added: Tensor) -> Tensor:
    T = added.shape[-1]

    def delayed(signal: Tensor, bins: Tensor) -> Tensor:
        return tf.slice(tf.concat([tf.zeros_like(signal), signal], axis=-1), [0, 0, T - bins], signal.shape)

    def sweep(reach: Tensor, y: Tensor, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return 2 * reach, y + factor * delayed(y, reach), factor * delayed(factor, reach)

    _, y, _ = tf.while_loop(lambda reach, *_: reach < T, sweep, (tf.constant(1), added, factor))
    return y


def tf_low_pass(signal: Tensor, decay: Tensor) -> Tensor:
    """Return y(s) = decay y(s-1) + signal(s), (B, M, T), y(-1) = 0, for one `decay` per population, (M, 1)."""
    return tf_linear_recursion(tf.broadcast_to(decay, signal.shape), signal)


def shift_left(signal: Tensor) -> Tensor:
    """Advance the last axis by one bin, with a zero at the end."""
    return tf.pad(signal[..., 1:], [[0, 0]] * (len(signal.shape) - 1) + [[0, 1]])


def shift_right(signal: Tensor, bins: int) -> Tensor:
    """Delay the last axis, with zeros in front."""
    bins = min(bins, signal.shape[-1])
    return tf.pad(signal[..., : signal.shape[-1] - bins], [[0, 0]] * (len(signal.shape) - 1) + [[bins, 0]])
