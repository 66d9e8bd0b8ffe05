"""The loop over the ages of neurons in TensorFlow, for all bins at once or in chunks of time, with its adjoint.

The adjoint is that of one step, age by age. Potential and survival of all ages and bins are kept for it. Where that is
too much (`src.model.time_chunks`), the loop goes over one chunk of bins after the other. It hands on the state of all
ages after the last bin of a chunk. Backwards, a chunk is computed anew from the state before it. All chunks run in one
loop of one program: the last one is filled up with bins in which nothing happens.
"""

from collections.abc import Callable

import tensorflow as tf

from src.model.tf_filters import Tensor, shift_left

Step = Callable[..., tuple[Tensor, ...]]
"""Takes cohorts of age a through their bins: (a, V, S, n, drive) to V and S after them, and four terms of sums."""


def tf_sums_over_ages(
    step: Step, drive: Tensor, n_past: Tensor, V0: Tensor, S0: Tensor, chunk: int
) -> tuple[Tensor, ...]:
    """Return the four sums over ages, and the survival of the oldest after each bin, (B, M, T) each.

    Parameters
    ----------
    step : callable
    drive : tensor, (B, M, T)
        Of the step V <- leak V + drive.
    n_past : tensor, (B, M, A+T)
        Activity with its window.
    V0, S0 : tensor, (B, M, A+1)
        Potential and survival of every age before the first bin.
    chunk : int
        Bins of a chunk; from T on, all are one chunk.
    """

    @tf.custom_gradient
    def sums(drive: Tensor, n_past: Tensor) -> tuple[list[Tensor], Callable]:
        if chunk < drive.shape[-1]:
            return _in_chunks(step, drive, n_past, V0, S0, chunk)
        found, stored, _ = _forward(step, drive, n_past, V0, S0, keeps=True)

        def backward(*bars: Tensor) -> tuple[Tensor, Tensor]:
            drive_bar, n_bar, _, _ = _backward(step, drive, n_past, stored, list(bars), None)
            # of what was born before the first bin nothing is asked: the window is not fitted
            return drive_bar, tf.pad(n_bar, [[0, 0], [0, 0], [n_past.shape[-1] - drive.shape[-1], 0]])

        return found, backward

    return sums(drive, n_past)


def _forward(
    step: Step,
    drive: Tensor,
    n_past: Tensor,
    V0: Tensor,
    S0: Tensor,
    *,
    sums: bool = True,
    keeps: bool = False,
    hands_on: bool = False,
) -> tuple[list[Tensor], tuple, tuple]:
    """Step all cohorts from age to age. What is not asked for is empty, and not computed.

    Returns
    -------
    sums : list of tensor, (B, M, T)
        The four sums, and the survival of the oldest.
    stored : tuple of TensorArray, A of (B, M, T)
        V and S of every age before each bin, if they are kept.
    after : tuple of tensor, (B, M, A)
        V and S of every age after the last bin, if they are handed on.
    """
    shape, dtype, A = drive.shape, drive.dtype, n_past.shape[-1] - drive.shape[-1]

    def forward(a: Tensor, V: Tensor, S: Tensor, totals: tuple, stored: tuple, last: tuple) -> tuple:
        V, S = _older(V, V0[..., a]), _older(S, S0[..., a])
        stored = tuple(array.write(a, value) for array, value in zip(stored, (V, S), strict=keeps))
        V, S, *terms = step(a, V, S, tf.slice(n_past, [0, 0, A - 1 - a], shape), drive)
        last = tuple(array.write(a, value[..., -1]) for array, value in zip(last, (V, S), strict=hands_on))
        return a + 1, V, S, tuple(total + term for total, term in zip(totals, terms, strict=sums)), stored, last

    zero = tf.zeros(shape, dtype)
    stores = tuple(tf.TensorArray(dtype, A, element_shape=shape) for _ in "VS" if keeps)
    ends = tuple(tf.TensorArray(dtype, A, element_shape=shape[:-1]) for _ in "VS" if hands_on)
    start = (tf.constant(0), zero, zero + 1, (zero,) * 4 if sums else (), stores, ends)
    loop = tf.while_loop(lambda a, *_: a < A, forward, start, maximum_iterations=A)
    _, _, entering, totals, stored, ends = loop
    after = tuple(_older(tf.transpose(end.stack(), [1, 2, 0]), zero[..., 0] + i) for i, end in enumerate(ends))
    return [*totals, entering], stored, after


def _older(before: Tensor, first: Tensor) -> Tensor:
    return tf.concat([first[..., None], before[..., :-1]], axis=-1)


def _backward(
    step: Step, drive: Tensor, n_past: Tensor, stored: tuple, bars: list[Tensor], after_bar: Tensor | None
) -> tuple[Tensor, ...]:
    """Carry derivatives with respect to what `_forward` returns back through it.

    Parameters
    ----------
    step, drive, n_past, stored
        As there.
    bars : list of tensor, (B, M, T)
        With respect to the sums and the survival of the oldest.
    after_bar : tensor, (A, 2, B, M), or None
        With respect to V and S of every age after the last bin; None where nothing is handed on.

    Returns
    -------
    drive, n : tensor, (B, M, T)
    window : tensor, (B, M, A), or None
        With respect to the activity before the first bin, and the state before it, shaped like `after_bar`.
    before : tensor, (A, 2, B, M), or None
    """
    shape, A = drive.shape, n_past.shape[-1] - drive.shape[-1]
    *totals_bar, entering_bar = bars

    def back(a: Tensor, V_bar: Tensor, S_bar: Tensor, drive_bar: Tensor, n_bar: Tensor, first: tuple) -> tuple:
        inputs = (stored[0].read(a), stored[1].read(a), tf.slice(n_past, [0, 0, A - 1 - a], shape), drive)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = step(a, *inputs)
        V_bar, S_bar, n_now, drive_now = tape.gradient(outputs, inputs, [V_bar, S_bar, *totals_bar])
        n_bar = n_bar + n_now
        if first:
            before, window = first
            first = before.write(a, tf.stack([V_bar[..., 0], S_bar[..., 0]])), window.write(A - 1 - a, n_bar[..., 0])
        V_bar, S_bar, n_bar = (shift_left(bar) for bar in (V_bar, S_bar, n_bar))
        if after_bar is not None:  # what was of age a - 1 in the last bin is of age a after it
            V_bar, S_bar = (_last_plus(bar, after_bar[a, i]) for i, bar in enumerate((V_bar, S_bar)))
        return a - 1, V_bar, S_bar, drive_bar + drive_now, n_bar, first

    zero, B_M = tf.zeros(shape, drive.dtype), shape[:-1]
    firsts = tuple(tf.TensorArray(drive.dtype, A, element_shape=s) for s in ([2, *B_M], B_M))
    start = (tf.constant(A - 1), zero, entering_bar, zero, zero, () if after_bar is None else firsts)
    loop = tf.while_loop(lambda a, *_: a >= 0, back, start, maximum_iterations=A)
    *_, drive_bar, n_bar, firsts = loop
    if after_bar is None:
        return drive_bar, n_bar, None, None
    before, window = (array.stack() for array in firsts)
    return drive_bar, n_bar, tf.transpose(window, [1, 2, 0]), before


def _last_plus(signal: Tensor, more: Tensor) -> Tensor:
    """Return a signal (..., T) with something added to its last bin."""
    return tf.concat([signal[..., :-1], signal[..., -1:] + more[..., None]], axis=-1)


def _in_chunks(
    step: Step, drive: Tensor, n_past: Tensor, V0: Tensor, S0: Tensor, chunk: int
) -> tuple[list[Tensor], Callable]:
    """Return what `tf_sums_over_ages` does, chunk by chunk, and its adjoint."""
    (B, M, T), A, dtype = drive.shape, n_past.shape[-1] - drive.shape[-1], drive.dtype
    number = -(-T // chunk)
    filled = [[0, 0], [0, 0], [0, number * chunk - T]]
    drives, past = _cut(tf.pad(drive, filled), number), tf.pad(n_past, filled)

    def past_of(c: Tensor) -> Tensor:
        return tf.slice(past, [0, 0, c * chunk], [B, M, A + chunk])

    def forward(c: Tensor, V: Tensor, S: Tensor, found: Tensor, states: Tensor) -> tuple:
        states = states.write(c, tf.stack([V, S]))
        sums, _, (V, S) = _forward(step, drives[c], past_of(c), V, S, hands_on=True)
        return c + 1, V, S, found.write(c, tf.stack(sums)), states

    arrays = [tf.TensorArray(dtype, number, element_shape=s) for s in ([5, B, M, chunk], [2, B, M, A])]
    start = (tf.constant(0), V0[..., :A], S0[..., :A], *arrays)
    loop = tf.while_loop(lambda c, *_: c < number, forward, start, maximum_iterations=number)
    *_, found, states = loop
    states = states.stack()

    def backward(*bars: Tensor) -> tuple[Tensor, Tensor]:
        cut = [_cut(tf.pad(bar, filled), number) for bar in bars]

        def back(c: Tensor, after_bar: Tensor, window: Tensor, found: Tensor) -> tuple:
            V, S = tf.unstack(states[c])
            _, stored, _ = _forward(step, drives[c], past_of(c), V, S, sums=False, keeps=True)
            here = [bar[c] for bar in cut]
            drive_bar, n_bar, before_window, before = _backward(step, drives[c], past_of(c), stored, here, after_bar)
            # chunks after this one have what was born in it, or before, in their windows
            n_bar = tf.concat([before_window, n_bar], axis=-1)
            n_bar += tf.pad(window, [[0, 0], [0, 0], [chunk, 0]])
            return c - 1, before, n_bar[..., :A], found.write(c, tf.stack([drive_bar, n_bar[..., A:]]))

        array = tf.TensorArray(dtype, number, element_shape=[2, B, M, chunk])
        start = (tf.constant(number - 1), tf.zeros([A, 2, B, M], dtype), tf.zeros([B, M, A], dtype), array)
        loop = tf.while_loop(lambda c, *_: c >= 0, back, start, maximum_iterations=number)
        drive_bar, n_bar = tf.unstack(_joined(loop[-1].stack(), T))
        return drive_bar, tf.pad(n_bar, [[0, 0], [0, 0], [A, 0]])

    return tf.unstack(_joined(found.stack(), T)), backward


def _cut(signal: Tensor, number: int) -> Tensor:
    """Return chunks of a signal (B, M, T), in front: (number, B, M, T / number)."""
    return tf.transpose(tf.reshape(signal, [*signal.shape[:2], number, -1]), [2, 0, 1, 3])


def _joined(chunks: Tensor, T: int) -> Tensor:
    """Join chunks (number, k, B, M, bins) to T bins, (k, B, M, T)."""
    number, k, B, M, bins = chunks.shape
    return tf.reshape(tf.transpose(chunks, [1, 2, 3, 0, 4]), [k, B, M, number * bins])[..., :T]
