"""Look into the active environment, or make .venv, for the scripts; called by environment.sh, needs only Python."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "requirements.stamp"
UNFINISHED = "unfinished"


class SetupError(Exception):
    """The environment cannot be used; the message says why and what to do."""


def requirements(files: Sequence[str], python: tuple[int, int] = sys.version_info[:2]) -> dict[str, str]:
    """Read requirement files; return the version range of every package that this Python needs by its name."""
    lines = (line.split("#")[0].strip() for file in files for line in Path(file).read_text().splitlines())
    split = re.compile(r"([\w.-]+)\s*([^;]*?)\s*(?:;\s*python_version\s*<\s*['\"](\d+)\.(\d+)['\"])?")
    found = (split.fullmatch(line) for line in lines if line)
    return {each[1]: each[2] for each in found if each and (not each[3] or python < (int(each[3]), int(each[4])))}


def installed_version(name: str) -> str | None:
    """Return the version of what is installed for a requirement: "" if it does not say, None if there is nothing.

    What has the name is a distribution; its module may be called otherwise, as that of pytest-xdist is. Only where
    there is no such distribution, a module of this name will do, whichever brings it: tensorflow-cpu is TensorFlow.
    """
    try:
        return version(name)
    except (PackageNotFoundError, KeyError, FileNotFoundError):  # what was half removed may not say its version
        module = re.sub(r"[-_.]+", "_", name).lower()
        spec = find_spec(module)
        if spec is None or spec.origin is None:  # nothing, or no more than a folder
            return None
        return next((version(other) for other in packages_distributions().get(module, ())), "")


def check(files: Sequence[str]) -> str:
    """Return what the running Python's environment lacks of what the files name, in words; "" if it has everything.

    If it has, versions that were not tried are mentioned on standard error. They are no reason against it: they may
    well work, and the environment is the user's.
    """
    wanted = requirements(files)
    found = {name: installed_version(name) for name in wanted}
    missing = [name for name, its_version in found.items() if its_version is None]
    if missing:
        return f"it lacks {', '.join(missing)}"
    for name, its_version in found.items():
        try:
            from packaging.specifiers import SpecifierSet  # comes with Matplotlib

            if its_version and its_version not in SpecifierSet(wanted[name]):
                said = f"{name} {its_version} of the active environment is outside the tried range {wanted[name]}"
                print(f"note: {said}", file=sys.stderr)
        except ImportError:
            break
    return ""


def make(files: Sequence[str]) -> None:
    """Make .venv and install the files' requirements, unless this is done already.

    The stamp in .venv says for which requirements and which Python an installation ended well. While one is under way
    it says so: what was broken off half-way, or lost its Python, is made anew.

    Raises
    ------
    SetupError
        The environment cannot be made, or pip fails.
    """
    with _one_at_a_time():
        stamp = STAMP.read_text() if STAMP.exists() else ""
        python = _python_version()
        if stamp == _stamp(files, python):
            return
        start = time.monotonic()
        if not python or (stamp and python not in stamp):  # made for another Python, or unfinished
            # In a virtual environment, the Python that it was made from: that stays when the other one, which may be
            # this very .venv, goes.
            base = getattr(sys, "_base_executable", None) or sys.executable
            print(f"{'Making .venv anew' if VENV.exists() else 'Making .venv'} with {base} ...", flush=True)
            shutil.rmtree(VENV, ignore_errors=True)
            VENV.mkdir()
            STAMP.write_text(UNFINISHED)
            _run([base, "-m", "venv", str(VENV)], "the virtual environment could not be made")
        STAMP.write_text(UNFINISHED)
        print(f"Installing {' and '.join(files)} into .venv; the first time this takes some minutes ...", flush=True)
        pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        _run([*pip, *_as_options(files).split()], "pip could not install the requirements")
        STAMP.write_text(_stamp(files, _python_version()))
        print(f"The environment is ready ({time.monotonic() - start:.0f} s).", flush=True)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock against a second script that sets up the same .venv; it ends with the process at the latest."""
    # The lock lies on this very file: one inside .venv would go when .venv is made anew.
    with open(__file__) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another script is setting up .venv; waiting for it ...", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # some network file systems know no locks
        yield


def _stamp(files: Sequence[str], python: str) -> str:
    """Return what the stamp says once these files are installed for this version of Python."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes() + b"\0")
    return f"{digest.hexdigest()} {python}\n"


def _python_version() -> str:
    """Return the version of .venv's Python, for instance "3.11"; "" if it does not run or has no pip."""
    asks = "import sys, importlib.util as u; u.find_spec('pip') or sys.exit(1); print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.run([PYTHON, "-c", asks], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _as_options(files: Sequence[str]) -> str:
    """Return the files as options of ``pip install``."""
    return " ".join(f"-r {file}" for file in files)


def _run(command: Sequence[str], failure: str) -> None:
    """Run a command, its words into a log; if it fails, raise a `SetupError` with the errors among them."""
    log = VENV / "setup.log"
    with open(log, "w") as file:
        # A user's "pip install --user" setting would make pip refuse to work in a virtual environment.
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, "PIP_USER": "0"}
        ).returncode
    if status:
        lines = log.read_text(errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
        raise SetupError(f"{failure} (exit status {status}; {log}): {' '.join(errors[-2:])}")


def main(argv: Sequence[str]) -> int:
    """Do ``make FILE...``, or ``check FILE...``, which prints what is lacking; return the exit status.

    What went wrong is one line on standard error.
    """
    action, *files = argv
    try:
        if action == "make":
            make(files)
        else:
            print(check(files), end="")
    except (SetupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the next start goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
