"""Words of the command line that several benchmarks read or hand on."""

from collections.abc import Iterable, Mapping
from typing import Any

from src.utils.exceptions import InputError


def names_in(only: str, known: Iterable[str]) -> list[str]:
    """Return the names that ``--only`` gives, separated by commas.

    Raises
    ------
    InputError
        One of them is not known.
    """
    names, known = only.split(","), list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"--only: expected names out of {', '.join(known)}, got {', '.join(unknown)}")
    return names


def as_words(options: Mapping[str, Any]) -> list[str]:
    """Return options as they are typed."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]
