"""Start TensorFlow without its talk about the machine."""

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType


def import_quietly(name: str) -> ModuleType:
    """Import a module that needs TensorFlow; what is said meanwhile on standard error is shown only if it fails.

    TensorFlow's first lines are printed before its log level is read, so they are held back at the file descriptor.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back():
        return importlib.import_module(name)


def use_tensorflow(threads: int = 1) -> None:
    """Start TensorFlow on so many threads; to be called once, by a script.

    One is enough: the programs here are small, and trainings side by side use the cores better.
    """
    tf = import_quietly("tensorflow")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        pass  # it is running already, as in a notebook or a test: its threads are the caller's business


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """Hold back what is written to standard error, by Python or not; show it if an exception leaves the block."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
