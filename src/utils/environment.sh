# shellcheck shell=bash
# Sourced by the scripts, from the repository's folder. Gives `use_environment FILE...`, after which `python` is one that
# has what these requirement files ask for: that of the active environment, else that of .venv, which is made if needed
# (with all requirements, so that the scripts share it). This part finds a Python; src/utils/environment.py does the rest.

# Print why the Python called $1 cannot be used, nothing if it can; $2 is Python code with further conditions.
_why_not() {
    local answer
    answer=$("$1" -c "import sys
if sys.version_info < (3, 10): sys.exit('it is Python %d.%d' % sys.version_info[:2])
$2" 2>&1) || printf '%s' "${answer%%$'\n'*}"
}

# Print the first command that is a Python able to make .venv, or say on standard error why there is none.
_find_python() {
    local candidate reason reasons="" can_make_venv="
if sys.version_info >= (3, 14): sys.exit('it is newer than TensorFlow 2.21 supports')
try: import ensurepip, venv
except ImportError: sys.exit('its venv module is missing, Debian and Ubuntu have it in python3-venv')"
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
        command -v "$candidate" >/dev/null || continue
        reason=$(_why_not "$candidate" "$can_make_venv")
        [[ -n $reason ]] || { printf '%s' "$candidate"; return; }
        reasons+="; $candidate: $reason"
    done
    echo "error: Python 3.10 to 3.13 with its venv module is needed to make .venv, and none was found${reasons}" >&2
    return 1
}

use_environment() {
    local python reason
    # A .venv of ours that the user has activated is kept up to date like one that is not.
    if [[ -n ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} && ${VIRTUAL_ENV:-} != "$PWD/.venv" ]]; then
        reason=$(_why_not python "")
        if [[ -n $reason ]]; then
            echo "error: Python 3.10 or later is needed, but the active environment's cannot be used: $reason" >&2
            return 1
        fi
        python -m src.utils.environment check "$@"
        return
    fi
    python=$(_find_python) || return 1
    "$python" -m src.utils.environment make requirements.txt tests/requirements.txt || return
    export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
}
