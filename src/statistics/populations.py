"""Which populations are inhibitory, and which two compete, as far as their names tell."""

import re
from collections.abc import Sequence


def is_inhibitory(name: str) -> bool:
    """Tell by its name whether a population is inhibitory: ``I``, ``I2``, ``L4i``, ``inhibitory``; not ``input``."""
    word = name.lower().rstrip("0123456789 _-")
    return word.startswith("inh") or re.fullmatch(r"(.*[^a-z])?i", word) is not None


def competing_pair(names: Sequence[str]) -> tuple[int, int] | None:
    """Return the two excitatory populations whose switches are shown; None unless there are exactly two."""
    pair = [m for m, name in enumerate(names) if not is_inhibitory(name)]
    return (pair[0], pair[1]) if len(pair) == 2 else None
