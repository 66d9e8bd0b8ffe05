"""Circuits from TOML files; ``docs/circuit.md`` describes the format, ``src/model/circuits`` holds examples.

A parameter's settings are looked up from the general to the special: those of its kind (``[threshold]``), of its
population (``[threshold.of.E1]``; of a coupling, the presynaptic one), and of a connection (``[coupling.of."I->E1"]``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from src.model.circuit import Circuit, Number, for_fit
from src.model.containers import COUNTS, Model, Parameters
from src.model.flat_order import ALL_UNITS, INPUT_GAIN, kinds, number_of, places
from src.model.labels import RESERVED, in_one_population
from src.model.priors import PRIORS, Prior, Uniform
from src.model.scheme import PUBLISHED, SCHEMES, Scheme
from src.utils.exceptions import InputError
from src.utils.text import closest, listed, shown
from src.utils.toml_tables import TomlTable, load_toml

WINNER_TAKE_ALL = Path(__file__).with_name("circuits") / "winner_take_all.toml"
MOST = 64
"""Populations of a circuit at most: the map from fitted numbers to parameters grows with their fourth power."""
FIT = {"coupling": ("presynaptic", "each", "shared", "fixed")} | dict.fromkeys(
    ("membrane_rate", "resting_potential", "threshold", INPUT_GAIN), ("each", "shared", "fixed")
)
"""How the parameters of a kind are fitted; the first is the default."""
OF_FITTED = ("start", "bounds", "prior")
SETTINGS = ("value", "fit", *OF_FITTED)
LIMITS: dict[str, dict[str, Any]] = {word: {"at_least": -1e6, "at_most": 1e6} for word in ALL_UNITS}
LIMITS |= {"membrane_rate": {"at_least": 1e-3, "at_most": 1e6}, "coupling": {"at_least": 0, "at_most": 1e6}}
"""What numbers of a kind can be: no magnitude is negative, and a slip of the finger is found before it overflows."""


MOST_LAG = 10.0
"""Of an input, s."""


def load_circuit(path: str | Path | None = None) -> Circuit:
    """Read a circuit from a TOML file; without a path it is the winner-take-all circuit of the paper.

    Raises
    ------
    InputError
        The file is missing or not TOML, or something in it cannot be used: one line that says where, what was
        expected, and what came.
    """
    content = load_toml(path or WINNER_TAKE_ALL)
    content.only(("time", "populations", *ALL_UNITS, "fit"))
    populations = content.table("populations")
    names, sizes, rates, strength = _populations(populations)
    time, fit = content.table("time"), content.table("fit")
    time.only(("dt", "window", "refractory_time", "delay", "scheme", "likelihood"))
    fit.only(("multiples",))
    has_gains = INPUT_GAIN in content
    gains, input_lag = _gains_and_lag(content.table(INPUT_GAIN), names)
    tables = {word: gains if word == INPUT_GAIN else content.table(word) for word in kinds(has_gains)}
    entries = [entry for word, table in tables.items() for entry in _Kind(word, table, names, strength).entries()]
    values = np.zeros(number_of(len(names), has_gains))
    for entry in entries:
        values[entry.place] = entry.value * entry.factor
    multiples = fit.pair("multiples") if "multiples" in fit else None
    if multiples and multiples[0] <= 0:
        fit.fail("multiples", "positive numbers", list(multiples))
    circuit = Circuit(
        source=content.where,
        names=names,
        population_size=sizes,
        synaptic_rate=rates,
        strength=strength,
        values=values,
        numbers=_numbers(entries, content.where),
        refractory_time=time.number("refractory_time", at_least=0, at_most=1),
        delay=time.number("delay", 0.0, at_least=0, at_most=1),
        dt=time.number("dt", 0.004, at_least=0.0002, at_most=0.01),
        window=time.number("window", above=0, at_most=10) if "window" in time else None,
        scheme=time.word("scheme", SCHEMES, PUBLISHED.name),
        likelihood=time.word("likelihood", COUNTS, COUNTS[0]),
        multiples=multiples,
        labels=_labels([populations.table(name) for name in names], names, populations.where),
        input_lag=input_lag,
    )
    try:
        circuit.check()
    except InputError as error:
        raise InputError(f"{content.where}: {error}") from None
    return circuit


def winner_take_all(
    dt: float = 0.004, window: float | None = None, scheme: Scheme = PUBLISHED, lb: float = 0.4, ub: float = 2.0
) -> Model:
    """Return what is known about the paper's circuit, on bins of `dt` with a history `window` (the scheme's), in s.

    Its parameters are fitted from `lb` to `ub` times `reference_parameters`.
    """
    circuit = load_circuit(WINNER_TAKE_ALL)
    bins = {"window_bins": round((window or scheme.window) / dt), "scheme": scheme}
    return circuit.model(dt, **bins, free=circuit.free_parameters(lb, ub))


def reference_parameters() -> Parameters:
    """Return the parameters of the network of the paper, from which its data set was simulated."""
    return Parameters.from_flat(load_circuit(WINNER_TAKE_ALL).values)


def fitted_circuit(settings: Any) -> tuple[Any, Model]:
    """Return what a fit with the settings of train_meso.py knows of its circuit; see `src.model.circuit.for_fit`."""
    return for_fit(load_circuit(settings.circuit).changed(settings.param or ""), settings)


# --- populations and connections --------------------------------------------------------------------------------------


def _populations(table: TomlTable) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """Return names, sizes and synaptic rates, (M,), and strengths with their signs, (M, M)."""
    names = tuple(table)
    if not 1 <= len(names) <= MOST:
        raise InputError(f"{table.where}: expected 1 to {MOST} tables, one for each population, got {len(names)}")
    for name in names:
        taken = name == "shared" or any(part in name for part in ("->", "=", ","))
        if not name or not name.isprintable() or name != name.strip() or taken:
            raise InputError(
                f"{table.where}: expected printable names without '->', '=' or ',', and not 'shared', got {name!r}"
            )
    M = len(names)
    sizes, rates, strength = np.empty(M), np.empty(M), np.zeros((M, M))
    for m, name in enumerate(names):
        each = table.table(name)
        each.only(("size", "synaptic_time", "synaptic_rate", "excites", "inhibits", "labels"))
        sizes[m] = each.number("size", at_least=1, whole=True)
        if ("synaptic_time" in each) == ("synaptic_rate" in each):
            raise InputError(f"{each.where}: expected synaptic_time (s) or synaptic_rate (1/s), got {listed(each)}")
        if "synaptic_time" in each:
            rates[m] = 1 / each.number("synaptic_time", at_least=1e-6, at_most=10)
        else:
            rates[m] = each.number("synaptic_rate", at_least=0.1, at_most=1e6)
        for key, sign in (("excites", 1), ("inhibits", -1)):
            for target, size in _targets(each, key, names).items():
                to = names.index(target)
                if strength[m, to]:
                    raise InputError(f"{each.where}: expected {target} under excites or inhibits, got both")
                strength[m, to] = sign * size
    return names, sizes, rates, strength


def _targets(table: TomlTable, key: str, names: Sequence[str]) -> dict[str, float]:
    """Return the populations that one excites or inhibits, and how strongly."""
    value = table.content.get(key, [])
    where = f"{table.where}: {key}"
    if isinstance(value, list):
        wrong = [each for each in value if not isinstance(each, str)]
        if wrong:
            table.fail(key, "names of populations", wrong[0])
        twice = [name for name in value if value.count(name) > 1]
        if twice:
            table.fail(key, "each population once", twice[0])
        found = dict.fromkeys(value, 1.0)
    elif isinstance(value, dict):
        limits: dict[str, Any] = {"at_least": 1e-6, "at_most": 1e6}
        found = {name: table.as_number(f"{key}: {name}", size, **limits) for name, size in value.items()}
    else:
        table.fail(key, "a list of populations, or a table of their relative strengths", value)
    for name in found:
        if name not in names:
            near = closest(name, names)
            raise InputError(f"{where}: unknown population {shown(name)}, expected {listed(names)}{near}")
    return found


def _labels(tables: Sequence[TomlTable], names: Sequence[str], where: str) -> tuple[tuple[str, ...], ...] | None:
    """Return the labels of each population from its table of a circuit file, (M,); None if no table has any.

    Raises
    ------
    InputError
        They are no list of texts or whole numbers, or a label is of two populations.
    """
    if not any("labels" in table for table in tables):
        return None
    found: list[list[str]] = []
    for name, table in zip(names, tables, strict=True):
        given = table.content.get("labels", [name])
        if not isinstance(given, list):
            table.fail("labels", "a list of labels of the data", given)
        for label in given:
            right = isinstance(label, str | int) and not isinstance(label, bool) and str(label).strip()
            if not right or any(sign in str(label) for sign in RESERVED):
                table.fail("labels", f"texts without {' '.join(RESERVED)}, or whole numbers", label)
        found.append([str(label).strip() for label in given])
    return in_one_population(names, found, where)


# --- parameters -------------------------------------------------------------------------------------------------------


class Entry:
    """One parameter: its place in `Parameters.flat`, what it is called, and what the file says about it."""

    def __init__(self, place: int, names: tuple[str, str], factor: float, settings: Mapping[str, Any]) -> None:
        self.place, self.factor, self.settings = place, factor, settings
        self.population, self.own = names
        self.value: float = settings.get("value", np.nan)


class _Kind:
    """What a file says about one kind of parameter."""

    def __init__(self, word: str, table: TomlTable, names: tuple[str, ...], strength: np.ndarray) -> None:
        self.word, self.where, self.names, self.strength = word, table.where, names, strength
        self.limits = LIMITS[word]
        connections = [f"{names[j]}->{names[m]}" for j, m in np.argwhere(strength)] if word == "coupling" else []
        table.only((*SETTINGS, "of"))
        general = dict(table.content)
        of = table.table("of")
        of.only((*names, *connections), "connection or population" if connections else "population")
        values = general.get("value")
        self.by_name: dict[str, dict[str, Any]] = {}
        if isinstance(values, dict):
            general.pop("value")
            by_population = table.table("value")
            by_population.only(names, "population")
            for name in by_population:
                if "value" in of.table(name):
                    of.table(name).fail("value", f"none beside that in {word}.value", values[name])
                self.by_name[name] = {"value": by_population.number(name, **self.limits)}
        general.pop("of", None)
        self.general = self._settings(TomlTable(general, table.where))
        for name in of:
            special = of.table(name)
            special.only(SETTINGS)
            self.by_name[name] = self.by_name.get(name, {}) | self._settings(special)

    def _settings(self, table: TomlTable) -> dict[str, Any]:
        """Check what one table says."""
        found: dict[str, Any] = {}
        if "value" in table:
            found["value"] = table.number("value", **self.limits)
        if "fit" in table:
            found["fit"] = table.word("fit", FIT[self.word], "")
        for key in ("start", "bounds"):
            if key in table:
                low, high = found[key] = table.pair(key, equal=key == "start")
                for each in (low, high):
                    table.as_number(key, each, **self.limits)
        if "prior" in table:
            prior = found["prior"] = _prior(table.table("prior"))
            for key in ("low", "high") if isinstance(prior, Uniform) else ():
                table.as_number(f"prior: {key}", getattr(prior, key), **self.limits)
        given = [key for key in OF_FITTED if key in found]
        if found.get("fit") == "fixed" and given:
            raise InputError(
                f"{table.where}: expected fixed or fitted, got fit = 'fixed' together with {listed(given)}"
            )
        return found

    def entries(self) -> list[Entry]:
        """Return all parameters of this kind."""
        place, found = places(self.word, len(self.names)).tolist(), []
        if self.word != "coupling":
            return [self._entry(k, (name, name), 1.0, (name,)) for k, name in zip(place, self.names, strict=True)]
        for j, m in np.argwhere(self.strength):
            source, both = self.names[j], f"{self.names[j]}->{self.names[m]}"
            found.append(self._entry(place[j][m], (source, both), self.strength[j, m], (source, both)))
        return found

    def _entry(self, place: int, names: tuple[str, str], factor: float, of: Sequence[str]) -> Entry:
        settings = {"fit": FIT[self.word][0], **self.general}
        for name in of:
            special = self.by_name.get(name, {})
            if settings["fit"] == "fixed" and "fit" not in special and any(key in special for key in OF_FITTED):
                raise InputError(f"{self.where} of {name}: expected fixed or fitted, got both")
            settings |= special
        entry = Entry(place, names, float(factor), {"word": self.word, **settings})
        if settings["fit"] == "fixed" and np.isnan(entry.value):
            raise InputError(f"{self.where} of {names[1]}: expected a value, because it is fixed, got none")
        return entry


def _gains_and_lag(table: TomlTable, names: tuple[str, ...]) -> tuple[TomlTable, np.ndarray | None]:
    """Return what the table of the input gains says of these alone, and the lags, (M,) in s, if it says any."""
    table.only((*SETTINGS, "of", "lag"))
    gains = TomlTable({key: value for key, value in table.content.items() if key != "lag"}, table.where)
    if "lag" not in table:
        return gains, None
    limits: dict[str, Any] = {"at_least": 0, "at_most": MOST_LAG}
    if isinstance(table.content["lag"], dict):
        by_population = table.table("lag")
        by_population.only(names, "population")
        lag = np.array([by_population.number(name, 0.0, **limits) for name in names])
    else:
        lag = np.full(len(names), table.number("lag", **limits))
    return gains, lag


def _prior(table: TomlTable) -> Prior:
    """Return the prior that a table describes."""
    if "kind" not in table:
        raise InputError(f"{table.where}: expected kind, one of {listed(PRIORS)}, got {listed(table)}")
    kind = PRIORS[table.word("kind", PRIORS, "")]
    names = [field.name for field in fields(kind)]
    table.only(("kind", *names))
    numbers = {name: table.number(name) for name in names}
    try:
        return kind(**numbers)
    except InputError as error:
        raise InputError(f"{table.where}: {error}") from None


def _numbers(entries: Sequence[Entry], source: str) -> tuple[Number, ...]:
    """Tie parameters together: return the numbers that are fitted."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        word, fit = entry.settings["word"], entry.settings["fit"]
        if fit != "fixed":
            called = {"each": entry.own, "presynaptic": entry.population, "shared": "shared"}[fit]
            groups.setdefault(f"{word} {called}", []).append(entry)
    return tuple(_number(name, group, source) for name, group in groups.items())


def _number(name: str, group: Sequence[Entry], source: str) -> Number:
    first = group[0]
    for entry in group:
        for key in ("value", *OF_FITTED):
            one, other = first.settings.get(key), entry.settings.get(key)
            if one != other:
                raise InputError(
                    f"{source}: {name}: expected the same {key} for {first.own} and {entry.own}, which are tied, got "
                    f"{shown(one)} and {shown(other)}"
                )
    return Number(
        name=name,
        unit=ALL_UNITS[first.settings["word"]],
        entries=tuple(entry.place for entry in group),
        factors=tuple(entry.factor for entry in group),
        **{key: first.settings.get(key) for key in OF_FITTED},
    )
