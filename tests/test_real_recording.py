"""The page of the real recording: its files are what the commands read, and its options and modules are there."""

import csv
import importlib.util
import re
import shlex
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from src.data.options import DataOptions
from src.model.circuit_file import load_circuit
from src.runs.settings import FitSettings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "real_recording.md"
OF_LAUNCHER = {"--runs", "--at_once"}


def blocks(language):
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands():
    """Return the words of every command of the page, of a `for` loop and a function too."""
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(part, comments=True) for line in lines for part in re.split(r"; (?:do )?|\{ ", line)]


def test_every_module_and_option_exists():
    options = {f"--{field.name}" for field in fields(FitSettings)}
    fits = [words for words in commands() if words and words[0] in ("./3pop_neuLVM.sh", "try")]
    assert len(fits) == 7
    given = {word for words in fits for word in words if word.startswith("--")}
    assert given - options == OF_LAUNCHER
    modules = {words[2] for words in commands() if words[:2] == ["python", "-m"] and words[2].startswith("src.")}
    assert modules == {"src.check", "src.heldout", "src.posterior", "src.report"}
    assert all(importlib.util.find_spec(module) for module in modules)
    named = set(re.findall(r"`(--\w+)", PAGE.read_text(encoding="utf-8")))
    assert "--leave_out_refractory_spikes" in named and named <= options
    assert {field.name for field in fields(DataOptions)} >= {"population_column", "labels"}


@pytest.fixture
def files(tmp_path):
    """What the page lets its reader write, in a folder."""
    (circuit,) = blocks("toml")
    (tmp_path / "one.toml").write_text(circuit)
    # Neither fits nor downloads.
    script = "python() { :; }; tar() { :; }; sha256sum() { :; }; cp() { :; }; mkdir result\n"
    script += "".join(text for text in blocks("bash") if "3pop_neuLVM.sh" not in text)
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_its_files_can_be_read(files):
    names = {path.stem: load_circuit(path).names for path in files.glob("*.toml")}
    assert names == {"one": ("P",), "two_ms": ("P",), "half_ms": ("P",), "two_kinds": ("fast", "slow")}
    refractory = {path.stem: load_circuit(path).refractory_time for path in files.glob("*_ms.toml")}
    assert refractory == {"two_ms": 0.002, "half_ms": 0.0005}
    rows = {path.stem: list(csv.DictReader(path.read_text().splitlines())) for path in files.glob("*.csv")}
    assert [row["end"] for name in ("trials", "minute") for row in rows[name]] == ["120", "160"]
    assert [row["population"] for row in rows["without_191"]] == ["P", "", "P"]
    assert {row["population"] for row in rows["two_kinds"]} == set(names["two_kinds"])


def test_pictures_and_links_lead_somewhere():
    text = PAGE.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 2 and all((PAGE.parent / path).stat().st_size < 150_000 for path in pictures)
    made = {Path(words[2]).name for words in commands() if words[:1] == ["cp"]}
    assert made == {Path(path).name for path in pictures}  # every picture is made by a command beside it
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    assert links and all((PAGE.parent / link).exists() for link in links)
    for page in ("tutorial.md", "data.md", "check.md"):
        assert "](real_recording.md" in (PAGE.parent / page).read_text(encoding="utf-8")
