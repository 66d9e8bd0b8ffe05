"""The benchmark of long recordings: its table, what it says of its targets, and that it goes on where it ended."""

import numpy as np
import pytest

from benchmarks import long_cases, long_memory
from benchmarks.long_memory import EM, Settings, lengths_of, table, verdict, wanted
from src.utils.exceptions import InputError

ROWS = [
    {"what": EM, "scheme": "published", "length": "200", "peak_MiB": "3000", "said_MiB": "3500"},
    {"what": "Fisher matrix", "scheme": "published", "length": "2000", "seconds": "6", "reference": "0.02"},
    {"what": "Fisher matrix", "scheme": "published", "length": "200", "seconds": "0.44", "reference": "0.02"},
]


def rows():
    given = {"seconds": "", "reference": "", "peak_MiB": "500", "said_MiB": ""}
    return [given | row for row in ROWS]


def test_the_table_compares_with_the_reference_of_the_same_process():
    cells = table(rows())
    assert [row[2] for row in cells[1:]] == ["200", "2000", "200"]
    assert [row[4] for row in cells[1:]] == ["1.10", "1.50", "-"]
    assert cells[1][3] == "2.2" and cells[3][5:] == ["3000", "3500"]
    memory, time = verdict(cells)
    assert memory.endswith("reached") and time.endswith("missed")
    assert verdict(table(rows()[::2]))[1].endswith("reached")


def test_what_is_measured():
    everything = wanted(Settings(lengths="10,20", em=True))
    assert len(everything) == 2 * (2 + sum(len(schemes) for _, schemes in long_cases.CASES.values()))
    assert wanted(Settings(lengths="10", only="ln p,an EM")) == [("ln p(spikes)", "consistent", 10)]
    with pytest.raises(InputError, match="--lengths: expected seconds separated by commas, got '10,x'"):
        lengths_of(Settings(lengths="10,x"))


def test_a_rerun_measures_what_is_missing(tmp_path, monkeypatch, capsys):
    calls = []

    def measured(name, scheme, length, folder):
        calls.append(scheme)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {"what": name, "scheme": scheme, "length": f"{length:g}"} | {
            "seconds": "1", "reference": "1", "peak_MiB": "9", "said_MiB": ""
        }  # fmt: skip

    monkeypatch.setattr(long_memory, "measured", measured)
    given = ["--lengths", "10", "--only", "loss", "--folder", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        long_memory.main(given)
    long_memory.main(given)
    assert calls == ["published", "consistent", "consistent"]
    assert capsys.readouterr().out.count("loss and gradient") == 2


@pytest.mark.parametrize("name", ["loss and gradient", "Fisher matrix", "ln p(spikes)", "E-step on innovations"])
def test_cases_count_their_evaluations(name):
    if name.startswith("ln p"):
        pytest.importorskip("numba")
    case, _ = long_cases.CASES[name]
    number = case(long_cases.problem_of(0.4, "consistent"))()
    assert number == 4 if name.startswith("ln p") else number % 5 == 0 if name.startswith("E-step") else number == 1
    assert number > 0


def test_the_time_is_that_of_one_evaluation(monkeypatch):
    clock = iter(np.arange(0.0, 100.0, 2.0))
    monkeypatch.setattr(long_cases.time, "process_time", lambda: next(clock))
    calls = []
    assert long_cases.time_of(lambda: calls.append(1) or 4, enough=5) == 0.5
    assert len(calls) == 3
