"""Held-out scores as they lie in the folder of a run, read back and checked for everything that shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from typing import Any

from src.evaluation.duels import verdicts
from src.evaluation.scores import BITS, RIVAL
from src.runs.load import Run, ranked
from src.utils.exceptions import InputError
from src.utils.files import load_json
from src.utils.text import shown, wrong_with

SCORE_FILES = {"units": "heldout.json", "time": "heldout_time.json", "unseen": "heldout_units.json"}
"""What was left out, and where its scores are: units, of the inference; the last part, or units, of the fit itself."""


@dataclass(frozen=True)
class StoredScore:
    """How well a unit, or several together, were predicted.

    Parameters
    ----------
    unit, population : str
        The population is empty for all units together.
    spikes : int
        That are scored.
    rate : float, Hz
    bits : dict of str to float
        Bits per spike of each prediction, by its name; NaN without spikes.
    rivals : dict of str to dict of str to float
        Likewise of simple models, by prediction and rival; empty in files that are older than these.
    """

    unit: str
    population: str
    spikes: int
    rate: float
    bits: dict[str, float]
    rivals: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreFile:
    """The scores in one file.

    Parameters
    ----------
    path : Path
    predictions : tuple of str
        Names of what was scored.
    units, populations : tuple of StoredScore
        Of each unit, and of the units of each population together.
    all_units : StoredScore
    parameters : str
        What the parameters had seen, in words.
    """

    path: Path
    predictions: tuple[str, ...]
    units: tuple[StoredScore, ...]
    populations: tuple[StoredScore, ...]
    all_units: StoredScore
    parameters: str


def load_heldout(run: Run) -> dict[str, ScoreFile]:
    """Return the scores of a run by what was left out, a key of `SCORE_FILES`; nothing if it has none.

    Raises
    ------
    InputError
        A file is broken, its units are not those of the run, or it is older than the fit.
    """
    there = {what: run.folder / name for what, name in SCORE_FILES.items()}
    return {what: _read(path, run) for what, path in there.items() if path.exists()}


def bits_of_all(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Return bits per spike of all units together by the names of runs and predictions; only of runs that have any.

    Raises
    ------
    InputError
        As `load_heldout`.
    """
    found = {run.name: load_heldout(run).values() for run in runs}
    return {
        name: {which: bits for one in files for which, bits in one.all_units.bits.items()}
        for name, files in found.items()
        if files
    }


def of_best(runs: Sequence[Run]) -> dict[str, tuple[Run, ScoreFile]]:
    """Return the best of the runs that have scores, and these, by what was left out, a key of `SCORE_FILES`.

    Raises
    ------
    InputError
        As `load_heldout`.
    """
    found: dict[str, tuple[Run, ScoreFile]] = {}
    for run in reversed(ranked(runs)):
        found |= {what: (run, scores) for what, scores in load_heldout(run).items()}
    return {what: found[what] for what in SCORE_FILES if what in found}


def rivals_in_words(runs: Sequence[Run]) -> list[str]:
    """Return how the best of the runs that have scores stands beside simple models: a paragraph, or none.

    Raises
    ------
    InputError
        As `load_heldout`.
    """
    found = [(run.name, line) for run, file in of_best(runs).values() for line in verdicts(file.units, file.all_units)]
    return ["\n".join(f"{name}: {line[0].lower()}{line[1:]}" for name, line in found)] if found else []


def _read(path: Path, run: Run) -> ScoreFile:
    content = load_json(path)
    try:
        *populations, all_units = [_scored(one) for one in content["together"]]
        units, parameters = [_scored(one) for one in content["units"]], _word(content["parameters"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: expected held-out scores, but {wrong_with(error)}") from None
    predictions = tuple(all_units.bits)
    every, rivals = [*units, *populations], _names(all_units)
    if not units or not predictions or any(tuple(one.bits) != predictions for one in every):
        raise InputError(f"{path}: expected units that all have the same {BITS}..., got others")
    if any(_names(one) != rivals for one in every):
        raise InputError(f"{path}: expected units that all have the same {RIVAL}..., got others")
    scored = list(dict.fromkeys(one.population for one in units))
    sums = [one.population for one in populations]
    if not set(scored) <= set(run.model.names) or scored != sums:
        raise InputError(
            f"{path}: expected units of {', '.join(run.model.names)}, the populations of its run, and a sum of each, "
            f"got units of {', '.join(scored)} and sums of {', '.join(sums) or 'none'}"
        )
    if _older_than_its_fit(path, run):
        raise InputError(f"{path}: expected scores of the fit beside it, got a file that is older than that")
    return ScoreFile(path, predictions, tuple(units), tuple(populations), all_units, parameters)


def _names(one: StoredScore) -> dict[str, list[str]]:
    return {which: list(each) for which, each in one.rivals.items()}


def _older_than_its_fit(path: Path, run: Run) -> bool:
    """Tell whether a file was there before the fit began; that much, for copies of a folder get any order in time."""
    fitted = (run.folder / str(run.record.parameters_file)).stat().st_mtime
    return path.stat().st_mtime < fitted - run.record.seconds


def _scored(one: Mapping[str, Any]) -> StoredScore:
    bits = {key.removeprefix(BITS).replace("_", " "): _or_nan(one[key]) for key in one if key.startswith(BITS)}
    rivals: dict[str, dict[str, float]] = {which: {} for which in bits}
    for key in one:
        which, _, name = key.removeprefix(RIVAL).partition(": ")
        if key.startswith(RIVAL) and (which := which.replace("_", " ")) in bits:
            rivals[which][name] = _or_nan(one[key])
    known = {which: each for which, each in rivals.items() if each}
    return StoredScore(
        _word(one["unit"]), _word(one["population"]), int(_number(one["spikes"])), _number(one["rate"]), bits, known
    )


def _or_nan(value: Any) -> float:
    return nan if value is None else _number(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise TypeError(f"{shown(value)} is no finite number")
    return float(value)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} is no text")
    return value
