"""A folder of results is of one process at a time.

The lock is an advisory one of the operating system (``flock``) on a file in the folder. So it is gone with the process
that held it, however that ended, and there is nothing to clear away by hand. It holds between machines where the file
system carries locks: NFS (version 4, or 3 with its lock service), Lustre mounted with ``flock``, GPFS, CephFS.
"""

import errno
import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from src.utils.exceptions import InputError
from src.utils.files import make_folder, remove_half_written

LOCK = ".lock"
"""The file. It stays as long as the folder is in use, or as its last user was killed."""


WITHOUT_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)
"""What a file system says that has no locks."""


class FolderLock:
    """Makes a folder and holds it, from the beginning of its life to `release`, or as a context.

    What a killed process left there half-written is removed.

    Raises
    ------
    InputError
        It cannot be made, or another process holds it; the message says which.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.path = folder / LOCK
        while True:
            self._file: Any = self.path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = self._holder()
                self._file.close()
                raise InputError(
                    f"{folder}: in use by {holder}; expected a folder that nobody else writes to"
                ) from None
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise
                print(
                    f"note: {folder}: no locks in its file system ({error.strerror}): send no other fit there meanwhile"
                )
                return
            if self._is_there():
                break
            self._file.close()  # its last holder has removed it meanwhile
        self._file.truncate(0)
        about = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        json.dump(about | {"command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])}, self._file)
        self._file.flush()
        remove_half_written(folder)

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the folder; a second time does nothing."""
        if not self._file.closed:
            if self._is_there():
                self.path.unlink(missing_ok=True)  # before the lock goes: later it could be that of the next one
            self._file.close()

    def _is_there(self) -> bool:
        """Return whether the open file is the one in the folder."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._file.fileno()))

    def _holder(self) -> str:
        """Return who holds the folder, in words."""
        try:
            self._file.seek(0)
            about = json.load(self._file)
            return f"process {about['pid']} on {about['host']} since {about['since']} ({about['command']})"
        except (ValueError, KeyError, TypeError):  # it has not written it yet
            return "another process"
