"""Processes and threads side by side: how many, with one thread each, and none left behind however they end."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from src.utils.text import duration

SECONDS_TO_STOP = 10
"""How long an interrupted command may take to write down how far it came."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_thread() -> dict[str, str]:
    """Return the environment of a process that is one of several; what the user has set in it stays.

    One thread each: thread pools as large as the machine, in each of several processes side by side, would
    only get in each other's way. Lines come at once.
    """
    threads = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    return {**threads, "PYTHONUNBUFFERED": "1", **os.environ}


def side_by_side(function: Callable[[Any], Any], items: Iterable[Any], jobs: int) -> list[Any]:
    """Return what a function gives for each item, some at a time, in threads; after Ctrl-C it begins with no other."""
    if jobs == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(jobs) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Give the processes that start meanwhile the environment of `one_thread`."""
    before = dict(os.environ)
    os.environ.update(one_thread())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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
                env=one_thread(),
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


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def interrupted_by_endings() -> None:
    """Make what ends a script from outside, as closing its terminal does, the same to it as Ctrl-C."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) != signal.SIG_IGN:  # as under nohup
            signal.signal(ending, _interrupt)


def end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, also where that one was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)  # what a fit has found so far is of no use to anybody: files are written by the other process

    threading.Thread(target=wait, daemon=True).start()
