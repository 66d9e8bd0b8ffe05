"""A known stimulus: samples that hold until the next one, and their means in bins."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from src.data.trials import EDGE
from src.utils.exceptions import InputError
from src.utils.text import moment


@dataclass(frozen=True)
class Samples:
    """A stimulus that stays as it is from one sample to the next.

    Parameters
    ----------
    edges : array, (n + 1,), s
        Where each sample begins, and where the last one ends.
    values : array, (n, c)
    """

    edges: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Stimulus:
    """A stimulus of c columns.

    Parameters
    ----------
    source : str
        What messages call it.
    columns : tuple of str, (c,), or None
        Names.
    by_trial : mapping of str to Samples
        By the name of the trial from whose begin times count; of all trials under "".
    """

    source: str
    columns: tuple[str, ...] | None
    by_trial: Mapping[str, Samples]


def samples_of(where: str, time: np.ndarray, values: np.ndarray) -> Samples:
    """Return samples of values (n,) or (n, c) at times (n,), s; the last one lasts as long as the median of the others.

    Raises
    ------
    InputError
        There are less than two, or something is not finite, or times do not increase.
    """
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "biuf":
        raise InputError(f"{where}: expected numbers (samples,) or (samples, columns), got {_shape(values)}")
    if time.ndim != 1 or time.dtype.kind not in "iuf" or len(time) != len(values):
        turned = "; transpose what is (columns, samples)" if time.shape == values.shape[1:] else ""
        raise InputError(f"{where}: expected a time in s for each of {len(values)} samples, got {_shape(time)}{turned}")
    if len(time) < 2:
        raise InputError(f"{where}: expected two samples or more, got {len(time)}")
    time, values = time.astype(float), values.astype(float)
    odd = np.flatnonzero(~np.isfinite(time))
    if len(odd):
        raise InputError(f"{where}: expected finite times, got {moment(time[odd[0]])} at sample {odd[0] + 1}")
    odd = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(odd):
        raise InputError(
            f"{where}: expected finite numbers, got NaN or infinity in {len(odd)} of {len(time)} samples, first at "
            f"{moment(time[odd[0]])} s; where nothing was shown, give 0"
        )
    back = np.flatnonzero(np.diff(time) <= 0)
    if len(back):
        first, then = time[back[0]], time[back[0] + 1]
        raise InputError(f"{where}: expected times that increase, got {moment(then)} s after {moment(first)} s")
    return Samples(np.append(time, time[-1] + np.median(np.diff(time))), values)


def _shape(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"


def in_bins(samples: Samples, start: float, bins: int, dt: float) -> tuple[np.ndarray, float]:
    """Return the mean of samples of one column in bins of `dt` s from `start` s on, (bins,), zero outside of them.

    And for how long, in s, they are missing there.
    """
    edges = start + dt * np.arange(bins + 1)
    held = samples.values[:, 0] * np.diff(samples.edges)
    total = np.interp(edges, samples.edges, np.concatenate([[0.0], np.cumsum(held)]))
    there = min(edges[-1], samples.edges[-1]) - max(edges[0], samples.edges[0])
    lost = bins * dt - max(there, 0.0)
    return np.diff(total) / dt, lost if lost > EDGE * dt else 0.0


def again(known: np.ndarray, dt: float, n_bins: int, dt_new: float) -> np.ndarray:
    """Return an input (M, T) in bins of `dt` s in others, (M, n_bins) of `dt_new` s; after its end it begins anew."""
    copies = int(np.ceil(n_bins * dt_new / (known.shape[1] * dt) - EDGE))
    whole = np.tile(known, copies)
    edges = dt * np.arange(whole.shape[1] + 1)
    return np.stack([in_bins(Samples(edges, row[:, None]), 0.0, n_bins, dt_new)[0] for row in whole])
