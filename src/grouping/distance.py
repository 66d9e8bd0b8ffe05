"""A distance between spike trains in which rate and common modulation add up, corrected for shot noise.

Symbols: N units, T the length of the recording in s, w the standard deviation of the Gaussian that smooths the trains.
A smoothed Poisson train of rate r has the variance r / W with W = 2 sqrt(pi) w, and T / W independent values.

If unit i fires as a Poisson process of rate r_i(t), two units are told apart by the squared Hellinger distance
4 integral (sqrt r_i(t) - sqrt r_j(t))^2 dt. It is in units of the sampling variance of either, so that rate and
modulation need no weights against each other. Here the mean rate gives one coordinate of a unit, 2 sqrt(r_i T). The
rest, (r_i(t) - r_i) / sqrt(r_i) to first order, comes from the covariances of the smoothed trains, in units of their
shot noise:

    G_ij = cov(x_i, x_j) / sqrt(r_i r_j / W^2).

Between two units it holds what they share and no shot noise; on the diagonal shot noise adds one. Without any
modulation its eigenvalues end near (1 + sqrt(N W / T))^2 (Marchenko and Pastur 1967). Only the components above
that edge are coordinates: the others, nearly all of the noise of few spikes, would drown the rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from src.data.binning import bins_of
from src.data.spike_trains import Stretch
from src.statistics.smoothing import smooth
from src.utils.exceptions import InputError

BINS_PER_WIDTH = 4
FEWEST_BLOCKS = 4
MOST_BLOCKS = 100
"""A longer recording gets longer blocks: their N x N sums are kept, and hundreds of units are many."""
BLOCK = 1.0
"""Length of a block in s, if the recording has no more than `MOST_BLOCKS` of them."""


def bin_spikes(stretch: Stretch, dt: float) -> np.ndarray:
    """Count the spikes of a stretch with a known end in bins of `dt` s: array, (units, n_bins)."""
    assert stretch.end is not None
    n_bins = max(1, int((stretch.end - stretch.start) / dt + 1e-6))
    # What is left after the last whole bin counts to it: no spike is lost.
    bins = [np.minimum(bins_of(times, stretch.start, dt), n_bins - 1) for times in stretch.times]
    return np.stack([np.bincount(index, minlength=n_bins) for index in bins])


@dataclass(frozen=True)
class Blocks:
    """Sums over blocks of time, from which rates and covariances in any choice of blocks follow at once.

    Parameters
    ----------
    n_values : array, (n_blocks,)
        Values of each smoothed train in a block.
    sums : array, (n_blocks, N), Hz
        Of the smoothed trains.
    products : array, (n_blocks, N, N), Hz^2
        Of pairs of them.
    dt : float, s
        From value to value.
    width : float, s
        Standard deviation of the Gaussian.
    """

    n_values: np.ndarray
    sums: np.ndarray
    products: np.ndarray
    dt: float
    width: float

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.n_values)

    @property
    def window(self) -> float:
        """W: the time, in s, after which smoothed shot noise is as good as new."""
        return 2 * np.sqrt(np.pi) * self.width

    def moments(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return rates (N,) in Hz, covariances (N, N) in Hz^2 and the length in s of a choice of blocks."""
        n = self.n_values[chosen].sum()
        rates = self.sums[chosen].sum(axis=0) / n
        covariance = self.products[chosen].sum(axis=0) / n - np.outer(rates, rates)
        return rates, covariance, n * self.dt


def smoothed_blocks(stretches: Sequence[Stretch], *, width: float, block: float | None) -> Blocks:
    """Smooth spike trains, each stretch by itself, and sum them up in blocks of time.

    Parameters
    ----------
    stretches : sequence of Stretch
        Of the same N units, with known ends.
    width, block : float, s
        Standard deviation of the Gaussian, and about the length of a block; a stretch shorter than that is one. None:
        `BLOCK`, or longer where the Gaussian or the recording asks for it.

    Raises
    ------
    InputError
        The recording holds too few blocks, or the blocks are too short for the Gaussian.
    """
    length = sum(stretch.end - stretch.start for stretch in stretches if stretch.end is not None)
    block = max(BLOCK, 2 * width, length / MOST_BLOCKS) if block is None else block
    if block < 2 * width:
        raise InputError(f"block: expected at least twice the width, {2 * width:g} s, got {block:g} s")
    dt = width / BINS_PER_WIDTH
    parts: list[np.ndarray] = []
    for stretch in stretches:
        rates = smooth(bin_spikes(stretch, dt) / dt, dt, width)
        parts += np.array_split(rates, max(1, int(rates.shape[1] * dt / block + 1e-6)), axis=1)
    if len(parts) < FEWEST_BLOCKS:
        raise InputError(
            f"recording: expected at least {FEWEST_BLOCKS} blocks of {block:g} s, got {length:g} s; see --block"
        )
    sums, products = [part.sum(axis=1) for part in parts], [part @ part.T for part in parts]
    return Blocks(np.array([part.shape[1] for part in parts]), np.array(sums), np.array(products), dt, width)


def coordinates(blocks: Blocks, chosen: np.ndarray, rate_weight: float) -> np.ndarray:
    """Return what the units are compared by, in units of sampling noise: array, (N, 1 + components).

    The first is the rate, times `rate_weight`; the others are the co-modulation above shot noise, which may be none.
    """
    rates, covariance, length = blocks.moments(chosen)
    # A unit may be silent in some of the blocks: it then has no co-modulation.
    noise = np.sqrt(np.maximum(rates, 0) / blocks.window)
    scale = np.divide(1, noise, out=np.zeros_like(noise), where=noise > 1e-9)
    values, vectors = np.linalg.eigh(covariance * np.outer(scale, scale))
    n_independent = length / blocks.window
    kept = values > (1 + np.sqrt(len(rates) / n_independent)) ** 2
    scores = vectors[:, kept] * np.sqrt(n_independent * (values[kept] - 1))
    return np.column_stack([rate_weight * 2 * np.sqrt(np.maximum(rates, 0) * length), scores])


def shared_modulation(blocks: Blocks) -> np.ndarray:
    """Return the correlation of the smoothed trains, corrected for shot noise, (N, N) with ones on the diagonal.

    Shot noise adds r / W to the variance of a train and nothing to a covariance; uncorrected, the correlation of units
    that follow the same activity falls with their rate. The variance left after subtraction is taken to be at least the
    standard error of what is subtracted: a unit without any modulation would get correlations of any size. Trains more
    regular than a Poisson process have less noise than that; their correlation is cut at 1.
    """
    rates, covariance, length = blocks.moments(np.arange(len(blocks)))
    noise = rates / blocks.window
    modulation = np.maximum(np.diag(covariance) - noise, np.sqrt(2 * blocks.window / length) * noise)
    correlation = np.clip(covariance / np.sqrt(np.outer(modulation, modulation)), -1, 1)
    np.fill_diagonal(correlation, 1)
    return correlation
