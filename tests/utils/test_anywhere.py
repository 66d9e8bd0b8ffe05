"""Scripts run without a display, whatever backend and encoding the environment names."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAYS = """
import sys
from src.utils.settings import run_script

def main():
    from src.plots.style import as_png, new_axes
    print("Zürich, \\u03b1 and \\u4e2d")
    print("\\u03b1", file=sys.stderr)
    sys.stdout.buffer.write(as_png(new_axes().figure)[:4])

run_script(main, "test")
"""


@pytest.mark.parametrize(
    ("backend", "encoding"),
    [("module://no_such.backend", "cp1252"), ("nonsense", "utf-8"), ("qtagg", "ascii:strict"), ("", "cp1252")],
)
def test_any_backend_and_any_encoding(encoding, backend):
    environment = {"PATH": "/usr/bin", "PYTHONIOENCODING": encoding, "MPLBACKEND": backend, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, env=environment, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr.decode(errors="replace")
    assert b"rich, " in run.stdout and run.stdout.startswith(b"\x89PNG")
    assert (b"?" in run.stdout) == (encoding != "utf-8")
