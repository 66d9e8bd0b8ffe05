"""Smoothed rates, and how well two of them correlate."""

import numpy as np
import scipy

from src.utils.exceptions import InputError

SMOOTHING = 0.02
"""Standard deviation of the Gaussian, in s, with which activity is drawn and compared."""


def smooth(rate: np.ndarray, dt: float, width: float) -> np.ndarray:
    """Smooth along the last axis with a Gaussian of standard deviation `width`.

    Parameters
    ----------
    rate : array, (..., n_bins)
        Mirrored beyond its ends: repeating the last bin would give the noise of that one bin half of all weight.
    dt : float, s
        Bin width.
    width : float, s
        Standard deviation of the Gaussian, cut at four of them; 0 leaves the rate as it is.

    Returns
    -------
    array, (..., n_bins)
        In the unit of `rate`.

    Raises
    ------
    InputError
        `dt` is not positive or `width` is negative.
    """
    rate = np.asarray(rate, float)
    if not (dt > 0 and width >= 0):
        raise InputError(f"smoothing: expected dt > 0 and width >= 0 in s, got {dt} and {width}")
    radius = int(4 * width / dt + 0.5)
    if radius == 0:
        return rate.copy()
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) * dt / width) ** 2)
    padded = np.pad(rate, [(0, 0)] * (rate.ndim - 1) + [(radius, radius)], mode="symmetric")
    kernel = kernel.reshape((1,) * (rate.ndim - 1) + (-1,))
    # By FFT: at 0.2 ms steps the kernel has thousands of taps.
    return scipy.signal.oaconvolve(padded, kernel / kernel.sum(), mode="valid", axes=-1)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two series of equal length; NaN where one of them is constant."""
    a, b = a - np.mean(a), b - np.mean(b)
    norm = np.sqrt(np.sum(a**2) * np.sum(b**2))
    return float(np.sum(a * b) / norm) if norm > 0 else np.nan
