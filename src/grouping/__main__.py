"""The command ``python -m src.grouping``."""

from src.grouping.group import main
from src.utils.settings import run_script

if __name__ == "__main__":
    run_script(main, "grouping")
