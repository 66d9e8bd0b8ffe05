#!/usr/bin/env bash
# Five trainings of train_meso.py (--train_Noinit 1 to 5) from different random starts, two at a time where there are two
# cores, then the table of the five. Options go to every training, as in ./3pop_neuLVM.sh --max_EMsteps 3
set -euo pipefail
export CALLED_FROM=$PWD # to which relative paths among the options refer
cd "$(dirname "${BASH_SOURCE[0]}")"
source src/utils/environment.sh
use_environment requirements.txt
exec python -m src.runs "$@"
