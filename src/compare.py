"""The command ``python -m src.compare``: circuits, ranked by how well they predict held-out data."""

from functools import partial

from src.evaluation.compare import main
from src.utils.processes import interrupted_by_endings
from src.utils.settings import run_script
from train_meso import train

if __name__ == "__main__":
    interrupted_by_endings()
    run_script(partial(main, train), "compare")
