"""Lets ``python -m src.runs`` run several trainings, as 3pop_neuLVM.sh does."""

from functools import partial

from src.report.summary import main as summary
from src.runs.launch import SCRIPT, main
from src.utils.processes import interrupted_by_endings
from src.utils.settings import run_script
from train_meso import main as train

if __name__ == "__main__":
    interrupted_by_endings()
    run_script(partial(main, train, summary), SCRIPT)
