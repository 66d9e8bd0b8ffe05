"""What a check of a fit against its data says: findings, the lines that are printed, and rows of tables."""

from collections.abc import Mapping, Sequence

from src.evaluation.check_fit import LEVEL, Checked, FitCheck
from src.runs.findings import worded
from src.runs.record import Finding
from src.statistics.recorded import KINDS
from src.utils.text import listed, number, plural

OFF = 2.0
"""Factor from which on a free rate counts as wrong."""
NAMED = 4
"""So many statistics are named in a warning."""

WORDS = {
    "rate_off": "{called} fires at {free:.3g} Hz when the fitted circuit runs freely, and at {recorded:.3g} Hz in the "
    "recording: more than a factor of two.",
    "rate_scatters": "{called} fires at {free:.3g} Hz in the mean of free simulations, and at {recorded:.3g} Hz in the "
    "recording, more than a factor of two apart. Simulations as short as the recording scatter that much, from "
    "{low:.3g} to {high:.3g} Hz.",
    "outside_simulations": "{called} is {recorded:.3g}{unit}, outside of what free simulations show, {low:.3g} to "
    "{high:.3g}{unit}.",
}
"""What there is to find, in words."""


def off_in_rate(check: FitCheck) -> list[Checked]:
    """Return the rates that are off by more than `OFF`, and lie outside of the simulations of this length."""
    return [one for one in _apart(check) if one.outside]


def _apart(check: FitCheck) -> list[Checked]:
    return [one for one in check.rates().values() if max(one.recording, one.mean) > OFF * min(one.recording, one.mean)]


def check_findings(check: FitCheck) -> list[Finding]:
    """Return what is wrong: rates first, then all else that lies outside, the farthest first."""
    found = []
    for one in sorted(_apart(check), key=lambda one: not one.outside):
        numbers = {"free": one.mean, "recorded": one.recording, "low": one.low, "high": one.high}
        found.append(Finding("rate_off" if one.outside else "rate_scatters", one.about[0], numbers))
    named = {each.subject for each in found}
    others = [one for one in check.statistics if one.outside and not (one.kind == "rate" and one.about[0] in named)]
    for one in sorted(others, key=lambda one: -abs(one.distance)):
        numbers = {"recorded": one.recording, "low": one.low, "high": one.high}
        found.append(Finding("outside_simulations", one.words, numbers))
    return found


def in_words(finding: Finding) -> str:
    """Return a finding as a sentence about its subject, as `src.runs.findings.in_words` does."""
    units = {words: unit for words, unit in KINDS.values()}
    unit = next((unit for words, unit in units.items() if finding.subject.startswith(f"{words} of ")), "")
    return worded(finding, WORDS, finding.subject, unit)


def check_warnings(check: FitCheck) -> list[str]:
    """Return the findings as sentences; what lies outside, rates apart, in one."""
    found = check_findings(check)
    rates = [in_words(each) for each in found if each.kind != "outside_simulations"]
    others = [each for each in found if each.kind == "outside_simulations"]
    if check.p > LEVEL:
        return rates
    if not others:
        return rates
    named = [f"{each.subject} ({_range(each)})" for each in others[:NAMED]]
    more = [f"{len(others) - NAMED} more"] if len(others) > NAMED else []
    return [
        *rates,
        f"The recording lies outside {1 - LEVEL:.0%} of free simulations of the fit, as long as it is: "
        f"{listed([*named, *more])}.",
    ]


def _range(finding: Finding) -> str:
    recorded, low, high = (f"{finding.numbers[key]:.3g}" for key in ("recorded", "low", "high"))
    return f"{recorded}, simulated {low} to {high}"


def check_lines(check: FitCheck) -> list[str]:
    """Return what is printed at the end of a fit: how it was checked, rates, and warnings."""
    whole = "" if check.seconds == check.of_seconds else f" of {check.of_seconds:.4g} s"
    rates = "; ".join(f"{name} {one.recording:.3g}, {_simulated(one)}" for name, one in check.rates().items())
    verdict = (
        "none"
        if not any(one.outside for one in check.statistics)
        else str(sum(one.outside for one in check.statistics))
    )
    return [
        f"Check against {check.simulations} free simulations of {check.seconds:.4g} s{whole}: p = {check.p:.2g}; "
        f"{verdict} of {plural(len(check.statistics), 'statistic')} of the recording outside.",
        f"Rates (Hz), recorded and simulated: {rates}.",
        *check_warnings(check),
    ]


def _simulated(one: Checked) -> str:
    return f"{one.mean:.3g} [{one.low:.3g}, {one.high:.3g}]"


def rate_rows(checks: Mapping[str, FitCheck]) -> list[list[str]]:
    """Return rows of a table with the rates of recording and free simulations by names of runs, the header first."""
    names = list(dict.fromkeys(name for check in checks.values() for name in check.rates()))
    rows = [["free rates (Hz)", *names, "p", "outside"]]
    recorded = next(iter(checks.values())).rates()
    rows.append(
        ["(recording)", *(f"{recorded[name].recording:.3g}" if name in recorded else "-" for name in names), "", ""]
    )
    for run, check in checks.items():
        rates, outside = check.rates(), [one for one in check.statistics if one.outside]
        cells = [
            _simulated(rates[name]) + ("!" if rates[name].outside else "") if name in rates else "-" for name in names
        ]
        rows.append([run, *cells, f"{check.p:.2g}", f"{len(outside)} of {len(check.statistics)}"])
    return rows


def statistic_rows(check: FitCheck) -> list[list[str]]:
    """Return rows of a table of all statistics, the header first."""
    rows = [["statistic", "unit", "recording", "simulations", "interval", ""]]
    for one in check.statistics:
        unit = KINDS[one.kind][1]
        numbers = [number(one.recording), number(one.median), f"{number(one.low)} to {number(one.high)}"]
        rows.append([one.words, unit, *numbers, "outside" if one.outside else ""])
    return rows


def summaries(checks: Mapping[str, FitCheck], best: str) -> Sequence[str]:
    """Return the warnings of every run that has any, in a line each."""
    return [
        f"{run}{' *' if run == best else ''}: {line}" for run, check in checks.items() for line in check_warnings(check)
    ]
