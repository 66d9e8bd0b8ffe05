"""What a check of a fit against its data says: findings, the lines that are printed, and rows of tables."""

from collections.abc import Mapping

from src.evaluation.check_result import LEVEL, Checked, FitCheck
from src.runs.findings import worded
from src.runs.finer_bins import COARSE_WORDS
from src.runs.record import Finding
from src.statistics.recorded import KINDS
from src.utils.text import align, plural

OFF = 2.0
"""Factor from which on a free rate counts as wrong."""
EXPLODES = 10.0
"""Factor above the recorded rate that no simulation reaches by chance alone."""
NAMED = 4
"""So many statistics are named in a warning."""

WORDS = {
    "rate_off": "{called} fires at {free:.3g} Hz when the fitted circuit runs freely, and at {recorded:.3g} Hz in the "
    "recording: more than a factor of two.",
    "rate_scatters": "{called} fires at {free:.3g} Hz in the mean of free simulations, and at {recorded:.3g} Hz in the "
    "recording: more than a factor of two. Simulations as short as the recording scatter that much, from {low:.3g} to "
    "{high:.3g} Hz.",
    "rate_explodes": "{called} fires at {recorded:.3g} Hz in the recording, and at {free:.3g} Hz in the mean of free "
    "simulations, with an interval up to {high:.3g} Hz: the fitted circuit has a state that was not recorded.",
}
"""What is said of rates; what else lies outside is said in one sentence."""


def off_in_rate(check: FitCheck) -> list[Checked]:
    """Return the rates that are off by more than `OFF`, and lie outside of the simulations of this length."""
    return [one for one in _apart(check) if one.outside]


def _apart(check: FitCheck) -> list[Checked]:
    return [one for one in check.rates().values() if max(one.recording, one.mean) > OFF * min(one.recording, one.mean)]


def _kind(one: Checked) -> str:
    """Return what is said of a rate that is off in the mean: all simulations are, they scatter, or some explode."""
    if one.outside:
        return "rate_off"
    return "rate_explodes" if one.high > EXPLODES * one.recording else "rate_scatters"


def check_findings(check: FitCheck) -> list[Finding]:
    """Return what is wrong: rates first, then all else that lies outside, the farthest first, and coarse bins."""
    found = []
    for one in sorted(_apart(check), key=lambda one: not one.outside):
        numbers = {"free": one.mean, "recorded": one.recording, "low": one.low, "high": one.high}
        found.append(Finding(_kind(one), one.about[0], numbers))
    named = {each.subject for each in found}
    others = [one for one in check.statistics if one.outside and not (one.kind == "rate" and one.about[0] in named)]
    for one in sorted(others, key=lambda one: -abs(one.place(one.recording))):
        numbers = {"recorded": one.recording, "low": one.low, "high": one.high}
        found.append(Finding("outside_simulations", one.words, numbers))
    return [*found, *check.coarse_bins]


def check_warnings(check: FitCheck) -> list[str]:
    """Return the findings as sentences: one for each rate that is off, one for all else that lies outside, and bins."""
    found = check_findings(check)
    rates, bins = (
        [worded(each, words, each.subject, "") for each in found if each.kind in words]
        for words in (WORDS, COARSE_WORDS)
    )
    others = [each for each in found if each.kind == "outside_simulations"]
    if not others:
        return [*rates, *bins]
    named = [f"{each.subject} ({_ranges(each)})" for each in others[:NAMED]]
    more = f", and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return [
        *rates,
        f"The recording lies outside {1 - LEVEL:.0%} of free simulations of the fit, as long as it is: "
        f"{', '.join(named)}{more}.",
        *bins,
    ]


def _ranges(finding: Finding) -> str:
    recorded, low, high = (f"{finding.numbers[key]:.3g}" for key in ("recorded", "low", "high"))
    return f"{recorded}, simulated {low} to {high}"


def check_lines(check: FitCheck) -> list[str]:
    """Return what is printed at the end of a fit: how it was checked, rates, and warnings."""
    part = f" of {check.of_seconds:.4g} s" if check.seconds < check.of_seconds else ""
    rates = "; ".join(f"{name} {one.recording:.3g}, {_simulated(one)}" for name, one in check.rates().items())
    return [
        f"Check against {check.simulations} free simulations of {check.seconds:.4g} s{part}: p = {check.p:.2g}; "
        f"{check.n_outside or 'none'} of {plural(len(check.statistics), 'statistic')} of the recording outside.",
        f"Rates (Hz), recorded and simulated: {rates}.",
        *check_warnings(check),
    ]


def _simulated(one: Checked) -> str:
    return f"{one.mean:.3g} [{one.low:.3g}, {one.high:.3g}]" + ("!" if one.outside else "")


def rate_rows(checks: Mapping[str, FitCheck]) -> list[list[str]]:
    """Return rows of a table with the rates of recording and free simulations by names of runs, the header first."""
    names = list(dict.fromkeys(name for check in checks.values() for name in check.rates()))
    recorded = {name: one for check in checks.values() for name, one in check.rates().items()}
    rows = [["free rates (Hz)", *names, "p", "outside"]]
    rows.append(["(recording)", *(f"{recorded[name].recording:.3g}" for name in names), "", ""])
    for run, check in checks.items():
        rates = check.rates()
        cells = [_simulated(rates[name]) if name in rates else "-" for name in names]
        rows.append([run, *cells, f"{check.p:.2g}", f"{check.n_outside} of {len(check.statistics)}"])
    return rows


def statistic_rows(check: FitCheck) -> list[list[str]]:
    """Return rows of a table of all statistics, the header first."""
    rows = [["statistic", "unit", "recording", "median", f"interval of {1 - LEVEL:.0%}", ""]]
    for one in check.statistics:
        interval = " to ".join(f"{end:.3g}" for end in (one.low, one.high))
        numbers = [f"{one.recording:.3g}", f"{one.median:.3g}", interval]
        rows.append([one.words, KINDS[one.kind][1], *numbers, "outside" if one.outside else ""])
    return rows


def check_table(checks: Mapping[str, FitCheck]) -> str:
    """Return the table of rates of all runs, and the warnings of each."""
    said = [f"{run}: {line}" for run, check in checks.items() for line in check_warnings(check)]
    note = f"[from, to]: {1 - LEVEL:.0%} of free simulations, all statistics together; ! the recording lies outside."
    return "\n".join([align(rate_rows(checks)), note, *said])
