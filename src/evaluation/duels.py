"""A fit beside its rivals: paired differences over units, a table, and what it says in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from src.evaluation.ranking import CONFIDENCE, enough
from src.evaluation.rivals import CONSTANT, OWN, SMOOTHED
from src.evaluation.scores import Score, summed
from src.utils.text import align, capital, signed

IN_WORDS = {
    SMOOTHED: "the smoothed mean of their population",
    CONSTANT: "their mean rate before",
    OWN: "each unit's own history alone",
    "2 states": "a two-state hidden Markov model",
    "3 states": "a three-state hidden Markov model",
    "2 states, history": "a two-state hidden Markov model with renewal history",
    "3 states, history": "a three-state hidden Markov model with renewal history",
}
CAVEAT = (
    "Differences: the fit less the rival, in bits per spike; standard errors over {units} units, which share the same "
    "time: they are rough."
)


class Scored(Protocol):
    """A score, as it was made or as a file holds it; bits per spike by prediction, and by prediction and rival."""

    @property
    def unit(self) -> str:
        """Name."""

    @property
    def population(self) -> str:
        """Empty for all units together."""

    @property
    def spikes(self) -> int:
        """That are scored."""

    @property
    def bits(self) -> dict[str, float]:
        """Of the fit."""

    @property
    def rivals(self) -> dict[str, dict[str, float]]:
        """Of the rivals."""


@dataclass(frozen=True)
class Duel:
    """A fit against a rival; all in bits per spike of all units.

    Parameters
    ----------
    prediction, rival : str
    fit, other : float
        What both have.
    error : float
        Standard error of the difference, paired over units; NaN with fewer than two.
    units : int
    """

    prediction: str
    rival: str
    fit: float
    other: float
    error: float
    units: int

    @property
    def difference(self) -> float:
        """Of the fit to the rival; above 0 where the fit is better."""
        return self.fit - self.other

    @property
    def told_apart(self) -> bool:
        """Whether the difference is beyond chance, by Student's t; see `src.evaluation.ranking.enough`."""
        return bool(abs(self.difference) > enough(self.units) * self.error) if self.units > 1 else False


def duels(units: Sequence[Scored], all_units: Scored) -> list[Duel]:
    """Return the fit against every rival in every prediction; units without spikes have nothing to say.

    The difference is that of all spikes together, so units count by their spikes; its standard error is that of a ratio
    of two sums over units.
    """
    heard = [one for one in units if one.spikes]
    spikes = np.array([one.spikes for one in heard], float)
    found = []
    for which, rivals in all_units.rivals.items():
        for rival, other in rivals.items():
            each = np.array([one.bits[which] - one.rivals[which][rival] for one in heard])
            error = _error_of_ratio(each * spikes, spikes) if len(heard) > 1 else np.nan
            found.append(Duel(which, rival, all_units.bits[which], other, error, len(heard)))
    return [duel for duel in found if np.isfinite(duel.difference)]


def _error_of_ratio(tops: np.ndarray, bottoms: np.ndarray) -> float:
    """Return the standard error of sum(tops) / sum(bottoms) over independent pairs."""
    n, ratio = len(tops), tops.sum() / bottoms.sum()
    return float(np.sqrt(n / (n - 1) * ((tops - ratio * bottoms) ** 2).sum()) / bottoms.sum())


def duel_rows(units: Sequence[Scored], populations: Sequence[Scored], all_units: Scored) -> list[list[str]]:
    """Return a header and rows: of each prediction the fit, then its rivals; empty where there are no rivals."""
    found = {(duel.prediction, duel.rival): duel for duel in duels(units, all_units)}
    together = [*populations, all_units]
    rows = [["prediction", "by", *(one.population or "all units" for one in together), "fit ahead by", "s.e."]]
    for which, rivals in all_units.rivals.items():
        rows.append([which, "the fit", *(signed(one.bits[which]) for one in together), "", ""])
        for rival in rivals:
            duel = found.get((which, rival))
            ahead = [signed(duel.difference), f"{duel.error:.3f}"] if duel else ["-", "-"]
            rows.append(["", rival, *(signed(one.rivals[which][rival]) for one in together), *ahead])
    return rows if len(rows) > 1 else []


def verdicts(units: Sequence[Scored], all_units: Scored) -> list[str]:
    """Return what the rivals, and constant rates, say about a fit: a sentence or two for each prediction."""
    lines = []
    found = duels(units, all_units)
    for which in all_units.bits:
        lines += _worse_than_constant(which, all_units.bits[which])
        against = [duel for duel in found if duel.prediction == which]
        if against:
            lines.append(_verdict(against))
    return lines


def bad_news(units: Sequence[Scored], all_units: Scored) -> list[str]:
    """Return those of `verdicts` that speak against the fit."""
    better = [duel for duel in duels(units, all_units) if duel.told_apart and duel.difference < 0]
    lines = [line for which, bits in all_units.bits.items() for line in _worse_than_constant(which, bits)]
    names = dict.fromkeys(duel.prediction for duel in better)
    return lines + [_verdict([duel for duel in better if duel.prediction == which]) for which in names]


def _worse_than_constant(which: str, bits: float) -> list[str]:
    said = f"{capital(which)}: the fit is worse than a constant rate by {amount(-bits)} bits per spike."
    return [said] if bits < 0 else []


def _verdict(against: Sequence[Duel]) -> str:
    """Say how a fit does in one prediction: beaten for certain, tied, or ahead; the best such rival is named first."""
    better = [duel for duel in against if duel.told_apart and duel.difference < 0]
    chosen = better or [duel for duel in against if not duel.told_apart] or list(against)
    first, *more = sorted(chosen, key=lambda duel: -duel.other)
    which, who = capital(first.prediction), _who(first)
    if first.units < 2:
        numbers = f"{who} has {first.other:.3f}, the fit {first.fit:.3f} bits per spike"
        return f"{which}: {numbers}; one unit alone gives no standard error."
    apart = f"a difference of {abs(first.difference):.3f}, standard error {first.error:.3f}"
    if better:
        numbers = f"{first.other:.3f} against {first.fit:.3f} bits per spike, {apart}"
        also = "".join(f" So does {_who(duel)}." for duel in more)
        return f"{which}: {who} predicts these units better: {numbers}.{also}"
    numbers = f"{first.fit:.3f} against {first.other:.3f} bits per spike, {apart}"
    if not first.told_apart:
        also = f" So it does with {' and '.join(map(_who, more))}." if more else ""
        return f"{which}: the fit ties with {who}: {numbers}.{also}"
    return f"{which}: the fit is better than its rivals; the best of them is {who}: {numbers}."


def _who(duel: Duel) -> str:
    return IN_WORDS.get(duel.rival, duel.rival)


def amount(bits: float) -> str:
    """Return bits per spike without sign, in three decimals or, where there are many, in one."""
    return f"{bits:.3f}" if bits < 1 else f"{bits:.1f}"


def duels_in_words(units: Sequence[Scored], populations: Sequence[Scored], all_units: Scored) -> str:
    """Return table and sentences as they are printed; without rivals, the sentences alone."""
    rows = duel_rows(units, populations, all_units)
    if not rows:
        return "\n".join(verdicts(units, all_units))
    width, n = max(len(row[1]) for row in rows), sum(one.spikes > 0 for one in units)
    said = [align([[row[0], row[1].ljust(width), *row[2:]] for row in rows]), caveat(n)]
    return "\n".join([*said, *verdicts(units, all_units)])


def caveat(n_units: int) -> str:
    """Return what to know of the differences."""
    said = CAVEAT.format(units=n_units)
    if n_units < 2:
        return said
    limit = f"{enough(n_units):.1f} of them, {CONFIDENCE:.0%} of Student's t".replace("%", " %")
    return f"{said} A tie is a difference within {limit}."


def rivals_of_scores(scores: Sequence[Score]) -> str:
    """Return `duels_in_words` of scores that have just been made."""
    *populations, all_units = summed(scores)
    return duels_in_words(scores, populations, all_units)
