"""How often populations are found from spikes alone: adjusted Rand index over seeds of the network and of surrogates.

    python -m benchmarks.grouping

makes 10 s of the winner-take-all network per seed and groups nine units (the first three of each population), ten
disjoint sets of nine, and thirty. Everything was chosen on the seeds 1001 to 1060 (--first 1001 --seeds 60); other
seeds judge. The second table shows units whose rates differ within their population, where grouping by rate misleads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import lfilter
from tqdm import tqdm

import simulate_micro
from src.data.spike_trains import Stretch, stretch_of_bins
from src.grouping.clustering import adjusted_rand_index, group_units, partitions
from src.grouping.distance import coordinates, smoothed_blocks
from src.statistics.switching import find_switches
from src.utils.settings import option, parse, run_script

WIDTH = 0.2  # s, the default of the command


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    first: int = option(2, "first seed of the network; seed 1 is the shipped data set", at_least=0)
    seeds: int = option(30, "number of seeds", at_least=1)
    duration: float = option(10.0, "length of each recording", unit="s", at_least=5, at_most=1000)
    surrogates: int = option(40, "surrogate recordings in each row of the second table", at_least=1)


@dataclass(frozen=True)
class Row:
    """What was found in one recording: switches, share of the time that E1 wins, and adjusted Rand indices.

    Parameters
    ----------
    nine, rate_alone, modulation_alone, thirty : float
        Three groups of the first three, or ten, units of each population; by some coordinates only.
    sets : array, (10,)
        Of the disjoint sets of nine units.
    number_nine, number_thirty : int
        Number of groups that is chosen when none is given.
    """

    switches: int
    wins: float
    nine: float
    rate_alone: float
    modulation_alone: float
    thirty: float
    sets: np.ndarray
    number_nine: int
    number_thirty: int


def agreement(recorded: Stretch, truth: np.ndarray, *, part: slice = slice(None), rate_weight: float = 1.0) -> float:
    """Return the adjusted Rand index of as many groups as there are; `part` takes some coordinates, the rate first."""
    blocks = smoothed_blocks([recorded], width=WIDTH, block=None)
    points = coordinates(blocks, np.arange(len(blocks)), rate_weight)[:, part]
    if points.shape[1] == 0:
        return 0.0  # nothing to tell the units by
    return adjusted_rand_index(truth, partitions(points, len(np.unique(truth)))[-1])


def judge(seed: int, length: float) -> Row:
    """Simulate the network and group its units, which come in random order: nothing may depend on that."""
    model, _, _, recording = simulate_micro.simulate_circuit(simulate_micro.MicroSettings(seed=seed, duration=length))
    switching = find_switches(recording.rate.T, model.dt)
    M, n_steps, n_sampled = recording.sampled_spikes.shape
    every = stretch_of_bins(np.moveaxis(recording.sampled_spikes, 1, 2).reshape(-1, n_steps), model.dt)
    population, number = np.divmod(np.arange(M * n_sampled), n_sampled)
    order = np.random.default_rng(seed).permutation(M * n_sampled)

    def some(low: int, high: int) -> tuple[Stretch, np.ndarray]:
        chosen = [i for i in order if low <= number[i] < high]
        return replace(every, times=tuple(every.times[i] for i in chosen)), population[chosen]

    nine, thirty = some(0, 3), some(0, 10)
    chosen = [group_units([units[0]], np.random.default_rng(0)).n_groups for units in (nine, thirty)]
    return Row(
        switches=len(switching.times),
        wins=float((switching.state == 1).mean()),
        nine=agreement(*nine),
        rate_alone=agreement(*nine, part=slice(0, 1)),
        modulation_alone=agreement(*nine, part=slice(1, None)),
        thirty=agreement(*thirty),
        sets=np.array([agreement(*some(k, k + 3)) for k in range(0, n_sampled, 3)]),
        number_nine=chosen[0],
        number_thirty=chosen[1],
    )


def surrogate(
    rng: np.random.Generator, length: float, *, n_groups: int = 3, n_units: int = 4, spread: float, depth: float
) -> tuple[Stretch, np.ndarray]:
    """Make Poisson trains, 10 Hz on average, whose populations differ in their modulation and in nothing else.

    Parameters
    ----------
    rng : Generator
    length : float, s
    n_groups, n_units : int
        Populations, and units of each.
    spread, depth : float
        Standard deviations of the logarithm of a unit's mean rate and of the population's modulation, which is an
        Ornstein-Uhlenbeck process with a time constant of 1 s.

    Returns
    -------
    recorded : Stretch
    truth : array of int
        Populations.
    """
    dt, tau = 0.01, 1.0
    decay = np.exp(-dt / tau)
    noise = rng.standard_normal((n_groups, round(length / dt))) * np.sqrt(1 - decay**2)
    noise[:, 0] /= np.sqrt(1 - decay**2)
    shape = np.exp(depth * lfilter([1], [1, -decay], noise))
    shape /= shape.mean(axis=1, keepdims=True)
    truth = np.repeat(np.arange(n_groups), n_units)
    rates = 10 * np.exp(spread * rng.standard_normal(len(truth)))
    counts = rng.poisson(rates[:, None] * shape[truth] * dt)
    return Stretch(tuple(np.repeat(np.arange(len(row)) + 0.5, row) * dt for row in counts), 0.0, length), truth


def network_table(seeds: Sequence[int], rows: Sequence[Row]) -> str:
    """Return the table of the network's seeds and what they come to."""
    head = f"{'':8}{'':10}{'':9}{'nine units':^34}{'ten sets of nine':^20}{'thirty units':^16}\n"
    head += f"{'seed':>8}{'switches':>10}{'E1 wins':>9}"
    head += f"{'ARI':>7}{'rate':>7}{'modulation':>12}{'number':>8}{'mean ARI':>12}{'worst':>8}{'ARI':>8}{'number':>8}"
    lines = [head]
    for seed, row in zip(seeds, rows, strict=True):
        line = f"{seed:8d}{row.switches:10d}{100 * row.wins:7.0f} %{row.nine:7.2f}{row.rate_alone:7.2f}"
        line += f"{row.modulation_alone:12.2f}{row.number_nine:8d}{row.sets.mean():12.2f}{row.sets.min():8.2f}"
        lines.append(line + f"{row.thirty:8.2f}{row.number_thirty:8d}")
    lines.append(
        "rate, modulation: the same nine units by these coordinates alone. number: of groups, when not given.\n"
    )
    for name, kept in (
        ("all", rows),
        ("without a switch", [row for row in rows if not row.switches]),
        ("with switches", [row for row in rows if row.switches]),
    ):
        if kept:
            nine, sets = [row.nine for row in kept], np.concatenate([row.sets for row in kept])
            right = [sum(number == 3 for number in column) for column in zip(*map(_numbers, kept), strict=True)]
            lines.append(
                f"{name}: {len(kept)} seeds; ARI of nine units: median {np.median(nine):.2f}, worst {min(nine):.2f}; "
                f"1 in {(sets == 1).sum()} of {len(sets)} sets of nine, worst {sets.min():.2f}; three groups chosen in "
                f"{right[0]} (nine) and {right[1]} (thirty)"
            )
    return "\n".join(lines)


def _numbers(row: Row) -> tuple[int, int]:
    return row.number_nine, row.number_thirty


def surrogate_table(n: int) -> str:
    """Return the mean adjusted Rand index of surrogates, over length, depth of modulation and spread of the rates."""
    lines = [f"{'length':>8}{'depth':>8}{'spread of rates':>18}{'ARI':>8}{'--rate_weight 0':>18}"]
    for length in (10.0, 30.0):
        for depth in (0.3, 0.6):
            for spread in (0.0, 0.3, 0.6):
                made = [surrogate(np.random.default_rng(k), length, spread=spread, depth=depth) for k in range(n)]
                found = [np.mean([agreement(*units, rate_weight=w) for units in made]) for w in (1.0, 0.0)]
                lines.append(f"{length:6.0f} s{depth:8.1f}{spread:18.1f}{found[0]:8.2f}{found[1]:18.2f}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    settings = parse(Settings, (__doc__ or "").splitlines()[0], argv)
    seeds = range(settings.first, settings.first + settings.seeds)
    rows = [judge(seed, settings.duration) for seed in tqdm(seeds, desc="seeds", disable=None)]
    print(network_table(seeds, rows))
    print(f"\n{settings.surrogates} surrogates a row: three populations of four Poisson units, 10 Hz on average\n")
    print(surrogate_table(settings.surrogates))


if __name__ == "__main__":
    run_script(main, "benchmarks.grouping")
