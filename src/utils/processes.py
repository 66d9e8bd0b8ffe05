"""How many cores and how much memory there are, threads side by side, and what ends a script from outside."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

ONE_THREAD = {
    f"{name}_THREADS": "1" for name in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")
}
"""Environment of a process that is one of several: thread pools as large as the machine, in each of several processes,
would only get in each other's way."""

GROUPS, GROUPS_OF_THIS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux says which limits a container, or a job of a cluster, has."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_there() -> float:
    """Return how many bytes of memory this process may use: those of the machine, or of its container or job."""
    return min([float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")), *_memory_limits()])


def _memory_limits() -> Iterator[float]:
    """Give the limits of the control groups that this process is in, and of those around them (man 7 cgroups)."""
    try:
        lines = GROUPS_OF_THIS.read_text().splitlines()
    except OSError:
        return
    for _, kinds, group in (line.split(":", 2) for line in lines):
        if kinds and "memory" not in kinds.split(","):
            continue
        top, file = (GROUPS / "memory", "memory.limit_in_bytes") if kinds else (GROUPS, "memory.max")
        here = top / group.lstrip("/")
        for folder in (here, *here.parents):
            if folder.is_relative_to(top):  # of a container, the group can be one that it does not see
                with suppress(OSError, ValueError):  # without a limit: "max"
                    yield float(int((folder / file).read_text()))


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


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def interrupted_by_endings() -> None:
    """Make what ends a script from outside, as closing its terminal does, the same to it as Ctrl-C."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) != signal.SIG_IGN:  # as under nohup
            signal.signal(ending, _interrupt)
