"""The part of a report that says what the posterior holds, if there is one."""

from collections.abc import Sequence

from src.posterior.directions import direction_lines
from src.posterior.figures import figures_of
from src.posterior.findings import findings, in_words
from src.posterior.summary import Outcome, activity_rows, predicted_line, predicted_rows
from src.posterior.table import marginals, table_rows
from src.report.cautions import spoken
from src.report.page import Lines, Picture, Section, Table, Text, drawn
from src.runs.load import Run

MEANING = (
    "All circuits that are compatible with the recorded spikes, with the activity integrated out. Width/prior is the "
    "width of the 90 % interval over that of the prior: near 1, the spikes say nothing about the number. Effective "
    "draws are independent ones that would say as much. R-hat is 1 where walkers of different origins agree. Near a "
    "bound are draws within 2 % of the way to the lower (<) or the upper (>) one."
)


def posterior_section(outcome: Outcome, runs: Sequence[Run] = ()) -> Section:
    """Show warnings, the table, directions in words, and figures, with the fits of the runs among them.

    Raises
    ------
    InputError
        A number has neither a prior nor finite bounds.
    """
    posterior, bands, predictive = outcome
    free = posterior.model.fitted
    found = findings(posterior, bands=bands, predictive=predictive)
    units = dict(zip(free.names, free.units, strict=True))
    warnings = [
        in_words(each, spoken(each.subject) if each.subject in units else each.subject, units.get(each.subject, ""))
        for each in found
    ]
    parts: list[Text | Lines | Table | Picture] = [Lines(warnings)] if warnings else []
    parts += [
        Text(MEANING),
        Table("Median and 90 % interval of every fitted number.", table_rows(marginals(posterior))),
    ]
    parts += [Text(line) for line in direction_lines(posterior)]
    parts += [Text(predicted_line(predictive))] if predictive else []
    if rates := predicted_rows(outcome):
        parts.append(Table("Rates of free simulations, and of the recording.", rates))
    if agrees := activity_rows(outcome):
        caption = "Correlation of the inferred with the true activity, and share of the bins inside their 90 % bands."
        parts.append(Table(caption, agrees))
    fits = {run.name: run.X for run in runs if run.names == free.names}
    parts += [drawn(*shown) for shown in figures_of(posterior, bands, predictive, fits).values()]
    return Section("Posterior", "posterior", parts)
