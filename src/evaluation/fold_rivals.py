"""Simple models beside the circuits of a comparison: trained on the same folds, scored on the same spikes."""

from collections.abc import Mapping, Sequence

import numpy as np

from src.evaluation.duels import IN_WORDS
from src.evaluation.fold_fits import Fold
from src.evaluation.ranking import FoldScore, Row, row_of
from src.evaluation.rivals import rivals_of_trials, rivals_of_units, train_rivals
from src.model.containers import Model
from src.utils.text import align, capital

Scores = dict[str, dict[str, list[FoldScore]]]
"""By measure and rival, fold by fold."""


def scores_of_rivals(folds: Sequence[Fold], model: Model) -> Scores:
    """Train the rivals on every fold, and score them on what it holds out.

    Parameters
    ----------
    folds : sequence of Fold
    model : Model
        Of the candidate whose populations the rivals know: units of a population share what they share.
    """
    found: Scores = {}
    for fold in folds:
        for measure, rivals in _ln_p(fold, model).items():
            for rival, ln_p in rivals.items():
                one = FoldScore({measure: np.atleast_2d(ln_p)}, fold.ln_p_constant, fold.spikes)
                found.setdefault(measure, {}).setdefault(rival, []).append(one)
    return found


def _ln_p(fold: Fold, model: Model) -> dict[str, dict[str, np.ndarray]]:
    """Return ln p by measure and rival, of parts of what is held out."""
    if fold.units is None:
        rivals = train_rivals(fold.training, model, earlier=True)
        return {"held-out time": rivals_of_trials(rivals, fold.held_out, model)}
    rivals = train_rivals(fold.training, model)
    by_unit = list(rivals_of_units(fold.units, rivals, fold.held_out, model, own_rates=False).values())
    return {
        which: {rival: np.array([one[which][rival] for one in by_unit]) for rival in names}
        for which, names in by_unit[0].items()
    }


def rival_rows(best: Row, scores: Mapping[str, Sequence[FoldScore]], measure: str) -> list[Row]:
    """Return the rivals, with their differences to the best circuit; the best rival first."""
    rows = [row_of(name, 0, folds, best.by_fold, measure) for name, folds in scores.items()]
    return sorted(rows, key=lambda row: -row.mean)


def rivals_table(rows: Sequence[Row], best: Row) -> str:
    """Return a table of the rivals beside the best circuit."""
    lines = [["rival", "bits per spike", "s.e.", f"to {best.name}", "s.e.", "better in"]]
    for row in rows:
        found = [f"{row.mean:+.4f}", f"{row.error:.4f}", f"{row.difference:+.4f}", f"{row.difference_error:.4f}"]
        lines.append([row.name, *found, f"{row.folds_better} of {len(row.by_fold)}"])
    return align(lines)


def rivals_in_words(rows: Sequence[Row], best: Row) -> list[str]:
    """Return how the best circuit stands beside its rivals, in sentences."""
    better = [row for row in rows if row.told_apart and row.difference > 0]
    tied = [row for row in rows if not row.told_apart]
    lines = []
    if better:
        first = better[0]
        numbers = f"{first.mean:.4f} against {best.mean:.4f} bits per spike"
        lines.append(f"{capital(_named(better[:1]))} predicts better than {best.name}: {numbers}.")
        lines += [f"Better than {best.name} as well: {_named(better[1:])}."] if better[1:] else []
    if tied:
        lines.append(f"Cannot be told apart from {best.name}: {_named(tied)}.")
    behind = [row for row in rows if row.told_apart and row.difference < 0]
    if behind:
        which = "the others" if lines else "all of these"
        lines.append(f"{best.name} predicts better than {which}.")
    return lines


def _named(rows: Sequence[Row]) -> str:
    return "; ".join(IN_WORDS.get(row.name, row.name) for row in rows)
