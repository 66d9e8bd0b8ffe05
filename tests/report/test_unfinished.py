"""A folder in which no training finished still gets a report, which says why."""

import shutil

import numpy as np
import pytest

from src.report import report
from src.utils.exceptions import InputError
from src.utils.files import load_arrays, save_arrays
from tests.fake_runs import edit, make_run
from tests.report.test_report import written

FAILED = "M-step 3: a loss of nan"


@pytest.fixture
def folder(tmp_path):
    """A run that failed before it wrote anything, one that was interrupted, one that is running."""
    for i in (1, 2, 3):
        make_run(tmp_path / f"train{i}", seed=i)
        edit(tmp_path / f"train{i}", settings={"data": "my.nwb", "train_Noinit": i}, versions={"numpy": "2.0"})
    edit(tmp_path / "train1", status="failed", ended=FAILED, start=None, X=None, loss=None, history=[], seconds=0.5)
    (tmp_path / "train1" / "init_param").unlink()
    edit(tmp_path / "train2", status="interrupted", ended="by the user", loss=-2.5, seconds=12.25)
    edit(tmp_path / "train3", status="running", ended="", loss=None, X=None, history=[], seconds=0.0)
    for i in (2, 3):
        (tmp_path / f"train{i}" / "checkpoint").write_bytes(b"")
    return tmp_path


def test_it_says_what_was_read_and_how_each_run_ended(folder):
    page = written(folder)
    assert [section["id"] for section in page.all("section")] == ["warnings", "runs", "data", "circuit", "settings"]
    assert [line for line in page.lines if line] == [
        "No run finished: there is no fit to report.",
        f"train1: not finished: failed ({FAILED}).",
        "train2: not finished: interrupted (by the user).",
        "train3: not finished: running.",
        "With --resume, the commands that began them go on from the checkpoints of train2, train3.",
    ]
    rows = page.table("run", "ended")
    assert rows["train1"] == {
        "run": "train1", "loss": "-", "seconds": "0.5", "EM steps": "0", "ended": f"not finished: failed ({FAILED})",
    }  # fmt: skip
    assert [rows["train2"][key] for key in ("loss", "seconds", "EM steps")] == ["-2.5000", "12.2", "3"]
    spikes = load_arrays(folder / "train2" / "init_param")["observed_spikes"][0, 0, 40:]
    assert page.table("population", "recorded")["E1"]["spikes"] == str(spikes.sum())
    assert any(text.startswith("my.nwb: 1 trial of 1.6 s") for text in page.text)
    assert page.table("from \\ to")["E1"] == {"from \\ to": "E1", "E1": "+", "E2": "0", "I": "+"}
    assert page.table("setting")["--train_Noinit"]["value"] == "train1: 1; train2: 2; train3: 3"
    assert "Versions: numpy 2.0." in " ".join(page.text)


def test_without_a_recording_it_says_so(folder):
    for i in (2, 3):
        shutil.rmtree(folder / f"train{i}")
    page = written(folder)
    assert "No run has left the recording as it was fitted." in " ".join(page.text)
    assert "init_param: cannot be read" in page.lines[-1]


@pytest.mark.parametrize("model", [None, [], "a circuit", {}, {"names": 3}, {"names": ["E"]}])
def test_records_without_a_circuit_have_a_row_and_no_more(folder, model):
    for i in (1, 2, 3):
        edit(folder / f"train{i}", model=model)
    page = written(folder)
    assert [section["id"] for section in page.all("section")] == ["warnings", "runs"]
    assert list(page.table("run", "ended")) == ["train1", "train2", "train3"]


def test_a_broken_record_beside_them_is_named(folder):
    (folder / "train2" / "run.json").write_text("{")
    page = written(folder)
    assert "expected JSON" in page.table("run", "ended")["train2"]["ended"]
    assert page.table("population", "recorded")


def test_the_folder_of_the_run_itself(folder):
    page = written(folder / "train1")
    assert list(page.table("run", "ended")) == ["train1"]


def test_one_finished_run_is_enough_for_a_whole_report(folder):
    make_run(folder / "train4")
    page = written(folder)
    assert "No run finished: there is no fit to report." not in page.lines and page.table("parameter", "disagreement")


def test_finished_runs_that_are_all_broken_are_an_error(tmp_path):
    make_run(tmp_path / "train1")
    save_arrays(tmp_path / "train1" / "minimizor_result_2", X=np.ones(12))
    with pytest.raises(InputError, match="found none; skipped .*expected the fitted numbers that stand in run.json"):
        report.main([str(tmp_path)])
    assert not (tmp_path / "report.html").exists()
