"""Lets ``python -m src.posterior`` run the command."""

from src.posterior.command import main
from src.utils.processes import interrupted_by_endings
from src.utils.settings import run_script

if __name__ == "__main__":
    interrupted_by_endings()
    run_script(main, "posterior")
