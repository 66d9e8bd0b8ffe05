"""What recorded neurons ("units") are called, and which of them a list of names means."""

from collections import Counter
from collections.abc import Sequence

from src.model.containers import Recording
from src.utils.exceptions import InputError
from src.utils.text import closest, some

Unit = tuple[int, int]
"""Population and place of a recorded neuron."""


def unit_name(unit: Unit, recording: Recording, populations: Sequence[str]) -> str:
    """Return what a unit, population and place, is called.

    By the name that the data give it, with the population in front where several units have it: ``"17"``, ``"E1.17"``.
    Without names, by population and place: ``"E1.0"``.
    """
    return _names(recording, populations)[unit]


def units_called(text: str, recording: Recording, populations: Sequence[str]) -> list[Unit]:
    """Return the units that a list of names means.

    Parameters
    ----------
    text : str
        Names as `unit_name` gives them, or with the population in front, separated by commas; where no unit is called
        so, population and place.
    recording : Recording
    populations : sequence of str, (M,)

    Raises
    ------
    InputError
        No unit, or more than one, has such a name, or a unit is named twice.
    """
    names, own = _names(recording, populations), _own_names(recording)
    called = {unit: name for unit, name in names.items() if recording.is_recorded[unit]}
    known = {name: unit for unit, name in called.items()}
    for unit in called:
        if unit in own:
            known.setdefault(_in_population(unit, own[unit], populations), unit)
    taken = set(own.values())
    for unit in called:
        place = _by_place(unit, populations)
        if place not in taken:
            known.setdefault(place, unit)
    found: list[Unit] = []
    for name in (part.strip() for part in text.split(",")):
        if several := [called[unit] for unit in called if name not in known and own.get(unit) == name]:
            raise InputError(
                f"holdout_units: expected a name that is of one unit, got {name!r}, which stands for {some(several)}"
            )
        if name not in known or known[name] in found:
            expected = f"units among {some(list(called.values()))}, each once"
            raise InputError(f"holdout_units: expected {expected}, got {name!r}{_hint(name, known)}")
        found.append(known[name])
    return found


def _names(recording: Recording, populations: Sequence[str]) -> dict[Unit, str]:
    """Return what each unit is called, also those that were taken out of the recording."""
    own = _own_names(recording)
    if not own:
        M, n_obs = recording.observed_spikes.shape[1::2]
        return {(m, i): _by_place((m, i), populations) for m in range(M) for i in range(n_obs)}
    with_population = {unit: _in_population(unit, name, populations) for unit, name in own.items()}
    times, taken = Counter(own.values()), set(with_population.values())
    return {
        unit: name if times[name] == 1 and name not in taken else with_population[unit] for unit, name in own.items()
    }


def _own_names(recording: Recording) -> dict[Unit, str]:
    """Return the names that the data give; places without a neuron have none."""
    if recording.unit_names is None:
        return {}
    return {(m, i): name for m, row in enumerate(recording.unit_names.tolist()) for i, name in enumerate(row) if name}


def _in_population(unit: Unit, name: str, populations: Sequence[str]) -> str:
    return f"{populations[unit[0]]}.{name}"


def _by_place(unit: Unit, populations: Sequence[str]) -> str:
    return f"{populations[unit[0]]}.{unit[1]}"


def _hint(name: str, known: dict[str, Unit]) -> str:
    """Return what may have been meant, as the end of a message: a part of a name with a comma, or one like it."""
    whole = next((each for each in known if "," in each and name in map(str.strip, each.split(","))), None)
    if whole is None:
        return "" if name in known else closest(name, known)
    others = [each for each, unit in known.items() if unit == known[whole] and "," not in each]
    instead = f"write {others[0]} for it" if others else "it cannot be given"
    return f"; commas separate names, and {whole!r} has one: {instead}"
