"""The start of a fit, taken from the data, and the maps between the parameters and the fitted numbers X.

Symbols: M populations, B trials, A bins of history window, T fitted bins, n fitted numbers.
"""

from dataclasses import replace

import numpy as np
import scipy

from src.model.containers import ACTIVITY_RANGE, Model, Parameters, Recording, mean_of_recorded


def to_X(parameters: Parameters, model: Model) -> np.ndarray:
    """Return the fitted numbers X, (n,), of these parameters; of tied ones, that of the largest."""
    parameters = parameters.with_gains(model.has_gains)
    magnitudes = replace(parameters, coupling=np.abs(parameters.coupling))
    return model.fitted.numbers(magnitudes.flat())


def true_X(parameters: Parameters, model: Model) -> np.ndarray:
    """Return X, (n,), as `to_X` does, but NaN for a number that cannot stand for its parameters: tied, but uneven."""
    X, flat, free = to_X(parameters, model), parameters.with_gains(model.has_gains).flat(), model.fitted
    other = ~np.isclose(free.flat(X), flat, rtol=1e-6)
    return np.where((free.matrix != 0) @ other, np.nan, X)


def from_X(X: np.ndarray, model: Model) -> Parameters:
    """Return the parameters that the fitted numbers X, (n,), stand for."""
    return Parameters.from_flat(model.fitted.flat(X))


def gradient_to_X(gradient: np.ndarray, model: Model) -> np.ndarray:
    """Bring a gradient with respect to `Parameters.flat` to the fitted numbers X, (n,), by the chain rule."""
    return model.fitted.gradient(gradient)


def names_of_X(model: Model) -> list[str]:
    """Return a name for each of the fitted numbers X."""
    return list(model.fitted.names)


def init_model(
    recording: Recording, model: Model, rng: np.random.Generator, *, width: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    """Return the start of a fit: fitted numbers drawn at random, and an activity taken from the recorded spikes.

    Parameters
    ----------
    recording : Recording
    model : Model
        Says from where the fitted numbers are drawn.
    rng : Generator
    width : float, s
        Standard deviation of the Gaussian that smooths the mean of the recorded spikes.

    Returns
    -------
    X : array, (n,)
    activity : array, (B, M, A+T)
        Fraction of each population that fires in each bin, window included.
    """
    activity = mean_of_recorded(recording.observed_spikes, recording.recorded, recording.observed)
    for trial, bins in zip(activity, model.window_bins + recording.lengths, strict=True):
        trial[:, :bins] = scipy.ndimage.gaussian_filter1d(trial[:, :bins], width / model.dt, axis=-1)
    return model.fitted.draw(rng), np.clip(activity, *ACTIVITY_RANGE)
