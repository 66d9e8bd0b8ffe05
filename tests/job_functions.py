"""Functions that processes import by name, for the tests of jobs."""

import os
import signal
import time

from src.utils.exceptions import FitError, InputError


def square(number):
    print("of", number)
    return number**2


def where_it_runs(number):
    time.sleep(0.05)
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


def fails(how):
    if how == "fit":
        raise FitError("no luck")
    if how == "input":
        raise InputError("x: expected 1, got 2")
    if how == "memory":
        raise MemoryError
    if how == "mistake":
        return {}["a"]
    if how == "exit":
        raise SystemExit(3)
    return "done"


def killed(given):
    """Note every try in a file, and kill its own process: always, once, or never."""
    folder, how = given
    tries = folder / how
    tries.write_text((tries.read_text() if tries.exists() else "") + "x")
    if how == "always" or (how == "once" and tries.read_text() == "x"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return how


def sees_nothing(path):
    return False


def not_to_be_sent(number):
    return number or (each for each in "ab")


def sleeps(seconds):
    time.sleep(seconds)


def says_who_then_sleeps(seconds):
    print(os.getpid())
    time.sleep(seconds)


def fit(job):
    """Fit the first moment of the shipped data from one random start; return the numbers, loss and last activity."""
    from dataclasses import replace

    from src.utils.quiet import use_tensorflow
    from tests.training import MODEL, SETTINGS, load
    from train_meso import train

    use_tensorflow(1)
    found = train(load(), MODEL, replace(SETTINGS, train_Noinit=job))
    return found.X.tolist(), found.loss, found.activity.tolist()


def kill_parent(_):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
