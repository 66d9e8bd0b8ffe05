"""The command ``python -m src.check``: whether the recording lies among free simulations of its fit."""

from src.evaluation.check_command import main
from src.utils.settings import run_script

if __name__ == "__main__":
    run_script(main, "check")
