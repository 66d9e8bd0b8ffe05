"""What a check of a fit against its data found, and the file in the folder of the run that keeps it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from src.runs.finer_bins import COARSE_WORDS
from src.runs.record import Finding
from src.statistics.recorded import KINDS
from src.utils.exceptions import InputError
from src.utils.files import load_json, save_json
from src.utils.text import shown, wrong_with

LEVEL = 0.01
"""Share of simulations that would be called different."""
CHECK = "check.json"
FIGURE = "check.png"
"""In the folder of a run."""


@dataclass(frozen=True)
class Checked:
    """A statistic of the recording, and of the simulations.

    Parameters
    ----------
    kind : str
        As in `src.statistics.recorded.KINDS`.
    about : tuple of str
        Populations.
    outside : bool
        Whether the recording lies outside of the interval.
    recording : float
    mean, median : float
        Of the simulations that have it.
    half_low, half_high : float
        Quartiles of the simulations.
    low, high : float
        Interval in which all statistics lie together with probability 1 - `LEVEL`.
    """

    kind: str
    about: tuple[str, ...]
    outside: bool
    recording: float
    mean: float
    median: float
    half_low: float
    half_high: float
    low: float
    high: float

    @property
    def words(self) -> str:
        """Name it: ``rate of E1``."""
        return f"{KINDS[self.kind][0]} of {' and '.join(self.about)}"

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at the median, 1 and -1 at the ends of the interval; infinite without any."""
        away = value - self.median
        side = (self.high if away > 0 else self.low) - self.median
        if away == 0 or np.isinf(side):
            return 0.0
        return float(away / abs(side)) if side else float(np.copysign(np.inf, away))


@dataclass(frozen=True)
class FitCheck:
    """How a fit compares with its recording.

    Parameters
    ----------
    p : float
        Share of simulations that lie as far out as the recording, which is counted among them.
    simulations, seed : int
    seconds, of_seconds : float, s
        Checked, and judged in all.
    statistics : tuple of Checked
        Those that the recording and some simulations have.
    coarse_bins : tuple of Finding
        See `src.runs.finer_bins`.
    """

    p: float
    simulations: int
    seed: int
    seconds: float
    of_seconds: float
    statistics: tuple[Checked, ...]
    coarse_bins: tuple[Finding, ...] = ()

    @property
    def n_outside(self) -> int:
        """Number of statistics of the recording that lie outside."""
        return sum(one.outside for one in self.statistics)

    def rates(self) -> dict[str, Checked]:
        """Return the rates by population."""
        return {one.about[0]: one for one in self.statistics if one.kind == "rate"}


def save_check(folder: Path, check: FitCheck) -> None:
    """Write a check into the folder of its run."""
    content = asdict(check)
    for one in content["statistics"]:
        one["about"] = list(one["about"])
        one |= {end: one[end] if isfinite(one[end]) else None for end in ("low", "high")}
    save_json(folder / CHECK, content)


def load_check(folder: Path) -> FitCheck | None:
    """Read the check of a run; None if it has none.

    Raises
    ------
    InputError
        The file is broken.
    """
    path = folder / CHECK
    if not path.exists():
        return None
    content = load_json(path)
    try:
        if not isinstance(content["statistics"], list):
            raise TypeError(f"statistics: expected a list, got {shown(content['statistics'])}")
        statistics = tuple(_checked(one) for one in content["statistics"])
        p, seconds, of_seconds = (_number(content[key]) for key in ("p", "seconds", "of_seconds"))
        coarse = tuple(_finding(**each) for each in content.get("coarse_bins", []))
        return FitCheck(p, int(content["simulations"]), int(content["seed"]), seconds, of_seconds, statistics, coarse)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected the check of a fit, but {wrong_with(error)}") from None


def _checked(one: Mapping[str, Any]) -> Checked:
    """Return a statistic as it stands in the file."""
    if one["kind"] not in KINDS:
        raise ValueError(f"kind: expected a statistic of this version, got {shown(one['kind'])}")
    return Checked(
        kind=one["kind"],
        about=tuple(map(str, one["about"])),
        recording=_number(one["recording"]),
        mean=_number(one["mean"]),
        median=_number(one["median"]),
        half_low=_number(one["half_low"]),
        half_high=_number(one["half_high"]),
        low=-np.inf if one["low"] is None else _number(one["low"]),
        high=np.inf if one["high"] is None else _number(one["high"]),
        outside=bool(one["outside"]),
    )


def _finding(kind: str, subject: str, numbers: Mapping[str, Any]) -> Finding:
    known = {key: _number(value) for key, value in dict(numbers).items()}
    COARSE_WORDS[kind].format(called=subject, **known)  # there are such words, and all their numbers
    return Finding(kind, str(subject), known)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise TypeError(f"{shown(value)} is no finite number")
    return float(value)
