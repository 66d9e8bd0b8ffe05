"""The command ``python -m src.report``."""

from src.report.report import main
from src.utils.settings import run_script

if __name__ == "__main__":
    run_script(main, "report")
