"""Coordinates in which F, the loss of an E-step on the innovations, is nearly round: from the linear response at rest.

About populations at rest, the expected activity is n = K * n, a convolution with the activity before. Innovations are
then xi = (n - K * n) / sd, and the potential of a recorded neuron is R * n. The curvature of F is therefore, for each
frequency, with B = (1 - K) / sd and D the diagonal matrix of the recorded spikes expected in a bin,

    B^H B + R^H D R.

Its Cholesky factor whitens it. Without the spikes' part, slow changes that K sustains would be taken for free.
"""

import numpy as np
import scipy

from src.fast_np import DriveBar, drive_of, gradients, rows_backward, rows_of, step_ages, synapse, workspace
from src.model.containers import Model, Parameters, Recording
from src.model.old_neurons import TAIL

RIDGE = 1e-6  # of the curvature of independent innovations: keeps what nothing determines


def activity_response(
    parameters: Parameters, rates: np.ndarray, external_input: np.ndarray, model: Model, lags: int
) -> np.ndarray:
    """Return K, (M, M, lags): how the expected activity of m depends on that of j, 1 ... `lags` bins before.

    Parameters
    ----------
    parameters : Parameters
    rates : array, (M,), Hz
        At which the populations rest.
    external_input : array, (M,), 1/s
        At rest.
    model : Model
    lags : int
    """
    M, T = model.n_populations, lags + 1
    nobody = np.zeros((1, M, model.window_bins + T, 0), np.uint8)
    rest = Recording(nobody, np.broadcast_to(external_input[None, :, None], (1, M, T)), rates[None])
    activity = np.repeat(rates[None, :, None] * model.dt, T, axis=-1)
    drive = drive_of(parameters, activity, rest, model)
    last_bin = (np.arange(T) == T - 1)[None] * 1.0
    K = np.empty((M, M, lags))
    for row in rows_of(drive, parameters, activity, rest, model, TAIL).in_chunks(1):
        forward = step_ages(row, model, workspace(activity[:, :1], model))
        m, whole = int(row.place[0]), []
        for part in rows_backward(row, forward, last_bin, model, wrt_activity=True):
            whole.append(np.zeros((1, M, *part.shape[1:])))
            whole[-1][0, m] = part[0]
        K[m] = gradients(DriveBar(*whole), drive, parameters, rest, model, "activity")[1][0, :, -2::-1]
    return K


def potential_response(parameters: Parameters, rates: np.ndarray, model: Model, lags: int) -> np.ndarray:
    """Return R, (M, M, lags): how the potential in m depends on the activity of j, 1 ... `lags` bins before.

    Parameters as in `activity_response`. Resets cut the memory of a neuron short: what is left of a pulse after a bin
    is taken to be less by the share of neurons that fire in it.
    """
    M = model.n_populations
    pulse = np.zeros((M, M, lags + 1))
    pulse[np.arange(M), np.arange(M), 0] = 1.0
    x = synapse(pulse, np.zeros((M, M)), model)[np.arange(M), np.arange(M), 1:]  # of j, 1 ... lags bins after its pulse
    leak, gain = model.scheme.leak_and_gain(parameters.membrane_rate, model.dt)
    faded = gain[:, None] * (leak * np.exp(-rates * model.dt))[:, None] ** np.arange(lags)
    length = scipy.fft.next_fast_len(2 * lags, real=True)
    through = scipy.fft.rfft(faded, length)[:, None] * scipy.fft.rfft(x, length)[None]
    return parameters.coupling.T[..., None] * scipy.fft.irfft(through, length)[..., :lags]


class Whitening:
    """Takes round coordinates z, (..., M, T), to activities less their mean, by fast Fourier transforms.

    Parameters
    ----------
    K, R : array, (M, M, lags)
        From `activity_response` and `potential_response`.
    sd : array, (M, 1)
        Standard deviation of an activity in a bin.
    n_spikes : array, (M,)
        Recorded spikes expected in a bin.
    T : int
        Bins.
    """

    def __init__(self, K: np.ndarray, sd: np.ndarray, R: np.ndarray, n_spikes: np.ndarray, T: int) -> None:
        M, _, lags = K.shape
        self.T, self.length = T, scipy.fft.next_fast_len(2 * (T + lags), real=True)
        K_f, R_f = (
            np.moveaxis(scipy.fft.rfft(np.pad(part, [(0, 0)] * 2 + [(1, 0)]), self.length), -1, 0) for part in (K, R)
        )
        B = (np.eye(M) - K_f) / sd
        curvature = B.conj().swapaxes(1, 2) @ B + R_f.conj().swapaxes(1, 2) @ (n_spikes[:, None] * R_f)
        factor = np.linalg.cholesky(curvature + np.diag(RIDGE / sd[:, 0] ** 2))
        self.filter = np.linalg.inv(factor.conj().swapaxes(1, 2))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Return the activity less its mean, (..., M, T)."""
        return self._through(self.filter, z)

    def adjoint(self, n_bar: np.ndarray) -> np.ndarray:
        """Carry a derivative with respect to the activity, (..., M, T), back to z."""
        return self._through(self.filter.conj().swapaxes(1, 2), n_bar)

    def _through(self, matrices: np.ndarray, signal: np.ndarray) -> np.ndarray:
        spectrum = scipy.fft.rfft(signal, self.length)
        return scipy.fft.irfft(np.einsum("fmj,...jf->...mf", matrices, spectrum), self.length)[..., : self.T]
