"""TOML tables whose every entry is checked on the way: names, types and ranges, with one clear line a mistake."""

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from src.utils.exceptions import InputError
from src.utils.files import looked_for
from src.utils.text import closest, listed, shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_toml(path: str | Path) -> "TomlTable":
    """Read a TOML file.

    Raises
    ------
    InputError
        The file is missing, or not TOML.
    """
    try:
        return TomlTable(tomllib.loads(Path(path).read_bytes().decode()), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}){looked_for(path)}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, a number or a nesting beyond all measure
        raise InputError(f"{path}: expected TOML, but {' '.join(str(error).split())}") from None


class TomlTable:
    """One table of a file, and where it stands, for messages."""

    def __init__(self, content: dict[str, Any], where: str) -> None:
        self.content, self.where = content, where

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def fail(self, key: str, expected: str, got: Any) -> NoReturn:
        """Raise an error about an entry."""
        raise InputError(f"{self._at(key)}: expected {expected}, got {shown(got)}")

    def _at(self, key: str) -> str:
        return f"{self.where}: {key}" if key else self.where

    def only(self, keys: Iterable[str], what: str = "key") -> None:
        """Raise an error about an entry that none of `keys` names."""
        known = list(keys)
        for key in self.content:
            if key not in known:
                near = closest(key, known)
                raise InputError(f"{self.where}: unknown {what} {shown(key)}, expected {listed(known)}{near}")

    def table(self, key: str) -> "TomlTable":
        """Return a table in this one; an empty one if it is missing."""
        value = self.content.get(key, {})
        if not isinstance(value, dict):
            self.fail(key, "a table", value)
        return TomlTable(value, self._at(key))

    def number(self, key: str, default: float | None = None, *, whole: bool = False, **limits: float) -> float:
        """Return a number within limits, as `as_number` takes them, or the default, or an error if there is none."""
        if key not in self.content:
            if default is None:
                raise InputError(f"{self.where}: expected {key}, got {listed(self.content)}")
            return default
        return self.as_number(key, self.content[key], whole=whole, **limits)

    def as_number(self, key: str, value: Any, *, whole: bool = False, **limits: float) -> float:
        """Return a finite number, or raise an error; limits are `above`, `at_least` and `at_most`."""
        kind = "a whole number" if whole else "a number"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(key, kind, value)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail(key, "a finite number", value)
        if whole and number != round(number):
            self.fail(key, kind, value)
        for word, limit in limits.items():
            if not {"above": number > limit, "at_least": number >= limit, "at_most": number <= limit}[word]:
                self.fail(key, f"{kind} {word.replace('_', ' ')} {limit:g}", value)
        return number

    def pair(self, key: str, *, equal: bool = False) -> tuple[float, float]:
        """Return two finite numbers in ascending order."""
        value = self.content[key]
        if not isinstance(value, list) or len(value) != 2:
            self.fail(key, "two numbers, [low, high]", value)
        low, high = (self.as_number(key, each) for each in value)
        if low > high or (low == high and not equal):
            self.fail(key, "the lower number first" if low > high else "two different numbers", value)
        return low, high

    def word(self, key: str, choices: Iterable[str], default: str) -> str:
        """Return one of some words."""
        value, choices = self.content.get(key, default), list(choices)
        if not isinstance(value, str) or value not in choices:
            near = closest(value, choices) if isinstance(value, str) else ""
            raise InputError(f"{self._at(key)}: expected one of {listed(choices)}, got {shown(value)}{near}")
        return value
