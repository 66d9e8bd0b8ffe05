"""The part of a report that says how well the runs predict what they have not seen."""

import shlex
from collections.abc import Sequence

from src.evaluation.duels import caveat, duel_rows, verdicts
from src.evaluation.figure_heldout import heldout_figure
from src.evaluation.score_files import ScoreFile, bits_of_all, of_best
from src.report.cautions import names_of
from src.report.page import Picture, Section, Table, Text, drawn
from src.runs.load import Run, best_run
from src.runs.tables import score_rows
from src.utils.text import for_table, signed

DEFINITION = (
    "Bits per spike are (ln p(spikes | model) − ln p(spikes | constant rate)) / (number of spikes · ln 2). The "
    "constant is the mean rate of the unit in the scored bins, the best one that there is: above 0, the model says "
    "more than that."
)
LEFT_OUT = {
    "units": "units left out of the inference",
    "time": "the last part of the recording, kept out of the fit",
    "unseen": "units kept out of the fit",
}
"""What was left out, in words, by the keys of `src.evaluation.score_files.SCORE_FILES`."""
KNOWN = {
    "from the others": "from the others, a unit fires with the activity of its population that the other units tell",
    "with own past": "with own past, its own spikes before each bin are known as well, and most of such a score is the "
    "regularity of a single neuron",
    "forecast": "the forecast knows the spikes before that part, and none of it",
    "filtered rate": "by the filtered rate, a unit fires with the activity of its population that all spikes before "
    "each bin tell",
    "unseen units": "an unseen unit fires with the activity of its population that the other units tell",
    "unseen units with own past": "with own past, its own spikes before each bin are known as well",
    "filtered": "filtered, its own spikes before each bin count as such, too",
}
"""What predictions know, by their names."""


def heldout_section(runs: Sequence[Run]) -> Section:
    """Show the held-out scores of the best run that has any, and of all units together in every run.

    Raises
    ------
    InputError
        A file of scores is broken, or not of the fit beside it.
    """
    found, best = of_best(runs), best_run(runs)
    if not found:
        words = (
            "No run was scored on what it had not seen. train_meso.py --holdout 2 keeps the last 2 s of a recording "
            "from the fit and scores them. The scores of units, left out of the inference in turn, are made by: "
            f"python -m src.heldout {shlex.quote(str(best.folder))}"
        )
        return Section("Held-out scores", "heldout", [Text(words)])
    parts: list[Text | Table | Picture] = [Text(DEFINITION)]
    for what, (run, scores) in found.items():
        parts += _parts(f"{LEFT_OUT[what]}, {names_of([run], runs)}", scores, run)
    if len(every := bits_of_all(runs)) > 1:
        rows = score_rows(runs, best, every)
        parts.append(Table("All units together in every run, bits per spike.", rows))
    return Section("Held-out scores", "heldout", parts)


def _parts(what: str, scores: ScoreFile, run: Run) -> list[Text | Table | Picture]:
    """Show the scores in one file."""
    what = what[0].upper() + what[1:]
    known = "; ".join(KNOWN[which] for which in scores.predictions if which in KNOWN)
    words = f"{what}. Parameters: {scores.parameters}." + (f" {known[0].upper()}{known[1:]}." if known else "")
    rows = [["unit", "population", "spikes", "rate (Hz)", *scores.predictions]]
    shown = [*scores.units, *scores.populations, scores.all_units]
    for name, one in zip(for_table([one.unit for one in shown]), shown, strict=True):
        rows.append([name, one.population, str(one.spikes), f"{one.rate:.2f}", *map(signed, one.bits.values())])
    figure = drawn(f"{what}: bits per spike of every unit.", heldout_figure(scores, run.model.names))
    return [Text(words), Table(f"{what}: bits per spike.", rows), figure, *_rivals(what, scores)]


def _rivals(what: str, scores: ScoreFile) -> list[Text | Table | Picture]:
    """Show what simple models make of the same bins and units, and say how the fit stands beside them."""
    rows = duel_rows(scores.units, scores.populations, scores.all_units)
    if not rows:
        return []
    named, which = rows[:1], ""
    for row in rows[1:]:  # a reader of the page must not look upward for the prediction
        which = row[0] or which
        named.append([which, *row[1:]])
    said = " ".join(verdicts(scores.units, scores.all_units))
    note = caveat(sum(one.spikes > 0 for one in scores.units))
    return [Table(f"{what}: bits per spike of the fit and of simple models.", named), Text(f"{said} {note}")]
