"""A fit against its own data: free simulations of the recording, and whether the recording lies among them.

The fitted circuit runs freely, as long as the recording and with as many recorded neurons. What the recorded neurons
show then (`src.statistics.recorded`) is compared with what they show in the recording, all statistics at once
(`src.statistics.envelope`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from src.inference.free_simulation import is_fast, simulate_recording
from src.model.containers import Model, Parameters, Recording, window_rate
from src.statistics.envelope import envelope_test
from src.statistics.recorded import KINDS, SIGNED, Statistic, recorded_statistics
from src.utils.exceptions import InputError
from src.utils.files import load_json, save_json
from src.utils.text import shown, wrong_with

LEVEL = 0.01
"""Share of simulations that would be called different."""
SIMULATIONS = {True: 299, False: 199}
"""So many, by whether numba simulates them, or TensorFlow does."""
MOST_BINS = {True: 25_000, False: 2_500}
"""So much of a recording is checked at most, likewise: a check should take seconds."""
MOST_SPIKES = 5 * 10**8
"""Bins of recorded neurons in all simulations at most."""
PIECE = 5_000
"""Bins of a piece, where a long trial is not checked as a whole."""
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
    recording : float
    mean, median : float
        Of the simulations that have it.
    half_low, half_high : float
        Quartiles of the simulations.
    low, high : float
        Interval in which all statistics lie together with probability 1 - `LEVEL`.
    outside : bool
        Whether the recording does not.
    """

    kind: str
    about: tuple[str, ...]
    recording: float
    mean: float
    median: float
    half_low: float
    half_high: float
    low: float
    high: float
    outside: bool

    @property
    def words(self) -> str:
        """Name it: ``rate of E1``."""
        return f"{KINDS[self.kind][0]} of {' and '.join(self.about)}"

    @property
    def distance(self) -> float:
        """How far the recording lies from the median, in units of the interval on that side; infinite without any."""
        away = self.recording - self.median
        side = (self.high if away > 0 else self.low) - self.median
        return 0.0 if away == 0 else away / abs(side) if side else float(np.copysign(np.inf, away))


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
    """

    p: float
    simulations: int
    seed: int
    seconds: float
    of_seconds: float
    statistics: tuple[Checked, ...]

    def rates(self) -> dict[str, Checked]:
        """Return the rates by population."""
        return {one.about[0]: one for one in self.statistics if one.kind == "rate"}


@dataclass(frozen=True)
class Example:
    """The beginning of the recording, and of the first simulation of it.

    Parameters
    ----------
    recording, simulation : bool array, (M, T, n_obs)
        Spikes in the longest trial, or piece of one.
    watched : bool array, (M, T, n_obs)
        Where they count.
    """

    recording: np.ndarray
    simulation: np.ndarray
    watched: np.ndarray


def check_fit(parameters: Parameters, model: Model, recording: Recording, seed: int) -> tuple[FitCheck, Example]:
    """Compare a recording with free simulations of it.

    Parameters
    ----------
    parameters : Parameters
    model : Model
    recording : Recording
        Only what is scored counts, in the recording and in the simulations.
    seed : int
        Of the simulations.
    """
    fast, A = is_fast(model), model.window_bins
    part, K = excerpt(recording, model, fast), SIMULATIONS[fast]
    watched = part.scored
    if watched is None:
        watched = np.ones_like(part.observed_spikes[:, :, A:], bool)
    else:
        watched = np.broadcast_to(watched, part.observed_spikes[:, :, A:].shape)

    def statistics(spikes: np.ndarray) -> dict[Statistic, float]:
        return recorded_statistics(spikes, watched, model.dt, model.refractory_bins, model.names)

    longest, simulated = int(np.argmax(part.lengths)), []
    for k, spikes in enumerate(simulate_recording(parameters, model, part, K, seed)):
        simulated.append([*statistics(spikes).values()])
        if k == 0:
            example = spikes[longest].copy()
    seen = part.observed_spikes[:, :, A:].astype(bool)
    of_recording = statistics(seen)
    checked, p = _compare(of_recording, np.array(simulated, float))
    seconds = (float(each.n_judged * model.dt) for each in (part, recording))
    check = FitCheck(p, K, seed, *seconds, checked)
    T = int(part.lengths[longest])
    return check, Example(*(array[:, :T] for array in (seen[longest], example, watched[longest])))


def _compare(recording: Mapping[Statistic, float], simulated: np.ndarray) -> tuple[tuple[Checked, ...], float]:
    """Test the statistics that recording and simulations, (K, S), both have."""
    observed = np.array([*recording.values()])
    there = np.isfinite(observed) & np.isfinite(simulated).any(axis=0)
    kinds = [one for one, known in zip(recording, there, strict=True) if known]
    observed, simulated = observed[there], simulated[:, there]
    found = envelope_test(observed, simulated, LEVEL)
    checked = []
    for k, (kind, about) in enumerate(kinds):
        values = simulated[np.isfinite(simulated[:, k]), k]
        middle = np.quantile(values, [0.5, 0.25, 0.75]).tolist()
        least = -np.inf if kind in SIGNED else 0.0
        ends = [max(_or(found.low[k], -np.inf), least), _or(found.high[k], np.inf)]
        numbers = (float(observed[k]), float(values.mean()), *middle, *ends)
        checked.append(Checked(kind, about, *numbers, bool(found.outside[k])))
    return tuple(checked), found.p


def _or(value: float, fallback: float) -> float:
    return float(value) if np.isfinite(value) else fallback


def excerpt(recording: Recording, model: Model, fast: bool) -> Recording:
    """Return so much of a recording as can be checked in seconds: trials, or pieces of them, spread over all of it."""
    neurons = int(np.prod(recording.observed_spikes.shape[1::2]))
    most = min(MOST_BINS[fast], MOST_SPIKES // (SIMULATIONS[fast] * neurons))
    if recording.lengths.sum() <= most:
        return recording
    if recording.n_bins > most or recording.n_bins > PIECE:
        recording = in_pieces(recording, model, min(PIECE, most))
    number = max(1, most // recording.n_bins)
    which = np.unique(np.linspace(0, recording.n_trials - 1, min(number, recording.n_trials)).round().astype(int))
    return recording.trials(which)


def in_pieces(recording: Recording, model: Model, bins: int) -> Recording:
    """Cut trials into whole pieces of so many bins, each a trial with the window before it; drop those not judged."""
    A = model.window_bins
    cuts = [
        (b, start)
        for b, length in enumerate(recording.lengths.tolist())
        for start in range(0, length - bins + 1, bins)
        if recording.is_judged[b, start : start + bins].any()
    ]
    spikes = np.stack([recording.observed_spikes[b, :, start : start + A + bins] for b, start in cuts])
    return replace(
        recording,
        observed_spikes=spikes,
        external_input=np.stack([recording.external_input[b, :, start : start + bins] for b, start in cuts]),
        initial_rate=window_rate(spikes, recording.recorded, model),
        true_activity=None,
        judged=np.stack([recording.is_judged[b, start : start + bins] for b, start in cuts]),
    )


# --- files ------------------------------------------------------------------------------------------------------------


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
        statistics = tuple(_checked(one) for one in content["statistics"])
        p, seconds, of_seconds = (_number(content[key]) for key in ("p", "seconds", "of_seconds"))
        return FitCheck(p, int(content["simulations"]), int(content["seed"]), seconds, of_seconds, statistics)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected the check of a fit, but {wrong_with(error)}") from None


def _checked(one: Mapping[str, Any]) -> Checked:
    names = ("recording", "mean", "median", "half_low", "half_high")
    numbers = {name: _number(one[name]) for name in names}
    ends = {"low": -np.inf, "high": np.inf}
    numbers |= {name: ends[name] if one[name] is None else _number(one[name]) for name in ends}
    if one["kind"] not in KINDS:
        raise ValueError(f"kind: expected a statistic of this version, got {shown(one['kind'])}")
    return Checked(one["kind"], tuple(map(str, one["about"])), **numbers, outside=bool(one["outside"]))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise TypeError(f"{shown(value)} is no finite number")
    return float(value)
