"""Which candidate predicts held-out data best: scores by fold, their means, and paired differences to the best."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from src.evaluation.scores import bits_per_spike
from src.inference.spike_likelihood import mean_of_filters
from src.utils.text import align

CONFIDENCE = 0.95
"""Of the interval about a difference that must not hold 0 if it is to be taken for one."""
CAVEAT = (
    "Standard errors are over {folds} folds, which share most of their training data: they are rough, and rather too "
    "small."
)


@dataclass(frozen=True)
class FoldScore:
    """How well a candidate predicts what a fold holds out.

    Parameters
    ----------
    ln_p : dict of str to array, (repeats, parts)
        Of each prediction, by its name, ln p(held-out spikes | model) of independent parts, such as trials, in each
        repeat of a Monte Carlo estimate; a single one where it is none.
    ln_p_constant : float
        Of constant rates, the same for all candidates.
    spikes : int
        That are held out.
    """

    ln_p: dict[str, np.ndarray]
    ln_p_constant: float
    spikes: int

    def bits(self, measure: str) -> float:
        """Return bits per spike."""
        return bits_per_spike(mean_of_filters(self.ln_p[measure])[0], self.ln_p_constant, self.spikes)

    def monte_carlo_error(self, measure: str) -> float:
        """Return the standard error of `bits` that comes from the Monte Carlo estimate; 0 where there is none."""
        return mean_of_filters(self.ln_p[measure])[1] / (self.spikes * np.log(2))


@dataclass(frozen=True)
class Row:
    """A candidate in the ranking by one measure; all in bits per spike.

    Parameters
    ----------
    name : str
    n_fitted : int
        Fitted numbers.
    by_fold : array, (folds,)
    mean, error : float
        Over folds, and its standard error.
    to_best : array, (folds,)
        Difference to the best candidate in the same fold.
    difference, difference_error : float
        Its mean, and the standard error of that.
    monte_carlo_error : float
        Of the mean.
    """

    name: str
    n_fitted: int
    by_fold: np.ndarray
    mean: float
    error: float
    to_best: np.ndarray
    difference: float
    difference_error: float
    monte_carlo_error: float

    @property
    def folds_better(self) -> int:
        """Number of folds in which it is better than the best on average."""
        return int((self.to_best > 0).sum())

    @property
    def told_apart(self) -> bool:
        """Whether its mean difference to the best exceeds `enough` standard errors."""
        return abs(self.difference) > enough(len(self.by_fold)) * self.difference_error


def enough(folds: int) -> float:
    """Return how many standard errors a mean difference must exceed: the two-sided quantile of Student's t.

    The standard error is known from the same few folds; with two of them 2 standard errors come by chance in 30 %.
    """
    return float(scipy.special.stdtrit(folds - 1, (1 + CONFIDENCE) / 2))


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean of independent values, (n,)."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def ranked(scores: Mapping[str, Sequence[FoldScore]], n_fitted: Mapping[str, int], measure: str) -> list[Row]:
    """Return the candidates, the best on average first.

    All folds count equally, however many spikes they hold, because what is judged is the scatter from fold to fold: the
    mean is that of bits per spike of the folds, not the bits of all folds over their spikes.

    Parameters
    ----------
    scores : mapping of str to sequence of FoldScore
        By candidate, fold by fold; two folds or more.
    n_fitted : mapping of str to int
        Fitted numbers of each.
    measure : str
        Key of `FoldScore.ln_p`.
    """
    bits = {name: np.array([fold.bits(measure) for fold in folds]) for name, folds in scores.items()}
    order = sorted(bits, key=lambda name: -bits[name].mean())
    return [row_of(name, n_fitted[name], scores[name], bits[order[0]], measure) for name in order]


def row_of(name: str, n_fitted: int, folds: Sequence[FoldScore], best: np.ndarray, measure: str) -> Row:
    """Return the row of a candidate beside the scores of the best one, (folds,) in bits per spike."""
    bits = np.array([fold.bits(measure) for fold in folds])
    noise = np.array([fold.monte_carlo_error(measure) for fold in folds])
    return Row(
        name=name,
        n_fitted=n_fitted,
        by_fold=bits,
        mean=float(bits.mean()),
        error=standard_error(bits),
        to_best=bits - best,
        difference=float((bits - best).mean()),
        difference_error=standard_error(bits - best),
        monte_carlo_error=float(np.sqrt((noise**2).sum()) / len(noise)),
    )


def ranking_table(rows: Sequence[Row]) -> str:
    """Return a table of the ranking; none is called the best where all are worse than constant rates."""
    head = ["candidate", "fitted", "bits per spike", "s.e.", "to the best", "s.e.", "better in"]
    lines, first = [head], "best" if rows[0].mean > 0 else "-"
    if rows[0].mean <= 0:
        head[4] = "to the first"
    for row in rows:
        one = [row.name, str(row.n_fitted), f"{row.mean:+.4f}", f"{row.error:.4f}"]
        other = [f"{row.difference:+.4f}", f"{row.difference_error:.4f}", f"{row.folds_better} of {len(row.by_fold)}"]
        lines.append([*one, *([first, "", ""] if row is rows[0] else other)])
    return align(lines)


def ranking_in_words(rows: Sequence[Row]) -> list[str]:
    """Return what the ranking says and what it does not, in sentences."""
    best, *others = rows
    alike = [row.name for row in others if not row.told_apart]
    worse = [row.name for row in others if row.told_apart]
    n_folds, lines = len(best.by_fold), []
    if best.mean <= 0:
        lines.append(
            f"All are worse than constant rates, {best.name} by {-best.mean:.3g} bits per spike and the others by "
            "more: none is the best."
        )
    limit = f"{enough(n_folds):.1f} standard errors, {CONFIDENCE:.0%} of Student's t for {n_folds} folds"
    limit = limit.replace("%", " %")
    if alike:
        lines.append(f"Cannot be told apart from {best.name}: the difference is within {limit}: {'; '.join(alike)}.")
    if worse:
        lines.append(f"Worse than {best.name} by more than {'that' if alike else limit}: {'; '.join(worse)}.")
    noise, scatter = max(row.monte_carlo_error for row in rows), min(row.difference_error for row in others)
    if noise > 0:
        said = f"Monte Carlo error of a mean score: at most {noise:.4f} bits per spike"
        lines.append(
            said
            + (f", too much beside standard errors of {scatter:.4f}; see --particles." if 2 * noise > scatter else ".")
        )
    return [*lines, CAVEAT.format(folds=n_folds)]


def row_as_dict(row: Row) -> dict[str, Any]:
    """Return a row as JSON can hold it."""
    arrays = {key: value.tolist() for key, value in vars(row).items() if isinstance(value, np.ndarray)}
    return {**vars(row), **arrays, "folds_better": row.folds_better, "told_apart": row.told_apart}


def ranking_csv(rankings: Mapping[str, Sequence[Row]]) -> str:
    """Return rankings, by measure, as CSV: a line for each candidate, its folds last."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    first = next(iter(rankings.values()))[0]
    columns = [key for key, value in row_as_dict(first).items() if not isinstance(value, list)]
    folds = [f"fold_{k + 1}" for k in range(len(first.by_fold))]
    writer.writerow(["measure", "rank", *columns, *folds])
    for measure, rows in rankings.items():
        for rank, row in enumerate(rows, 1):
            writer.writerow([measure, rank, *(row_as_dict(row)[key] for key in columns), *row.by_fold.tolist()])
    return text.getvalue()
