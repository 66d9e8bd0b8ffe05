"""What a fit is said to need of memory grows with what it depends on; too much is refused, after the print-out."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest

import train_meso
from src.model.circuit_file import winner_take_all
from src.model.containers import Recording
from src.runs import memory
from src.runs.memory import EVALUATIONS, check_memory, memory_needed, time_needed
from src.runs.settings import FitSettings
from src.utils.exceptions import InputError
from src.utils.settings import run_script
from src.utils.text import long_duration
from tests.training import argv

MODEL = winner_take_all()
RECOMMENDED = FitSettings(scheme="consistent", e_objective="innovations")


def recording(B=4, T=10000, n_obs=3):
    A = MODEL.window_bins
    return Recording(np.zeros((B, 3, A + T, n_obs), np.uint8), np.zeros((B, 3, T)), np.ones((B, 3)))


def test_it_grows_with_trials_bins_neurons_ages_draws_and_precision():
    usual = memory_needed(recording(), MODEL, RECOMMENDED)
    for more in (recording(B=8), recording(T=16000), recording(n_obs=12)):
        assert memory_needed(more, MODEL, RECOMMENDED) > 1.2 * usual
    assert memory_needed(recording(), replace(MODEL, window_bins=500), RECOMMENDED) > 1.2 * usual
    for more in ({"E_draws": 12}, {"precision": "float64"}):
        assert memory_needed(recording(), MODEL, replace(RECOMMENDED, **more)) > 1.2 * usual
    for less in ({"t_perbatch": 40.0}, {"e_objective": "joint"}):
        assert memory_needed(recording(), MODEL, replace(RECOMMENDED, **less)) < 0.8 * usual


@pytest.mark.parametrize("settings", [RECOMMENDED, FitSettings()], ids=["recommended", "published"])
def test_of_a_recording_that_is_cut_ages_take_no_more_memory(settings):
    long = [memory_needed(recording(B=1, T=T), MODEL, settings) for T in (300_000, 400_000, 500_000)]
    assert long[1] - long[0] == pytest.approx(long[2] - long[1], rel=0.1)  # of bins alone
    assert long[2] < 4 * 2**30
    ages = memory_needed(recording(B=1, T=500_000), replace(MODEL, window_bins=1000), settings) - long[2]
    assert ages < 0.5e9


@pytest.mark.parametrize("T", [500, 60_000])
def test_what_would_fit_is_said(T, monkeypatch):
    long, there = recording(B=1, T=T), memory_needed(recording(B=1, T=40_000), MODEL, RECOMMENDED)
    monkeypatch.setattr(memory, "memory_there", lambda: there if T > 500 else 1e6)
    with pytest.raises(InputError) as error:
        check_memory(long, MODEL, RECOMMENDED)
    said = str(error.value)
    if T == 500:
        assert "; not one bin of it would fit" in said
    else:
        seconds = float(re.search(r"the first (\d+) s would fit", said)[1])
        assert 0.95 * 160 < seconds <= 160


def test_the_time_is_that_of_evaluations(monkeypatch):
    """Of twice the bins twice the time, however long the first ones take."""
    clock = iter(np.arange(100.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    some, twice = (time_needed(recording(B=B, T=5000), MODEL, FitSettings()) for B in (1, 2))
    assert some == 2 * EVALUATIONS["joint"] and twice == 2 * some


@pytest.mark.parametrize(
    ("seconds", "words"), [(40, "40 s"), (1500, "25 min"), (3.1 * 3600, "3.1 h"), (2.5 * 86400, "2.5 days")]
)
def test_rough_durations(seconds, words):
    assert long_duration(seconds) == words


def test_too_much_is_refused_and_a_long_fit_is_told_to_begin_with_a_section(monkeypatch):
    assert check_memory(recording(), MODEL, RECOMMENDED) == []
    monkeypatch.setattr(memory, "time_needed", lambda *_: 5400.0)
    (said,) = check_memory(recording(B=8, T=20000), MODEL, FitSettings())
    assert said.startswith("640 s are fitted, which takes about") and "--start_timepoint" in said
    assert "about 90 min, or up to three times as long" in said
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
