"""Which labels of the data are units of which population, where they are not called like it: ``E=E1|E2,I=I``."""

from collections.abc import Sequence

from src.utils.exceptions import InputError
from src.utils.text import shown

FORM = 'POPULATION=LABEL|LABEL,..., such as "E=E1|E2,I=I"'
RESERVED = "=|,"
"""What no label can hold if a circuit file or an option is to name it."""


def as_text(names: Sequence[str], labels: Sequence[Sequence[str]]) -> str:
    """Return the labels of each population, (M,), in the form of the option ``--labels``."""
    return ",".join(f"{name}={'|'.join(each)}" for name, each in zip(names, labels, strict=True))


def from_text(text: str | None, names: Sequence[str]) -> dict[str, int]:
    """Return the population, by its index in `names`, that each label stands for.

    Parameters
    ----------
    text : str or None
        As `as_text` writes it. A population that it does not mention is called like its label, as all are without it.
    names : sequence of str, (M,)

    Raises
    ------
    InputError
        The text is not of this form, names a population twice, or a label is to be of two populations.
    """
    labels, said = {name: [name] for name in names}, set()
    for part in filter(str.strip, (text or "").split(",")):
        name, equals, listed = (word.strip() for word in part.partition("="))
        if not equals or name not in labels:
            raise InputError(f"labels: expected {FORM}, of the populations {', '.join(names)}, got {part.strip()!r}")
        if name in said:
            raise InputError(f"labels: expected each population once, got {name} twice; write {name}=LABEL|LABEL")
        said.add(name)
        labels[name] = [label.strip() for label in listed.split("|") if label.strip()]
    return {
        label: m for m, each in enumerate(in_one_population(names, list(labels.values()), "--labels")) for label in each
    }


def in_one_population(names: Sequence[str], labels: Sequence[Sequence[str]], where: str) -> tuple[tuple[str, ...], ...]:
    """Return the labels if each is of one population, and there once."""
    all_of_them = [(label, name) for name, each in zip(names, labels, strict=True) for label in each]
    first: dict[str, str] = {}
    for label, name in all_of_them:
        if label in first:
            raise InputError(
                f"{where}: expected each label in one population, got {shown(label)} in {first[label]} and {name}; a "
                "population without labels has its own name"
            )
        first[label] = name
    return tuple(tuple(each) for each in labels)
