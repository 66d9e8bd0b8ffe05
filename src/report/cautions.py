"""What the reader of a folder of trainings should be warned of, in plain words: bounds, restarts, bad predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from src.evaluation.duels import bad_news
from src.evaluation.score_files import of_best
from src.model.free_parameters import bound_reached
from src.report.check import not_like_its_data
from src.runs.findings import in_words, short_windows
from src.runs.load import Run, Training, best_run, ln_p_gap
from src.utils.text import signed

DISAGREE = 0.25
"""Share of the spread of their starts from which on restarts count as disagreeing on a number."""
TELLING = 3.0
"""Nats by which spikes must be more likely for two ways of ranking runs to count as disagreeing."""
POOR = 0.5
"""Correlation with the truth, after smoothing, below which an inferred activity counts as not recovered."""
OWN = ("train_Noinit", "SAVE_DIR", "overwrite", "threads", "LOG_PER", "no_check")
"""Settings that do not change what is fitted to what, or that have to differ from restart to restart."""


def cautions(runs: Sequence[Run]) -> list[str]:
    """Return one line for each thing that should be known before the results of these runs are believed.

    Raises
    ------
    InputError
        A file of held-out scores, or of a check, is broken, or not of the fit beside it.
    """
    return [
        *not_like_its_data(best_run(runs)),
        *too_few(runs),
        *other_settings(runs),
        *stopped_early(runs),
        *bounds_reached(runs),
        *disagreements(runs),
        *ranks_that_disagree(runs),
        *windows_too_short(best_run(runs)),
        *remarked(best_run(runs)),
        *not_recovered(best_run(runs)),
        *not_predicted(runs),
        *beaten(runs),
    ]


def spoken(name: str) -> str:
    """Return the name of a fitted number in words: ``"coupling of I"``, ``"coupling I→E1"``, ``"shared threshold"``."""
    word, _, place = name.partition(" ")
    if place == "shared":
        return f"shared {word}"
    return f"{word} {place.replace('->', '→')}" if "->" in place else f"{word} of {place}"


def names_of(some: Sequence[Run], runs: Sequence[Run]) -> str:
    """Say which of the runs are meant, the best one by that word."""
    if len(some) == len(runs):
        return {1: runs[0].name, 2: "both runs"}.get(len(runs), f"all {len(runs)} runs")
    best = best_run(runs)
    return ", ".join(f"{run.name} (the best)" if run is best else run.name for run in some)


def setting_values(runs: Sequence[Training]) -> dict[str, dict[str, Any]]:
    """Return the settings that were written down: for each one its value in every run, None where it is missing."""
    settings = {run.name: run.record.settings for run in runs}
    keys = dict.fromkeys(key for each in settings.values() for key in each)
    return {key: {name: each.get(key) for name, each in settings.items()} for key in keys}


def too_few(runs: Sequence[Run]) -> list[str]:
    """Say that there is nothing to compare a single run with."""
    if len(runs) > 1:
        return []
    return ["Only one run finished: nothing says whether another start would end at the same parameters."]


def other_settings(runs: Sequence[Run]) -> list[str]:
    """Say which settings differ, for losses of different fits do not compare."""
    values = setting_values(runs)
    differ = [f"--{key}" for key, each in values.items() if key not in OWN and len(set(map(repr, each.values()))) > 1]
    return [f"The runs differ in {', '.join(differ)}: their losses may not compare."] if differ else []


def stopped_early(runs: Sequence[Run]) -> list[str]:
    """Say which runs ended because they had used up their EM iterations."""
    limits = setting_values(runs).get("max_EMsteps", {})
    used_up = [run for run in runs if limits.get(run.name) == len(run.losses)]
    return [f"All allowed EM iterations were used by {names_of(used_up, runs)}: more may help."] if used_up else []


def bounds_reached(runs: Sequence[Run]) -> list[str]:
    """Say which numbers end at a bound, and in which runs."""
    free = best_run(runs).model.fitted
    reached = np.array([bound_reached(run.X, run.lower, run.upper) for run in runs])
    lines = []
    for k, (name, unit) in enumerate(zip(free.names, free.units, strict=True)):
        for side in ("lower", "upper"):
            there = [run for run, at in zip(runs, reached[:, k], strict=True) if at == side]
            values = {f"{getattr(run, side)[k]:.4g}" for run in there}
            if there:
                at = " or ".join(sorted(values)) + (f" {unit}" if unit else "")
                lines.append(f"{spoken(name)} ends at its {side} bound, {at}, in {names_of(there, runs)}.")
    return lines


def disagreement(runs: Sequence[Run]) -> np.ndarray:
    """Return how far restarts disagree on each fitted number, (n,): what is left of the spread of their starts.

    It is the standard deviation of the number over the finished runs (n - 1 in the denominator), in units of that of
    the distribution which their starts are drawn from, uniform over a range w: w / sqrt(12). A number that all restarts
    agree on has 0; one that stays where it happened to start has about 1. Where there is no range of starts, w is
    that between the bounds; without these, and with a single run, the measure is NaN. Runs with a higher loss count,
    too: that they found no better end is what restarts are there to show.
    """
    free = best_run(runs).model.fitted
    if len(runs) < 2:
        return np.full(len(free.names), np.nan)
    drawn, between = free.start_upper - free.start_lower, runs[0].upper - runs[0].lower
    width = np.where(np.isfinite(drawn) & (drawn > 0), drawn, between)
    spread = np.std([run.X for run in runs], axis=0, ddof=1)
    return spread / np.where(np.isfinite(width) & (width > 0), width, np.nan) * np.sqrt(12)


def disagreements(runs: Sequence[Run]) -> list[str]:
    """Say on which numbers restarts disagree: `disagreement` is at least `DISAGREE`."""
    return [
        f"Restarts disagree on {spoken(name)}: they end between {low:.4g} and {high:.4g}, "
        f"with {share:.0%} of the spread of their starts."
        for name, share, low, high in zip(
            best_run(runs).names,
            disagreement(runs),
            np.min([run.X for run in runs], axis=0),
            np.max([run.X for run in runs], axis=0),
            strict=True,
        )
        if share >= DISAGREE
    ]


def ranks_that_disagree(runs: Sequence[Run]) -> list[str]:
    """Say so where the lowest loss and the most likely spikes are those of different runs, and by how much."""
    likely = [run for run in runs if run.record.ln_p is not None]
    lowest, best = min(runs, key=lambda run: run.loss), max(likely, key=lambda run: run.record.ln_p or 0, default=None)
    if best is None or lowest.record.ln_p is None:
        return []
    gap, error = ln_p_gap(best, lowest)
    if gap < max(TELLING, 2 * error):
        return []
    counts = "The likelihood counts" if best_run(runs) is best else "The published procedure goes by the loss"
    return [
        f"Loss and likelihood disagree on which run is best: {lowest.name} has the lowest loss, but {best.name} makes "
        f"the spikes more likely, by {gap:.0f} nats. {counts}."
    ]


def remarked(run: Run) -> list[str]:
    """Say what the training itself found, priors that hold a number above all, and is not said by the others."""
    others = ("at_lower_bound", "at_upper_bound", "short_window")
    said = [each for each in run.record.findings if each.kind not in others]
    return [f"{run.name}: {in_words(each, spoken(each.subject))}" for each in said]


def windows_too_short(run: Run) -> list[str]:
    """Say for which populations the history window is short."""
    return [in_words(each, each.subject) for each in short_windows(run.X, run.model)]


def not_recovered(run: Run) -> list[str]:
    """Say of which populations the inferred activity correlates with the truth, where it is known, below `POOR`."""
    return [
        f"The activity of {name} is not recovered in {run.name}: its correlation with the truth is {value:.2f} after "
        "smoothing."
        for name, value in zip(run.model.names, run.correlation("fit_20ms"), strict=True)
        if value < POOR
    ]


def not_predicted(runs: Sequence[Run]) -> list[str]:
    """Say what held-out scores tell against the best run that has them.

    Raises
    ------
    InputError
        A file of scores is broken, or not of the fit beside it.
    """
    words = {
        "from the others": "The other units say nothing about {}: left out, its units",
        "unseen units": "The other units say nothing about {}: kept out of the fit, its units",
        "filtered rate": "Earlier spikes say nothing about {}: in the time kept out of the fit, its units",
    }
    lines = []
    for run, scores in of_best(runs).values():
        where = f"bits per spike, {names_of([run], runs)}"
        for which in filter(words.__contains__, scores.predictions):
            for one in scores.populations:
                if one.bits[which] <= 0:
                    said = words[which].format(one.population)
                    bits = signed(one.bits[which])
                    lines.append(f"{said} are predicted no better than by their mean rates: {bits} {where}.")
    return lines


def beaten(runs: Sequence[Run]) -> list[str]:
    """Say in which held-out scores simple models, or constant rates, are better than the best run that has them.

    Raises
    ------
    InputError
        A file of scores is broken, or not of the fit beside it.
    """
    return [
        f"{line[:-1]} ({names_of([run], runs)})."
        for run, scores in of_best(runs).values()
        for line in bad_news(scores.units, scores.all_units)
    ]
