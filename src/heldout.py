"""The command ``python -m src.heldout``: how well a fit predicts units that it was not given (co-smoothing)."""

from functools import partial

from src.evaluation.co_smoothing import main
from src.utils.settings import run_script
from train_meso import train

if __name__ == "__main__":
    run_script(partial(main, train), "heldout")
