"""What happens in the process of a job (`src.utils.jobs`): it is done, its lines get a name, its end is noted."""

import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from types import FrameType
from typing import Any, NamedTuple, TextIO

from tqdm import tqdm

from src.utils.exceptions import FitError, InputError
from src.utils.settings import anywhere
from src.utils.text import error_in_words

LOOKS = 0.2  # s, how often a process looks whether the one that started it is still there


class Outcome(NamedTuple):
    """How a job ended: its result, or in words why it failed; and how long it took, in s."""

    result: Any
    error: str
    seconds: float


class _State:
    """Of this process: whether it is doing a job, and whether it is to do no more."""

    busy = ending = False


def begin(parent: int) -> None:
    """Make a process ready for jobs. It ends with the one that started it, also where that one is killed."""
    os.setsid()  # Ctrl-C in the terminal reaches the other one alone, which hands it on

    def stop(number: int, frame: FrameType | None) -> None:
        _State.ending = True
        if _State.busy:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    tqdm.set_lock(threading.RLock())  # its own would be between processes, and stay behind where one is killed
    anywhere()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOKS)
        os._exit(1)  # at any moment: files are written whole or not at all

    threading.Thread(target=watch, daemon=True).start()


def serve(done: Callable[..., Outcome], *given: Any) -> Outcome:
    """Do a job in a process that `begin` made ready. An interrupt ends the job; nobody waits for its outcome."""
    _State.busy = True
    try:
        if not _State.ending:
            return done(*given)
    except KeyboardInterrupt:
        pass
    finally:
        _State.busy = False
    return Outcome(None, "interrupted", 0.0)


def do(function: Callable[[Any], Any], job: Any, name: str) -> Outcome:
    """Do a job. What it prints has its name in front."""
    began, result, error = time.monotonic(), None, ""
    out, err = _Lines(sys.stdout, name), _Lines(sys.stderr, name)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            result = function(job)
        except (InputError, FitError, OSError, MemoryError) as trouble:
            error = error_in_words(trouble, "not enough memory")
        except SystemExit as trouble:
            error = "" if trouble.code in (0, None) else f"exit status {trouble.code}"
        except Exception as trouble:  # noqa: BLE001 - a mistake of ours must not end the other jobs
            traceback.print_exc()
            error = f"{type(trouble).__name__}: {error_in_words(trouble)}"
        finally:
            out.end()
            err.end()
    return Outcome(result, error, round(time.monotonic() - began, 2))


class _Lines(io.TextIOBase):
    """Hands on whole lines, with a name in front; of a bar, what it shows in the end."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream, self.name, self.rest = stream, name, ""
        self.wipe = "\r\033[K" if stream.isatty() else ""  # what the bar of all jobs has drawn there

    def write(self, text: str) -> int:
        """Take text; hand on the lines that end in it."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.stream.write(f"{self.wipe}[{self.name}] {line.rstrip(chr(13)).rsplit(chr(13), 1)[-1]}\n")
            self.stream.flush()
        return len(text)

    def end(self) -> None:
        """Hand on what is left."""
        if self.rest:
            self.write("\n")
