"""A folder of results is of one process at a time."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from src.utils import lock
from src.utils.exceptions import InputError
from src.utils.lock import LOCK, FolderLock

HOLDS = """
import sys, time
from pathlib import Path
from src.utils.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("holds", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "holds\n"
        yield process
        process.kill()


def test_a_folder_in_use_is_refused_with_who_holds_it(tmp_path, holder):
    said = re.escape(f"{tmp_path}: in use by process {holder.pid} on {socket.gethostname()} since")
    for _ in range(10):
        with pytest.raises(InputError, match=f"^{said} {time.strftime('%Y')}.* [(]-c"):
            FolderLock(tmp_path)


def test_a_lock_whose_process_was_killed_is_taken_over(tmp_path, holder):
    (tmp_path / ".run.json.1.part").touch()
    with pytest.raises(InputError):
        FolderLock(tmp_path)
    assert (tmp_path / ".run.json.1.part").exists()  # it is the other one's
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).exists()
    with FolderLock(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        assert not (tmp_path / ".run.json.1.part").exists()
    assert list(tmp_path.iterdir()) == []


def test_the_same_process_is_refused_as_well_and_then_not(tmp_path):
    folder = tmp_path / "new" / "folder"
    first = FolderLock(folder)
    with pytest.raises(InputError, match=f"process {os.getpid()} "):
        FolderLock(folder)
    first.release()
    first.release()
    FolderLock(folder).release()


def test_a_file_that_went_while_it_was_being_locked_is_not_held(tmp_path, monkeypatch):
    """The last holder removes it between our opening and our locking: the lock would be on a file that is nowhere."""
    once, real = [], lock.fcntl.flock

    def flock(file, how):
        real(file, how)
        if not once:
            once.append((tmp_path / LOCK).unlink())

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with FolderLock(tmp_path), pytest.raises(InputError):
        FolderLock(tmp_path)


def test_a_file_system_without_locks_is_used_and_said(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with FolderLock(tmp_path), FolderLock(tmp_path):
        pass
    assert "no locks in its file system (Operation not supported)" in capsys.readouterr().out
