"""Tables of results that a benchmark goes on from: a CSV file with a row for everything that was measured."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from src.utils.exceptions import InputError
from src.utils.files import write_whole


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table, none if there is no file.

    Raises
    ------
    InputError
        The file is no table with these columns.
    """
    if not path.exists():
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: expected a table of results, but {error}") from None
    if rows and not set(needed) <= set(rows[0]):
        raise InputError(f"{path}: expected the columns {', '.join(needed)}, got {', '.join(rows[0])}")
    return rows


def without_empty(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return rows without their empty cells."""
    return [{name: value for name, value in row.items() if value} for row in rows]


def write_rows(path: Path, rows: Sequence[dict[str, str]], first: Sequence[str]) -> None:
    """Write rows as a table whose first columns are these, whole or not at all."""
    names = dict.fromkeys([*first, *(name for row in rows for name in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, lambda file: file.write(text.getvalue().encode()))
