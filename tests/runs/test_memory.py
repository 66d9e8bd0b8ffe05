"""What a fit is said to need of memory grows with what it depends on; too much is refused, after the print-out."""

from dataclasses import replace

import numpy as np
import pytest

import train_meso
from src.model.circuit_file import winner_take_all
from src.model.containers import Recording
from src.runs import memory
from src.runs.memory import check_memory, memory_needed
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from src.utils.settings import run_script
from tests.training import argv

MODEL = winner_take_all()
RECOMMENDED = FitSettings(scheme="consistent", e_objective="innovations")


def recording(B=4, T=20000, n_obs=3):
    A = MODEL.window_bins
    return Recording(np.zeros((B, 3, A + T, n_obs), np.uint8), np.zeros((B, 3, T)), np.ones((B, 3)))


def test_it_grows_with_trials_bins_neurons_ages_draws_and_precision():
    usual = memory_needed(recording(), MODEL, RECOMMENDED)
    for more in (recording(B=8), recording(T=40000), recording(n_obs=9)):
        assert memory_needed(more, MODEL, RECOMMENDED) > 1.2 * usual
    assert memory_needed(recording(), replace(MODEL, window_bins=500), RECOMMENDED) > 1.2 * usual
    for more in ({"E_draws": 12}, {"precision": "float64"}):
        assert memory_needed(recording(), MODEL, replace(RECOMMENDED, **more)) > 1.2 * usual
    for less in ({"t_perbatch": 80.0}, {"e_objective": "joint"}):
        assert memory_needed(recording(), MODEL, replace(RECOMMENDED, **less)) < 0.8 * usual


def test_too_much_is_refused_and_a_long_fit_is_told_to_begin_with_a_section():
    assert check_memory(recording(), MODEL, RECOMMENDED) == []
    (said,) = check_memory(recording(B=8, T=20000), MODEL, FitSettings())
    assert said.startswith("640 s are fitted, which takes about") and "--start_timepoint" in said
    endless = np.broadcast_to(np.uint8(0), (1, 3, 10**9, 3))
    driven = np.broadcast_to(0.0, (1, 3, 10**9 - MODEL.window_bins))
    with pytest.raises(InputError, match=r"dt, window: 1 x 999999750 bins .* need [\d.]+ GiB of memory, expected"):
        check_memory(Recording(endless, driven, np.ones((1, 3))), MODEL, RECOMMENDED)


def test_what_was_read_is_printed_before_memory_is_judged(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "memory_needed", lambda *_: 1e18)
    monkeypatch.setattr("sys.argv", ["train_meso.py", *argv(tmp_path)])
    with pytest.raises(SystemExit):
        run_script(train_meso.main, "train_meso.py")
    said = capsys.readouterr()
    assert "Recorded: E1 3 of 400 neurons" in said.out and "GiB of memory" in said.err
    assert not any(tmp_path.iterdir())
