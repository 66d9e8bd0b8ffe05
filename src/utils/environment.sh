# shellcheck shell=bash
# Sourced by the scripts, from the repository's folder. Gives `use_environment FILE...`, after which `python` is one that
# has what these requirement files ask for: that of the active environment if it has it all, else that of .venv, which is
# made if needed (with all requirements, so that the scripts share it). This part finds a Python; environment.py beside
# it does the rest.

# Print why the Python called $1 cannot be used, nothing if it can; $2 is Python code with further conditions.
_why_not() {
    local answer
    answer=$("$1" -c "import sys
if sys.version_info < (3, 10): sys.exit('it is Python %d.%d, older than 3.10' % sys.version_info[:2])
$2" 2>&1) && return
    answer=${answer%%$'\n'*}
    printf '%s' "${answer:-it does not run}"
}

# Print why the active environment cannot be used for these requirement files, nothing if it can.
_why_not_active() {
    local reason status=0
    command -v python >/dev/null || { printf 'it has no Python'; return; }
    reason=$(_why_not python "")
    [[ -n $reason ]] || reason=$(python -m src.utils.environment check "$@") || status=$?
    ((status != 130)) || return "$status" # interrupted
    ((status == 0)) || reason="it cannot be looked into"
    printf '%s' "$reason"
}

# Print the first Python on the path that is able to make .venv, or say on standard error why there is none.
_find_python() {
    local candidate reason reasons="" can_make_venv="
if sys.version_info >= (3, 14): sys.exit('it is newer than TensorFlow 2.21 supports')
try: import ensurepip, venv
except ImportError: sys.exit('its venv module is missing, Debian and Ubuntu have it in python3-venv')"
    # All of a name: one that is of no use may hide another, the active environment's that of the system.
    while IFS= read -r candidate; do
        reason=$(_why_not "$candidate" "$can_make_venv" </dev/null)
        [[ -n $reason ]] || { printf '%s' "$candidate"; return; }
        reasons+="; $candidate: $reason"
    done < <(type -aP python3 python3.13 python3.12 python3.11 python3.10 python)
    echo "error: Python 3.10 to 3.13 with its venv module is needed to make .venv, and none was found${reasons}" >&2
    return 1
}

use_environment() {
    local python reason active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
    # A .venv of ours that the user has activated is kept up to date like one that is not.
    if [[ -n $active && $active != "$PWD/.venv" && ! $active -ef .venv ]]; then
        reason=$(_why_not_active "$@") || return
        [[ -n $reason ]] || return 0
        echo "note: .venv is used instead of the active environment ($active): $reason" >&2
    fi
    unset PYTHONHOME PYTHONPATH CONDA_PREFIX # they would lead .venv's Python to the packages of others
    python=$(_find_python) || return 1
    "$python" -m src.utils.environment make requirements.txt tests/requirements.txt || return
    export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
}
