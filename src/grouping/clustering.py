"""Groups of units by Ward's tree, how many there are, and how far to trust them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from src.data.spike_trains import Stretch
from src.grouping.distance import Blocks, coordinates, shared_modulation, smoothed_blocks
from src.utils.exceptions import InputError

REPRODUCED = 0.75
"""Jaccard index from which a group counts as reproduced (the customary bound of Hennig 2007)."""


def adjusted_rand_index(a: np.ndarray, b: np.ndarray) -> float:
    """Return the agreement of two partitions of the same units: 1 for equal ones, 0 on average for random ones.

    Of P pairs of units, S are together in both partitions, A in the first and B in the second. The index is
    (S - E) / ((A + B) / 2 - E) with E = A B / P, which S is on average when labels are shuffled (Hubert and
    Arabie 1985). Two partitions that are both one group, or both all singletons, are equal.

    Parameters
    ----------
    a, b : array, (N,)
        Labels; their names do not matter.
    """
    (_, a), (_, b) = (np.unique(labels, return_inverse=True) for labels in (a, b))
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, first, second = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected, most = first * second / max(pairs(table.sum()), 1), (first + second) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def ward_tree(points: np.ndarray) -> np.ndarray:
    """Return the tree that merges the two groups of points, (N, d), whose union adds least variance (Ward 1963)."""
    return scipy.cluster.hierarchy.linkage(points, "ward") if len(points) > 1 else np.empty((0, 4))


def partitions(points: np.ndarray, most: int) -> np.ndarray:
    """Return labels (most, N) of the units in 1, 2, ..., `most` groups: Ward's tree, cut. Labels are any integers."""
    found = [np.arange(len(points))]
    for step, (a, b) in enumerate(ward_tree(points)[:, :2].astype(int)):
        labels = found[-1]
        found.append(np.where((labels == a) | (labels == b), len(points) + step, labels))
    return np.array(found[::-1][:most])


def together(labels: np.ndarray) -> np.ndarray:
    """Return which pairs of units share their label, (..., N, N) for labels (..., N)."""
    return labels[..., :, None] == labels[..., None, :]


def reproducibility(
    blocks: Blocks, rate_weight: float, most: int, rng: np.random.Generator, *, n_halvings: int = 100
) -> np.ndarray:
    """Return how well two halves of the recording reproduce its groups, (most,) for 1, 2, ..., `most` groups.

    The blocks are dealt at random to two halves, each is clustered by itself, and for every unit the group it has in
    the whole recording is compared with its groups in both halves: units common to the three, divided by units in any.
    That is averaged over halvings and over the units of a group; the result is that of the worst group.
    The halves share no spikes, so accidents of the noise seldom come back; with bootstrap samples they would.
    """
    everything = np.arange(len(blocks))
    whole = together(partitions(coordinates(blocks, everything, rate_weight), most))
    jaccard = np.zeros(whole.shape[:2])
    for _ in range(n_halvings):
        order = rng.permutation(len(blocks))
        half, other = (
            together(partitions(coordinates(blocks, part, rate_weight), most)) for part in np.array_split(order, 2)
        )
        jaccard += (whole & half & other).sum(axis=-1) / (whole | half | other).sum(axis=-1)
    of_groups = (whole @ jaccard[..., None])[..., 0] / whole.sum(axis=-1)
    return of_groups.min(axis=-1) / n_halvings


def co_occurrence(
    blocks: Blocks, rate_weight: float, n_groups: int, rng: np.random.Generator, *, n_resamples: int = 200
) -> np.ndarray:
    """Return how often each pair of units falls together when the blocks are drawn with replacement, (N, N)."""
    found = np.zeros((blocks.sums.shape[1],) * 2)
    for _ in range(n_resamples):
        chosen = rng.integers(len(blocks), size=len(blocks))
        found += together(partitions(coordinates(blocks, chosen, rate_weight), n_groups)[-1])
    return found / n_resamples


def agreement_by_length(
    blocks: Blocks,
    rate_weight: float,
    labels: np.ndarray,
    rng: np.random.Generator,
    *,
    n_lengths: int = 8,
    n_draws: int = 50,
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster stretches of the recording and compare with the partition from all of it.

    Returns
    -------
    lengths : array, (n,), s
        From one block to all of the recording.
    agreement : array, (n, n_draws)
        Adjusted Rand index, each with a stretch that begins at a random block. The last ones are 1 by construction.
    """
    n_groups = len(np.unique(labels))
    sizes = np.unique(np.rint(np.geomspace(1, len(blocks), n_lengths)).astype(int))
    agreement = np.empty((len(sizes), n_draws))
    for row, size in zip(agreement, sizes, strict=True):
        for k, start in enumerate(rng.integers(len(blocks) - size + 1, size=n_draws)):
            points = coordinates(blocks, np.arange(start, start + size), rate_weight)
            row[k] = adjusted_rand_index(labels, partitions(points, n_groups)[-1])
    return sizes * blocks.n_values.sum() / len(blocks) * blocks.dt, agreement


@dataclass(frozen=True)
class Grouping:
    """Groups of units, and what they rest on. Arrays of units are in the order in which the units were given.

    Parameters
    ----------
    labels : array of int, (N,)
        From 0; groups are numbered by their mean rate, lowest first.
    rates : array, (N,), Hz
    correlation : array, (N, N)
        See `shared_modulation`.
    tree : array, (N - 1, 4)
        Ward's tree in SciPy's format; empty for one unit.
    reproduced : array, (n,)
        See `reproducibility`, for 1, 2, ..., n groups.
    co_occurrence : array, (N, N)
    lengths, agreement : array, (n,) in s and (n, draws)
        See `agreement_by_length`.
    n_components : int
        Components of co-modulation above shot noise.
    """

    labels: np.ndarray
    rates: np.ndarray
    correlation: np.ndarray
    tree: np.ndarray
    reproduced: np.ndarray
    co_occurrence: np.ndarray
    lengths: np.ndarray
    agreement: np.ndarray
    n_components: int

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.labels.max()) + 1


def group_units(
    stretches: Sequence[Stretch],
    rng: np.random.Generator,
    *,
    n_groups: int | None = None,
    most_groups: int = 8,
    width: float = 0.2,
    block: float | None = None,
    rate_weight: float = 1.0,
) -> Grouping:
    """Group units by rate and common modulation.

    Parameters
    ----------
    stretches : sequence of Stretch
        Of the same N units, each of which fires, with known ends.
    rng : Generator
        Of halvings and resamples; the groups themselves depend on it only through the chosen number.
    n_groups : int or None
        None: the largest number, up to `most_groups` and below N, of which every group is reproduced by halves of the
        recording, see `reproducibility` and `REPRODUCED`; one if there is none.
    most_groups : int
    width, block : float, s
        Of the Gaussian, and of a block of time.
    rate_weight : float
        0 leaves the rate out: for populations whose units differ in rate.

    Raises
    ------
    InputError
        A unit is silent, there are fewer units than groups, the recording is too short, or, with a weight of 0, nothing
        is left to group by.
    """
    counts = _spike_counts(stretches, n_groups)
    blocks = smoothed_blocks(stretches, width=width, block=block)
    everything = np.arange(len(blocks))
    points = coordinates(blocks, everything, rate_weight)
    if rate_weight == 0 and points.shape[1] == 1 and n_groups != 1:
        raise InputError(
            "rate_weight 0: expected units that are modulated together beyond shot noise, found none to group by; "
            "a longer recording or another --width may show them"
        )
    reproduced = reproducibility(blocks, rate_weight, max(1, min(most_groups, len(counts) - 1)), rng)
    if n_groups is None:
        n_groups = 1 + int(np.flatnonzero(reproduced >= REPRODUCED)[-1])
    rates, _, length = blocks.moments(everything)
    labels = _by_rate(partitions(points, n_groups)[-1], rates)
    co_occurring = co_occurrence(blocks, rate_weight, n_groups, rng)
    lengths, agreement = agreement_by_length(blocks, rate_weight, labels, rng)
    return Grouping(
        labels=labels,
        rates=counts / length,
        correlation=shared_modulation(blocks),
        tree=ward_tree(points),
        reproduced=reproduced,
        co_occurrence=co_occurring,
        lengths=lengths,
        agreement=agreement,
        n_components=points.shape[1] - 1,
    )


def _spike_counts(stretches: Sequence[Stretch], n_groups: int | None) -> np.ndarray:
    """Return the spikes of each unit, (N,); InputError if a unit has none, or there are fewer units than groups."""
    counts = np.array([[len(times) for times in stretch.times] for stretch in stretches]).sum(axis=0)
    N = len(counts)
    if N == 0 or not counts.all():
        raise InputError(f"units: expected at least one, each with spikes, got {counts.tolist()} spikes")
    if n_groups is not None and not 1 <= n_groups <= N:
        raise InputError(f"groups: expected 1 to {N}, the number of units that fire, got {n_groups}")
    return counts


def _by_rate(labels: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return the labels, with groups numbered by their mean rate, lowest first."""
    groups, numbers = np.unique(labels, return_inverse=True)
    means = [rates[labels == group].mean() for group in groups]
    return np.argsort(np.argsort(means))[numbers]
