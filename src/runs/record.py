"""What ``run.json`` says of a training: settings, seed, versions, history, result, and how it ended."""

import platform
import sys
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from src.helper import names_of_X, true_X
from src.model.containers import Model, Recording
from src.runs.paths import RECORD
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from src.utils.files import load_json, save_json
from src.utils.settings import as_dict
from src.utils.text import shown, wrong_with

Numbers = tuple[float, ...]
MaybeNumbers = tuple[float | None, ...]
JsonTable = dict[str, Any]
FINISHED, RUNNING = "finished", "running"


@dataclass(frozen=True)
class EMStep:
    """An EM iteration: its E-step (the start of the activity stands for the first one), then its M-step.

    Parameters
    ----------
    EMstep : int
    M_iterations, E_steps : int
        Iterations of the M-step, and of the E-step before it.
    loss_M : float
        Loss that the M-step reached, nats per population and bin.
    loss_y, loss_Z : float or None
        Both parts of the loss of the E-step's result.
    ln_p : float or None
        Of the recorded spikes at the parameters of the E-step, in nats.
    seconds : float, s
        Since the start of the training.
    """

    EMstep: int
    E_steps: int
    M_iterations: int
    loss_M: float
    loss_y: float | None = None
    loss_Z: float | None = None
    ln_p: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Finding:
    """Something that the user should know about a fit; `src.runs.findings` makes it, and puts it into words.

    Parameters
    ----------
    kind : str
        Such as ``at_lower_bound``.
    subject : str
        A fitted number or a population.
    numbers : dict of str to float
        What it amounts to; in SI units.
    """

    kind: str
    subject: str
    numbers: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of ``run.json``; what a training has not come to is None or empty.

    Parameters
    ----------
    status : str
        ``running``, ``finished``, ``interrupted`` or ``failed``.
    ended : str
        Why it ended, in words.
    seconds : float, s
    seed : int
    settings : dict
        Options of train_meso.py.
    recording_sha256 : str
        Digest of what is fitted, see `src.runs.checkpoint.sha256`.
    versions : dict of str to str
    model : dict
        `Model.as_dict`.
    parameter_names : tuple of str, (n,)
    start, X : tuple of float, (n,), or None
        Fitted numbers at the start and in the end.
    lower, upper : tuple of float, (n,)
        Their bounds.
    true : tuple of float or None, (n,), or None
        True values, where the data set knows them.
    loss : float or None
        Of the last M-step, or of the best E-step on innovations, nats per population and bin.
    ln_p, ln_p_error : float or None
        ln p of the recorded spikes at X and its Monte Carlo error, in nats, see `src.inference.spike_likelihood`; None
        where it is unknown, or where no activity explains the spikes.
    parameters_file, activity_file : str or None
        Where X and the inferred activity stand.
    correlation : dict of str to tuple of float or None, (M,), or None
        Of estimated and true activity: of the ``start`` and the ``fit``, in bins and after smoothing (``_20ms``).
    conditional_errors : tuple of float or None, (n,), or None
        Standard errors of X given the inferred activity, see `src.inference.laplace`; None at a bound, and where
        nothing is known of a number.
    findings : tuple of Finding
        What the user should know about the fit.
    history : tuple of EMStep
    """

    status: str
    ended: str = ""
    seconds: float
    seed: int = 0
    settings: JsonTable = field(default_factory=dict)
    recording_sha256: str = ""
    versions: JsonTable = field(default_factory=dict)
    model: JsonTable
    parameter_names: tuple[str, ...]
    start: Numbers | None = None
    X: Numbers | None = None
    true: MaybeNumbers | None = None
    lower: Numbers
    upper: Numbers
    loss: float | None = None
    ln_p: float | None = None
    ln_p_error: float | None = None
    parameters_file: str | None = None
    activity_file: str | None = None
    correlation: dict[str, MaybeNumbers] | None = None
    conditional_errors: MaybeNumbers | None = None
    findings: tuple[Finding, ...] = ()
    history: tuple[EMStep, ...] = ()

    @classmethod
    def begin(cls, recording: Recording, model: Model, settings: FitSettings, digest: str) -> "RunRecord":
        """Return the record of a training that begins; `digest` is that of the recording."""
        true, free = recording.true_parameters, model.fitted
        return cls(
            status=RUNNING,
            seconds=0.0,
            seed=settings.train_Noinit,
            settings=as_dict(settings) | {"resume": False},  # a resumed training is none other
            recording_sha256=digest,
            versions=versions(),
            model=model.as_dict(),
            parameter_names=tuple(names_of_X(model)),
            true=None if true is None else finite_or_none(true_X(true, model)),
            lower=tuple(free.lower.tolist()),
            upper=tuple(free.upper.tolist()),
        )

    def changed(self, **changes: Any) -> "RunRecord":
        """Return the record with other values."""
        return replace(self, **changes)

    def save(self, folder: Path) -> None:
        """Write it into the folder of the training."""
        save_json(folder / RECORD, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "RunRecord":
        """Read it from the folder of a training.

        Raises
        ------
        InputError
            The file is missing, broken, or holds something else.
        """
        content = load_json(folder / RECORD)
        try:
            return cls.from_dict(content)
        except (KeyError, TypeError, ValueError) as error:
            raise no_record(folder, error) from None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "RunRecord":
        """Undo ``dataclasses.asdict``, from JSON too; what other versions wrote besides is left out.

        Raises
        ------
        KeyError, TypeError, ValueError
            Something is missing, or is not what it should be; the message says what.
        """
        return _from_dict(cls, content)

    def check_finished(self, model: Model) -> None:
        """Raise an error if a finished training of the model lacks what it should have found.

        Raises
        ------
        KeyError, ValueError
            Something is missing; something is not what it should be.
        """
        n, M = len(model.fitted.names), model.n_populations
        if len(self.parameter_names) != n or not self.history or self.activity_file is None:
            raise ValueError(f"expected {n} parameter_names, a history and an activity_file")
        for name in ("start", "X", "lower", "upper", *([] if self.true is None else ["true"])):
            numbers = getattr(self, name)
            if numbers is None:
                raise KeyError(name)
            if len(numbers) != n:
                raise ValueError(f"{name}: expected {n} finite numbers, got {shown(list(numbers))}")
        if self.loss is None:
            raise ValueError("loss: expected a finite number, got None")
        if self.conditional_errors is not None and len(self.conditional_errors) != n:
            raise ValueError(f"conditional_errors: expected {n} numbers, got {shown(self.conditional_errors)}")
        for which, numbers in (self.correlation or {}).items():
            if len(numbers) != M:
                raise ValueError(f"correlation: expected {M} numbers each, got {shown(numbers)} of {which}")


def no_record(folder: Path, error: Exception) -> InputError:
    """Return the error about a ``run.json`` that is none, from what went wrong with its content."""
    return InputError(f"{folder / RECORD}: expected the record of a training, but {wrong_with(error)}")


def status_in(folder: Path) -> str:
    """Return the status of the training in a folder; empty if there is none.

    Raises
    ------
    InputError
        There is a ``run.json`` that is none.
    """
    return str(load_json(folder / RECORD).get("status", "")) if (folder / RECORD).exists() else ""


def finite_or_none(numbers: Any) -> MaybeNumbers:
    """Return numbers as JSON can hold them: null for infinite ones and NaN."""
    return tuple(float(x) if np.isfinite(x) else None for x in numbers)


def versions() -> dict[str, str]:
    """Return the versions of what decides the result."""
    packages = {name: version(name) for name in ("numpy", "scipy", "tensorflow", "keras")}
    return {"python": sys.version.split()[0], "machine": platform.machine(), **packages}


def _from_dict(kind: type, content: Mapping[str, Any]) -> Any:
    """Return a dataclass from its dictionary, with every value checked against the type of its field."""
    hints, found = typing.get_type_hints(kind), {}
    for each in fields(kind):
        needed = each.default is each.default_factory  # both are MISSING
        if each.name in content:
            found[each.name] = _checked(each.name, content[each.name], hints[each.name])
        elif needed:
            raise KeyError(each.name)
    return kind(**found)


def _checked(name: str, value: Any, kind: Any) -> Any:
    """Return a value of JSON as the type of a field says; TypeError or ValueError if it is none."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in inner:
        if value is None:
            return None
        kind = next(each for each in inner if each is not type(None))
        return _checked(name, value, kind)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name}: expected a list, got {shown(value)}")
        return tuple(_checked(name, each, inner[0]) for each in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError(f"{name}: expected a table, got {shown(value)}")
        return {str(key): each if inner[1] is Any else _checked(name, each, inner[1]) for key, each in value.items()}
    if kind in (EMStep, Finding):
        if not isinstance(value, dict):
            raise TypeError(f"{name}: expected tables, got {shown(value)}")
        return _from_dict(kind, value)
    if kind is str and isinstance(value, str):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    words = {str: "text", int: "a whole number", float: "a finite number"}
    raise TypeError(f"{name}: expected {words[kind]}, got {shown(value)}")
