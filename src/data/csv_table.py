"""Tables of separated values as spreadsheets and programs write them: encoding, separator, decimal comma, header."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from src.data.formats import head_of, refuse_foreign
from src.utils.exceptions import InputError
from src.utils.files import looked_for
from src.utils.text import plural

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
OTHER_NAMES = {
    "time": ("times", "spike_time", "spike_times", "spiketime", "timestamp", "timestamps", "t"),
    "unit": (
        *("units", "unit_id", "unit_name", "unitid", "neuron", "neurons", "neuron_id", "cluster", "clusters"),
        *("cluster_id", "cell", "cells", "cell_id", "spike_unit", "spike_units"),
    ),
    "start": ("start_time", "begin", "begin_time", "onset", "t_start", "starttime", "tstart"),
    "end": ("stop_time", "stop", "end_time", "offset", "t_stop", "t_end", "endtime", "stoptime", "tstop", "tend"),
    "trial": ("trials", "trial_id", "trial_number", "trial_nr", "sweep", "spike_trial"),
}
"""What columns are called elsewhere; they are taken only where no column has the name itself, and one is called so."""
TIMES = ("time", "start", "end")
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
"""How text files of some encodings begin."""
UNITS_OF_TIME = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microsecond", "microseconds"), 1e6),
    **dict.fromkeys(("min", "minute", "minutes"), 1 / 60),
}
"""How many of each are a second."""


@dataclass
class Table:
    """Columns of a table as text, and what was noted about them.

    Parameters
    ----------
    path : path
    columns : dict of str to list of str
        By the names that were asked for.
    lines : list of int
        Of each row, in the file.
    units : dict of str to str
        Of columns of times, where the header says them.
    notes : list of str
    bad : dict of int to str
        Rows that cannot be used, by their place in the columns, and why.
    """

    path: str | Path
    columns: dict[str, list[str]]
    lines: list[int]
    units: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def refuse(self, row: int, why: str) -> None:
        """Say that a row cannot be used; the first reason counts."""
        self.bad.setdefault(row, f"line {self.lines[row]}: {why}")

    def need(self, name: str) -> None:
        """Refuse the rows in which a name is empty."""
        for row, text in enumerate(self.columns[name]):
            if not text:
                self.refuse(row, f"{name}: expected a name, got nothing")

    def numbers(self, name: str, ticks: bool = False) -> np.ndarray:
        """Return a column of times as numbers, (rows,), NaN in rows that it refuses: in s, or as they are for `ticks`.

        Raises
        ------
        InputError
            The header names a unit that is not known, or the mark for decimals cannot be told.
        """
        texts, unit = self.columns[name], self.units.get(name, "s")
        if not ticks and unit not in UNITS_OF_TIME:
            raise InputError(
                f"{self.path}: {name}: expected times in s or ms, got {short(unit)!r}; see --ticks_per_second"
            )
        if comma := _decimal_commas(self.path, name, texts):
            texts = [text.replace(",", ".") for text in texts]
            self._note_once(f"{self.path}: commas in numbers are taken for decimal points.")
        values = np.empty(len(texts))
        for row, text in enumerate(texts):
            values[row] = _number(text)
            if not math.isfinite(values[row]):
                shown = self.columns[name][row] if comma else text
                self.refuse(row, f"{name}: expected a finite number{'' if ticks else ' in s'}, got {short(shown)!r}")
                values[row] = math.nan
        if ticks or UNITS_OF_TIME[unit] == 1:
            return values
        self._note_once(f"{self.path}: {name}: brought to s from {unit}, as the header says.")
        return values / UNITS_OF_TIME[unit]

    def good(self, what: str) -> np.ndarray:
        """Return the places of the rows that can be used, and note the others.

        Raises
        ------
        InputError
            There are rows, and all of them are bad: gives the first reason.
        """
        rows = [row for row in range(len(self.lines)) if row not in self.bad]
        if self.bad:
            first = self.bad[min(self.bad)]
            if not rows:
                raise InputError(f"{self.path}, {first}")
            share = f"{plural(len(self.bad), 'row')} of {len(self.lines)}"
            more = "" if len(self.bad) == 1 else f", and {len(self.bad) - 1} more like it"
            self.notes.append(f"{self.path}: {share} cannot be used as {what}, and left out: {first}{more}.")
        return np.array(rows, int)

    def _note_once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


def read_table(
    path: str | Path,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    called: Mapping[str, str] | None = None,
) -> Table:
    """Read the columns of a table with a header, as text; other columns are ignored.

    Parameters
    ----------
    path : path
    needed, optional : sequence of str
        Names of columns, in any case. A unit may stand behind a name in brackets: ``time (s)``. `OTHER_NAMES` serve,
        too.
    called : mapping of str to str, optional
        What columns are called in this file.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        The file cannot be read, or is no text; a column is missing or stands twice.
    """
    text, notes = _text(path)
    called = {name: (called or {}).get(name, name).lower() for name in (*needed, *optional)}
    wanted = [{called[name], *OTHER_NAMES.get(name, ())} for name in needed]
    lines, before, separator = _from_header(text.splitlines(keepends=True), wanted)
    separator = separator or _separator("".join(lines[:1]), wanted)
    rows = _rows(path, lines, before, separator)
    if not rows:
        raise InputError(f"{path}: expected a header with {', '.join(called[n] for n in needed)}, got an empty file")
    (_, shown), *rows = rows
    while shown and not shown[-1].strip():
        shown = shown[:-1]  # of a separator at the end of the line
    header = [_column(name) for name in shown]
    table = Table(path, {}, [line for line, _ in rows], notes=notes)
    for name in called:
        place = _place(path, [column for column, _ in header], name, called[name], shown, needed, notes)
        if place is not None:
            table.columns[name] = [fields[place].strip() if place < len(fields) else "" for _, fields in rows]
            table.units[name] = header[place][1]
    for row, (_, fields) in enumerate(rows):
        if len(fields) < len(header) or any(field.strip() for field in fields[len(header) :]):
            table.refuse(row, f"expected {len(header)} fields, got {len(fields)}{_hint(separator, header, fields)}")
    return table


def columns_of(path: str | Path, needed: str) -> list[str]:
    """Return the names in the header of a table that has a column `needed`, as they are written, without their units.

    Raises
    ------
    InputError
        As `read_table`.
    """
    text, _ = _text(path)
    wanted = [{needed, *OTHER_NAMES.get(needed, ())}]
    lines, before, separator = _from_header(text.splitlines(keepends=True), wanted)
    rows = _rows(path, lines[:1], before, separator or _separator("".join(lines[:1]), wanted))
    header = rows[0][1] if rows else []
    while header and not header[-1].strip():
        header = header[:-1]
    return [name.partition("(")[0].partition("[")[0].strip() for name in header]


def called(header: Sequence[str], name: str) -> list[str]:
    """Return the columns of a header that `read_table` would take for one that it is asked for by this name."""
    columns = {column: _column(column)[0] for column in header}
    exact = [column for column in header if columns[column] == name]
    return exact or [column for column in header if columns[column] in OTHER_NAMES.get(name, ())]


def _from_header(lines: list[str], wanted: Sequence[set[str]]) -> tuple[list[str], int, str | None]:
    """Return the lines from the header on, how many stand before it, and the separator where the file says it."""
    before, separator = 0, None
    while before < len(lines) and (lines[before].startswith("#") or not lines[before].strip(" \t\r\n,;")):
        remark = lines[before].lstrip("# ")
        if lines[before].startswith("#") and _known(remark, _separator(remark, wanted), wanted) == len(wanted):
            return [remark, *lines[before + 1 :]], before, None  # as numpy.savetxt writes headers
        before += 1
    if before < len(lines) and (said := re.fullmatch(r"sep=(.)", lines[before].strip(" \r\n\"'"))):
        separator, before = said[1], before + 1  # Excel's own first line
    return lines[before:], before, separator


def _text(path: str | Path) -> tuple[str, list[str]]:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32, or as Windows writes it, and notes."""
    refuse_foreign(path, head_of(path), "a CSV file")
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}){looked_for(path)}") from None
    encodings = [encoding for mark, encoding in MARKS if raw.startswith(mark)][:1]
    if not encodings and b"\x00" in raw[:1000]:  # of text, every second byte in UTF-16
        encodings = ["utf-16-le" if raw[1:2] == b"\x00" else "utf-16-be"]
        if raw[:1000:2].count(0) + raw[1:1000:2].count(0) < 0.4 * len(raw[:1000]):
            raise InputError(f"{path}: expected text, got a binary file of a kind that is not known")
    for encoding in encodings or ["utf-8"]:
        try:
            return raw.decode(encoding), []
        except UnicodeError:
            if encodings:
                raise InputError(f"{path}: expected text, got what begins like {encoding.upper()} and is not") from None
    controls = sum(raw.count(bytes([byte])) for byte in range(32) if byte not in (9, 10, 13))
    if controls:
        raise InputError(f"{path}: expected text in UTF-8 or UTF-16, got a binary file of a kind that is not known")
    return raw.decode("cp1252", "replace"), [f"{path}: no UTF-8; read as text of Windows (cp1252)."]


def _known(line: str, separator: str, wanted: Sequence[set[str]]) -> int:
    """Return how many of the columns that are wanted, each by some names, a header holds if so separated."""
    try:
        there = {_column(name)[0] for name in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])}
    except csv.Error:
        return 0
    return sum(not there.isdisjoint(names) for names in wanted)


def _separator(line: str, wanted: Sequence[set[str]]) -> str:
    """Return what separates the columns: that by which a header holds most of those that are wanted."""
    return max(SEPARATORS, key=lambda each: _known(line, each, wanted))


def _rows(path: str | Path, lines: list[str], before: int, separator: str) -> list[tuple[int, list[str]]]:
    """Return line number and fields of every row that is not empty; `before` lines of the file are not given."""
    text = io.StringIO("".join(lines), newline="")
    reader = csv.reader(text, strict=True, delimiter=separator, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append((before + reader.line_num, fields))
    except csv.Error as error:
        line, kind = before + reader.line_num, SEPARATORS.get(separator, separator)
        words = "a field is very long" if "larger" in str(error) else "its quotes do not match"
        raise InputError(f"{path}, line {line}: expected {kind}-separated values, but {words}") from None
    return rows


def _column(name: str) -> tuple[str, str]:
    """Return the name of a column in lower case, and the unit behind it in brackets or after "_"; s without one."""
    match = re.fullmatch(r"\s*(.*?)\s*(?:[(\[]\s*(.*?)\s*[)\]])?\s*", name, re.DOTALL)
    assert match is not None  # it matches anything
    column, unit = match[1].lower(), match[2]
    times = {other for name in TIMES for other in (name, *OTHER_NAMES[name])}
    behind = re.fullmatch(r"(.*?)_?(s|sec|seconds|ms|msec|milliseconds|us|samples|ticks)", column)
    if unit is None and column not in times and behind and behind[1] in times:
        column, unit = behind[1], behind[2]
    return column, "s" if unit is None else unit.lower()


def _place(
    path: str | Path,
    header: Sequence[str],
    name: str,
    called: str,
    shown: Sequence[str],
    needed: Sequence[str],
    notes: list[str],
) -> int | None:
    """Return which column has a name, or one of its other names; None if an optional one is missing."""
    if header.count(called) > 1:
        raise InputError(f"{path}: expected one column {called}, got {header.count(called)}")
    if called in header:
        return header.index(called)
    others = [column for column in header if called == name and column in OTHER_NAMES.get(name, ())]
    if len(others) == 1:
        if name not in TIMES:
            notes.append(f"{path}: column {others[0]} is taken for {name}.")
        return header.index(others[0])
    if name not in needed:
        return None
    if others:
        raise InputError(f"{path}: expected a column {name}, got several that may be it: {', '.join(others)}")
    wanted = ", ".join(needed) if called == name else called
    raise InputError(f"{path}: expected a header with {wanted}, got {short(','.join(shown))!r}")


def _hint(separator: str, header: Sequence, fields: Sequence[str]) -> str:
    """Return what a row of too many fields may come from, as the end of a message."""
    if separator == "," and len(fields) > len(header) and all(field.strip().isdigit() for field in fields[:2]):
        return "; decimal commas between commas cannot be told apart, so separate the columns by semicolons"
    others = [word for mark, word in SEPARATORS.items() if mark != separator and any(mark in field for field in fields)]
    return (
        f"; the header is separated by {SEPARATORS.get(separator, separator)}s, and this line by {others[0]}s"
        if (others and len(fields) < len(header))
        else ""
    )


def _number(text: str) -> float:
    try:
        return float(text) if "_" not in text else math.nan
    except ValueError:
        return math.nan


def _decimal_commas(path: str | Path, name: str, texts: Sequence[str]) -> bool:
    """Tell whether the numbers of a column have decimal commas; InputError if that cannot be told."""
    with_comma = [text for text in texts if "," in text]
    numbers = [text for text in with_comma if re.fullmatch(r"[-+]?\d*,\d+([eE][-+]?\d+)?", text)]
    if not numbers:
        if any(re.fullmatch(r"[-+]?\d{1,3}([.,']\d{3})+([.,]\d+)?", text) for text in with_comma):
            raise InputError(
                f"{path}: {name}: expected numbers without marks between thousands, got {short(with_comma[0])!r}"
            )
        return False
    points = [text for text in texts if re.fullmatch(r"[-+]?\d*\.\d+([eE][-+]?\d+)?", text)]
    if points or len(numbers) < len(with_comma):
        other = points[0] if points else next(text for text in with_comma if text not in numbers)
        raise InputError(
            f"{path}: {name}: expected one mark for decimals, got {short(numbers[0])!r} and {short(other)!r}"
        )
    return True


def short(text: str) -> str:
    """Return a text as it is shown in a message."""
    return text if len(text) <= 60 else text[:57] + "..."
