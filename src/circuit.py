"""The circuit of a microscopic simulation: the paper's, or one from a file, with changes."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from src.files import load_json
from src.helper import REFERENCE, Model, Parameters, to_X, winner_take_all
from src.scheme import SCHEMES
from src.settings import InputError

KEYS = ("population_size", "synaptic_rate", "membrane_rate", "coupling", "resting_potential", "threshold")
"""Arrays that make a circuit, in the words of `Model` and `Parameters`."""


def load_circuit(path: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Read a circuit from JSON: ``names`` of its M populations, and `KEYS`, each (M,), coupling (M, M).

    Raises
    ------
    InputError
        A key is missing or unknown, or does not hold numbers for M populations.
    """
    content = load_json(path)
    names = content.pop("names", None)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: names: expected a list of names, got {names!r}")
    if set(content) != set(KEYS):
        raise InputError(f"{path}: expected the keys names, {', '.join(KEYS)}, got names, {', '.join(content)}")
    circuit, M = {}, len(names)
    for key in KEYS:
        shape = (M, M) if key == "coupling" else (M,)
        try:
            circuit[key] = np.array(content[key], float)
        except (TypeError, ValueError):
            raise InputError(f"{path}: {key}: expected {shape} numbers, got {content[key]!r}") from None
        if circuit[key].shape != shape:
            raise InputError(f"{path}: {key}: expected {shape} numbers, got shape {circuit[key].shape}")
    return tuple(names), circuit


def change(circuit: dict[str, np.ndarray], names: Sequence[str], text: str) -> dict[str, np.ndarray]:
    """Return the circuit with changes such as ``"coupling I=15,threshold E1=4"``.

    A coupling is given by its magnitude, for all connections from that population; they keep their signs.

    Raises
    ------
    InputError
        A change is not of this form, or names no parameter or no population.
    """
    changed = {key: value.copy() for key, value in circuit.items()}
    for part in filter(str.strip, text.split(",")):
        match = re.fullmatch(r"\s*(\w+)\s+(.+?)\s*=\s*(\S+)\s*", part)
        if not match or match[1] not in KEYS or match[2] not in names:
            raise InputError(
                f"--param: expected NAME POPULATION=NUMBER with a name out of {', '.join(KEYS)} "
                f"and a population out of {', '.join(names)}, got {part.strip()!r}"
            )
        try:
            number = float(match[3])
        except ValueError:
            raise InputError(f"--param: expected a number, got {match[3]!r} in {part.strip()!r}") from None
        if match[1] == "coupling" and not number >= 0:
            raise InputError(f"--param: expected a magnitude of at least 0, got {part.strip()!r}")
        m = list(names).index(match[2])
        changed[match[1]][m] = number * np.sign(circuit["coupling"][m]) if match[1] == "coupling" else number
    return changed


def changed_winner_take_all(changes: str, dt: float) -> dict[str, np.ndarray]:
    """Return the arrays of the paper's circuit, by `KEYS`, with changes as `change` takes them."""
    reference = winner_take_all(dt)
    known = vars(REFERENCE) | vars(reference)
    return change({key: known[key] for key in KEYS}, reference.names, changes)


def make_circuit(
    path: str | None, changes: str, *, dt: float, refractory_time: float, delay: float
) -> tuple[Model, Parameters]:
    """Return a circuit on steps of `dt`.

    Parameters
    ----------
    path : str or None
        JSON file, see `load_circuit`; None is the winner-take-all circuit of the paper.
    changes : str
        See `change`; empty for none.
    dt, refractory_time, delay : float, s
        Both times are rounded to whole steps, the refractory time to at least one.

    Raises
    ------
    InputError
        The file or the changes cannot be used.
    """
    if path is None:
        names, circuit = winner_take_all(dt).names, changed_winner_take_all(changes, dt)
    else:
        names, circuit = load_circuit(path)
        circuit = change(circuit, names, changes)
    refractory_bins = max(1, round(refractory_time / dt))
    model = Model(
        population_size=circuit["population_size"],
        synaptic_rate=circuit["synaptic_rate"],
        connectivity=np.sign(circuit["coupling"]),
        dt=dt,
        window_bins=refractory_bins + 1,  # the history window of a fit: any valid number serves here
        refractory_bins=refractory_bins,
        delay_bins=round(delay / dt),
        names=names,
    )
    return model, Parameters(*(circuit[key] for key in ("membrane_rate", "coupling", "resting_potential", "threshold")))


def fitted_circuit(settings: Any) -> Model:
    """Return what a fit with the settings of train_meso.py knows of the winner-take-all circuit.

    Raises
    ------
    InputError
        A change cannot be read, or the window is too short for the bins.
    """
    dt, window, scheme = settings.dt, settings.a_cutoff, SCHEMES[settings.scheme]
    changed = changed_winner_take_all(settings.param or "", dt)
    try:
        model = winner_take_all(dt, window, scheme)
    except InputError as error:
        raise InputError(f"--a_cutoff {window or scheme.window:g} at --dt {dt:g}: {error}") from None
    sizes, rates = changed.pop("population_size"), changed.pop("synaptic_rate")
    model = replace(model, counts=settings.likelihood, population_size=sizes, synaptic_rate=rates)
    reference = to_X(Parameters(**changed), model)
    return replace(model, free=model.fitted.around(reference, settings.lb, settings.ub))
