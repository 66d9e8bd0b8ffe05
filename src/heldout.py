"""The command ``python -m src.heldout``: how well a fit predicts units that it was not given (co-smoothing)."""

from src.evaluation.co_smoothing import main
from src.utils.settings import run_script

if __name__ == "__main__":
    run_script(main, "heldout")
