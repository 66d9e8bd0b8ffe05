"""Files of the fits of a comparison: what stands in them, and which of them need not be fitted again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from src.evaluation.ranking import FoldScore
from src.runs.checkpoint import versions_that_differ
from src.utils.exceptions import InputError
from src.utils.files import load_json

FIT_KEYS = ("candidate", "fold", "versions", "error", "seconds")
SCORED = ("ln_p", "ln_p_constant", "spikes", "X")
"""Of fits without error."""


def fold_score(result: Mapping[str, Any]) -> FoldScore:
    """Return the score that a fit, as its file holds it, found."""
    ln_p = {name: np.array(values, float) for name, values in result["ln_p"].items()}
    return FoldScore(ln_p, float(result["ln_p_constant"]), int(result["spikes"]))


def load_fit(path: Path) -> dict[str, Any]:
    """Read the file of a fit.

    Raises
    ------
    InputError
        It is truncated, or holds anything else; says why.
    """
    result = load_json(path)
    missing = [key for key in FIT_KEYS if key not in result]
    missing += [key for key in SCORED if key not in result and not result.get("error")]
    if missing:
        raise InputError(f"{path}: expected a fit, got none of {', '.join(missing)}")
    try:
        dict(result["versions"])
        if not result["error"]:
            score = fold_score(result)
            whole = score.ln_p and all(
                values.ndim == 2 and np.isfinite(score.bits(m)) for m, values in score.ln_p.items()
            )
            if not whole:
                raise ValueError
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        raise InputError(f"{path}: expected the numbers of a fit, got others") from None
    return result


def finished_before(files: Sequence[Path], versions: Mapping[str, str]) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Return the fits that have finished, by the index of their file, and what to say about them.

    Parameters
    ----------
    files : sequence of Path
        Those that are missing or broken are left out.
    versions : mapping of str to str
        Of this run; see `src.runs.record.versions`.
    """
    found, said, others = {}, [], Counter[str]()
    for k, path in enumerate(files):
        if not path.exists():
            continue
        try:
            found[k] = load_fit(path)
        except InputError as error:
            said.append(f"note: {error}; fitted again")
            continue
        if other := versions_that_differ(found[k]["versions"], versions):
            others[other.removeprefix("note: ")] += 1
    said.append(f"{len(found)} of {len(files)} fits have finished before")
    if others:
        said.append(
            "note: of these, " + "; ".join(f"{n} with other versions: now {other}" for other, n in others.items())
        )
    return found, said
