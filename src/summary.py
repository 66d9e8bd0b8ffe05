"""The command ``python -m src.summary``: the table and the figure of a folder of trainings."""

from src.report.summary import main
from src.utils.settings import run_script

if __name__ == "__main__":
    run_script(main, "summary")
