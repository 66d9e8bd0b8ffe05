"""Where results are, for all scripts: the default folder, and the names in it."""

from pathlib import Path

from src.data.options import END

SAVE_DIR = "result/3pop example"
"""Where the trainings write, and the other scripts look, without options."""
RECORD = "run.json"
"""File in the folder of each training that says what it is and how it ended."""
START_FILE = "init_param"
"""Archive beside it of what the training began with."""
CHECKPOINT = "checkpoint"
"""File beside it, while the training runs or after it was interrupted: all that is needed to go on."""


def parameters_file(EMstep: int) -> str:
    """Return the name of the archive of what an M-step found."""
    return f"minimizor_result_{EMstep}"


def activity_file(EMstep: int) -> str:
    """Return the name of the archive of what an E-step found; 0 is the start of the activity."""
    return f"E{EMstep}_est_param"


def data_folder(
    save_dir: str | Path, end_timepoint: float | None, data: str | None = None, start_timepoint: float | None = None
) -> Path:
    """Return the folder of all trainings on the data set between two times, in s, or on the file `data`."""
    begin = "" if start_timepoint is None else f"{start_timepoint:g}-"
    if data is None:
        return Path(save_dir, f"data{begin}{END if end_timepoint is None else end_timepoint:g}")
    until = "" if end_timepoint is None else f"{end_timepoint:g}"
    return Path(save_dir, Path(data).stem + (f"_{begin}{until}s" if begin or until else ""))


FOLDER = data_folder(SAVE_DIR, None)
"""The folder of trainings, without options."""
