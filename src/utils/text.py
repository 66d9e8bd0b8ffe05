"""Words for messages and tables: lists, numbers, plurals, durations, and rows in columns."""

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines of text: the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *others]).rstrip())
    return "\n".join(lines)


def for_table(names: Sequence[str], most: int = 30) -> list[str]:
    """Return names in one line each; of long ones, begin and end, where these tell all of them apart."""
    names = [" ".join(name.split()) for name in names]
    cut = [name if len(name) <= most else f"{name[: most // 2 - 1]}...{name[-(most // 2 - 2) :]}" for name in names]
    return cut if len(set(cut)) == len(set(names)) else names


def number(value: float) -> str:
    """Return a number with four significant digits; a dash for NaN."""
    return f"{value:#.4g}".rstrip(".") if math.isfinite(value) else "-"


def moment(seconds: float) -> str:
    """Return a time in s; of one that is late, such as the seconds since 1970, the milliseconds, too."""
    return f"{seconds:g}" if abs(seconds) < 1000 else f"{round(seconds, 3):.15g}"


def signed(value: float) -> str:
    """Return bits per spike with their sign; a dash for NaN."""
    return f"{value:+.3f}" if math.isfinite(value) else "-"


def capital(words: str) -> str:
    """Return words with a capital at the beginning of the sentence; the others stay as they are."""
    return words[:1].upper() + words[1:]


def plural(number: int, noun: str) -> str:
    """Return for instance "1 training" or "2 trainings"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Return a duration in words, for instance "2 min 5 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def long_duration(seconds: float) -> str:
    """Return a rough duration in words, for instance "40 s", "25 min", "3.1 h" or "2.5 days"."""
    for unit, size, digits in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


def listed(words: Iterable[str]) -> str:
    """Return names as they are shown in a message."""
    return ", ".join(words) or "nothing"


def some(names: Sequence[str], most: int = 8) -> str:
    """Return names in a row, the first ones if there are many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def shown(value: Any) -> str:
    """Return a value as it is shown in a message: in one line, and not all of a long one."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # an integer of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def closest(word: str, known: Iterable[str]) -> str:
    """Return a suggestion as the end of a message, or nothing."""
    found = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {found[0]!r}?" if found else ""


def wrong_with(error: Exception) -> str:
    """Return what an error about the content of a file says is wrong with it: a key that is missing, or its words."""
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def error_in_words(error: BaseException, otherwise: str = "") -> str:
    """Return what an error says in one line; if it says nothing, other words or its name."""
    return " ".join(str(error).split()) or otherwise or type(error).__name__
