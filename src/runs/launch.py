"""Several trainings of train_meso.py side by side, then their table: the work of 3pop_neuLVM.sh."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from src.data.options import END
from src.runs.paths import FOLDER, SAVE_DIR, data_folder
from src.utils.settings import InputError, Parser, run_script, says_how_to_resume
from src.utils.text import duration, plural

SCRIPT = "3pop_neuLVM.sh"
CALLED_FROM = "CALLED_FROM"
"""Environment variable: the folder that the script was called from, before it changed into that of the repository."""
PATHS = ("dataset", "data", "unit_map", "circuit")
"""Options of a training that are files."""
SECONDS_TO_STOP = 10
"""How long an interrupted training may take to write down how far it came."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Return the environment of a training; what the user has set in it stays.

    One thread each: thread pools as large as the machine, in every one of the trainings that run side by side, would
    only get in each other's way. Lines come at once.
    """
    threads = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    return {**threads, "PYTHONUNBUFFERED": "1", **os.environ}


def last_shown(line: bytes) -> str:
    r"""Return what a terminal would show of a line in the end: progress bars start over with ``\r``."""
    return line.decode(errors="replace").rstrip("\r\n").rsplit("\r", 1)[-1]


class SideBySide:
    """Runs commands, some at a time, and prints what they say, each line with its command's name in front.

    Parameters
    ----------
    commands : mapping
        Every command by its name.
    """

    def __init__(self, commands: Mapping[str, Sequence[str]]):
        self.commands = commands
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._stopping = False

    def run(self, at_once: int) -> dict[str, int]:
        """Run all commands, `at_once` at a time, and return their exit statuses; one that fails stops no other.

        However this ends, Ctrl-C included, no command is left running.
        """
        with ThreadPoolExecutor(at_once) as pool:
            statuses = {name: pool.submit(self._run_one, name) for name in self.commands}
            try:
                done, _ = wait(statuses.values(), return_when=FIRST_EXCEPTION)
                for status in done:
                    status.result()  # raises what went wrong there, before the others are waited for
                return {name: status.result() for name, status in statuses.items()}
            finally:
                self._stop()

    def _run_one(self, name: str) -> int:
        """Run one command to its end; return its exit status, minus the signal's number if one ended it."""
        start = time.monotonic()
        with self._lock:
            if self._stopping:
                return -signal.SIGINT
            # A session of its own: Ctrl-C in the terminal reaches only us, and the command hears of it once, from us.
            process = subprocess.Popen(
                self.commands[name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(),
                start_new_session=True,
            )
            self._processes.append(process)
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._say(name, last_shown(line))
        status = process.wait()
        self._say(name, f"{outcome(status)} after {duration(time.monotonic() - start)}")
        return status

    def _say(self, name: str, text: str) -> None:
        with self._lock:
            print(f"[{name}] {text}", flush=True)

    def _stop(self) -> None:
        """End what still runs: ask first, then insist."""
        with self._lock:
            self._stopping = True
        deadline = time.monotonic() + SECONDS_TO_STOP
        for process in self._processes:
            _signal(process, signal.SIGINT)
        try:
            for process in self._processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:  # a second Ctrl-C ends the waiting
            for process in self._processes:
                _signal(process, signal.SIGKILL)
                process.wait()


def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send a signal to a process that still runs, and to those it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def outcome(status: int) -> str:
    """Return an exit status in words."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"failed (exit status {status})" if status else "finished"


def from_caller(path: str) -> str:
    """Return a path that the user gave, who may have called the script from another folder than this one."""
    caller = os.environ.get(CALLED_FROM, "")
    return path if caller == os.getcwd() else str(Path(caller, path))


def _arguments(argv: Sequence[str] | None) -> tuple[int, int, Path, list[str]]:
    """Read the command line; return number of trainings, how many at a time, their folder, and the trainings' options.

    Raises
    ------
    InputError
        An option cannot be used.
    """
    parser = Parser(
        prog=SCRIPT,
        description="Train from several random starts, side by side, and show the table of all trainings.",
        epilog="All other options go to every training; `python train_meso.py --help` lists them. With --resume, "
        "trainings that have finished stay, those that were interrupted go on, and the others start.",
        allow_abbrev=False,
    )
    parser.add_argument("--runs", type=int, default=5, help="number of trainings (default: 5)")
    parser.add_argument("--at_once", type=int, default=min(2, cores()), help="at a time (default: 2; 1 on one core)")
    parser.add_argument("--dataset", help="data set to fit; without it the one in the repository")
    parser.add_argument("--data", help="recording to fit instead, of any format (docs/data.md)")
    parser.add_argument("--unit_map", help="CSV file of the population of each unit of --data")
    parser.add_argument("--circuit", help="TOML file of the circuit (docs/circuit.md); without it the paper's")
    parser.add_argument("--trials", help="CSV file of intervals, or a table of intervals in --data")
    parser.add_argument("--SAVE_DIR", help=f"folder of results; without it {SAVE_DIR} in the repository")
    text = f"end of the data used, s (default: {END:g}, or that of --data)"
    parser.add_argument("--end_timepoint", type=float, help=text)
    options, rest = parser.parse_known_args(argv)
    for name in ("runs", "at_once"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name}: expected at least 1, got {getattr(options, name)}")
    if any(option.split("=")[0] == "--train_Noinit" for option in rest):
        raise InputError(
            "--train_Noinit: every training gets its own from this script; train_meso.py runs a single one"
        )
    save_dir = SAVE_DIR if options.SAVE_DIR is None else from_caller(options.SAVE_DIR)
    # Given even where they are the defaults: then the folder named at the end is surely the one that was written to.
    given = ["--SAVE_DIR", save_dir]
    end = END if options.end_timepoint is None and options.data is None else options.end_timepoint
    given += [] if end is None else ["--end_timepoint", repr(end)]
    files = {name: from_caller(value) for name in PATHS if (value := getattr(options, name)) is not None}
    if options.trials is not None:
        there = from_caller(options.trials)
        files["trials"] = there if Path(there).exists() else options.trials  # which may be the name of a table
    given += [word for name, path in files.items() for word in (f"--{name}", path)]
    return options.runs, options.at_once, data_folder(save_dir, end, options.data), [*given, *rest]


def main(argv: Sequence[str] | None = None) -> int:
    """Train, print the table and what to do next; return 0, or 1 if a training or the table failed."""
    runs, at_once, folder, options = _arguments(argv)
    start = time.monotonic()
    print(f"{plural(runs, 'training')}, {min(at_once, runs)} at a time; results go to {folder}", flush=True)
    train = [sys.executable, "train_meso.py", "--train_Noinit"]
    side = SideBySide({f"train {i}": [*train, str(i), *options] for i in range(1, runs + 1)})
    with says_how_to_resume(f"./{SCRIPT}", argv):
        statuses = side.run(at_once)
    print(flush=True)
    failed = False
    if folder.is_dir():
        failed = subprocess.run([sys.executable, "-m", "src.summary", str(folder)]).returncode != 0
    print(f"\n{plural(runs, 'training')} took {duration(time.monotonic() - start)}. Results: {folder}")
    for name, status in statuses.items():
        if status:
            failed = True
            print(f"{name} {outcome(status)}; its lines above say why")
    if 2 in statuses.values():
        print(
            "Exit status 2 is an option that cannot be used, or a finished training: --overwrite trains it again, and "
            "--resume leaves it as it is"
        )
    if not failed:
        python = ".venv/bin/python" if Path(sys.prefix) == Path.cwd() / ".venv" else "python"
        which = "" if folder == FOLDER else f" --folder {shlex.quote(str(folder))}"
        print(f"Next, the best of them on its own: {python} simulate_with_trainedparams.py{which}")
    return int(failed)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def interrupted_by_endings() -> None:
    """Make what ends a script from outside, as closing its terminal does, the same to it as Ctrl-C."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) != signal.SIG_IGN:  # as under nohup
            signal.signal(ending, _interrupt)


if __name__ == "__main__":
    interrupted_by_endings()
    run_script(main, SCRIPT)
