"""Scores of predicted spikes: what they are, sums of them, table and CSV.

All are in bits per spike, (ln p(spikes | model) - ln p(spikes | constant rate)) / (number of spikes ln 2), where the
constant is the mean rate of the unit in the bins that are scored.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from src.data.unit_names import unit_name
from src.model.containers import Model, Recording
from src.utils.files import save_json, write_whole
from src.utils.text import align, for_table, signed

BITS, RIVAL = "bits_per_spike_", "rival_bits_per_spike_"
"""What the keys of scores in files begin with; the name of the prediction follows, with _ for blanks."""


@dataclass(frozen=True)
class Score:
    """How well a unit was predicted, by one or several predictions.

    Parameters
    ----------
    unit : str
        What it is called, see `src.data.unit_names`.
    population : str
    fold : int
        Of the units that were left out together; -1 for the sum of several, and where there are no folds.
    bins, spikes : int
        That are scored.
    rate : float, Hz
    ln_p : dict of str to float
        Of each prediction, by its name, ln p(spikes | model).
    ln_p_constant : float
        Of the constant rate.
    rivals_ln_p : dict of str to dict of str to float
        ln p of simple models, by prediction and rival; see `src.evaluation.rivals`.
    """

    unit: str
    population: str
    fold: int
    bins: int
    spikes: int
    rate: float
    ln_p: dict[str, float]
    ln_p_constant: float
    rivals_ln_p: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def bits(self) -> dict[str, float]:
        """Bits per spike of each prediction."""
        return self._in_bits(self.ln_p)

    @property
    def rivals(self) -> dict[str, dict[str, float]]:
        """Bits per spike of the rivals, by prediction and rival."""
        return {which: self._in_bits(ln_p) for which, ln_p in self.rivals_ln_p.items()}

    def _in_bits(self, ln_p: dict[str, float]) -> dict[str, float]:
        return {name: bits_per_spike(value, self.ln_p_constant, self.spikes) for name, value in ln_p.items()}


def bits_per_spike(ln_p_model: float, ln_p_constant: float, n_spikes: int) -> float:
    """Return (ln p(spikes | model) - ln p(spikes | constant rate)) / (n_spikes ln 2); NaN without spikes."""
    return (ln_p_model - ln_p_constant) / (n_spikes * np.log(2)) if n_spikes else np.nan


def ln_p_bins(spikes: np.ndarray, probability: np.ndarray | float) -> float:
    """Return ln p, in nats, of spikes that come independently in each bin.

    Parameters
    ----------
    spikes : array, (bins,), 0/1
    probability : array, (bins,), or float
        Of a spike in a bin.
    """
    return float(
        (scipy.special.xlogy(spikes, probability) + scipy.special.xlog1py(1.0 - spikes, -np.asarray(probability))).sum()
    )


def score_of(
    unit: tuple[int, int], fold: int, spikes: np.ndarray, ln_p: dict[str, float], recording: Recording, model: Model
) -> Score:
    """Return the score of a unit of a recording, population and place, from its spikes in the scored bins, and ln p."""
    n, bins, name = int(spikes.sum()), len(spikes), unit_name(unit, recording, model.names)
    constant = ln_p_bins(spikes, n / bins)
    return Score(name, model.names[unit[0]], fold, bins, n, n / (bins * model.dt), ln_p, constant)


def sum_of(scores: Sequence[Score], name: str) -> Score:
    """Return the score of several units as if they were one."""
    bins, spikes = sum(one.bins for one in scores), sum(one.spikes for one in scores)
    ln_p = _added([one.ln_p for one in scores])
    rivals = {which: _added([one.rivals_ln_p[which] for one in scores]) for which in scores[0].rivals_ln_p}
    rate, constant = float(np.mean([one.rate for one in scores])), sum(one.ln_p_constant for one in scores)
    return Score(f"all {len(scores)}", name, -1, bins, spikes, rate, ln_p, constant, rivals)


def _added(each: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in each) for name in each[0]}


def summed(scores: Sequence[Score]) -> list[Score]:
    """Return a score for each population, and one for all units."""
    names = list(dict.fromkeys(one.population for one in scores))
    groups = [sum_of([one for one in scores if one.population == name], name) for name in names]
    return [*groups, sum_of(scores, "")]


def scores_table(scores: Sequence[Score]) -> str:
    """Return a table of the scores, one row a unit, then one for each population and one for all."""
    rows, shown = [["unit", "population", "spikes", "rate (Hz)", *scores[0].ln_p]], [*scores, *summed(scores)]
    for name, one in zip(for_table([one.unit for one in shown]), shown, strict=True):
        rows.append([name, one.population, str(one.spikes), f"{one.rate:.2f}", *map(signed, one.bits.values())])
    return align(rows) + "\nBits per spike, against the unit's mean rate."


def score_as_dict(one: Score) -> dict[str, Any]:
    """Return a score as JSON can hold it, in bits per spike too: null for a unit without spikes.

    The key of a rival names it after the prediction: ``rival_bits_per_spike_from_the_others: 2 states``.
    """
    content = asdict(one)
    rivals = content.pop("rivals_ln_p")
    ln_p = {f"ln_p_{key(name)}": float(value) for name, value in content.pop("ln_p").items()}
    bits = {f"{BITS}{key(name)}": _or_none(x) for name, x in one.bits.items()}
    rival_ln_p = {f"rival_ln_p_{key(w)}: {name}": float(x) for w, each in rivals.items() for name, x in each.items()}
    rival_bits = {
        f"{RIVAL}{key(which)}: {name}": _or_none(x) for which, each in one.rivals.items() for name, x in each.items()
    }
    return {**content, **ln_p, **bits, **rival_ln_p, **rival_bits}


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def key(name: str) -> str:
    """Return the name of a prediction as it stands in files."""
    return name.replace(" ", "_")


def scores_csv(scores: Sequence[Score]) -> str:
    """Return the scores of the units as CSV."""
    text, rows = io.StringIO(), [score_as_dict(one) for one in scores]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def save_scores(path: Path, scores: Sequence[Score], parameters: str, settings: dict[str, Any]) -> None:
    """Write scores as CSV and as JSON, beside a run; `parameters` says in words what the parameters had seen."""
    content = {
        "settings": settings,
        "parameters": parameters,
        "units": [score_as_dict(one) for one in scores],
        "together": [score_as_dict(one) for one in summed(scores)],
    }
    write_whole(path.with_name(f"{path.name}.csv"), lambda file: file.write(scores_csv(scores).encode()))
    save_json(path.with_name(f"{path.name}.json"), content)
