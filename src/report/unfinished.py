"""What a report can say about a training that did not finish, and about a folder in which none did."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.model.containers import Model
from src.report.inputs import circuit_section, data_section, settings_section
from src.report.page import Lines, Section, Table, Text
from src.runs.load import Training, find_records, none_finished
from src.runs.paths import CHECKPOINT
from src.runs.record import RunRecord
from src.utils.exceptions import InputError
from src.utils.files import load_json

BEGUN = ("running", "interrupted", "failed")
"""What the record of a training says that has begun and not finished."""


def unfinished_sections(folder: Path, reasons: Sequence[str]) -> list[Section]:
    """Return what a report says on a folder without finished trainings.

    Parameters
    ----------
    folder : Path
    reasons : sequence of str
        Why each training is not used, in the order of their records.

    Raises
    ------
    InputError
        No training has begun.
    """
    paths = find_records(folder)
    if not any(_record(path).get("status") in BEGUN for path in paths):
        raise none_finished(folder, reasons)
    begun = [training for path in paths if (training := _training(folder, path))]
    rows = [["run", "loss", "seconds", "EM steps", "ended"]]
    rows += [ended_row(folder, path, reason) for path, reason in zip(paths, reasons, strict=True)]
    warnings = ["No run finished: there is no fit to report.", *(f"{row[0]}: {row[-1]}." for row in rows[1:])]
    waiting = [row[0] for row, path in zip(rows[1:], paths, strict=True) if path.with_name(CHECKPOINT).exists()]
    if waiting:
        warnings.append(
            f"With --resume, the commands that began them go on from the checkpoints of {', '.join(waiting)}."
        )
    words = f"No run finished of {len(paths)}. Loss (nats per population and bin) and steps are the last written down."
    ended = Section("Runs", "runs", [Text(words), Table("How each run ended.", rows, words=True)])
    known = [_data(begun), circuit_section(begun[0].model), settings_section(begun, begun[0])] if begun else []
    return [Section("Warnings", "warnings", [Lines(warnings)]), ended, *known]


def _data(begun: list[Training]) -> Section:
    """Show the data of the first training that has got as far as writing them down."""
    reasons = []
    for training in begun:
        try:
            return data_section(training)
        except InputError as error:
            reasons.append(f"{error}.")
    return Section("Data", "data", [Text("No run has left the recording as it was fitted."), Lines(reasons)])


def _record(path: Path) -> dict[str, Any]:
    try:
        return load_json(path)
    except InputError:
        return {}


def _training(folder: Path, path: Path) -> Training | None:
    """Return what a training knew when it began, None if its record does not say it."""
    try:
        record = RunRecord.load(path.parent)
        return Training(path.parent, _name(folder, path), Model.from_dict(record.model), record)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _name(folder: Path, path: Path) -> str:
    inside = path.parent.relative_to(folder)
    return str(inside) if inside.parts else path.parent.name


def ended_row(folder: Path, path: Path, reason: str) -> list[str]:
    """Return the row of a run that is not used: what its record says, as far as it can be read."""
    record = _record(path)
    history, loss, seconds = (record.get(key) for key in ("history", "loss", "seconds"))
    cells = [f"{value:.{digits}f}" if isinstance(value, float) else "-" for value, digits in ((loss, 4), (seconds, 1))]
    steps = str(len(history)) if isinstance(history, list) else "-"
    return [_name(folder, path), *cells, steps, reason.removeprefix(f"{path.parent}: ")]
