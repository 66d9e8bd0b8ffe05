#!/usr/bin/env bash
# Check everything: ruff, mypy, pytest. Arguments go to pytest, as in ./run_tests.sh -k golden; -m slow runs the rest
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
source src/utils/environment.sh
use_environment requirements.txt tests/requirements.txt || exit

failed=""
part() {
    printf '\n== %s\n' "$*"
    "$@" || failed+=", $*"
}
part python -m ruff check .
part python -m ruff format --check .
part python -m mypy src
part python -m pytest -n auto --maxprocesses 4 --dist worksteal "$@"

if [[ -n $failed ]]; then
    printf '\nFailed: %s\n' "${failed#, }"
    exit 1
fi
printf '\nEverything passed in %d s.\n' "$SECONDS"
