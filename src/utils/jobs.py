"""Many jobs: on the cores of this machine, or on a cluster. Whatever runs side by side in processes runs here.

A job is plain data, and a function that can be imported makes its result of it. So it does not matter where it runs, in
which order, or beside what. Processes are those of loky, each with one thread; one process serves many jobs. A job that
fails is told with its reason, and the others go on. So is one whose process was killed, but it gets another try, alone:
the memory that it lacked may have been taken by its neighbours.
"""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from src.utils.cluster import cluster, killed_there
from src.utils.exceptions import FitError
from src.utils.processes import ONE_THREAD, cores
from src.utils.settings import option
from src.utils.text import error_in_words
from src.utils.worker import Outcome, begin, do, serve

SECONDS_TO_STOP = 10
"""How long an interrupted job may take to write down how far it came."""
IDLE = 300  # s, after which a process without a job ends
CLEANED_UP = "ignore:resource_tracker:UserWarning"
"""As after `python -W`."""
KILLED = "its process was killed from outside, perhaps for want of memory"


Ended = tuple[int, Outcome | None]
"""Number and outcome of a job; None if its process died."""


def scheduler_option() -> Any:
    """Return the option of a command that can do its work on a cluster."""
    return option(
        None,
        "address of a Dask scheduler, such as tcp://127.0.0.1:8786, whose workers do the work (docs/cluster.md); "
        "without it this machine does",
    )


@dataclass(frozen=True)
class Where:
    """Where jobs run: options of the commands that have many."""

    at_once: int = option(
        min(2, cores()), "so many at a time, each in a process; the result does not depend on it", at_least=1
    )
    scheduler: str | None = scheduler_option()

    @property
    def runs_where(self) -> str:
        """Where jobs run, in words."""
        return f"{self.at_once} at a time" if self.scheduler is None else f"on the workers of {self.scheduler}"

    def of(self, number: int) -> "Where":
        """Return where so many jobs run: no more at a time than there are."""
        return replace(self, at_once=min(self.at_once, number))


def run_jobs(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    names: Sequence[str],
    where: Where,
    told: Callable[[int, Outcome], None] = lambda number, outcome: None,
    unit: str = "fit",
    before: int = 0,
    shared: Path | None = None,
    again: Callable[[Any], Any] = lambda job: job,
) -> list[Outcome]:
    """Run jobs side by side; return how each ended. With one at a time, all happens in this process.

    However this ends, Ctrl-C included, no process is left. On a cluster, what runs there then runs to its end.

    Parameters
    ----------
    function : callable
        Makes the result of a job. Processes import it by its name.
    jobs : sequence
    names : sequence of str
        Of the jobs. What they print has them in front.
    where : Where
    told : callable
        Hears number and outcome of each job as it ends.
    unit, before : str, int
        What a job is called beside the bar, and how many were done before.
    shared : Path, optional
        A folder that jobs write to. Workers of a scheduler have to see it.
    again : callable
        Gives the job for the second try of one whose process was killed.

    Raises
    ------
    InputError
        There is no such scheduler, or it cannot be used.
    """
    tasks = {k: (function, job, name) for k, (job, name) in enumerate(zip(jobs, names, strict=True))}
    outcomes: dict[int, Outcome] = {}
    with tqdm(total=before + len(tasks), initial=before, desc=f"{unit}s", unit=unit, disable=None) as bar:

        def take(number: int, outcome: Outcome) -> None:
            outcomes[number] = outcome
            bar.update()
            told(number, outcome)

        with closing(_run(tasks, where, bar, shared)) as found:
            for k, outcome in found:
                if outcome is not None:
                    take(k, outcome)
        for k in sorted(tasks.keys() - outcomes.keys()):  # their processes died
            outcome = None
            if where.scheduler is None:  # a cluster has tried it several times
                function, job, name = tasks[k]
                with closing(_run({k: (function, again(job), name)}, where, bar, None, apart=True)) as found:
                    ((_, outcome),) = found
            take(k, outcome or Outcome(None, KILLED, 0.0))
    return [outcomes[k] for k in tasks]


def _run(
    tasks: dict[int, tuple], where: Where, bar: tqdm, shared: Path | None, apart: bool = False
) -> Generator[Ended, None, None]:
    """Run tasks; give number and outcome of each as it ends, None for those whose process died.

    On this machine, no more are handed over than run. A cluster gets all, and starts what died again by itself.
    """
    waiting, at_once = list(tasks), where.of(len(tasks)).at_once
    executor: AbstractContextManager[Executor]
    if where.scheduler is not None:
        executor, at_once = cluster(where.scheduler, shared), len(tasks)
    else:
        executor = _Processes() if at_once > 1 or apart else _Here()
    with executor as pool:
        running: dict[Future, int] = {}
        while waiting or running:
            while waiting and len(running) < at_once:
                k = waiting.pop(0)
                running[pool.submit(do, *tasks[k])] = k
            done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            bar.refresh()  # the time left
            for future in done:
                yield running.pop(future), _outcome(future)


def _outcome(future: Future) -> Outcome | None:
    """Return how a job ended; None if its process died.

    Raises
    ------
    FitError
        The scheduler is gone.
    """
    deaths: tuple[type[BaseException], ...] = (BrokenProcessPool, *killed_there())
    try:
        outcome: Outcome = future.result()
    except CancelledError:
        raise FitError("scheduler: it is gone; with --resume, what has finished stays") from None
    except deaths:
        return None
    except Exception as error:  # noqa: BLE001 - what cannot be sent there or back
        return Outcome(None, f"{type(error).__name__}: {error_in_words(error)}", 0.0)
    return outcome


def results_of(outcomes: Sequence[Outcome], names: Sequence[str]) -> list[Any]:
    """Return the results of jobs.

    Raises
    ------
    FitError
        Names those that failed, and why.
    """
    failed = [f"{name}: {outcome.error}" for name, outcome in zip(names, outcomes, strict=True) if outcome.error]
    if failed:
        raise FitError("; ".join(failed))
    return [outcome.result for outcome in outcomes]


class _Here(Executor):
    """Runs a job in this process as soon as it comes."""

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Run a job; what interrupts it interrupts all."""
        future: Future = Future()
        future.set_result(function(*args, **kwargs))
        return future


class _Processes(Executor):
    """Processes of one thread each, as many as are needed at a time; in the end there are none.

    Each is an executor of its own. So one that is killed takes its own job along, and no other.
    """

    def __init__(self) -> None:
        # That a process which has grown is replaced by a new one is nothing to be warned about.
        warnings.filterwarnings("ignore", message="A worker was restarted", category=UserWarning)
        # Nor that what processes which were ended leave behind is cleaned up, by a process that gets these options.
        if CLEANED_UP not in sys.warnoptions:
            sys.warnoptions.append(CLEANED_UP)
        self._others = set(multiprocessing.active_children())
        self._last: dict[Executor, Future] = {}

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Hand over a job, to a process without one."""
        # A process that has just begun does not know yet what to do with an interrupt.
        with _interrupts_later():
            for pool in [pool for pool, last in self._last.items() if last.done()]:
                try:
                    self._last[pool] = pool.submit(serve, function, *args, **kwargs)
                    return self._last[pool]
                except BrokenProcessPool:
                    del self._last[pool]
                    pool.shutdown()
            pool = self._new()
            self._last[pool] = pool.submit(serve, function, *args, **kwargs)
            return self._last[pool]

    def _new(self) -> Executor:
        import loky

        env = {key: value for key, value in ONE_THREAD.items() if key not in os.environ}
        given = {"timeout": IDLE, "initializer": begin, "initargs": (os.getpid(),), "env": env}
        pool: Executor = loky.ProcessPoolExecutor(1, **given)
        return pool

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            for pool in self._last:
                pool.shutdown()
            return
        try:  # ask, and give them some time
            for process in set(multiprocessing.active_children()) - self._others:
                with suppress(ProcessLookupError):
                    os.kill(process.pid or 0, signal.SIGINT)
            wait(self._last.values(), SECONDS_TO_STOP)
        finally:  # a second Ctrl-C ends the waiting
            for pool in self._last:
                pool.shutdown(kill_workers=True)  # type: ignore[call-arg]


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait. Processes and threads that begin meanwhile do not hear of it before they ask for it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
