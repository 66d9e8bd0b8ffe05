"""The workers of a Dask scheduler, as an executor. Dask is an optional requirement."""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from src.utils.exceptions import InputError
from src.utils.files import make_folder
from src.utils.text import error_in_words, some

INSTALL = "python -m pip install 'distributed>=2024.8'"
SECONDS_TO_ANSWER = 15
LOOKS = 2.0  # s, how often it looks whether there are workers


@contextmanager
def cluster(address: str, shared: Path | None = None) -> Iterator[Executor]:
    """Give an executor whose workers are those of a scheduler. Leaving it by an exception drops what has not begun.

    Parameters
    ----------
    address : str
        Of the scheduler.
    shared : Path, optional
        A folder that jobs write to.

    Raises
    ------
    InputError
        Dask is missing, there is no scheduler, its workers cannot be used, or do not see the folder.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(f"scheduler: expected Dask to be installed: {INSTALL} ({error_in_words(error)})") from None
    try:
        there = urlsplit(address)
        # First a plain connection: a client that finds nobody takes half a minute to give up.
        socket.create_connection((there.hostname or "", there.port or 0), SECONDS_TO_ANSWER).close()
        client = Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            "scheduler: expected the address of a Dask scheduler that answers, such as tcp://127.0.0.1:8786, got "
            f"{address!r} ({error_in_words(error)})"
        ) from None
    with client:
        _check_workers(client, shared)
        pool, ended = client.get_executor(pure=False), Event()
        Thread(target=tell_of_missing_workers, args=(client, ended), daemon=True).start()
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False)  # cancels
            raise
        finally:
            ended.set()


def _check_workers(client: Any, shared: Path | None) -> None:
    """Refuse workers that could not do a job; wait for the first."""
    if not client.nthreads():
        print("note: the scheduler has no workers yet; waiting for the first", flush=True)
        client.wait_for_workers(1)
    threads = client.nthreads()
    several = [f"{worker} has {number}" for worker, number in threads.items() if number > 1]
    if several:
        raise InputError(f"scheduler: expected workers of one thread (--nthreads 1), but {some(several, 3)}")
    # An error comes back from those who cannot import even this. The scheduler reads jobs, too.
    found = client.run(_is_here, on_error="return")
    strangers = [worker for worker, here in found.items() if here is not True]
    try:
        client.run_on_scheduler(_is_here)
    except ImportError:
        strangers.insert(0, "the scheduler")
    if strangers:
        raise InputError(
            f"scheduler: expected processes that can import src, but {some(strangers, 3)} cannot: start them with the "
            "folder of this project in their PYTHONPATH"
        )
    if shared is not None:
        make_folder(shared)
        with tempfile.NamedTemporaryFile(dir=shared, prefix=".seen.") as sign:
            blind = [worker for worker, sees in client.run(os.path.exists, sign.name).items() if not sees]
        if blind:
            raise InputError(f"scheduler: expected workers that see {shared}, but {some(blind, 3)} cannot")


def tell_of_missing_workers(client: Any, ended: Event) -> None:
    """Say if a scheduler has lost its last worker: jobs wait for another one. Runs until all jobs have ended."""
    told = False
    while not ended.wait(LOOKS):
        try:
            missing = not client.nthreads()
        except Exception:  # noqa: BLE001 - it is gone, which the jobs say
            return
        if missing and not told:
            tqdm.write("note: the scheduler has no workers left; waiting for another one", file=sys.stderr)
        told = missing


def _is_here() -> bool:
    return True


def killed_there() -> tuple[type[BaseException], ...]:
    """Return what a job raises whose workers died again and again."""
    there = sys.modules.get("distributed")
    return () if there is None else (there.KilledWorker,)
