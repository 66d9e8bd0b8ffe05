"""Circuits that are compared: those of files, and variants of the first one, each under a short name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from src.model.circuit import Circuit
from src.model.circuit_file import WINNER_TAKE_ALL, load_circuit
from src.model.flat_order import places as flat_places
from src.utils.exceptions import InputError
from src.utils.text import closest, listed, shown


@dataclass(frozen=True)
class Candidate:
    """A circuit, and what it is called in the tables."""

    name: str
    circuit: Circuit


def candidates(
    paths: Sequence[str], without: str | None = None, sizes: str | None = None, param: str | None = None
) -> list[Candidate]:
    """Return what is compared.

    Parameters
    ----------
    paths : sequence of str
        Circuit files; none for that of the paper.
    without : str or None
        Variants of the first circuit that lack connections, such as ``"E1->I,I->E1+I->E2"``: two variants, of which the
        second lacks two.
    sizes : str or None
        Variants with all its population sizes times a factor each, such as ``"0.5,2"``.
    param : str or None
        Variants with other sizes, rates or values, such as ``"population_size I=100; coupling I=15,threshold I=4"``.

    Raises
    ------
    InputError
        A file or a variant cannot be used, there are fewer than two candidates, or two have the same name.
    """
    found = [Candidate(name, load_circuit(path)) for name, path in _names_of_files(paths or [str(WINNER_TAKE_ALL)])]
    first = found[0].circuit
    kinds: tuple[tuple[str, str | None, str, Callable[[Circuit, str], Candidate]], ...] = (
        ("without", without, ",", _without),
        ("sizes", sizes, ",", _with_sizes),
        ("param", param, ";", _with_values),
    )
    for option, text, between, variant in kinds:
        parts = [part.strip() for part in (text or "").split(between)]
        if text is not None and not all(parts):
            raise InputError(f"{option}: expected variants with '{between}' between them, got {shown(text)}")
        found += [variant(first, part) for part in parts if part]
    names = [candidate.name for candidate in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"candidates: expected each once, got {twice[0]} twice")
    if len(found) < 2:
        raise InputError(
            f"candidates: expected two or more, got {names[0]} only; give more circuit files, --without, --sizes or "
            "--param"
        )
    return found


def without_connections(circuit: Circuit, connections: Sequence[str]) -> Circuit:
    """Return the circuit without some of its connections, such as ``"E1->I"``, and without what was fitted of them.

    Raises
    ------
    InputError
        There is no such connection.
    """
    strength, values = circuit.strength.copy(), circuit.values.copy()
    flat = flat_places("coupling", len(circuit.names))
    places = {f"{circuit.names[j]}->{circuit.names[m]}": (j, m) for j, m in np.argwhere(strength)}
    gone = set()
    for connection in connections:
        if connection not in places:
            near = closest(connection, places)
            raise InputError(
                f"without: expected connections of {circuit.source}, {listed(places)}, got {shown(connection)}{near}"
            )
        j, m = places[connection]
        strength[j, m] = 0
        gone.add(int(flat[j, m]))
    values[list(gone)] = 0
    numbers = []
    for number in circuit.numbers:
        kept = [(e, f) for e, f in zip(number.entries, number.factors, strict=True) if e not in gone]
        if kept:
            entries, factors = zip(*kept, strict=True)
            numbers.append(replace(number, entries=entries, factors=factors))
    return replace(circuit, strength=strength, values=values, numbers=tuple(numbers))


def _names_of_files(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return a name and the path of each file: that of the file, or all of its path where two are called the same."""
    stems = [Path(path).stem for path in paths]
    return [(path if stems.count(stem) > 1 else stem, path) for stem, path in zip(stems, paths, strict=True)]


def _without(circuit: Circuit, text: str) -> Candidate:
    connections = ["->".join(end.strip() for end in part.split("->")) for part in text.split("+")]
    return Candidate(f"without {' '.join(connections)}", without_connections(circuit, connections))


def _with_sizes(circuit: Circuit, text: str) -> Candidate:
    try:
        factor = float(text)
    except ValueError:
        factor = np.nan
    if not 1e-3 <= factor <= 1e3:
        raise InputError(f"sizes: expected factors from 0.001 to 1000, got {shown(text)}")
    sizes = np.maximum(np.round(circuit.population_size * factor), 1)
    return Candidate(f"sizes x {factor:g}", replace(circuit, population_size=sizes))


def _with_values(circuit: Circuit, text: str) -> Candidate:
    return Candidate(", ".join(" ".join(part.split()) for part in text.split(",")), circuit.changed(text))
