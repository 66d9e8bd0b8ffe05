"""Find out which recorded units belong to one population: ``python -m src.grouping my_spikes.csv``.

Units are grouped by their rate and by what they do together (`src.grouping.distance` says how). The folder --output
gets ``units.csv``, the table ``unit,population``, and the figures ``groups.png`` and ``stability.png``.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from src.data.intervals import used_intervals
from src.data.observed import both, union, watched_by_all
from src.data.options import SourceOptions
from src.data.read import read_units
from src.data.spike_trains import UNKNOWN, SpikeTrains
from src.grouping.clustering import REPRODUCED, Grouping, adjusted_rand_index, group_units
from src.grouping.figure import groups_figure, stability_figure, unit_order
from src.plots.style import save_figure
from src.utils.exceptions import InputError
from src.utils.files import check_can_be_folder, write_whole
from src.utils.settings import names_options, option, parse
from src.utils.text import moment, some

TABLE, GROUPS, STABILITY = "units.csv", "groups.png", "stability.png"
FEW_SPIKES = 20
UNSURE = 0.8
"""A unit that is with the others of its group in a smaller part of the resamples is pointed out."""


@dataclass(frozen=True)
class GroupingSettings(SourceOptions):
    """Options of the command; those of the recording stand in `src.data.options`."""

    data: str = option(
        "dataset/3pop_noinput_small",
        "recording: NWB file, CSV file or NumPy archive of spike times (docs/data.md), or a data set",
        positional=True,
    )
    groups: int | None = option(
        None, "number of groups; without it the largest of which halves of the recording find every group", at_least=1
    )
    max_groups: int = option(8, "largest number of groups that is looked at", at_least=2, at_most=100)
    names: str | None = option(
        None, 'names of the groups by rising rate, such as "E1,E2,I"; without it they are numbers from 0'
    )
    output: str = option("result/grouping", "folder for the table and the figures")
    overwrite: bool = option(False, "replace a table that exists")
    Nsampled: int = option(
        3, "neurons of each population that count as units, in a data set", at_least=1, sets="n_sampled"
    )
    population_column: str | None = option(
        None, "column of DATA that says the populations, to judge by; without it population, where there is one"
    )
    width: float = option(
        0.2, "standard deviation of the Gaussian that smooths the trains", unit="s", at_least=0.005, at_most=100
    )
    block: float | None = option(
        None, "block of time for resampling; without it 1 s, more in long recordings", unit="s", above=0
    )
    rate_weight: float = option(
        1.0, "0 groups by co-modulation alone: where rates differ within a population", at_least=0, at_most=100
    )
    seed: int = option(0, "of the resampling", at_least=0)


def used_part(trains: SpikeTrains, end: float | None, trials: str | None = None) -> tuple[SpikeTrains, list[str]]:
    """Return what can be grouped, all stretches with an end and all units with spikes, and notes about the rest.

    Stretches are cut where a unit was not observed: what units do together is seen only where all of them were.

    Parameters
    ----------
    trains : SpikeTrains
    end : float or None, s
        Nothing from here on is used. None: everything is; a stretch of which nobody says when it ends does so with the
        last spike of all.
    trials : str or None
        Name of a table of intervals: nothing outside of them is used.

    Raises
    ------
    InputError
        The recording does not last until `end` or begins later, no unit fires before it, no interval lies within it, or
        units were never observed together.
    """
    ends = [stretch.end for stretch in trains.stretches]
    last = max(times.max() for stretch in trains.stretches for times in stretch.times if len(times))
    longest = max(last if stop is None else stop for stop in ends)
    if end is not None and None not in ends and end > longest + 1e-9:
        raise InputError(f"--end_timepoint: expected at most {longest:g} s, the length of {trains.source}, got {end:g}")
    first = min(stretch.start for stretch in trains.stretches)
    if end is not None and end <= first:
        raise InputError(
            f"--end_timepoint: expected more than {moment(first)} s, where what is used begins, got {moment(end)}"
        )
    intervals, notes = (None, []) if trials is None else used_intervals(trials, trains)
    stretches, left, total = [], 0.0, 0.0
    for k, stretch in enumerate(trains.stretches):
        stop = stretch.end if stretch.end is not None else last if end is None else end
        stop = stop if end is None else min(stop, end)
        if stop <= stretch.start:
            continue
        parts = np.array([[stretch.start, stop]])
        if intervals is not None:
            parts = both(parts, union(np.array([[i.start, i.end] for i in intervals if i.stretch == k]).reshape(-1, 2)))
        total += float(np.diff(parts).sum())
        parts = both(parts, watched_by_all(stretch, stop))
        left += float(np.diff(parts).sum())
        for begin, until in parts.tolist():
            kept = tuple(times[(times >= begin) & (times <= until)] for times in stretch.times)
            stretches.append(replace(stretch, times=kept, begin=begin, end=until, observed=None))
    if not total:
        end = longest if end is None else min(longest, end)
        raise InputError(
            f"--trials: expected intervals within {trains.source}, {moment(first)} to {moment(end)} s, got none in "
            f"{trials}"
        )
    if not stretches:
        raise InputError(f"{trains.source}: expected time in which all units were observed together, got none")
    if left < total:
        notes.append(f"All units were observed together in {left:g} of {total:g} s, and nothing else is used.")
    n_spikes = np.zeros(len(trains.units), int)
    for stretch in stretches:
        n_spikes += [len(times) for times in stretch.times]
    notes, fires = [*trains.notes, *notes], np.flatnonzero(n_spikes)
    if not len(fires):
        raise InputError(f"{trains.source}: expected spikes, got none of {len(n_spikes)} units")
    silent = [unit for unit, n in zip(trains.units, n_spikes, strict=True) if n == 0]
    if silent:
        notes.append(f"No spike, so in no group and not in the table: unit {some(silent)}.")
    few = [unit for unit, n in zip(trains.units, n_spikes, strict=True) if 0 < n < FEW_SPIKES]
    if few:
        notes.append(f"Fewer than {FEW_SPIKES} spikes, hardly anything to judge by: unit {some(few)}.")
    stretches = [stretch.of_units(fires) for stretch in stretches]
    units, labels = tuple(trains.units[i] for i in fires), trains.labels and tuple(trains.labels[i] for i in fires)
    return replace(trains, units=units, labels=labels, stretches=tuple(stretches)), notes


def certainty(grouping: Grouping) -> np.ndarray:
    """Return for each unit how often it fell together with the others of its group, on average over them, (N,).

    For a unit alone in its group: how often it was not with the unit that it was with most often.
    """
    same = grouping.labels[:, None] == grouping.labels
    np.fill_diagonal(same, False)
    others = np.where(same | np.eye(len(same), dtype=bool), 0, grouping.co_occurrence)
    alone = 1 - others.max(axis=1)
    n = same.sum(axis=1)
    return np.where(n > 0, (grouping.co_occurrence * same).sum(axis=1) / np.maximum(n, 1), alone)


def describe_groups(grouping: Grouping, trains: SpikeTrains, names: Sequence[str], given: bool) -> list[str]:
    """Return lines that say what was found and how far to trust it.

    Parameters
    ----------
    grouping : Grouping
    trains : SpikeTrains
        What was grouped.
    names : sequence of str, (n_groups,)
    given : bool
        Whether the user gave the number of groups.
    """
    K, sure = grouping.n_groups, certainty(grouping)
    # Beside the groups: a finer division than that of the labels is no error, though it lowers the index below.
    labels = ["label", *trains.labels] if trains.labels else []
    width = max(map(len, labels), default=0)
    said = [f"  {label:>{width}}" for label in labels] or [""] * (1 + len(trains.units))
    lines = [f"{'unit':>12}  {'rate (Hz)':>9}{said[0]}  group  resamples with its group"]
    lines += [
        f"{trains.units[i]:>12}  {grouping.rates[i]:9.1f}{said[1 + i]}  {names[grouping.labels[i]]:>5}  {sure[i]:.2f}"
        + (" unsure" if sure[i] < UNSURE else "")
        for i in sorted(unit_order(grouping), key=lambda i: grouping.labels[i])
    ]
    scores = ", ".join(f"{k}: {score:.2f}" for k, score in enumerate(grouping.reproduced[1:], 2))
    lines += ["", f"Components of co-modulation above shot noise: {grouping.n_components}."]
    if scores:
        lines.append(f"Number of groups and how well halves of the recording find the worst of them: {scores}.")
    if given and 1 < K <= len(grouping.reproduced) and grouping.reproduced[K - 1] < REPRODUCED:
        lines.append(f"Distrust {K} groups: below {REPRODUCED:g}, halves of the recording do not find the same ones.")
    if not given and K == 1:
        lines.append("One group: no division of the units comes back in halves of the recording.")
    if not given and K == len(grouping.reproduced) > 1:
        lines.append(f"{K} is the largest number that was looked at, so there may be more: see --max_groups, --groups.")
    if trains.labels and UNKNOWN not in trains.labels:
        index = adjusted_rand_index(grouping.labels, np.array(trains.labels))
        lines.append(f"Adjusted Rand index against the populations that {trains.source} knows: {index:.2f}.")
    return lines


def groups_csv(grouping: Grouping, units: Sequence[str], names: Sequence[str]) -> str:
    """Return the CSV table ``unit,population``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["unit", "population"])
    writer.writerows([unit, names[label]] for unit, label in zip(units, grouping.labels, strict=True))
    return text.getvalue()


def group_names(text: str | None, n_groups: int) -> list[str]:
    """Return the names of the groups.

    Raises
    ------
    InputError
        The names are not one for each group, or two are the same.
    """
    if text is None:
        return [str(group) for group in range(n_groups)]
    names = [name.strip() for name in text.split(",")]
    if len(names) != n_groups or len(set(names)) < n_groups or not all(names):
        raise InputError(f"--names: expected {n_groups} different names, one for each group, got {text!r}")
    return names


@names_options(GroupingSettings)
def main(argv: Sequence[str] | None = None) -> None:
    """Group the units of a recording; write the table and the figures."""
    settings = parse(GroupingSettings, (__doc__ or "").splitlines()[0], argv)
    output = Path(settings.output)
    check_can_be_folder(output)
    if (output / TABLE).exists() and not settings.overwrite:
        raise InputError(f"{output / TABLE}: exists already; give --overwrite to replace it, or another --output")
    read, _ = read_units(settings.data, settings.Nsampled, settings)
    trains, notes = used_part(read, settings.end_timepoint, settings.trials)
    grouping = group_units(
        trains.stretches,
        np.random.default_rng(settings.seed),
        n_groups=settings.groups,
        most_groups=settings.max_groups,
        width=settings.width,
        block=settings.block,
        rate_weight=settings.rate_weight,
    )
    names = group_names(settings.names, grouping.n_groups)
    title = f"{len(trains.units)} units, {grouping.lengths[-1]:.4g} s: {grouping.n_groups} group"
    title += "s" * (grouping.n_groups > 1)
    figures = {
        GROUPS: groups_figure(grouping, trains.units, names, title),
        STABILITY: stability_figure(grouping, names, f"How stable: {title}"),
    }
    for note in notes:
        print(note)
    print("\n".join(describe_groups(grouping, trains, names, settings.groups is not None)))
    for name, figure in figures.items():
        save_figure(output / name, figure)
    write_whole(output / TABLE, lambda file: file.write(groups_csv(grouping, trains.units, names).encode()))
    print(f"\nwritten: {', '.join(str(output / name) for name in (TABLE, GROUPS, STABILITY))}")
