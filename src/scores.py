"""Scores of predicted spikes in bits per spike: what they are, sums of them, table and CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import xlog1py, xlogy

from src.tables import align


@dataclass(frozen=True)
class Score:
    """How well a unit was predicted.

    Parameters
    ----------
    unit : str
        Population and number, from 0.
    population : str
    fold : int
        Of the units that were left out together; -1 for the sum of several.
    bins, spikes : int
        That are scored.
    rate : float, Hz
    ln_p, ln_p_others, ln_p_constant : float
        ln p(spikes | model) with own past, from the others, and of the constant rate.
    """

    unit: str
    population: str
    fold: int
    bins: int
    spikes: int
    rate: float
    ln_p: float
    ln_p_others: float
    ln_p_constant: float

    @property
    def with_own_past(self) -> float:
        """Bits per spike with the unit's own past."""
        return bits_per_spike(self.ln_p, self.ln_p_constant, self.spikes)

    @property
    def from_others(self) -> float:
        """Bits per spike without it."""
        return bits_per_spike(self.ln_p_others, self.ln_p_constant, self.spikes)


def bits_per_spike(ln_p_model: float, ln_p_constant: float, n_spikes: int) -> float:
    """Return (ln p(spikes | model) - ln p(spikes | constant rate)) / (n_spikes ln 2); NaN without spikes."""
    return (ln_p_model - ln_p_constant) / (n_spikes * np.log(2)) if n_spikes else np.nan


def ln_p_bins(spikes: np.ndarray, probability: np.ndarray | float) -> float:
    """Return ln p of spikes, 0 or 1 in each bin, that come independently with this probability."""
    return float((xlogy(spikes, probability) + xlog1py(1.0 - spikes, -np.asarray(probability))).sum())


def together(scores: Sequence[Score], name: str) -> Score:
    """Return the score of several units as if they were one."""
    sums = {key: sum(getattr(one, key) for one in scores) for key in ("bins", "spikes", "ln_p", "ln_p_others")}
    rate, constant = float(np.mean([one.rate for one in scores])), sum(one.ln_p_constant for one in scores)
    return Score(f"all {len(scores)}", name, -1, rate=rate, ln_p_constant=constant, **sums)


def summed(scores: Sequence[Score]) -> list[Score]:
    """Return a score for each population, and one for all units."""
    names = list(dict.fromkeys(one.population for one in scores))
    groups = [together([one for one in scores if one.population == name], name) for name in names]
    return [*groups, together(scores, "")]


def table(scores: Sequence[Score]) -> str:
    """Return a table of the scores, one row a unit, then one for each population and one for all."""
    rows = [["unit", "population", "spikes", "rate (Hz)", "from the others", "with own past"]]
    for one in [*scores, *summed(scores)]:
        bits = [f"{value:+.3f}" if np.isfinite(value) else "-" for value in (one.from_others, one.with_own_past)]
        rows.append([one.unit, one.population, str(one.spikes), f"{one.rate:.2f}", *bits])
    return align(rows) + "\nBits per spike, against the unit's mean rate."


def plain(one: Score) -> dict[str, Any]:
    """Return a score as JSON can hold it, in bits per spike too: null for a unit without spikes."""
    bits = {"bits_per_spike_from_others": one.from_others, "bits_per_spike_with_own_past": one.with_own_past}
    return {**asdict(one), **{name: float(value) if np.isfinite(value) else None for name, value in bits.items()}}


def as_csv(scores: Sequence[Score]) -> str:
    """Return the scores of the units as CSV."""
    text, rows = io.StringIO(), [plain(one) for one in scores]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
