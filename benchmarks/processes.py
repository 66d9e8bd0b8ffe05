"""Run a command on its own, and say how long it took and how much memory it needed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from src.utils.exceptions import FitError
from src.utils.processes import ONE_THREAD


def environment() -> dict[str, str]:
    """Return the environment of what is measured: one thread each, and this Python where a script looks for one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    active = {} if os.environ.get("CONDA_PREFIX") else {"VIRTUAL_ENV": sys.prefix}
    return {**os.environ, **ONE_THREAD, **active, "PATH": path}


def run_alone(command: Sequence[str], env: Mapping[str, str]) -> tuple[float, float]:
    """Run a command; return seconds from start to end, and the peak memory of its largest process in MiB.

    A process inherits the peak of the one that starts it, so this one has to stay small.

    Raises
    ------
    FitError
        The command failed; the message ends with the last line it wrote.
    """
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        # A session of its own, so that whatever the command started can be ended with it.
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # waited for here, not by subprocess
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines() or ["nothing"]
    if process.returncode:
        raise FitError(f"{' '.join(command)}: exit status {process.returncode}, last line: {lines[-1]}")
    return seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
