"""Where results are, for all scripts: the default folder, and the names in it."""

from pathlib import Path

SAVE_DIR = "result/3pop example"
"""Where the trainings write, and the other scripts look, without options."""
RECORD = "run.json"
"""File in the folder of each training that says what it is and how it ended."""


def data_folder(save_dir: str | Path, end_timepoint: float) -> Path:
    """Return the folder of all trainings on the data up to `end_timepoint`, in s."""
    return Path(save_dir, f"data{end_timepoint:g}")


FOLDER = data_folder(SAVE_DIR, 11)
"""The folder of trainings, without options."""
